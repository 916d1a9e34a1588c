//! One dead letter: its name, and what was kept.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::message::{Message, PluginRef, Reason};

/// Which letter: the boot it was parked in, and its number in that boot.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct LetterId {
    /// Boot of the store.
    pub boot: u32,
    /// Rises within the boot.
    pub number: u64,
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.boot, self.number)
    }
}

impl FromStr for LetterId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text
            .split_once('-')
            .and_then(|(boot, number)| Some((boot.parse().ok()?, number.parse().ok()?)));
        let (boot, number) =
            parts.ok_or_else(|| format!("`{text}` is no dead letter: they are named like 3-17"))?;
        Ok(Self { boot, number })
    }
}

/// A dead letter as it was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterRecord {
    pub id: LetterId,
    /// The message as it came into the failing stage; its flow goes by name only.
    pub message: Message,
    /// Name of the flow; empty when no flow had it yet.
    pub flow: Arc<str>,
    /// The plugin at fault, if one is.
    pub plugin: Option<PluginRef>,
    /// Uplink and class of the queue it was refused from; such a letter goes back there.
    pub queue: Option<(Arc<str>, Arc<str>)>,
    /// The kind of failure.
    pub reason: Reason,
    pub detail: String,
    /// A plugin had named its topic by then.
    pub own_topic: bool,
    /// Wall clock when it was parked, microseconds since 1970.
    pub parked_us: u64,
}
