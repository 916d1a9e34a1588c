//! The time after a swap in which the old version waits: one verdict for all lanes.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How a trial stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Lanes have still to show their first batch.
    Running,
    /// The new version stays.
    Confirmed,
    /// The old version comes back, and why.
    Failed(String),
}

#[derive(Debug)]
struct State {
    verdict: Verdict,
    absent: usize,
    unproven: usize,
    unsettled: usize,
}

/// Shared by the lanes and the one who drives the swap. The first verdict stands.
#[derive(Debug)]
pub(super) struct Trial {
    state: Mutex<State>,
    changed: Condvar,
}

impl Trial {
    /// A trial in so many lanes.
    pub(super) fn new(lanes: usize) -> Self {
        let state = State { verdict: Verdict::Running, absent: lanes, unproven: lanes, unsettled: 0 };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it stands.
    pub(super) fn verdict(&self) -> Verdict {
        self.lock().verdict.clone()
    }

    /// A lane has put the new version to work; it keeps the old one until [`Trial::settle`].
    ///
    /// # Errors
    /// The trial is over already.
    pub(super) fn join(&self) -> Result<(), String> {
        let mut state = self.lock();
        match &state.verdict {
            Verdict::Running => {
                state.absent = state.absent.saturating_sub(1);
                state.unsettled += 1;
                Ok(())
            }
            Verdict::Confirmed => Err("the trial is over".to_owned()),
            Verdict::Failed(why) => Err(why.clone()),
        }
    }

    /// A lane's first batch with the new version succeeded; after the last lane's it stays.
    pub(super) fn prove(&self) {
        let mut state = self.lock();
        state.unproven = state.unproven.saturating_sub(1);
        if state.unproven == 0 {
            self.decide(state, Verdict::Confirmed);
        }
    }

    /// A lane cannot remember more of what the new version was told. That has proven enough, unless a lane has not
    /// even begun with it: two versions for good are not an end.
    pub(super) fn outgrow(&self) {
        let state = self.lock();
        let begun = state.absent == 0;
        let late = || Verdict::Failed("a lane took too long to begin with the new version".to_owned());
        self.decide(state, if begun { Verdict::Confirmed } else { late() });
    }

    /// The old version comes back, unless the new one is confirmed. The answer is how it stands then.
    pub(super) fn fail(&self, why: impl Into<String>) -> Verdict {
        self.decide(self.lock(), Verdict::Failed(why.into()))
    }

    /// The present phase ends as if it had gone well; `false` when it is over.
    pub(super) fn promote(&self) -> bool {
        let state = self.lock();
        state.verdict == Verdict::Running && state.absent == 0 && self.decide(state, Verdict::Confirmed) == Verdict::Confirmed
    }

    fn decide(&self, mut state: MutexGuard<'_, State>, verdict: Verdict) -> Verdict {
        if state.verdict == Verdict::Running {
            state.verdict = verdict;
            self.changed.notify_all();
        }
        state.verdict.clone()
    }

    /// A lane has acted on the verdict: one of the two versions is gone from it.
    pub(super) fn settle(&self) {
        let mut state = self.lock();
        state.unsettled = state.unsettled.saturating_sub(1);
        self.changed.notify_all();
    }

    /// Waits for a verdict until `deadline`; without one by then the new version stays.
    pub(super) fn decided(&self, deadline: Instant) -> Verdict {
        let mut state = self.lock();
        while state.verdict == Verdict::Running {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return self.decide(state, Verdict::Confirmed);
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.verdict.clone()
    }

    /// Waits until every lane has acted on the verdict; `false` when some have not by `deadline`.
    pub(super) fn settled(&self, deadline: Instant) -> bool {
        let mut state = self.lock();
        while state.unsettled > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_takes_every_lane_to_confirm_and_one_to_fail() {
        let trial = Trial::new(2);
        trial.prove();
        assert_eq!(trial.verdict(), Verdict::Running);
        trial.prove();
        assert_eq!(trial.verdict(), Verdict::Confirmed);

        let trial = Trial::new(2);
        trial.prove();
        assert_eq!(trial.fail("trap"), Verdict::Failed("trap".to_owned()));
        trial.prove();
        trial.outgrow();
        assert_eq!(trial.fail("again"), Verdict::Failed("trap".to_owned()));
        assert_eq!(trial.join(), Err("trap".to_owned()));
    }

    #[test]
    fn a_failure_after_the_verdict_changes_nothing() {
        let trial = Trial::new(1);
        trial.prove();
        assert_eq!(trial.fail("late"), Verdict::Confirmed);
    }

    #[test]
    fn a_lane_that_remembers_no_more_confirms_when_all_have_begun() {
        let trial = Trial::new(2);
        trial.join().unwrap();
        trial.join().unwrap();
        trial.outgrow();
        assert_eq!(trial.verdict(), Verdict::Confirmed);

        let trial = Trial::new(2);
        trial.join().unwrap();
        trial.outgrow();
        assert!(matches!(trial.verdict(), Verdict::Failed(why) if why.contains("too long")));
    }

    #[test]
    fn without_traffic_the_deadline_confirms() {
        let trial = Trial::new(3);
        assert_eq!(trial.decided(Instant::now()), Verdict::Confirmed);
    }

    #[test]
    fn it_is_settled_when_the_lanes_that_joined_have_acted() {
        let trial = Trial::new(2);
        assert!(trial.settled(Instant::now()));
        trial.join().unwrap();
        assert!(!trial.settled(Instant::now()));
        std::thread::scope(|scope| {
            scope.spawn(|| trial.settle());
            assert!(trial.settled(Instant::now() + Duration::from_secs(60)));
        });
    }
}
