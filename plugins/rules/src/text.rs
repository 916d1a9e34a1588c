//! Texts in which names in braces stand for parts of a reading, and values that are made of them.

use std::borrow::Cow;

use tidegate_sdk::json::{Found, Paths};
use tidegate_sdk::prelude::*;
use tidegate_sdk::serde_json::{self, Value};

/// Bytes of a value that is remembered or told; of a longer text its first letters, of anything else nothing.
const LONGEST: usize = 256;

/// Letters of a longer text.
const LETTERS: usize = 60;

/// Fields that the texts of one rule name: their places in the paths.
#[derive(Debug, Default)]
pub struct Named(Vec<usize>);

impl Named {
    fn add(&mut self, path: &str, paths: &mut Paths) -> Result<usize> {
        let path = paths.add(path)?;
        let known = self.0.iter().position(|known| *known == path);
        Ok(known.unwrap_or_else(|| {
            self.0.push(path);
            self.0.len() - 1
        }))
    }

    /// Whether no field is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their values in a reading, as JSON.
    pub fn values(&self, found: Option<&Found<'_, '_>>) -> Vec<String> {
        let value = |path: &usize| {
            let Some(value) = found.and_then(|found| found.value(*path)) else {
                return "null".to_owned();
            };
            match value.text() {
                _ if value.raw().len() <= LONGEST => value.raw().to_owned(),
                Some(text) => {
                    Value::from(text.chars().take(LETTERS).collect::<String>()).to_string()
                }
                None => "null".to_owned(),
            }
        };
        self.0.iter().map(value).collect()
    }
}

/// What texts are filled with.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The topic of the reading.
    pub topic: &'a str,
    /// The key of the device.
    pub key: &'a str,
    /// Values of the fields that are named, as JSON.
    pub values: &'a [String],
    /// Whether the rule holds.
    pub holds: bool,
}

impl<'a> About<'a> {
    /// `raised` or `cleared`.
    pub fn state(&self) -> &'static str {
        if self.holds { "raised" } else { "cleared" }
    }

    fn value(&self, place: usize) -> &'a str {
        self.values.get(place).map_or("null", String::as_str)
    }

    /// A value as it reads in a text.
    fn shown(&self, place: usize) -> Cow<'a, str> {
        match self.value(place) {
            "null" => "".into(),
            text if text.starts_with('"') => serde_json::from_str::<String>(text)
                .unwrap_or_default()
                .into(),
            other => other.into(),
        }
    }
}

/// A text, taken apart.
#[derive(Debug)]
pub struct Text(Vec<Piece>);

#[derive(Debug)]
enum Piece {
    Plain(String),
    Name(Template),
    Field(usize),
    State,
}

impl Text {
    /// Takes it apart; `name` is the rule's.
    pub fn new(text: &str, name: &str, named: &mut Named, paths: &mut Paths) -> Result<Self> {
        let mut pieces = Vec::new();
        let (mut plain, mut rest) = (String::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            plain.push_str(before);
            if let Some(after) = after.strip_prefix('{') {
                plain.push('{');
                rest = after;
                continue;
            }
            let (inside, behind) = after
                .split_once('}')
                .ok_or("it has a `{` without `}`; write `{{` for a brace")?;
            let piece = match (inside, inside.strip_prefix("payload.")) {
                (_, Some(path)) => Piece::Field(named.add(path, paths)?),
                ("state", _) => Piece::State,
                _ => Piece::Name(Template::new(&format!("{{{inside}}}"), &[("name", name)])?),
            };
            pieces.push(Piece::Plain(std::mem::take(&mut plain)));
            pieces.push(piece);
            rest = behind;
        }
        plain.push_str(rest);
        pieces.push(Piece::Plain(plain));
        Ok(Self(pieces))
    }

    /// The text for a reading.
    pub fn fill(&self, about: &About<'_>) -> String {
        let mut filled = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Plain(text) => filled.push_str(text),
                Piece::Name(name) => filled.push_str(&name.fill(about.topic, about.key)),
                Piece::Field(place) => filled.push_str(&about.shown(*place)),
                Piece::State => filled.push_str(about.state()),
            }
        }
        filled
    }

    /// Whether it says more of the topic than the key.
    pub fn needs_topic(&self) -> bool {
        self.0
            .iter()
            .any(|piece| matches!(piece, Piece::Name(name) if name.needs_topic()))
    }

    /// The field that it is, with nothing around it.
    fn field(&self) -> Option<usize> {
        match &self.0[..] {
            [
                Piece::Plain(before),
                Piece::Field(place),
                Piece::Plain(behind),
            ] if before.is_empty() && behind.is_empty() => Some(*place),
            _ => None,
        }
    }
}

/// A value that a field gets.
#[derive(Debug)]
pub enum Set {
    /// JSON as it is.
    Plain(String),
    /// A field of the payload, as it stands there.
    Field(usize),
    /// A text.
    Filled(Text),
}

impl Set {
    /// Takes a text apart; all else is as it is.
    pub fn new(value: Value, name: &str, named: &mut Named, paths: &mut Paths) -> Result<Self> {
        let Value::String(text) = &value else {
            return Ok(Self::Plain(value.to_string()));
        };
        let text = Text::new(text, name, named, paths)?;
        Ok(text.field().map_or(Self::Filled(text), Self::Field))
    }

    /// As JSON, for a reading.
    pub fn fill(&self, about: &About<'_>) -> String {
        match self {
            Self::Plain(json) => json.clone(),
            Self::Field(place) => about.value(*place).to_owned(),
            Self::Filled(text) => Value::from(text.fill(about)).to_string(),
        }
    }

    /// Whether it says more of the topic than the key.
    pub fn needs_topic(&self) -> bool {
        matches!(self, Self::Filled(text) if text.needs_topic())
    }
}
