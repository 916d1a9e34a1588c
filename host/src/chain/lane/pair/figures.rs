//! What the trial is told of both versions' work on the same inputs.

use super::{BatchOutcome, Pair, TickAnswer};
use crate::chain::lane::item::Item;
use crate::chain::lane::live::Live;
use crate::chain::lane::trial::LaneComparison;
use crate::chain::lane::trial::compare::{SampleBounds, VersionAnswer};
use crate::chain::lane::trial::phase::KeyShare;
use crate::chain::lane::trial::report::TrialFigures;
use crate::chain::sandbox::batch::{GuestAnswer, OutputEntry};
use crate::clock::Now;

impl Pair {
    /// Tells the trial what both made of a batch.
    pub(super) fn note(&self, lane: usize, items: &[Item], [old, new]: [&BatchOutcome; 2]) {
        let known: Vec<usize> = old.rejected().collect();
        let newly_rejected = new
            .rejected()
            .filter(|index| known.binary_search(index).is_err())
            .count() as u64;
        let mut compared = 0;
        let mut differing = 0;
        let sample = self.trial.sample();
        if let (true, Some(before), Some(after)) =
            (sample != KeyShare::NONE, old.whole(), new.whole())
        {
            let mut comparison = self.trial.comparison();
            let known = comparison.inputs.compared();
            let all = comparison.differing();
            let mine = VersionAnswer::new(before.0, before.1, &self.old.version.setup.ports);
            let yours = VersionAnswer::new(after.0, after.1, &self.candidate.version.setup.ports);
            let inputs = items
                .iter()
                .map(|item| sample.holds(item.message.key()).then_some(&item.message));
            comparison.batch(SampleBounds::default(), inputs, mine, yours);
            (compared, differing) = (
                comparison.inputs.compared() - known,
                comparison.differing() - all,
            );
        }
        let figures = |outcome: &BatchOutcome, live| outcome.figures(items.len(), live);
        let old = figures(old, &self.old);
        let new = figures(new, &self.candidate);
        let work = LaneComparison {
            old,
            new,
            newly_rejected,
            compared,
            differing,
        };
        self.trial
            .note(lane, &work, self.candidate.clock().moment());
    }

    pub(super) fn note_tick(&self, lane: usize, now: Now, told: [&TickAnswer; 2]) {
        let count = |told: &TickAnswer| match told {
            Some(Ok((_, entries))) => TrialFigures {
                entries: entries.len() as u64,
                ..TrialFigures::default()
            },
            Some(Err(_)) => TrialFigures {
                faults: 1,
                ..TrialFigures::default()
            },
            None => TrialFigures::default(),
        };
        let mut differing = 0;
        if let (sample, [Some(Ok((before, old))), Some(Ok((after, new)))]) =
            (self.trial.sample(), told)
            && sample != KeyShare::NONE
        {
            let mut comparison = self.trial.comparison();
            let known = comparison.differing();
            let old = sampled(before, old, sample);
            let new = sampled(after, new, sample);
            let mine = VersionAnswer::new(before, &old, &self.old.version.setup.ports);
            let yours = VersionAnswer::new(after, &new, &self.candidate.version.setup.ports);
            comparison.tick(SampleBounds::default(), now.wall, mine, yours);
            differing = comparison.differing() - known;
        }
        let memory = |live: &Live| live.memory_bytes() as u64;
        let old = TrialFigures {
            memory_bytes: memory(&self.old),
            ..count(told[0])
        };
        let new = TrialFigures {
            memory_bytes: memory(&self.candidate),
            ..count(told[1])
        };
        let work = LaneComparison {
            old,
            new,
            differing,
            ..LaneComparison::default()
        };
        self.trial
            .note(lane, &work, self.candidate.clock().moment());
    }
}

/// The outputs of a tick for the keys of `share`.
fn sampled(answer: &GuestAnswer, entries: &[OutputEntry], share: KeyShare) -> Vec<OutputEntry> {
    entries
        .iter()
        .filter(|entry| share.holds(entry.own_key(&answer.data)))
        .copied()
        .collect()
}
