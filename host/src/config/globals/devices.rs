//! `[devices]`: the register of who was seen.

use std::sync::Arc;
use std::time::Duration;

use crate::config::connection::is_topic;
use crate::config::fields::Fields;
use crate::config::flow::ports::route;
use crate::config::flow::{KnownNames, Queues};
use crate::config::problem::code::ProblemCode;
use crate::config::tree::{Node, Place};
use crate::devices::{Availability, Config};
use crate::message::{Destination, Pattern};

/// What a silence, and the time between two checkpoints, may be.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// The register, where the table was written and does not say otherwise. Events add their queues to those of the flows.
pub(in crate::config) fn read(
    root: &mut Fields<'_>,
    gateway: &str,
    names: &KnownNames<'_>,
    queues: &mut Queues,
) -> Option<Config> {
    let is_written = root.has("devices");
    let mut fields = root.section("devices");
    let is_on = if fields.find("enabled").is_some() {
        fields.flag("enabled")
    } else {
        is_written
    };
    // What is off leads nowhere.
    let mut unused = Queues::default();
    let events = events(&mut fields, names, if is_on { queues } else { &mut unused });
    let config = Config {
        events,
        topic: topic(&mut fields, gateway),
        heartbeat: or_off(&fields, "heartbeat")
            .then(|| fields.duration("heartbeat", Duration::from_secs(1)..=LONGEST)),
        mad_above: or_off(&fields, "mad_above")
            .then(|| fields.per_second("mad_above", None, 1..=10_000_000))
            .flatten(),
        most: fields.count("max", 1..=1_000_000) as usize,
        most_bytes: usize::try_from(fields.size("max_bytes", 64 << 10..=1 << 30))
            .unwrap_or(usize::MAX),
        checkpoint: fields.duration("checkpoint", Duration::from_millis(100)..=LONGEST),
        availability: availability(&mut fields),
    };
    fields.done();
    is_on.then_some(config)
}

/// What a source asks of devices: over one connection of each, where a second one has `priority`.
pub(in crate::config) fn watched(
    devices: Option<&Config>,
    priority: Option<bool>,
) -> Option<Arc<[Pattern]>> {
    devices.map(|config| match priority {
        Some(true) => [].into(),
        _ => Arc::clone(&config.availability.topics),
    })
}

/// Names of the flows that events lead to, as they are written.
pub(in crate::config) fn flows_led_to<'a>(root: &Fields<'a>) -> Vec<&'a str> {
    let events = root
        .own("devices")
        .and_then(|item| item.node.find(["events"]));
    let texts: Vec<&Node> = match events.map(|item| &item.node) {
        Some(Node::List(items)) => items.iter().map(|item| &item.node).collect(),
        Some(node) => vec![node],
        None => Vec::new(),
    };
    let name = |node: &&'a Node| match node {
        Node::Text(text) => text.strip_prefix("flow."),
        _ => None,
    };
    texts.iter().filter_map(name).collect()
}

fn events(
    fields: &mut Fields<'_>,
    names: &KnownNames<'_>,
    queues: &mut Queues,
) -> Vec<Destination> {
    fields
        .check
        .note(&fields.path, "events", |asked| asked.is_texts = true);
    let Some(item) = fields.find("events") else {
        return Vec::new();
    };
    route(fields, "devices.events", item, names, queues)
}

/// Whether a key says something else than that there is none.
fn or_off(fields: &Fields<'_>, key: &str) -> bool {
    fields.written_text(key) != Some("off")
}

fn topic(fields: &mut Fields<'_>, gateway: &str) -> Arc<str> {
    let written = fields.text("topic").unwrap_or_default();
    let topic = written.replace("{gateway}", gateway);
    let example = topic.replace("{device}", "x");
    if !is_topic(&example) || example.contains(['{', '}']) || !topic.contains("{device}") {
        let hint = "it has {device}, may have {gateway}, and no `+` and `#`".to_owned();
        let message = format!("`{written}` is no topic for what is told of devices");
        fields.problem(ProblemCode::Topic, "topic", message, hint);
    }
    topic.into()
}

fn availability(fields: &mut Fields<'_>) -> Availability {
    let mut own = fields.section("availability");
    let topics = topics(&mut own);
    let mut words = |key: &'static str| -> Arc<[String]> {
        let words = own.texts(key).into_iter();
        words.map(|(word, _)| word.to_lowercase()).collect()
    };
    let (online, offline) = (words("online"), words("offline"));
    if let Some(both) = online.iter().find(|word| offline.contains(word)) {
        let message = format!("`{both}` cannot stand for both");
        own.problem(ProblemCode::Conflict, "offline", message, None);
    }
    let availability = Availability {
        topics,
        online,
        offline,
        state: own.text("state").unwrap_or_default().into(),
        version: own.text("version").unwrap_or_default().into(),
    };
    own.done();
    availability
}

fn topics(fields: &mut Fields<'_>) -> Arc<[Pattern]> {
    let mut patterns = Vec::new();
    for (text, place) in fields.texts("topics") {
        match Pattern::parse(text) {
            Ok(pattern) if pattern.key().is_some() => patterns.push(pattern),
            Ok(_) => nameless(fields, text, place),
            Err(error) => {
                fields
                    .check
                    .problem(ProblemCode::Topic, place, error.to_string(), None);
            }
        }
    }
    patterns.into()
}

fn nameless(fields: &Fields<'_>, text: &str, place: Place) {
    let message = format!("`{text}` does not say which level is the device");
    let hint = "write, for example: \"zigbee2mqtt/{device}/availability\"".to_owned();
    fields
        .check
        .problem(ProblemCode::Topic, place, message, hint);
}
