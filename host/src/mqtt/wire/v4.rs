//! What a client of MQTT 3.1.1 sends beside messages, by rumqttc's v4 packets.

use bytes::BytesMut;
use rumqttc::mqttbytes::v4;
use rumqttc::mqttbytes::{QoS, v4::Packet as V4};

use super::Malformed;
use crate::message::Qos;
use crate::mqtt::{Config, Error};

fn level(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
        Qos::ExactlyOnce => QoS::ExactlyOnce,
    }
}

pub(super) fn connect(config: &Config, out: &mut BytesMut) -> Result<(), Error> {
    let mut connect = v4::Connect::new(config.client_id.as_str());
    connect.keep_alive = config.keep_alive_seconds();
    connect.clean_session = config.clean_start;
    connect.last_will = config.will.as_ref().map(|will| {
        v4::LastWill::new(
            &will.topic,
            will.payload.to_vec(),
            level(will.qos),
            will.retain,
        )
    });
    if let Some(login) = &config.login {
        connect.set_login(
            login.user.as_str(),
            login
                .password
                .as_ref()
                .map_or("", |password| password.reveal()),
        );
    }
    V4::Connect(connect)
        .write(out, usize::MAX)
        .map_err(|_| Error::TooLong { what: "CONNECT" })?;
    Ok(())
}

pub(super) fn unsubscribe(
    packet_id: u16,
    filters: Vec<String>,
    out: &mut BytesMut,
) -> Result<(), Malformed> {
    let packet = v4::Unsubscribe {
        pkid: packet_id,
        topics: filters,
    };
    V4::Unsubscribe(packet)
        .write(out, usize::MAX)
        .map_err(|_| Malformed("UNSUBSCRIBE cannot be written"))?;
    Ok(())
}
