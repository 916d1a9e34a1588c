//! What a source over NATS needs to know; already checked (`config` does that).

use std::fmt;

use super::topic::SubjectTopic;
use crate::nats;

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

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nats::Config { host, port, .. } = &self.server;
        write!(f, "{host}:{port}")
    }
}
