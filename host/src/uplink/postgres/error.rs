//! Why there is no way into a database, in words that tell the operator what to do.

use std::time::Duration;

use super::super::carrier::{CarrierFault, Manner};
use crate::link::{self, ConnectionLoss, FailureKind, Overdue};

/// Why a way into a database did not come about, or is over.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection as such failed.
    #[error(transparent)]
    Link(#[from] link::Error),
    /// What the server wants for a login is not there, or cannot be done.
    #[error("cannot log in: {0}; check `password`, and what pg_hba.conf of the server asks for")]
    Login(String),
    #[error("the database did not answer the login within {0:?} (`deadlines.handshake`)")]
    Silent(Duration),
    /// The server hung up.
    #[error("the database closed the connection{0}")]
    Closed(String),
    /// What came is not what a database says.
    #[error("what the server answers is not PostgreSQL: {0}")]
    Stranger(String),
    /// The server took nothing of a statement.
    #[error("the database took nothing of a statement for {0:?}")]
    Stalled(Duration),
    #[error("the database did not answer within {0:?} (`deadlines.answer`)")]
    Late(Duration),
    /// The same, where it answers in a fraction of that as a rule.
    #[error("the database did not answer within {0:?}, which is far more than it takes as a rule")]
    Unusual(Duration),
    /// The database failed over one row.
    #[error("the database failed over a message: {0}")]
    Failed(String),
    /// The database takes nothing before somebody has acted.
    #[error("the database takes nothing: {answer}; nothing is parked, {hint}")]
    Held {
        /// The server's SQLSTATE and words.
        answer: String,
        hint: &'static str,
    },
    /// The database takes nothing for now.
    #[error("the database takes nothing for now: {0}")]
    Busy(String),
}

impl From<Overdue> for Error {
    fn from(overdue: Overdue) -> Self {
        match overdue {
            Overdue::Stalled(waited) => Self::Stalled(waited),
            Overdue::Answer(waited) => Self::Late(waited),
            Overdue::Unusual(waited) => Self::Unusual(waited),
        }
    }
}

impl ConnectionLoss for Error {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Link(error) => error.kind(),
            Self::Held { .. } | Self::Login(_) => FailureKind::Refused,
            _ => FailureKind::Passing,
        }
    }
}

impl CarrierFault for Error {
    fn manner(&self) -> Manner {
        match self {
            // One message may lead whatever stands before the database astray.
            Self::Closed(_)
            | Self::Failed(_)
            | Self::Stranger(_)
            | Self::Link(link::Error::Broken(_)) => Manner::HungUp,
            Self::Stalled(_) | Self::Late(_) | Self::Unusual(_) => Manner::StoodStill,
            Self::Link(_)
            | Self::Login(_)
            | Self::Silent(_)
            | Self::Held { .. }
            | Self::Busy(_) => Manner::Elsewhere,
        }
    }
}
