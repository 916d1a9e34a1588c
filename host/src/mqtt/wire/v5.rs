//! What a client of MQTT 5 sends beside messages, by rumqttc's v5 packets.

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{self, Packet as V5};

use super::Malformed;
use crate::message::Qos;
use crate::mqtt::{Config, Error};

/// The session stays until it is asked for again: an hour would lose it in a long outage.
const NEVER_EXPIRES: u32 = u32::MAX;

fn level(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
        Qos::ExactlyOnce => QoS::ExactlyOnce,
    }
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
        keep_alive: config.keep_alive_seconds(),
        client_id: config.client_id.clone(),
        clean_start: config.clean_start,
        properties: Some(properties),
    };
    let will = config.will.as_ref().map(|will| {
        v5::LastWill::new(
            will.topic.as_str(),
            will.payload.to_vec(),
            level(will.qos),
            will.retain,
            None,
        )
    });
    let login = config.login.as_ref().map(|login| {
        v5::Login::new(
            login.user.as_str(),
            login
                .password
                .as_ref()
                .map_or("", |password| password.reveal()),
        )
    });
    V5::Connect(connect, will, login)
        .write(out, None)
        .map_err(|_| Error::TooLong { what: "CONNECT" })?;
    Ok(())
}

pub(super) fn unsubscribe(
    packet_id: u16,
    filters: Vec<String>,
    out: &mut BytesMut,
) -> Result<(), Malformed> {
    let packet = v5::Unsubscribe {
        pkid: packet_id,
        filters,
        properties: None,
    };
    V5::Unsubscribe(packet)
        .write(out, None)
        .map_err(|_| Malformed("UNSUBSCRIBE cannot be written"))?;
    Ok(())
}
