//! Where a source over HTTP listens, and what it takes of whom.

use std::sync::Arc;
use std::time::Duration;

use super::split::BodySplit;
use super::topic::PathTopic;
use crate::link::{Backoff, Secret, ServerTls};
use crate::source::facts::{ListenPlace, SourceFacts};

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

impl Config {
    /// What it says of itself.
    pub(in crate::source) fn facts(&self) -> SourceFacts<'_> {
        let Self { host, port, .. } = self;
        SourceFacts {
            name: "http",
            address: format!("{host}:{port}"),
            listens: Some(ListenPlace {
                host,
                port: *port,
                is_datagrams: false,
            }),
            connections: self.max_connections as u64 + 1,
            server_tls: self.tls.as_ref(),
            secret: self.token.as_ref(),
            topics: self.topic.as_topics(),
            ..SourceFacts::default()
        }
    }
}
