//! What a source over NATS needs to know; already checked (`config` does that).

use std::fmt;

use super::topic::SubjectTopic;
use crate::nats;
use crate::source::facts::{ConsumerPlace, SourceFacts, SourceTopics};

/// A durable consumer of a stream, which is pulled from.
#[derive(Clone, Debug)]
pub struct Config {
    pub server: nats::Config,
    pub stream: String,
    /// Its name; whoever runs the server makes it.
    pub consumer: String,
    pub topic: SubjectTopic,
    /// Messages that are asked for at once, and that may be under way.
    pub batch: u16,
}

impl Config {
    /// What it says of itself.
    pub(in crate::source) fn facts(&self) -> SourceFacts<'_> {
        let nats::Config { host, port, .. } = &self.server;
        SourceFacts {
            name: "nats",
            address: self.to_string(),
            dials: Some(host),
            consumer: Some(ConsumerPlace {
                host,
                port: *port,
                stream: &self.stream,
                consumer: &self.consumer,
            }),
            connections: 1,
            tls: self.server.tls.as_ref(),
            secret: self.server.login.secret(),
            topics: SourceTopics::Made {
                written: &self.topic,
                reaches: Box::new(|pattern| self.topic.reaches(pattern)),
            },
            ..SourceFacts::default()
        }
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nats::Config { host, port, .. } = &self.server;
        write!(f, "{host}:{port}")
    }
}
