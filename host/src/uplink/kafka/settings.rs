//! What a way into topics needs to know; already checked (`config` does that).

use super::super::facts::UplinkFacts;
use super::super::form::compress::Compress;
use super::super::form::template::Template;
use super::topic::TopicName;
use crate::link::{Backoff, Deadlines, Peer, Secret, Target, Tls};

/// Who is at the other end, in the words of errors.
const BROKER: Peer = Peer {
    noun: "Kafka broker",
    plain: "kafka://",
    upgrade: None,
};

/// How the password is shown to a broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SaslWay {
    /// It proves that it knows the password (RFC 5802), and so does the broker.
    #[default]
    ScramSha512,
    ScramSha256,
    Plain,
}

impl SaslWay {
    /// As brokers call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::Plain => "PLAIN",
        }
    }
}

/// Who logs in, and how.
#[derive(Clone, Debug)]
pub struct KafkaLogin {
    pub user: String,
    /// What is in a file is read at every dial.
    pub password: Secret,
    pub sasl: SaslWay,
}

/// One way into topics of a cluster.
#[derive(Clone, Debug)]
pub struct Config {
    /// What tells it apart from others of the same uplink, and what brokers show it as.
    pub id: String,
    /// Brokers that are asked where the others are: host and port; one at least.
    pub servers: Vec<(String, u16)>,
    /// TLS where the URL says `kafkas`.
    pub tls: Option<Tls>,
    pub login: Option<KafkaLogin>,
    pub topic: TopicName,
    /// What decides about the partition.
    pub key: Template,
    /// How batches are compressed.
    pub compress: Compress,
    /// Messages that are sent at once, at most, over all partitions.
    pub batch_messages: u16,
    /// Bytes of them, at most; one message may be larger.
    pub batch_bytes: usize,
    /// A deadline for each phase.
    pub deadlines: Deadlines,
    pub backoff: Backoff,
}

impl Config {
    /// Name or address of the first broker that is asked.
    pub fn host(&self) -> &str {
        self.servers.first().map_or("", |(host, _)| host)
    }

    /// The same of its port.
    pub fn port(&self) -> u16 {
        self.servers.first().map_or(0, |(_, port)| *port)
    }

    /// What it logs in with.
    pub fn password(&self) -> Option<&Secret> {
        self.login.as_ref().map(|login| &login.password)
    }

    /// What it says of itself.
    pub(in crate::uplink) fn facts(&self) -> UplinkFacts<'_> {
        UplinkFacts {
            name: "kafka",
            host: self.host(),
            port: Some(self.port()),
            tls: self.tls.as_ref(),
            secrets: self.password().into_iter().collect(),
            has_login: self.login.is_some(),
            window: self.batch_messages,
            answer: self.deadlines.answer,
        }
    }

    pub(super) fn target<'a>(&'a self, host: &'a str, port: u16) -> Target<'a> {
        Target {
            host,
            port,
            tls: self.tls.as_ref(),
            deadlines: self.deadlines,
            peer: &BROKER,
            carriage: None,
        }
    }
}
