//! Lets a reading through when one of its fields has changed by enough, or when the last one that went on is some time ago; the
//! rest is filtered. Readings go on unchanged.
//!
//! ```toml
//! settings = { fields = [{ field = "temperature", absolute = 0.2 }, { field = "power", percent = 5 }, "state"], heartbeat = "15m" }
//! settings = { fields = ["contact"] }
//! ```
//!
//! - `fields`: what is compared with the last reading of the device that went on: a path, whose value may not change at all, or a
//!   table. Required.
//!   - `field`: path of the field: `"volts"`, `"battery.volts"`, `"power[0]"`. Required.
//!   - `absolute`: a number has changed when it is further than this from the one that went on last.
//!   - `percent`: the same in percent of that one. With both, either is enough; without, any other value is a change.
//! - `heartbeat`: after this time a reading goes on all the same, by the time that the gateway runs. Default: never.
//! - `missing`: what becomes of a reading that lacks a field (`null` is no value). `"reject"`: it goes to the dead letters. `"skip"`: a
//!   field that comes or goes is a change; a reading with none of them goes on. Default: `"skip"`.
//! - `max_devices`: devices in a lane that are known. Beyond, the one that was quiet for longest is forgotten, counted in
//!   `keys_forgotten`: its next reading goes on. So it is where they fill 1.9 MiB of state, whatever their names are. Default: 20,000.
//!
//! Each topic of a device is compared for itself, of 32 at most. Numbers are compared with all their digits, and `1`, `1.0` and `1e0` are one. What is filtered is
//! counted in `unchanged`. What went on last survives swaps and restarts. A field that is no number where one is compared, or a
//! payload that is not a JSON object, rejects the message with the reason in words. What deletes a retained reading goes on.

mod band;

use tidegate_sdk::Topics;
use tidegate_sdk::json::Paths;
use tidegate_sdk::prelude::*;

pub use band::{Band, Field};
use band::{Sent, text_of};

settings! {
    /// The plugin's settings.
    pub struct Settings {
        /// What is compared.
        pub fields: Vec<Field>,
        /// After this time a reading goes on all the same.
        pub heartbeat: Option<Period>,
        /// What becomes of a reading that lacks a field.
        #[serde(default)]
        pub missing: Missing,
        /// Devices in a lane that are known.
        #[serde(default = "default_devices")]
        pub max_devices: usize,
    }
}

settings! {
    /// What becomes of a reading that lacks a field.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Missing {
        /// It is rejected.
        Reject,
        /// The others are compared.
        #[default]
        Skip,
    }
}

fn default_devices() -> usize {
    20_000
}

/// The configured plugin.
#[derive(Debug)]
pub struct Deadband {
    paths: Paths,
    bands: Vec<Band>,
    /// Tells these fields from those of other settings, whose values lie in an older state.
    of: u32,
    heartbeat: Option<Period>,
    missing: Missing,
    devices: State<Topics<Sent>>,
}

impl Transform for Deadband {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        if settings.fields.is_empty() {
            return Err("`fields` is empty: nothing would be compared".into());
        }
        tidegate_sdk::check_most("max_devices", settings.max_devices, 0)?;
        if settings.heartbeat.is_some_and(Period::is_zero) {
            return Err("`heartbeat` is no time at all: every reading would go on".into());
        }
        let mut paths = Paths::default();
        let mut bands = Vec::new();
        for (place, field) in settings.fields.into_iter().enumerate() {
            let band = Band::new(field, &mut paths)
                .map_err(|error| format!("`fields.{place}`: {error}"))?;
            if bands.iter().any(|other: &Band| other.path == band.path) {
                let name = paths.name(band.path);
                return Err(format!("`fields.{place}`: `{name}` stands there twice").into());
            }
            bands.push(band);
        }
        let names: Vec<&str> = bands.iter().map(|band| paths.name(band.path)).collect();
        Ok(Self {
            of: band::of(&names),
            paths,
            bands,
            heartbeat: settings.heartbeat,
            missing: settings.missing,
            devices: State::at_most(settings.max_devices, |topics| topics.weight(Sent::weight)),
        })
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        let found = self.paths.find(message.payload())?;
        let now_us = message.running_us();
        // Reading a value marks the device as one that speaks, and nothing to be saved.
        let device = self.devices.get_mut(message.key());
        let known = device
            .as_ref()
            .and_then(|topics| topics.get(message.topic_bytes()))
            .filter(|sent| sent.of == self.of && sent.values.len() == self.bands.len());
        // A moment that lies ahead is one of a store that was lost.
        let is_due = known.is_none_or(|sent| {
            sent.at_us > now_us
                || self
                    .heartbeat
                    .is_some_and(|heartbeat| now_us - sent.at_us >= heartbeat.micros())
        });
        let mut has_changed = is_due;
        let mut is_there = false;
        for (place, band) in self.bands.iter().enumerate() {
            let value = match self.missing {
                Missing::Reject => Some(found.require(band.path)?),
                Missing::Skip => found.value(band.path),
            };
            is_there |= value.is_some();
            let last = known.and_then(|sent| sent.values[place].as_deref());
            has_changed |= match value {
                None => last.is_some(),
                Some(value) if band.is_exact() => last != Some(&*text_of(value)),
                Some(_) => {
                    let number = found.decimal(band.path)?;
                    last.is_none_or(|last| band.is_left(last, number))
                }
            };
        }
        if !is_there {
            out.pass();
            return Ok(());
        }
        if !has_changed {
            counter("unchanged", 1);
            return Ok(());
        }
        drop(device);
        let values = self.bands.iter().map(|band| {
            let value = found.value(band.path)?;
            match found.decimal(band.path) {
                Ok(number) if !band.is_exact() => Some(number.to_json()),
                _ => Some(text_of(value).into_owned()),
            }
        });
        let sent = Sent {
            of: self.of,
            at_us: now_us,
            values: values.collect(),
        };
        out.pass();
        self.devices
            .of(message.key())
            .set(message.topic_bytes(), sent);
        Ok(())
    }
}

impl Stateful for Deadband {
    type Value = Topics<Sent>;

    fn state(&mut self) -> &mut State<Topics<Sent>> {
        &mut self.devices
    }
}

tidegate_sdk::export!(Deadband: state);

#[cfg(test)]
mod tests;
