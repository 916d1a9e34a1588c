//! Where raw bytes come from, and how they are taken.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

use super::frame::RawFraming;
use super::program::RawProgram;
use super::tail::{FilePattern, TailHandover, TailNext};
use super::topic::PeerTopic;
use crate::link::{Backoff, Serial};
use crate::source::facts::{ListenPlace, SourceFacts, SourceTopics};

/// What a source of raw bytes needs beside what every source needs.
#[derive(Clone, Debug)]
pub struct Config {
    pub address: RawAddress,
    pub framing: RawFraming,
    /// From who sent it to the topic.
    pub topic: PeerTopic,
    /// What is sent back for each message, once it is settled.
    pub reply: Option<Bytes>,
    /// How long a message may take until then.
    pub settle_within: Duration,
    /// Between attempts to dial, to listen or to open.
    pub backoff: Backoff,
    /// Of files, where it is kept up to where they are read; `None`: nowhere.
    pub kept: Option<PathBuf>,
    /// Of files, where those that are open are left for whoever comes next under the same name.
    pub left: TailHandover,
}

impl Config {
    /// What it says of itself.
    pub(in crate::source) fn facts(&self) -> SourceFacts<'_> {
        let mut facts = SourceFacts {
            name: "raw",
            address: self.address.to_string(),
            connections: 1,
            topics: SourceTopics::Made {
                written: &self.topic,
                reaches: Box::new(|pattern| self.topic.reaches(pattern)),
            },
            ..SourceFacts::default()
        };
        let listens = |host, port, is_datagrams| {
            Some(ListenPlace {
                host,
                port,
                is_datagrams,
            })
        };
        match &self.address {
            RawAddress::Dial { host, .. } => facts.dials = Some(host),
            RawAddress::Listen {
                host, port, most, ..
            } => {
                facts.listens = listens(host.as_str(), *port, false);
                facts.connections = *most as u64 + 1;
            }
            RawAddress::Datagrams { host, port } => {
                facts.listens = listens(host.as_str(), *port, true)
            }
            RawAddress::Serial(serial) => facts.line = Some(&serial.path),
            RawAddress::Program(_) | RawAddress::Files(_) => {}
        }
        facts
    }
}

impl Config {
    /// Tells a source of files what it goes on with once it has left.
    pub(in crate::source) fn leads_to(&self, next: Option<&Self>) {
        self.left.tell(match next.map(|next| &next.address) {
            Some(RawAddress::Files(pattern)) => TailNext::Files(pattern.clone()),
            _ => TailNext::Nothing,
        });
    }
}

/// Where they come from.
#[derive(Clone, Debug)]
pub enum RawAddress {
    /// Somebody whom the gateway dials.
    Dial {
        host: String,
        port: u16,
    },
    /// A port that others dial.
    Listen {
        host: String,
        port: u16,
        /// Connections at a time.
        most: usize,
        /// The one that has been silent longest gives way to a new one, if for so long.
        yields_after: Duration,
    },
    /// A port that others send datagrams to.
    Datagrams {
        host: String,
        port: u16,
    },
    Serial(Serial),
    /// What a program writes to its standard output.
    Program(RawProgram),
    /// What others write to files.
    Files(FilePattern),
}

impl fmt::Display for RawAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dial { host, port }
            | Self::Listen { host, port, .. }
            | Self::Datagrams { host, port } => write!(f, "{host}:{port}"),
            Self::Serial(serial) => write!(f, "{}", serial.path.display()),
            Self::Program(program) => write!(f, "{}", program.path.display()),
            Self::Files(pattern) => write!(f, "{pattern}"),
        }
    }
}
