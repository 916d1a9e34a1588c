//! What is gathered together.

use std::borrow::Cow;

use tidegate_sdk::json::{Found, Paths};
use tidegate_sdk::prelude::*;

use crate::Settings;

/// Bytes of a group's name at most.
const LONGEST: usize = 128;

/// What names a group.
#[derive(Debug)]
pub enum GroupBy {
    /// A part of the topic, or the key.
    Topic(Template),
    /// A field.
    Field(usize),
}

impl GroupBy {
    pub fn new(settings: &Settings, paths: &mut Paths) -> Result<Self> {
        match (&settings.by, &settings.by_field) {
            (Some(_), Some(_)) => Err("`by` and `by_field` do not go together".into()),
            (None, Some(field)) => Ok(Self::Field(
                paths
                    .add(field)
                    .map_err(|error| format!("`by_field`: {error}"))?,
            )),
            (by, None) => Template::new(by.as_deref().unwrap_or("{key}"), &[])
                .map(Self::Topic)
                .map_err(|error| format!("`by`: {error}").into()),
        }
    }

    /// Whether that is the messages' key, by which they are in lanes.
    pub fn is_key(&self) -> bool {
        matches!(self, Self::Topic(template) if template.is_key())
    }

    pub fn needs_json(&self) -> bool {
        matches!(self, Self::Field(_))
    }

    /// The group of a message. A field's value becomes part of a topic, so it has to be fit for that.
    pub fn name<'m>(
        &self,
        message: &Message<'m>,
        found: Option<&Found<'_, 'm>>,
    ) -> Result<Cow<'m, str>> {
        let (path, found) = match (self, found) {
            (Self::Topic(template), _) if template.is_key() => return Ok(message.key().into()),
            (Self::Topic(template), _) => {
                let name = template.fill(message.topic(), message.key());
                if name.is_empty() {
                    return Err("its topic has no level that `by` names".into());
                }
                return Ok(name.into());
            }
            (Self::Field(path), Some(found)) => (*path, found),
            (Self::Field(_), None) => return Err("payload is not a JSON object".into()),
        };
        let value = found.require(path)?;
        let name = match value.text() {
            Some(text) => text,
            None if value.number().is_some() || value.truth().is_some() => value.raw().into(),
            None => {
                let (name, excerpt) = (found.name(path), value.excerpt());
                return Err(format!("field `{name}` names no group: `{excerpt}`").into());
            }
        };
        let is_unfit = |letter: char| letter.is_control() || matches!(letter, '+' | '#');
        if name.is_empty() || name.len() > LONGEST || name.contains(is_unfit) {
            let (name, excerpt) = (found.name(path), value.excerpt());
            return Err(format!(
                "field `{name}` names no group that a topic can hold: `{excerpt}`"
            )
            .into());
        }
        Ok(name)
    }
}
