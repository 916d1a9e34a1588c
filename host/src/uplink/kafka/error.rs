//! Why there is no way into a cluster, in words that tell the operator what to do.

use std::time::Duration;

use super::super::carrier::{CarrierFault, Manner};
use super::form::CutOff;
use crate::link::{self, ConnectionLoss, FailureKind, Overdue};

/// Why a way into a cluster did not come about, or is over.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection as such failed.
    #[error(transparent)]
    Link(#[from] link::Error),
    /// The broker knows us not, or what it wants for a login cannot be done.
    #[error(
        "the Kafka broker refuses the login: {0}; check `user`, `password` and `kafka.sasl`, and the users there"
    )]
    Login(String),
    /// It takes other ways to log in than ours.
    #[error("the Kafka broker takes no login by {wanted}: it offers {offered}; set `kafka.sasl`")]
    Mechanism {
        wanted: &'static str,
        offered: String,
    },
    #[error("the Kafka broker does not speak {0}, which brokers do from 1.0 on")]
    TooOld(&'static str),
    /// What came is not what such a broker says.
    #[error(
        "what answers is no Kafka broker: {0}; check host and port, and whether it wants TLS (kafkas://)"
    )]
    Stranger(String),
    /// The broker hung up.
    #[error("the Kafka broker closed the connection{0}")]
    Closed(&'static str),
    /// The broker took nothing of a request.
    #[error("the Kafka broker took nothing of a request for {0:?}")]
    Stalled(Duration),
    #[error("the Kafka broker did not answer within {0:?} (`deadlines.answer`)")]
    Late(Duration),
    /// The same, where it answers in a fraction of that as a rule.
    #[error(
        "the Kafka broker did not answer within {0:?}, which is far more than it takes as a rule"
    )]
    Unusual(Duration),
    /// The broker failed over one record.
    #[error("the Kafka broker failed over a message: {0}")]
    Failed(String),
    /// Nothing is taken before somebody has acted.
    #[error("the Kafka cluster takes nothing for `{topic}`: {answer}; nothing is parked, {hint}")]
    Held {
        topic: String,
        /// The broker's code and words.
        answer: String,
        hint: &'static str,
    },
    /// Nothing is taken for now.
    #[error("the Kafka cluster takes nothing for now: {0}")]
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

impl From<CutOff> for Error {
    fn from(cut: CutOff) -> Self {
        Self::Stranger(cut.to_string())
    }
}

impl Error {
    /// Whether the connection ended without a word.
    pub(super) fn is_hang_up(&self) -> bool {
        matches!(self, Self::Closed(_) | Self::Link(link::Error::Broken(_)))
    }
}

impl ConnectionLoss for Error {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Link(error) => error.kind(),
            Self::Held { .. } | Self::Login(_) | Self::Mechanism { .. } | Self::TooOld(_) => {
                FailureKind::Refused
            }
            _ => FailureKind::Passing,
        }
    }
}

impl CarrierFault for Error {
    fn manner(&self) -> Manner {
        match self {
            // One message may lead whatever stands before the broker astray.
            Self::Closed(_)
            | Self::Failed(_)
            | Self::Stranger(_)
            | Self::Link(link::Error::Broken(_)) => Manner::HungUp,
            Self::Stalled(_) | Self::Late(_) | Self::Unusual(_) => Manner::StoodStill,
            Self::Link(_)
            | Self::Login(_)
            | Self::Mechanism { .. }
            | Self::TooOld(_)
            | Self::Held { .. }
            | Self::Busy(_) => Manner::Elsewhere,
        }
    }
}
