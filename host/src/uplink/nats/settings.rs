//! What a way into a stream needs to know; already checked (`config` does that).

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

/// How the order of a device's messages is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SubjectOrder {
    /// Each is sent once the one before it is answered; those of other devices go beside it.
    #[default]
    Strict,
    /// All go as they come: one that a stream does not take for a moment comes behind its successors.
    Window,
}
