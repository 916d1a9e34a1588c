//! What goes wrong on a connection, in words that tell the operator what to do.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::message::Qos;
use crate::message::legal::Illegal;

/// What is waited for behind CONNECT.
pub(super) const CONNACK_PHASE: &str = "the broker's answer to CONNECT";

/// How a failure is to be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Credentials, certificates or rights: trying again soon is pointless, someone must act.
    Refused,
    /// A certificate is not yet valid while the wall clock is unset: it passes when the clock is set.
    Clock,
    /// Nobody listens there, or no way leads there, and that was said at once: to ask again costs nothing.
    NotThere,
    /// The network or the broker: try again with back-off.
    Passing,
}

/// Why a connection did not come about or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name does not resolve.
    #[error("cannot look up `{host}`: check the name and the gateway's name server")]
    Lookup {
        /// As configured.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// No address of the broker takes a connection.
    #[error(
        "cannot connect to `{address}`: check that the broker runs and the port is right and open"
    )]
    Dial {
        /// Host and port.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// A phase missed its deadline.
    #[error("{phase} took longer than {deadline:?}")]
    Deadline {
        /// What was waited for.
        phase: &'static str,
        /// The limit that was missed.
        deadline: Duration,
    },
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
    /// A certificate or key file cannot be used.
    #[error("cannot use `{}`: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and what to do.
        problem: String,
    },
    /// The password cannot be read; it may be there in a moment, when it is being renewed.
    #[error("cannot read the password in `{}`: {problem}", path.display())]
    Password {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// TLS cannot be set up, or the handshake failed.
    #[error("TLS with `{server}` failed: {problem}")]
    Tls {
        /// Name the certificate is checked against.
        server: String,
        /// What is wrong and what to do.
        problem: String,
        /// How it is to be met.
        failure: Failure,
    },
    /// The broker refused CONNECT.
    #[error("the broker refused the connection: {reason}")]
    Refused {
        /// The code of CONNACK.
        code: u8,
        /// Name, code in hex and a hint.
        reason: String,
        /// How it is to be met.
        failure: Failure,
    },
    /// The broker refused MQTT 5.
    #[error("the broker does not speak MQTT 5: set the protocol to 3.1.1 or auto")]
    VersionRefused,
    /// A setting does not fit the packet it belongs in.
    #[error("{what} is longer than 65,535 bytes, more than MQTT can carry")]
    TooLong {
        /// Which setting.
        what: &'static str,
    },
    /// The broker said DISCONNECT (MQTT 5).
    #[error("the broker ended the connection: {reason}")]
    Disconnected {
        /// The code of DISCONNECT.
        code: u8,
        /// Name, code in hex and a hint.
        reason: String,
        /// How it is to be met.
        failure: Failure,
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
    /// The network failed.
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    /// What came in is not MQTT.
    #[error("the broker sent a malformed packet: {0}")]
    Malformed(&'static str),
    /// What came in is MQTT, but not to be sent then.
    #[error("the broker broke the protocol: {0}")]
    Protocol(String),
}

impl Error {
    /// How it is to be met.
    pub fn kind(&self) -> Failure {
        match self {
            Self::Tls { failure, .. }
            | Self::Refused { failure, .. }
            | Self::Disconnected { failure, .. } => *failure,
            Self::File { .. } | Self::TooLong { .. } | Self::VersionRefused => Failure::Refused,
            Self::Dial { source, .. } if is_said_at_once(source) => Failure::NotThere,
            Self::Lookup { .. }
            | Self::Dial { .. }
            | Self::Deadline { .. }
            | Self::Silent { .. }
            | Self::Password { .. }
            | Self::TurnedAway { .. }
            | Self::Stranger { .. }
            | Self::Closed { .. }
            | Self::Broken(_)
            | Self::Malformed(_)
            | Self::Protocol(_) => Failure::Passing,
        }
    }
}

impl Error {
    /// Whether the broker's answer to a CONNECT of MQTT 5, or its silence, may be that of one which knows 3.1.1 only.
    pub(super) fn may_be_the_version(&self) -> bool {
        match self {
            Self::Deadline { phase, .. } => *phase == CONNACK_PHASE,
            Self::VersionRefused | Self::Malformed(_) => true,
            _ => false,
        }
    }
}

/// Whether a dial was turned down, by the broker's machine or on the way: silence ends in a deadline instead.
fn is_said_at_once(cause: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    matches!(
        cause.kind(),
        ConnectionRefused | HostUnreachable | NetworkUnreachable
    )
}

/// Why a message cannot be sent on this connection. Nothing was queued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsendable {
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
