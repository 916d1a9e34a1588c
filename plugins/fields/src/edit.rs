//! Paths of fields as a tree, and values that are set.

use std::collections::BTreeMap;

use tidegate_sdk::json::{self, Member};
use tidegate_sdk::prelude::*;
use tidegate_sdk::serde_json::Value;

/// Names of fields that are meant, and of those in them.
#[derive(Clone, Debug, Default)]
pub struct Names {
    names: BTreeMap<String, Name>,
}

#[derive(Clone, Debug, Default)]
struct Name {
    /// The path that ends here, and the new name of the field.
    end: Option<(String, String)>,
    below: Names,
}

impl Names {
    /// Adds a path, and the new name of its field.
    pub fn add(&mut self, path: &str, new_name: &str) -> Result<()> {
        let levels = json::levels(path)?;
        if path.contains('[') && levels.len() > 1 {
            return Err(format!(
                "path `{path}` leads into a list: only fields of objects can be meant"
            )
            .into());
        }
        let (last, above) = levels.split_last().ok_or("a path has a name at least")?;
        let mut names = self;
        for level in above {
            names = &mut names.names.entry(level.clone()).or_default().below;
        }
        let name = names.names.entry(last.clone()).or_default();
        if name.end.is_some() {
            return Err(format!("`{path}` stands there twice").into());
        }
        name.end = Some((path.to_owned(), new_name.to_owned()));
        Ok(())
    }

    /// Whether this field or something in it is meant.
    pub fn means(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// Whether the field itself is meant.
    pub fn ends_at(&self, name: &str) -> bool {
        self.names.get(name).is_some_and(|name| name.end.is_some())
    }

    /// What is meant in the field.
    pub fn below(&self, name: &str) -> Option<&Self> {
        let below = &self.names.get(name)?.below;
        (!below.names.is_empty()).then_some(below)
    }

    /// The new name of the field.
    pub fn new_name(&self, name: &str) -> Option<&str> {
        let (_, new_name) = self.names.get(name)?.end.as_ref()?;
        Some(new_name)
    }

    /// The first path that is not there, or `null`.
    pub fn lacking(&self, members: &[Member<'_>]) -> Option<&str> {
        self.names.iter().find_map(|(wanted, name)| {
            let found = members.iter().find(|member| member.name == wanted.as_str());
            let value = found
                .map(|member| member.value)
                .filter(|value| !value.is_null());
            match (&name.end, value) {
                (Some((path, _)), None) => Some(path.as_str()),
                _ => {
                    let inner = value.and_then(|value| value.members().ok().flatten());
                    name.below.lacking(&inner.unwrap_or_default())
                }
            }
        })
    }
}

/// A value that is set.
#[derive(Debug)]
pub enum Set {
    /// JSON as it is.
    Plain(String),
    /// Pieces of text; between them names are filled in.
    Filled(Vec<Piece>),
}

/// A piece of a text.
#[derive(Debug)]
pub enum Piece {
    Text(String),
    Name(Template),
}

impl Set {
    /// Takes a text apart.
    pub fn new(value: Value) -> Result<Self> {
        let Value::String(text) = &value else {
            return Ok(Self::Plain(value.to_string()));
        };
        let mut pieces = Vec::new();
        let (mut plain, mut rest) = (String::new(), text.as_str());
        while let Some((before, after)) = rest.split_once('{') {
            plain.push_str(before);
            if let Some(after) = after.strip_prefix('{') {
                plain.push('{');
                rest = after;
                continue;
            }
            let (name, behind) = after
                .split_once('}')
                .ok_or("it has a `{` without `}`; write `{{` for a brace")?;
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
            pieces.push(Piece::Name(Template::new(&format!("{{{name}}}"), &[])?));
            rest = behind;
        }
        plain.push_str(rest);
        if pieces.is_empty() {
            return Ok(Self::Plain(Value::from(plain).to_string()));
        }
        pieces.push(Piece::Text(plain));
        Ok(Self::Filled(pieces))
    }

    /// As JSON, for this message.
    pub fn fill(&self, message: &Message<'_>) -> String {
        match self {
            Self::Plain(json) => json.clone(),
            Self::Filled(pieces) => {
                let filled: String = pieces
                    .iter()
                    .map(|piece| match piece {
                        Piece::Text(text) => text.clone(),
                        Piece::Name(name) => name.fill(message.topic(), message.key()),
                    })
                    .collect();
                Value::from(filled).to_string()
            }
        }
    }
}
