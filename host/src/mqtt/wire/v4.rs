//! MQTT 3.1.1 by rumqttc's v4 packets.

use bytes::BytesMut;
use rumqttc::mqttbytes::v4::{self, SubscribeReasonCode};
use rumqttc::mqttbytes::{QoS, v4::Packet as V4};

use super::{ConnAck, Malformed, Packet};
use crate::message::Qos;
use crate::mqtt::{Config, Error, Subscription};

fn level(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
        Qos::ExactlyOnce => QoS::ExactlyOnce,
    }
}

/// Decodes one complete frame that is neither PUBLISH nor an acknowledgement.
pub(super) fn decode(mut frame: BytesMut) -> Result<Packet, Malformed> {
    // `InsufficientBytes` from a complete frame is as malformed as the rest.
    match V4::read(&mut frame, usize::MAX) {
        Ok(V4::ConnAck(ack)) => {
            Ok(Packet::ConnAck(ConnAck { session_present: ack.session_present, code: ack.code as u8, ..ConnAck::default() }))
        }
        Ok(V4::SubAck(ack)) => {
            let code = |code: &SubscribeReasonCode| match code {
                SubscribeReasonCode::Success(qos) => *qos as u8,
                SubscribeReasonCode::Failure => 0x80,
            };
            Ok(Packet::SubAck { packet_id: ack.pkid, codes: ack.return_codes.iter().map(code).collect() })
        }
        Ok(_) => Err(Malformed("a packet that has no place in MQTT 3.1.1, or of the wrong length")),
        Err(_) => Err(Malformed("a packet that does not parse as MQTT 3.1.1")),
    }
}

/// Appends CONNECT.
pub(super) fn connect(config: &Config, out: &mut BytesMut) -> Result<(), Error> {
    let mut connect = v4::Connect::new(config.client_id.as_str());
    connect.keep_alive = super::keep_alive_seconds(config);
    connect.clean_session = config.clean_start;
    connect.last_will =
        config.will.as_ref().map(|will| v4::LastWill::new(&will.topic, will.payload.to_vec(), level(will.qos), will.retain));
    if let Some(login) = &config.login {
        connect.set_login(login.user.as_str(), login.password.as_ref().map_or("", |password| password.reveal()));
    }
    V4::Connect(connect).write(out, usize::MAX).map_err(|_| Error::TooLong { what: "CONNECT" })?;
    Ok(())
}

/// Appends UNSUBSCRIBE.
pub(super) fn unsubscribe(packet_id: u16, filters: Vec<String>, out: &mut BytesMut) -> Result<(), Malformed> {
    let packet = v4::Unsubscribe { pkid: packet_id, topics: filters };
    V4::Unsubscribe(packet).write(out, usize::MAX).map_err(|_| Malformed("UNSUBSCRIBE cannot be written"))?;
    Ok(())
}

/// Appends SUBSCRIBE. 3.1.1 repeats retained messages on every subscribe.
pub(super) fn subscribe(packet_id: u16, subscriptions: &[&Subscription], out: &mut BytesMut) -> Result<(), Malformed> {
    let filters = subscriptions.iter().map(|wanted| v4::SubscribeFilter::new(wanted.filter.clone(), level(wanted.qos)));
    let mut packet = v4::Subscribe::new_many(filters);
    packet.pkid = packet_id;
    V4::Subscribe(packet).write(out, usize::MAX).map_err(|_| Malformed("SUBSCRIBE cannot be written"))?;
    Ok(())
}
