//! Raises an alarm when a device falls silent, once, and clears it when it speaks again; readings go on unchanged.
//!
//! ```toml
//! settings = { after = "1h" }
//! to       = { out = "cloud:telemetry", alarms = "cloud:alarm" }
//! ```
//!
//! - `after`: the silence that raises the alarm, by the time the gateway runs: neither a jump of the clock nor the time it was off
//!   counts. The alarm comes up to an eighth of it later, since what is known of a device is not written with every reading. Required.
//! - `expected`: devices that have to be heard of even if they never were, from the start of the gateway on. They are watched by
//!   one lane. Default: none; a device is watched from its first message on.
//! - `retained`: `"count"`: a retained message is a sign of life, too. `"ignore"`: it is not; where devices retain all they
//!   send, that is none of theirs. Default: `"count"`.
//! - `forget_after`: a device that has been silent for this long is not watched any more, unless it is expected; where its alarm is raised, a
//!   message with the state `forgotten` ends that. Longer than `after`.
//!   Default: `"30d"`, or twice `after` where that is more.
//! - `max_devices`: devices in a lane that are watched. Further ones are not, counted in `devices_unwatched` and logged: whoever is
//!   silent is not to be forgotten for one that is new. So it is where they fill 1.9 MiB of state, whatever their names are.
//!   Default: 20,000.
//! - `name`: the alarm's name. Default: `"silence"`.
//! - `topic`: the alarms' topic. `{name}` and all that a flow's `topic` knows may stand in it. Default: `"alarms/{device}/{name}"`.
//!
//! Messages on the port `alarms` look like this; `last` is when it was last heard of, to a sixteenth of `after`, and is 0 where it never was.
//! Times are microseconds since 1970, as the gateway's clock showed them.
//!
//! ```json
//! {"alarm":"silence","device":"d7","state":"raised","after":3600.0,"last":1700000000000000,"at":1700003700000000}
//! ```
//!
//! What is remembered survives swaps and restarts. Any message of a device is a sign of life, whatever is in it.

mod watch;

use std::time::Duration;

use tidegate_sdk::prelude::*;

pub use watch::Device;
use watch::{Rule, Seen};

settings! {
    /// The plugin's settings.
    pub struct Settings {
        /// The silence that raises the alarm.
        pub after: Period,
        /// Devices that have to be heard of.
        #[serde(default)]
        pub expected: Vec<String>,
        /// Whether retained messages are a sign of life.
        #[serde(default)]
        pub retained: Retained,
        /// When a silent device is forgotten.
        pub forget_after: Option<Period>,
        /// Devices in a lane that are watched.
        #[serde(default = "default_devices")]
        pub max_devices: usize,
        /// The alarm's name.
        #[serde(default = "default_name")]
        pub name: String,
        /// The alarms' topic.
        #[serde(default = "default_topic")]
        pub topic: String,
    }
}

settings! {
    /// Whether retained messages are a sign of life.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Retained {
        /// They are.
        #[default]
        Count,
        /// They are not.
        Ignore,
    }
}

fn default_devices() -> usize {
    20_000
}

fn default_name() -> String {
    "silence".to_owned()
}

fn default_topic() -> String {
    "alarms/{device}/{name}".to_owned()
}

impl Settings {
    /// What cannot work.
    fn check(&self) -> Result<()> {
        if self.after.is_zero() {
            return Err("`after` is no time at all: every device is silent for that long".into());
        }
        if self
            .forget_after
            .is_some_and(|forget| forget.micros() <= self.after.micros())
        {
            return Err("`forget_after` is not longer than `after`: a device would be forgotten before its silence is told; set it above".into());
        }
        for (place, device) in self.expected.iter().enumerate() {
            if device.is_empty() {
                return Err(format!("`expected.{place}` is empty: no device has that name").into());
            }
            if self.expected[..place].contains(device) {
                return Err(format!("`expected.{place}`: `{device}` stands there twice").into());
            }
        }
        tidegate_sdk::check_most("max_devices", self.max_devices, 32)?;
        if self.max_devices < self.expected.len().max(1) {
            return Err("`max_devices` is less than one, or than there are in `expected`".into());
        }
        Ok(())
    }
}

/// The configured plugin.
#[derive(Debug)]
pub struct Silence {
    rule: Rule,
    expected: Vec<String>,
    retained: Retained,
    name: String,
    topic: Template,
    devices: State<Device>,
    is_full: bool,
}

#[derive(Serialize)]
#[serde(crate = "tidegate_sdk::serde")]
struct Alarm<'a> {
    alarm: &'a str,
    device: &'a str,
    state: &'a str,
    after: f64,
    last: u64,
    at: u64,
}

impl Transform for Silence {
    type Settings = Settings;

    const PORTS: &'static [&'static str] = &["alarms"];

    fn new(settings: Settings) -> Result<Self> {
        let topic = Template::new(&settings.topic, &[("name", &settings.name)])
            .map_err(|error| format!("`topic`: {error}"))?;
        settings.check()?;
        if topic.needs_topic() && !settings.expected.is_empty() {
            return Err("`topic` has parts of a message's topic in it, and a device of `expected` may never have sent one: use {device}".into());
        }
        let mut devices = State::at_most(settings.max_devices, Device::weight);
        for device in &settings.expected {
            let expected = Device::expected(host::running_us());
            if !devices.has_room(device, &expected) {
                return Err("`expected` has more names than what a plugin keeps, 1.9 MiB, has room for: share them among flows".into());
            }
            devices.set(device, expected);
        }
        Ok(Self {
            rule: Rule::new(settings.after, settings.forget_after),
            expected: settings.expected,
            retained: settings.retained,
            name: settings.name,
            topic,
            devices,
            is_full: false,
        })
    }

    fn one_lane(&self) -> bool {
        // No lane knows which of them are its own.
        !self.expected.is_empty()
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        out.pass();
        if message.retain() && self.retained == Retained::Ignore {
            return Ok(());
        }
        let (key, seen) = (
            message.key(),
            Seen {
                running_us: message.running_us(),
                wall_us: message.received_us(),
            },
        );
        let topic = if self.topic.needs_topic() {
            message.topic()
        } else {
            ""
        };
        let room = self.devices.room();
        let Some(mut device) = self.devices.get_mut(key) else {
            let device = Device::heard(seen, topic);
            if !self.devices.has_room(key, &device) {
                return self.turn_away(key);
            }
            self.devices.set(key, device);
            return Ok(());
        };
        // None is forgotten for another that has a longer topic by now.
        let kept;
        let topic = if topic.len() <= device.topic.len() + room {
            topic
        } else {
            kept = device.topic.clone();
            kept.as_str()
        };
        let last_us = device.seen.wall_us;
        if !self.rule.hear(&mut device, seen, topic) {
            return Ok(());
        }
        counter("alarms_cleared", 1);
        let alarm = Alarm {
            alarm: &self.name,
            device: key,
            state: "cleared",
            after: self.rule.after_seconds(),
            last: last_us,
            at: seen.wall_us,
        };
        let topic = self.topic.fill(topic, key);
        out.message().port("alarms").topic(&topic).json(&alarm)
    }

    fn tick_every(&self) -> Duration {
        self.rule.tick_every()
    }
}

impl Silence {
    fn turn_away(&mut self, key: &str) -> Result<()> {
        counter("devices_unwatched", 1);
        if !std::mem::replace(&mut self.is_full, true) {
            host::warn(&format!(
                "{} devices are watched already: `{}` and others are not (`max_devices`, or their names fill what can be kept)",
                self.devices.len(),
                key.chars().take(40).collect::<String>()
            ));
        }
        Ok(())
    }
}

impl Timer for Silence {
    fn tick(&mut self, tick: &mut Tick<'_, '_>) -> Result<()> {
        let now_us = tick.running_us();
        let mut gone = Vec::new();
        for (key, mut device) in self.devices.iter_mut() {
            if self.rule.is_forgotten(&device, now_us)
                && !self.expected.iter().any(|name| name == key)
            {
                if device.is_silent && !tick.has_room() {
                    continue;
                }
                gone.push(key.to_owned());
                if device.is_silent {
                    let alarm = Alarm {
                        alarm: &self.name,
                        device: key,
                        state: "forgotten",
                        after: self.rule.after_seconds(),
                        last: device.seen.wall_us,
                        at: tick.now_us(),
                    };
                    let topic = self.topic.fill(&device.topic, key);
                    tick.message(&topic, key).port("alarms").json(&alarm)?;
                }
                continue;
            }
            if !tick.has_room() || !self.rule.wait(&mut device, now_us) {
                continue;
            }
            counter("alarms_raised", 1);
            let alarm = Alarm {
                alarm: &self.name,
                device: key,
                state: "raised",
                after: self.rule.after_seconds(),
                last: device.seen.wall_us,
                at: tick.now_us(),
            };
            let topic = self.topic.fill(&device.topic, key);
            tick.message(&topic, key).port("alarms").json(&alarm)?;
        }
        for key in gone {
            self.devices.remove(&key);
            self.is_full = false;
        }
        Ok(())
    }
}

impl Stateful for Silence {
    type Value = Device;

    fn state(&mut self) -> &mut State<Device> {
        &mut self.devices
    }
}

tidegate_sdk::export!(Silence: state, timer);

#[cfg(test)]
mod tests;
