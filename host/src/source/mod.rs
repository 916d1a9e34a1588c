//! The device side: topics to batches of deliveries; acknowledges the settled prefix in arrival order.

mod pattern;

use std::sync::Arc;

pub use pattern::{Pattern, PatternError};

use crate::message::{FlowId, Intake, Qos};
use crate::mqtt;

/// When a message of a flow is acknowledged to the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ack {
    /// When upstream has accepted it or it is safe on disk.
    #[default]
    Safe,
    /// At once: a crash loses what was under way.
    Received,
}

/// Where messages that match a pattern go.
#[derive(Clone)]
pub struct Route {
    /// Which flow.
    pub flow: FlowId,
    /// Its name, for logs and dead letters.
    pub name: Arc<str>,
    /// Topic filter with captures; several patterns of a flow are several routes, the first that matches counts.
    pub pattern: Pattern,
    /// The flow's lanes.
    pub intake: Arc<dyn Intake>,
    /// When to acknowledge.
    pub ack: Ack,
}

/// One source connection.
#[derive(Clone)]
pub struct Config {
    /// Name in config, metrics and logs.
    pub name: Arc<str>,
    /// The connection.
    pub mqtt: mqtt::Config,
    /// Level asked for in SUBSCRIBE.
    pub qos: Qos,
    /// What goes where.
    pub routes: Vec<Route>,
    /// Bytes under way and unsettled at which the link stops reading; above half of it QoS 0 is dropped.
    pub max_unsettled_bytes: usize,
    /// Longest topic in bytes; a longer one is parked by its head.
    pub max_topic_bytes: usize,
    /// Longest payload in bytes; a longer one is parked by its head.
    pub max_payload_bytes: usize,
}
