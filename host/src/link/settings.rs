//! What a connection needs to know, whatever is spoken on it; already checked (`config` does that).

mod files;
mod secret;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use self::files::SecretFiles;
pub use self::secret::{FreshToken, Secret, SecretError, TokenLife, TokenSource};

/// TLS: own CA or the system's roots, and a client certificate where the peer asks for one.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// PEM file with the CA certificates to trust; `None`: the system's roots.
    pub ca: Option<PathBuf>,
    /// PEM files: certificate chain and private key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Name to check the certificate against; `None`: the host of the URL.
    pub server_name: Option<String>,
    /// Protocols offered in the handshake (ALPN), the most wanted first; empty: none.
    pub alpn: Vec<String>,
}

impl Tls {
    /// All of its files.
    pub fn paths(&self) -> Vec<PathBuf> {
        let own = self.identity.iter();
        let own = own.flat_map(|(chain, key)| [chain.clone(), key.clone()]);
        own.chain(self.ca.clone()).collect()
    }

    /// The files with certificates, and what each is for.
    pub fn certificates(&self) -> Vec<(&'static str, &Path)> {
        let own = self.identity.as_ref().map(|(chain, _)| ("cert", &**chain));
        let ca = self.ca.as_deref().map(|ca| ("ca", ca));
        own.into_iter().chain(ca).collect()
    }
}

impl ServerTls {
    /// The certificates that it names, each with what it is for.
    pub fn certificates(&self) -> Vec<(&'static str, &Path)> {
        let ca = self.client_ca.as_deref().map(|ca| ("client_ca", ca));
        [("cert", &*self.identity.0)]
            .into_iter()
            .chain(ca)
            .collect()
    }
}

/// TLS at a port that others dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// PEM files: certificate chain and private key.
    pub identity: (PathBuf, PathBuf),
    /// PEM file with the CAs that client certificates come from; with it nobody gets in without one.
    pub client_ca: Option<PathBuf>,
}

/// A deadline for each phase; a phase that misses it costs the connection.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// Name look-up and TCP connect.
    pub dial: Duration,
    /// TLS handshake, and again CONNECT to CONNACK.
    pub handshake: Duration,
    /// Until the socket takes what was ready to be written.
    pub write: Duration,
    /// Until a message that was sent is answered; or twenty times what answers take, if that is longer.
    pub answer: Duration,
}

impl Default for Deadlines {
    /// Bad mobile links show round trips up to 850 ms and bursts of 6 s: 8, 8 and 10 s are above both. An answer is more
    /// than a round trip: upstream may store the message, and copy it, before it answers.
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            dial: seconds(8),
            handshake: seconds(8),
            write: seconds(10),
            answer: seconds(30),
        }
    }
}

/// Delay before the n-th attempt to reconnect: doubles from `first` to `cap`, each ±`jitter`.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// Delay after the first failure.
    pub first: Duration,
    /// No delay is longer.
    pub cap: Duration,
    /// Share by which a delay is moved at random, 0 to 1.
    pub jitter: f64,
}

impl Backoff {
    /// The same with no delay longer than `most`, unless its first one is.
    pub(super) fn capped(self, most: Duration) -> Self {
        Self {
            cap: self.cap.min(most.max(self.first)),
            ..self
        }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            cap: Duration::from_secs(60),
            jitter: 0.2,
        }
    }
}

/// How a connection is carried.
#[derive(Clone, Copy, Debug)]
pub struct Carriage<'a> {
    /// With the query, as it stands in the URL.
    pub path: &'a str,
    /// What is spoken within.
    pub protocol: &'static str,
    /// The largest packet that is to get through.
    pub max_packet_bytes: u32,
}

/// Where to dial, and how.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    pub host: &'a str,
    pub port: u16,
    /// TLS, where it is spoken.
    pub tls: Option<&'a Tls>,
    /// For the dial and the handshake.
    pub deadlines: Deadlines,
    pub peer: &'static Peer,
    /// The WebSocket that it is carried over, where it is.
    pub carriage: Option<Carriage<'a>>,
}

/// Who is at the other end, in the words of errors.
#[derive(Debug, PartialEq, Eq)]
pub struct Peer {
    /// What it is: `broker`.
    pub noun: &'static str,
    /// The scheme of a URL that speaks to it without TLS: `mqtt://`.
    pub plain: &'static str,
    /// What comes before TLS, where a connection begins without.
    pub upgrade: Option<Upgrade>,
}

/// What is said before a TLS handshake.
#[derive(Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// We ask for it.
    Asked {
        ask: &'static [u8],
        /// The byte that agrees.
        yes: u8,
    },
    /// The peer speaks first: one line, which the socket keeps.
    Greeted,
}
