//! What goes wrong with a connection to a server and a request on it, in words that tell the operator what to do.

use std::time::Duration;

use super::super::carrier::{CarrierFault, Manner};
use crate::link::{self, ConnectionLoss, FailureKind};

/// Why there is no answer to a request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection as such failed.
    #[error(transparent)]
    Link(#[from] link::Error),
    /// The server hung up.
    #[error("the server closed the connection instead of answering")]
    Closed,
    /// The server took nothing of a request.
    #[error("the server took nothing of a request for {0:?}")]
    Stalled(Duration),
    #[error("the server did not answer within {0:?} (`deadlines.answer`)")]
    Late(Duration),
    /// The same, where it answers in a fraction of that as a rule.
    #[error("the server did not answer within {0:?}, which is far more than it takes as a rule")]
    Unusual(Duration),
    /// What came is no answer.
    #[error("what the server answers is not HTTP: {0}")]
    Stranger(String),
}

impl Error {
    /// Whether that is what a connection looks like which the server closed while nothing was asked.
    pub(in crate::uplink) fn is_hang_up(&self) -> bool {
        matches!(self, Self::Closed | Self::Link(link::Error::Broken(_)))
    }
}

impl ConnectionLoss for Error {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Link(error) => error.kind(),
            Self::Closed
            | Self::Stalled(_)
            | Self::Late(_)
            | Self::Unusual(_)
            | Self::Stranger(_) => FailureKind::Passing,
        }
    }
}

impl CarrierFault for Error {
    fn manner(&self) -> Manner {
        match self {
            // One message may lead whatever stands before the server astray.
            Self::Closed | Self::Stranger(_) | Self::Link(link::Error::Broken(_)) => Manner::HungUp,
            Self::Stalled(_) | Self::Late(_) | Self::Unusual(_) => Manner::StoodStill,
            Self::Link(_) => Manner::Elsewhere,
        }
    }
}
