//! The broker's side of the wire, for tests: built on rumqttc alone, so that it checks what we do by hand.

use bytes::{BufMut, Bytes, BytesMut};
use rumqttc::mqttbytes as b4;
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes as b5;
use rumqttc::v5::mqttbytes::v5;

use super::ProtocolVersion;
use crate::message::{Headers, Qos, push_header};
use crate::mqtt::Publish;

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientPacket {
    Connect(Greeting),
    Publish {
        publish: Publish,
        packet_id: u16,
    },
    PubAck(u16),
    PubRec(u16),
    PubRel(u16),
    PubComp(u16),
    Subscribe {
        packet_id: u16,
        filters: Vec<(String, Qos)>,
    },
    Unsubscribe {
        packet_id: u16,
        filters: Vec<String>,
    },
    Ping,
    Disconnect,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Greeting {
    pub version: u8,
    pub client_id: String,
    pub clean_start: bool,
    pub keep_alive: u16,
    pub receive_maximum: Option<u16>,
    pub session_expiry: Option<u32>,
    pub login: Option<(String, String)>,
    pub will: Option<(Bytes, Bytes, u8, bool)>,
}

#[derive(Clone, Debug, Default)]
pub struct Announce {
    pub session_present: bool,
    pub receive_maximum: Option<u16>,
    pub maximum_packet_bytes: Option<u32>,
    pub maximum_qos: Option<u8>,
    pub retain_available: Option<u8>,
    pub keep_alive: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckKind {
    Ack,
    Rec,
    Rel,
    Comp,
}

/// Reads what clients send and writes what they get.
#[derive(Debug)]
pub struct BrokerWire {
    version: Option<ProtocolVersion>,
}

fn qos4(qos: b4::QoS) -> Qos {
    Qos::from_level(qos as u8).unwrap()
}

fn qos5(qos: b5::QoS) -> Qos {
    Qos::from_level(qos as u8).unwrap()
}

impl BrokerWire {
    /// Learns the version from CONNECT.
    pub fn new() -> Self {
        Self { version: None }
    }

    pub fn speaking(version: ProtocolVersion) -> Self {
        Self {
            version: Some(version),
        }
    }

    pub fn version(&self) -> ProtocolVersion {
        self.version.unwrap()
    }

    /// The next request, once it is all there. Panics on what is malformed: then our client is wrong.
    pub fn read(&mut self, input: &mut BytesMut) -> Option<ClientPacket> {
        if b4::check(input.iter(), usize::MAX).is_err() {
            return None;
        }
        if input[..2] == [0xE0, 0] {
            let _ = input.split_to(2);
            return Some(ClientPacket::Disconnect);
        }
        if self.version.is_none() {
            let name = input.windows(4).position(|four| four == b"MQTT").unwrap();
            self.version = Some(if input[name + 4] == 5 {
                ProtocolVersion::V5
            } else {
                ProtocolVersion::V311
            });
        }
        Some(match self.version() {
            ProtocolVersion::V5 => read5(v5::Packet::read(input, None).unwrap()),
            ProtocolVersion::V311 => read4(v4::Packet::read(input, usize::MAX).unwrap()),
        })
    }

    pub fn connack(&self, code: u8, announce: &Announce, out: &mut BytesMut) {
        let session_present = announce.session_present;
        match self.version() {
            ProtocolVersion::V311 => out.put_slice(&[0x20, 2, u8::from(session_present), code]),
            ProtocolVersion::V5 if code != 0 => out.put_slice(&[0x20, 3, 0, code, 0]),
            ProtocolVersion::V5 => {
                let properties = v5::ConnAckProperties {
                    session_expiry_interval: None,
                    receive_max: announce.receive_maximum,
                    max_qos: announce.maximum_qos,
                    retain_available: announce.retain_available,
                    max_packet_size: announce.maximum_packet_bytes,
                    assigned_client_identifier: None,
                    topic_alias_max: Some(10),
                    reason_string: None,
                    user_properties: Vec::new(),
                    wildcard_subscription_available: None,
                    subscription_identifiers_available: None,
                    shared_subscription_available: None,
                    server_keep_alive: announce.keep_alive,
                    response_information: None,
                    server_reference: None,
                    authentication_method: None,
                    authentication_data: None,
                };
                let code = v5::ConnectReturnCode::Success;
                let ack = v5::ConnAck {
                    session_present,
                    code,
                    properties: Some(properties),
                };
                v5::Packet::ConnAck(ack).write(out, None).unwrap();
            }
        }
    }

    pub fn publish(&self, publish: &Publish, packet_id: u16, out: &mut BytesMut) {
        match self.version() {
            ProtocolVersion::V311 => {
                let topic = std::str::from_utf8(&publish.topic).unwrap();
                let qos = b4::qos(publish.qos as u8).unwrap();
                let mut packet = v4::Publish::from_bytes(topic, qos, publish.payload.clone());
                (packet.pkid, packet.retain, packet.dup) =
                    (packet_id, publish.retain, publish.duplicate);
                v4::Packet::Publish(packet).write(out, usize::MAX).unwrap();
            }
            ProtocolVersion::V5 => {
                let packet = v5::Publish {
                    dup: publish.duplicate,
                    qos: b5::qos(publish.qos as u8).unwrap(),
                    retain: publish.retain,
                    topic: publish.topic.clone(),
                    pkid: packet_id,
                    payload: publish.payload.clone(),
                    properties: properties(&publish.headers),
                };
                v5::Packet::Publish(packet).write(out, None).unwrap();
            }
        }
    }

    /// An acknowledgement; MQTT 5 with a code and a reason string where the code is not 0.
    pub fn acknowledge(&self, reply: AckKind, packet_id: u16, code: u8, out: &mut BytesMut) {
        let first = match reply {
            AckKind::Ack => 0x40,
            AckKind::Rec => 0x50,
            AckKind::Rel => 0x62,
            AckKind::Comp => 0x70,
        };
        let [high, low] = packet_id.to_be_bytes();
        match (self.version(), code) {
            (_, 0) | (ProtocolVersion::V311, _) => out.put_slice(&[first, 2, high, low]),
            (ProtocolVersion::V5, code) => {
                out.put_slice(&[first, 9, high, low, code, 5, 31, 0, 2, b'n', b'o'])
            }
        }
    }

    pub fn suback(&self, packet_id: u16, codes: &[u8], out: &mut BytesMut) {
        let properties = usize::from(self.version() == ProtocolVersion::V5);
        out.put_slice(&[0x90, u8::try_from(2 + properties + codes.len()).unwrap()]);
        out.put_u16(packet_id);
        out.put_slice(&[0][..properties]);
        out.put_slice(codes);
    }

    pub fn pong(&self, out: &mut BytesMut) {
        out.put_slice(&[0xD0, 0]);
    }

    /// MQTT 5 only: the short form that the codec does not read.
    pub fn disconnect(&self, code: u8, out: &mut BytesMut) {
        out.put_slice(&[0xE0, 1, code]);
    }
}

fn read4(packet: v4::Packet) -> ClientPacket {
    match packet {
        v4::Packet::Connect(connect) => ClientPacket::Connect(Greeting {
            version: 4,
            client_id: connect.client_id,
            clean_start: connect.clean_session,
            keep_alive: connect.keep_alive,
            receive_maximum: None,
            session_expiry: None,
            login: connect.login.map(|login| (login.username, login.password)),
            will: connect.last_will.map(|will| {
                (
                    Bytes::from(will.topic),
                    will.message,
                    will.qos as u8,
                    will.retain,
                )
            }),
        }),
        v4::Packet::Publish(publish) => ClientPacket::Publish {
            packet_id: publish.pkid,
            publish: Publish {
                topic: Bytes::from(publish.topic),
                payload: publish.payload,
                headers: Bytes::new(),
                qos: qos4(publish.qos),
                retain: publish.retain,
                duplicate: publish.dup,
                ..Publish::default()
            },
        },
        v4::Packet::PubAck(ack) => ClientPacket::PubAck(ack.pkid),
        v4::Packet::PubRec(ack) => ClientPacket::PubRec(ack.pkid),
        v4::Packet::PubRel(ack) => ClientPacket::PubRel(ack.pkid),
        v4::Packet::PubComp(ack) => ClientPacket::PubComp(ack.pkid),
        v4::Packet::Subscribe(subscribe) => ClientPacket::Subscribe {
            packet_id: subscribe.pkid,
            filters: subscribe
                .filters
                .into_iter()
                .map(|filter| (filter.path, qos4(filter.qos)))
                .collect(),
        },
        v4::Packet::Unsubscribe(unsubscribe) => ClientPacket::Unsubscribe {
            packet_id: unsubscribe.pkid,
            filters: unsubscribe.topics,
        },
        v4::Packet::PingReq => ClientPacket::Ping,
        v4::Packet::Disconnect => ClientPacket::Disconnect,
        other => panic!("a client sent {other:?}"),
    }
}

fn greeting5(
    connect: v5::Connect,
    will: Option<v5::LastWill>,
    login: Option<v5::Login>,
) -> ClientPacket {
    let told = connect.properties.unwrap_or_default();
    ClientPacket::Connect(Greeting {
        version: 5,
        client_id: connect.client_id,
        clean_start: connect.clean_start,
        keep_alive: connect.keep_alive,
        receive_maximum: told.receive_maximum,
        session_expiry: told.session_expiry_interval,
        login: login.map(|login| (login.username, login.password)),
        will: will.map(|will| (will.topic, will.message, will.qos as u8, will.retain)),
    })
}

fn read5(packet: v5::Packet) -> ClientPacket {
    match packet {
        v5::Packet::Connect(connect, will, login) => greeting5(connect, will, login),
        v5::Packet::Publish(publish) => ClientPacket::Publish {
            packet_id: publish.pkid,
            publish: Publish {
                topic: publish.topic,
                payload: publish.payload,
                headers: publish
                    .properties
                    .map(|told| headers(&told))
                    .unwrap_or_default(),
                qos: qos5(publish.qos),
                retain: publish.retain,
                duplicate: publish.dup,
                ..Publish::default()
            },
        },
        v5::Packet::PubAck(ack) => ClientPacket::PubAck(ack.pkid),
        v5::Packet::PubRec(ack) => ClientPacket::PubRec(ack.pkid),
        v5::Packet::PubRel(ack) => ClientPacket::PubRel(ack.pkid),
        v5::Packet::PubComp(ack) => ClientPacket::PubComp(ack.pkid),
        v5::Packet::Subscribe(subscribe) => {
            for filter in &subscribe.filters {
                assert!(
                    filter.preserve_retain
                        && filter.retain_forward_rule == v5::RetainForwardRule::OnNewSubscribe
                );
            }
            let filters = subscribe
                .filters
                .into_iter()
                .map(|filter| (filter.path, qos5(filter.qos)))
                .collect();
            ClientPacket::Subscribe {
                packet_id: subscribe.pkid,
                filters,
            }
        }
        v5::Packet::PingReq(_) => ClientPacket::Ping,
        other => panic!("a client sent {other:?}"),
    }
}

/// The properties that travel, in the order the codec writes them.
fn headers(told: &v5::PublishProperties) -> Bytes {
    let mut block = Vec::new();
    let mut push = |name: &str, value: &[u8]| push_header(&mut block, name, value).unwrap();
    if let Some(seconds) = told.message_expiry_interval {
        push(":message-expiry", seconds.to_string().as_bytes());
    }
    if let Some(topic) = &told.response_topic {
        push(":response-topic", topic.as_bytes());
    }
    if let Some(data) = &told.correlation_data {
        push(":correlation-data", data);
    }
    for (name, value) in &told.user_properties {
        push(name, value.as_bytes());
    }
    if let Some(kind) = &told.content_type {
        push(":content-type", kind.as_bytes());
    }
    Bytes::from(block)
}

fn properties(block: &[u8]) -> Option<v5::PublishProperties> {
    let mut told = v5::PublishProperties::default();
    for (name, value) in Headers(block).map(Result::unwrap) {
        let text = || String::from_utf8(value.to_vec()).unwrap();
        match name {
            ":message-expiry" => told.message_expiry_interval = Some(text().parse().unwrap()),
            ":response-topic" => told.response_topic = Some(text()),
            ":correlation-data" => told.correlation_data = Some(Bytes::copy_from_slice(value)),
            ":content-type" => told.content_type = Some(text()),
            name => told.user_properties.push((name.to_owned(), text())),
        }
    }
    (!block.is_empty()).then_some(told)
}
