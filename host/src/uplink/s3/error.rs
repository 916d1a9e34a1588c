//! What goes wrong with an object store, in words that tell the operator what to do.

use std::time::Duration;

use super::super::carrier::{CarrierFault, Manner};
use super::super::web;
use crate::link::{self, ConnectionLoss, FailureKind};

/// Why a way into a bucket did not come about, or is over.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A secret is not to be had now.
    #[error(transparent)]
    Link(#[from] link::Error),
    /// There is no answer to a request.
    #[error(transparent)]
    Wire(#[from] web::Error),
    /// No URL comes of endpoint and bucket.
    #[error("the endpoint with the bucket {0}")]
    Nowhere(String),
    /// The server failed over one message.
    #[error("the object store failed over a message: {0}")]
    Failed(String),
    /// The server takes nothing before somebody has acted.
    #[error("the object store takes nothing: {answer}; nothing is parked, {hint}")]
    Held {
        /// Status, name of the error and first words.
        answer: String,
        hint: &'static str,
    },
    /// The server takes nothing for now.
    #[error("the object store takes nothing for now: {answer}")]
    Busy {
        /// Status, name of the error and first words.
        answer: String,
        /// How long it asks to be left alone.
        pause: Option<Duration>,
    },
    /// The server asked to be left alone, on another connection.
    #[error("the object store asked to be left alone")]
    Asked(Duration),
    /// The thread on which an object is put together is gone.
    #[error("an object could not be put together")]
    Stopped,
}

impl ConnectionLoss for Error {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Link(error) => error.kind(),
            Self::Wire(error) => error.kind(),
            Self::Held { .. } | Self::Nowhere(_) => FailureKind::Refused,
            Self::Failed(_) | Self::Busy { .. } | Self::Asked(_) | Self::Stopped => {
                FailureKind::Passing
            }
        }
    }

    fn pause(&self) -> Option<Duration> {
        match self {
            Self::Link(error) => error.pause(),
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
            Self::Failed(_) => Manner::HungUp,
            Self::Link(_)
            | Self::Nowhere(_)
            | Self::Held { .. }
            | Self::Busy { .. }
            | Self::Asked(_)
            | Self::Stopped => Manner::Elsewhere,
        }
    }
}
