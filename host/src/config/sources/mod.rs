//! Where messages come from: the tables `[source.NAME]`. The scheme of the URL says what is spoken, and with it which keys
//! there are.

mod http;
mod modbus;
mod mqtt;
mod raw;
pub(super) mod spec;

use std::collections::BTreeSet;

pub(super) use self::http::server_tls;

use self::raw::RawWay;
use self::spec::SourceSpec;
use super::fields::Fields;
use super::identity::ClientIdentity;
use super::tree::Place;
use crate::config::problem::code::ProblemCode;
use crate::link::{Parity, Serial, SerialBrake};
use crate::source::SourceKind;

/// What only some ways in have.
const KEYS: [&[&str]; 4] = [
    mqtt::OWN_KEYS,
    http::OWN_KEYS,
    modbus::OWN_KEYS,
    raw::OWN_KEYS,
];

/// Reads all of them.
pub(super) fn read_all(
    root: &mut Fields<'_>,
    gateway: &str,
    identities: &mut Vec<ClientIdentity>,
) -> Vec<(SourceSpec, Place)> {
    let mut sources = Vec::new();
    for (name, mut fields) in root.named("source") {
        let url = fields.written_text("url").unwrap_or_default();
        let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
        let spec = match scheme {
            "http" | "https" => {
                foreign(&mut fields, http::OWN_KEYS, "HTTP");
                http::read(&mut fields, name)
            }
            scheme if scheme.starts_with("modbus") => {
                foreign(&mut fields, modbus::OWN_KEYS, "Modbus");
                modbus::read(&mut fields, name)
            }
            scheme => match RawWay::of(scheme) {
                Some(way) => {
                    foreign(&mut fields, &way.keys(), way.name());
                    raw::read(&mut fields, name, way)
                }
                None => {
                    foreign(&mut fields, mqtt::OWN_KEYS, "MQTT");
                    mqtt::read(&mut fields, gateway, name, identities)
                }
            },
        };
        sources.push((spec, fields.place));
        fields.done();
    }
    sources
}

/// What every source has, beside its kind; no payload is larger than what it comes in.
fn spec(fields: &mut Fields<'_>, name: &str, kind: SourceKind, max_packet: u32) -> SourceSpec {
    let whole = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let most = whole(u64::from(max_packet));
    let max_payload = whole(fields.size("max_payload", 1..=256 << 20));
    // The default gives way, what the operator wrote must fit.
    if max_payload > most && fields.has("max_payload") {
        let hint = "a larger packet is never taken in: raise `max_packet`, or lower `max_payload`"
            .to_owned();
        fields.problem(
            ProblemCode::Conflict,
            "max_payload",
            "`max_payload` is larger than `max_packet`",
            hint,
        );
    }
    SourceSpec {
        name: name.into(),
        kind,
        priority: false,
        routes: Vec::new(),
        max_unsettled_bytes: whole(fields.size("max_unsettled", 64 << 10..=1 << 30)),
        max_topic_bytes: whole(fields.size("max_topic", 1..=65_535)),
        max_payload_bytes: max_payload.min(most),
    }
}

/// The serial line at `path`, with the keys that any has.
fn line(fields: &mut Fields<'_>, path: &str, data: u8, brake: SerialBrake) -> Serial {
    let parities = [
        ("none", Parity::None),
        ("even", Parity::Even),
        ("odd", Parity::Odd),
    ];
    Serial {
        path: path.into(),
        baud: fields.count("baud", 300..=4_000_000),
        data,
        parity: fields.choice("parity", &parities).unwrap_or_default(),
        stop: u8::try_from(fields.count("stop", 1..=2)).unwrap_or(1),
        brake,
    }
}

/// Keys that only others have than the way that has its `own`.
fn foreign(fields: &mut Fields<'_>, own: &[&str], way: &str) {
    let all: BTreeSet<&'static str> = KEYS.into_iter().flatten().copied().collect();
    for key in all.into_iter().filter(|key| !own.contains(key)) {
        if fields.has(key) {
            let message = format!("`{}.{key}` means nothing over {way}", fields.path);
            let hint = "leave it out, or change the scheme of the URL".to_owned();
            fields.refuse(ProblemCode::Conflict, key, message, hint);
        }
    }
}
