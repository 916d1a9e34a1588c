//! What a connection needs to know; already checked (`config` does that).

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::message::Qos;

/// Text that must not show: its `Debug` is `[hidden]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps what was read from a file, a variable or a credential.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the packet it belongs in.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

/// Which MQTT to speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// 5, and 3.1.1 only where the broker refuses 5.
    #[default]
    Auto,
    /// MQTT 5.
    V5,
    /// MQTT 3.1.1: its PUBACK knows no error, so a refused message is gone without a word.
    V311,
}

/// User name and password.
#[derive(Clone, Debug)]
pub struct Login {
    /// Sent as it is.
    pub user: String,
    /// Hidden in logs and errors.
    pub password: Option<Secret>,
}

/// TLS: own CA or the system's roots, and a client certificate where the broker asks for one.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// PEM file with the CA certificates to trust; `None`: the system's roots.
    pub ca: Option<PathBuf>,
    /// PEM files: certificate chain and private key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Name to check the certificate against; `None`: the host of the URL.
    pub server_name: Option<String>,
}

/// Last will, left with the broker at connect.
#[derive(Clone, Debug)]
pub struct Will {
    /// Where it is published.
    pub topic: String,
    /// What is published.
    pub payload: Bytes,
    /// With which level.
    pub qos: Qos,
    /// Whether the broker keeps it.
    pub retain: bool,
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
        Self { dial: seconds(8), handshake: seconds(8), write: seconds(10), answer: seconds(30) }
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

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), cap: Duration::from_secs(60), jitter: 0.2 }
    }
}

/// One connection.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Which MQTT.
    pub protocol: Protocol,
    /// Fixed, so that the broker knows its session again.
    pub client_id: String,
    /// `false` keeps the session over a reconnect (source), `true` starts afresh (uplink).
    pub clean_start: bool,
    /// Longest silence before a ping; the broker gives up at 1.5 times this.
    pub keep_alive: Duration,
    /// How many unacknowledged QoS 1 and 2 messages the broker may send us.
    pub receive_maximum: u16,
    /// Our own limit on messages in flight to the broker; its Receive Maximum may lower it.
    pub inflight: u16,
    /// Largest packet we take; larger ones are read past and reported with their head.
    pub max_packet_bytes: u32,
    /// User name and password.
    pub login: Option<Login>,
    /// TLS where the URL says `mqtts`.
    pub tls: Option<Tls>,
    /// Last will.
    pub will: Option<Will>,
    /// It carries flows with `priority` alone, and belongs on a thread that does not pause.
    pub priority: bool,
    /// A deadline for each phase.
    pub deadlines: Deadlines,
    /// Between attempts.
    pub backoff: Backoff,
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A connection that waits for nothing long.
    pub(in crate::mqtt) fn config() -> Config {
        Config {
            host: "127.0.0.1".to_owned(),
            port: 1883,
            protocol: Protocol::Auto,
            client_id: "gateway".to_owned(),
            clean_start: true,
            keep_alive: Duration::from_secs(30),
            receive_maximum: 100,
            inflight: 20,
            max_packet_bytes: 64 << 10,
            login: None,
            tls: None,
            will: None,
            priority: false,
            deadlines: Deadlines::default(),
            backoff: Backoff::default(),
        }
    }

    #[test]
    fn a_secret_does_not_show() {
        let login = Login { user: "me".to_owned(), password: Some(Secret::new("hunter2")) };
        assert!(!format!("{login:?}").contains("hunter2"));
    }
}
