//! Where a source over HTTP listens, and what it takes of whom.

use std::sync::Arc;
use std::time::Duration;

use super::split::BodySplit;
use super::topic::PathTopic;
use crate::link::{Backoff, Secret, ServerTls};

/// What a source over HTTP needs beside what every source needs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address or name of this machine to listen at.
    pub host: String,
    pub port: u16,
    /// TLS where the URL says `https`.
    pub tls: Option<ServerTls>,
    /// What every request has to show, as `Authorization: Bearer …`.
    pub token: Option<Secret>,
    /// From a path to a topic.
    pub topic: PathTopic,
    /// How many messages a body holds.
    pub split: BodySplit,
    /// Which headers become properties, in lower case.
    pub headers: Vec<Arc<str>>,
    /// Longest body in bytes.
    pub max_body_bytes: usize,
    /// Longest message over a WebSocket in bytes.
    pub max_frame_bytes: usize,
    /// So long a WebSocket may be silent before it is pinged.
    pub keep_alive: Duration,
    /// Pages that may open WebSockets, as `Origin` has them.
    pub origins: Vec<Arc<str>>,
    /// How long a request waits until its messages are settled.
    pub settle_within: Duration,
    /// Connections at a time.
    pub max_connections: usize,
    /// Between attempts to listen.
    pub backoff: Backoff,
}
