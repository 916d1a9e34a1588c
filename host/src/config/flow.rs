//! `[flow.NAME]`: these topics, through these plugins, to that uplink, as that class.

mod guard;
pub(super) mod plugin;
pub(super) mod ports;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use crate::chain::{self, TopicTemplate, Topics};
use crate::message::{FlowId, Pattern, QueueId, legal};
use crate::source::{Ack, Dedup};
use crate::spool::QueueConfig;

use self::ports::ports;
use super::class::Class;
use super::connection::is_topic;
use super::fields::Fields;
use super::tree::Node;
use super::tree::Place;
use crate::config::problem::code::ProblemCode;
use plugin::{Common, Places};

/// How long a message may be given to live: a longer life than a year is none that ends.
const LIFE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(365 * 86_400);

/// The header of MQTT 5's correlation data.
const CORRELATION_DATA: &str = ":correlation-data";

/// What a flow may refer to, and what its plugins share with all others.
#[derive(Debug)]
pub(super) struct KnownNames<'a> {
    pub(super) sources: Vec<&'a str>,
    pub(super) uplinks: Vec<&'a str>,
    pub(super) classes: &'a [Class],
    pub(super) flows: Vec<&'a str>,
    /// The flows that others lead to.
    pub(super) led_to: BTreeSet<&'a str>,
    pub(super) plugins: Common<'a>,
}

/// All (uplink, class) that a route names; a queue's place in the list is its id.
#[derive(Debug, Default)]
pub(super) struct Queues(pub(super) Vec<QueueConfig>);

impl Queues {
    fn id(&mut self, uplink: &str, class: &Class) -> QueueId {
        let known = self
            .0
            .iter()
            .position(|queue| &*queue.uplink == uplink && queue.class == class.name);
        let index = known.unwrap_or_else(|| {
            let queue = QueueConfig::new(uplink, Arc::clone(&class.name), class.policy);
            self.0.push(QueueConfig {
                is_fresh_first: class.is_fresh_first,
                ..queue
            });
            self.0.len() - 1
        });
        QueueId(u16::try_from(index).unwrap_or(u16::MAX))
    }
}

/// A flow; its lanes are settled when all flows are known.
#[derive(Debug)]
pub(super) struct FlowSpec {
    pub(super) chain: chain::Config,
    /// `None`: as many as the machine and the memory allow.
    pub(super) lanes: Option<usize>,
    pub(super) from: Vec<String>,
    /// Other flows lead to it.
    pub(super) is_led_to: bool,
    pub(super) patterns: Vec<Pattern>,
    pub(super) ack: Ack,
    /// Longest life of a message, seconds.
    pub(super) expires: Option<u32>,
    pub(super) dedup: Option<Dedup>,
    /// Has a connection of its own.
    pub(super) priority: bool,
    pub(super) record: Option<RecordSettings>,
    pub(super) plugin_places: Vec<Places>,
    pub(super) place: Place,
    /// Where its routes are written.
    pub(super) to: Place,
}

/// How much of what comes in is recorded, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordSettings {
    pub(super) bytes: u64,
    pub(super) on_disk: bool,
    /// Where that is written, unless it says too that it lies there unsealed.
    pub(super) in_the_clear: Option<Place>,
}

/// Reads flow number `index`.
pub(super) fn read(
    fields: &mut Fields<'_>,
    id: FlowId,
    name: &str,
    names: &KnownNames<'_>,
    queues: &mut Queues,
) -> FlowSpec {
    let is_led_to = names.led_to.contains(name);
    let from = from(fields, names, is_led_to);
    let may_lack_topics = is_led_to && from.is_empty();
    let (mut patterns, texts) = patterns(fields, may_lack_topics);
    let key = key(fields, &mut patterns);
    let topics = Topics {
        patterns: texts,
        key,
    };
    let topic = template(fields, &topics);
    let ports = ports(fields, names, queues);
    let settles_with_any = settles_with_any(fields);
    let ack = ack(fields);
    let expires = expires(fields);
    let dedup = dedup(fields);
    let priority = fields.flag("priority");
    let record = record(fields);
    let lanes = lanes(fields);
    let quarantine = guard::quarantine(fields);
    let batch_messages = fields.count("batch", 1..=65_536) as usize;
    let plugins = plugin::read_all(fields, names.plugins);
    let plugin_places = plugins.iter().map(|plugin| plugin.places).collect();
    let chain = chain::Config {
        flow: id,
        name: Arc::from(name),
        lanes: lanes.unwrap_or(1),
        batch_messages,
        plugins: plugins.into_iter().map(|plugin| plugin.config).collect(),
        ports,
        settles_with_any,
        topic,
        topics,
        patterns: patterns.clone(),
        expires,
        quarantine,
    };
    FlowSpec {
        chain,
        lanes,
        from,
        is_led_to,
        patterns,
        ack,
        expires,
        dedup,
        priority,
        record,
        plugin_places,
        place: fields.place,
        to: fields.place_of("to"),
    }
}

/// Whether a message that leads to several is settled when one of them is.
fn settles_with_any(fields: &mut Fields<'_>) -> bool {
    let choices = [("all", false), ("any", true)];
    fields.choice("settle", &choices).unwrap_or_default()
}

fn ack(fields: &mut Fields<'_>) -> Ack {
    let choices = [("safe", Ack::Safe), ("received", Ack::Received)];
    fields.choice("ack", &choices).unwrap_or_default()
}

/// Other flows may stand in for a source.
fn from(fields: &mut Fields<'_>, names: &KnownNames<'_>, is_led_to: bool) -> Vec<String> {
    let example = names
        .sources
        .first()
        .map_or("\"field\"".to_owned(), |name| format!("\"{name}\""));
    if !is_led_to {
        fields.require("from", &example);
    }
    let mut from: Vec<String> = Vec::new();
    for (name, place) in fields.texts("from") {
        if fields
            .check
            .reference("source", name, place, &names.sources)
            && !from.iter().any(|known| known == name)
        {
            from.push(name.to_owned());
        }
    }
    from
}

/// The flow's topics that can be used, and their texts. Without a source a flow may take all that others lead to it.
fn patterns(fields: &mut Fields<'_>, may_lack: bool) -> (Vec<Pattern>, Vec<String>) {
    if may_lack && fields.find("topics").is_none() {
        return Default::default();
    }
    let there = fields.require("topics", "[\"devices/{device}/telemetry\"]");
    let texts = fields.texts("topics");
    if there
        && texts.is_empty()
        && matches!(fields.find("topics").map(|item| &item.node), Some(Node::List(items)) if items.is_empty())
    {
        fields.problem(
            ProblemCode::Empty,
            "topics",
            format!("`{}` listens to no topic", fields.path),
            "add, for example: \"devices/{device}/telemetry\"".to_owned(),
        );
    }
    let mut found = (Vec::new(), Vec::new());
    for (text, place) in texts {
        match Pattern::parse(text) {
            Ok(pattern) => {
                report_nameless(fields, (&pattern, text), place);
                found.0.push(pattern);
                found.1.push(text.to_owned());
            }
            Err(error) => fields
                .check
                .problem(ProblemCode::Topic, place, error.to_string(), None),
        }
    }
    found
}

/// MQTT counts it in whole seconds.
fn expires(fields: &mut Fields<'_>) -> Option<u32> {
    if matches!(&fields.find("expires")?.node, Node::Text(text) if text == "never") {
        return None;
    }
    let life = fields.duration("expires", LIFE);
    if life >= *LIFE.start() && life.subsec_nanos() > 0 {
        let hint = "write, for example: \"2s\"".to_owned();
        fields.problem(
            ProblemCode::Unit,
            "expires",
            format!("`{}.expires` is not in whole seconds", fields.path),
            hint,
        );
    }
    u32::try_from(life.as_secs()).ok()
}

fn dedup(fields: &mut Fields<'_>) -> Option<Dedup> {
    let window = fields.duration(
        "dedup_window",
        Duration::from_secs(1)..=Duration::from_secs(7 * 86_400),
    );
    let mut headers: Vec<Arc<str>> = Vec::new();
    for (name, place) in fields.texts("dedup") {
        // What devices send under the gateway's own names does not come in.
        if legal::is_reserved(name) && name != CORRELATION_DATA {
            let hint = format!("write \"{CORRELATION_DATA}\", or the name of a user property");
            fields.check.problem(
                ProblemCode::Choice,
                place,
                format!("`{name}` is not an id"),
                hint,
            );
        }
        headers.push(name.into());
    }
    if headers.is_empty() && fields.has("dedup_window") {
        let hint = "add, for example: dedup = \"id\"".to_owned();
        fields.problem(
            ProblemCode::Conflict,
            "dedup_window",
            "`dedup_window` says for how long, but not by what",
            hint,
        );
    }
    (!headers.is_empty()).then_some(Dedup { headers, window })
}

fn lanes(fields: &mut Fields<'_>) -> Option<usize> {
    match fields.find("lanes").map(|item| &item.node) {
        Some(Node::Text(text)) if text == "auto" => None,
        Some(Node::Text(text)) => {
            let message = format!("`{}.lanes` cannot be \"{text}\"", fields.path);
            fields.problem(
                ProblemCode::Choice,
                "lanes",
                message,
                "write \"auto\", or a number from 1 to 64 without quotes".to_owned(),
            );
            None
        }
        _ => Some(fields.count("lanes", 1..=64) as usize),
    }
}

fn record(fields: &mut Fields<'_>) -> Option<RecordSettings> {
    let places = [
        ("memory", (false, false)),
        ("disk", (true, true)),
        ("disk-unsealed", (true, false)),
    ];
    let (on_disk, is_unsaid) = fields.choice("record_to", &places).unwrap_or_default();
    if matches!(&fields.find("record")?.node, Node::Text(text) if text == "off") {
        return None;
    }
    let in_the_clear = is_unsaid.then(|| fields.place_of("record_to"));
    Some(RecordSettings {
        bytes: fields.size("record", 1 << 20..=64 << 30),
        on_disk,
        in_the_clear,
    })
}

/// The capture that is the key, where the config names one; `patterns` then have it.
fn key(fields: &mut Fields<'_>, patterns: &mut [Pattern]) -> Option<String> {
    let text = fields.text("key")?;
    let Some(name) = text
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
    else {
        let hint = "write a name of the flow's `topics` in braces, as in \"{site}\"".to_owned();
        fields.problem(
            ProblemCode::Topic,
            "key",
            format!("`{text}` is no key"),
            hint,
        );
        return None;
    };
    if patterns.is_empty() && fields.find("topics").is_none() {
        let hint = "add the `topics` that have it".to_owned();
        fields.problem(
            ProblemCode::Topic,
            "key",
            format!("there are no topics that have `{text}`"),
            hint,
        );
        return None;
    }
    for pattern in patterns {
        match pattern.clone().keyed(name) {
            Some(keyed) => *pattern = keyed,
            None => {
                let message = format!(
                    "`{}` has no `{{{name}}}`, which is to be the key",
                    pattern.filter()
                );
                let hint = "every one of the flow's `topics` needs it".to_owned();
                fields.problem(ProblemCode::Topic, "key", message, hint);
                return None;
            }
        }
    }
    Some(name.to_owned())
}

/// Order and state by the whole topic is right where each topic is one device, and a surprise elsewhere.
fn report_nameless(fields: &Fields<'_>, (pattern, text): (&Pattern, &str), place: Place) {
    if pattern.is_nameless() {
        let named = if text.contains('+') {
            text.replacen('+', "{device}", 1)
        } else {
            text.replacen('#', "{device}/#", 1)
        };
        let message = format!(
            "`{text}` does not say which level is the device: order and state go by the whole topic"
        );
        fields.check.problem(
            ProblemCode::Nameless,
            place,
            message,
            format!("name it: \"{named}\""),
        );
    }
}

/// The topic of what leaves with the topic it came in with.
fn template(fields: &mut Fields<'_>, topics: &Topics) -> Option<TopicTemplate> {
    let text = fields.text("topic")?;
    let mut known = vec!["topic", "flow", "device", "key"];
    known.extend(
        topics
            .captures()
            .into_iter()
            .filter(|name| *name != "device"),
    );
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else {
            fields.problem(ProblemCode::Topic, "topic", "`{` without `}`", None);
            return None;
        };
        if !known.contains(&name) {
            let shown = known
                .iter()
                .map(|name| format!("{{{name}}}"))
                .collect::<Vec<_>>()
                .join(", ");
            let message = format!("`{{{name}}}` is not known where the topic is made");
            fields.problem(
                ProblemCode::Topic,
                "topic",
                message,
                format!("known here: {shown}"),
            );
        }
        plain.push_str(before);
        plain.push('x');
        rest = after;
    }
    plain.push_str(rest);
    if !is_topic(&plain) || plain.contains('}') {
        let hint = "a topic is not empty and has no `+`, `#` and lone `}`".to_owned();
        fields.problem(
            ProblemCode::Topic,
            "topic",
            format!("`{text}` cannot be published to"),
            hint,
        );
    }
    Some(TopicTemplate(text.to_owned()))
}
