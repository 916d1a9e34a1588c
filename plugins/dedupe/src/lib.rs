//! Lets a message through once: what a device repeats within some time is filtered.
//!
//! ```toml
//! settings = { within = "1m" }
//! settings = { fields = ["deviceInfo.devEui", "fCnt"], topics = "together", within = "5m" }
//! ```
//!
//! - `fields`: paths of the fields by which a repeat is known: a number that counts up, a time. A number is known by what it says:
//!   `1`, `1.0` and `1e0` are one. Default: none; then by the whole payload, byte for byte.
//! - `within`: how long a message is remembered, from when it first came, by the time the gateway runs. Default: `"10m"`.
//! - `topics`: `"apart"`: a repeat comes under the same topic. `"together"`: it may come under any of the device's, as what two radio
//!   gateways have heard. Default: `"apart"`.
//! - `missing`: what becomes of a message that lacks one of the fields (`null` is no value). `"reject"`: it goes to the dead letters.
//!   `"pass"`: it goes on, and is not remembered. Default: `"reject"`.
//! - `max_messages`: messages of a device that are remembered; beyond, the oldest is forgotten. At most 10,000. Default: 32.
//! - `max_devices`: devices in a lane that are known. Beyond, the one that was quiet for longest is forgotten, counted in
//!   `keys_forgotten`, and so it is where they fill 1.9 MiB of state, whatever their names are. Default: 5,000.
//!
//! Repeats are counted in `repeated`. What is remembered (a hash of 64 bits each) survives swaps and restarts. Readings that do not change
//! are no repeats: see `deadband`. What deletes a retained reading (an empty payload) goes on.

use tidegate_sdk::json::Paths;
use tidegate_sdk::prelude::*;

settings! {
    /// The plugin's settings.
    pub struct Settings {
        /// Paths of the fields by which a repeat is known.
        #[serde(default)]
        pub fields: Vec<String>,
        /// How long a message is remembered.
        #[serde(default = "default_within")]
        pub within: Period,
        /// Whether a repeat may come under another topic.
        #[serde(default)]
        pub topics: Among,
        /// What becomes of a message that lacks a field.
        #[serde(default)]
        pub missing: Missing,
        /// Messages of a device that are remembered.
        #[serde(default = "default_messages")]
        pub max_messages: usize,
        /// Devices in a lane that are known.
        #[serde(default = "default_devices")]
        pub max_devices: usize,
    }
}

settings! {
    /// Whether a repeat may come under another topic.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Among {
        /// It may not.
        #[default]
        Apart,
        /// It may.
        Together,
    }
}

settings! {
    /// What becomes of a message that lacks a field.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Missing {
        /// It is rejected.
        #[default]
        Reject,
        /// It goes on.
        Pass,
    }
}

fn default_within() -> Period {
    Period::seconds(600)
}

fn default_messages() -> usize {
    32
}

fn default_devices() -> usize {
    5_000
}

record! {
    /// What is remembered of a device: a hash of each message, and when it first came by the running clock, microseconds.
    #[derive(Default)]
    pub struct Seen {
        /// From the oldest on.
        pub messages: Vec<(u64, u64)>,
    }
}

impl Seen {
    /// Bytes of it when it is saved, or a few more.
    fn weight(&self) -> usize {
        16 + 19 * self.messages.len()
    }
}

/// Messages of one device that are looked through for each that comes.
const MOST_MESSAGES: usize = 10_000;

/// The configured plugin.
#[derive(Debug)]
pub struct Dedupe {
    paths: Paths,
    fields: Vec<usize>,
    within: Period,
    topics: Among,
    missing: Missing,
    max_messages: usize,
    devices: State<Seen>,
}

impl Transform for Dedupe {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        if settings.within.is_zero() {
            return Err("`within` is no time at all: nothing would be remembered".into());
        }
        if !(1..=MOST_MESSAGES).contains(&settings.max_messages) {
            return Err(format!(
                "`max_messages` is {}; it may be 1 to {MOST_MESSAGES}",
                settings.max_messages
            )
            .into());
        }
        tidegate_sdk::check_most("max_devices", settings.max_devices, 0)?;
        let mut paths = Paths::default();
        let fields = settings.fields.iter().map(|field| paths.add(field));
        let fields = fields
            .collect::<Result<_>>()
            .map_err(|error| format!("`fields`: {error}"))?;
        Ok(Self {
            paths,
            fields,
            within: settings.within,
            topics: settings.topics,
            missing: settings.missing,
            max_messages: settings.max_messages,
            devices: State::at_most(settings.max_devices, Seen::weight),
        })
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        if message.is_delete() {
            out.pass();
            return Ok(());
        }
        let Some(mut parts) = self.parts(message)? else {
            out.pass();
            return Ok(());
        };
        if self.topics == Among::Apart {
            parts.extend_from_slice(b"\0");
            parts.extend_from_slice(message.topic_bytes());
        }
        let (hash, now_us) = (tidegate_sdk::hash(&parts), message.running_us());
        let within_us = self.within.micros();
        // A moment that lies ahead is one of a store that was lost.
        let is_fresh = |at_us: u64| at_us <= now_us && now_us - at_us < within_us;
        let known = self.devices.get_mut(message.key());
        let is_repeat = known.is_some_and(|seen| {
            let mut messages = seen.messages.iter();
            messages.any(|(other, at_us)| *other == hash && is_fresh(*at_us))
        });
        if is_repeat {
            counter("repeated", 1);
            return Ok(());
        }
        let mut seen = self.devices.of(message.key());
        seen.messages
            .retain(|(other, at_us)| *other != hash && is_fresh(*at_us));
        let excess = (seen.messages.len() + 1).saturating_sub(self.max_messages);
        seen.messages.drain(..excess);
        seen.messages.push((hash, now_us));
        out.pass();
        Ok(())
    }
}

impl Dedupe {
    /// What a repeat is known by; `None` when it is not there, and the message is to go on.
    fn parts(&mut self, message: &Message<'_>) -> Result<Option<Vec<u8>>> {
        if self.fields.is_empty() {
            return Ok(Some(message.payload().to_vec()));
        }
        let found = self.paths.find(message.payload())?;
        let mut parts = Vec::new();
        for field in &self.fields {
            match (found.value(*field), self.missing) {
                (None, Missing::Pass) => return Ok(None),
                _ => parts.extend_from_slice(found.require(*field)?.canonical().as_bytes()),
            }
            parts.push(0);
        }
        Ok(Some(parts))
    }
}

impl Stateful for Dedupe {
    type Value = Seen;

    fn state(&mut self) -> &mut State<Seen> {
        &mut self.devices
    }
}

tidegate_sdk::export!(Dedupe: state);

#[cfg(test)]
mod tests;
