//! `[uplink.NAME]`: what an uplink has beside its connection.

use std::sync::Arc;

use crate::mqtt;
use crate::uplink::{Config, Form, IdForm, Pack, Rate, ReplayMark};

use super::check::Check;
use super::code::Code;
use super::connection;
use super::fields::Fields;
use super::tree::Place;
use super::units::Kind;

/// Reads the keys of an uplink; its queues are added when all flows are known.
pub(super) fn read(fields: &mut Fields<'_>, name: &str, mqtt: mqtt::Config) -> Config {
    let rate = Rate {
        messages: fields.per_second("rate", None, 1..=10_000_000),
        bytes: fields.per_second("rate_bytes", Some(Kind::Size), 64..=10 << 30),
    };
    let config = Config {
        name: name.into(),
        owner: name.into(),
        fallback: None,
        qos: connection::qos(fields),
        allows_level_0: fields.flag("allow_qos0"),
        drains: Vec::new(),
        max_packet_bytes: mqtt.max_packet_bytes,
        rate,
        form: form(fields),
        connections: u16::try_from(fields.count("connections", 1..=64)).unwrap_or(1),
        mqtt,
    };
    if config.form.pack_bytes as u64 > u64::from(config.max_packet_bytes) && fields.has("pack_max")
    {
        let hint = "raise `max_packet`, or lower `pack_max`".to_owned();
        fields.problem(
            Code::Conflict,
            "pack_max",
            "`pack_max` is larger than `max_packet`",
            hint,
        );
    }
    config
}

/// What an uplink says of its fallback, before all uplinks are known.
#[derive(Debug)]
pub(super) struct Wish {
    uplink: Arc<str>,
    /// The other uplink.
    other: Arc<str>,
    place: Place,
    /// Which classes may use it, each where it was written; empty for all.
    classes: Vec<(String, Place)>,
}

/// Reads what an uplink says of its fallback.
pub(super) fn fallback(fields: &mut Fields<'_>, name: &str) -> Option<Wish> {
    let other = fields.text("fallback");
    let classes: Vec<_> = fields
        .texts("fallback_classes")
        .into_iter()
        .map(|(class, place)| (class.to_owned(), place))
        .collect();
    let Some(other) = other else {
        if fields.has("fallback_classes") {
            let hint = "add, for example: fallback = \"backup\"".to_owned();
            fields.problem(
                Code::Conflict,
                "fallback_classes",
                "`fallback_classes` says what, but not where to",
                hint,
            );
        }
        return None;
    };
    Some(Wish {
        uplink: name.into(),
        other: other.into(),
        place: fields.place_of("fallback"),
        classes,
    })
}

/// Checks the names in `wish`.
pub(super) fn check_fallback(check: &Check<'_>, wish: &Wish, uplinks: &[&str], classes: &[&str]) {
    if wish.other == wish.uplink {
        let hint = "name another uplink".to_owned();
        check.problem(
            Code::Conflict,
            wish.place,
            format!("`uplink.{}` cannot stand in for itself", wish.uplink),
            hint,
        );
    }
    check.reference("uplink", &wish.other, wish.place, uplinks);
    for (class, place) in &wish.classes {
        check.reference("class", class, *place, classes);
    }
}

/// The stand-in of `first`, by the settings of `other`.
pub(super) fn stand_in(wish: &Wish, first: &Config, other: &Config) -> Config {
    let may = |class: &str| {
        wish.classes.is_empty() || wish.classes.iter().any(|(known, _)| known == class)
    };
    Config {
        name: format!("{}:fallback", first.name).into(),
        owner: Arc::clone(&first.owner),
        drains: first
            .drains
            .iter()
            .filter(|drain| may(&drain.class))
            .cloned()
            .collect(),
        mqtt: connection(first, &other.mqtt),
        fallback: None,
        ..other.clone()
    }
}

impl Wish {
    /// Whether it is about these two.
    pub(super) fn joins(&self, first: &str, other: &str) -> bool {
        &*self.uplink == first && &*self.other == other
    }

    /// Whether `name` is to stand in.
    pub(super) fn needs(&self, name: &str) -> bool {
        &*self.other == name
    }
}

/// The connection of a stand-in, beside the other uplink's own one; a will is that one's.
fn connection(first: &Config, other: &mqtt::Config) -> mqtt::Config {
    let client_id = format!("{}-for-{}", other.client_id, first.name.replace(':', "-"));
    mqtt::Config {
        client_id,
        will: None,
        ..other.clone()
    }
}

fn form(fields: &mut Fields<'_>) -> Form {
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
    Form {
        replay: fields.choice("replay_mark", &marks).unwrap_or_default(),
        id: fields.choice("id", &ids).unwrap_or_default(),
        pack: fields.choice("pack", &packs).unwrap_or_default(),
        pack_bytes: usize::try_from(fields.size("pack_max", 64..=256 << 20)).unwrap_or(usize::MAX),
        compress: fields
            .choice("compress", &[("none", false), ("zstd", true)])
            .unwrap_or_default(),
        // Known when the sources are.
        counts_rounds: false,
    }
}
