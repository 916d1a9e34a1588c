//! Readings of Sparkplug B (`spBv1.0/GROUP/TYPE/NODE/DEVICE`): aliases get the names that births gave them, and where a node has to tell
//! them again, a command for it leaves through a port.
//!
//! ```toml
//! settings = {}
//! to       = { out = "cloud:telemetry", rebirth = "field:commands" }
//! ```
//!
//! - `bytes`: what bytes become: `"base64"`, `"hex"`, or `"list"`, a list of numbers. Default: `"base64"`.
//! - `floats`: how numbers of single precision are written: `"exact"`, `21.600000381469727`, or `"short"`, `21.6`. Default: `"short"`, as a device means it.
//! - `rebirth`: whether rebirths are asked for. Default: `true`.
//! - `max_nodes`: nodes of which something is remembered. Beyond, the one that was quiet for longest is forgotten, counted in
//!   `keys_forgotten`, and so it is where they fill 1.9 MiB of state. Default: 1,000.
//!
//! Births and data become
//!
//! ```json
//! {"group":"plant","node":"n1","device":"d1","type":"DDATA","time":1767225600000,"metrics":{"Temperature":21.5,"Motor/On":true}}
//! ```
//!
//! with the payload's `time` in milliseconds since 1970; deaths the same with `"metrics":{}`. `device` is left out of what a node says of itself.
//! Whole numbers are exact, 64 bits and signs included. A metric that is null is `null`, and so is what is no number or infinite. Data sets,
//! templates and arrays, properties and times of single metrics are left out, counted in `values_left_out`. A death of another session than the one
//! that was born (`bdSeq`) is filtered: it is late. Commands and host states go on unchanged.
//!
//! A rebirth is wanted where data comes of a node or device that was not born, has an alias that nobody knows, or a number (`seq`) that
//! does not follow the last one: a message that the port `rebirth` leads to, under `spBv1.0/GROUP/NCMD/NODE`, with the metric
//! `Node Control/Rebirth`, once a minute for a node at most, counted in `rebirths_asked`. What is known of the data goes on all the same;
//! metrics whose alias is not known are left out, counted in `aliases_unknown`. Data of which nothing is known becomes that command, and
//! where none is due it is rejected: sent again once the node was born, it is read. The port's name has to stand in the flow's `to`.
//!
//! All nodes are one instance's, whatever the flow's key is. What was born survives swaps and restarts. Of a node whose births are over
//! 256 KiB together the one that is too much is read and not remembered, counted in `births_left_out`. A topic that is none of
//! Sparkplug's, and bytes that are no payload, with more than 10,000 metrics, or with a name twice, reject the message with the reason in
//! words. What deletes a retained reading (an empty payload) goes on.

mod node;
mod payload;
mod topic;

use tidegate_sdk::foreign::{self, Bytes, Singles};
use tidegate_sdk::prelude::*;

pub use node::{Known, Node};
use payload::{Metric, Payload};
use topic::Topic;

settings! {
    /// The plugin's settings.
    pub struct Settings {
        /// What bytes become.
        #[serde(default)]
        pub bytes: Bytes,
        /// How numbers of single precision are written.
        #[serde(default = "default_floats")]
        pub floats: Singles,
        /// Whether rebirths are asked for.
        #[serde(default = "default_rebirth")]
        pub rebirth: bool,
        /// Nodes of which something is remembered.
        #[serde(default = "default_max_nodes")]
        pub max_nodes: usize,
    }
}

fn default_floats() -> Singles {
    Singles::Short
}

fn default_rebirth() -> bool {
    true
}

fn default_max_nodes() -> usize {
    1_000
}

/// Between two commands to a node: it may take a while to be born again.
const ASK_AGAIN_US: u64 = 60_000_000;

/// The configured plugin.
#[derive(Debug)]
pub struct Sparkplug {
    forms: Forms,
    rebirth: bool,
    nodes: State<Node>,
}

impl Transform for Sparkplug {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        tidegate_sdk::check_most("max_nodes", settings.max_nodes, 1)?;
        Ok(Self {
            forms: Forms {
                bytes: settings.bytes,
                floats: settings.floats,
            },
            rebirth: settings.rebirth,
            nodes: State::at_most(settings.max_nodes, Node::weight),
        })
    }

    fn ports(&self) -> Vec<String> {
        match self.rebirth {
            true => vec!["rebirth".to_owned()],
            false => Vec::new(),
        }
    }

    /// A node's devices have its aliases and its numbers, whatever the flow is keyed by.
    fn one_lane(&self) -> bool {
        true
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        if message.is_delete() {
            out.pass();
            return Ok(());
        }
        let topic = Topic::read(message.topic())?;
        let Some(kind) = topic.kind.told() else {
            out.pass();
            return Ok(());
        };
        let payload = payload::read(message.payload())?;
        let mut node = self.nodes.of(&topic.key());
        let fit = node.take(topic.kind, topic.device, &payload);
        if fit.is_late {
            return Ok(());
        }
        if fit.is_too_much {
            counter("births_left_out", 1);
        }
        let mut json = Vec::new();
        let told = Told {
            kind,
            topic,
            payload: &payload,
            node: &node,
        };
        let written = self.forms.write(&told, &mut json)?;
        let now_us = message.running_us();
        let wants = self.rebirth && (fit.is_broken || written.unknown > 0);
        let asks = wants && node.may_be_asked(now_us, ASK_AGAIN_US);
        if asks {
            node.asked_us = Some(now_us);
        }
        drop(node);
        written.count();
        if written.known > 0 || !topic.kind.is_data() {
            out.emit(&json);
        } else if written.unknown > 0 && !asks {
            let why =
                "none of its metrics is known: the node was not born, or has other aliases since";
            return Err(tidegate_sdk::Missing(why.to_owned()).into());
        }
        if asks {
            counter("rebirths_asked", 1);
            let command = payload::rebirth(message.received_us() / 1_000);
            let topic = topic.command();
            let draft = out.message().port("rebirth").topic(&topic);
            draft.payload(&command)?;
        }
        Ok(())
    }
}

/// How values are written.
#[derive(Clone, Copy, Debug)]
struct Forms {
    bytes: Bytes,
    floats: Singles,
}

/// What a message is made of.
struct Told<'t> {
    kind: &'static str,
    topic: Topic<'t>,
    payload: &'t Payload,
    node: &'t Node,
}

/// What became of a payload's metrics.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    known: u64,
    unknown: u64,
    left_out: u64,
}

impl Written {
    fn count(self) {
        for (name, count) in [
            ("aliases_unknown", self.unknown),
            ("values_left_out", self.left_out),
        ] {
            if count > 0 {
                counter(name, count);
            }
        }
    }
}

impl Forms {
    fn write(self, told: &Told<'_>, json: &mut Vec<u8>) -> Result<Written> {
        let (topic, payload) = (told.topic, told.payload);
        json.extend_from_slice(b"{\"group\":");
        foreign::text(topic.group, json);
        json.extend_from_slice(b",\"node\":");
        foreign::text(topic.node, json);
        if let Some(device) = topic.device {
            json.extend_from_slice(b",\"device\":");
            foreign::text(device, json);
        }
        json.extend_from_slice(b",\"type\":");
        foreign::text(told.kind, json);
        if let Some(time) = payload.time {
            json.extend_from_slice(b",\"time\":");
            foreign::whole(i128::from(time), json);
        }
        json.extend_from_slice(b",\"metrics\":{");
        let metrics = if topic.kind.is_death() {
            &[][..]
        } else {
            payload.metrics.as_slice()
        };
        let (mut written, mut names) = (Written::default(), Vec::new());
        for metric in metrics {
            let known = told.node.name(topic.device, metric);
            let Some((name, kind)) = known else {
                written.unknown += 1;
                continue;
            };
            let before = json.len();
            if !names.is_empty() {
                json.push(b',');
            }
            let start = json.len();
            foreign::text(name, json);
            let name = start..json.len();
            json.push(b':');
            if self.value(metric, kind, json) {
                written.known += 1;
                names.push(name);
            } else {
                written.left_out += 1;
                json.truncate(before);
            }
        }
        foreign::check_names(json, &mut names)?;
        json.extend_from_slice(b"}}");
        Ok(written)
    }

    /// Whether there is a value that JSON has.
    fn value(self, metric: &Metric, kind: u32, json: &mut Vec<u8>) -> bool {
        use payload::Value;
        if metric.is_null == Some(true) {
            json.extend_from_slice(b"null");
            return true;
        }
        let Some(value) = &metric.value else {
            return false;
        };
        match value {
            Value::Int(number) => foreign::whole(payload::signed(*number, kind), json),
            Value::Long(number) if payload::is_signed(kind) => {
                foreign::whole(i128::from(*number as i64), json);
            }
            Value::Long(number) => foreign::whole(i128::from(*number), json),
            Value::Float(number) => foreign::single(*number, self.floats, json),
            Value::Double(number) => foreign::double(*number, json),
            Value::Boolean(true) => json.extend_from_slice(b"true"),
            Value::Boolean(false) => json.extend_from_slice(b"false"),
            Value::String(text) => foreign::text(text, json),
            Value::Bytes(bytes) if kind == payload::BYTES || kind == payload::FILE => {
                self.bytes.write(bytes, json);
            }
            Value::Bytes(_) => return false,
        }
        true
    }
}

impl Stateful for Sparkplug {
    type Value = Node;

    fn state(&mut self) -> &mut State<Node> {
        &mut self.nodes
    }
}

tidegate_sdk::export!(Sparkplug: state);

#[cfg(test)]
mod tests;
