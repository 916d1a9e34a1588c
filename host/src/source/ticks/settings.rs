//! What a clock tells, and under which topic.

use std::fmt;

use bytes::Bytes;

use super::rhythm::{Rhythm, TickZone};
use crate::source::facts::{SourceFacts, SourceTopics};

/// What a source of ticks needs beside what every source needs.
#[derive(Clone, Debug)]
pub struct Config {
    pub rhythm: Rhythm,
    /// In whose time a tick says when it was.
    pub zone: TickZone,
    /// The topic of each tick.
    pub topic: Bytes,
}

impl Config {
    /// What it says of itself.
    pub(in crate::source) fn facts(&self) -> SourceFacts<'_> {
        let topic = std::str::from_utf8(&self.topic).ok();
        SourceFacts {
            name: "clock",
            address: self.to_string(),
            topics: SourceTopics::Listed(topic.into_iter().collect()),
            ..SourceFacts::default()
        }
    }
}

/// The clock as the URL names it.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.zone)
    }
}
