//! Where two versions of a plugin, given the same inputs, differ in what they make of them.
//!
//! Pure, and cheap while nothing differs: then nothing is allocated. What counts is what leaves, not how the plugin
//! said it: a message passed on and the same bytes sent anew are the same. Differences are counted by kind and by
//! part, and the first of each kind are kept in a form for people.

mod difference;
mod made;
mod sample;
#[cfg(test)]
mod tests;

pub use difference::{Counts, DifferenceKind, DifferingPart, InputOutcome};
pub(crate) use made::{Effect, VersionAnswer};
pub use sample::{DifferenceSample, Excerpt, SampleInput, ShownEffect};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::WallTime;
use crate::message::Message;

/// How much of the differences is kept.
#[derive(Clone, Copy, Debug)]
pub struct SampleBounds {
    /// Samples of each kind, for inputs and for ticks.
    pub samples: usize,
    /// Bytes of a payload that a sample shows.
    pub payload_bytes: usize,
}

impl Default for SampleBounds {
    fn default() -> Self {
        Self {
            samples: 5,
            payload_bytes: 200,
        }
    }
}

/// What was found so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub inputs: Counts,
    pub ticks: Counts,
    /// Of those that are `changed`, how many differ in each part.
    pub parts: BTreeMap<DifferingPart, u64>,
    /// The first of each kind.
    pub samples: Vec<DifferenceSample>,
    #[serde(skip)]
    kept: [usize; 6],
}

impl Comparison {
    /// Compares what both made of a batch of `inputs`; `None` is one that is left out.
    pub(crate) fn batch<'m>(
        &mut self,
        bounds: SampleBounds,
        inputs: impl Iterator<Item = Option<&'m Message>>,
        mut old: VersionAnswer<'_>,
        mut new: VersionAnswer<'_>,
    ) {
        for (index, input) in inputs.enumerate() {
            let old = old.take(index);
            let new = new.take(index);
            if let Some(input) = input {
                self.input(bounds, input, old.made(input), new.made(input));
            }
        }
    }

    /// Compares what became of one input.
    pub(crate) fn input<'a>(
        &mut self,
        bounds: SampleBounds,
        input: &Message,
        old: impl Iterator<Item = Effect<'a>> + Clone,
        new: impl Iterator<Item = Effect<'a>> + Clone,
    ) {
        if old.clone().eq(new.clone()) {
            return self.inputs.add(None, 1);
        }
        let kind = kind([sends(old.clone()), sends(new.clone())]);
        self.inputs.add(Some(kind), 1);
        let parts = if kind == DifferenceKind::Changed {
            differing(old.clone(), new.clone())
        } else {
            Vec::new()
        };
        self.note(&parts);
        if self.has_room(bounds, kind, 0) {
            self.samples.push(DifferenceSample::of_input(
                (kind, parts),
                input,
                bounds.payload_bytes,
                old,
                new,
            ));
        }
    }

    /// Compares what two versions said when they were told the time `now`: key by key,
    /// since the order between keys promises nothing.
    pub(crate) fn tick(
        &mut self,
        bounds: SampleBounds,
        now: WallTime,
        old: VersionAnswer<'_>,
        new: VersionAnswer<'_>,
    ) {
        let origin = Message::default();
        self.outputs(bounds, now, old.made(&origin), new.made(&origin));
    }

    /// As [`Comparison::tick`], of outputs in any form.
    pub(crate) fn outputs<'a>(
        &mut self,
        bounds: SampleBounds,
        now: WallTime,
        old: impl Iterator<Item = Effect<'a>> + Clone,
        new: impl Iterator<Item = Effect<'a>> + Clone,
    ) {
        if old.clone().eq(new.clone()) {
            return self.ticks.add(None, old.count() as u64);
        }
        let old = by_key(old);
        let new = by_key(new);
        let mut old = old.as_slice();
        let mut new = new.as_slice();
        while let Some(key) = [old.first(), new.first()]
            .into_iter()
            .flatten()
            .map(|made| made.key)
            .min()
        {
            let mine = take_key(&mut old, key);
            let yours = take_key(&mut new, key);
            for index in 0..mine.len().max(yours.len()) {
                self.output(bounds, now, mine.get(index), yours.get(index));
            }
        }
    }

    fn output(
        &mut self,
        bounds: SampleBounds,
        now: WallTime,
        old: Option<&Effect<'_>>,
        new: Option<&Effect<'_>>,
    ) {
        if old == new {
            return self.ticks.add(None, 1);
        }
        let kind = kind([old.is_some(), new.is_some()]);
        self.ticks.add(Some(kind), 1);
        let old = old.copied().into_iter();
        let new = new.copied().into_iter();
        let parts = if kind == DifferenceKind::Changed {
            differing(old.clone(), new.clone())
        } else {
            Vec::new()
        };
        self.note(&parts);
        if self.has_room(bounds, kind, 3) {
            self.samples.push(DifferenceSample::of_tick(
                (kind, parts),
                now,
                bounds.payload_bytes,
                old,
                new,
            ));
        }
    }

    fn note(&mut self, parts: &[DifferingPart]) {
        for part in parts {
            *self.parts.entry(*part).or_default() += 1;
        }
    }

    fn has_room(&mut self, bounds: SampleBounds, kind: DifferenceKind, first: usize) -> bool {
        let kept = &mut self.kept[first + kind as usize];
        *kept += 1;
        *kept <= bounds.samples
    }

    pub fn differing(&self) -> u64 {
        self.inputs.differing() + self.ticks.differing()
    }

    /// Hands out the samples, and keeps no count of them: as many again are taken.
    pub fn take_samples(&mut self) -> Vec<DifferenceSample> {
        self.kept = [0; 6];
        std::mem::take(&mut self.samples)
    }
}

/// By which of the two sends: the old one, the new one.
fn kind(sends: [bool; 2]) -> DifferenceKind {
    match sends {
        [true, false] => DifferenceKind::Missing,
        [false, true] => DifferenceKind::Extra,
        [true, true] | [false, false] => DifferenceKind::Changed,
    }
}

fn sends<'a>(mut made: impl Iterator<Item = Effect<'a>>) -> bool {
    made.any(|made| made.outcome == InputOutcome::Sent)
}

/// What differs between outputs in the same places.
fn differing<'a>(
    mut old: impl Iterator<Item = Effect<'a>>,
    mut new: impl Iterator<Item = Effect<'a>>,
) -> Vec<DifferingPart> {
    let mut parts = std::collections::BTreeSet::new();
    loop {
        match (old.next(), new.next()) {
            (None, None) => return parts.into_iter().collect(),
            (Some(old), Some(new)) => parts.extend(
                made::PARTS
                    .into_iter()
                    .filter(|part| old.differs_in(&new, *part)),
            ),
            (Some(made), None) | (None, Some(made)) if made.outcome == InputOutcome::Sent => {
                parts.insert(DifferingPart::Number);
            }
            (Some(_), None) | (None, Some(_)) => {
                parts.insert(DifferingPart::Outcome);
            }
        }
    }
}

/// In the order of their keys; of one key, in the order they came in.
fn by_key<'a>(made: impl Iterator<Item = Effect<'a>>) -> Vec<Effect<'a>> {
    let mut made: Vec<_> = made.collect();
    made.sort_by_key(|made| made.key);
    made
}

fn take_key<'m, 'a>(rest: &mut &'m [Effect<'a>], key: &[u8]) -> &'m [Effect<'a>] {
    let count = rest.iter().take_while(|made| made.key == key).count();
    let (mine, others) = rest.split_at(count);
    *rest = others;
    mine
}
