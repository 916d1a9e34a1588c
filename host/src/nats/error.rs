//! Why there is no connection to a NATS server, in words that tell the operator what to do.

use std::time::Duration;

use crate::link::{self, ConnectionLoss, FailureKind};

/// Why a connection did not come about, or is over.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection as such failed.
    #[error(transparent)]
    Link(#[from] link::Error),
    #[error("cannot log in by `creds`: {0}")]
    Key(String),
    /// The server knows us not, or not any more.
    #[error(
        "the NATS server refuses the login: {0}; check `user` and `password`, `token` or `creds`, and the users there"
    )]
    Login(String),
    #[error("the NATS server takes connections with TLS only: write nats+tls:// in the URL")]
    WantsTls,
    #[error("the NATS server {0} has no headers: 2.2 is the oldest one that does")]
    TooOld(String),
    /// What came is not what such a server says.
    #[error("what answers is no NATS server: {0}; check host and port")]
    Stranger(String),
    /// It hung up, and said why.
    #[error("the NATS server closed the connection: {0}")]
    Told(String),
    /// The same, and it was over what it was sent.
    #[error("the NATS server closed the connection over what it was sent: {0}")]
    Offended(String),
    #[error("the NATS server closed the connection")]
    Closed,
    /// It answers no ping.
    #[error("the NATS server has said nothing for {0:?}, a ping among what it did not answer")]
    Silent(Duration),
    /// It forbids what nothing goes without.
    #[error("the NATS server forbids to {0}")]
    Forbidden(String),
    /// The stream or its consumer is not as it has to be.
    #[error("{problem}; nothing is taken, {hint}")]
    Unfit {
        problem: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// JetStream takes no questions for now.
    #[error("JetStream does not answer for now: {0}")]
    Busy(String),
}

impl ConnectionLoss for Error {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Link(error) => error.kind(),
            Self::Key(_)
            | Self::Login(_)
            | Self::WantsTls
            | Self::TooOld(_)
            | Self::Forbidden(_)
            | Self::Unfit { .. } => FailureKind::Refused,
            Self::Stranger(_)
            | Self::Told(_)
            | Self::Offended(_)
            | Self::Closed
            | Self::Silent(_)
            | Self::Busy(_) => FailureKind::Passing,
        }
    }
}
