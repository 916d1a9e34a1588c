//! The broker of the stages' tests: speaks MQTT 5 word for word as the test says, on a loopback port.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Config, Protocol};
use crate::link::{Backoff, Deadlines};

pub(crate) struct ScriptedBroker {
    listener: TcpListener,
}

/// A packet that came in: its first byte and what follows the length.
#[derive(Debug)]
pub(crate) struct RawPacket {
    pub(crate) head: u8,
    pub(crate) body: Vec<u8>,
}

/// One connection, past CONNECT.
pub(crate) struct ScriptedClient {
    stream: TcpStream,
    /// Answers SUBSCRIBE by itself.
    grants: bool,
}

pub(crate) const CONNECT: u8 = 0x10;
pub(crate) const PUBACK: u8 = 0x40;
pub(crate) const PUBREC: u8 = 0x50;
pub(crate) const SUBSCRIBE: u8 = 0x82;
pub(crate) const UNSUBSCRIBE: u8 = 0xa2;
pub(crate) const DISCONNECT: u8 = 0xe0;
const PINGREQ: u8 = 0xc0;

impl ScriptedBroker {
    pub(crate) async fn bind() -> Self {
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        }
    }

    /// How to reach it, with delays of a millisecond.
    pub(crate) fn config(&self) -> Config {
        let address = self.listener.local_addr().unwrap();
        Config {
            host: address.ip().to_string(),
            port: address.port(),
            protocol: Protocol::V5,
            client_id: "gateway".into(),
            clean_start: false,
            keep_alive: Duration::from_secs(60),
            receive_maximum: 100,
            inflight: 100,
            max_packet_bytes: 1 << 20,
            login: None,
            tls: None,
            websocket: None,
            will: None,
            priority: false,
            deadlines: Deadlines::default(),
            backoff: Backoff {
                first: Duration::from_millis(1),
                cap: Duration::from_millis(1),
                jitter: 0.0,
            },
        }
    }

    /// The next connection that says CONNECT.
    pub(crate) async fn accept(&self) -> ScriptedClient {
        let mut client = ScriptedClient {
            stream: self.listener.accept().await.unwrap().0,
            grants: false,
        };
        assert_eq!(client.packet().await.unwrap().head, CONNECT);
        client
    }

    /// The next connection, let in.
    pub(crate) async fn greet(&self, session_present: bool) -> ScriptedClient {
        let mut client = self.accept().await;
        client.send(0x20, &[u8::from(session_present), 0, 0]).await;
        client
    }

    /// The next connection, let in; whatever it subscribes to is granted, the first of it by now.
    pub(crate) async fn subscribed(&self, session_present: bool) -> ScriptedClient {
        let mut client = self.greet(session_present).await;
        let request = client.packet().await.unwrap();
        assert_eq!(request.head, SUBSCRIBE);
        client.grant(&request.body).await;
        client.grants = true;
        client
    }
}

impl ScriptedClient {
    /// The next packet, pings answered; `None` when the connection is closed.
    pub(crate) async fn packet(&mut self) -> Option<RawPacket> {
        loop {
            let head = self.stream.read_u8().await.ok()?;
            let mut length = 0;
            let mut shift = 0;
            loop {
                let byte = self.stream.read_u8().await.ok()?;
                length |= usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let mut body = vec![0; length];
            self.stream.read_exact(&mut body).await.ok()?;
            match head {
                PINGREQ => self.send(0xd0, &[]).await,
                SUBSCRIBE if self.grants => self.grant(&body).await,
                _ => return Some(RawPacket { head, body }),
            }
        }
    }

    /// SUBACK with the levels that were asked for.
    async fn grant(&mut self, request: &[u8]) {
        let mut answer = vec![request[0], request[1], 0];
        let mut filters = &request[3 + usize::from(request[2])..];
        while let Some((length, rest)) = filters.split_first_chunk::<2>() {
            let (filter, behind) = rest.split_at(usize::from(u16::from_be_bytes(*length)) + 1);
            answer.extend(filter.last().map(|options| options & 0b11));
            filters = behind;
        }
        self.send(0x90, &answer).await;
    }

    /// The next publish: packet id (0 for QoS 0), topic and payload.
    pub(crate) async fn published(&mut self) -> (u16, String, Vec<u8>) {
        let packet = self.packet().await.expect("a publish");
        assert_eq!(packet.head & 0xf0, 0x30, "{packet:?}");
        let (length, rest) = packet.body.split_first_chunk::<2>().unwrap();
        let (topic, mut rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)));
        let mut id = 0;
        if packet.head & 0x06 != 0 {
            id = u16::from_be_bytes([rest[0], rest[1]]);
            rest = &rest[2..];
        }
        let payload = &rest[1 + usize::from(rest[0])..];
        (
            id,
            String::from_utf8(topic.to_vec()).unwrap(),
            payload.to_vec(),
        )
    }

    /// The next packet is an acknowledgement: which one, and of which packet id.
    pub(crate) async fn acknowledged(&mut self) -> (u8, u16) {
        let packet = self.packet().await.expect("an acknowledgement");
        (
            packet.head,
            u16::from_be_bytes([packet.body[0], packet.body[1]]),
        )
    }

    /// PUBACK with a reason code.
    pub(crate) async fn answer(&mut self, id: u16, code: u8) {
        let [high, low] = id.to_be_bytes();
        self.send(PUBACK, &[high, low, code, 0]).await;
    }

    /// Publishes; the packet id 0 means QoS 0.
    pub(crate) async fn publish(&mut self, (qos, id): (u8, u16), topic: &str, payload: &[u8]) {
        let mut body = u16::try_from(topic.len()).unwrap().to_be_bytes().to_vec();
        body.extend_from_slice(topic.as_bytes());
        if qos > 0 {
            body.extend_from_slice(&id.to_be_bytes());
        }
        body.push(0);
        body.extend_from_slice(payload);
        self.send(0x30 | qos << 1, &body).await;
    }

    pub(crate) async fn send(&mut self, head: u8, body: &[u8]) {
        let mut packet = vec![head];
        let mut length = body.len();
        loop {
            let more = length > 0x7f;
            packet.push(u8::try_from(length & 0x7f).unwrap() | if more { 0x80 } else { 0 });
            length >>= 7;
            if !more {
                break;
            }
        }
        packet.extend_from_slice(body);
        self.stream.write_all(&packet).await.unwrap();
    }
}
