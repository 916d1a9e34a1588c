//! What an uplink to a broker has.

use super::super::connection::{self, Role};
use super::super::fields::Fields;
use super::spoken::{Spoken, connections};
use crate::config::problem::code::ProblemCode;
use crate::uplink::{IdForm, Pack, PublishFormat, ReplayMark, UplinkKind};

/// Keys that mean nothing elsewhere.
pub(super) const OWN_KEYS: &[&str] = &[
    "client_id",
    "protocol",
    "keep_alive",
    "user",
    "password",
    "will",
    "qos",
    "allow_qos0",
    "inflight",
    "replay_mark",
    "pack_max",
    "tls",
    "connections",
    "pack",
    "id",
    "compress",
];

pub(super) fn read(fields: &mut Fields<'_>, gateway: &str, name: &str) -> Spoken {
    let broker = connection::read(fields, Role::Uplink, gateway, name).mqtt;
    let format = format(fields);
    if format.pack_bytes as u64 > u64::from(broker.max_packet_bytes) && fields.has("pack_max") {
        let hint = "raise `max_packet`, or lower `pack_max`".to_owned();
        fields.problem(
            ProblemCode::Conflict,
            "pack_max",
            "`pack_max` is larger than `max_packet`",
            hint,
        );
    }
    Spoken {
        qos: connection::qos(fields),
        allows_level_0: fields.flag("allow_qos0"),
        max_packet_bytes: broker.max_packet_bytes,
        format,
        connections: connections(fields),
        kind: UplinkKind::Mqtt(broker),
    }
}

fn format(fields: &mut Fields<'_>) -> PublishFormat {
    let ids = [
        ("none", IdForm::None),
        ("property", IdForm::Property),
        ("envelope", IdForm::Envelope),
    ];
    let marks = [
        ("property", ReplayMark::Property),
        ("topic", ReplayMark::Topic),
        ("none", ReplayMark::None),
    ];
    let packs = [
        ("raw", Pack::Raw),
        ("json-array", Pack::JsonArray),
        ("msgpack-array", Pack::MsgpackArray),
    ];
    PublishFormat {
        replay: fields.choice("replay_mark", &marks).unwrap_or_default(),
        id: fields.choice("id", &ids).unwrap_or_default(),
        pack: fields.choice("pack", &packs).unwrap_or_default(),
        pack_bytes: usize::try_from(fields.size("pack_max", 64..=256 << 20)).unwrap_or(usize::MAX),
        compress: fields
            .choice("compress", &[("none", false), ("zstd", true)])
            .unwrap_or_default(),
        // Known when the sources are.
        counts_rounds: false,
        deletes_retained: true,
    }
}
