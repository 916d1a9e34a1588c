//! `[uplink.NAME]`: what every uplink has, and what is made of two of them. What is a protocol's own is in its file.

mod file;
mod http;
#[cfg(feature = "kafka")]
mod kafka;
mod mqtt;
mod nats;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "s3")]
mod s3;
mod spoken;

pub(super) use http::collector_headers;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::check::Check;
use super::fields::Fields;
use super::tree::{Node, Place};
use super::units;
use crate::config::problem::code::ProblemCode;
use crate::uplink::{Config, Rate, UplinkKind};

/// What only some protocols have, by their schemes.
const KEYS: &[(&str, &[&str])] = &[
    ("mqtt:// and mqtts://", mqtt::OWN_KEYS),
    ("http:// and https://", http::OWN_KEYS),
    ("nats://", nats::OWN_KEYS),
    ("file://", file::OWN_KEYS),
    #[cfg(feature = "kafka")]
    ("kafka://", kafka::OWN_KEYS),
    #[cfg(feature = "postgres")]
    ("postgres://", postgres::OWN_KEYS),
    #[cfg(feature = "s3")]
    ("s3://", s3::OWN_KEYS),
];

/// Reads the keys of an uplink; its queues are added when all flows are known.
pub(super) fn read(fields: &mut Fields<'_>, gateway: &str, name: &str) -> Config {
    // What is wrong with it is told by whoever reads it.
    let url = match fields.find("url").map(|item| &item.node) {
        Some(Node::Text(url)) => url.as_str(),
        _ => "",
    };
    let spoken = match url.split_once("://").map_or("", |(scheme, _)| scheme) {
        "http" | "https" => {
            foreign(fields, http::OWN_KEYS);
            http::read(fields, url, gateway, name)
        }
        scheme if scheme.starts_with("nats") => {
            foreign(fields, nats::OWN_KEYS);
            nats::read(fields, url, gateway, name)
        }
        "file" => {
            foreign(fields, file::OWN_KEYS);
            file::read(fields, url, name)
        }
        #[cfg(feature = "kafka")]
        scheme if scheme.starts_with("kafka") => {
            foreign(fields, kafka::OWN_KEYS);
            kafka::read(fields, url, gateway, name)
        }
        #[cfg(feature = "postgres")]
        scheme if scheme.starts_with("postgres") => {
            foreign(fields, postgres::OWN_KEYS);
            postgres::read(fields, url, gateway, name)
        }
        #[cfg(feature = "s3")]
        "s3" => {
            foreign(fields, s3::OWN_KEYS);
            s3::read(fields, url, gateway, name)
        }
        _ => {
            foreign(fields, mqtt::OWN_KEYS);
            mqtt::read(fields, gateway, name)
        }
    };
    let rate = Rate {
        messages: fields.per_second("rate", None, 1..=10_000_000),
        bytes: fields.per_second("rate_bytes", Some(units::Quantity::Size), 64..=10 << 30),
    };
    Config {
        name: name.into(),
        owner: name.into(),
        fallback: None,
        kind: spoken.kind,
        priority: false,
        qos: spoken.qos,
        allows_level_0: spoken.allows_level_0,
        drains: Vec::new(),
        max_packet_bytes: spoken.max_packet_bytes,
        rate,
        format: spoken.format,
        connections: spoken.connections,
    }
}

/// Keys that only other protocols have than the one that has its `own`, whatever they say.
fn foreign(fields: &mut Fields<'_>, own: &[&str]) {
    let all: BTreeSet<&'static str> = KEYS
        .iter()
        .flat_map(|(_, keys)| keys.iter().copied())
        .collect();
    for key in all.into_iter().filter(|key| !own.contains(key)) {
        if !fields.has(key) {
            continue;
        }
        if let Some(item) = fields.find(key).filter(|_| {
            matches!(
                key,
                "password" | "token" | "creds" | "headers" | "access_key" | "secret_key"
            )
        }) {
            fields.check.hide(item);
        }
        let url = fields.text("url").unwrap_or_default();
        let scheme = url.split("://").next().unwrap_or_default();
        let message = format!("`{}.{key}` means nothing to {scheme}://", fields.path);
        let theirs: Vec<&str> = KEYS
            .iter()
            .filter(|(_, keys)| keys.contains(&key))
            .map(|(schemes, _)| *schemes)
            .collect();
        let hint = format!(
            "it is a key of uplinks to {}: leave it out",
            theirs.join(" or ")
        );
        fields.problem(ProblemCode::Conflict, key, message, hint);
    }
}

/// What an uplink says of its fallback, before all uplinks are known.
#[derive(Debug)]
pub(super) struct FallbackSpec {
    uplink: Arc<str>,
    other: Arc<str>,
    place: Place,
    /// Which classes may use it, each where it was written; empty for all.
    classes: Vec<(String, Place)>,
}

/// Reads what an uplink says of its fallback.
pub(super) fn fallback(fields: &mut Fields<'_>, name: &str) -> Option<FallbackSpec> {
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
                ProblemCode::Conflict,
                "fallback_classes",
                "`fallback_classes` says what, but not where to",
                hint,
            );
        }
        return None;
    };
    Some(FallbackSpec {
        uplink: name.into(),
        other: other.into(),
        place: fields.place_of("fallback"),
        classes,
    })
}

/// Checks the names in `wish`.
pub(super) fn check_fallback(
    check: &Check<'_>,
    wish: &FallbackSpec,
    uplinks: &[&str],
    classes: &[&str],
) {
    if wish.other == wish.uplink {
        let hint = "name another uplink".to_owned();
        check.problem(
            ProblemCode::Conflict,
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
pub(super) fn stand_in(wish: &FallbackSpec, first: &Config, other: &Config) -> Config {
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
        kind: other
            .kind
            .beside(&format!("for-{}", first.name.replace(':', "-"))),
        priority: first.priority,
        fallback: None,
        ..other.clone()
    }
}

impl FallbackSpec {
    /// Whether it is about these two.
    pub(super) fn joins(&self, first: &str, other: &str) -> bool {
        &*self.uplink == first && &*self.other == other
    }

    /// Whether `name` is to stand in.
    pub(super) fn needs(&self, name: &str) -> bool {
        &*self.other == name
    }
}

/// Tells an uplink which classes there are, where that is of use to it.
pub(super) fn know(kind: &mut UplinkKind, gateway: (&str, &Path), classes: &[&str]) {
    if let UplinkKind::File(file) = kind {
        let (name, data_dir) = gateway;
        file.know(name, data_dir, classes.iter().copied());
    }
}
