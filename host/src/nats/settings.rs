//! What a connection needs to know; already checked (`config` does that).

use crate::link::{Backoff, Deadlines, Peer, Secret, Target, Tls, Upgrade};

/// Who is at the other end, in the words of errors. It says who it is before anything else, TLS among it.
const SERVER: Peer = Peer {
    noun: "NATS server",
    plain: "nats://",
    upgrade: Some(Upgrade::Greeted),
};

/// How we say who we are.
#[derive(Clone, Debug, Default)]
pub enum NatsLogin {
    /// Not at all, or by the certificate.
    #[default]
    Open,
    /// By name and password; both are sent as they are.
    User {
        user: String,
        password: Option<Secret>,
    },
    Token(Secret),
    /// By a key: the text of a `.creds` file, or the seed of a user alone.
    Key(Secret),
}

impl NatsLogin {
    /// What it refers to.
    pub fn secret(&self) -> Option<&Secret> {
        match self {
            Self::Open => None,
            Self::User { password, .. } => password.as_ref(),
            Self::Token(secret) | Self::Key(secret) => Some(secret),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Config {
    /// What the server shows it as.
    pub name: String,
    pub host: String,
    pub port: u16,
    /// TLS where the URL says `nats+tls`.
    pub tls: Option<Tls>,
    pub login: NatsLogin,
    /// What the subjects begin with that answers come to: a user may be allowed some only.
    pub inbox: String,
    /// Largest message that is taken whole; of a larger one there is the head.
    pub max_message_bytes: usize,
    /// A deadline for each phase.
    pub deadlines: Deadlines,
    pub backoff: Backoff,
}

impl Config {
    pub(super) fn target(&self) -> Target<'_> {
        Target {
            host: &self.host,
            port: self.port,
            tls: self.tls.as_ref(),
            deadlines: self.deadlines,
            peer: &SERVER,
            carriage: None,
        }
    }
}
