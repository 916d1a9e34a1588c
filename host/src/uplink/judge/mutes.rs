//! What is made of answers that do not come.

use std::time::{Duration, Instant};

use super::Judge;
use super::case::{Deferred, DeferredState, Face, MOST_MUTE, PublishId};
use super::next::TRIAL;
use super::wary::Offence;

/// Where one takes the whole window, so that all others wait for it: for how long in all it is waited for, if others are answered.
const WHOLE: Duration = Duration::from_secs(10);
/// How long others are sent before the next one is tried then: doubles after so many in vain, to the second.
const BETWEEN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(10));
const IN_VAIN: u32 = 3;

impl Judge {
    /// Whether this one had no answer before.
    pub(in crate::uplink) fn is_known_mute(&self, place: PublishId) -> bool {
        self.cases
            .iter()
            .any(|case| case.face.place == place && case.is_mute())
    }

    /// How many of those are under way: nobody waits for them.
    pub(in crate::uplink) fn mutes_out(&self) -> usize {
        self.cases
            .iter()
            .filter(|case| case.is_out && case.is_mute())
            .count()
    }

    /// Of those under way the one that was taken for one without an answer and has not been waited for yet, or not for longer than a
    /// suspect is: where nothing else is under way, a connection may have ended over it. Those that were least waited for come first.
    pub(super) fn untried_mute(&self) -> Option<Face> {
        let untried = self.cases.iter().filter_map(|case| match case.state {
            DeferredState::Mute { waited, .. } if case.is_out && waited <= TRIAL => {
                Some((waited, case.face.place, case.face))
            }
            _ => None,
        });
        untried
            .min_by_key(|(waited, place, _)| (*waited, *place))
            .map(|(_, _, face)| face)
    }

    /// Whether upstream answers nothing, as far as is known.
    pub(in crate::uplink) fn is_mute(&self) -> bool {
        self.is_mute
    }

    /// An answer took so long.
    pub(in crate::uplink) fn took(&mut self, time: Duration) {
        self.stillness.took(time);
    }

    /// How long nothing may be acknowledged before upstream is asked whether it reads, where an answer takes `usual`.
    pub(in crate::uplink) fn quiet(&self, usual: Duration, now: Instant) -> Duration {
        self.stillness.quiet(usual, now)
    }

    /// How long it may then go on to acknowledge nothing, while `under_way` publishes are under way. A trial gets its time.
    pub(in crate::uplink) fn stall(&self, under_way: usize, now: Instant) -> Duration {
        let stall = self.stillness.stall(now);
        let is_tried = |case: &Deferred| case.is_out && case.has_been_mute();
        if under_way <= self.mutes_out() && self.cases.iter().any(is_tried) {
            stall.max(TRIAL)
        } else {
            stall
        }
    }

    /// The connection stalled: what is under way is to be told as unanswered.
    pub(in crate::uplink) fn stalled(&mut self, now: Instant) {
        self.stillness.stalled(now);
        self.has_stalled = true;
        if self.widest < 2 && self.mutes_out() > 0 {
            self.in_vain = self.in_vain.saturating_add(1);
        }
    }

    /// Upstream answered what it was asked beside the account.
    pub(in crate::uplink) fn spoke(&mut self) {
        self.is_mute = false;
    }

    /// A suspect was tried, and neither was it answered nor did the connection end: it is not what upstream ends connections
    /// over, and nobody waits for it.
    pub(super) fn held_its_peace(&mut self, place: PublishId) {
        let Some(case) = self.cases.iter_mut().find(|case| case.face.place == place) else {
            return;
        };
        case.state = DeferredState::Mute {
            times: 1,
            waited: TRIAL,
        };
        let key = case.face.key;
        self.release(key);
    }

    /// There was no answer to this publish, for so long; an answer may take `patience`. Whether it is convicted.
    pub(in crate::uplink) fn unanswered(
        &mut self,
        face: Face,
        waited: Duration,
        patience: Duration,
    ) -> bool {
        self.is_mute = !self.has_delivered;
        self.out.remove(&face.place);
        let index = self
            .cases
            .iter()
            .position(|case| case.face.place == face.place);
        let known = index.and_then(|index| self.cases.remove(index));
        let (before, probes) = known.map_or((None, 0), |case| (Some(case.state), case.probes));
        let (times, waited) = match before {
            Some(DeferredState::Mute {
                times,
                waited: before,
            }) => (times + 1, before + waited),
            _ => (1, waited),
        };
        let enough = if self.widest < 2 {
            patience.min(WHOLE)
        } else {
            patience
        };
        if times > 1 && waited >= enough && self.has_delivered {
            self.convict(face, Offence::Mute);
            return true;
        }
        if self.cases.iter().filter(|case| case.is_mute()).count() < MOST_MUTE {
            let probes = probes + u32::from(self.hold.is_some());
            self.cases.push_back(Deferred {
                face,
                state: DeferredState::Mute { times, waited },
                is_here: false,
                is_out: false,
                probes,
            });
            self.has_learned |= self.has_delivered;
        }
        self.release(face.key);
        false
    }

    /// One that had no answer before, to be sent again after others went for so long: not too many, so that others have room.
    pub(super) fn mute(&self, now: Instant, window: usize, flow: Duration) -> Option<PublishId> {
        let is_time = flow.is_zero() || (self.has_delivered && now >= self.began + flow);
        if !is_time || self.mutes_out() >= (window / 2).max(1) {
            return None;
        }
        let may_be_tried = self.next_trial().is_none_or(|at| at <= now);
        let is_ready = |case: &&Deferred| {
            let may_go = may_be_tried || !case.has_been_mute();
            case.is_here && !case.is_out && case.is_mute() && may_go
        };
        // None goes ahead of its key, but of such as were sent already.
        let goes_ahead = |other: &Deferred, case: &Deferred| {
            let is_of_its_key = other.face.key == case.face.key;
            let waits = other.is_mute() && !other.is_out;
            waits && is_of_its_key && other.face.place < case.face.place
        };
        let is_first = |case: &&Deferred| !self.cases.iter().any(|other| goes_ahead(other, case));
        let times = |case: &Deferred| match case.state {
            DeferredState::Mute { times, .. } => times,
            _ => 0,
        };
        let ready = self.cases.iter().filter(is_ready).filter(is_first);
        // Those that were tried less often are more likely to be innocent, and others wait for them.
        ready
            .map(|case| (times(case), case.face.place))
            .min()
            .map(|(_, place)| place)
    }

    /// From when on one may be tried again that had no answer, where it takes the whole window.
    pub(super) fn next_trial(&self) -> Option<Instant> {
        let times = 1_u32
            .checked_shl(self.in_vain / IN_VAIN)
            .unwrap_or(u32::MAX);
        let pause = BETWEEN.0.saturating_mul(times).min(BETWEEN.1);
        (self.widest < 2).then(|| self.began + pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Seq;

    #[test]
    fn those_that_were_tried_least_come_first_and_none_ahead_of_its_key() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut judge = Judge::new(now);
        judge.widest = 100;
        let face = |seq: u64, key: u64| Face {
            place: (0, Seq(seq)),
            key,
            topic: key,
            is_own: false,
        };
        // All were in one request that had no answer; then the first one had none by itself.
        let all = [face(1, 7), face(2, 7), face(3, 8), face(4, 9)];
        for one in [all[0], all[1], all[2], all[3], all[0]] {
            assert!(!judge.unanswered(one, second, 30 * second));
        }
        let mut order = Vec::new();
        for case in &mut judge.cases {
            case.is_here = true;
        }
        while let Some(place) = judge.mute(now, 100, Duration::ZERO) {
            order.push(place.1.0);
            let case = judge.cases.iter_mut().find(|case| case.face.place == place);
            case.unwrap().is_out = true;
        }
        assert_eq!(order, [3, 4, 1, 2]);
    }
}
