//! A value of one kind: a number, a text, a duration, a size, a choice. What is of another kind or out of range is a problem of the check.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Fields;
use crate::config::check::nearest;
use crate::config::problem::code::ProblemCode;
use crate::config::tree::{Node, Place, TomlItem};
use crate::config::units;
use crate::config::units::{Quantity, UnitError};

impl<'a> Fields<'a> {
    pub(super) fn typed<T>(
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

    /// An integer where text belongs, for a hint that says what to write.
    pub(crate) fn number(&mut self, key: &'static str) -> Option<i64> {
        match self.find(key)?.node {
            Node::Integer(number) => number,
            _ => None,
        }
    }

    pub(crate) fn text(&mut self, key: &'static str) -> Option<&'a str> {
        self.typed(key, "text", |node| {
            if let Node::Text(text) = node {
                Some(text.as_str())
            } else {
                None
            }
        })
    }

    pub(crate) fn flag(&mut self, key: &'static str) -> bool {
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
    pub(crate) fn count(&mut self, key: &'static str, range: RangeInclusive<u32>) -> u32 {
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
    pub(crate) fn share(&mut self, key: &'static str, range: RangeInclusive<f64>) -> f64 {
        self.check
            .note(&self.path, key, |asked| asked.is_number = true);
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

    pub(super) fn out_of_range(&self, key: &str, least: &str, most: &str) {
        self.problem(
            ProblemCode::OutOfRange,
            key,
            format!("`{}` is out of range", self.full(key)),
            format!("allowed: {least} to {most}"),
        );
    }

    /// A duration in `range`.
    pub(crate) fn duration(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let nanoseconds = |limit: &Duration| u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        let range = nanoseconds(range.start())..=nanoseconds(range.end());
        units::duration(self.quantity(key, Quantity::Duration, range))
    }

    /// A size in `range`, bytes.
    pub(crate) fn size(&mut self, key: &'static str, range: RangeInclusive<u64>) -> u64 {
        self.quantity(key, Quantity::Size, range)
    }

    /// So many a second, as in "2000/s" or "1MiB/s", in `range`; `None` when nothing was written.
    pub(crate) fn per_second(
        &mut self,
        key: &'static str,
        unit: Option<Quantity>,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        if let Some(number) = self.number(key).filter(|_| unit.is_none()) {
            let message = format!("`{}` is an integer, but must be text", self.full(key));
            self.problem(
                ProblemCode::WrongType,
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
                ProblemCode::Unit,
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

    pub(super) fn quantity(
        &mut self,
        key: &'static str,
        kind: Quantity,
        range: RangeInclusive<u64>,
    ) -> u64 {
        let Some(item) = self.find(key) else { return 0 };
        let written = match &item.node {
            Node::Text(text) => text.clone(),
            Node::Integer(Some(number)) => number.to_string(),
            Node::Float(number) => number.to_string(),
            _ => {
                let what = if kind == Quantity::Size {
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
                    ProblemCode::Unit,
                    item.place,
                    format!("`{}` {error}", self.full(key)),
                    hint,
                );
                0
            }
        }
    }

    pub(super) fn unit_hint(
        &self,
        key: &str,
        kind: Quantity,
        written: &str,
        error: &UnitError,
    ) -> String {
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
    pub(crate) fn choice<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        self.check.note(&self.path, key, |asked| {
            asked.words = words.iter().map(|(word, _)| (*word).to_owned()).collect();
        });
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
                ProblemCode::Choice,
                key,
                format!("`{}` cannot be \"{text}\"", self.full(key)),
                hint,
            );
        }
        found
    }

    /// One text or a list of them.
    pub(crate) fn texts(&mut self, key: &'static str) -> Vec<(&'a str, Place)> {
        self.check
            .note(&self.path, key, |asked| asked.is_texts = true);
        self.find(key)
            .map(|item| self.texts_of(&self.full(key), item))
            .unwrap_or_default()
    }

    /// One text or a list of them, of a value that was found already.
    pub(crate) fn texts_of(&self, name: &str, item: &'a TomlItem) -> Vec<(&'a str, Place)> {
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
}
