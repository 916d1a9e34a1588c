//! Where messages come from: the tables `[source.NAME]`. The scheme of the URL says what is spoken, and with it which keys
//! there are.

mod coap;
mod http;
mod modbus;
mod mqtt;
mod nats;
mod raw;
mod shared;
pub(super) mod spec;
mod ticks;

use std::collections::BTreeSet;

pub(super) use self::http::server_tls;

use self::raw::RawWay;
use self::spec::SourceSpec;
use super::fields::Fields;
use super::identity::ClientIdentity;
use super::tree::Place;
use crate::config::problem::code::ProblemCode;

/// What only some ways in have.
const KEYS: [&[&str]; 7] = [
    mqtt::OWN_KEYS,
    http::OWN_KEYS,
    modbus::OWN_KEYS,
    raw::OWN_KEYS,
    nats::OWN_KEYS,
    ticks::OWN_KEYS,
    coap::OWN_KEYS,
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
            scheme if scheme.starts_with("nats") => {
                foreign(&mut fields, nats::OWN_KEYS, "NATS");
                nats::read(&mut fields, gateway, name)
            }
            "coap" | "coaps" => {
                foreign(&mut fields, coap::OWN_KEYS, "CoAP");
                coap::read(&mut fields, name)
            }
            "clock" => {
                foreign(&mut fields, ticks::OWN_KEYS, "a clock");
                ticks::read(&mut fields, name)
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
