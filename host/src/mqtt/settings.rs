//! What a connection needs to know; already checked (`config` does that).

use std::time::Duration;

use bytes::Bytes;

use crate::link::{Backoff, Carriage, Deadlines, Peer, Secret, Target, Tls};
use crate::message::Qos;

/// The other end of each connection.
const BROKER: Peer = Peer {
    noun: "broker",
    plain: "mqtt://",
    upgrade: None,
};

/// The same over WebSockets.
const WEB_BROKER: Peer = Peer {
    plain: "mqtt+ws://",
    ..BROKER
};

/// Which MQTT to speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// 5, and 3.1.1 only where the broker refuses 5.
    #[default]
    Auto,
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

/// Last will, left with the broker at connect.
#[derive(Clone, Debug)]
pub struct Will {
    /// Where it is published.
    pub topic: String,
    pub payload: Bytes,
    pub qos: Qos,
    /// Whether the broker keeps it.
    pub retain: bool,
    /// What is published there once a connection stands, and taken back by the will, or by its payload before we leave.
    pub online: Option<Bytes>,
}

#[derive(Clone, Debug)]
pub struct Config {
    pub host: String,
    pub port: u16,
    pub protocol: Protocol,
    /// Fixed, so that the broker knows its session again.
    pub client_id: String,
    /// `false` keeps the session over a reconnect (source), `true` starts afresh (uplink).
    pub clean_start: bool,
    /// Longest silence before a ping; the broker gives up at 1.5 times this.
    pub keep_alive: Duration,
    /// How many unacknowledged QoS 1 and 2 messages the broker may send us; 65,535 is the protocol's own default.
    pub receive_maximum: u16,
    /// Our own limit on messages in flight to the broker; its Receive Maximum may lower it.
    pub inflight: u16,
    /// Largest packet we take; larger ones are read past and reported with their head.
    pub max_packet_bytes: u32,
    /// User name and password.
    pub login: Option<Login>,
    /// TLS where the URL says `mqtts` or `mqtt+wss`.
    pub tls: Option<Tls>,
    /// The path of the WebSocket that it is carried over, where the URL says `mqtt+ws` or `mqtt+wss`.
    pub websocket: Option<String>,
    pub will: Option<Will>,
    /// It carries flows with `priority` alone, and belongs on a thread that does not pause.
    pub priority: bool,
    /// A deadline for each phase.
    pub deadlines: Deadlines,
    pub backoff: Backoff,
}

impl Config {
    /// Keep-alive as it stands in CONNECT, in seconds; part of a second counts as one, since 0 would switch it off.
    pub(super) fn keep_alive_seconds(&self) -> u16 {
        let seconds = self.keep_alive.as_secs() + u64::from(self.keep_alive.subsec_nanos() > 0);
        u16::try_from(seconds).unwrap_or(u16::MAX)
    }

    pub(super) fn target(&self) -> Target<'_> {
        Target {
            host: &self.host,
            port: self.port,
            tls: self.tls.as_ref(),
            deadlines: self.deadlines,
            peer: match self.websocket {
                None => &BROKER,
                Some(_) => &WEB_BROKER,
            },
            carriage: self.websocket.as_deref().map(|path| Carriage {
                path,
                protocol: "mqtt",
                max_packet_bytes: self.max_packet_bytes,
            }),
        }
    }
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
            websocket: None,
            will: None,
            priority: false,
            deadlines: Deadlines::default(),
            backoff: Backoff::default(),
        }
    }

    #[test]
    fn a_secret_does_not_show() {
        let login = Login {
            user: "me".to_owned(),
            password: Some(Secret::new("hunter2")),
        };
        assert!(!format!("{login:?}").contains("hunter2"));
    }
}
