//! Raises and clears an alarm per device when a field leaves its bounds; readings go on unchanged.
//!
//! ```toml
//! settings = { field = "fahrenheit", above = 86, hysteresis = 2, hold_seconds = 10 }
//! to       = { out = "cloud:telemetry", alarms = "cloud:alarm" }
//! ```
//!
//! - `field`: path of the field: `"volts"`, `"battery.volts"`, `"power[0]"`. Required.
//! - `above`, `below`: the alarm is raised above the one or below the other. One of them is required.
//! - `hysteresis`: how far inside the bounds the field must be for the alarm to be cleared; with both bounds, less than they are apart.
//!   Default: 0.
//! - `hold_seconds`: how long a change must last, by the time the gateway runs (a jump of the time of day changes nothing); a
//!   timer ends the wait when no further reading comes. A year at most. Default: 0.
//! - `name`: the alarm's name. Default: the path of the field.
//! - `topic`: the alarms' topic. `{name}` and all that a flow's `topic` knows may stand in it: `{device}`, `{key}`, `{topic}`,
//!   `{flow}`, and the other names in the flow's topics. Default: `"alarms/{device}/{name}"`.
//! - `missing`: what becomes of a reading in which the field is not there, or `null`. `"reject"`: it goes to the dead
//!   letters. `"pass"`: it goes on, and the alarm stays as it is. Default: `"reject"`.
//! - `max_devices`: devices in a lane of which something is remembered: an alarm, or a change that has yet to last. Beyond, the one
//!   that was quiet for longest is forgotten, counted in `keys_forgotten`, and so it is where they fill 1.9 MiB of state, whatever
//!   their names are. Default: 20,000.
//!
//! Messages on the port `alarms` look like this. They are messages of their own: whatever expiry, QoS level or headers the
//! reading had, an alarm has none of it.
//!
//! ```json
//! {"alarm":"fahrenheit","device":"d7","state":"raised","side":"above","limit":86.0,"value":90.5,"since":1700000000000000,"at":1700000010000000}
//! ```
//!
//! What is remembered of a device, an alarm that is raised or a change that has yet to last, survives swaps and restarts.
//! A payload that is not a JSON object, or a field that is no number, rejects the message with the reason
//! in words. What deletes a retained reading (an empty payload) goes on.

mod rule;

use std::time::Duration;

use tidegate_sdk::json::Paths;
use tidegate_sdk::prelude::*;

use rule::{Change, Moment, Rule};
pub use rule::{Device, Pending, Side};

settings! {
    /// The plugin's settings.
    pub struct Settings {
        /// Path of the field.
        pub field: String,
        /// The alarm is raised above this.
        pub above: Option<f64>,
        /// The alarm is raised below this.
        pub below: Option<f64>,
        /// How far inside the bounds the field must be for the alarm to be cleared.
        #[serde(default)]
        pub hysteresis: f64,
        /// How long a change must last.
        #[serde(default)]
        pub hold_seconds: f64,
        /// The alarm's name; the field's path by default.
        pub name: Option<String>,
        /// The alarms' topic; `{name}` and the names that the flow's own `topic` knows are filled in.
        #[serde(default = "default_topic")]
        pub topic: String,
        /// What becomes of a reading without the field.
        #[serde(default)]
        pub missing: Missing,
        /// Devices of which something is remembered.
        #[serde(default = "default_devices")]
        pub max_devices: usize,
    }
}

settings! {
    /// What becomes of a reading without the field.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Missing {
        /// It is rejected.
        #[default]
        Reject,
        /// It goes on, and the alarm stays as it is.
        Pass,
    }
}

fn default_topic() -> String {
    "alarms/{device}/{name}".to_owned()
}

fn default_devices() -> usize {
    20_000
}

/// The configured plugin.
#[derive(Debug)]
pub struct Threshold {
    paths: Paths,
    rule: Rule,
    missing: Missing,
    alarms: Alarms,
    devices: State<Device>,
}

/// How alarms are written.
#[derive(Debug)]
struct Alarms {
    name: String,
    topic: Template,
}

#[derive(Serialize)]
#[serde(crate = "tidegate_sdk::serde")]
struct Alarm<'a> {
    alarm: &'a str,
    device: &'a str,
    state: &'a str,
    side: Side,
    limit: f64,
    value: f64,
    since: u64,
    at: u64,
}

impl Transform for Threshold {
    type Settings = Settings;

    const PORTS: &'static [&'static str] = &["alarms"];

    fn new(settings: Settings) -> Result<Self> {
        let name = settings.name.as_ref().unwrap_or(&settings.field);
        let topic = Template::new(&settings.topic, &[("name", name)])
            .map_err(|error| format!("`topic`: {error}"))?;
        let mut paths = Paths::default();
        paths.add(&settings.field)?;
        tidegate_sdk::check_most("max_devices", settings.max_devices, 0)?;
        Ok(Self {
            paths,
            rule: Rule::new(&settings)?,
            missing: settings.missing,
            alarms: Alarms {
                name: settings.name.unwrap_or(settings.field),
                topic,
            },
            devices: State::at_most(settings.max_devices, Device::weight),
        })
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        let found = self.paths.find(message.payload())?;
        if found.value(0).is_none() && self.missing == Missing::Pass {
            out.pass();
            return Ok(());
        }
        let value = found.number(0)?;
        out.pass();
        let at = Moment {
            running_us: message.running_us(),
            wall_us: message.received_us(),
        };
        let key = message.key();
        let topic = if self.alarms.topic.needs_topic() {
            message.topic()
        } else {
            ""
        };
        let Some(change) = self.rule.read(&mut self.devices, (key, topic), value, at) else {
            return Ok(());
        };
        let topic = self.alarms.topic.fill(topic, key);
        self.alarms.tell(key, &change, &self.rule, |alarm| {
            out.message().port("alarms").topic(&topic).json(alarm)
        })
    }

    fn tick_every(&self) -> Duration {
        self.rule.tick_every()
    }
}

impl Timer for Threshold {
    fn tick(&mut self, tick: &mut Tick<'_, '_>) -> Result<()> {
        let now = Moment {
            running_us: tick.running_us(),
            wall_us: tick.now_us(),
        };
        let mut settled = Vec::new();
        for (key, mut device) in self.devices.iter_mut() {
            if !tick.has_room() {
                break;
            }
            let Some(change) = self.rule.wait(&mut device, now) else {
                continue;
            };
            let topic = self.alarms.topic.fill(&change.topic, key);
            self.alarms.tell(key, &change, &self.rule, |alarm| {
                tick.message(&topic, key).port("alarms").json(alarm)
            })?;
            if *device == Device::default() {
                settled.push(key.to_owned());
            }
        }
        for key in settled {
            self.devices.remove(&key);
        }
        Ok(())
    }
}

impl Stateful for Threshold {
    type Value = Device;

    fn state(&mut self) -> &mut State<Device> {
        &mut self.devices
    }
}

impl Alarms {
    /// Sends what a change means: the old side cleared, the new one raised.
    fn tell(
        &self,
        key: &str,
        change: &Change,
        rule: &Rule,
        mut send: impl FnMut(&Alarm<'_>) -> Result<()>,
    ) -> Result<()> {
        for (side, state, count) in [
            (change.from, "cleared", "alarms_cleared"),
            (change.to, "raised", "alarms_raised"),
        ] {
            let Some(side) = side else { continue };
            let limit = rule.limit(side);
            let Change {
                value,
                since_us: since,
                at_us: at,
                ..
            } = *change;
            send(&Alarm {
                alarm: &self.name,
                device: key,
                state,
                side,
                limit,
                value,
                since,
                at,
            })?;
            counter(count, 1);
        }
        Ok(())
    }
}

tidegate_sdk::export!(Threshold: state, timer);

#[cfg(test)]
mod tests;
