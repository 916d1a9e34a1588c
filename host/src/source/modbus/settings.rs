//! Where the devices are, and how they are asked.

use std::fmt;
use std::time::Duration;

use super::frame::Framing;
use super::map::Device;
use crate::link::{Backoff, Serial};
use crate::source::facts::{SourceFacts, SourceTopics};

/// What a source over Modbus needs beside what every source needs.
#[derive(Clone, Debug)]
pub struct Config {
    pub address: ModbusAddress,
    /// How long one answer may take.
    pub timeout: Duration,
    /// How often a request is tried again within a poll.
    pub retries: u32,
    /// Silence between an answer and the next request.
    pub pause: Duration,
    /// Between the dial and the first request.
    pub connect_pause: Duration,
    /// Between attempts to dial.
    pub backoff: Backoff,
    /// Between attempts to ask a silent device.
    pub probe: Backoff,
    pub devices: Vec<Device>,
}

impl Config {
    /// What it says of itself.
    pub(in crate::source) fn facts(&self) -> SourceFacts<'_> {
        let (dials, line) = match &self.address {
            ModbusAddress::Net { host, .. } => (Some(host.as_str()), None),
            ModbusAddress::Serial(serial) => (None, Some(&*serial.path)),
        };
        let groups = self.devices.iter().flat_map(|device| &device.groups);
        let topics = groups.filter_map(|group| std::str::from_utf8(&group.topic).ok());
        SourceFacts {
            name: "modbus",
            address: self.address.to_string(),
            dials,
            line,
            connections: 1,
            topics: SourceTopics::Listed(topics.collect()),
            ..SourceFacts::default()
        }
    }
}

/// Where the devices are.
#[derive(Clone, Debug)]
pub enum ModbusAddress {
    Net {
        host: String,
        port: u16,
        framing: Framing,
    },
    Serial(Serial),
}

impl fmt::Display for ModbusAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net { host, port, .. } => write!(f, "{host}:{port}"),
            Self::Serial(serial) => write!(f, "{}", serial.path.display()),
        }
    }
}
