//! What is kept of devices, how long a silence is one, and where changes are told; and what the register needs of all else.

use std::sync::Arc;
use std::time::Duration;

use crate::message::{Destination, Flows, Mint, Outlet, Pattern, StateStore};

/// What the register needs of all else.
pub struct RegisterNeeds {
    pub outlet: Arc<dyn Outlet>,
    pub flows: Arc<dyn Flows>,
    pub states: Arc<dyn StateStore>,
    pub mint: Arc<Mint>,
    /// Number of this start.
    pub boot: u32,
    /// Whether what devices send to the source of this name comes in.
    pub is_listening: Box<dyn Fn(&str) -> bool + Send + Sync>,
}

/// The register as the config has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where events go; empty: nowhere.
    pub events: Vec<Destination>,
    /// Their topic, in which `{device}` stands for the device.
    pub topic: Arc<str>,
    /// A device that was not heard for so long is silent; `None`: none ever is.
    pub heartbeat: Option<Duration>,
    /// Messages a second, over the last minute, above which a device has gone mad; `None`: none ever has.
    pub mad_above: Option<u64>,
    /// Devices that are kept at most.
    pub most: usize,
    /// What they may take in memory, bytes; as much again in each source for what it heard since the last look.
    pub most_bytes: usize,
    /// How often what has changed is written.
    pub checkpoint: Duration,
    pub availability: Availability,
}

/// How it is read whether a device is there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Availability {
    /// Topics that say so; the key of each is the device.
    pub topics: Arc<[Pattern]>,
    /// Words for a device that is there, in small letters.
    pub online: Arc<[String]>,
    /// Words for one that is not.
    pub offline: Arc<[String]>,
    /// The member with the word, of a payload that is a JSON object.
    pub state: Arc<str>,
    /// The member that rises with each status; empty: there is none.
    pub version: Arc<str>,
}
