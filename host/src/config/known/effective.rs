//! The config as it is in effect: what was written, what lies over it, and for the rest the manual's defaults, each with where it
//! comes from. Secrets stand there as the references that they are; of an address with more than a host and a port, which may hold one,
//! nothing is shown.

use std::fmt::Write as _;
use std::sync::Arc;

use serde::Serialize;

use super::Known;
use crate::config::fields::default_of;
use crate::config::layers::Layers;
use crate::config::layers::written::WrittenConfig;
use crate::config::problem::ConfigText;
use crate::config::secrecy::Hidden;
use crate::config::tree::{Node, Place, Table, TomlItem};
use crate::config::{Problems, Sources, assemble, check, load};
use crate::words;

const MASK: &str = "***";
/// Number of the manual among the texts.
const MANUAL: usize = 0;
/// Tables of which there are as many as the operator names.
const NAMED: [&str; 4] = ["source", "uplink", "class", "flow"];

/// One value that is in effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// The table it is printed under, `[flow.climate]` or `[[flow.climate.plugin]]`.
    #[serde(skip)]
    head: Arc<str>,
    /// Its full name, as `flow.climate.plugin.0.limits.time`.
    pub key: String,
    #[serde(skip)]
    short: String,
    /// Written as TOML, secrets masked.
    pub value: String,
    /// File and line, variable, or argument; `None`: it is the default.
    pub origin: Option<String>,
}

/// All of them, in the order in which they are printed.
#[derive(Clone, Debug)]
pub struct Effective {
    pub settings: Vec<Setting>,
}

impl Effective {
    /// Reads a config, and shows it; what is wrong with it, if so.
    ///
    /// # Errors
    /// All mistakes there are.
    pub fn read(sources: &Sources) -> Result<Self, Problems> {
        load(sources)?;
        let layers = Layers::read(
            sources,
            WrittenConfig::read(&sources.path, sources.folder()),
        );
        let check = check::Check::noting(sources, layers.hidden);
        assemble::assemble(&check, &layers.base, &layers.tree);
        let found = check.finish();
        let view = EffectiveView {
            known: &found.known,
            hidden: &found.hidden,
            texts: &layers.texts,
            files: layers.files,
        };
        let mut settings = Vec::new();
        view.whole(&layers.tree, &layers.base, &mut settings);
        Ok(Self { settings })
    }

    /// As a config, secrets and addresses that may hold one masked, with defaults as comments; with where each value comes from behind it, if that is wanted.
    pub fn to_toml(&self, with_origin: bool) -> String {
        let mut text = String::new();
        let mut head: Option<&Arc<str>> = None;
        for setting in &self.settings {
            // Each table of a list has a head of its own, which is another one than that before it.
            if head.is_none_or(|head| !Arc::ptr_eq(head, &setting.head)) {
                let gap = if text.is_empty() { "" } else { "\n" };
                let _ = writeln!(text, "{gap}{}", setting.head);
                head = Some(&setting.head);
            }
            // What is a default stays one: some make a mistake where they are written and mean nothing.
            let mark = if setting.origin.is_none() { "# " } else { "" };
            let line = format!("{mark}{} = {}", setting.short, setting.value);
            let origin = setting.origin.as_deref().unwrap_or("default");
            let _ = match with_origin {
                true => writeln!(text, "{line:<48} # {origin}"),
                false => writeln!(text, "{line}"),
            };
        }
        text
    }
}

struct EffectiveView<'a> {
    known: &'a Known,
    hidden: &'a Hidden,
    texts: &'a [ConfigText],
    /// Which of them are files.
    files: std::ops::Range<usize>,
}

/// Where a table is printed.
struct PrintedUnder {
    head: Arc<str>,
    /// Full name of the table.
    path: String,
    /// What stands before its keys, below the head.
    before: String,
}

impl EffectiveView<'_> {
    fn whole(&self, own: &Table, base: &Table, settings: &mut Vec<Setting>) {
        for entry in &base.entries {
            let key = entry.key.as_str();
            let manual = base.table(key);
            if NAMED.contains(&key) {
                let empty = Table::default();
                self.named(key, own.table(key).unwrap_or(&empty), manual, settings);
            } else {
                self.table(
                    &PrintedUnder::of(key, &[key]),
                    own.table(key),
                    manual,
                    settings,
                );
            }
        }
    }

    fn named(&self, kind: &str, own: &Table, manual: Option<&Table>, settings: &mut Vec<Setting>) {
        for entry in &own.entries {
            if let Node::Table(table) = &entry.item.node {
                let base = manual.and_then(|manual| default_of(manual, &entry.key, table));
                let under = PrintedUnder::of(&format!("{kind}.{}", entry.key), &[kind, &entry.key]);
                self.table(&under, Some(table), base, settings);
            }
        }
        // Classes are there without being written.
        let presets = manual.filter(|_| kind == "class");
        for entry in presets.into_iter().flat_map(|presets| &presets.entries) {
            if let (Node::Table(base), true) = (
                &entry.item.node,
                entry.key != "*" && own.get(&entry.key).is_none(),
            ) {
                let under = PrintedUnder::of(&format!("{kind}.{}", entry.key), &[kind, &entry.key]);
                self.table(&under, None, Some(base), settings);
            }
        }
    }

    fn table(
        &self,
        under: &PrintedUnder,
        own: Option<&Table>,
        base: Option<&Table>,
        settings: &mut Vec<Setting>,
    ) {
        let known = self.known.table(&under.path);
        let mut lists = Vec::new();
        for entry in own.into_iter().flat_map(|own| &own.entries) {
            let asked = known.and_then(|known| known.keys.get(entry.key.as_str()));
            let is_list = asked.is_some_and(|asked| asked.is_list);
            match &entry.item.node {
                Node::List(items) if is_list && under.before.is_empty() => {
                    lists.push((entry.key.as_str(), items))
                }
                Node::Table(tables) if asked.is_some_and(|asked| asked.is_named) => {
                    let manual = base.and_then(|base| base.table(&entry.key));
                    self.inner(&under.inside(&entry.key), tables, manual, settings);
                }
                Node::Table(table) if self.is_known(under, &entry.key) => {
                    let base = base.and_then(|base| base.table(&entry.key));
                    self.table(&under.inside(&entry.key), Some(table), base, settings);
                }
                _ => settings.push(self.setting(under, &entry.key, &entry.item)),
            }
        }
        for entry in base.into_iter().flat_map(|base| &base.entries) {
            let is_written = own.is_some_and(|own| own.get(&entry.key).is_some());
            let is_asked = known.is_some_and(|known| known.keys.contains_key(entry.key.as_str()));
            if is_written || !is_asked {
                continue;
            }
            match &entry.item.node {
                Node::Table(table) => {
                    self.table(&under.inside(&entry.key), None, Some(table), settings)
                }
                // The manual's one plugin is the default of each, and none by itself.
                Node::List(items)
                    if matches!(items.first().map(|item| &item.node), Some(Node::Table(_))) => {}
                _ => settings.push(self.setting(under, &entry.key, &entry.item)),
            }
        }
        for (key, items) in lists {
            let base = base.and_then(|base| base.get(key));
            let base = base.and_then(|item| item.node.find(["0"]));
            for (number, item) in items.iter().enumerate() {
                if let Node::Table(own) = &item.node {
                    let under = under.element(key, number);
                    let base = base.and_then(|item| match &item.node {
                        Node::Table(table) => Some(table),
                        _ => None,
                    });
                    self.table(&under, Some(own), base, settings);
                }
            }
        }
    }

    /// Tables inside of one, with names that the operator chose.
    fn inner(
        &self,
        under: &PrintedUnder,
        tables: &Table,
        manual: Option<&Table>,
        settings: &mut Vec<Setting>,
    ) {
        for entry in &tables.entries {
            if let Node::Table(own) = &entry.item.node {
                let base = manual.and_then(|manual| default_of(manual, &entry.key, own));
                self.table(&under.inside(&entry.key), Some(own), base, settings);
            }
        }
    }

    /// Whether a table inside another one has keys that the code asks for one by one.
    fn is_known(&self, under: &PrintedUnder, key: &str) -> bool {
        let path = format!("{}.{key}", under.path);
        let table = self.known.table(&path);
        table.is_some_and(|table| !table.keys.is_empty() && !is_reference(table))
            || !self.known.below(&path).is_empty()
    }

    fn setting(&self, under: &PrintedUnder, key: &str, item: &TomlItem) -> Setting {
        let short = format!("{}{}", under.before, bare(key));
        Setting {
            head: Arc::clone(&under.head),
            key: format!("{}.{key}", under.path),
            short,
            value: self.inline(item),
            origin: self.origin(item.place),
        }
    }

    fn origin(&self, place: Place) -> Option<String> {
        if place.text == MANUAL {
            return None;
        }
        let text = &self.texts[place.text];
        let name = words::line(&text.name, 200);
        Some(
            match place.span.filter(|_| self.files.contains(&place.text)) {
                Some((start, _)) => format!("{name}:{}", text.line(start) + 1),
                None => name,
            },
        )
    }

    /// A value in one line, as TOML.
    fn inline(&self, item: &TomlItem) -> String {
        if self.hidden.hides(item.place) {
            return words::quoted(MASK);
        }
        match &item.node {
            Node::Text(text) => words::quoted(text),
            Node::Integer(number) => number.unwrap_or_default().to_string(),
            Node::Float(number) => format!("{number:?}"),
            Node::Flag(flag) => flag.to_string(),
            Node::Moment(moment) => moment.clone(),
            Node::List(items) => {
                let items: Vec<String> = items.iter().map(|item| self.inline(item)).collect();
                format!("[{}]", items.join(", "))
            }
            Node::Table(table) if table.entries.is_empty() => "{}".to_owned(),
            Node::Table(table) => {
                let entry = |entry: &crate::config::tree::TomlEntry| {
                    format!("{} = {}", bare(&entry.key), self.inline(&entry.item))
                };
                let entries: Vec<String> = table.entries.iter().map(entry).collect();
                format!("{{ {} }}", entries.join(", "))
            }
        }
    }
}

/// `{ file = … }` and its kin stand on one line.
fn is_reference(table: &super::KnownTable) -> bool {
    ["env", "file", "credential"]
        .iter()
        .all(|key| table.keys.contains_key(key))
}

/// A key as it is written: in quotes where it is no plain word.
fn bare(key: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !key.is_empty() && key.bytes().all(is_plain) {
        key.to_owned()
    } else {
        words::quoted(key)
    }
}

impl PrintedUnder {
    fn of(path: &str, parts: &[&str]) -> Self {
        let parts: Vec<String> = parts.iter().map(|part| bare(part)).collect();
        Self {
            head: format!("[{}]", parts.join(".")).into(),
            path: path.to_owned(),
            before: String::new(),
        }
    }

    fn inside(&self, key: &str) -> Self {
        Self {
            head: Arc::clone(&self.head),
            path: format!("{}.{key}", self.path),
            before: format!("{}{}.", self.before, bare(key)),
        }
    }

    fn element(&self, key: &str, number: usize) -> Self {
        let inner = self.head.trim_matches(['[', ']']);
        Self {
            head: format!("[[{inner}.{}]]", bare(key)).into(),
            path: format!("{}.{key}.{number}", self.path),
            before: String::new(),
        }
    }
}

#[cfg(test)]
mod tests;
