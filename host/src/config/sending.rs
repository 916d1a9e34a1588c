//! `[uplink.NAME]`: what an uplink has beside its connection.

use crate::mqtt;
use crate::uplink::{Config, Form, IdForm, Pack, Rate};

use super::code::Code;
use super::connection;
use super::fields::Fields;
use super::units::Kind;

/// Reads the keys of an uplink; its queues are added when all flows are known.
pub(super) fn read(fields: &mut Fields<'_>, name: &str, mqtt: mqtt::Config) -> Config {
    let rate = Rate {
        messages: fields.per_second("rate", None, 1..=10_000_000),
        bytes: fields.per_second("rate_bytes", Some(Kind::Size), 64..=10 << 30),
    };
    let config = Config {
        name: name.into(),
        qos: connection::qos(fields),
        drains: Vec::new(),
        max_packet_bytes: mqtt.max_packet_bytes,
        rate,
        form: form(fields),
        connections: u16::try_from(fields.count("connections", 1..=64)).unwrap_or(1),
        mqtt,
    };
    if config.form.pack_bytes as u64 > u64::from(config.max_packet_bytes) && fields.has("pack_max") {
        let hint = "raise `max_packet`, or lower `pack_max`".to_owned();
        fields.problem(Code::Conflict, "pack_max", "`pack_max` is larger than `max_packet`", hint);
    }
    config
}

fn form(fields: &mut Fields<'_>) -> Form {
    let ids = [("none", IdForm::None), ("property", IdForm::Property), ("envelope", IdForm::Envelope)];
    let packs = [("raw", Pack::Raw), ("json-array", Pack::JsonArray), ("msgpack-array", Pack::MsgpackArray)];
    Form {
        id: fields.choice("id", &ids).unwrap_or_default(),
        pack: fields.choice("pack", &packs).unwrap_or_default(),
        pack_bytes: usize::try_from(fields.size("pack_max", 64..=256 << 20)).unwrap_or(usize::MAX),
        compress: fields.choice("compress", &[("none", false), ("zstd", true)]).unwrap_or_default(),
    }
}
