//! A source over MQTT.

use super::super::SourceSpec;
use super::super::assemble::Identity;
use super::super::code::Code;
use super::super::connection::{self, Role};
use super::super::fields::Fields;
use crate::source::Kind;
use crate::source::mqtt::{Config, SessionMark};

/// Reads its keys.
pub(super) fn read(
    fields: &mut Fields<'_>,
    gateway: &str,
    name: &str,
    identities: &mut Vec<Identity>,
) -> SourceSpec {
    let connection = connection::read(fields, Role::Source, gateway, name);
    let most = connection.mqtt.max_packet_bytes as usize;
    identities.push(Identity {
        mqtt: connection.mqtt.clone(),
        path: connection.path,
        place: connection.client_id_place,
    });
    let kind = Kind::Mqtt(Box::new(Config {
        connection: connection.mqtt,
        qos: connection::qos(fields),
        mark: SessionMark::default(),
    }));
    let spec = super::spec(fields, name, kind);
    within_packet(fields, spec, most)
}

/// No payload is larger than a packet: the default gives way, what the operator wrote must fit.
fn within_packet(fields: &Fields<'_>, spec: SourceSpec, most: usize) -> SourceSpec {
    if spec.max_payload_bytes > most && fields.has("max_payload") {
        let hint = "a larger packet is never taken in: raise `max_packet`, or lower `max_payload`"
            .to_owned();
        fields.problem(
            Code::Conflict,
            "max_payload",
            "`max_payload` is larger than `max_packet`",
            hint,
        );
    }
    SourceSpec {
        max_payload_bytes: spec.max_payload_bytes.min(most),
        ..spec
    }
}
