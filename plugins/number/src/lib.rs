//! Makes a field of payloads that are a plain number or word: `21.5`, `12,5 °C`, `ON`, `true`.
//!
//! ```toml
//! settings = { field = "temperature" }
//! settings = { field = "{metric}", decimal = "comma", words = { open = true, closed = false } }
//! ```
//!
//! `12,5 °C` becomes `{"temperature":12.5,"unit":"°C"}`, `ON` becomes `{"temperature":true}`.
//!
//! - `field`: the field's name. `{name}` of a level in the flow's topics may stand in it: with topics of
//!   `"home/{device}/{metric}"` the field is called as the level is. Default: `"value"`.
//! - `unit`: the name of the field for what stands behind the number; `""` leaves it out. Default: `"unit"`.
//! - `decimal`: what parts the whole from its fraction: `"point"` (`1,234.5`), `"comma"` (`1.234,5`), or `"auto"`: the last of
//!   both, and a comma alone, but where it may as well part thousands (`1,234`): that is rejected. Default: `"auto"`.
//! - `words`: what words mean: a number, text or truth each; upper and lower case are one. Beside `on`, `true`, `yes` (true) and
//!   `off`, `false`, `no` (false), which may be given another meaning. Default: none.
//! - `text`: what becomes of all other text. `"reject"`: it goes to the dead letters. `"keep"`: it is the field's value.
//!   Default: `"reject"`.
//! - `missing`: what becomes of a payload that says that there is no value (nothing, `nan`, `null`, `none`, `unknown`, `unavailable`,
//!   `n/a`, `-`). `"reject"`: it goes to the dead letters, and does not count against its device. `"drop"`: it is filtered. `"null"`: the
//!   field is `null`. Default: `"reject"`.
//!
//! A number keeps its digits. Spaces around it, a pair of quotes, a sign and an exponent are understood. What deletes a retained reading (an empty payload) goes on.

mod read;

use std::collections::{BTreeMap, BTreeSet};

use tidegate_sdk::json::Object;
use tidegate_sdk::prelude::*;
use tidegate_sdk::serde_json::Value;

use read::{Reading, read};

settings! {
    /// The plugin's settings.
    pub struct Settings {
        /// The field's name; names of levels in the flow's topics may stand in it.
        #[serde(default = "default_field")]
        pub field: String,
        /// Name of the field for the unit.
        #[serde(default = "default_unit")]
        pub unit: String,
        /// What parts the whole from its fraction.
        #[serde(default)]
        pub decimal: DecimalMark,
        /// What words mean.
        #[serde(default)]
        pub words: BTreeMap<String, Value>,
        /// What becomes of all other text.
        #[serde(default)]
        pub text: Text,
        /// What becomes of a payload that says that there is no value.
        #[serde(default)]
        pub missing: Missing,
    }
}

settings! {
    /// What becomes of a payload that says that there is no value.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Missing {
        /// It is rejected.
        #[default]
        Reject,
        /// It is filtered.
        Drop,
        /// The field is `null`.
        Null,
    }
}

settings! {
    /// What parts the whole from its fraction.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum DecimalMark {
        /// Whichever it can be.
        #[default]
        Auto,
        /// `1,234.5`
        Point,
        /// `1.234,5`
        Comma,
    }
}

settings! {
    /// What becomes of text that is no number and no word with a meaning.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Text {
        /// It is rejected.
        #[default]
        Reject,
        /// It is the field's value.
        Keep,
    }
}

fn default_field() -> String {
    "value".to_owned()
}

fn default_unit() -> String {
    "unit".to_owned()
}

const TRUE: [&str; 3] = ["on", "true", "yes"];
const FALSE: [&str; 3] = ["off", "false", "no"];
const NO_VALUE: [&str; 9] = [
    "",
    "nan",
    "null",
    "none",
    "unknown",
    "unavailable",
    "n/a",
    "-",
    "--",
];

/// Bytes of a payload beyond which it is no plain value.
const LONGEST: usize = 1_024;

/// The configured plugin.
#[derive(Debug)]
pub struct PlainNumber {
    field: Template,
    unit: String,
    decimal: DecimalMark,
    /// Words in small letters, and their meaning as JSON.
    words: BTreeMap<String, String>,
    text: Text,
    missing: Missing,
}

impl Transform for PlainNumber {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        if settings.field == settings.unit {
            return Err("`field` and `unit` have the same name".into());
        }
        let mut words = BTreeMap::new();
        words.extend(TRUE.map(|word| (word.to_owned(), "true".to_owned())));
        words.extend(FALSE.map(|word| (word.to_owned(), "false".to_owned())));
        let mut given = BTreeSet::new();
        for (word, meaning) in settings.words {
            if meaning.is_object() || meaning.is_array() {
                return Err(format!("`words.{word}` must be a number, text or truth").into());
            }
            let small = word.trim().to_lowercase();
            if small.is_empty() {
                return Err(
                    "`words` has an empty word: `missing` says what becomes of nothing".into(),
                );
            }
            if !given.insert(small.clone()) {
                return Err(format!("`words.{word}`: `{small}` stands there twice, since upper and lower case are one").into());
            }
            words.insert(small, meaning.to_string());
        }
        Ok(Self {
            field: Template::new(&settings.field, &[])
                .map_err(|error| format!("`field`: {error}"))?,
            unit: settings.unit,
            decimal: settings.decimal,
            words,
            text: settings.text,
            missing: settings.missing,
        })
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        if message.is_delete() {
            out.pass();
            return Ok(());
        }
        if message.payload().len() > LONGEST {
            let length = message.payload().len();
            return Err(format!("payload of {length} bytes is no plain value").into());
        }
        let text = unquoted(message.text()?.trim());
        let field = self.field.fill(message.topic(), message.key());
        let word = text.to_lowercase();
        if let Some(meaning) = self.words.get(&word) {
            return write(out, &field, meaning, None);
        }
        if NO_VALUE.contains(&&*word) {
            return match self.missing {
                Missing::Reject => {
                    let words = format!("`{text}` is no value");
                    Err(Box::new(tidegate_sdk::Missing(words)))
                }
                Missing::Drop => Ok(()),
                Missing::Null => write(out, &field, "null", None),
            };
        }
        match (read(text, self.decimal), self.text) {
            (Ok(Reading { number, unit }), _) => {
                let unit = unit.filter(|_| !self.unit.is_empty());
                write(out, &field, &number, unit.map(|unit| (&*self.unit, unit)))
            }
            (Err(_), Text::Keep) => write(out, &field, &Value::from(text).to_string(), None),
            (Err(error), Text::Reject) => Err(error),
        }
    }
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .map_or(text, str::trim)
}

fn write(
    out: &mut Outputs<'_>,
    field: &str,
    value: &str,
    unit: Option<(&str, &str)>,
) -> Result<()> {
    out.emit_with(|payload| {
        let mut object = Object::begin(payload);
        object.raw(field, value.as_bytes());
        if let Some((name, unit)) = unit {
            object.member(name, unit)?;
        }
        object.end();
        Ok(())
    })
}

tidegate_sdk::export!(PlainNumber);

#[cfg(test)]
mod tests;
