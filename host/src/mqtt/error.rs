//! What goes wrong on a connection, in words that tell the operator what to do.

use std::time::Duration;

use super::reason;
use crate::link::{self, ConnectionLoss, FailureKind, Twin};
use crate::message::Qos;
use crate::message::legal::Illegal;

/// What is waited for behind CONNECT.
pub(super) const CONNACK_PHASE: &str = "the broker's answer to CONNECT";

/// Why a connection did not come about or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection as such failed.
    #[error(transparent)]
    Link(#[from] link::Error),
    /// The broker stood still: it answered no ping, and its side took none of our bytes.
    #[error("the broker did not answer a ping within {deadline:?}{}", if *.unanswered {
        ", nor any message on this connection: a link too thin for a large message looks the same, so the next one gets longer"
    } else {
        ""
    })]
    Silent {
        /// The limit that was missed.
        deadline: Duration,
        /// Messages were under way, and the broker had answered to none on this connection.
        unanswered: bool,
    },
    /// The broker refused CONNECT.
    #[error("the broker refused the connection: {reason}")]
    Refused {
        /// The code of CONNACK.
        code: u8,
        /// Name, code in hex and a hint.
        reason: String,
        /// How it is to be met.
        failure: FailureKind,
    },
    /// The broker refused MQTT 5.
    #[error("the broker does not speak MQTT 5: set the protocol to 3.1.1 or auto")]
    VersionRefused,
    /// A setting does not fit the packet it belongs in.
    #[error("{what} is longer than 65,535 bytes, more than MQTT can carry")]
    TooLong { what: &'static str },
    /// The broker said DISCONNECT (MQTT 5).
    #[error("the broker ended the connection: {reason}")]
    Disconnected {
        /// The code of DISCONNECT.
        code: u8,
        /// Name, code in hex and a hint.
        reason: String,
        /// How it is to be met.
        failure: FailureKind,
    },
    /// The broker closed without a word.
    #[error("the broker closed the connection {}", if *.before_connack {
        "instead of answering CONNECT"
    } else {
        "without a word: where this repeats, another client may use the same client id"
    })]
    Closed {
        /// Whether CONNECT was still unanswered.
        before_connack: bool,
    },
    /// The broker closed instead of answering CONNECT.
    #[error("the broker closed the connection instead of answering CONNECT: {hint}")]
    TurnedAway {
        /// What that may mean with these settings.
        hint: String,
    },
    /// Who answers does not speak MQTT.
    #[error("this is no MQTT broker: {what}")]
    Stranger {
        /// What it speaks, and what to do.
        what: &'static str,
    },
    /// What came in is not MQTT.
    #[error("the broker sent a malformed packet: {0}")]
    Malformed(&'static str),
    /// What came in is MQTT, but not to be sent then.
    #[error("the broker broke the protocol: {0}")]
    Protocol(String),
}

impl ConnectionLoss for Error {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Link(error) => error.kind(),
            Self::Refused { failure, .. } | Self::Disconnected { failure, .. } => *failure,
            Self::TooLong { .. } | Self::VersionRefused => FailureKind::Refused,
            Self::Silent { .. }
            | Self::TurnedAway { .. }
            | Self::Stranger { .. }
            | Self::Closed { .. }
            | Self::Malformed(_)
            | Self::Protocol(_) => FailureKind::Passing,
        }
    }

    fn is_unanswered(&self) -> bool {
        matches!(
            self,
            Self::Silent {
                unanswered: true,
                ..
            }
        )
    }

    fn pause(&self) -> Option<Duration> {
        match self {
            Self::Link(error) => error.pause(),
            _ => None,
        }
    }

    fn twin(&self) -> Option<Twin> {
        match self {
            Self::Closed {
                before_connack: false,
                ..
            } => Some(Twin::Perhaps),
            Self::Disconnected { code, .. } if *code == reason::TAKEN_OVER => Some(Twin::Told),
            _ => None,
        }
    }
}

impl Error {
    /// Whether the connection ended without a word of the broker.
    pub fn is_hang_up(&self) -> bool {
        matches!(
            self,
            Self::Closed { .. } | Self::Link(link::Error::Broken(_))
        )
    }

    /// Whether the broker ended the connection over how much it was sent, or how fast.
    pub fn is_too_much(&self) -> bool {
        matches!(self, Self::Disconnected { code, .. } if reason::is_too_much(*code))
    }

    /// Whether the broker's answer to a CONNECT of MQTT 5, or its silence, may be that of one which knows 3.1.1 only.
    pub(super) fn may_be_the_version(&self) -> bool {
        match self {
            Self::Link(link::Error::Deadline { phase, .. }) => phase == CONNACK_PHASE,
            Self::VersionRefused | Self::Malformed(_) => true,
            _ => false,
        }
    }
}

/// Why a stage itself ends a connection, in the words of the log.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionEnded {
    #[error(transparent)]
    Link(#[from] Error),
    /// The broker granted none of the subscriptions.
    #[error("the broker refused every subscription: check this client's rights")]
    NotAuthorised,
    /// The token that was shown ends soon, and all that came over this connection is acknowledged.
    #[error("the token it was opened with ends soon: it is opened anew with another one")]
    Renewal,
    /// A stage lost receipts, so the broker must send again.
    #[error(
        "messages were lost inside before they were safe; the broker is asked to send them again"
    )]
    Fault,
}

impl ConnectionLoss for ConnectionEnded {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Link(error) => error.kind(),
            Self::NotAuthorised => FailureKind::Refused,
            Self::Fault | Self::Renewal => FailureKind::Passing,
        }
    }

    fn is_unanswered(&self) -> bool {
        matches!(self, Self::Link(error) if error.is_unanswered())
    }

    fn pause(&self) -> Option<Duration> {
        match self {
            Self::Link(error) => error.pause(),
            _ => None,
        }
    }

    fn twin(&self) -> Option<Twin> {
        match self {
            Self::Link(error) => error.twin(),
            _ => None,
        }
    }
}

/// Why a message cannot be sent on this connection. Nothing was queued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsendablePublish {
    /// The packet is larger than the broker takes.
    #[error("packet of {bytes} bytes is larger than the {limit} bytes the broker takes")]
    TooLarge {
        /// Size of the packet.
        bytes: u64,
        /// What the broker takes.
        limit: u32,
    },
    /// The topic is not one MQTT can carry.
    #[error("topic {0}")]
    Topic(&'static str),
    /// A header is not one MQTT can carry.
    #[error(transparent)]
    Header(#[from] Illegal),
    /// Too many publishes are unacknowledged: wait for `Accepted`. The only one that passes by itself.
    #[error("the window of unacknowledged messages is full")]
    WindowFull,
    /// The broker keeps no retained messages.
    #[error("the broker does not keep retained messages")]
    RetainNotAvailable,
    /// The broker takes no message of this level.
    #[error("the broker takes messages up to QoS {} only", *.maximum as u8)]
    QosNotAvailable {
        /// The highest it takes.
        maximum: Qos,
    },
}
