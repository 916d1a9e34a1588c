//! What one version makes of an input, in a form in which two versions can be compared.

use bytes::Bytes;

use super::difference::{DifferingPart, InputOutcome};
use crate::chain::lane::version::OUT;
use crate::chain::sandbox::batch::{Action, GuestAnswer, OutputEntry, PLUGIN_MARKS};
use crate::message::{Message, inherit_expiry};

/// What one version answered to a batch or a tick.
#[derive(Clone, Copy)]
pub(crate) struct VersionAnswer<'a> {
    pub(crate) entries: &'a [OutputEntry],
    pub(crate) data: &'a [u8],
    /// Ports it declared beside `out`.
    pub(crate) ports: &'a [String],
}

/// One thing that became of an input, or an output of a tick.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effect<'a> {
    pub(crate) outcome: InputOutcome,
    /// Name of the port, or of the queue.
    pub(crate) port: &'a str,
    pub(crate) topic: &'a [u8],
    pub(crate) key: &'a [u8],
    pub(crate) headers: &'a [u8],
    /// Headers of the input, where the output expires with it unless it says otherwise.
    pub(crate) inherits: Option<&'a Bytes>,
    /// Of a rejection or failure: why.
    pub(crate) payload: &'a [u8],
    pub(crate) marks: u32,
}

impl Effect<'static> {
    const ABSORBED: Self = Effect {
        outcome: InputOutcome::Absorbed,
        port: "",
        topic: b"",
        key: b"",
        headers: b"",
        inherits: None,
        payload: b"",
        marks: 0,
    };
}

impl<'a> Effect<'a> {
    /// `message` on its way through `port`.
    pub(crate) fn sent(message: &'a Message, port: &'a str) -> Self {
        Self {
            outcome: InputOutcome::Sent,
            port,
            topic: &message.topic,
            key: message.key(),
            headers: &message.headers,
            inherits: None,
            payload: &message.payload,
            marks: message.marks.0,
        }
    }

    /// It ended at a plugin, which is a rejection or a failure.
    pub(crate) fn ended(outcome: InputOutcome, why: &'a [u8]) -> Self {
        Self {
            outcome,
            payload: why,
            ..Effect::ABSORBED
        }
    }

    pub(super) fn all_headers(&self) -> Bytes {
        let headers = Bytes::copy_from_slice(self.headers);
        self.inherits.map_or_else(
            || headers.clone(),
            |origin| inherit_expiry(headers.clone(), origin),
        )
    }

    pub(super) fn same_headers(&self, other: &Self) -> bool {
        let alike =
            self.headers == other.headers && self.inherits.is_some() == other.inherits.is_some();
        alike || self.all_headers() == other.all_headers()
    }

    pub(super) fn differs_in(&self, other: &Self, part: DifferingPart) -> bool {
        if part == DifferingPart::Outcome {
            return self.outcome != other.outcome;
        }
        // Why it was rejected is for people, and a plugin may put it better in its next version.
        self.outcome == InputOutcome::Sent
            && other.outcome == InputOutcome::Sent
            && match part {
                DifferingPart::Outcome | DifferingPart::Number => false,
                DifferingPart::Port => self.port != other.port,
                DifferingPart::Topic => self.topic != other.topic,
                DifferingPart::Key => self.key != other.key,
                DifferingPart::Headers => !self.same_headers(other),
                DifferingPart::Payload => self.payload != other.payload,
                DifferingPart::Marks => self.marks != other.marks,
            }
    }
}

/// What two outputs can differ in.
pub(super) const PARTS: [DifferingPart; 7] = [
    DifferingPart::Outcome,
    DifferingPart::Port,
    DifferingPart::Topic,
    DifferingPart::Key,
    DifferingPart::Headers,
    DifferingPart::Payload,
    DifferingPart::Marks,
];

impl PartialEq for Effect<'_> {
    fn eq(&self, other: &Self) -> bool {
        !PARTS.iter().any(|part| self.differs_in(other, *part))
    }
}

impl<'a> VersionAnswer<'a> {
    /// Of an answer whose entries were checked.
    pub(crate) fn new(
        answer: &'a GuestAnswer,
        entries: &'a [OutputEntry],
        ports: &'a [String],
    ) -> Self {
        Self {
            entries,
            data: &answer.data,
            ports,
        }
    }

    /// Takes the entries of input `index` off the front.
    pub(super) fn take(&mut self, index: usize) -> Self {
        let count = self
            .entries
            .iter()
            .take_while(|entry| entry.input as usize == index)
            .count();
        let (mine, rest) = self.entries.split_at(count);
        self.entries = rest;
        Self {
            entries: mine,
            ..*self
        }
    }

    /// What the entries come to; absorbing counts where nothing else is done.
    pub(super) fn made(self, origin: &'a Message) -> impl Iterator<Item = Effect<'a>> + Clone {
        let ends = self
            .entries
            .iter()
            .filter(|entry| entry.action != Action::Absorb);
        let absorbed = !self.entries.is_empty() && ends.clone().next().is_none();
        ends.map(move |entry| self.one(entry, origin))
            .chain(absorbed.then_some(Effect::ABSORBED))
    }

    pub(super) fn one(self, entry: &OutputEntry, origin: &'a Message) -> Effect<'a> {
        let port = usize::from(entry.port)
            .checked_sub(1)
            .map_or(OUT, |port| self.ports.get(port).map_or("", String::as_str));
        let [topic, headers, payload] = entry.slices(self.data);
        match entry.action {
            Action::Pass | Action::Absorb => Effect::sent(origin, port),
            Action::Reject => Effect::ended(InputOutcome::Rejected, payload),
            Action::Emit => {
                let own_key = entry.own_key(self.data);
                let key = if entry.has_topic() && !own_key.is_empty() {
                    own_key
                } else {
                    origin.key()
                };
                let topic = if entry.has_topic() {
                    topic
                } else {
                    &*origin.topic
                };
                let kept = if entry.is_own() {
                    0
                } else {
                    origin.marks.0 & !PLUGIN_MARKS
                };
                let marks = kept | entry.marks & PLUGIN_MARKS;
                let inherits =
                    (!entry.is_own() && !origin.headers.is_empty()).then_some(&origin.headers);
                Effect {
                    outcome: InputOutcome::Sent,
                    port,
                    topic,
                    key,
                    headers,
                    inherits,
                    payload,
                    marks,
                }
            }
        }
    }
}
