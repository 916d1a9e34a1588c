//! What becomes of messages, written straight into the packed form.

use std::rc::Rc;

use serde::Serialize;

use crate::json::Empty;
use crate::layout::{
    ABSORB, EMIT, EXCUSED, NO_INPUT, PASS, QOS_MASK, QOS_SHIFT, REJECT, RETAIN, STRIDE_OUT, span,
};
use crate::message::Message;
use crate::plugin::{Error, Missing, Result};

/// Where a plugin says what becomes of the message at hand. Saying nothing filters it; returning an error rejects
/// it, and whatever was said about it before does not count.
#[derive(Debug)]
pub struct Outputs<'m> {
    words: Vec<u32>,
    data: Vec<u8>,
    ports: Rc<[String]>,
    now_us: u64,
    input: u32,
    message: Message<'m>,
    /// Size of the first allocation of `data`: most batches make about as much as they bring, or nothing.
    expected: usize,
}

impl<'m> Outputs<'m> {
    pub(crate) fn new(ports: Rc<[String]>, now_us: u64, inputs: usize, bytes: usize) -> Self {
        Self {
            words: Vec::with_capacity(inputs * STRIDE_OUT),
            data: Vec::new(),
            ports,
            now_us,
            input: NO_INPUT,
            message: Message::default(),
            expected: bytes,
        }
    }

    /// Makes `message` the one at hand and lets `process` speak about it.
    #[inline]
    pub(crate) fn about(
        &mut self,
        input: u32,
        message: Message<'m>,
        process: impl FnOnce(&Message<'m>, &mut Self) -> Result<()>,
    ) {
        self.input = input;
        self.message = message;
        let (words, data) = (self.words.len(), self.data.len());
        if let Err(error) = process(&message, self) {
            self.words.truncate(words);
            self.data.truncate(data);
            if message.is_delete() && error.is::<Empty>() {
                return self.pass();
            }
            let excused = if error.is::<Missing>() { EXCUSED } else { 0 };
            self.reject_as(&error.to_string(), excused);
        }
    }

    pub(crate) fn into_parts(self) -> (Vec<u32>, Vec<u8>) {
        (self.words, self.data)
    }

    /// The running clock, microseconds: for durations. See [`host::running_us`](crate::host::running_us).
    pub fn running_us(&self) -> u64 {
        crate::host::running_us()
    }

    /// Time of this batch, microseconds since 1970.
    pub fn now_us(&self) -> u64 {
        self.now_us
    }

    /// The message goes on to the next plugin as it is. Costs no copy.
    #[inline]
    pub fn pass(&mut self) {
        self.entry(PASS, [0, 0, 0, 0, 0], self.message.marks());
    }

    /// The message leaves as it is through this port of the plugin's, or goes on to the next plugin through `out`. Costs no copy.
    ///
    /// # Errors
    /// The plugin has no such port.
    pub fn pass_to(&mut self, port: &str) -> Result<()> {
        let port = self.port(port)?;
        self.entry(PASS | port << 16, [0, 0, 0, 0, 0], self.message.marks());
        Ok(())
    }

    /// The number of a port.
    fn port(&self, name: &str) -> Result<u32> {
        match self.ports.iter().position(|port| port == name) {
            Some(index) => Ok(length(index + 1)),
            None if name == "out" => Ok(0),
            None => Err(format!("port `{name}` is not one of the plugin's").into()),
        }
    }

    /// The message `input` goes on as it is.
    #[inline]
    pub(crate) fn pass_on(&mut self, input: u32, marks: u32) {
        self.words
            .extend_from_slice(&[input, PASS, 0, 0, 0, 0, marks, 0]);
    }

    /// The message went into state: it is dealt with, though nothing leaves for it now.
    pub fn absorb(&mut self) {
        self.entry(ABSORB, [0, 0, 0, 0, 0], self.message.marks());
    }

    /// The message is bad: it goes to the dead letters with this reason. Returning an error does the same.
    pub fn reject(&mut self, reason: &str) {
        self.reject_as(reason, 0);
    }

    fn reject_as(&mut self, reason: &str, excused: u32) {
        self.data.extend_from_slice(reason.as_bytes());
        self.entry(
            REJECT,
            [0, 0, length(reason.len()), 0, 0],
            self.message.marks() | excused,
        );
    }

    /// A new payload goes on to the next plugin, under the message's topic, key, headers and marks.
    pub fn emit(&mut self, payload: &[u8]) {
        let headers = self.copy_headers();
        self.data.extend_from_slice(payload);
        self.entry(
            EMIT,
            [0, headers, length(payload.len()), 0, 0],
            self.message.marks(),
        );
    }

    /// As [`emit`](Self::emit), with a payload made of `value`.
    pub fn emit_json(&mut self, value: &impl Serialize) -> Result<()> {
        self.emit_with(|payload| Ok(serde_json::to_writer(payload, value)?))
    }

    /// As [`emit`](Self::emit), with a payload that `write` appends to the buffer it is handed: the fastest way.
    /// What it finds there is not to be touched. On an error nothing is emitted.
    pub fn emit_with(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
        let before = self.data.len();
        let headers = self.copy_headers();
        let start = self.data.len();
        if let Err(error) = write(&mut self.data) {
            self.data.truncate(before);
            return Err(error);
        }
        self.entry(
            EMIT,
            [0, headers, length(self.data.len() - start), 0, 0],
            self.message.marks(),
        );
        Ok(())
    }

    /// A message of your own making: another port, topic, headers or marks. Under another topic or on another port it is
    /// not the message at hand in another form but one of its own: it has the key and the trace of that, and else nothing,
    /// neither its expiry nor its headers, marks or QoS level (1), unless it is to [`inherit`](Draft::inherit) them.
    pub fn message<'d>(&'d mut self) -> Draft<'d, 'm> {
        Draft {
            port: 0,
            topic: None,
            key: self.message.key(),
            retain: None,
            qos: None,
            inherits: false,
            own: Vec::new(),
            fault: None,
            out: self,
        }
    }

    /// Of the headers only those of a trace (W3C Trace Context).
    fn copy_trace(&mut self) -> u32 {
        let before = self.data.len();
        for (name, value) in self
            .message
            .headers()
            .filter(|(name, _)| matches!(*name, "traceparent" | "tracestate"))
        {
            for field in [name.as_bytes(), value] {
                // It came out of a header block, so it fits one.
                self.data
                    .extend_from_slice(&(field.len() as u16).to_le_bytes());
                self.data.extend_from_slice(field);
            }
        }
        length(self.data.len() - before)
    }

    fn copy_headers(&mut self) -> u32 {
        if self.data.capacity() == 0 {
            self.data.reserve(self.expected);
        }
        let headers = self.message.header_block();
        self.data.extend_from_slice(headers);
        length(headers.len())
    }

    /// Words 2 to 5 are topic, headers and payload length and the key span, word 7 the length of an own key.
    #[inline]
    fn entry(
        &mut self,
        action: u32,
        [topic, headers, payload, key, own_key]: [u32; 5],
        marks: u32,
    ) {
        self.words.extend_from_slice(&[
            self.input, action, topic, headers, payload, key, marks, own_key,
        ]);
    }
}

/// A length as a word. A guest's memory ends at 4 GiB, so this cannot fail in a component.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("an output of less than 4 GiB")
}

/// A message in the making. One of [`payload`](Self::payload), [`json`](Self::json) and [`write`](Self::write)
/// sends it; dropping it sends nothing.
#[must_use = "nothing is sent before `payload`, `json` or `write`"]
pub struct Draft<'d, 'm> {
    out: &'d mut Outputs<'m>,
    port: u32,
    topic: Option<&'d str>,
    key: &'d str,
    retain: Option<bool>,
    qos: Option<u8>,
    inherits: bool,
    own: Vec<u8>,
    fault: Option<Error>,
}

impl<'d> Draft<'d, '_> {
    /// Leaves through this port of the plugin's ([`Transform::ports`](crate::Transform::ports)) instead of going on to the
    /// next plugin.
    pub fn port(mut self, name: &str) -> Self {
        match self.out.port(name) {
            Ok(port) => self.port = port,
            Err(fault) => self.fault = Some(fault),
        }
        self
    }

    /// Under another topic. The key stays, whether the topic holds it or not.
    pub fn topic(mut self, topic: &'d str) -> Self {
        self.topic = Some(topic);
        self
    }

    /// With another key. Where later plugins keep state under it, the flow has to be keyed by it too, or run on one lane.
    pub fn key(mut self, key: &'d str) -> Self {
        self.key = key;
        self
    }

    /// Adds a header (an MQTT 5 user property).
    pub fn header(mut self, name: &str, value: &[u8]) -> Self {
        match (u16::try_from(name.len()), u16::try_from(value.len())) {
            (Ok(name_length), Ok(value_length)) => {
                self.own.extend_from_slice(&name_length.to_le_bytes());
                self.own.extend_from_slice(name.as_bytes());
                self.own.extend_from_slice(&value_length.to_le_bytes());
                self.own.extend_from_slice(value);
            }
            _ => self.fault = Some("a header's name or value is longer than 65,535 bytes".into()),
        }
        self
    }

    /// With headers, expiry, retain and QoS level of the message at hand: it is that one in another form.
    pub fn inherit(mut self) -> Self {
        self.inherits = true;
        self
    }

    /// Whether upstream is to retain it; otherwise not, or as the message whose place it takes.
    pub fn retain(mut self, retain: bool) -> Self {
        self.retain = Some(retain);
        self
    }

    /// The QoS level, 0 to 2; otherwise 1, or that of the message whose place it takes.
    pub fn qos(mut self, level: u8) -> Self {
        self.qos = Some(level.min(2));
        self
    }

    fn marks(&self, inherits: bool) -> u32 {
        let mut marks = if inherits {
            self.out.message.marks()
        } else {
            1 << QOS_SHIFT
        };
        if let Some(retain) = self.retain {
            marks = if retain {
                marks | RETAIN
            } else {
                marks & !RETAIN
            };
        }
        self.qos.map_or(marks, |level| {
            marks & !QOS_MASK | u32::from(level) << QOS_SHIFT
        })
    }

    /// Sends it with this payload.
    pub fn payload(self, payload: &[u8]) -> Result<()> {
        self.write(|buffer| {
            buffer.extend_from_slice(payload);
            Ok(())
        })
    }

    /// Sends it with a payload made of `value`.
    pub fn json(self, value: &impl Serialize) -> Result<()> {
        self.write(|buffer| Ok(serde_json::to_writer(buffer, value)?))
    }

    /// Sends it with a payload that `write` appends to the buffer it is handed.
    pub fn write(mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        let topic = self.topic.unwrap_or_default();
        let key = if topic.is_empty() {
            0
        } else {
            key_span(topic, self.key)?
        };
        // The host gives it the key of its input, if there is one.
        let is_known = self.out.input != NO_INPUT && self.key == self.out.message.key();
        let own_key = if topic.is_empty() || key != 0 || is_known {
            ""
        } else {
            self.key
        };
        if own_key.len() > usize::from(u16::MAX) {
            return Err(format!("key of {} bytes is longer than 65,535", own_key.len()).into());
        }
        let before = self.out.data.len();
        self.out.data.extend_from_slice(topic.as_bytes());
        let inherits = self.inherits || topic.is_empty() && self.port == 0;
        let copied = if inherits {
            self.out.copy_headers()
        } else {
            self.out.copy_trace()
        };
        self.out.data.extend_from_slice(&self.own);
        let start = self.out.data.len();
        if let Err(error) = write(&mut self.out.data) {
            self.out.data.truncate(before);
            return Err(error);
        }
        let payload = length(self.out.data.len() - start);
        self.out.data.extend_from_slice(own_key.as_bytes());
        let lengths = [
            length(topic.len()),
            copied + length(self.own.len()),
            payload,
            key,
            length(own_key.len()),
        ];
        let marks = self.marks(inherits);
        self.out.entry(EMIT | self.port << 16, lengths, marks);
        Ok(())
    }
}

/// Where `key` is a level of `topic`; no key when it is none.
fn key_span(topic: &str, key: &str) -> Result<u32> {
    if topic.len() > usize::from(u16::MAX) {
        return Err(format!("topic of {} bytes is longer than 65,535", topic.len()).into());
    }
    let mut offset = 0_u16;
    for level in topic.split('/') {
        let len = level.len() as u16;
        if level == key {
            return Ok(span(offset, len));
        }
        offset = offset.saturating_add(len).saturating_add(1);
    }
    Ok(0)
}

/// Messages and bytes of a tick beyond which the rest waits for the next one.
const MOST_TOLD: usize = 2_000;
const MOST_BYTES: usize = 2 << 20;

/// One tick of a timer: the time, and where its messages go.
#[derive(Debug)]
pub struct Tick<'t, 'm> {
    out: &'t mut Outputs<'m>,
}

impl<'t, 'm> Tick<'t, 'm> {
    pub(crate) fn new(out: &'t mut Outputs<'m>) -> Self {
        out.input = NO_INPUT;
        out.message = Message::default();
        Self { out }
    }

    /// The time, microseconds since 1970.
    pub fn now_us(&self) -> u64 {
        self.out.now_us
    }

    /// The running clock, microseconds: for durations. See [`host::running_us`](crate::host::running_us).
    pub fn running_us(&self) -> u64 {
        crate::host::running_us()
    }

    /// Whether more may be told in this tick: the host takes 4,096 messages and 4 MiB of one call, unless the config says
    /// otherwise, and half of either is left for what comes with the one at hand. The rest follows with the next tick.
    pub fn has_room(&self) -> bool {
        self.out.words.len() / STRIDE_OUT < MOST_TOLD && self.out.data.len() < MOST_BYTES
    }

    /// A message under `topic`; `key` (the device) picks its state in later plugins.
    pub fn message<'d>(&'d mut self, topic: &'d str, key: &'d str) -> Draft<'d, 'm> {
        self.out.message().topic(topic).key(key)
    }
}
