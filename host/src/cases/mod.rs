//! A cases file: what a plugin or flow is given, and what has to come of it, in lines that a person writes by hand.
//!
//! ```text
//! # A comment. What stands before the first case holds for all of them.
//! settings = { limit = 20 }
//!
//! case keeps what is warm
//! [devices/d7/telemetry] {"temperature": 25.5}
//! > pass
//!
//! case says what is missing
//! [devices/d7/telemetry +retain +unit=°C] {}
//! > rejected field `temperature` is missing
//!
//! case an alarm after a minute
//! [devices/d7/telemetry] {"temperature": 31}
//! > pass
//! advance 1m
//! > alarms [alarms/d7] {"state": "raised"}
//!
//! case no limit is no number
//! settings = { limit = "high" }
//! > refused limit
//! ```
//!
//! In comes text, out come [`Case`]s; what came of them is held against them by `difference`. Nothing here runs a plugin.

mod difference;
mod line;
mod read;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeMap;
use std::time::Duration;

pub use difference::{LinePair, agree, pairs};
pub use line::{CaseLineError, read_loose, read_message, show_message};
pub use read::{BadCases, read};

/// What may stand before the first input: keys of a plugin and of a flow, with values as a config has them.
pub const KEYS: [&str; 6] = ["settings", "limits", "grants", "topics", "key", "topic"];

/// What begins any other line.
pub const STARTS: [&str; 6] = [
    "case NAME",
    "[topic] payload",
    ">",
    "advance 10m",
    "at 2026-03-29T00:59:00Z",
    "# comment",
];

/// What stands behind `>`, but for messages.
pub const OUTCOMES: [&str; 8] = [
    "pass",
    "nothing",
    "filtered",
    "absorbed",
    "dropped",
    "rejected WORDS",
    "failed WORDS",
    "refused WORDS",
];

/// What stands behind a topic.
pub const MARKS: [&str; 6] = [
    "+retain",
    "+duplicate",
    "+qos0",
    "+qos1",
    "+qos2",
    "+name=value",
];

/// A value of a config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub line: usize,
    /// TOML, on one line.
    pub value: String,
}

/// What a case has under [`KEYS`].
pub type CaseSetup = BTreeMap<String, Written>;

/// Something that is tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    pub name: String,
    pub line: usize,
    /// That of the file included.
    pub setup: CaseSetup,
    pub steps: Vec<Step>,
}

/// Something that happens, and what is to come of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub line: usize,
    pub act: Act,
    pub expected: Vec<Outcome>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// The plugin gets its settings: the first step of each case.
    Start,
    Message(WrittenMessage),
    /// So much time passes, with the ticks that fall into it.
    Advance(Duration),
    /// Time passes until this moment, microseconds since 1970. As the first it says when the case begins.
    At(u64),
}

/// A message, as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WrittenMessage {
    pub topic: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub retain: bool,
    pub duplicate: bool,
    pub qos: QosLevel,
    pub payload: Vec<u8>,
}

/// Level of delivery, 0 to 2; 1 where nothing is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QosLevel(pub u8);

impl Default for QosLevel {
    fn default() -> Self {
        Self(1)
    }
}

/// Something that comes of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A message leaves through a port.
    Message { port: String, sent: WrittenMessage },
    /// The message leaves through `out` as it came.
    Pass,
    /// Nothing leaves, for whatever reason.
    Nothing,
    /// Nothing leaves, since no plugin named it.
    Filtered,
    /// Nothing leaves, since it went into state.
    Absorbed,
    /// It is given up, as `on_error = "drop"` says.
    Dropped,
    /// A dead letter of the plugin's own, whose reason has this in it.
    Rejected(String),
    /// The plugin failed on it.
    Failed(String),
    /// The plugin does not take its settings.
    Refused(String),
}
