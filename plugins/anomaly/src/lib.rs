//! Tells what is unusual for a device at an hour of the day: how many deviations a number is from its mean (z-score). Readings go on
//! unchanged.
//!
//! ```toml
//! settings = { fields = ["temperature"] }
//! settings = { fields = ["power", "flow"], threshold = 5, season = "none", after = 100, least = 2 }
//! to       = { out = "cloud:telemetry", anomalies = "cloud:alarm" }
//! ```
//!
//! - `fields`: paths of numbers, 20 at most. Required.
//! - `threshold`: how many standard deviations from the mean are unusual. Default: 4.
//! - `season`: `"hour"`: each hour of the day has a mean and a deviation of its own, so that a cold night is none. `"none"`: one for all. Default: `"hour"`.
//! - `utc_offset`: where hours begin, `"+01:00"`. Default: UTC.
//! - `after`: readings of an hour before anything is unusual in it. Default: 30.
//! - `memory`: readings of an hour that count; the older one is, the less. Default: 500.
//! - `least`: what is no further from the mean than this is never unusual, however steady it was. Default: 0.
//! - `topic`: topic of what is told; `{field}` is the field. Default: `"anomalies/{device}/{field}"`.
//! - `missing`: what becomes of a reading that lacks a field: `"skip"`: it says nothing of that field; `"reject"`: it goes to the dead letters.
//!   Default: `"skip"`.
//! - `max_devices`: devices of which something is remembered. Beyond, the one that was quiet for longest is forgotten, counted in
//!   `keys_forgotten`, and so it is where they fill 1.9 MiB of state: some 3,000 for each field with `season = "hour"`. Default: 20,000.
//!
//! When it begins, and when it is over, a message leaves through the port `anomalies`, whose name has to stand in the flow's `to`:
//!
//! ```json
//! {"anomaly":"temperature","device":"d7","state":"raised","value":35.0,"mean":21.5,"deviation":0.5,"score":27.0,"at":1767225600000000}
//! ```
//!
//! What is unusual is learnt, but pulled towards what was usual, so that one spike spoils nothing and a new level becomes the usual one. Means are
//! counted in doubles. While the gateway's clock is not set, nothing is judged or learnt by hours. A payload that is not a JSON
//! object, or a field that is no number, rejects the message with the reason in words. What deletes a retained reading (an empty payload)
//! goes on.

mod usual;

use tidegate_sdk::calendar::UtcOffset;
use tidegate_sdk::json::Paths;
use tidegate_sdk::prelude::*;

pub use usual::Usual;
use usual::{Judge, Seen};

settings! {
    /// The plugin's settings.
    pub struct Settings {
        /// Paths of numbers.
        pub fields: Vec<String>,
        /// How many deviations are unusual.
        #[serde(default = "default_threshold")]
        pub threshold: f64,
        /// Whether hours differ.
        #[serde(default)]
        pub season: Season,
        /// Where hours begin.
        #[serde(default = "default_utc_offset")]
        pub utc_offset: String,
        /// Readings before anything is unusual.
        #[serde(default = "default_after")]
        pub after: u32,
        /// Readings that count.
        #[serde(default = "default_memory")]
        pub memory: u32,
        /// What is never unusual.
        #[serde(default)]
        pub least: f64,
        /// Topic of what is told.
        #[serde(default = "default_topic")]
        pub topic: String,
        /// What becomes of a reading that lacks a field.
        #[serde(default)]
        pub missing: Missing,
        /// Devices of which something is remembered.
        #[serde(default = "default_max_devices")]
        pub max_devices: usize,
    }
}

settings! {
    /// Whether hours of the day differ.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Season {
        /// They do.
        #[default]
        Hour,
        /// They do not.
        None,
    }
}

settings! {
    /// What becomes of a reading that lacks a field.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Missing {
        /// It says nothing of it.
        #[default]
        Skip,
        /// It is rejected.
        Reject,
    }
}

fn default_threshold() -> f64 {
    4.0
}

fn default_utc_offset() -> String {
    "+00:00".to_owned()
}

fn default_after() -> u32 {
    30
}

fn default_memory() -> u32 {
    500
}

fn default_topic() -> String {
    "anomalies/{device}/{field}".to_owned()
}

fn default_max_devices() -> usize {
    20_000
}

record! {
    /// What is usual for a device, field by field, by the hashes of their paths.
    #[derive(Default)]
    pub struct Device {
        pub fields: Vec<(u32, Usual)>,
    }
}

impl Device {
    /// Bytes of it when it is saved, or a few more.
    pub fn weight(&self) -> usize {
        let fields = self.fields.iter().map(|(_, usual)| 8 + usual.weight());
        16 + fields.sum::<usize>()
    }
}

/// Fields at most.
const MOST_FIELDS: usize = 20;

const HOUR_US: i64 = 3_600_000_000;

/// The configured plugin.
#[derive(Debug)]
pub struct Anomaly {
    paths: Paths,
    fields: Vec<Field>,
    judge: Judge,
    season: Season,
    offset_us: i64,
    missing: Missing,
    devices: State<Device>,
}

#[derive(Debug)]
struct Field {
    path: usize,
    name: String,
    of: u32,
    topic: Template,
}

#[derive(Serialize)]
#[serde(crate = "tidegate_sdk::serde")]
struct Told<'a> {
    anomaly: &'a str,
    device: &'a str,
    state: &'static str,
    value: f64,
    mean: f64,
    deviation: f64,
    score: f64,
    at: u64,
}

impl Transform for Anomaly {
    type Settings = Settings;

    const PORTS: &'static [&'static str] = &["anomalies"];

    fn new(settings: Settings) -> Result<Self> {
        tidegate_sdk::check_most("max_devices", settings.max_devices, 1)?;
        if settings.fields.is_empty() || settings.fields.len() > MOST_FIELDS {
            return Err(format!("`fields` has 1 to {MOST_FIELDS} of them").into());
        }
        if !(settings.threshold > 0.0 && settings.threshold.is_finite()) {
            return Err("`threshold` must be above 0".into());
        }
        if !(settings.least >= 0.0 && settings.least.is_finite()) {
            return Err("`least` must be 0 or more".into());
        }
        if settings.after < 2 || settings.memory < settings.after {
            return Err(
                "`after` must be 2 or more, and `memory` no fewer readings than that".into(),
            );
        }
        let offset =
            UtcOffset::parse(&settings.utc_offset).ok_or("`utc_offset` must be like \"+01:00\"")?;
        let mut paths = Paths::default();
        let mut fields: Vec<Field> = Vec::new();
        for (place, name) in settings.fields.into_iter().enumerate() {
            let path = paths.add(&name);
            let path = path.map_err(|error| format!("`fields.{place}`: {error}"))?;
            if fields.iter().any(|other| other.path == path) {
                return Err(format!("`fields.{place}`: `{name}` stands there twice").into());
            }
            let topic = Template::new(&settings.topic, &[("field", &paths.last_name(path))]);
            fields.push(Field {
                path,
                of: tidegate_sdk::hash(name.as_bytes()) as u32,
                name,
                topic: topic.map_err(|error| format!("`topic`: {error}"))?,
            });
        }
        Ok(Self {
            paths,
            fields,
            judge: Judge {
                threshold: settings.threshold,
                least: settings.least,
                after: settings.after,
                memory: settings.memory,
            },
            season: settings.season,
            offset_us: offset.micros(),
            missing: settings.missing,
            devices: State::at_most(settings.max_devices, Device::weight),
        })
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        let found = self.paths.find(message.payload())?;
        let mut numbers = Vec::with_capacity(self.fields.len());
        for field in &self.fields {
            let lacks = found.value(field.path).is_none();
            numbers.push(match lacks && self.missing == Missing::Skip {
                true => None,
                false => Some(found.number(field.path)?),
            });
        }
        out.pass();
        if message.clock_unset() && self.season == Season::Hour {
            return Ok(());
        }
        let at_us = message.received_us();
        let hour = match self.season {
            Season::None => 0,
            Season::Hour => ((at_us as i64 + self.offset_us).div_euclid(HOUR_US)).rem_euclid(24),
        };
        let hours = if self.season == Season::Hour { 24 } else { 1 };
        let key = message.key();
        let mut device = self.devices.of(key);
        let is_known = |(of, _): &(u32, Usual)| self.fields.iter().any(|field| field.of == *of);
        device.fields.retain(is_known);
        for (field, value) in self.fields.iter().zip(numbers) {
            let Some(value) = value else {
                continue;
            };
            let place = device.fields.iter().position(|(of, _)| *of == field.of);
            let place = place.unwrap_or_else(|| {
                device.fields.push((field.of, Usual::default()));
                device.fields.len() - 1
            });
            let usual = &mut device.fields[place].1;
            let Seen { change, hour } = usual.see(value, hour as usize, hours, self.judge);
            let Some(state) = change else {
                continue;
            };
            let topic = field.topic.fill(message.topic(), key);
            let told = Told {
                anomaly: &field.name,
                device: key,
                state,
                value,
                mean: hour.mean(),
                deviation: hour.deviation(),
                score: hour.score(value),
                at: at_us,
            };
            out.message().port("anomalies").topic(&topic).json(&told)?;
        }
        Ok(())
    }
}

impl Stateful for Anomaly {
    type Value = Device;

    fn state(&mut self) -> &mut State<Device> {
        &mut self.devices
    }
}

tidegate_sdk::export!(Anomaly: state);

#[cfg(test)]
mod tests;
