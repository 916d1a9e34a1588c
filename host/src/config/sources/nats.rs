//! A source over NATS: a consumer of a stream.

use super::super::connection::{Role, nats};
use super::super::fields::Fields;
use super::shared::spec;
use super::spec::SourceSpec;
use crate::config::problem::code::ProblemCode;
use crate::source::SourceKind;
use crate::source::nats::{Config, SubjectTopic};

/// Keys that mean nothing elsewhere.
pub(super) const OWN_KEYS: &[&str] = &[
    "nats",
    "stream",
    "consumer",
    "topic",
    "user",
    "password",
    "token",
    "creds",
    "deadlines",
];

/// Bytes of the name of a stream or a consumer, at most.
const NAME_BYTES: usize = 255;

pub(super) fn read(fields: &mut Fields<'_>, gateway: &str, name: &str) -> SourceSpec {
    let url = fields.text("url").unwrap_or_default().to_owned();
    let stream = named(fields, "stream", "TELEMETRY");
    let consumer = named(fields, "consumer", "barn-7");
    let mut section = fields.section("nats");
    let batch = u16::try_from(section.count("batch", 1..=10_000)).unwrap_or(u16::MAX);
    let inbox = nats::inbox(&mut section);
    section.done();
    let who = (format!("tidegate-{gateway}-{name}"), url.as_str());
    let server = nats::server(fields, Role::Source, who, inbox);
    let own = Config {
        server,
        stream,
        consumer,
        topic: topic(fields),
        batch,
    };
    let mut spec = spec(fields, name, SourceKind::Nats(Box::new(own)), u32::MAX);
    if let SourceKind::Nats(own) = &mut spec.kind {
        own.server.max_message_bytes = spec.max_payload_bytes;
    }
    spec
}

/// The name of something that is made on the server.
fn named(fields: &mut Fields<'_>, key: &'static str, example: &str) -> String {
    if !fields.require(key, &format!("\"{example}\"")) {
        return String::new();
    }
    let written = fields.text(key).unwrap_or_default().to_owned();
    let is_letter = |byte: u8| byte.is_ascii_graphic() && !b".*>/\\".contains(&byte);
    if written.is_empty() || written.len() > NAME_BYTES || !written.bytes().all(is_letter) {
        let message = format!("`{}.{key}` is no name of a {key}", fields.path);
        let hint = "it has neither spaces nor any of . * > / \\".to_owned();
        fields.problem(ProblemCode::Choice, key, message, hint);
    }
    written
}

fn topic(fields: &mut Fields<'_>) -> SubjectTopic {
    let written = fields.text("topic").unwrap_or("{subject}");
    SubjectTopic::parse(written).unwrap_or_else(|mistake| {
        let message = format!("`{}.topic` {mistake}", fields.path);
        let hint = "{subject} may stand in it, whose parts are levels".to_owned();
        fields.problem(ProblemCode::Topic, "topic", message, hint);
        SubjectTopic::any()
    })
}
