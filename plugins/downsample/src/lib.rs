//! Fewer readings that keep the shape: of each window those that a line through all of them would show go on, as they came, and the others end
//! here.
//!
//! ```toml
//! settings = { field = "temperature", window = "10m" }
//! settings = { field = "power", window = "1h", method = "lttb", points = 20 }
//! ```
//!
//! - `field`: path of the number that is looked at. Required.
//! - `window`: a length of time, from the first reading on; windows are each topic's of a device. Required.
//! - `method`: `"minmax"`: the readings with the lowest and the highest number go on; `"lttb"`: so many as `points` says, chosen by largest triangles
//!   (Steinarsson), the first and the last among them. Means and sums are `aggregate`'s. Default: `"minmax"`.
//! - `points`: readings of a window that go on with `"lttb"`, 3 to 100. Default: 10.
//! - `missing`: what becomes of a reading that lacks the field: `"pass"`: it goes on; `"reject"`: it goes to the dead letters. Default: `"pass"`.
//! - `max_devices`: devices of which readings are held. Beyond, and where they fill 1.9 MiB of state, the window of the one that was quiet for longest
//!   ends early. Default: 20,000.
//!
//! A window ends by the time that the gateway runs, with the next reading or a timer; one of 500 readings, and the oldest of a device with 256 KiB of them, ends at once. Readings leave then, in
//! their order, under their topics (the flow's `topic` does not change them), without headers; what has a time of its own in its payload keeps it. What is held survives swaps and
//! restarts. A payload that is not a JSON object, or a field that is no number, rejects the message with the reason in words. What
//! deletes a retained reading (an empty payload) goes on.

mod series;

use std::time::Duration;

use tidegate_sdk::json::Paths;
use tidegate_sdk::prelude::*;

use series::Choice;
pub use series::{Device, Held, Series};

settings! {
    /// The plugin's settings.
    pub struct Settings {
        /// Path of the number.
        pub field: String,
        /// How long a window is.
        pub window: Period,
        /// How readings are chosen.
        #[serde(default)]
        pub method: Method,
        /// How many go on.
        #[serde(default = "default_points")]
        pub points: usize,
        /// What becomes of a reading that lacks the field.
        #[serde(default)]
        pub missing: Missing,
        /// Devices of which readings are held.
        #[serde(default = "default_max_devices")]
        pub max_devices: usize,
    }
}

settings! {
    /// How readings are chosen.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Method {
        /// The lowest and the highest.
        #[default]
        MinMax,
        /// By largest triangles.
        Lttb,
    }
}

settings! {
    /// What becomes of a reading that lacks the field.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Missing {
        /// It goes on.
        #[default]
        Pass,
        /// It is rejected.
        Reject,
    }
}

fn default_points() -> usize {
    10
}

fn default_max_devices() -> usize {
    20_000
}

/// The configured plugin.
#[derive(Debug)]
pub struct Downsample {
    paths: Paths,
    choice: Choice,
    window: Period,
    missing: Missing,
    devices: State<Device>,
}

impl Transform for Downsample {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        tidegate_sdk::check_most("max_devices", settings.max_devices, 1)?;
        if settings.window.is_zero() {
            return Err("`window` must be longer than nothing".into());
        }
        if !(3..=100).contains(&settings.points) {
            return Err("`points` must be 3 to 100".into());
        }
        let mut paths = Paths::default();
        let added = paths.add(&settings.field);
        added.map_err(|error| format!("`field`: {error}"))?;
        Ok(Self {
            paths,
            choice: match settings.method {
                Method::MinMax => Choice::MinMax,
                Method::Lttb => Choice::Lttb(settings.points),
            },
            window: settings.window,
            missing: settings.missing,
            devices: State::at_most(settings.max_devices, Device::weight).by_hand(),
        })
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        let found = self.paths.find(message.payload())?;
        if found.value(0).is_none() && self.missing == Missing::Pass {
            out.pass();
            return Ok(());
        }
        let held = Held {
            at_us: message.running_us(),
            value: found.number(0)?,
            payload: message.text()?.to_owned(),
        };
        out.absorb();
        let window_us = self.window.micros();
        let mut device = self.devices.of(message.key());
        let over = device.take(message.topic(), held, self.choice, window_us);
        drop(device);
        for series in &over {
            tell(out, series, message.key(), self.choice)?;
        }
        if self
            .devices
            .get(message.key())
            .is_some_and(|device| device.series.is_empty())
        {
            self.devices.remove(message.key());
        }
        while let Some((key, device)) = self.devices.overflow() {
            counter("windows_ended_early", device.series.len() as u64);
            for series in &device.series {
                tell(out, series, &key, self.choice)?;
            }
        }
        Ok(())
    }

    fn tick_every(&self) -> Duration {
        self.window.tick(4)
    }
}

fn tell(out: &mut Outputs<'_>, series: &Series, key: &str, choice: Choice) -> Result<()> {
    for held in series.chosen(choice) {
        let draft = out.message().topic(&series.topic).key(key);
        draft.payload(held.payload.as_bytes())?;
    }
    Ok(())
}

impl Timer for Downsample {
    fn tick(&mut self, tick: &mut Tick<'_, '_>) -> Result<()> {
        let (now_us, window_us) = (tick.running_us(), self.window.micros());
        let mut empty = Vec::new();
        for (key, mut device) in self.devices.iter_mut() {
            if !tick.has_room() {
                break;
            }
            if !device
                .series
                .iter()
                .any(|series| series.is_over(now_us, window_us))
            {
                continue;
            }
            for series in device.end(now_us, window_us) {
                for held in series.chosen(self.choice) {
                    let draft = tick.message(&series.topic, key);
                    draft.payload(held.payload.as_bytes())?;
                }
            }
            if device.series.is_empty() {
                empty.push(key.to_owned());
            }
        }
        for key in empty {
            self.devices.remove(&key);
        }
        Ok(())
    }
}

impl Stateful for Downsample {
    type Value = Device;

    fn state(&mut self) -> &mut State<Device> {
        &mut self.devices
    }
}

tidegate_sdk::export!(Downsample: state, timer);

#[cfg(test)]
mod tests;
