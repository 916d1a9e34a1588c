//! What a plugin answers to a batch: its entries, each checked before anything is made of it, and the messages that they become.

use std::sync::Arc;

use bytes::Bytes;

use super::{EXCUSED, NO_INPUT, PLUGIN_MARKS, output};
use crate::chain::sandbox::fault::{Fault, FaultKind};
use crate::clock::Now;
use crate::message::{Marks, Message, Span, inherit_expiry, legal};

/// What a plugin answered, as it came out of the guest.
#[derive(Clone, Debug, Default)]
pub(crate) struct GuestAnswer {
    pub(crate) stride: u32,
    pub(crate) words: Vec<u32>,
    pub(crate) data: Bytes,
}

/// What an entry of an output asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Pass,
    Emit,
    Absorb,
    Reject,
}

/// An entry of an output, checked: its parts lie inside of the answer's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutputEntry {
    pub(crate) input: u32,
    pub(crate) action: Action,
    pub(crate) port: u16,
    /// 0 keeps the input's topic and key.
    topic: u32,
    headers: u32,
    payload: u32,
    /// Length of a key that the topic does not hold.
    own_key: u32,
    at: u32,
    pub(crate) key: Span,
    pub(crate) marks: u32,
}

impl OutputEntry {
    /// Whether the plugin named a topic of its own.
    pub(crate) fn has_topic(&self) -> bool {
        self.topic > 0
    }

    /// The topic the plugin named, which was checked to be text.
    pub(crate) fn topic(&self, data: &Bytes) -> String {
        let [topic, ..] = self.parts(data);
        String::from_utf8_lossy(&topic).into_owned()
    }

    fn parts(&self, data: &Bytes) -> [Bytes; 3] {
        self.slices(data).map(|part| {
            if part.is_empty() {
                Bytes::new()
            } else {
                data.slice_ref(part)
            }
        })
    }

    /// Topic, headers and payload (of a rejection its reason) as they lie in the answer's data.
    pub(crate) fn slices<'d>(&self, data: &'d [u8]) -> [&'d [u8]; 3] {
        let mut at = self.at as usize;
        [self.topic, self.headers, self.payload].map(|length| {
            let start = at;
            at += length as usize;
            &data[start..at]
        })
    }

    /// The key it has by itself.
    pub(crate) fn own_key<'d>(&self, data: &'d [u8]) -> &'d [u8] {
        if self.own_key > 0 {
            let start = self.at as usize
                + self.topic as usize
                + self.headers as usize
                + self.payload as usize;
            return &data[start..start + self.own_key as usize];
        }
        let [topic, ..] = self.slices(data);
        let start = usize::from(self.key.offset);
        topic
            .get(start..start + usize::from(self.key.len))
            .unwrap_or_default()
    }

    /// The reason of a rejection, in the plugin's words.
    pub(crate) fn reason(&self, data: &Bytes) -> String {
        const MAX_REASON_BYTES: usize = 4 << 10;
        let [_, _, reason] = self.parts(data);
        String::from_utf8_lossy(&reason[..reason.len().min(MAX_REASON_BYTES)]).into_owned()
    }

    /// Whether it is the plugin's own message, and does not take its input's place.
    pub(crate) fn is_own(&self) -> bool {
        self.has_topic() || self.port != 0
    }

    /// Whether a rejection says nothing bad of its device.
    pub(crate) fn is_excused(&self) -> bool {
        self.marks & EXCUSED != 0
    }

    /// The message that an `emit` makes of `origin`: the parts are slices of `data`. One that takes its place, under its
    /// topic on the way to the next plugin, came when it came and lives as long, unless the plugin said otherwise. Any
    /// other is the plugin's own: it comes now, and inherits the key and nothing else that a plugin sees.
    pub(crate) fn emitted(&self, data: &Bytes, origin: &Message, now: Now) -> Message {
        let [topic, headers, payload] = self.parts(data);
        let own = self.is_own();
        let headers = if own {
            headers
        } else {
            inherit_expiry(headers, &origin.headers)
        };
        let (marks, received, uptime) = if own {
            let marks = Marks::default()
                .with(Marks::CLOCK_UNSET, !now.is_set())
                .after_rounds(origin.marks.rounds());
            (marks, now.wall, now.uptime)
        } else {
            (origin.marks, origin.received, origin.uptime)
        };
        let marks = Marks(marks.0 & !PLUGIN_MARKS | self.marks & PLUGIN_MARKS);
        let message = Message {
            id: origin.id,
            flow: origin.flow,
            headers,
            payload,
            marks,
            received,
            uptime,
            trace: origin.trace.clone(),
            ..Message::default()
        };
        if !self.has_topic() {
            return Message {
                topic: origin.topic.clone(),
                key: origin.key,
                device: origin.device.clone(),
                ..message
            };
        }
        let device = match (self.own_key, self.key.len) {
            (0, 0) => origin.own_key(),
            (0, _) => None,
            _ => Some(Arc::from(self.own_key(data))),
        };
        Message {
            topic,
            key: if device.is_some() {
                Span::default()
            } else {
                self.key
            },
            device,
            ..message
        }
    }
}

/// What an output is checked against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Messages that went in; `None` for a tick.
    pub(crate) inputs: Option<usize>,
    /// Ports there are, `out` included.
    pub(crate) ports: usize,
    /// Entries there may be.
    pub(crate) max_entries: usize,
    /// Bytes there may be.
    pub(crate) max_bytes: usize,
}

/// Checks an answer and appends its entries to `entries`.
///
/// # Errors
/// A [`Fault`] of kind `output` when it is too large, of kind `contract` when it is wrong; `entries` is then void.
pub(crate) fn unpack(
    answer: &GuestAnswer,
    shape: Shape,
    entries: &mut Vec<OutputEntry>,
) -> Result<(), Fault> {
    let stride = answer.stride as usize;
    if answer.words.is_empty() && answer.data.is_empty() {
        return Ok(());
    }
    if stride < output::LEAST || !answer.words.len().is_multiple_of(stride) {
        let words = answer.words.len();
        return Err(Fault::contract(format!(
            "{words} words do not make entries of stride {stride} (at least {})",
            output::LEAST
        )));
    }
    let count = answer.words.len() / stride;
    if count > shape.max_entries || answer.data.len() > shape.max_bytes {
        let bytes = answer.data.len();
        let max_entries = shape.max_entries;
        let max_bytes = shape.max_bytes;
        let text = format!(
            "{count} entries with {bytes} bytes; {max_entries} and {max_bytes} are allowed"
        );
        return Err(Fault::new(FaultKind::Output, text));
    }
    entries.reserve(count);
    let mut reader = AnswerReader {
        shape,
        data: &answer.data,
        at: 0,
        last: None,
        rejected: None,
    };
    for (index, words) in answer.words.chunks_exact(stride).enumerate() {
        reader
            .entry(words, entries)
            .map_err(|what| Fault::contract(format!("entry {index}: {what}")))?;
    }
    match answer.data.len() - reader.at {
        0 => Ok(()),
        left => Err(Fault::contract(format!("{left} bytes belong to no entry"))),
    }
}

struct AnswerReader<'a> {
    shape: Shape,
    data: &'a [u8],
    at: usize,
    last: Option<u32>,
    rejected: Option<u32>,
}

impl AnswerReader<'_> {
    /// Appends the entry and then checks it: handed back through a `Result` it would be copied twice over the stack,
    /// which took a third of a hop.
    fn entry(&mut self, words: &[u32], entries: &mut Vec<OutputEntry>) -> Result<(), String> {
        let [topic, headers, payload] =
            [output::TOPIC, output::HEADERS, output::PAYLOAD].map(|word| words[word]);
        let port = (words[output::ACTION] >> 16) as u16;
        let action = match words[output::ACTION] & 0xffff {
            0 => Action::Pass,
            1 => Action::Emit,
            2 => Action::Absorb,
            3 => Action::Reject,
            other => return Err(format!("there is no action {other}")),
        };
        if usize::from(port) >= self.shape.ports {
            return Err(format!("port {port} was not declared"));
        }
        let start = self.at;
        let own_key = words.get(output::OWN_KEY).copied().unwrap_or_default();
        self.take([topic, headers, payload, own_key])?;
        let Ok(at) = u32::try_from(start) else {
            return Err("data is longer than 4 GiB".to_owned());
        };
        let key = words[output::KEY];
        let input = words[output::INPUT];
        let marks = words[output::MARKS];
        let key = Span {
            offset: (key & 0xffff) as u16,
            len: (key >> 16) as u16,
        };
        entries.push(OutputEntry {
            input,
            action,
            port,
            topic,
            headers,
            payload,
            own_key,
            at,
            key,
            marks,
        });
        self.check_input(input, action, topic > 0)?;
        match action {
            Action::Emit if own_key > u32::from(u16::MAX) => {
                Err(format!("a key of {own_key} bytes; 65,535 are allowed"))
            }
            Action::Emit => self.check_emitted(start, topic as usize, headers as usize, key),
            _ if own_key > 0 => Err("only `emit` brings a key".to_owned()),
            Action::Pass | Action::Absorb if self.at != start => {
                Err("only `emit` and `reject` bring bytes".to_owned())
            }
            Action::Pass | Action::Absorb | Action::Reject => Ok(()),
        }
    }

    fn take(&mut self, lengths: [u32; 4]) -> Result<(), String> {
        let length: u64 = lengths.into_iter().map(u64::from).sum();
        let left = self.data.len() - self.at;
        match usize::try_from(length) {
            Ok(length) if length <= left => {
                self.at += length;
                Ok(())
            }
            _ => Err(format!("{length} bytes announced, {left} left")),
        }
    }

    fn check_input(&mut self, input: u32, action: Action, has_topic: bool) -> Result<(), String> {
        let Some(inputs) = self.shape.inputs else {
            return match (input, action) {
                (NO_INPUT, Action::Emit) if has_topic => Ok(()),
                (NO_INPUT, Action::Emit) => Err("an output of `tick` needs a topic".to_owned()),
                (NO_INPUT, _) => Err("`tick` can only `emit`".to_owned()),
                (input, _) => Err(format!("an output of `tick` names input {input}")),
            };
        };
        if input as usize >= inputs {
            return Err(format!("input {input} of {inputs}"));
        }
        if let Some(last) = self.last
            && input < last
        {
            return Err(format!("input {input} after input {last}"));
        }
        self.last = Some(input);
        if action == Action::Reject && self.rejected.replace(input) == Some(input) {
            return Err(format!("input {input} is rejected twice"));
        }
        Ok(())
    }

    fn check_emitted(
        &self,
        at: usize,
        topic_length: usize,
        headers_length: usize,
        key: Span,
    ) -> Result<(), String> {
        let (topic, rest) = self.data[at..].split_at(topic_length);
        if topic_length > 0 {
            legal::check_topic(topic).map_err(|problem| format!("the topic {problem}"))?;
            let end = usize::from(key.offset) + usize::from(key.len);
            if end > topic_length {
                return Err(format!(
                    "the key ends at byte {end} of a topic of {topic_length}"
                ));
            }
        }
        legal::check_headers(&rest[..headers_length]).map_err(|problem| problem.to_string())
    }
}
