//! Where two versions of a plugin, given the same inputs, differ in what they make of them.
//!
//! Pure, and cheap while nothing differs: then nothing is allocated. What counts is what leaves, not how the plugin
//! said it: a message passed on and the same bytes sent anew are the same. Differences are counted by kind and by
//! part, and the first of each kind are kept in a form for people.

mod sample;
#[cfg(test)]
mod tests;

pub use sample::{Excerpt, Input, Sample, Shown};

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::chain::lane::version::OUT;
use crate::chain::sandbox::batch::{Action, Answer, Entry, PLUGIN_MARKS};
use crate::message::{Message, inherit_expiry};

/// How two versions differ on one input, or in one output of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Only the running version sends something.
    Missing,
    /// Only the candidate sends something.
    Extra,
    /// Both send, and not the same; or neither does, for different reasons.
    Changed,
}

/// What differs where both send something, or neither does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// What becomes of it: sent, absorbed, rejected, failed on, or nothing.
    Outcome,
    /// How many outputs it leads to.
    Number,
    /// The port, or the queue, an output leaves through.
    Port,
    /// An output's topic.
    Topic,
    /// An output's key: it may take another lane.
    Key,
    /// An output's headers.
    Headers,
    /// An output's payload.
    Payload,
    /// An output's marks: retain and quality of service.
    Marks,
}

/// What becomes of an input. One that leads to nothing was filtered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// An output.
    Sent,
    /// Taken into the plugin's state.
    Absorbed,
    /// Rejected by the plugin.
    Rejected,
    /// The plugin failed on it, or it cannot be sent.
    Failed,
}

impl Kind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Changed => "changed",
        }
    }
}

impl Part {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Outcome => "outcome",
            Self::Number => "number",
            Self::Port => "port",
            Self::Topic => "topic",
            Self::Key => "key",
            Self::Headers => "headers",
            Self::Payload => "payload",
            Self::Marks => "marks",
        }
    }
}

impl Outcome {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Absorbed => "absorbed",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
        }
    }
}

/// How much of the differences is kept.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Samples of each kind, for inputs and for ticks.
    pub samples: usize,
    /// Bytes of a payload that a sample shows.
    pub payload_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            samples: 5,
            payload_bytes: 200,
        }
    }
}

/// How many were compared, by what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// No difference.
    pub same: u64,
    /// See [`Kind::Missing`].
    pub missing: u64,
    /// See [`Kind::Extra`].
    pub extra: u64,
    /// See [`Kind::Changed`].
    pub changed: u64,
}

impl Counts {
    /// All that differ.
    pub fn differing(&self) -> u64 {
        self.missing + self.extra + self.changed
    }

    /// All that were compared.
    pub fn compared(&self) -> u64 {
        self.same + self.differing()
    }

    fn add(&mut self, kind: Option<Kind>, count: u64) {
        *match kind {
            None => &mut self.same,
            Some(Kind::Missing) => &mut self.missing,
            Some(Kind::Extra) => &mut self.extra,
            Some(Kind::Changed) => &mut self.changed,
        } += count;
    }
}

/// What was found so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Inputs.
    pub inputs: Counts,
    /// Outputs of ticks.
    pub ticks: Counts,
    /// Of those that are `changed`, how many differ in each part.
    pub parts: BTreeMap<Part, u64>,
    /// The first of each kind.
    pub samples: Vec<Sample>,
    #[serde(skip)]
    kept: [usize; 6],
}

/// What one version answered to a batch or a tick.
#[derive(Clone, Copy)]
pub(crate) struct Side<'a> {
    pub(crate) entries: &'a [Entry],
    pub(crate) data: &'a [u8],
    /// Ports it declared beside `out`.
    pub(crate) ports: &'a [String],
}

/// One thing that became of an input, or an output of a tick.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made<'a> {
    pub(crate) outcome: Outcome,
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

impl Made<'static> {
    const ABSORBED: Self = Made {
        outcome: Outcome::Absorbed,
        port: "",
        topic: b"",
        key: b"",
        headers: b"",
        inherits: None,
        payload: b"",
        marks: 0,
    };
}

impl<'a> Made<'a> {
    /// `message` on its way through `port`.
    pub(crate) fn sent(message: &'a Message, port: &'a str) -> Self {
        Self {
            outcome: Outcome::Sent,
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
    pub(crate) fn ended(outcome: Outcome, why: &'a [u8]) -> Self {
        Self {
            outcome,
            payload: why,
            ..Made::ABSORBED
        }
    }

    fn all_headers(&self) -> Bytes {
        let headers = Bytes::copy_from_slice(self.headers);
        self.inherits.map_or_else(
            || headers.clone(),
            |origin| inherit_expiry(headers.clone(), origin),
        )
    }

    fn same_headers(&self, other: &Self) -> bool {
        let alike =
            self.headers == other.headers && self.inherits.is_some() == other.inherits.is_some();
        alike || self.all_headers() == other.all_headers()
    }

    fn differs_in(&self, other: &Self, part: Part) -> bool {
        if part == Part::Outcome {
            return self.outcome != other.outcome;
        }
        // Why it was rejected is for people, and a plugin may put it better in its next version.
        self.outcome == Outcome::Sent
            && other.outcome == Outcome::Sent
            && match part {
                Part::Outcome | Part::Number => false,
                Part::Port => self.port != other.port,
                Part::Topic => self.topic != other.topic,
                Part::Key => self.key != other.key,
                Part::Headers => !self.same_headers(other),
                Part::Payload => self.payload != other.payload,
                Part::Marks => self.marks != other.marks,
            }
    }
}

/// What two outputs can differ in.
const PARTS: [Part; 7] = [
    Part::Outcome,
    Part::Port,
    Part::Topic,
    Part::Key,
    Part::Headers,
    Part::Payload,
    Part::Marks,
];

impl PartialEq for Made<'_> {
    fn eq(&self, other: &Self) -> bool {
        !PARTS.iter().any(|part| self.differs_in(other, *part))
    }
}

impl<'a> Side<'a> {
    /// Of an answer whose entries were checked.
    pub(crate) fn new(answer: &'a Answer, entries: &'a [Entry], ports: &'a [String]) -> Self {
        Self {
            entries,
            data: &answer.data,
            ports,
        }
    }

    /// Takes the entries of input `index` off the front.
    fn take(&mut self, index: usize) -> Self {
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
    fn made(self, origin: &'a Message) -> impl Iterator<Item = Made<'a>> + Clone {
        let ends = self
            .entries
            .iter()
            .filter(|entry| entry.action != Action::Absorb);
        let absorbed = !self.entries.is_empty() && ends.clone().next().is_none();
        ends.map(move |entry| self.one(entry, origin))
            .chain(absorbed.then_some(Made::ABSORBED))
    }

    fn one(self, entry: &Entry, origin: &'a Message) -> Made<'a> {
        let port = usize::from(entry.port)
            .checked_sub(1)
            .map_or(OUT, |port| self.ports.get(port).map_or("", String::as_str));
        let [topic, headers, payload] = entry.slices(self.data);
        match entry.action {
            Action::Pass | Action::Absorb => Made::sent(origin, port),
            Action::Reject => Made::ended(Outcome::Rejected, payload),
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
                Made {
                    outcome: Outcome::Sent,
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

impl Comparison {
    /// Compares what both made of a batch of `inputs`; `None` is one that is left out.
    pub(crate) fn batch<'m>(
        &mut self,
        bounds: Bounds,
        inputs: impl Iterator<Item = Option<&'m Message>>,
        mut old: Side<'_>,
        mut new: Side<'_>,
    ) {
        for (index, input) in inputs.enumerate() {
            let (old, new) = (old.take(index), new.take(index));
            if let Some(input) = input {
                self.input(bounds, input, old.made(input), new.made(input));
            }
        }
    }

    /// Compares what became of one input.
    pub(crate) fn input<'a>(
        &mut self,
        bounds: Bounds,
        input: &Message,
        old: impl Iterator<Item = Made<'a>> + Clone,
        new: impl Iterator<Item = Made<'a>> + Clone,
    ) {
        if old.clone().eq(new.clone()) {
            return self.inputs.add(None, 1);
        }
        let kind = kind([sends(old.clone()), sends(new.clone())]);
        self.inputs.add(Some(kind), 1);
        let parts = if kind == Kind::Changed {
            differing(old.clone(), new.clone())
        } else {
            Vec::new()
        };
        self.note(&parts);
        if self.has_room(bounds, kind, 0) {
            self.samples.push(Sample::of_input(
                (kind, parts),
                input,
                bounds.payload_bytes,
                old,
                new,
            ));
        }
    }

    /// Compares what two versions said when they were told the time `now_us` (microseconds since 1970): key by key,
    /// since the order between keys promises nothing.
    pub(crate) fn tick(&mut self, bounds: Bounds, now_us: u64, old: Side<'_>, new: Side<'_>) {
        let origin = Message::default();
        self.outputs(bounds, now_us, old.made(&origin), new.made(&origin));
    }

    /// As [`Comparison::tick`], of outputs in any form.
    pub(crate) fn outputs<'a>(
        &mut self,
        bounds: Bounds,
        now_us: u64,
        old: impl Iterator<Item = Made<'a>> + Clone,
        new: impl Iterator<Item = Made<'a>> + Clone,
    ) {
        if old.clone().eq(new.clone()) {
            return self.ticks.add(None, old.count() as u64);
        }
        let (old, new) = (by_key(old), by_key(new));
        let (mut old, mut new) = (old.as_slice(), new.as_slice());
        while let Some(key) = [old.first(), new.first()]
            .into_iter()
            .flatten()
            .map(|made| made.key)
            .min()
        {
            let (mine, yours) = (take_key(&mut old, key), take_key(&mut new, key));
            for index in 0..mine.len().max(yours.len()) {
                self.output(bounds, now_us, mine.get(index), yours.get(index));
            }
        }
    }

    fn output(
        &mut self,
        bounds: Bounds,
        now_us: u64,
        old: Option<&Made<'_>>,
        new: Option<&Made<'_>>,
    ) {
        if old == new {
            return self.ticks.add(None, 1);
        }
        let kind = kind([old.is_some(), new.is_some()]);
        self.ticks.add(Some(kind), 1);
        let (old, new) = (old.copied().into_iter(), new.copied().into_iter());
        let parts = if kind == Kind::Changed {
            differing(old.clone(), new.clone())
        } else {
            Vec::new()
        };
        self.note(&parts);
        if self.has_room(bounds, kind, 3) {
            self.samples.push(Sample::of_tick(
                (kind, parts),
                now_us,
                bounds.payload_bytes,
                old,
                new,
            ));
        }
    }

    fn note(&mut self, parts: &[Part]) {
        for part in parts {
            *self.parts.entry(*part).or_default() += 1;
        }
    }

    fn has_room(&mut self, bounds: Bounds, kind: Kind, first: usize) -> bool {
        let kept = &mut self.kept[first + kind as usize];
        *kept += 1;
        *kept <= bounds.samples
    }

    /// Everything that differs.
    pub fn differing(&self) -> u64 {
        self.inputs.differing() + self.ticks.differing()
    }

    /// Hands out the samples, and keeps no count of them: as many again are taken.
    pub fn take_samples(&mut self) -> Vec<Sample> {
        self.kept = [0; 6];
        std::mem::take(&mut self.samples)
    }
}

/// By which of the two sends: the old one, the new one.
fn kind(sends: [bool; 2]) -> Kind {
    match sends {
        [true, false] => Kind::Missing,
        [false, true] => Kind::Extra,
        [true, true] | [false, false] => Kind::Changed,
    }
}

fn sends<'a>(mut made: impl Iterator<Item = Made<'a>>) -> bool {
    made.any(|made| made.outcome == Outcome::Sent)
}

/// What differs between outputs in the same places.
fn differing<'a>(
    mut old: impl Iterator<Item = Made<'a>>,
    mut new: impl Iterator<Item = Made<'a>>,
) -> Vec<Part> {
    let mut parts = std::collections::BTreeSet::new();
    loop {
        match (old.next(), new.next()) {
            (None, None) => return parts.into_iter().collect(),
            (Some(old), Some(new)) => {
                parts.extend(PARTS.into_iter().filter(|part| old.differs_in(&new, *part)))
            }
            (Some(made), None) | (None, Some(made)) if made.outcome == Outcome::Sent => {
                drop(parts.insert(Part::Number))
            }
            (Some(_), None) | (None, Some(_)) => drop(parts.insert(Part::Outcome)),
        }
    }
}

/// In the order of their keys; of one key, in the order they came in.
fn by_key<'a>(made: impl Iterator<Item = Made<'a>>) -> Vec<Made<'a>> {
    let mut made: Vec<_> = made.collect();
    made.sort_by_key(|made| made.key);
    made
}

fn take_key<'m, 'a>(rest: &mut &'m [Made<'a>], key: &[u8]) -> &'m [Made<'a>] {
    let count = rest.iter().take_while(|made| made.key == key).count();
    let (mine, others) = rest.split_at(count);
    *rest = others;
    mine
}
