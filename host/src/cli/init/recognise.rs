//! Which systems speak on a broker, by their topics and the shape of what they say. Topics are foreign text: what is taken over
//! from one into a config is only ever a level of plain letters.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// A message that came while a broker was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) topic: String,
    /// Its first bytes, enough to tell what it is.
    pub(super) payload: Vec<u8>,
}

/// What speaks there, in the order in which flows for it are written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ecosystem {
    /// What it sends begins with this topic.
    Zigbee2Mqtt(String),
    Tasmota,
    /// The first generation: `shellies/…`.
    ShellyFirst,
    Shelly,
    EspHome,
    /// It describes topics of others.
    HomeAssistant(String),
    ChirpStack,
    ThingsStack,
    SparkplugB,
    /// What it sends begins with this topic.
    Homie(String),
}

impl Ecosystem {
    /// As it is called.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Zigbee2Mqtt(_) => "Zigbee2MQTT",
            Self::Tasmota => "Tasmota",
            Self::ShellyFirst => "Shelly, first generation",
            Self::Shelly => "Shelly",
            Self::EspHome => "ESPHome",
            Self::HomeAssistant(_) => "Home Assistant discovery",
            Self::ChirpStack => "ChirpStack",
            Self::ThingsStack => "The Things Stack",
            Self::SparkplugB => "Sparkplug B",
            Self::Homie(_) => "Homie",
        }
    }
}

impl Ecosystem {
    /// The same, with what its topics begin with where two of one sort may be there.
    pub(super) fn title(&self) -> String {
        match self {
            Self::Zigbee2Mqtt(base) | Self::HomeAssistant(base) | Self::Homie(base) => {
                format!("{} (below `{base}`)", self.name())
            }
            one => one.name().to_owned(),
        }
    }
}

/// What is recognised in all that was seen, each once.
pub(super) fn recognise(seen: &[Seen]) -> Vec<Ecosystem> {
    let mut found = BTreeSet::new();
    for message in seen {
        let levels: Vec<&str> = message.topic.split('/').collect();
        found.extend(of(&levels, &message.payload));
    }
    found.extend(shared(seen));
    found.into_iter().collect()
}

/// What one message is enough for.
fn of(levels: &[&str], payload: &[u8]) -> Option<Ecosystem> {
    match levels {
        ["application", _, "device", device, "event", _] if is_eui(device) => {
            Some(Ecosystem::ChirpStack)
        }
        ["v3", application, "devices", _, rest @ ..]
            if application.contains('@') && !rest.is_empty() =>
        {
            Some(Ecosystem::ThingsStack)
        }
        ["spBv1.0", _, kind, _, ..] if is_sparkplug(kind) => Some(Ecosystem::SparkplugB),
        ["spBv1.0", "STATE", _] => Some(Ecosystem::SparkplugB),
        ["shellies", _, _, ..] => Some(Ecosystem::ShellyFirst),
        [_, "status", component, ..] if is_component(component) => Some(Ecosystem::Shelly),
        [_, "events", "rpc"] if says(payload, "src", |src| src.is_string()) => {
            Some(Ecosystem::Shelly)
        }
        ["tasmota", "discovery", _, "config" | "sensors"] => Some(Ecosystem::Tasmota),
        [
            "tele",
            _,
            "STATE" | "SENSOR" | "LWT" | "INFO1" | "INFO2" | "INFO3",
        ] => Some(Ecosystem::Tasmota),
        [
            base @ ..,
            "bridge",
            "state" | "info" | "devices" | "groups" | "logging",
        ] => plain(base).map(Ecosystem::Zigbee2Mqtt),
        [base @ .., _, "$homie"] => plain(base).map(Ecosystem::Homie),
        ["homie", "5", _, "$state" | "$description"] => {
            Some(Ecosystem::Homie("homie/5".to_owned()))
        }
        [prefix @ .., kind, _, "config"] if is_entity(kind) && describes(payload) => {
            plain(prefix).map(Ecosystem::HomeAssistant)
        }
        [prefix @ .., kind, _, _, "config"] if is_entity(kind) && describes(payload) => {
            plain(prefix).map(Ecosystem::HomeAssistant)
        }
        _ => None,
    }
}

/// What shows in several messages of one device only: ESPHome has `NAME/status` beside `NAME/sensor/ID/state`.
fn shared(seen: &[Seen]) -> Option<Ecosystem> {
    let mut devices: BTreeMap<&str, (bool, bool)> = BTreeMap::new();
    for message in seen {
        let levels: Vec<&str> = message.topic.split('/').collect();
        match levels.as_slice() {
            [name, "status"] if matches!(&*message.payload, b"online" | b"offline") => {
                devices.entry(name).or_default().0 = true
            }
            [name, kind, _, "state"] if is_entity(kind) => {
                devices.entry(name).or_default().1 = true
            }
            [name, "debug"] => devices.entry(name).or_default().0 = true,
            _ => {}
        }
    }
    devices
        .values()
        .any(|both| *both == (true, true))
        .then_some(Ecosystem::EspHome)
}

/// Levels that may stand in a config as they are, joined; at least one, at most three.
fn plain(levels: &[&str]) -> Option<String> {
    let is_plain = |level: &&str| {
        !level.is_empty()
            && level.len() <= 64
            && level
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    };
    ((1..=3).contains(&levels.len()) && levels.iter().all(is_plain)).then(|| levels.join("/"))
}

fn is_eui(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_sparkplug(kind: &str) -> bool {
    let rest = kind.strip_prefix('N').or_else(|| kind.strip_prefix('D'));
    matches!(rest, Some("BIRTH" | "DATA" | "DEATH" | "CMD"))
}

/// A component of a second-generation Shelly: `switch:0`, `temperature:100`, `sys`.
fn is_component(text: &str) -> bool {
    match text.split_once(':') {
        Some((kind, number)) => {
            !kind.is_empty()
                && kind
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
                && number.parse::<u16>().is_ok()
        }
        None => matches!(text, "sys" | "wifi" | "mqtt" | "cloud" | "ble"),
    }
}

/// A kind of thing as Home Assistant and ESPHome name it.
fn is_entity(kind: &str) -> bool {
    matches!(
        kind,
        "sensor"
            | "binary_sensor"
            | "switch"
            | "light"
            | "climate"
            | "cover"
            | "fan"
            | "number"
            | "select"
            | "text_sensor"
            | "button"
            | "lock"
            | "device_automation"
            | "update"
            | "text"
    )
}

/// Whether a payload describes where the state of a thing is, with long names or short ones.
fn describes(payload: &[u8]) -> bool {
    let keys = [
        "state_topic",
        "stat_t",
        "~",
        "command_topic",
        "cmd_t",
        "topic",
    ];
    keys.iter().any(|key| says(payload, key, Value::is_string))
}

fn says(payload: &[u8], key: &str, is_it: impl Fn(&Value) -> bool) -> bool {
    let value: Option<Value> = serde_json::from_slice(payload).ok();
    value.is_some_and(|value| value.get(key).is_some_and(is_it))
}

#[cfg(test)]
mod tests;
