//! MQTT 5 by rumqttc's v5 packets.

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{self, Packet as V5};

use super::{Answer, ConnAck, Malformed, Packet, acknowledgement, answer};
use crate::message::Qos;
use crate::mqtt::{Config, Error, Subscription};

/// The session stays until it is asked for again: an hour would lose it in a long outage.
const NEVER_EXPIRES: u32 = u32::MAX;

fn level(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
        Qos::ExactlyOnce => QoS::ExactlyOnce,
    }
}

/// Decodes one complete frame that is neither PUBLISH nor a plain acknowledgement.
///
/// By hand, since the codec cannot: the two-byte CONNACK of a 3.1.1 server, DISCONNECT without a reason code and
/// with nothing but one.
pub(super) fn decode(first: u8, header: usize, mut frame: BytesMut) -> Result<Packet, Malformed> {
    let body = &frame[header..];
    // The place of the reason code differs by packet; the codec checks it and hides it in an enum.
    let (second, third) = (body.get(1).copied().unwrap_or(0), body.get(2).copied().unwrap_or(0));
    match (first, body) {
        (0x20, [flags, code]) => {
            return Ok(Packet::ConnAck(ConnAck {
                session_present: flags & 1 == 1,
                code: *code,
                legacy: true,
                ..ConnAck::default()
            }));
        }
        (0xE0, []) => return Ok(Packet::Disconnect { code: 0, words: None }),
        (0xE0, [code]) => return Ok(Packet::Disconnect { code: *code, words: None }),
        _ => {}
    }
    let code = body.first().copied().unwrap_or(0);
    // `InsufficientBytes` from a complete frame is as malformed as the rest.
    let packet = V5::read(&mut frame, None).map_err(|_| Malformed("a packet that does not parse as MQTT 5"))?;
    match packet {
        V5::ConnAck(ack) => connack(ack, second),
        V5::Disconnect(end) => Ok(Packet::Disconnect { code, words: end.properties.and_then(|told| told.reason_string) }),
        V5::SubAck(ack) => Ok(Packet::SubAck { packet_id: ack.pkid, codes: subscribe_codes(&ack.return_codes) }),
        other => answered(other, third).map(|answer| acknowledgement(first, answer)),
    }
}

fn answered(packet: V5, code: u8) -> Result<Answer, Malformed> {
    match packet {
        V5::PubAck(ack) => answer(ack.pkid, code, ack.properties.and_then(|told| told.reason_string)),
        V5::PubRec(ack) => answer(ack.pkid, code, ack.properties.and_then(|told| told.reason_string)),
        V5::PubRel(ack) => answer(ack.pkid, code, ack.properties.and_then(|told| told.reason_string)),
        V5::PubComp(ack) => answer(ack.pkid, code, ack.properties.and_then(|told| told.reason_string)),
        _ => Err(Malformed("a packet that was not asked for")),
    }
}

fn connack(ack: v5::ConnAck, code: u8) -> Result<Packet, Malformed> {
    let mut packet = ConnAck { session_present: ack.session_present, code, ..ConnAck::default() };
    if let Some(told) = ack.properties {
        if told.receive_max == Some(0) || told.max_packet_size == Some(0) {
            return Err(Malformed("CONNACK with a limit of 0"));
        }
        packet.words = told.reason_string;
        packet.receive_maximum = told.receive_max;
        packet.maximum_packet_bytes = told.max_packet_size;
        packet.maximum_qos = told.max_qos;
        packet.retain_available = told.retain_available.map(|available| available != 0);
        packet.keep_alive = told.server_keep_alive;
    }
    Ok(Packet::ConnAck(packet))
}

fn subscribe_codes(codes: &[v5::SubscribeReasonCode]) -> Vec<u8> {
    use v5::SubscribeReasonCode as Code;
    let number = |code: &Code| match code {
        Code::Success(qos) => *qos as u8,
        Code::Failure | Code::Unspecified => 0x80,
        Code::ImplementationSpecific => 0x83,
        Code::NotAuthorized => 0x87,
        Code::TopicFilterInvalid => 0x8F,
        Code::PkidInUse => 0x91,
        Code::QuotaExceeded => 0x97,
        Code::SharedSubscriptionsNotSupported => 0x9E,
        Code::SubscriptionIdNotSupported => 0xA1,
        Code::WildcardSubscriptionsNotSupported => 0xA2,
    };
    codes.iter().map(number).collect()
}

/// Appends CONNECT. No maximum packet size is announced: the broker would drop larger messages without a word,
/// while ours reach the dead letters. No topic alias is offered.
pub(super) fn connect(config: &Config, out: &mut BytesMut) -> Result<(), Error> {
    let properties = v5::ConnectProperties {
        session_expiry_interval: (!config.clean_start).then_some(NEVER_EXPIRES),
        // What leaving it out means. An uplink, which nothing is sent to, says nothing: some brokers take no more than that.
        receive_maximum: Some(config.receive_maximum.max(1)).filter(|maximum| *maximum < u16::MAX),
        ..v5::ConnectProperties::new()
    };
    let connect = v5::Connect {
        keep_alive: super::keep_alive_seconds(config),
        client_id: config.client_id.clone(),
        clean_start: config.clean_start,
        properties: Some(properties),
    };
    let will = config
        .will
        .as_ref()
        .map(|will| v5::LastWill::new(will.topic.as_str(), will.payload.to_vec(), level(will.qos), will.retain, None));
    let login = config
        .login
        .as_ref()
        .map(|login| v5::Login::new(login.user.as_str(), login.password.as_ref().map_or("", |password| password.reveal())));
    V5::Connect(connect, will, login).write(out, None).map_err(|_| Error::TooLong { what: "CONNECT" })?;
    Ok(())
}

/// Appends UNSUBSCRIBE.
pub(super) fn unsubscribe(packet_id: u16, filters: Vec<String>, out: &mut BytesMut) -> Result<(), Malformed> {
    let packet = v5::Unsubscribe { pkid: packet_id, filters, properties: None };
    V5::Unsubscribe(packet).write(out, None).map_err(|_| Malformed("UNSUBSCRIBE cannot be written"))?;
    Ok(())
}

/// Appends SUBSCRIBE: retained messages only for a new subscription, with their retain flag.
pub(super) fn subscribe(packet_id: u16, subscriptions: &[&Subscription], out: &mut BytesMut) -> Result<(), Malformed> {
    let filter = |wanted: &&Subscription| v5::Filter {
        path: wanted.filter.clone(),
        qos: level(wanted.qos),
        nolocal: false,
        preserve_retain: true,
        retain_forward_rule: v5::RetainForwardRule::OnNewSubscribe,
    };
    let packet = v5::Subscribe { pkid: packet_id, filters: subscriptions.iter().map(filter).collect(), properties: None };
    V5::Subscribe(packet).write(out, None).map_err(|_| Malformed("SUBSCRIBE cannot be written"))?;
    Ok(())
}
