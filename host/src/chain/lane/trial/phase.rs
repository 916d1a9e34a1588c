//! The phases of a change, and what is thought of a candidate in them: pure, by figures of the same inputs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::report::{ChangeStep, TrialReport};
use crate::chain::settings::Probation;
use crate::message::key_hash;

/// Fewer messages than this decide nothing before the phase is over.
const MIN_MESSAGES: u64 = 100;

/// Fewer calls than this say nothing about time: the first ones of an instance are slow.
const MIN_CALLS: u64 = 20;

/// Below this much processor time a call nothing is too slow: at ten calls a second it is a hundredth of a core.
const CALL_FLOOR_US: u64 = 1_000;

/// Below this much memory nothing is too much: allocators take it in steps.
const MEMORY_FLOOR_BYTES: u64 = 2 << 20;

/// So many faults of the running version that a candidate has not are enough to know that it helps.
const CURED: u64 = 10;

/// The candidate works beside the running version and its outputs go nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shadow {
    /// It ends after this time, or so many messages, whichever comes first; with neither when it is told to.
    pub time: Option<Duration>,
    pub messages: Option<u64>,
    /// Share of the keys whose outputs are compared, above 0 to 1.
    pub sample: f64,
    /// The candidate is refused when the outputs of a larger share of the compared inputs differ; `None`: differences
    /// are only reported.
    pub max_differing: Option<f64>,
}

impl Default for Shadow {
    fn default() -> Self {
        Self {
            time: None,
            messages: None,
            sample: 1.0,
            max_differing: None,
        }
    }
}

/// The candidate's outputs count for some keys.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Canary {
    /// Share of the keys, above 0 to 1.
    pub share: f64,
    /// It ends after this time, or so many messages, whichever comes first; with neither when it is told to.
    pub time: Option<Duration>,
    pub messages: Option<u64>,
}

/// A part of the keys, always the same ones: of 2³² parts of the hash, so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyShare(pub(crate) u64);

impl KeyShare {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const ALL: Self = Self(1 << 32);

    /// The share `part`, from 0 to 1.
    pub(crate) fn of(part: f64) -> Self {
        Self((part.clamp(0.0, 1.0) * Self::ALL.0 as f64) as u64)
    }

    /// Whether `key` is among them. Hashed once more, so that it says nothing about the lane.
    pub(crate) fn holds(self, key: &[u8]) -> bool {
        self == Self::ALL
            || self != Self::NONE
                && key_hash(key).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 < self.0
    }

    /// Whether it is the greater part.
    pub(crate) fn is_most(self) -> bool {
        self.0 * 2 > Self::ALL.0
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Phase {
    pub(crate) step: ChangeStep,
    /// Keys for which the candidate's outputs count.
    pub(crate) share: KeyShare,
    /// Keys whose outputs are compared.
    pub(crate) sample: KeyShare,
    /// It is over after this, or after so many messages; with neither when it is told to be.
    pub(crate) time: Option<Duration>,
    messages: Option<u64>,
    max_differing: Option<f64>,
    /// The candidate has to fail on less than the running version.
    is_cure: bool,
    limits: Probation,
}

/// What is thought of a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It is too early.
    Open,
    /// The phase is over and nothing speaks against it.
    Passed,
    /// It does worse than the running version: how, in words for the operator.
    Failed(String),
}

impl Phase {
    pub(crate) fn shadow(shadow: Shadow, limits: Probation) -> Self {
        let Shadow {
            time,
            messages,
            sample,
            max_differing,
        } = shadow;
        let share = KeyShare::NONE;
        let sample = KeyShare::of(sample);
        Self {
            step: ChangeStep::Shadow,
            share,
            sample,
            time,
            messages,
            max_differing,
            is_cure: false,
            limits,
        }
    }

    pub(crate) fn canary(canary: Canary, limits: Probation) -> Self {
        let Canary {
            share,
            time,
            messages,
        } = canary;
        let share = KeyShare::of(share);
        let sample = KeyShare::NONE;
        Self {
            step: ChangeStep::Canary,
            share,
            sample,
            time,
            messages,
            max_differing: None,
            is_cure: false,
            limits,
        }
    }

    pub(crate) fn probation(limits: Probation) -> Self {
        let time = Some(limits.time);
        let messages = Some(limits.messages);
        let share = KeyShare::ALL;
        let sample = KeyShare::NONE;
        Self {
            step: ChangeStep::Probation,
            share,
            sample,
            time,
            messages,
            max_differing: None,
            is_cure: false,
            limits,
        }
    }

    /// The same in place of a version that keeps failing.
    pub(crate) fn cure(limits: Probation) -> Self {
        Self {
            is_cure: true,
            ..Self::probation(limits)
        }
    }

    /// Judges what both versions have done in `elapsed`.
    pub(crate) fn judge(&self, report: &TrialReport, elapsed: Duration) -> Judgement {
        let over = self.time.is_some_and(|time| elapsed >= time)
            || self
                .messages
                .is_some_and(|messages| report.old.messages >= messages);
        let wrong = || {
            let outcome =
                (over || report.old.messages >= MIN_MESSAGES).then(|| self.rejected(report));
            let differing =
                (over || report.compared >= MIN_MESSAGES).then(|| self.differing(report));
            let vain = over.then(|| self.vain(report)).flatten();
            outcome
                .flatten()
                .or_else(|| differing.flatten())
                .or_else(|| self.slow(report))
                .or_else(|| self.fat(report))
                .or(vain)
        };
        let is_cured = self.is_cure && report.new.faults == 0 && report.old.faults >= CURED;
        match wrong() {
            Some(why) => Judgement::Failed(why),
            None if over || is_cured => Judgement::Passed,
            None => Judgement::Open,
        }
    }

    fn vain(&self, report: &TrialReport) -> Option<String> {
        let old = report.old.faults;
        let new = report.new.faults;
        let text = || {
            format!(
                "it does not help: {new} of its calls failed, and {old} of the running version's"
            )
        };
        (self.is_cure && new >= old).then(text)
    }

    fn rejected(&self, report: &TrialReport) -> Option<String> {
        let accepted = report.old.messages.saturating_sub(report.old.rejected);
        let limit = self.limits.max_rejected;
        let text = |share| {
            format!(
                "it rejects {} of what the running version accepts, the limit is {}",
                percent(share),
                percent(limit)
            )
        };
        exceeded(report.newly_rejected, accepted, limit).map(text)
    }

    fn differing(&self, report: &TrialReport) -> Option<String> {
        let limit = self.max_differing?;
        let text = |share| {
            format!(
                "its outputs differ for {} of what was compared, the limit is {}",
                percent(share),
                percent(limit)
            )
        };
        exceeded(report.differing, report.compared, limit).map(text)
    }

    fn slow(&self, report: &TrialReport) -> Option<String> {
        let old = report.old;
        let new = report.new;
        let mine = old.cpu_us.checked_div(old.calls)?;
        let yours = new.cpu_us.checked_div(new.calls)?;
        let factor = self.limits.latency_factor;
        let slow =
            new.calls >= MIN_CALLS && yours >= CALL_FLOOR_US && yours as f64 > mine as f64 * factor;
        slow.then(|| format!("it takes {yours} µs a call where the running version takes {mine}, the limit is {factor} times"))
    }

    fn fat(&self, report: &TrialReport) -> Option<String> {
        let mine = report.old.memory_bytes;
        let yours = report.new.memory_bytes;
        let factor = self.limits.memory_factor;
        let fat = yours >= MEMORY_FLOOR_BYTES && yours as f64 > mine as f64 * factor;
        let text = || {
            let mine = mine >> 10;
            let yours = yours >> 10;
            format!(
                "it takes {yours} KiB of memory where the running version takes {mine}, the limit is {factor} times"
            )
        };
        fat.then(text)
    }
}

/// The share of `count` in `all`, if it is over `limit`.
fn exceeded(count: u64, all: u64, limit: f64) -> Option<f64> {
    let share = count as f64 / all.max(1) as f64;
    (share > limit).then_some(share)
}

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent > 0.0 && percent < 1.0 {
        format!("{percent:.2} %")
    } else {
        format!("{percent:.0} %")
    }
}

#[cfg(test)]
mod tests;
