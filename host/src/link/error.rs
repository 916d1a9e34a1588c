//! What goes wrong with a connection, whatever is spoken on it, in words that tell the operator what to do.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::settings::SecretError;

/// How a failure is to be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// Credentials, certificates or rights: trying again soon is pointless, someone must act.
    Refused,
    /// A file that it needs is not there, or is not what it should be: it may be being replaced at this moment. Told as a refusal,
    /// and tried again soon, and ever more seldom.
    Unread,
    /// A certificate is not yet valid while the wall clock is unset: it passes when the clock is set.
    Clock,
    /// Nobody listens there, or no way leads there, and that was said at once: to ask again costs nothing.
    NotThere,
    /// The network or the other end: try again with back-off.
    Passing,
}

/// Why a connection is over, as far as that decides about the next one. Its `Display` is for the operator.
pub trait ConnectionLoss: StdError {
    /// How it is to be met.
    fn kind(&self) -> FailureKind;

    /// Messages were under way, nothing was answered, and the link stood still: the next connection gets more patience.
    fn is_unanswered(&self) -> bool {
        false
    }

    /// How long the other end asks to be left alone.
    fn pause(&self) -> Option<Duration> {
        None
    }

    /// Whether another one with the same [`Dial::id`](super::Dial::id) has come, or would look like this.
    fn twin(&self) -> Option<Twin> {
        None
    }
}

/// Another one with our id, which is served in our place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twin {
    /// The other end says so.
    Told,
    /// It hung up, for that reason or another.
    Perhaps,
}

/// Why a connection did not come about or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name does not resolve.
    #[error("cannot look up `{host}`: check the name and the gateway's name server")]
    Lookup {
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// No address of the peer takes a connection.
    #[error(
        "cannot connect to `{address}`: check that the {noun} runs and the port is right and open"
    )]
    Dial {
        address: String,
        /// What should answer there.
        noun: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A port of this machine cannot be listened on.
    #[error("cannot listen on `{address}`: {problem}")]
    Listen {
        address: String,
        /// What to do about it.
        problem: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A phase missed its deadline.
    #[error("{phase} took longer than {deadline:?}")]
    Deadline {
        /// What was waited for.
        phase: Cow<'static, str>,
        /// The limit that was missed.
        deadline: Duration,
    },
    /// A certificate or key file cannot be used.
    #[error("cannot use `{}`: {problem}", path.display())]
    File {
        path: PathBuf,
        /// What is wrong with it and what to do.
        problem: String,
    },
    /// A secret is not to be had; it may be there in a moment, when it is being renewed.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// TLS cannot be set up, or the handshake failed.
    #[error("TLS with `{server}` failed: {problem}")]
    Tls {
        /// Name the certificate is checked against.
        server: String,
        /// What is wrong and what to do.
        problem: String,
        /// How it is to be met.
        failure: FailureKind,
    },
    /// A connection stands, and no WebSocket was opened on it.
    #[error("no WebSocket with `{server}`: {problem}")]
    WebSocket {
        server: String,
        /// What is wrong and what to do.
        problem: String,
        /// How it is to be met.
        failure: FailureKind,
    },
    #[error("the connection broke")]
    Broken(#[source] io::Error),
}

impl Error {
    /// `phase` took longer than `deadline`.
    pub fn late(phase: impl Into<Cow<'static, str>>, deadline: Duration) -> Self {
        Self::Deadline {
            phase: phase.into(),
            deadline,
        }
    }
}

impl ConnectionLoss for Error {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Secret(error) => error.kind(),
            Self::Tls { failure, .. } | Self::WebSocket { failure, .. } => *failure,
            Self::File { .. } => FailureKind::Unread,
            Self::Dial { source, .. } if is_said_at_once(source) => FailureKind::NotThere,
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                FailureKind::Refused
            }
            Self::Listen { .. }
            | Self::Lookup { .. }
            | Self::Dial { .. }
            | Self::Deadline { .. }
            | Self::Broken(_) => FailureKind::Passing,
        }
    }

    fn pause(&self) -> Option<Duration> {
        match self {
            Self::Secret(error) => error.pause(),
            _ => None,
        }
    }
}

/// Whether a dial was turned down, by the peer's machine or on the way: silence ends in a deadline instead.
fn is_said_at_once(cause: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    matches!(
        cause.kind(),
        ConnectionRefused | HostUnreachable | NetworkUnreachable
    )
}

/// An error with its causes, on one line.
#[derive(Debug)]
pub struct Causes<'a>(pub &'a dyn StdError);

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            write!(f, ": {cause}")?;
            next = cause.source();
        }
        Ok(())
    }
}
