//! What goes wrong with a server, in words that tell the operator what to do.

use std::time::Duration;

use super::super::carrier::{CarrierFault, Manner};
use super::super::web;
use crate::link::{self, ConnectionLoss, FailureKind};

/// Why a connection to a server did not come about, or is over.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection as such failed.
    #[error(transparent)]
    Link(#[from] link::Error),
    /// What is in the file of a secret cannot be sent.
    #[error("`{0}` has a value that cannot stand in a header: line ends and control characters")]
    Header(String),
    /// There is no answer to a request.
    #[error(transparent)]
    Wire(#[from] web::Error),
    /// The server failed over one message.
    #[error("the server failed over a message: {0}")]
    Failed(String),
    /// It says of one message what it may say of all.
    #[error("the server does not take a message: {answer}; if it takes none, {hint}")]
    Unwanted {
        /// Status and first words.
        answer: String,
        hint: &'static str,
    },
    /// The server takes nothing before somebody has acted.
    #[error("the server takes nothing: {answer}; nothing is parked, {hint}")]
    Held {
        /// Status and first words.
        answer: String,
        hint: &'static str,
    },
    /// The server takes nothing for now.
    #[error("the server takes nothing for now: {answer}")]
    Busy {
        /// Status and first words.
        answer: String,
        /// How long it asks to be left alone.
        pause: Option<Duration>,
    },
    /// The server asked to be left alone, on another connection.
    #[error("the server asked to be left alone")]
    Asked(Duration),
}

impl ConnectionLoss for Error {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Link(error) => error.kind(),
            Self::Held { .. } | Self::Header(_) => FailureKind::Refused,
            Self::Wire(error) => error.kind(),
            Self::Failed(_) | Self::Unwanted { .. } | Self::Busy { .. } | Self::Asked(_) => {
                FailureKind::Passing
            }
        }
    }

    fn pause(&self) -> Option<Duration> {
        match self {
            Self::Busy { pause, .. } => *pause,
            Self::Asked(left) => Some(*left),
            _ => None,
        }
    }
}

impl CarrierFault for Error {
    fn manner(&self) -> Manner {
        match self {
            Self::Wire(error) => error.manner(),
            // One message may lead whatever stands before the server astray.
            Self::Failed(_) | Self::Unwanted { .. } | Self::Link(link::Error::Broken(_)) => {
                Manner::HungUp
            }
            Self::Link(_)
            | Self::Header(_)
            | Self::Held { .. }
            | Self::Busy { .. }
            | Self::Asked(_) => Manner::Elsewhere,
        }
    }
}
