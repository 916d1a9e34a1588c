//! What an operator may set.

use std::collections::BTreeMap;

use tidegate_sdk::compare::Op;
use tidegate_sdk::json::Decimal;
use tidegate_sdk::prelude::*;
use tidegate_sdk::serde_json::Value;

settings! {
    /// The plugin's settings.
    pub struct Settings {
        /// The rules, in the order in which they are looked at.
        pub rules: Vec<RuleSettings>,
        /// What becomes of a reading that lacks a compared field.
        #[serde(default)]
        pub missing: Missing,
        /// Devices of which something is remembered.
        #[serde(default = "default_devices")]
        pub max_devices: usize,
    }
}

settings! {
    /// One rule.
    pub struct RuleSettings {
        /// Its name, and that of its alarm.
        pub name: String,
        /// When it holds.
        pub when: Vec<Condition>,
        /// How many of them must hold.
        #[serde(default, rename = "match")]
        pub need: Need,
        /// What ends it.
        #[serde(default)]
        pub clear: Vec<Condition>,
        /// How long it must hold before anything is done.
        #[serde(default)]
        pub hold: Period,
        /// How long its end must last.
        pub release: Option<Period>,
        /// Fields that readings get while it holds.
        #[serde(default)]
        pub set: BTreeMap<String, Value>,
        /// Readings end here while it holds.
        #[serde(default)]
        pub drop: bool,
        /// The port that readings leave through while it holds.
        pub to: Option<String>,
        /// The rules behind it are not looked at while it holds.
        #[serde(default)]
        pub stop: bool,
        /// An alarm that is raised and cleared.
        pub alarm: Option<Alarm>,
        /// Other messages.
        #[serde(default)]
        pub publish: Vec<Publish>,
    }
}

settings! {
    /// A comparison, a topic, or several conditions.
    pub struct Condition {
        /// Path of the field that is compared.
        pub field: Option<String>,
        /// How it is compared.
        pub op: Option<Op>,
        /// With what.
        #[serde(default, deserialize_with = "given")]
        pub value: Option<Value>,
        /// How far on the other side of the number the field must be for the rule to end.
        pub hysteresis: Option<Decimal>,
        /// A topic filter.
        pub topic: Option<String>,
        /// All of these.
        pub all: Option<Vec<Condition>>,
        /// One of these.
        pub any: Option<Vec<Condition>>,
    }
}

settings! {
    /// How many conditions must hold.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Need {
        /// All of them.
        #[default]
        All,
        /// One of them.
        Any,
    }
}

settings! {
    /// What becomes of a reading that lacks a compared field.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Missing {
        /// It is rejected.
        Reject,
        /// The rule stays as it is.
        #[default]
        Skip,
    }
}

settings! {
    /// An alarm that is raised and cleared.
    pub struct Alarm {
        /// The port.
        #[serde(default = "default_alarm_port")]
        pub port: String,
        /// The topic.
        #[serde(default = "default_alarm_topic")]
        pub topic: String,
        /// Words for people.
        pub text: Option<String>,
    }
}

settings! {
    /// Another message.
    pub struct Publish {
        /// When it is sent.
        #[serde(default)]
        pub on: On,
        /// The port.
        #[serde(default = "default_port")]
        pub port: String,
        /// The topic.
        pub topic: String,
        /// The payload as text.
        pub payload: Option<String>,
        /// The payload as fields of a JSON object.
        pub fields: Option<BTreeMap<String, Value>>,
        /// Whether upstream is to retain it.
        #[serde(default)]
        pub retain: bool,
    }
}

settings! {
    /// When a message is sent.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum On {
        /// Once when the rule begins to hold.
        #[default]
        Raised,
        /// Once when it holds no longer.
        Cleared,
        /// With each reading while it holds.
        Each,
    }
}

/// A `null` that was written is a value, too.
fn given<'de, D: tidegate_sdk::serde::Deserializer<'de>>(
    value: D,
) -> std::result::Result<Option<Value>, D::Error> {
    Deserialize::deserialize(value).map(Some)
}

fn default_devices() -> usize {
    20_000
}

fn default_port() -> String {
    "messages".to_owned()
}

fn default_alarm_port() -> String {
    "alarms".to_owned()
}

fn default_alarm_topic() -> String {
    "alarms/{device}/{name}".to_owned()
}
