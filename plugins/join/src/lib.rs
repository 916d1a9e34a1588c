//! One message of what a device says in several: temperature under one topic, humidity under another.
//!
//! ```toml
//! settings = { fields = ["temperature", "humidity"] }
//! settings = { fields = [{ field = "AM2301.Temperature", as = "temperature" }, "power"], send = "each", within = "1h", topic = "up/{device}" }
//! ```
//!
//! - `fields`: what is joined, each a path or a table. The new message has them in this order, and no other. Required.
//!   - `field`: path of the field. Required.
//!   - `as`: its name in the new message. Default: the last name of the path.
//! - `send`: `"complete"`: a message is made as soon as each field has come since the last one. `"each"`: with each message that has one of
//!   them, of all that are known. Default: `"complete"`.
//! - `within`: a value that is older is not told any more, by the time the gateway runs. Above zero. Default: `"10m"`.
//! - `topic`: the new message's topic; what a flow's `topic` knows may stand in it. Default: `"joined/{device}"`.
//! - `missing`: what becomes of a message with none of the fields (`null` is no value). `"drop"`: it is filtered. `"reject"`: it goes to the
//!   dead letters. Default: `"drop"`.
//! - `max_devices`: devices in a lane that are known. Beyond, the one that was quiet for longest is forgotten, counted in
//!   `keys_forgotten`, and so it is where they fill 1.9 MiB of state, whatever their names are. Default: 20,000, divided by the number
//!   of fields.
//!
//! For payloads that are plain numbers put `number` before it, with `field = "{metric}"`. Values keep their digits; one of more than 128 bytes
//! rejects its message. What is known survives swaps and restarts; the messages that went into it end here. What deletes a retained reading
//! (an empty payload) goes on.

use tidegate_sdk::json::{Object, Paths};
use tidegate_sdk::prelude::*;

settings! {
    /// The plugin's settings.
    pub struct Settings {
        /// What is joined.
        pub fields: Vec<Field>,
        /// When a message is made.
        #[serde(default)]
        pub send: Send,
        /// How long a value is told.
        #[serde(default = "default_within")]
        pub within: Period,
        /// The new message's topic.
        #[serde(default = "default_topic")]
        pub topic: String,
        /// What becomes of a message with none of the fields.
        #[serde(default)]
        pub missing: Missing,
        /// Devices in a lane that are known.
        pub max_devices: Option<usize>,
    }
}

settings! {
    /// A field: its path, or a table that says more.
    #[serde(untagged, expecting = "a field is a path, or a table of `field` and perhaps `as`")]
    pub enum Field {
        /// Under the last name of its path.
        Path(String),
        /// Under another name.
        Named(Named),
    }
}

settings! {
    /// A field under another name.
    pub struct Named {
        /// Its path.
        pub field: String,
        /// Its name in the new message.
        #[serde(rename = "as")]
        pub name: Option<String>,
    }
}

settings! {
    /// When a message is made.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Send {
        /// When all are there.
        #[default]
        Complete,
        /// With each that comes.
        Each,
    }
}

settings! {
    /// What becomes of a message with none of the fields.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Missing {
        /// It is filtered.
        #[default]
        Drop,
        /// It is rejected.
        Reject,
    }
}

fn default_within() -> Period {
    Period::seconds(600)
}

fn default_topic() -> String {
    "joined/{device}".to_owned()
}

/// Bytes of a value at most: all of them together have to fit the state.
const LONGEST: usize = 128;

/// Values of all devices in a lane, where the settings do not say.
const MOST_VALUES: usize = 20_000;

record! {
    /// What is known of a device.
    #[derive(Default)]
    pub struct Known {
        /// Of which fields these are the values.
        pub of: u32,
        /// Each as JSON, and when it came by the running clock, microseconds.
        pub values: Vec<Option<(String, u64)>>,
    }
}

impl Known {
    /// Bytes of it when it is saved, or a few more.
    fn weight(&self) -> usize {
        let length =
            |value: &Option<(String, u64)>| value.as_ref().map_or(1, |(json, _)| json.len() + 12);
        self.values
            .iter()
            .fold(24, |bytes, value| bytes + length(value))
    }
}

/// The configured plugin.
#[derive(Debug)]
pub struct Join {
    paths: Paths,
    /// Path and name.
    fields: Vec<(usize, String)>,
    of: u32,
    send: Send,
    within: Period,
    topic: Template,
    missing: Missing,
    devices: State<Known>,
}

impl Transform for Join {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        if settings.fields.is_empty() {
            return Err("`fields` is empty: nothing would be joined".into());
        }
        let mut paths = Paths::default();
        let mut fields: Vec<(usize, String)> = Vec::new();
        for field in settings.fields {
            let (path, name) = match field {
                Field::Path(path) => (path, None),
                Field::Named(Named { field, name }) => (field, name),
            };
            let path = paths
                .add(&path)
                .map_err(|error| format!("`fields`: {error}"))?;
            let name = name.unwrap_or_else(|| paths.last_name(path));
            if fields.iter().any(|(_, other)| *other == name) {
                return Err(format!("`fields`: two are called `{name}`: set `as`").into());
            }
            fields.push((path, name));
        }
        if settings.within.is_zero() {
            return Err(
                "`within` is no time at all: no two messages would be joined; say how old a value may be, such as \"10m\""
                    .into(),
            );
        }
        let most = settings
            .max_devices
            .unwrap_or((MOST_VALUES / fields.len()).max(1));
        tidegate_sdk::check_most("max_devices", most, 24)?;
        let names: Vec<&str> = fields.iter().map(|(path, _)| paths.name(*path)).collect();
        Ok(Self {
            of: tidegate_sdk::hash(names.join("\n").as_bytes()) as u32,
            send: settings.send,
            within: settings.within,
            topic: Template::new(&settings.topic, &[])
                .map_err(|error| format!("`topic`: {error}"))?,
            missing: settings.missing,
            devices: State::at_most(most, Known::weight),
            paths,
            fields,
        })
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        let found = self.paths.find(message.payload())?;
        let values: Vec<Option<&str>> = self
            .fields
            .iter()
            .map(|(path, _)| found.value(*path).map(|value| value.raw()))
            .collect();
        if values.iter().all(Option::is_none) {
            return match self.missing {
                Missing::Drop => Ok(()),
                Missing::Reject => found.require(self.fields[0].0).map(drop),
            };
        }
        if values.iter().flatten().any(|value| value.len() > LONGEST) {
            return Err(format!("a value is longer than {LONGEST} bytes").into());
        }
        let now_us = message.running_us();
        let mut known = self.devices.of(message.key());
        if known.of != self.of || known.values.len() != values.len() {
            *known = Known {
                of: self.of,
                values: vec![None; values.len()],
            };
        }
        for (known, value) in known.values.iter_mut().zip(values) {
            if let Some(value) = value {
                *known = Some((value.to_owned(), now_us));
            }
            // A moment that lies ahead is one of a store that was lost.
            let is_fresh = |at_us: u64| at_us <= now_us && now_us - at_us <= self.within.micros();
            if known.as_ref().is_some_and(|(_, at_us)| !is_fresh(*at_us)) {
                *known = None;
            }
        }
        if self.send == Send::Complete && known.values.iter().any(Option::is_none) {
            out.absorb();
            return Ok(());
        }
        let topic = self.topic.fill(message.topic(), message.key());
        out.message().topic(&topic).write(|payload| {
            let mut object = Object::begin(payload);
            for ((_, name), value) in self.fields.iter().zip(&known.values) {
                if let Some((json, _)) = value {
                    object.raw(name, json.as_bytes());
                }
            }
            object.end();
            Ok(())
        })?;
        out.absorb();
        drop(known);
        if self.send == Send::Complete {
            self.devices.remove(message.key());
        }
        Ok(())
    }
}

impl Stateful for Join {
    type Value = Known;

    fn state(&mut self) -> &mut State<Known> {
        &mut self.devices
    }
}

tidegate_sdk::export!(Join: state);

#[cfg(test)]
mod tests;
