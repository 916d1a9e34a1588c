//! The time in which two versions work beside each other: what both have done, and one verdict for all lanes.

pub(crate) mod compare;
pub(crate) mod phase;
pub(crate) mod report;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clock::Clock;
use compare::Comparison;
use phase::{Judgement, KeyShare, Phase};
use report::{ChangeStep, TrialFigures, TrialReport};

/// How a trial stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TrialVerdict {
    Running,
    Confirmed,
    /// The old version stays: where it was decided, and why.
    Failed(ChangeStep, String),
}

/// What both versions did in one lane with the same inputs.
#[derive(Clone, Debug, Default)]
pub(crate) struct LaneComparison {
    pub(crate) old: TrialFigures,
    pub(crate) new: TrialFigures,
    pub(crate) newly_rejected: u64,
    pub(crate) compared: u64,
    pub(crate) differing: u64,
}

#[derive(Debug)]
struct TrialState {
    verdict: TrialVerdict,
    /// The phase and when it began; none while lanes have still to take the candidate in.
    phase: Option<(Phase, Instant)>,
    passed: bool,
    report: TrialReport,
    /// Memory of each lane's instances, the old version's and the new one's.
    memory: Vec<[u64; 2]>,
    pause_us: u64,
    unsettled: usize,
    /// Where the old version goes on from its own state: messages that the candidate had answered, and why.
    parted: Option<(u64, String)>,
}

/// Shared by the lanes and the one who drives the change. The first verdict stands.
#[derive(Debug)]
pub(crate) struct Trial {
    state: Mutex<TrialState>,
    changed: Condvar,
    /// Of the keys for which the candidate's outputs count.
    share: AtomicU64,
    /// Of the keys whose outputs are compared.
    sample: AtomicU64,
    comparison: Mutex<Comparison>,
}

impl Trial {
    /// A trial in so many lanes.
    pub(crate) fn new(lanes: usize) -> Self {
        let report = TrialReport::default();
        let memory = vec![[0; 2]; lanes];
        let state = TrialState {
            verdict: TrialVerdict::Running,
            phase: None,
            passed: false,
            report,
            memory,
            pause_us: 0,
            unsettled: 0,
            parted: None,
        };
        let none = || AtomicU64::new(KeyShare::NONE.0);
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            share: none(),
            sample: none(),
            comparison: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, TrialState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn verdict(&self) -> TrialVerdict {
        self.lock().verdict.clone()
    }

    /// Whether its first phase has begun, or it is over.
    pub(crate) fn has_begun(&self) -> bool {
        let state = self.lock();
        state.phase.is_some() || state.verdict != TrialVerdict::Running
    }

    /// Keys for which the candidate's outputs count now.
    pub(crate) fn share(&self) -> KeyShare {
        KeyShare(self.share.load(Ordering::Acquire))
    }

    /// Keys whose outputs are to be compared now.
    pub(crate) fn sample(&self) -> KeyShare {
        KeyShare(self.sample.load(Ordering::Acquire))
    }

    /// Where differences are counted.
    pub(crate) fn comparison(&self) -> MutexGuard<'_, Comparison> {
        self.comparison
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A lane has taken the candidate in; it keeps both versions until [`Trial::settle`].
    ///
    /// # Errors
    /// The trial is over already.
    pub(crate) fn join(&self) -> Result<(), String> {
        let mut state = self.lock();
        match &state.verdict {
            TrialVerdict::Running => {
                state.unsettled += 1;
                Ok(())
            }
            TrialVerdict::Confirmed => Err("the change is over".to_owned()),
            TrialVerdict::Failed(_, why) => Err(why.clone()),
        }
    }

    /// All lanes have it; so long messages waited at most.
    pub(crate) fn note_pause(&self, pause: Duration) {
        self.lock().pause_us = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
    }

    /// A phase begins: from each lane's next batch on the candidate's outputs count for its share of the keys.
    pub(crate) fn begin(&self, phase: Phase, moment: Instant) {
        let mut state = self.lock();
        (state.report, state.passed) = (TrialReport::default(), false);
        *self.comparison() = Comparison::default();
        self.share.store(phase.share.0, Ordering::Release);
        self.sample.store(phase.sample.0, Ordering::Release);
        state.phase = Some((phase, moment));
    }

    /// Adds what lane number `lane` did until `moment`; a limit that is met ends the trial, and enough of it the phase.
    pub(crate) fn note(&self, lane: usize, work: &LaneComparison, moment: Instant) {
        let mut state = self.lock();
        state.add(lane, work);
        if let Some((phase, begun)) = &state.phase {
            let judgement = phase.judge(&state.report, moment.saturating_duration_since(*begun));
            self.act(&mut state, judgement);
        }
    }

    fn act(&self, state: &mut TrialState, judgement: Judgement) {
        match judgement {
            Judgement::Open => {}
            Judgement::Passed => {
                state.passed = true;
                self.changed.notify_all();
            }
            Judgement::Failed(why) => {
                self.decide(state, |step| TrialVerdict::Failed(step, why));
            }
        }
    }

    /// The old version stays, unless the candidate is confirmed: `true` when it does.
    pub(crate) fn fail(&self, why: impl Into<String>) -> bool {
        self.decide(&mut self.lock(), |step| {
            TrialVerdict::Failed(step, why.into())
        })
    }

    /// The same, and the candidate is not to blame.
    pub(crate) fn cancel(&self, why: impl Into<String>) -> bool {
        self.decide(&mut self.lock(), |_| {
            TrialVerdict::Failed(ChangeStep::Cancel, why.into())
        })
    }

    /// The candidate stays; `false` when it has failed.
    pub(crate) fn confirm(&self) -> bool {
        !self.decide(&mut self.lock(), |_| TrialVerdict::Confirmed)
    }

    /// The present phase ends as if it had gone well; `false` when there is none.
    pub(crate) fn promote(&self) -> bool {
        let mut state = self.lock();
        let running = state.verdict == TrialVerdict::Running && state.phase.is_some();
        state.passed |= running;
        self.changed.notify_all();
        running
    }

    /// The first verdict stands; `true` when it is a failure.
    fn decide(
        &self,
        state: &mut TrialState,
        verdict: impl FnOnce(ChangeStep) -> TrialVerdict,
    ) -> bool {
        if state.verdict == TrialVerdict::Running {
            state.verdict = verdict(
                state
                    .phase
                    .as_ref()
                    .map_or(ChangeStep::Commit, |(phase, _)| phase.step),
            );
            self.changed.notify_all();
        }
        matches!(state.verdict, TrialVerdict::Failed(..))
    }

    /// In a lane the old version goes on from its own state though the candidate has answered so many messages.
    pub(crate) fn note_parted(&self, messages: u64, why: String) {
        let mut state = self.lock();
        let (all, _) = state.parted.get_or_insert((0, why));
        *all += messages;
    }

    /// In words: what of the state did not come back with the old version.
    pub(crate) fn parted(&self) -> Option<String> {
        let state = self.lock();
        let (messages, why) = state.parted.as_ref()?;
        Some(format!(
            "the version before goes on from its own state ({why}): what the other told of {messages} messages may be told again, or be missing"
        ))
    }

    /// A lane has acted on the verdict: one of the two versions is gone from it.
    pub(crate) fn settle(&self) {
        let mut state = self.lock();
        state.unsettled = state.unsettled.saturating_sub(1);
        self.changed.notify_all();
    }

    /// Waits until the phase is passed (`true`) or the trial has failed.
    pub(crate) fn passed(&self, clock: &Clock) -> bool {
        let mut state = self.lock();
        loop {
            if state.verdict != TrialVerdict::Running || state.passed {
                return state.verdict == TrialVerdict::Running;
            }
            let Some((phase, begun)) = &state.phase else {
                return false;
            };
            let elapsed = clock.since(*begun);
            let judgement = phase.judge(&state.report, elapsed);
            if judgement != Judgement::Open {
                self.act(&mut state, judgement);
                continue;
            }
            state = match phase.time {
                Some(time) => {
                    self.changed
                        .wait_timeout(state, time.saturating_sub(elapsed))
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                None => self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Both versions beside each other in the present phase, until `moment`; `None` before the first.
    pub(crate) fn report(&self, moment: Instant) -> Option<TrialReport> {
        let state = self.lock();
        let (phase, begun) = state.phase.as_ref()?;
        let elapsed_ms =
            u64::try_from(moment.saturating_duration_since(*begun).as_millis()).unwrap_or(u64::MAX);
        let differences = (phase.sample != KeyShare::NONE).then(|| self.comparison().clone());
        Some(TrialReport {
            elapsed_ms,
            pause_us: state.pause_us,
            differences,
            ..state.report.clone()
        })
    }

    /// Waits until every lane has acted on the verdict; `false` when some have not within `limit`.
    pub(crate) fn settled(&self, limit: Duration) -> bool {
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), limit, |state| state.unsettled > 0);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl TrialState {
    fn add(&mut self, lane: usize, work: &LaneComparison) {
        self.report.old.add(&work.old);
        self.report.new.add(&work.new);
        self.report.newly_rejected += work.newly_rejected;
        self.report.compared += work.compared;
        self.report.differing += work.differing;
        self.memory[lane] = [work.old.memory_bytes, work.new.memory_bytes];
        let sum = |version: usize| self.memory.iter().map(|lane| lane[version]).sum();
        (self.report.old.memory_bytes, self.report.new.memory_bytes) = (sum(0), sum(1));
    }
}

#[cfg(test)]
mod tests;
