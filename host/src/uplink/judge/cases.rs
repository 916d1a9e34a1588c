//! The publishes that wait apart: which do, what waits behind them, and what is passed over.

use std::time::{Duration, Instant};

use super::Judge;
use super::case::{Deferred, DeferredState, Face, MOST, PublishId};
use super::next::NextStep;
use super::next::TRIAL;
use super::wary::Offence;
use crate::uplink::carrier::Refusal;

/// Of one key, at most: a device's thousands are passed over, and stay in their queue.
const MOST_OF_A_KEY: usize = MOST / 2;
/// Below so many those are fetched that were passed over for want of room.
const FEW: usize = MOST / 2;
/// Refused ones that wait for room among the dead letters; others are passed over.
const CROWD: usize = MOST / 2;
/// How long is waited before it is tried again to go back, where something has no answer.
const BACK_AGAIN: Duration = Duration::from_secs(10);

/// What becomes of one whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::uplink) enum Turn {
    Out,
    Aside,
    /// It stays in its queue until sending goes back to it.
    Passed,
}

impl Judge {
    /// What becomes of this one, whose turn it is.
    pub(in crate::uplink) fn turn(&mut self, face: Face, now: Instant) -> Turn {
        self.forget_before(face.place);
        if let Some(case) = self
            .cases
            .iter_mut()
            .find(|case| case.face.place == face.place)
        {
            case.is_here = true;
            return Turn::Aside;
        }
        let of_key = || self.cases.iter().filter(|case| case.face.key == face.key);
        let is_blocked = of_key().any(|case| case.blocks() && case.face.place < face.place);
        let is_passed = self.passed.contains(&face.key);
        let state = match self.wary.kind(face) {
            _ if face.is_own && !self.own_is_good => Some(DeferredState::suspect()),
            Some(Offence::HangUp) if !face.is_own => Some(DeferredState::suspect()),
            Some(Offence::Mute) if !face.is_own => Some(DeferredState::Mute {
                times: 1,
                waited: Duration::ZERO,
            }),
            _ if is_blocked => Some(DeferredState::Behind),
            _ if self.is_one_out(face.key, now) || self.has_its_share(face.key) => {
                Some(DeferredState::Again)
            }
            _ => None,
        };
        let Some(state) = state.or(is_passed.then_some(DeferredState::Behind)) else {
            self.next_out = Some(face);
            return Turn::Out;
        };
        // Those that had no answer fill the list of their own.
        let is_mute = matches!(state, DeferredState::Mute { .. });
        let counts = |case: &&Deferred| is_mute || !case.is_mute();
        let is_full = of_key().filter(counts).count() >= MOST_OF_A_KEY;
        let is_crowded = self.waiting() >= MOST;
        if is_passed || is_full || is_crowded {
            self.has_passed_many |= is_crowded;
            self.passed.insert(face.key);
            return Turn::Passed;
        }
        self.cases.push_back(Deferred {
            face,
            state,
            is_here: true,
            is_out: false,
            probes: 0,
        });
        self.release(face.key);
        Turn::Aside
    }

    /// How many wait apart, without those that had no answer.
    pub(super) fn waiting(&self) -> usize {
        self.cases.iter().filter(|case| !case.is_mute()).count()
    }

    /// Whether as many of a key are under way as may be where any may be refused for the pace: one.
    pub(super) fn is_one_out(&self, key: u64, now: Instant) -> bool {
        let is_recent = |(of, at): &(u64, Instant)| *of == key && now < *at + TRIAL;
        self.pace.is_some_and(|pace| pace.is_strict(now)) && self.out.values().any(is_recent)
    }

    /// Whether a key has its share of the window, where some of it had no answer: the others have the rest.
    pub(super) fn has_its_share(&self, key: u64) -> bool {
        let is_mute = |case: &Deferred| case.face.key == key && case.is_mute();
        let is_out = |(of, _): &&(u64, Instant)| *of == key;
        self.cases.iter().any(is_mute)
            && self.out.values().filter(is_out).count() >= (self.window / 4).max(1)
    }

    /// A queue rises: what would have to come before this place, and did not, is no more.
    fn forget_before(&mut self, (queue, seq): PublishId) {
        let is_over = |case: &Deferred| {
            !case.is_here && case.face.place.0 == queue && case.face.place.1 < seq
        };
        while let Some(place) = self
            .cases
            .iter()
            .find(|case| is_over(case))
            .map(|case| case.face.place)
        {
            self.close(place);
        }
    }

    /// One that waited apart is no more: it has expired, or is another connection's.
    pub(in crate::uplink) fn gone(&mut self, place: PublishId) {
        self.close(place);
    }

    pub(super) fn is_testing(&self, place: PublishId) -> bool {
        self.testing.is_some_and(|test| test.place == place)
    }

    /// Takes a case off the list, whatever became of it, and lets those behind it go on.
    pub(super) fn close(&mut self, place: PublishId) -> Option<Deferred> {
        if self.is_testing(place) {
            self.testing = None;
        }
        let index = self
            .cases
            .iter()
            .position(|case| case.face.place == place)?;
        let case = self.cases.remove(index)?;
        if case.is_out {
            self.own_is_good |= case.face.is_own;
            self.impatient.retain(|(key, _)| *key != case.face.key);
        }
        self.release(case.face.key);
        self.note_room(case.face.key);
        Some(case)
    }

    /// Those of this key that wait for another one go on, if nothing is left before them to wait for.
    pub(super) fn release(&mut self, key: u64) {
        let waits = |case: &&Deferred| {
            let is_slow = matches!(case.state, DeferredState::Suspect { is_slow: true, .. });
            let is_it = matches!(
                case.state,
                DeferredState::Busy { .. } | DeferredState::Suspect { .. }
            );
            case.face.key == key && is_it && !is_slow
        };
        let first = self
            .cases
            .iter()
            .filter(waits)
            .map(|case| case.face.place)
            .min();
        for case in &mut self.cases {
            let is_free = first.is_none_or(|first| case.face.place < first);
            if case.face.key == key && case.state == DeferredState::Behind && is_free {
                case.state = DeferredState::Again;
            }
        }
    }

    /// Whether there is room now for what was passed over.
    pub(super) fn note_room(&mut self, key: u64) {
        if self.passed.is_empty() {
            return;
        }
        let waits = |case: &Deferred| case.face.key == key && case.blocks();
        let is_last = self.passed.contains(&key) && !self.cases.iter().any(waits);
        self.is_back_due |= is_last || (self.has_passed_many && self.waiting() <= FEW);
    }

    /// Refused ones for which the dead letters have no room, above a number: they stay in their queue, and nothing waits for
    /// them.
    pub(in crate::uplink) fn surplus(&mut self) -> Vec<PublishId> {
        let mut kept = 0;
        let mut surplus = Vec::new();
        for case in &self.cases {
            if case.is_here && matches!(case.state, DeferredState::Refused { .. }) {
                kept += 1;
                if kept > CROWD {
                    surplus.push(case.face.place);
                }
            }
        }
        self.has_passed_refused |= !surplus.is_empty();
        self.cases
            .retain(|case| !surplus.contains(&case.face.place));
        surplus
    }

    /// Whether sending goes back to what was passed over; before that, until when answers are waited for.
    pub(super) fn back(&mut self, now: Instant, under_way: usize) -> Option<NextStep> {
        if !self.is_back_due || self.back_at.is_some_and(|at| at > now) {
            return None;
        }
        if let Some(step) = self.noise(now, under_way) {
            return Some(step);
        }
        self.back_at = Some(
            now + if under_way > 0 {
                BACK_AGAIN
            } else {
                Duration::ZERO
            },
        );
        (under_way == 0).then_some(NextStep::Back)
    }

    /// Sending goes back to the first message owed, over the connection that stands, with nothing under way.
    pub(in crate::uplink) fn went_back(&mut self) {
        (self.is_back_due, self.has_passed_many) = (false, false);
        self.has_passed_refused = false;
        self.passed.clear();
        self.out.clear();
        self.cases.retain(|case| {
            let is_ours = matches!(
                case.state,
                DeferredState::Refused {
                    kind: Refusal::Limit,
                    ..
                }
            );
            case.state != DeferredState::Behind && !is_ours
        });
        for case in &mut self.cases {
            (case.is_here, case.is_out) = (false, false);
        }
    }
}

impl DeferredState {
    pub(super) fn suspect() -> Self {
        Self::Suspect {
            strikes: 0,
            lone: 0,
            is_slow: false,
        }
    }
}

impl Deferred {
    pub(super) fn is_mute(&self) -> bool {
        matches!(self.state, DeferredState::Mute { .. })
    }

    /// Whether it was waited for itself, in vain, and is not only of a device of which another one was.
    pub(super) fn has_been_mute(&self) -> bool {
        matches!(self.state, DeferredState::Mute { waited, .. } if !waited.is_zero())
    }

    /// Whether others of its key have to wait for it.
    pub(super) fn blocks(&self) -> bool {
        match self.state {
            DeferredState::Refused { .. }
            | DeferredState::Mute { .. }
            | DeferredState::Suspect { is_slow: true, .. } => false,
            DeferredState::Again => !self.is_out,
            DeferredState::Busy { .. } | DeferredState::Suspect { .. } | DeferredState::Behind => {
                true
            }
        }
    }
}
