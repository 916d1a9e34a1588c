//! A source over MQTT.

use super::super::connection::{self, Role};
use super::super::fields::Fields;
use super::super::identity::ClientIdentity;
use super::shared::spec;
use super::spec::SourceSpec;
use crate::source::SourceKind;
use crate::source::mqtt::{Config, SessionMark, SessionMarks};

/// Keys that only MQTT has.
pub(super) const OWN_KEYS: &[&str] = &[
    "client_id",
    "protocol",
    "qos",
    "keep_alive",
    "receive_maximum",
    "user",
    "password",
    "will",
    "deadlines",
];

pub(super) fn read(
    fields: &mut Fields<'_>,
    gateway: &str,
    name: &str,
    identities: &mut Vec<ClientIdentity>,
) -> SourceSpec {
    let connection = connection::read(fields, Role::Source, gateway, name);
    let max_packet = connection.mqtt.max_packet_bytes;
    identities.push(ClientIdentity {
        mqtt: connection.mqtt.clone(),
        path: connection.path,
        place: connection.client_id_place,
    });
    let kind = SourceKind::Mqtt(Box::new(Config {
        connection: connection.mqtt,
        qos: connection::qos(fields),
        mark: SessionMark::default(),
        beside: SessionMarks::default(),
        is_left: false,
    }));
    spec(fields, name, kind, max_packet)
}
