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
    ABSORB, EMIT, EXCUSED, NO_INPUT, OUT_ACTION, OUT_HEADERS, OUT_INPUT, OUT_KEY, OUT_MARKS,
    OUT_OWN_KEY, OUT_PAYLOAD, OUT_TOPIC, PASS, QOS_MASK, QOS_SHIFT, REJECT, RETAIN, STRIDE_IN,
    STRIDE_OUT, span,
};
use crate::message::Message;
use crate::native::{Batch, Instance, Packed, Page};
use crate::plugin::{Setup, Stateful, Timer, Transform};

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
mod tests {
    use super::*;
    use crate::prelude::*;
    use serde_json::json;

    /// Does what the payload's first word says.
    #[derive(Debug)]
    struct Puppet {
        every: Duration,
    }

    settings! { struct Strings { every_seconds: u64 } }

    impl Transform for Puppet {
        type Settings = Strings;
        const PORTS: &'static [&'static str] = &["late", "side"];

        fn new(settings: Strings) -> Result<Self> {
            Ok(Self {
                every: Duration::from_secs(settings.every_seconds),
            })
        }

        fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
            counter("seen", 1);
            if message.topic() == "read" {
                message.number("t")?;
            }
            match message.text()? {
                "heir" => out.message().topic("x").inherit().payload(b"")?,
                "again" => out.message().payload(b"again")?,
                "key" => host::info(message.key()),
                "pass" => out.pass(),
                "absorb" => out.absorb(),
                "double" => {
                    out.emit(b"one");
                    out.emit_json(&json!({ "two": 2 }))?;
                }
                "side" => out
                    .message()
                    .port("side")
                    .topic("x/d7/y")
                    .header("k", b"v")
                    .retain(true)
                    .qos(2)
                    .payload(b"aside")?,
                "bare" => out.message().port("late").write(|_| Ok(()))?,
                "elsewhere" => out.message().topic("no/key/here").payload(b"")?,
                "late error" => {
                    out.emit(b"does not count");
                    return Err("changed my mind".into());
                }
                "half written" => out.emit_with(|payload| {
                    payload.extend_from_slice(b"half");
                    Err("ran out of ink".into())
                })?,
                "no port" => out.message().port("nowhere").payload(b"")?,
                _ => {}
            }
            Ok(())
        }

        fn tick_every(&self) -> Duration {
            self.every
        }
    }

    impl Timer for Puppet {
        fn tick(&mut self, tick: &mut Tick<'_, '_>) -> Result<()> {
            let now_us = tick.now_us();
            tick.message("ticks/d7", "d7").json(&now_us)?;
            Err("one is enough".into())
        }
    }

    crate::export!(Puppet: timer);

    fn puppet() -> Plugin<Puppet> {
        Plugin::new(json!({ "every_seconds": 10 }))
    }

    fn says(word: &str) -> Outcome {
        puppet().feed(Input::new("d7", word).header("h", b"1"))
    }

    #[test]
    fn each_word_has_its_output() {
        assert!(says("pass").passed() && says("absorb").absorbed() && says("nothing").filtered());
        let texts: Vec<_> = says("double")
            .on("out")
            .iter()
            .map(|emitted| emitted.text().to_owned())
            .collect();
        assert_eq!(texts, ["one", r#"{"two":2}"#]);
    }

    #[test]
    fn a_message_of_ones_own_has_what_it_was_given_and_the_key() {
        let side = says("side").on("side")[0].clone();
        assert_eq!(
            (&*side.topic, &*side.key, side.retain, side.qos),
            ("x/d7/y", "d7", true, 2)
        );
        assert_eq!(side.headers, [("k".to_owned(), b"v".to_vec())]);
        let bare = says("bare").on("late")[0].clone();
        assert_eq!(
            (&*bare.topic, &*bare.key, bare.headers.len(), bare.qos),
            ("devices/d7/telemetry", "d7", 0, 1)
        );
        assert_eq!(
            says("elsewhere").emitted().key,
            "d7",
            "though it is no level of the new topic"
        );
    }

    #[test]
    fn what_is_no_form_of_the_message_at_hand_inherits_its_trace_and_no_expiry() {
        let cause = |word: &str| {
            Input::new("d7", word)
                .qos(0)
                .retained()
                .header(":message-expiry", b"2")
                .header("traceparent", b"00")
        };
        let names = |emitted: &Emitted| {
            emitted
                .headers
                .iter()
                .map(|(name, _)| name.clone())
                .collect::<Vec<_>>()
        };
        let side = puppet().feed(cause("bare")).on("late")[0].clone();
        assert_eq!(
            (names(&side), side.retain, side.qos),
            (vec!["traceparent".to_owned()], false, 1)
        );
        let all = vec![":message-expiry".to_owned(), "traceparent".to_owned()];
        for word in ["heir", "again"] {
            let heir = puppet().feed(cause(word)).emitted().clone();
            assert_eq!(
                (names(&heir), heir.retain, heir.qos),
                (all.clone(), true, 0),
                "{word}"
            );
        }
    }

    #[test]
    fn a_key_that_no_topic_holds_is_told_and_kept() {
        let inputs = ["pass", "absorb"].map(|word| Input::new("d7", word).topic("up"));
        let mut plugin = puppet();
        plugin.feed_all(inputs.into_iter().chain([
            Input::new("d8", "key").topic("elsewhere"),
            Input::new("d9", "key"),
        ]));
        assert_eq!(
            plugin
                .log()
                .into_iter()
                .map(|(_, line)| line)
                .collect::<Vec<_>>(),
            ["d8", "d9"]
        );
    }

    #[test]
    fn an_empty_retained_payload_passes_what_reads_payloads() {
        let deleted = puppet().feed(Input::new("d7", "").retained().topic("read"));
        assert!(deleted.passed());
        assert!(
            puppet()
                .feed(Input::new("d7", "").topic("read"))
                .rejected()
                .is_some()
        );
        assert!(
            puppet()
                .feed(Input::new("d7", "{}").retained().topic("read"))
                .excused()
        );
    }

    fn rejection(reason: &str) -> Output {
        Output::Reject {
            reason: reason.to_owned(),
            excused: false,
        }
    }

    #[test]
    fn an_error_takes_back_what_was_said() {
        assert_eq!(says("late error").0, [rejection("changed my mind")]);
        assert_eq!(says("half written").0, [rejection("ran out of ink")]);
        assert_eq!(
            says("no port").0,
            [rejection("port `nowhere` is not one of PORTS")]
        );
    }

    #[test]
    fn outputs_of_a_batch_name_their_inputs() {
        let words = [
            "pass",
            "nothing",
            "late error",
            "double",
            "half written",
            "side",
            "pass",
        ];
        let together =
            puppet().feed_all(words.map(|word| Input::new("d7", word).header("h", b"1")));
        assert_eq!(together, words.map(says));
    }

    #[test]
    fn counters_are_told_once_a_batch() {
        let mut plugin = puppet();
        plugin.feed_all(["a", "b", "c"].map(|word| Input::new("d7", word)));
        assert_eq!(plugin.counters()["seen"], 3);
    }

    #[test]
    fn ticks_come_when_they_are_due_and_their_errors_are_logged() {
        let mut plugin = puppet();
        assert!(plugin.run_for(Duration::from_secs(9)).filtered());
        let outcome = plugin.run_for(Duration::from_secs(11));
        let times: Vec<u64> = outcome.on("out").iter().map(|tick| tick.json()).collect();
        assert_eq!(times, [START_US + 10_000_000, START_US + 20_000_000]);
        assert_eq!(
            plugin.log()[0],
            (Level::Error, "tick failed: one is enough".to_owned())
        );
    }

    #[test]
    fn a_batch_of_a_later_host_is_read_by_its_stride() {
        let (mut instance, _) = Instance::<Puppet>::configure(r#"{"every_seconds":0}"#).unwrap();
        let (mut words, mut data) = (Vec::new(), Vec::new());
        for word in ["pass", "nothing", "pass"] {
            Input::new("d7", word).pack(START_US, &mut words, &mut data);
            words.extend_from_slice(&[77, 78]);
        }
        let packed = instance.process(&Batch {
            now_us: START_US,
            stride: 12,
            words: &words,
            data: &data,
        });
        let inputs: Vec<_> = packed
            .words
            .chunks(STRIDE_OUT)
            .map(|entry| entry[OUT_INPUT])
            .collect();
        assert_eq!(inputs, [0, 2]);
    }

    #[test]
    fn settings_name_what_is_wrong_with_them() {
        let refused = |settings: Value| Plugin::<Puppet>::try_new(settings).unwrap_err();
        assert_eq!(
            refused(json!({ "every_second": 1 })),
            "there is no setting `every_second`; there are: `every_seconds`"
        );
        assert_eq!(
            refused(json!(null)),
            "the setting `every_seconds` is missing"
        );
        assert_eq!(
            refused(json!({ "every_seconds": "1" })),
            "`every_seconds` must be a whole number from 0 on, not the text \"1\""
        );
    }
}
