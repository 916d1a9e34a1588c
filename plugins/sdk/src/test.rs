//! Tests of a plugin without Wasm.
//!
//! ```
//! use tidegate_sdk::prelude::*;
//! use tidegate_sdk::test::{Input, Plugin};
//! use tidegate_sdk::serde_json::json;
//!
//! settings! { pub struct Above { limit: f64 } }
//!
//! impl Filter for Above {
//!     fn keep(&mut self, message: &Message) -> Result<bool> {
//!         Ok(message.number("temperature")? > self.limit)
//!     }
//! }
//!
//! let mut plugin = Plugin::<Above>::new(json!({ "limit": 20 }));
//! assert!(plugin.feed(Input::json("d7", json!({ "temperature": 25.5 }))).passed());
//! assert!(plugin.feed(Input::json("d7", json!({ "temperature": 15 }))).filtered());
//! assert_eq!(plugin.feed(Input::json("d7", json!({}))).rejected(), Some("field `temperature` is missing"));
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::host::Level;
use crate::host::outside::{FLOW, RECORDED, RUNNING_US};
use crate::layout::{
    ABSORB, CLOCK_UNSET, EMIT, EXCUSED, NO_INPUT, OUT_ACTION, OUT_HEADERS, OUT_INPUT, OUT_KEY,
    OUT_MARKS, OUT_OWN_KEY, OUT_PAYLOAD, OUT_TOPIC, PASS, QOS_MASK, QOS_SHIFT, REJECT, RETAIN,
    STRIDE_IN, STRIDE_OUT, span,
};
use crate::message::Message;
use crate::native::{Batch, Instance, Packed, Page};
use crate::plugin::{Setup, Stateful, Timer, Transform};

mod hostile;
mod manual;

pub use hostile::{hostile_names, hostile_payloads};
pub use manual::settings_shown;

/// The moment a test begins: 2026-01-01, in microseconds since 1970.
pub const START_US: u64 = 1_767_225_600_000_000;

/// What the running clock shows when a test begins: an hour, in microseconds.
pub const START_RUNNING_US: u64 = 3_600_000_000;

/// From now on plugins of this test are in a flow of this name that takes these topics; otherwise in `flow`, which takes
/// `devices/{device}/telemetry`.
pub fn in_flow(name: &str, topics: &[&str]) {
    let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
    FLOW.set(Some(crate::host::Flow {
        name: name.to_owned(),
        topics,
        key: None,
    }));
}

/// A message to feed.
#[derive(Clone, Debug)]
pub struct Input {
    topic: String,
    key: String,
    headers: Vec<u8>,
    payload: Vec<u8>,
    marks: u32,
    received_us: Option<u64>,
}

impl Input {
    /// A message of this device: topic `devices/<device>/telemetry`, QoS 1.
    pub fn new(device: &str, payload: impl Into<Vec<u8>>) -> Self {
        let topic = format!("devices/{device}/telemetry");
        Self {
            topic,
            key: device.to_owned(),
            headers: Vec::new(),
            payload: payload.into(),
            marks: 1 << QOS_SHIFT,
            received_us: None,
        }
    }

    /// The same with a JSON payload.
    pub fn json(device: &str, payload: Value) -> Self {
        Self::new(device, payload.to_string())
    }

    /// Under another topic; the device stays the key.
    #[must_use]
    pub fn topic(mut self, topic: &str) -> Self {
        self.topic = topic.to_owned();
        self
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &[u8]) -> Self {
        for field in [name.as_bytes(), value] {
            self.headers
                .extend_from_slice(&(field.len() as u16).to_le_bytes());
            self.headers.extend_from_slice(field);
        }
        self
    }

    /// As a retained message.
    #[must_use]
    pub fn retained(mut self) -> Self {
        self.marks |= RETAIN;
        self
    }

    /// As one that arrived before the gateway's clock was set.
    #[must_use]
    pub fn clock_unset(mut self) -> Self {
        self.marks |= CLOCK_UNSET;
        self
    }

    /// At this QoS level.
    #[must_use]
    pub fn qos(mut self, level: u8) -> Self {
        self.marks = self.marks & !QOS_MASK | u32::from(level) << QOS_SHIFT;
        self
    }

    /// Received at this moment instead of now, by the time of day.
    #[must_use]
    pub fn received_us(mut self, received_us: u64) -> Self {
        self.received_us = Some(received_us);
        self
    }

    fn pack(&self, now_us: u64, words: &mut Vec<u32>, data: &mut Vec<u8>) {
        let (key, own_key) = match self.topic.find(&self.key) {
            _ if self.key.is_empty() => (0, 0),
            Some(offset) => (span(offset as u16, self.key.len() as u16), 0),
            None => (0, self.key.len() as u32),
        };
        let running_us = RUNNING_US.get();
        let received_us = self.received_us.unwrap_or(now_us);
        let lengths = [
            self.topic.len() as u32,
            self.headers.len() as u32,
            self.payload.len() as u32,
        ];
        words.extend_from_slice(&lengths);
        words.extend_from_slice(&[
            key,
            received_us as u32,
            (received_us >> 32) as u32,
            self.marks,
        ]);
        words.extend_from_slice(&[running_us as u32, (running_us >> 32) as u32, own_key]);
        data.extend_from_slice(self.topic.as_bytes());
        data.extend_from_slice(&self.headers);
        data.extend_from_slice(&self.payload);
    }
}

/// What a plugin said about a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// It goes on as it is.
    Pass {
        /// Where to.
        port: String,
    },
    /// A new message.
    Emit(Emitted),
    /// It went into state.
    Absorb,
    /// It goes to the dead letters.
    Reject {
        /// Why, in words.
        reason: String,
        /// It lacks a value, which does not count against its device.
        excused: bool,
    },
}

/// A message that a plugin made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emitted {
    /// `out`, or one of the plugin's ports.
    pub port: String,
    /// Its topic.
    pub topic: String,
    /// Its key.
    pub key: String,
    /// Its headers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its body.
    pub payload: Vec<u8>,
    /// Whether it is to be retained.
    pub retain: bool,
    /// Its QoS level.
    pub qos: u8,
}

impl Emitted {
    /// The body as text; panics when it is none.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).expect("a payload of text")
    }

    /// The body as JSON; panics when it is none.
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.payload)
            .unwrap_or_else(|error| panic!("payload is not the JSON expected: {error}: {self:?}"))
    }
}

/// What a plugin said about one message, or in one tick.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome(pub Vec<Output>);

impl Outcome {
    /// Whether the message goes on as it is, and nothing else.
    pub fn passed(&self) -> bool {
        matches!(&*self.0, [Output::Pass { port }] if port == "out")
    }

    /// Whether it left as it was through this port, and nothing else was said.
    pub fn passed_to(&self, port: &str) -> bool {
        matches!(&*self.0, [Output::Pass { port: taken }] if taken == port)
    }

    /// Whether nothing was said, so that the message is filtered.
    pub fn filtered(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the message went into state, and nothing else.
    pub fn absorbed(&self) -> bool {
        matches!(&*self.0, [Output::Absorb])
    }

    /// The reason, when the message was rejected.
    pub fn rejected(&self) -> Option<&str> {
        self.0.iter().find_map(|output| match output {
            Output::Reject { reason, .. } => Some(&**reason),
            _ => None,
        })
    }

    /// Whether the message was rejected for a value it lacks, which does not count against its device.
    pub fn excused(&self) -> bool {
        self.0
            .iter()
            .any(|output| matches!(output, Output::Reject { excused: true, .. }))
    }

    /// What was emitted on `port`.
    pub fn on(&self, port: &str) -> Vec<&Emitted> {
        let emitted = self.0.iter().filter_map(|output| match output {
            Output::Emit(emitted) => Some(emitted),
            _ => None,
        });
        emitted.filter(|emitted| emitted.port == port).collect()
    }

    /// The one message emitted on `out`; panics when there is another number of them.
    pub fn emitted(&self) -> &Emitted {
        match self.on("out")[..] {
            [emitted] => emitted,
            _ => panic!("expected one message on `out`, found {:?}", self.0),
        }
    }
}

/// A configured plugin under test, with a clock that stands still until it is told to go on.
#[derive(Debug)]
pub struct Plugin<P> {
    instance: Instance<P>,
    setup: Setup,
    now_us: u64,
    next_tick_us: u64,
}

impl<P: Transform> Plugin<P> {
    /// Configures it; panics when the settings are refused.
    pub fn new(settings: Value) -> Self {
        Self::try_new(settings).unwrap_or_else(|error| panic!("settings are refused: {error}"))
    }

    /// Configures it; the error is what the operator would see. Log, counters and gauges start anew.
    pub fn try_new(settings: Value) -> Result<Self, String> {
        RECORDED.take();
        crate::host::set_now(START_US);
        RUNNING_US.set(START_RUNNING_US);
        let (instance, setup) = Instance::configure(&settings.to_string())?;
        let next_tick_us = START_US + setup.tick_every_us;
        Ok(Self {
            instance,
            setup,
            now_us: START_US,
            next_tick_us,
        })
    }

    /// What it asked the host for.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// The plugin itself.
    pub fn plugin(&mut self) -> &mut P {
        self.instance.plugin()
    }

    /// The time, microseconds since 1970.
    pub fn now_us(&self) -> u64 {
        self.now_us
    }

    /// One message.
    pub fn feed(&mut self, input: Input) -> Outcome {
        self.feed_all([input])
            .pop()
            .expect("one outcome for one message")
    }

    /// A batch of messages; an outcome for each.
    pub fn feed_all(&mut self, inputs: impl IntoIterator<Item = Input>) -> Vec<Outcome> {
        let inputs: Vec<Input> = inputs.into_iter().collect();
        let (mut words, mut data) = (Vec::new(), Vec::new());
        for input in &inputs {
            input.pack(self.now_us, &mut words, &mut data);
        }
        let own_keys = inputs
            .iter()
            .filter(|input| !input.key.is_empty() && !input.topic.contains(&input.key));
        own_keys.for_each(|input| data.extend_from_slice(input.key.as_bytes()));
        let batch = Batch {
            now_us: self.now_us,
            stride: STRIDE_IN as u32,
            words: &words,
            data: &data,
        };
        let packed = self.instance.process(&batch);
        let mut outcomes = vec![Outcome::default(); inputs.len()];
        for (input, output) in unpack(&packed, &self.setup.ports, &inputs) {
            outcomes[input.expect("an output of `process` names its input")]
                .0
                .push(output);
        }
        outcomes
    }

    /// Lets time go by without ticks.
    pub fn advance(&mut self, time: Duration) {
        self.now_us += time.as_micros() as u64;
        RUNNING_US.set(RUNNING_US.get() + time.as_micros() as u64);
    }

    /// Sets the time of day, which may jump as on a machine without a battery clock. The running clock goes on.
    pub fn set_clock(&mut self, now_us: u64) {
        self.next_tick_us = now_us + self.next_tick_us.saturating_sub(self.now_us);
        self.now_us = now_us;
    }

    /// Lines written to the log so far.
    pub fn log(&self) -> Vec<(Level, String)> {
        RECORDED.with_borrow(|recorded| recorded.lines.clone())
    }

    /// Counters so far.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        RECORDED.with_borrow(|recorded| recorded.counters.clone())
    }

    /// Gauges as they stand.
    pub fn gauges(&self) -> BTreeMap<String, f64> {
        RECORDED.with_borrow(|recorded| recorded.gauges.clone())
    }
}

impl<P: Timer> Plugin<P> {
    /// Lets time go by with the ticks the plugin asked for; gives what they brought.
    pub fn run_for(&mut self, time: Duration) -> Outcome {
        let end = self.now_us + time.as_micros() as u64;
        let mut outcome = Outcome::default();
        while self.setup.tick_every_us > 0 && self.next_tick_us <= end {
            self.advance(Duration::from_micros(
                self.next_tick_us.saturating_sub(self.now_us),
            ));
            self.next_tick_us += self.setup.tick_every_us;
            let packed = self.instance.tick(self.now_us);
            outcome.0.extend(
                unpack(&packed, &self.setup.ports, &[])
                    .into_iter()
                    .map(|(_, output)| output),
            );
        }
        self.advance(Duration::from_micros(end.saturating_sub(self.now_us)));
        outcome
    }
}

impl<P: Stateful> Plugin<P> {
    /// All pages of a save.
    pub fn save(&mut self, changed_only: bool) -> Vec<Page> {
        let mut pages = vec![self.instance.save(changed_only, 0)];
        while let Some(next) = pages.last().and_then(|page| page.next) {
            pages.push(self.instance.save(changed_only, next));
        }
        pages
    }

    /// Takes in saved pages of a version.
    pub fn restore(&mut self, version: u32, pages: &[Page]) -> Result<(), String> {
        pages
            .iter()
            .try_for_each(|page| self.instance.restore(version, page))
    }

    /// A new instance with these settings that has the state of this one, as after a swap.
    pub fn swapped(mut self, settings: Value) -> Self {
        let (pages, running_us) = (self.save(false), RUNNING_US.get());
        let mut fresh = Self {
            now_us: self.now_us,
            next_tick_us: self.next_tick_us,
            ..Self::new(settings)
        };
        RUNNING_US.set(running_us);
        fresh
            .restore(self.setup.state_version, &pages)
            .unwrap_or_else(|error| panic!("state is refused: {error}"));
        fresh
    }
}

/// Reads packed outputs; the input of a timer's output is `None`.
fn unpack(packed: &Packed, ports: &[String], inputs: &[Input]) -> Vec<(Option<usize>, Output)> {
    let mut data = packed.data.as_slice();
    let mut take = |length: u32| {
        let (taken, rest) = data.split_at(length as usize);
        data = rest;
        taken
    };
    let entries = packed.words.chunks_exact(STRIDE_OUT).map(|entry| {
        let input = (entry[OUT_INPUT] != NO_INPUT).then_some(entry[OUT_INPUT] as usize);
        let (action, port) = (
            entry[OUT_ACTION] & 0xffff,
            (entry[OUT_ACTION] >> 16) as usize,
        );
        let port = if port == 0 {
            "out".to_owned()
        } else {
            ports[port - 1].clone()
        };
        let (topic, headers, payload) = (
            take(entry[OUT_TOPIC]),
            take(entry[OUT_HEADERS]),
            take(entry[OUT_PAYLOAD]),
        );
        let own_key = take(entry[OUT_OWN_KEY]);
        let output = match action {
            PASS => Output::Pass { port },
            ABSORB => Output::Absorb,
            REJECT => {
                let excused = entry[OUT_MARKS] & EXCUSED != 0;
                Output::Reject {
                    reason: String::from_utf8_lossy(payload).into_owned(),
                    excused,
                }
            }
            EMIT => {
                let origin = input.map(|input| &inputs[input]);
                Output::Emit(emitted(
                    port,
                    [topic, headers, payload, own_key],
                    [entry[OUT_KEY], entry[OUT_MARKS]],
                    origin,
                ))
            }
            _ => panic!("action {action} is none of the contract's"),
        };
        (input, output)
    });
    entries.collect()
}

fn emitted(
    port: String,
    parts: [&[u8]; 4],
    [key, marks]: [u32; 2],
    origin: Option<&Input>,
) -> Emitted {
    let [topic, headers, payload, own_key] = parts;
    let (topic, key) = match origin {
        Some(origin) if topic.is_empty() => (origin.topic.clone(), origin.key.clone()),
        _ => {
            let start = (key & 0xffff) as usize;
            let inside = &topic[start..start + (key >> 16) as usize];
            let inherited = origin.map_or("", |origin| &*origin.key).as_bytes();
            let key = [own_key, inside, inherited]
                .into_iter()
                .find(|key| !key.is_empty())
                .unwrap_or_default();
            (
                String::from_utf8_lossy(topic).into_owned(),
                String::from_utf8_lossy(key).into_owned(),
            )
        }
    };
    let headers = Message::with_headers(headers)
        .headers()
        .map(|(name, value)| (name.to_owned(), value.to_vec()))
        .collect();
    let qos = ((marks & QOS_MASK) >> QOS_SHIFT) as u8;
    Emitted {
        port,
        topic,
        key,
        headers,
        payload: payload.to_vec(),
        retain: marks & RETAIN != 0,
        qos,
    }
}

#[cfg(test)]
mod tests;
