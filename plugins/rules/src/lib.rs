//! Rules of conditions and actions: while a rule holds for a device, its readings get fields, leave through another port or end here;
//! when it begins to hold and when it ends, an alarm and other messages are sent. What no rule is about goes on unchanged.
//!
//! ```toml
//! settings = { rules = [{ name = "hot", when = [{ field = "temperature", op = ">", value = 30, hysteresis = 2 }], hold = "1m", alarm = { text = "{device}: {payload.temperature} °C" } }] }
//! to       = { out = "cloud:telemetry", alarms = "cloud:alarm" }
//! ```
//!
//! ```toml
//! settings = { rules = [
//!   { name = "test-devices", when = [{ topic = "devices/test-1/#" }], drop = true },
//!   { name = "cold", when = [{ field = "temperature", op = "<", value = 3 }, { any = [{ field = "site", op = "like", value = "green*" }, { field = "frost", op = "==", value = true }] }],
//!     set = { level = "cold" }, publish = [{ topic = "heating/{device}/set", payload = "ON" }, { on = "cleared", topic = "heating/{device}/set", payload = "OFF" }] },
//! ] }
//! to       = { out = "cloud:telemetry", messages = "cloud:telemetry" }
//! ```
//!
//! - `rules`: a list of 100 at most, looked at in this order; each has
//!   - `name`: its own among them, of letters, digits, `-` and `_`. State is kept by it. Required.
//!   - `when`: conditions. Required. Each is one of
//!     - `field`, `op`, `value`: a comparison, as `filter` has them: `>`, `>=`, `<`, `<=`, `==`, `!=`, `in`, `not in`, `like`, `exists`,
//!       `absent`. With `hysteresis`, a number, a rule that holds goes on holding until the field is further than this on the
//!       other side of `value`.
//!     - `topic`: a topic filter, with MQTT's wildcards `+` and `#`.
//!     - `all`, `any`: a list of conditions, of which all must hold, or one.
//!   - `match`: `"all"` of `when` must hold, or `"any"` of them. Default: `"all"`.
//!   - `clear`: conditions that end it. Default: it ends when `when` does not hold any more.
//!   - `hold`: how long it must hold without a break before anything is done, by the time the gateway runs; a timer ends the wait
//!     when no further reading comes. Default: none.
//!   - `release`: how long its end must last in the same way. Default: as `hold`.
//!   - `set`: fields that readings get while it holds; whatever was there gives way. A later rule wins.
//!   - `drop`: `true`: readings end here while it holds, and no rule behind it is looked at.
//!   - `to`: the port that readings leave through while it holds, instead of `out`. A later rule wins.
//!   - `stop`: `true`: no rule behind it is looked at while it holds.
//!   - `alarm`: an alarm, raised once for a device and cleared once, of `port` (default: `"alarms"`), `topic` (default:
//!     `"alarms/{device}/{name}"`) and `text` (default: none). `alarm = {}` is one.
//!   - `publish`: a list of other messages, of `on` (`"raised"`: once when it begins to hold; `"cleared"`: once when it ends;
//!     `"each"`: with each reading while it holds; default: `"raised"`), `port` (default: `"messages"`), `topic`, `payload`, a text, or
//!     `fields`, a JSON object; and `retain` (default: `false`).
//! - `missing`: what becomes of a reading that lacks a compared field on which a rule depends; `null` is no value. `"skip"`: the rule
//!   stays as it is, and does what it does while it holds. `"reject"`: it goes to the dead letters. Default: `"skip"`.
//! - `max_devices`: devices in a lane of which something is remembered: a rule that holds, or a change that has yet to last. Beyond, the
//!   one that was quiet for longest is forgotten, counted in `keys_forgotten`, and so it is where they fill 1.9 MiB of state.
//!   Default: 20,000.
//!
//! In topics `{name}` is the rule's and all that a flow's `topic` knows may stand: `{device}`, `{key}`, `{topic}`, `{flow}`, other names in
//! the flow's topics. In texts (`text`, `payload`, texts in `set` and `fields`) so may `{state}`, which is `raised` or `cleared`, and
//! `{payload.NAME}`, a field of the reading by its path: where it stands alone the value as it is, `null` where there is none. `{{` is a
//! brace. A value in a text is as the device sent it: what reads `payload` must not take it for more; `fields` are always JSON.
//! Of a value of more than 256 bytes the first 60 letters are told, or `null`.
//!
//! An alarm, a message of its own without expiry, QoS level or headers of the reading:
//!
//! ```json
//! {"alarm":"hot","device":"d7","state":"raised","since":1700000000000000,"at":1700000060000000,"text":"d7: 31.5 °C"}
//! ```
//!
//! The name of every port has to stand in the flow's `to`. What is remembered survives swaps and restarts; of a rule that is taken out or
//! gets another name, what it raised is not cleared. A payload that is not a JSON object, or has a name twice where fields are set,
//! or a field that is no number where one is compared, rejects the message with the reason in words, and changes nothing. Where no rule
//! looks at fields, payloads may be anything. What deletes a retained reading (an empty payload) goes on.

mod condition;
mod rule;
mod settings;
mod standing;
mod tell;
mod text;

use std::time::Duration;

use tidegate_sdk::json::{self, Object, Paths};
use tidegate_sdk::prelude::*;

use condition::Reading;
use rule::Rule;
pub use settings::{Condition, Missing, Need, On, Publish, RuleSettings, Settings};
pub use standing::{Device, Pending, Standing};
use standing::{Moment, Waits};
use tell::{Change, Told};
use text::About;

/// Rules at most: all of them are looked at with each reading.
const MOST_RULES: usize = 100;

/// The configured plugin.
#[derive(Debug)]
pub struct Rules {
    paths: Paths,
    rules: Vec<Rule>,
    ports: Vec<String>,
    missing: Missing,
    needs_json: bool,
    devices: State<Device>,
}

/// What becomes of a reading.
#[derive(Debug, Default)]
struct Fate<'r> {
    set: Vec<(&'r str, String)>,
    to: Option<&'r str>,
    drop: bool,
    told: Vec<Told<'r>>,
    /// Those that are remembered and have changed.
    standings: Vec<Standing>,
}

impl Transform for Rules {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        let rules = settings.rules;
        if rules.is_empty() || rules.len() > MOST_RULES {
            return Err(format!("`rules` has 1 to {MOST_RULES} of them").into());
        }
        tidegate_sdk::check_most("max_devices", settings.max_devices, 0)?;
        let mut paths = Paths::default();
        let mut made: Vec<Rule> = Vec::new();
        for (number, rule) in rules.into_iter().enumerate() {
            let name = rule.name.clone();
            let rule = Rule::new(rule, &mut paths)
                .map_err(|error| format!("`rules.{number}`: {error}"))?;
            if made.iter().any(|other| other.of == rule.of) {
                return Err(format!("`rules.{number}.name`: `{name}` stands there twice").into());
            }
            made.push(rule);
        }
        let mut ports: Vec<String> = Vec::new();
        for port in made.iter().flat_map(Rule::ports) {
            if port != "out" && !ports.iter().any(|known| known == port) {
                ports.push(port.to_owned());
            }
        }
        Ok(Self {
            needs_json: made.iter().any(Rule::needs_json),
            paths,
            rules: made,
            ports,
            missing: settings.missing,
            devices: State::at_most(settings.max_devices, Device::weight),
        })
    }

    fn ports(&self) -> Vec<String> {
        self.ports.clone()
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        let found = match self.needs_json {
            true => Some(self.paths.find(message.payload())?),
            false => None,
        };
        let device = self.devices.get_mut(message.key());
        let reading = Reading {
            message,
            found,
            missing: self.missing,
        };
        let fate = decide(&self.rules, &reading, device.as_deref())?;
        drop(device);
        if !fate.drop {
            forward(&fate, message, out)?;
        }
        if !fate.standings.is_empty() {
            let mut device = self.devices.remove(message.key()).unwrap_or_default();
            let is_known =
                |standing: &Standing| self.rules.iter().any(|rule| rule.of == standing.of);
            device.rules.retain(is_known);
            for standing in fate.standings {
                device.keep(standing);
            }
            if device != Device::default() {
                self.devices.set(message.key(), device);
            }
        }
        for told in fate.told {
            told.send(out.message().topic(&told.topic))?;
        }
        Ok(())
    }

    /// Often enough for a wait to end within a quarter of its length.
    fn tick_every(&self) -> Duration {
        let waits = self.rules.iter().map(|rule| rule.waits);
        let waits = waits.flat_map(
            |Waits {
                 hold_us,
                 release_us,
             }| [hold_us, release_us],
        );
        match waits.filter(|wait_us| *wait_us > 0).min() {
            None => Duration::ZERO,
            Some(shortest_us) => Duration::from_micros(shortest_us / 4)
                .clamp(Duration::from_millis(250), Duration::from_secs(10)),
        }
    }
}

/// Looks at the rules in their order. Nothing is changed yet: a reading that is rejected changes nothing.
fn decide<'r>(
    rules: &'r [Rule],
    reading: &Reading<'_, '_>,
    device: Option<&Device>,
) -> Result<Fate<'r>> {
    let message = reading.message;
    let now = Moment {
        running_us: message.running_us(),
        wall_us: message.received_us(),
    };
    let mut fate = Fate::default();
    for rule in rules {
        let before = match device {
            Some(device) if rule.is_kept => device.standing(rule.of),
            _ => Standing {
                of: rule.of,
                ..Standing::default()
            },
        };
        let mut standing = before.clone();
        let wanted = rule.wanted(reading, &standing)?;
        let values = || rule.named.values(reading.found.as_ref());
        let since_us = standing.read(wanted, rule.waits, now, || {
            remembered(rule, message, values)
        });
        if !standing.holds && since_us.is_none() {
            if standing != before {
                fate.standings.push(standing);
            }
            continue;
        }
        let values = values();
        let about = About {
            topic: message.topic(),
            key: message.key(),
            values: &values,
            holds: standing.holds,
        };
        if let Some(since_us) = since_us {
            let at_us = now.wall_us;
            let told = rule.telling.change(&about, Change { since_us, at_us });
            fate.told.extend(told?);
        }
        if standing.holds {
            fate.told.extend(rule.telling.each(&about));
            for (name, value) in &rule.set {
                fate.set.retain(|(known, _)| known != name);
                fate.set.push((name, value.fill(&about)));
            }
            fate.to = rule.to.as_deref().or(fate.to);
        }
        let (is_last, is_end) = (rule.stop && standing.holds, rule.drop && standing.holds);
        if rule.is_kept && standing != before {
            fate.standings.push(standing);
        }
        if is_last || is_end {
            fate.drop = is_end;
            break;
        }
    }
    Ok(fate)
}

/// What of a reading a change needs that a timer may tell.
fn remembered(
    rule: &Rule,
    message: &Message<'_>,
    values: impl FnOnce() -> Vec<String>,
) -> (String, Vec<String>) {
    if !rule.telling.has_edges() {
        return Default::default();
    }
    let topic = if rule.telling.needs_topic() {
        message.topic().to_owned()
    } else {
        String::new()
    };
    (topic, values())
}

/// The reading goes on, or through its port, with the fields that it gets.
fn forward(fate: &Fate<'_>, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
    let port = fate.to.unwrap_or("out");
    if fate.set.is_empty() {
        return out.pass_to(port);
    }
    let members = json::members(message.payload())?;
    let write = |payload: &mut Vec<u8>| {
        let mut object = Object::begin(payload);
        for member in &members {
            if !fate.set.iter().any(|(name, _)| *name == member.name) {
                object.raw(&member.name, member.value.bytes());
            }
        }
        for (name, value) in &fate.set {
            object.raw(name, value.as_bytes());
        }
        object.end();
        Ok(())
    };
    match port {
        "out" => out.emit_with(write),
        port => out.message().port(port).inherit().write(write),
    }
}

impl Timer for Rules {
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
            for rule in &self.rules {
                let is_due = |standing: &Standing| {
                    standing.of == rule.of && standing.is_due(rule.waits, now)
                };
                let Some(place) = device.rules.iter().position(is_due) else {
                    continue;
                };
                let standing = &mut device.rules[place];
                let Some(pending) = standing.end(now) else {
                    continue;
                };
                let about = About {
                    topic: &pending.topic,
                    key,
                    values: &pending.values,
                    holds: standing.holds,
                };
                let change = Change {
                    since_us: pending.since_us,
                    at_us: now.wall_us,
                };
                for told in rule.telling.change(&about, change)? {
                    told.send(tick.message(&told.topic, key))?;
                }
                if !standing.holds {
                    device.rules.remove(place);
                }
            }
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

impl Stateful for Rules {
    type Value = Device;

    fn state(&mut self) -> &mut State<Device> {
        &mut self.devices
    }
}

tidegate_sdk::export!(Rules: state, timer);

#[cfg(test)]
mod tests;
