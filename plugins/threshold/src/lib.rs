//! Raises and clears an alarm per device when a field leaves its bounds; readings go on unchanged.
//!
//! ```toml
//! settings = { field = "fahrenheit", above = 86, hysteresis = 2, hold_seconds = 10 }
//! to       = { out = "cloud:telemetry", alarms = "cloud:alarm" }
//! ```
//!
//! The alarm is raised when the field is above `above` (or below `below`) and cleared when it is back inside by
//! `hysteresis`; either has to last for `hold_seconds`, by the readings' time of arrival, and a timer ends the wait
//! when no further reading comes. Messages on the port `alarms` look like this, under
//! `topic = "alarms/{key}/{name}"`:
//!
//! ```json
//! {"alarm":"fahrenheit","device":"d7","state":"raised","side":"above","limit":86.0,"value":90.5,"since":1700000000000000,"at":1700000010000000}
//! ```
//!
//! What is remembered per device survives swaps and restarts. A payload that is not a JSON object, or a field that
//! is no number, rejects the message with the reason in words; so does a missing field, unless `missing = "pass"`.

mod rule;

use std::time::Duration;

use tidegate_sdk::json::Paths;
use tidegate_sdk::prelude::*;

use rule::{Change, Rule};
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
        /// The alarms' topic; `{key}` and `{name}` are filled in.
        #[serde(default = "default_topic")]
        pub topic: String,
        /// What becomes of a reading without the field.
        #[serde(default)]
        pub missing: Missing,
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
    "alarms/{key}/{name}".to_owned()
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
    topic: String,
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
        if settings.topic.is_empty() || settings.topic.contains(['+', '#']) {
            return Err(format!("`topic` is no topic to publish on: `{}`", settings.topic).into());
        }
        let mut paths = Paths::default();
        paths.add(&settings.field)?;
        Ok(Self {
            paths,
            rule: Rule::new(&settings)?,
            missing: settings.missing,
            alarms: Alarms { name: settings.name.unwrap_or(settings.field), topic: settings.topic },
            devices: State::default(),
        })
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        let found = self.paths.find(message.payload())?;
        if found.get(0).is_none() && self.missing == Missing::Pass {
            out.pass();
            return Ok(());
        }
        let value = found.number(0)?;
        out.pass();
        let mut device = self.devices.of(message.key());
        let Some(change) = self.rule.read(&mut device, value, message.received_us()) else { return Ok(()) };
        self.alarms.tell(message.key(), &change, &self.rule, |topic, alarm| {
            out.message().port("alarms").topic(topic).retain(false).json(alarm)
        })
    }

    fn tick_every(&self) -> Duration {
        self.rule.tick_every()
    }
}

impl Timer for Threshold {
    fn tick(&mut self, tick: &mut Tick<'_, '_>) -> Result<()> {
        let now_us = tick.now_us();
        for (key, mut device) in self.devices.iter_mut() {
            let Some(change) = self.rule.wait(&mut device, now_us) else { continue };
            self.alarms.tell(key, &change, &self.rule, |topic, alarm| tick.message(topic, key).port("alarms").json(alarm))?;
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
    fn tell(&self, key: &str, change: &Change, rule: &Rule, mut send: impl FnMut(&str, &Alarm<'_>) -> Result<()>) -> Result<()> {
        let topic = self.topic.replace("{key}", key).replace("{name}", &self.name);
        for (side, state, count) in [(change.from, "cleared", "alarms_cleared"), (change.to, "raised", "alarms_raised")] {
            let Some(side) = side else { continue };
            let limit = rule.limit(side);
            let Change { value, since_us: since, at_us: at, .. } = *change;
            send(&topic, &Alarm { alarm: &self.name, device: key, state, side, limit, value, since, at })?;
            counter(count, 1);
        }
        Ok(())
    }
}

tidegate_sdk::export!(Threshold: state, timer);

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_sdk::serde_json::{Value, json};
    use tidegate_sdk::test::{Input, Outcome, Plugin, START_US};

    fn plugin(settings: Value) -> Plugin<Threshold> {
        Plugin::new(settings)
    }

    fn read(plugin: &mut Plugin<Threshold>, device: &str, value: f64) -> Vec<String> {
        let outcome = plugin.feed(Input::json(device, json!({ "f": value })));
        assert_eq!(outcome.rejected(), None);
        assert!(
            matches!(outcome.0.first(), Some(tidegate_sdk::test::Output::Pass { port }) if port == "out"),
            "the reading goes on"
        );
        told(&outcome)
    }

    fn told(outcome: &Outcome) -> Vec<String> {
        let alarms = outcome.on("alarms").into_iter().map(|alarm| alarm.json::<Value>());
        alarms
            .map(|alarm| {
                format!(
                    "{} {} {}",
                    alarm["device"].as_str().unwrap(),
                    alarm["side"].as_str().unwrap(),
                    alarm["state"].as_str().unwrap()
                )
            })
            .collect()
    }

    #[test]
    fn an_alarm_is_raised_once_and_cleared_below_the_hysteresis() {
        let mut plugin = plugin(json!({ "field": "f", "above": 86, "hysteresis": 2 }));
        assert!(read(&mut plugin, "d7", 86.0).is_empty());
        assert_eq!(read(&mut plugin, "d7", 86.5), ["d7 above raised"]);
        assert!(read(&mut plugin, "d7", 90.0).is_empty() && read(&mut plugin, "d8", 80.0).is_empty());
        assert!(read(&mut plugin, "d7", 84.0).is_empty());
        assert_eq!(read(&mut plugin, "d7", 83.9), ["d7 above cleared"]);
        assert_eq!(plugin.counters(), [("alarms_cleared".to_owned(), 1), ("alarms_raised".to_owned(), 1)].into());
    }

    #[test]
    fn the_alarm_says_what_who_and_since_when() {
        let mut plugin = plugin(json!({ "field": "t.f", "above": 86, "name": "heat", "topic": "x/{name}/{key}" }));
        let outcome = plugin.feed(Input::json("d7", json!({ "t": { "f": 90.5 } })).retained());
        let alarm = outcome.on("alarms")[0];
        let expected = format!(
            r#"{{"alarm":"heat","device":"d7","state":"raised","side":"above","limit":86.0,"value":90.5,"since":{START_US},"at":{START_US}}}"#
        );
        assert_eq!((alarm.text(), &*alarm.topic, &*alarm.key, alarm.retain), (&*expected, "x/heat/d7", "d7", false));
    }

    #[test]
    fn a_leap_from_side_to_side_clears_and_raises() {
        let mut plugin = plugin(json!({ "field": "f", "above": 10, "below": 0 }));
        assert_eq!(read(&mut plugin, "d7", 11.0), ["d7 above raised"]);
        assert_eq!(read(&mut plugin, "d7", -1.0), ["d7 above cleared", "d7 below raised"]);
    }

    #[test]
    fn a_change_must_last() {
        let mut plugin = plugin(json!({ "field": "f", "above": 10, "hold_seconds": 10 }));
        assert!(read(&mut plugin, "d7", 11.0).is_empty());
        plugin.advance(Duration::from_secs(6));
        assert!(read(&mut plugin, "d7", 9.0).is_empty(), "a dip starts the wait anew");
        assert!(read(&mut plugin, "d7", 11.0).is_empty());
        plugin.advance(Duration::from_secs(9));
        assert!(read(&mut plugin, "d7", 12.0).is_empty());
        plugin.advance(Duration::from_secs(1));
        assert_eq!(read(&mut plugin, "d7", 13.0), ["d7 above raised"]);
    }

    #[test]
    fn the_timer_ends_the_wait_of_a_device_that_went_quiet() {
        let mut plugin = plugin(json!({ "field": "f", "above": 10, "hold_seconds": 10 }));
        read(&mut plugin, "d7", 11.0);
        assert_eq!(told(&plugin.run_for(Duration::from_secs(9))), [""; 0]);
        let outcome = plugin.run_for(Duration::from_secs(4));
        assert_eq!(told(&outcome), ["d7 above raised"]);
        assert_eq!(outcome.on("alarms")[0].key, "d7");
        assert_eq!(told(&plugin.run_for(Duration::from_secs(60))), [""; 0]);
    }

    #[test]
    fn what_is_raised_and_what_waits_survives_a_swap() {
        let settings = json!({ "field": "f", "above": 10, "hold_seconds": 10 });
        let mut plugin = plugin(settings.clone());
        read(&mut plugin, "d7", 11.0);
        plugin.run_for(Duration::from_secs(15));
        read(&mut plugin, "d8", 12.0);
        let mut plugin = plugin.swapped(settings);
        assert_eq!(told(&plugin.run_for(Duration::from_secs(15))), ["d8 above raised"]);
        read(&mut plugin, "d7", 0.0);
        assert_eq!(told(&plugin.run_for(Duration::from_secs(15))), ["d7 above cleared"]);
    }

    #[test]
    fn readings_inside_the_bounds_change_no_state() {
        let mut plugin = plugin(json!({ "field": "f", "above": 10, "hold_seconds": 1 }));
        for value in 0..5 {
            read(&mut plugin, "d7", f64::from(value));
        }
        assert!(plugin.save(true)[0].words.is_empty());
    }

    #[test]
    fn bad_payloads_are_rejected_and_missing_fields_may_pass() {
        let mut plugin = plugin(json!({ "field": "f", "above": 10 }));
        let mut reason = |payload: &str| plugin.feed(Input::new("d7", payload)).rejected().unwrap().to_owned();
        assert_eq!(reason("{}"), "field `f` is missing");
        assert_eq!(reason(r#"{"f":null}"#), "field `f` is not a number: `null`");
        assert_eq!(reason(r#"{"f":1,"f":2}"#), "payload has field `f` twice, at byte 11");
        assert_eq!(reason(r#"{"f":1"#), "payload is not valid JSON: it ends too early, at byte 6");
        let mut lenient = super::tests::plugin(json!({ "field": "f", "above": 10, "missing": "pass" }));
        assert!(lenient.feed(Input::new("d7", "{}")).passed());
    }

    #[test]
    fn settings_that_make_no_sense_are_refused_in_words() {
        let refused = |settings: Value| Plugin::<Threshold>::try_new(settings).unwrap_err();
        assert_eq!(refused(json!({ "field": "f" })), "set `above`, `below` or both");
        assert_eq!(
            refused(json!({ "field": "f", "above": 1, "below": 2 })),
            "`below` is above `above`: every reading would raise an alarm"
        );
        assert_eq!(refused(json!({ "field": "f", "above": 1, "hysteresis": -1 })), "`hysteresis` is negative");
        assert_eq!(refused(json!({ "field": "f", "above": 1, "hold_seconds": -1 })), "`hold_seconds` is negative");
        assert!(refused(json!({ "field": "f", "abov": 1 })).starts_with("unknown field `abov`"));
        assert!(refused(json!({ "field": "f", "above": 1, "topic": "a/#" })).contains("`topic` is no topic"));
    }
}
