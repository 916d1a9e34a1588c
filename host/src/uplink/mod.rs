//! The way upstream: pulls from the spool, sends in order, tells the spool what was accepted.

use std::sync::Arc;

use crate::message::{Qos, QueueId};
use crate::mqtt;

/// A queue this uplink drains.
#[derive(Clone, Debug)]
pub struct Drain {
    /// Which.
    pub queue: QueueId,
    /// Its class, for metrics.
    pub class: Arc<str>,
}

/// One uplink.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name in config, metrics and logs.
    pub name: Arc<str>,
    /// The connection; `inflight` is the window.
    pub mqtt: mqtt::Config,
    /// Level of what is published.
    pub qos: Qos,
    /// Its queues.
    pub drains: Vec<Drain>,
    /// Largest publish; what the broker announces may lower it.
    pub max_packet_bytes: u32,
}
