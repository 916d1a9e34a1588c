//! Reads the keys of one table: each with its type and limits, with its default from the manual, and at the end
//! every key that nobody asked for is a mistake.
//!
//! A value that is wrong is a problem and reads as its type's zero: nobody gets to see it, since a config with a
//! problem is never handed out.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::check::{Check, nearest};
use super::code::Code;
use super::tree::{Entry, Item, Node, Place, Table};
use super::units::{self, Kind, UnitError};

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

/// One table.
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

    fn own(&self, key: &str) -> Option<&'a Item> {
        self.own.and_then(|table| table.get(key))
    }

    /// The value of `key`, its own or the default.
    pub(super) fn find(&mut self, key: &'static str) -> Option<&'a Item> {
        self.asked.push(key);
        self.own(key)
            .or_else(|| self.base.and_then(|table| table.get(key)))
    }

    /// Whether the operator wrote `key`.
    pub(super) fn has(&self, key: &str) -> bool {
        self.own(key).is_some()
    }

    /// Where `key` was written, else where its table was.
    pub(super) fn place_of(&self, key: &str) -> Place {
        self.own(key).map_or(self.place, |item| item.place)
    }

    /// Notes a problem with `key`'s value.
    pub(super) fn problem(
        &self,
        code: Code,
        key: &str,
        message: impl Into<String>,
        hint: impl Into<Option<String>>,
    ) {
        self.check.problem(code, self.place_of(key), message, hint);
    }

    /// Whether `key` is there; a problem with the example when it is not.
    pub(super) fn require(&mut self, key: &'static str, example: &str) -> bool {
        let there = self.find(key).is_some();
        if !there {
            let hint = format!("add, for example: {key} = {example}");
            self.check.problem(
                Code::Missing,
                self.place,
                format!("`{}` has no `{key}`", self.path),
                hint,
            );
        }
        there
    }

    fn typed<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&'a Node) -> Option<T>,
    ) -> Option<T> {
        let item = self.find(key)?;
        let value = read(&item.node);
        if value.is_none() {
            self.wrong_type(&self.full(key), expected, item);
        }
        value
    }

    /// Notes that `item` has the wrong type.
    pub(super) fn wrong_type(&self, name: &str, expected: &str, item: &Item) {
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
            .problem(Code::WrongType, item.place, message, hint);
    }

    /// An integer or a flag where one of some words belongs.
    fn wrong_word(&self, key: &str, words: &[&str], item: &Item) {
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
            .problem(Code::WrongType, item.place, message, hint);
    }

    /// An integer where text belongs, for a hint that says what to write.
    pub(super) fn number(&mut self, key: &'static str) -> Option<i64> {
        match self.find(key)?.node {
            Node::Integer(number) => number,
            _ => None,
        }
    }

    /// Text.
    pub(super) fn text(&mut self, key: &'static str) -> Option<&'a str> {
        self.typed(key, "text", |node| {
            if let Node::Text(text) = node {
                Some(text.as_str())
            } else {
                None
            }
        })
    }

    /// True or false.
    pub(super) fn flag(&mut self, key: &'static str) -> bool {
        self.typed(key, "true or false", |node| {
            if let Node::Flag(flag) = node {
                Some(*flag)
            } else {
                None
            }
        })
        .unwrap_or_default()
    }

    /// An integer in `range`.
    pub(super) fn count(&mut self, key: &'static str, range: RangeInclusive<u32>) -> u32 {
        let number = self.typed(key, "an integer", |node| {
            if let Node::Integer(number) = node {
                Some(*number)
            } else {
                None
            }
        });
        let Some(number) = number else { return 0 };
        let fits = number
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| range.contains(number));
        fits.unwrap_or_else(|| {
            self.out_of_range(key, &range.start().to_string(), &range.end().to_string());
            0
        })
    }

    /// A number in `range`.
    pub(super) fn share(&mut self, key: &'static str, range: RangeInclusive<f64>) -> f64 {
        let number = self.typed(key, "a number", |node| match node {
            Node::Float(number) => Some(*number),
            Node::Integer(Some(number)) => i32::try_from(*number).ok().map(f64::from),
            _ => None,
        });
        let Some(number) = number else { return 0.0 };
        if !range.contains(&number) {
            self.out_of_range(key, &range.start().to_string(), &range.end().to_string());
        }
        number
    }

    fn out_of_range(&self, key: &str, least: &str, most: &str) {
        self.problem(
            Code::OutOfRange,
            key,
            format!("`{}` is out of range", self.full(key)),
            format!("allowed: {least} to {most}"),
        );
    }

    /// A duration in `range`.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let nanoseconds = |limit: &Duration| u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        let range = nanoseconds(range.start())..=nanoseconds(range.end());
        units::duration(self.quantity(key, Kind::Duration, range))
    }

    /// A size in `range`, bytes.
    pub(super) fn size(&mut self, key: &'static str, range: RangeInclusive<u64>) -> u64 {
        self.quantity(key, Kind::Size, range)
    }

    /// So many a second, as in "2000/s" or "1MiB/s", in `range`; `None` when nothing was written.
    pub(super) fn per_second(
        &mut self,
        key: &'static str,
        unit: Option<Kind>,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        if let Some(number) = self.number(key).filter(|_| unit.is_none()) {
            let message = format!("`{}` is an integer, but must be text", self.full(key));
            self.problem(
                Code::WrongType,
                key,
                message,
                format!("write \"{number}/s\""),
            );
            return None;
        }
        let text = self.text(key)?;
        let read = |number: &str| match unit {
            Some(kind) => kind.parse(number).ok(),
            None => number.trim().parse().ok(),
        };
        let Some(value) = text.strip_suffix("/s").and_then(read) else {
            let example = if unit.is_some() { "1MiB/s" } else { "2000/s" };
            let hint = format!("write, for example: {key} = \"{example}\"");
            self.problem(
                Code::Unit,
                key,
                format!("`{}` cannot be \"{text}\"", self.full(key)),
                hint,
            );
            return None;
        };
        if !range.contains(&value) {
            let show = |limit: &u64| {
                format!(
                    "{}/s",
                    unit.map_or_else(|| limit.to_string(), |kind| kind.show(*limit))
                )
            };
            self.out_of_range(key, &show(range.start()), &show(range.end()));
        }
        Some(value)
    }

    fn quantity(&mut self, key: &'static str, kind: Kind, range: RangeInclusive<u64>) -> u64 {
        let Some(item) = self.find(key) else { return 0 };
        let written = match &item.node {
            Node::Text(text) => text.clone(),
            Node::Integer(Some(number)) => number.to_string(),
            Node::Float(number) => number.to_string(),
            _ => {
                let what = if kind == Kind::Size {
                    "a size such as \"64MiB\""
                } else {
                    "a duration such as \"5s\""
                };
                self.wrong_type(&self.full(key), what, item);
                return 0;
            }
        };
        match kind.parse(&written) {
            Ok(value) => {
                if !range.contains(&value) {
                    self.out_of_range(key, &kind.show(*range.start()), &kind.show(*range.end()));
                }
                value
            }
            Err(error) => {
                let hint = self.unit_hint(key, kind, &written, &error);
                self.check.problem(
                    Code::Unit,
                    item.place,
                    format!("`{}` {error}", self.full(key)),
                    hint,
                );
                0
            }
        }
    }

    fn unit_hint(&self, key: &str, kind: Kind, written: &str, error: &UnitError) -> String {
        let number = written.trim_end_matches(|letter: char| !letter.is_ascii_digit());
        match error {
            UnitError::NoUnit => {
                let default = self
                    .base
                    .and_then(|table| table.get(key))
                    .and_then(|item| {
                        if let Node::Text(text) = &item.node {
                            Some(text.as_str())
                        } else {
                            None
                        }
                    })
                    .filter(|text| text.starts_with(|first: char| first.is_ascii_digit()));
                format!("write \"{}\"", kind.with_unit(written, default))
            }
            UnitError::UnknownUnit(Some(unit)) => format!("write \"{number}{unit}\""),
            _ => format!("a number and one of the units {}", kind.names()),
        }
    }

    /// One of some words.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let item = self.find(key)?;
        let Node::Text(text) = &item.node else {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.wrong_word(key, &known, item);
            return None;
        };
        let found = words
            .iter()
            .find(|(word, _)| word == text)
            .map(|(_, value)| *value);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let list = known
                .iter()
                .map(|word| format!("\"{word}\""))
                .collect::<Vec<_>>()
                .join(", ");
            let hint = match (nearest(text, &known), known.len()) {
                (Some(near), 2..) => format!("did you mean \"{near}\"? (one of {list})"),
                (_, 1) => format!("must be {list}"),
                _ => format!("one of {list}"),
            };
            self.problem(
                Code::Choice,
                key,
                format!("`{}` cannot be \"{text}\"", self.full(key)),
                hint,
            );
        }
        found
    }

    /// One text or a list of them.
    pub(super) fn texts(&mut self, key: &'static str) -> Vec<(&'a str, Place)> {
        self.find(key)
            .map(|item| self.texts_of(&self.full(key), item))
            .unwrap_or_default()
    }

    /// One text or a list of them, of a value that was found already.
    pub(super) fn texts_of(&self, name: &str, item: &'a Item) -> Vec<(&'a str, Place)> {
        let items = if let Node::List(items) = &item.node {
            items.as_slice()
        } else {
            std::slice::from_ref(item)
        };
        let mut texts = Vec::new();
        for item in items {
            match &item.node {
                Node::Text(text) => texts.push((text.as_str(), item.place)),
                _ => self.wrong_type(name, "text or a list of texts", item),
            }
        }
        texts
    }

    /// The table `key`, where it was written or has defaults.
    pub(super) fn table(&mut self, key: &'static str) -> Option<Self> {
        self.asked.push(key);
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
        let (check, path, place) = (self.check, self.full(key), self.place);
        self.table(key).unwrap_or_else(|| Self {
            check,
            path,
            place,
            own: None,
            base: None,
            asked: Vec::new(),
        })
    }

    /// The tables `[key.NAME]`, in the order they were written; their defaults are the manual's of that name, else its
    /// `[key."*"]`.
    pub(super) fn named(&mut self, key: &'static str) -> Vec<(&'a str, Self)> {
        self.asked.push(key);
        let manual = self.base.and_then(|table| table.table(key));
        let Some(item) = self.own(key) else {
            return Vec::new();
        };
        let Some(tables) = self.as_table(key, item) else {
            return Vec::new();
        };
        let mut named = Vec::new();
        for entry in &tables.entries {
            let path = format!("{key}.{}", entry.key);
            self.check.name(key, &entry.key, entry.place);
            let Some(own) = self.as_table(&path, &entry.item) else {
                continue;
            };
            let place = entry.place;
            let base =
                manual.and_then(|table| table.table(&entry.key).or_else(|| table.table("*")));
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
        let table = |(number, item): (usize, &'a Item)| {
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

    /// All entries of this table, for names the operator chooses; none of them is unknown then.
    pub(super) fn entries(&mut self) -> &'a [Entry] {
        let entries = self
            .own
            .map(|table| table.entries.as_slice())
            .unwrap_or_default();
        self.own = None;
        entries
    }

    fn as_table(&self, name: &str, item: &'a Item) -> Option<&'a Table> {
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
                self.check.problem(Code::UnknownKey, entry.place, "", None);
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
                .problem(Code::UnknownKey, entry.place, message, hint);
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
