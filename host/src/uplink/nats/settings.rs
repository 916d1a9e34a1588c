//! What a way into a stream needs to know; already checked (`config` does that).

use super::super::facts::UplinkFacts;
use super::subject::Subject;
use crate::nats;

/// One way into streams of a server.
#[derive(Clone, Debug)]
pub struct Config {
    pub server: nats::Config,
    /// What messages are published to.
    pub subject: Subject,
    /// How their order is kept.
    pub order: SubjectOrder,
    /// Messages without an answer, at most.
    pub inflight: u16,
}

impl Config {
    /// What it says of itself.
    pub(in crate::uplink) fn facts(&self) -> UplinkFacts<'_> {
        UplinkFacts {
            name: "nats",
            host: &self.server.host,
            port: Some(self.server.port),
            tls: self.server.tls.as_ref(),
            secrets: self.server.login.secret().into_iter().collect(),
            has_login: !matches!(self.server.login, nats::NatsLogin::Open),
            window: self.inflight,
            answer: self.server.deadlines.answer,
        }
    }
}

/// How the order of a device's messages is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SubjectOrder {
    /// Each is sent once the one before it is answered; those of other devices go beside it.
    #[default]
    Strict,
    /// All go as they come: one that a stream does not take for a moment comes behind its successors.
    Window,
}
