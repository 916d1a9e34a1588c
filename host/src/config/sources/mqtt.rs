//! A source over MQTT.

use super::super::connection::{self, Role};
use super::super::fields::Fields;
use super::super::identity::ClientIdentity;
use super::shared::spec;
use super::spec::SourceSpec;
use crate::config::problem::code::ProblemCode;
use crate::message::pattern::is_group;
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
    "share",
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
    SourceSpec {
        share: share(fields),
        ..spec(fields, name, kind, max_packet)
    }
}

fn share(fields: &mut Fields<'_>) -> Option<String> {
    let group = fields.text("share").filter(|group| !group.is_empty())?;
    if !is_group(group) {
        let hint =
            "a name without `/`, `+`, `#`, `{` and `}`, the same on every gateway that shares";
        fields.problem(
            ProblemCode::OutOfRange,
            "share",
            format!("`{group}` can be no group of a shared subscription"),
            hint.to_owned(),
        );
        return None;
    }
    if fields.text("protocol") == Some("3.1.1") {
        fields.problem(
            ProblemCode::Conflict,
            "share",
            "MQTT 3.1.1 knows no shared subscriptions: a broker may take them for topics of which nothing ever comes",
            "write protocol = \"5\", or \"auto\" where your broker takes them with 3.1.1 as well".to_owned(),
        );
    }
    Some(group.to_owned())
}
