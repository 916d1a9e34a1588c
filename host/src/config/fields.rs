//! Reads the keys of one table: each with its type and limits, with its default from the manual, and at the end
//! every key that nobody asked for is a mistake.
//!
//! A value that is wrong is a problem and reads as its type's zero: nobody gets to see it, since a config with a
//! problem is never handed out.

mod value;

use super::check::{Check, nearest};
use super::tree::{Node, Place, Table, TomlEntry, TomlItem};
use crate::config::problem::code::ProblemCode;

/// Keys other products use for the same thing.
const OTHER_WORDS: &[(&str, &str)] = &[
    ("upstream", "uplink"),
    ("sink", "uplink"),
    ("output", "uplink"),
    ("input", "source"),
    ("buffer", "spool"),
    ("chain", "flow"),
    ("pipeline", "flow"),
    ("username", "user"),
    ("subscribe", "topics"),
    ("config", "settings"),
    ("timeout", "time"),
];

#[derive(Debug)]
pub(super) struct Fields<'a> {
    pub(super) check: &'a Check<'a>,
    /// Its full name, `source.field`; empty for the config as a whole.
    pub(super) path: String,
    /// Where to point when something is missing.
    pub(super) place: Place,
    own: Option<&'a Table>,
    base: Option<&'a Table>,
    asked: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The config as a whole.
    pub(super) fn root(
        check: &'a Check<'a>,
        place: Place,
        own: &'a Table,
        base: &'a Table,
    ) -> Self {
        Self {
            check,
            path: String::new(),
            place,
            own: Some(own),
            base: Some(base),
            asked: Vec::new(),
        }
    }

    fn full(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    pub(super) fn own(&self, key: &str) -> Option<&'a TomlItem> {
        self.own.and_then(|table| table.get(key))
    }

    /// The value of `key`, its own or the default.
    pub(super) fn find(&mut self, key: &'static str) -> Option<&'a TomlItem> {
        self.asked.push(key);
        self.check.note(&self.path, key, |_| {});
        self.own(key)
            .or_else(|| self.base.and_then(|table| table.get(key)))
    }

    /// Whether the operator wrote `key`.
    pub(super) fn has(&self, key: &str) -> bool {
        self.own(key).is_some()
    }

    /// The text that the operator wrote for `key`, if it is one.
    pub(super) fn written_text(&self, key: &str) -> Option<&'a str> {
        match &self.own(key)?.node {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Notes that `key` should not be there; what it says may be a secret.
    pub(super) fn refuse(
        &mut self,
        code: ProblemCode,
        key: &'static str,
        message: String,
        hint: String,
    ) {
        let is_open = |item: &&TomlItem| !matches!(item.node, Node::Table(_));
        if let Some(item) = self.find(key).filter(is_open)
            && matches!(key, "password" | "token" | "access_key" | "secret_key")
        {
            self.check.hide(item);
        }
        self.problem(code, key, message, hint);
    }

    /// Where `key` was written, else where its table was.
    pub(super) fn place_of(&self, key: &str) -> Place {
        self.own(key).map_or(self.place, |item| item.place)
    }

    /// Notes a problem with `key`'s value.
    pub(super) fn problem(
        &self,
        code: ProblemCode,
        key: &str,
        message: impl Into<String>,
        hint: impl Into<Option<String>>,
    ) {
        self.check.problem(code, self.place_of(key), message, hint);
    }

    /// A problem of a file that `key` names and that is read when something is dialled: a start does without it.
    pub(super) fn file_problem(
        &self,
        code: ProblemCode,
        key: &str,
        message: impl Into<String>,
        hint: impl Into<Option<String>>,
    ) {
        if self.check.sources.secrets.judges_files() {
            self.problem(code, key, message, hint);
        }
    }

    /// Whether `key` is there; a problem with the example when it is not.
    pub(super) fn require(&mut self, key: &'static str, example: &str) -> bool {
        let there = self.find(key).is_some();
        if !there {
            let hint = format!("add, for example: {key} = {example}");
            self.check.problem(
                ProblemCode::Missing,
                self.place,
                format!("`{}` has no `{key}`", self.path),
                hint,
            );
        }
        there
    }

    /// Notes that `item` has the wrong type.
    pub(super) fn wrong_type(&self, name: &str, expected: &str, item: &TomlItem) {
        let message = format!("`{name}` is {}, but must be {expected}", item.node.kind());
        let hint = match (&item.node, expected) {
            (Node::Integer(Some(number)), "text") if !name.ends_with("url") => {
                Some(format!("write \"{number}\""))
            }
            (Node::Integer(Some(port @ 1..=65_535)), "text") => {
                Some(format!("write \"mqtt://127.0.0.1:{port}\""))
            }
            (Node::Text(text), expected) if is_in_quotes(text, expected) => {
                Some(format!("write it without quotes: {text}"))
            }
            _ => None,
        };
        self.check
            .problem(ProblemCode::WrongType, item.place, message, hint);
    }

    /// An integer or a flag where one of some words belongs.
    fn wrong_word(&self, key: &str, words: &[&str], item: &TomlItem) {
        let list = words
            .iter()
            .map(|word| format!("\"{word}\""))
            .collect::<Vec<_>>()
            .join(", ");
        let hint = match &item.node {
            Node::Integer(Some(number)) if words.contains(&&*number.to_string()) => {
                format!("write \"{number}\"")
            }
            _ => format!("one of {list}"),
        };
        let message = format!(
            "`{}` is {}, but must be text",
            self.full(key),
            item.node.kind()
        );
        self.check
            .problem(ProblemCode::WrongType, item.place, message, hint);
    }

    /// The table `key`, where it was written or has defaults.
    pub(super) fn table(&mut self, key: &'static str) -> Option<Self> {
        self.asked.push(key);
        self.check.note(&self.path, key, |_| {});
        let base = self.base.and_then(|table| table.table(key));
        let entry = self.own.and_then(|table| table.entry(key));
        let (own, place) = match entry {
            Some(entry) => (self.as_table(&self.full(key), &entry.item), entry.place),
            None => (None, self.place),
        };
        (own.is_some() || base.is_some()).then(|| Self {
            check: self.check,
            path: self.full(key),
            place,
            own,
            base,
            asked: Vec::new(),
        })
    }

    /// The table `key`, which the manual always has.
    pub(super) fn section(&mut self, key: &'static str) -> Self {
        let check = self.check;
        let path = self.full(key);
        let place = self.place;
        self.table(key).unwrap_or_else(|| Self {
            check,
            path,
            place,
            own: None,
            base: None,
            asked: Vec::new(),
        })
    }

    /// The tables `[key.NAME]`, in the order they were written; their defaults are the manual's of that name, else those of
    /// the URL's scheme (`[key."http://*"]`, which stands for https, too, `[key."modbus+*://*"]` for all that begin so), else its
    /// `[key."*"]`.
    pub(super) fn named(&mut self, key: &'static str) -> Vec<(&'a str, Self)> {
        self.asked.push(key);
        self.check
            .note(&self.path, key, |asked| asked.is_named = true);
        let manual = self.base.and_then(|table| table.table(key));
        let Some(item) = self.own(key) else {
            return Vec::new();
        };
        let Some(tables) = self.as_table(&self.full(key), item) else {
            return Vec::new();
        };
        let mut named = Vec::new();
        for entry in &tables.entries {
            let path = format!("{}.{}", self.full(key), entry.key);
            self.check.name(key, &entry.key, entry.place);
            let Some(own) = self.as_table(&path, &entry.item) else {
                continue;
            };
            let place = entry.place;
            let base = manual.and_then(|table| default_of(table, &entry.key, own));
            named.push((
                entry.key.as_str(),
                Self {
                    check: self.check,
                    path,
                    place,
                    own: Some(own),
                    base,
                    asked: Vec::new(),
                },
            ));
        }
        named
    }

    /// The table `[key.name]` as the manual has it, for one that the operator did not write.
    pub(super) fn preset(&mut self, key: &'static str, name: &str) -> Self {
        let base = self
            .base
            .and_then(|table| table.table(key))
            .and_then(|table| table.table(name));
        Self {
            check: self.check,
            path: format!("{key}.{name}"),
            place: self.place,
            own: None,
            base,
            asked: Vec::new(),
        }
    }

    /// The tables `[[key]]` with the manual's only one as their default.
    pub(super) fn list(&mut self, key: &'static str) -> Vec<Self> {
        self.asked.push(key);
        self.check
            .note(&self.path, key, |asked| asked.is_list = true);
        let base = self
            .base
            .and_then(|table| table.get(key))
            .and_then(|item| match &item.node {
                Node::List(items) => items.first(),
                _ => None,
            });
        let base = base.and_then(|item| {
            if let Node::Table(table) = &item.node {
                Some(table)
            } else {
                None
            }
        });
        let Some(item) = self.own(key) else {
            return Vec::new();
        };
        let Node::List(items) = &item.node else {
            self.wrong_type(
                &self.full(key),
                &format!("a list of tables: [[{}]]", self.full(key)),
                item,
            );
            return Vec::new();
        };
        let table = |(number, item): (usize, &'a TomlItem)| {
            let path = format!("{}.{number}", self.full(key));
            let own = self.as_table(&path, item)?;
            Some(Self {
                check: self.check,
                path,
                place: item.place,
                own: Some(own),
                base,
                asked: Vec::new(),
            })
        };
        items.iter().enumerate().filter_map(table).collect()
    }

    /// The table in an entry with a name that the operator chose, if it is one.
    pub(super) fn below(&self, entry: &'a TomlEntry) -> Option<Self> {
        let Node::Table(table) = &entry.item.node else {
            return None;
        };
        Some(Self {
            check: self.check,
            path: self.full(&entry.key),
            place: entry.place,
            own: Some(table),
            base: None,
            asked: Vec::new(),
        })
    }

    /// All entries of this table, for names the operator chooses; none of them is unknown then.
    pub(super) fn entries(&mut self) -> &'a [TomlEntry] {
        let entries = self
            .own
            .map(|table| table.entries.as_slice())
            .unwrap_or_default();
        self.own = None;
        self.check.note_open(&self.path);
        entries
    }

    fn as_table(&self, name: &str, item: &'a TomlItem) -> Option<&'a Table> {
        if let Node::Table(table) = &item.node {
            return Some(table);
        }
        self.wrong_type(name, "a table", item);
        None
    }

    /// Every key that was not asked for is unknown.
    pub(super) fn done(mut self) {
        self.asked.sort_unstable();
        self.asked.dedup();
        let Some(own) = self.own else { return };
        for entry in own
            .entries
            .iter()
            .filter(|entry| !self.asked.contains(&entry.key.as_str()))
        {
            // Whatever belongs there: a misspelt password is one.
            self.check.hide(&entry.item);
            if self.check.is_full() {
                self.check
                    .problem(ProblemCode::UnknownKey, entry.place, "", None);
                continue;
            }
            let other = OTHER_WORDS
                .iter()
                .find(|(word, meant)| *word == entry.key && self.asked.contains(meant))
                .map(|(_, meant)| *meant);
            let hint = match other.or_else(|| nearest(&entry.key, &self.asked)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", self.asked.join(", ")),
            };
            let message = match (self.path.is_empty(), &entry.item.node) {
                (true, Node::Table(_) | Node::List(_)) => format!("unknown table `{}`", entry.key),
                (true, _) => format!("unknown key `{}` outside every table", entry.key),
                _ => format!("unknown key `{}` in `{}`", entry.key, self.path),
            };
            self.check
                .problem(ProblemCode::UnknownKey, entry.place, message, hint);
        }
    }
}

/// Whether `text` is a value of the type that is expected there, in quotes.
fn is_in_quotes(text: &str, expected: &str) -> bool {
    match expected {
        "true or false" => matches!(text, "true" | "false"),
        "an integer" => text
            .parse::<u32>()
            .is_ok_and(|number| number.to_string() == text),
        "a number" => {
            text.parse::<f64>().is_ok_and(f64::is_finite)
                && text.starts_with(|first: char| first.is_ascii_digit())
        }
        _ => false,
    }
}

/// The defaults of the table `own` with a name that the operator chose, among the manual's of its sort.
pub(super) fn default_of<'a>(manual: &'a Table, name: &str, own: &Table) -> Option<&'a Table> {
    let named = manual.table(name).or_else(|| of_scheme(manual, own));
    named.or_else(|| manual.table("*"))
}

/// The manual's table of the scheme that `own` has in its URL.
fn of_scheme<'a>(manual: &'a Table, own: &Table) -> Option<&'a Table> {
    let Node::Text(url) = &own.get("url")?.node else {
        return None;
    };
    let (scheme, _) = url.split_once("://")?;
    let of = |scheme: &str| manual.table(&format!("{scheme}://*"));
    let secure = || of(scheme.strip_suffix('s')?);
    let base = || scheme.split('+').next();
    let family = || of(&format!("{}+*", base()?));
    of(scheme)
        .or_else(secure)
        .or_else(family)
        .or_else(|| of(base()?))
}
