//! Where a source over CoAP listens, and what it takes.

use std::time::Duration;

use crate::link::Backoff;
use crate::source::facts::{ListenPlace, SourceFacts};
use crate::source::http::PathTopic;

/// What a source over CoAP needs beside what every source needs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address or name of this machine to listen at.
    pub host: String,
    pub port: u16,
    /// From a path to a topic.
    pub topic: PathTopic,
    /// How long a request waits until its message is settled.
    pub settle_within: Duration,
    /// Requests under way at a time.
    pub max_exchanges: usize,
    /// Between attempts to listen.
    pub backoff: Backoff,
}

impl Config {
    /// What it says of itself.
    pub(in crate::source) fn facts(&self) -> SourceFacts<'_> {
        let Self { host, port, .. } = self;
        SourceFacts {
            name: "coap",
            address: format!("{host}:{port}"),
            listens: Some(ListenPlace {
                host,
                port: *port,
                is_datagrams: true,
            }),
            connections: 1,
            topics: self.topic.as_topics(),
            ..SourceFacts::default()
        }
    }
}
