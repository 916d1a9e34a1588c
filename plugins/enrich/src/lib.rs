//! Adds fields out of a table in the settings: the room of a device, the name behind a number.
//!
//! ```toml
//! settings = { table = { d7 = { room = "kitchen", floor = 1 }, d8 = { room = "attic" } } }
//! settings = { by_field = "state", table = { "0" = { text = "idle" }, "1" = { text = "busy" } }, default = { text = "unknown" } }
//! ```
//!
//! - `table`: what is added, by the device's name, or by what `by` or `by_field` names: a table of fields each, with numbers, texts,
//!   truths, lists or tables as values. Required.
//! - `by`: names in the flow's topics, `"{room}"`, whose value is looked up. Default: the messages' key, which is the device.
//! - `by_field`: path of a field whose text, number or truth is looked up, as it stands there. Default: none.
//! - `default`: what is added where the table has nothing. Default: see `unknown`.
//! - `unknown`: what becomes of a message that is not in the table, without `default`, or lacks the field. `"pass"`: it goes on as it is,
//!   counted in `unknown`. `"reject"`: it goes to the dead letters. `"drop"`: it is filtered: the table says who may pass. Default: `"pass"`.
//! - `existing`: what becomes of a field that is there already. `"keep"`: it stays as it is. `"replace"`: it gets the table's value.
//!   Default: `"keep"`.
//!
//! The rest of the payload stays as it is. A payload that is not a JSON object, or has a name twice, rejects the message with the reason in
//! words. What deletes a retained reading (an empty payload) goes on.

use std::borrow::Cow;
use std::collections::BTreeMap;

use tidegate_sdk::json::{self, Object, Paths};
use tidegate_sdk::prelude::*;
use tidegate_sdk::serde_json::Value;

settings! {
    /// The plugin's settings.
    pub struct Settings {
        /// What is added, by name.
        pub table: BTreeMap<String, BTreeMap<String, Value>>,
        /// Names in the flow's topics that are looked up.
        pub by: Option<String>,
        /// Path of a field that is looked up.
        pub by_field: Option<String>,
        /// What is added where the table has nothing.
        pub default: Option<BTreeMap<String, Value>>,
        /// What becomes of a message that is not in the table.
        #[serde(default)]
        pub unknown: Unknown,
        /// What becomes of a field that is there already.
        #[serde(default)]
        pub existing: Existing,
    }
}

settings! {
    /// What becomes of a message that is not in the table.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Unknown {
        /// It goes on as it is.
        #[default]
        Pass,
        /// It is rejected.
        Reject,
        /// It is filtered.
        Drop,
    }
}

settings! {
    /// What becomes of a field that is there already.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Existing {
        /// It stays.
        #[default]
        Keep,
        /// It gets the table's value.
        Replace,
    }
}

/// Names and their values as JSON.
type Row = Vec<(String, String)>;

/// The configured plugin.
#[derive(Debug)]
pub struct Enrich {
    paths: Paths,
    by: By,
    table: BTreeMap<String, Row>,
    default: Option<Row>,
    unknown: Unknown,
    existing: Existing,
}

#[derive(Debug)]
enum By {
    Topic(Template),
    Field,
}

impl Transform for Enrich {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        if settings.table.is_empty() && settings.default.is_none() {
            return Err("`table` is empty: nothing would be added".into());
        }
        let mut paths = Paths::default();
        let by = match (settings.by, settings.by_field) {
            (Some(_), Some(_)) => return Err("`by` and `by_field` do not go together".into()),
            (by, None) => {
                let by = by.as_deref().unwrap_or("{key}");
                let template = Template::new(by, &[]).map_err(|error| format!("`by`: {error}"))?;
                if template.is_text() {
                    return Err(format!(
                        "`by` is `{by}` for every message: it wants a name in braces, such as \"{{device}}\""
                    )
                    .into());
                }
                By::Topic(template)
            }
            (None, Some(field)) => {
                paths
                    .add(&field)
                    .map_err(|error| format!("`by_field`: {error}"))?;
                By::Field
            }
        };
        let table = settings.table.into_iter();
        Ok(Self {
            paths,
            by,
            table: table.map(|(name, fields)| (name, row(fields))).collect(),
            default: settings.default.map(row),
            unknown: settings.unknown,
            existing: settings.existing,
        })
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        let members = json::members(message.payload())?;
        let name: Option<Cow<'_, str>> = match &self.by {
            By::Topic(template) if template.is_key() => Some(message.key().into()),
            By::Topic(template) => Some(template.fill(message.topic(), message.key()).into()),
            By::Field => {
                let value = self.paths.find(message.payload())?.value(0);
                value.map(|value| value.text().unwrap_or_else(|| value.raw().into()))
            }
        };
        let row = name.as_deref().and_then(|name| self.table.get(name));
        let Some(row) = row.or(self.default.as_ref()) else {
            counter("unknown", 1);
            match self.unknown {
                Unknown::Pass => out.pass(),
                Unknown::Drop => {}
                Unknown::Reject => {
                    let name: String = name.unwrap_or_default().chars().take(40).collect();
                    return Err(format!("`table` has no `{name}`").into());
                }
            }
            return Ok(());
        };
        let of_table = |name: &str| row.iter().any(|(added, _)| added == name);
        out.emit_with(|payload| {
            let mut object = Object::begin(payload);
            let replaces = self.existing == Existing::Replace;
            for member in &members {
                if !(replaces && of_table(&member.name)) {
                    object.raw(&member.name, member.value.bytes());
                }
            }
            for (name, json) in row {
                if replaces || members.iter().all(|member| member.name != name.as_str()) {
                    object.raw(name, json.as_bytes());
                }
            }
            object.end();
            Ok(())
        })
    }
}

fn row(fields: BTreeMap<String, Value>) -> Row {
    let fields = fields.into_iter();
    fields
        .map(|(name, value)| (name, value.to_string()))
        .collect()
}

tidegate_sdk::export!(Enrich);

#[cfg(test)]
mod tests;
