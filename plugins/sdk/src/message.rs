//! Messages as a plugin sees them, and their way out of a packed batch.

use std::slice::ChunksExact;

use serde::Deserialize;

use crate::json::{self, Value};
use crate::layout::{CLOCK_UNSET, DUPLICATE, IN_PAYLOAD, QOS_MASK, QOS_SHIFT, REPLAYED, RETAIN};
use crate::plugin::{Result, missing};

/// One message. Cheap to copy: everything is borrowed from the batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Message<'a> {
    topic: &'a [u8],
    headers: &'a [u8],
    payload: &'a [u8],
    key: &'a [u8],
    received_us: u64,
    running_us: u64,
    marks: u32,
}

impl<'a> Message<'a> {
    /// The MQTT topic it arrived on, or that a plugin before this one gave it.
    pub fn topic(&self) -> &'a str {
        text_or_empty(self.topic)
    }

    /// The topic as bytes: cheaper where text is not needed.
    pub fn topic_bytes(&self) -> &'a [u8] {
        self.topic
    }

    /// The name of the device (`{device}` in the flow's topics, or what the flow's `key` says), whatever the topic is by
    /// now; empty when there is none.
    pub fn key(&self) -> &'a str {
        text_or_empty(self.key)
    }

    /// Whether it deletes what is retained under its topic: the payload is empty, and there is nothing to be read. What is
    /// let in of a topic has to let its deletes pass, or upstream keeps the last value for ever. An error because of the
    /// empty payload (`message.json()?`) does.
    pub fn is_delete(&self) -> bool {
        self.payload.is_empty() && self.retain()
    }

    /// The body.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The body as text; an error when it is not UTF-8.
    pub fn text(&self) -> Result<&'a str> {
        std::str::from_utf8(self.payload)
            .map_err(|error| format!("payload is not text: {error}").into())
    }

    /// The body as JSON. Borrowed fields (`&str`) point into the message.
    pub fn json<T: Deserialize<'a>>(&self) -> Result<T> {
        json::check_not_empty(self.payload)?;
        serde_json::from_slice(self.payload)
            .map_err(|error| format!("payload is not the JSON expected: {error}").into())
    }

    /// One field of a JSON object by its path (`"battery.voltage"`); `None` when it is not there. To read several
    /// fields of every message, compile the paths once: [`json::Paths`].
    pub fn field(&self, path: &str) -> Result<Option<Value<'a>>> {
        json::find_one(self.payload, path)
    }

    /// One number of a JSON object by its path; an error when it is missing (or `null`) or no number.
    pub fn number(&self, path: &str) -> Result<f64> {
        let value = self
            .field(path)?
            .filter(|value| !value.is_null())
            .ok_or_else(|| missing(path))?;
        value
            .number()
            .ok_or_else(|| format!("field `{path}` is not a number: `{}`", value.excerpt()).into())
    }

    /// The first header of that name (an MQTT 5 user property), when its value is text.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers()
            .find(|(found, _)| *found == name)
            .and_then(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// All headers, in order.
    pub fn headers(&self) -> Headers<'a> {
        Headers(self.headers)
    }

    #[cfg(not(target_arch = "wasm32"))]
    /// A message of nothing but headers, to read them.
    pub(crate) fn with_headers(headers: &'a [u8]) -> Self {
        Self {
            headers,
            ..Self::default()
        }
    }

    pub(crate) fn header_block(&self) -> &'a [u8] {
        self.headers
    }

    /// When it reached the gateway, by the running clock, microseconds: for durations, also in state. It stands still while
    /// the gateway is off and never jumps, as the time of day may; see [`host::running_us`](crate::host::running_us).
    pub fn running_us(&self) -> u64 {
        self.running_us
    }

    /// When it reached the gateway, microseconds since 1970.
    pub fn received_us(&self) -> u64 {
        self.received_us
    }

    /// Whether the broker sent it as a retained message.
    pub fn retain(&self) -> bool {
        self.marks & RETAIN != 0
    }

    /// Whether the broker marked it as sent before.
    pub fn duplicate(&self) -> bool {
        self.marks & DUPLICATE != 0
    }

    /// Whether it comes from the backlog while newer data went ahead.
    pub fn replayed(&self) -> bool {
        self.marks & REPLAYED != 0
    }

    /// Whether the gateway's wall clock had not been set when it arrived, so that [`received_us`](Self::received_us)
    /// is not to be trusted.
    pub fn clock_unset(&self) -> bool {
        self.marks & CLOCK_UNSET != 0
    }

    /// The QoS level, 0 to 2.
    pub fn qos(&self) -> u8 {
        ((self.marks & QOS_MASK) >> QOS_SHIFT) as u8
    }

    pub(crate) fn marks(&self) -> u32 {
        self.marks
    }
}

/// The host lets only UTF-8 topics in, so the empty text guards a broken invariant only.
fn text_or_empty(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// Headers of a message: name and value.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a>(&'a [u8]);

impl<'a> Headers<'a> {
    fn take(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<2>()?;
        let (field, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        self.0 = rest;
        Some(field)
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        Some((text_or_empty(self.take()?), self.take()?))
    }
}

/// Walks the messages of a packed batch.
#[derive(Debug)]
pub struct Unpack<'a> {
    entries: ChunksExact<'a, u32>,
    data: &'a [u8],
    /// Keys that their topics do not hold; found when the first is met.
    keys: Option<&'a [u8]>,
}

impl<'a> Unpack<'a> {
    /// Entries of `stride` words; words this version does not know are stepped over. A stride below the words of this
    /// contract is the host's mistake and panics.
    pub(crate) fn new(stride: u32, words: &'a [u32], data: &'a [u8]) -> Self {
        assert!(
            stride as usize >= crate::layout::STRIDE_IN,
            "the host sent entries of {stride} words"
        );
        Self {
            entries: words.chunks_exact(stride as usize),
            data,
            keys: None,
        }
    }

    /// The next of the keys that lie behind the last message, of which `message` bytes more than the rest are left.
    #[cold]
    fn own_key(&mut self, length: u32, message: usize) -> &'a [u8] {
        let rest = self.entries.clone().map(|entry| {
            entry[..=IN_PAYLOAD]
                .iter()
                .map(|length| *length as usize)
                .sum::<usize>()
        });
        let keys = self
            .keys
            .unwrap_or_else(|| &self.data[message + rest.sum::<usize>()..]);
        let (key, keys) = keys.split_at(length as usize);
        self.keys = Some(keys);
        key
    }

    fn take(&mut self, length: u32) -> &'a [u8] {
        let (taken, rest) = self.data.split_at(length as usize);
        self.data = rest;
        taken
    }
}

impl<'a> Iterator for Unpack<'a> {
    type Item = Message<'a>;

    #[inline]
    fn next(&mut self) -> Option<Message<'a>> {
        // In the order of `layout::IN_*`.
        let &[
            topic,
            headers,
            payload,
            key,
            low,
            high,
            marks,
            running_low,
            running_high,
            own_key,
            ..,
        ] = self.entries.next()?
        else {
            return None;
        };
        let own_key = match own_key {
            0 => None,
            length => {
                Some(self.own_key(length, topic as usize + headers as usize + payload as usize))
            }
        };
        let topic = self.take(topic);
        let (start, length) = ((key & 0xffff) as usize, (key >> 16) as usize);
        Some(Message {
            topic,
            headers: self.take(headers),
            payload: self.take(payload),
            key: own_key.unwrap_or_else(|| topic.get(start..start + length).unwrap_or_default()),
            received_us: u64::from(low) | u64::from(high) << 32,
            running_us: u64::from(running_low) | u64::from(running_high) << 32,
            marks,
        })
    }
}
