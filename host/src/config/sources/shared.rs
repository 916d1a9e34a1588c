//! The keys that several ways in have.

use std::net::IpAddr;
use std::os::unix::fs::FileTypeExt;

use super::super::fields::Fields;
use super::spec::SourceSpec;
use crate::config::problem::code::ProblemCode;
use crate::link::{Parity, Serial, SerialBrake};
use crate::source::SourceKind;
use crate::source::http::PathTopic;

/// What every source has, beside its kind; no payload is larger than what it comes in.
pub(super) fn spec(
    fields: &mut Fields<'_>,
    name: &str,
    kind: SourceKind,
    max_packet: u32,
) -> SourceSpec {
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
        share: None,
        routes: Vec::new(),
        devices: None,
        max_unsettled_bytes: whole(fields.size("max_unsettled", 64 << 10..=1 << 30)),
        max_topic_bytes: whole(fields.size("max_topic", 1..=65_535)),
        max_payload_bytes: max_payload.min(most),
    }
}

/// Whether only this machine reaches a port at `host`.
pub(super) fn is_loopback(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// A port at which nobody has to show anything: beyond this machine that is to be said.
pub(super) fn refuse_exposed(fields: &mut Fields<'_>, host: &str) {
    if !fields.flag("open") && !is_loopback(host) {
        fields.problem(
            ProblemCode::Exposed,
            "url",
            format!("whoever reaches `{host}` could send messages here"),
            "say `open = true`, or listen on 127.0.0.1".to_owned(),
        );
    }
}

/// The topic that a path makes; `example` is one.
pub(super) fn path_topic(fields: &mut Fields<'_>, example: &str) -> PathTopic {
    let written = fields.text("topic").unwrap_or_default();
    PathTopic::parse(written).unwrap_or_else(|error| {
        let hint = format!("write a topic with `{{path}}` for the path: \"{example}\"");
        fields.problem(
            ProblemCode::Topic,
            "topic",
            format!("`topic` {error}"),
            hint,
        );
        PathTopic::any()
    })
}

/// The serial line at `path`, with the keys that any has.
pub(super) fn line(fields: &mut Fields<'_>, path: &str, data: u8, brake: SerialBrake) -> Serial {
    // What is not there may be plugged in.
    let is_line = |found: std::fs::Metadata| found.file_type().is_char_device();
    if crate::file::about(path.as_ref()).is_ok_and(|found| !is_line(found)) {
        let hint =
            "name a line, such as /dev/ttyUSB0 or a link to it in /dev/serial/by-id".to_owned();
        let message = "the URL leads to something that is no serial line";
        fields.file_problem(ProblemCode::Url, "url", message, hint);
    }
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
