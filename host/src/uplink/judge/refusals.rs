//! What is made of refusals, and which of them become dead letters.

use std::time::{Duration, Instant};

use super::case::{
    ANSWERS, Deferred, DeferredState, Face, Hold, ONE_IN, PATIENCE, PROBE, PublishId, RETRY, ROUND,
};
use super::next::ALONE;
use super::pace::Pace;
use super::{Judge, remember};
use crate::uplink::carrier::Refusal;

/// How long one that is refused as too much is tried, where that went before a dead letter of its key.
const IMPATIENCE: Duration = Duration::from_secs(2);
/// For how long a key is known by one that was given up so.
const IMPATIENT: Duration = Duration::from_secs(30);
/// Pause before the second time that such a one is sent again; the first time is at once.
const SOON: Duration = Duration::from_millis(50);

impl Judge {
    /// Upstream refused a publish, or it cannot be sent.
    pub(in crate::uplink) fn refused(
        &mut self,
        face: Face,
        kind: Refusal,
        detail: String,
        now: Instant,
    ) {
        self.out.remove(&face.place);
        if kind == Refusal::Untried {
            return self.untried(face);
        }
        self.note_refusal(face, kind, &detail);
        let is_sure = kind == Refusal::Unfit
            || (self.is_testing(face.place) && self.has_delivered && kind == Refusal::Final);
        if self.is_testing(face.place) {
            self.testing = None;
        }
        let index = self
            .cases
            .iter()
            .position(|case| case.face.place == face.place);
        let known = index.and_then(|index| self.cases.remove(index));
        let is_probe = self.hold.is_some() && !kind.is_ours();
        let before = known.as_ref().map(|case| &case.state);
        let state = match self.pauses(face, kind, before, now) {
            _ if is_probe => DeferredState::Again,
            Some(state) => state,
            None => DeferredState::Refused {
                detail,
                // What is to be compared with is sent at once: a while later upstream might take either.
                since: if kind == Refusal::Quota {
                    now.checked_sub(ALONE).unwrap_or(now)
                } else {
                    now
                },
                is_sure,
                kind,
            },
        };
        let probes = known.map_or(0, |case| case.probes) + u32::from(is_probe);
        self.lay_aside(face, state, probes);
        if let Some(hold) = self.hold.as_mut().filter(|_| is_probe) {
            hold.tried += 1;
            if hold.tried >= ROUND.min(self.cases.len()) {
                (hold.tried, hold.next) = (0, Some(now + hold.pause));
                hold.pause = (hold.pause * 2).min(PROBE.1);
            }
        }
    }

    fn lay_aside(&mut self, face: Face, state: DeferredState, probes: u32) {
        self.cases.push_back(Deferred {
            face,
            state,
            is_here: true,
            is_out: false,
            probes,
        });
        self.release(face.key);
        self.note_room(face.key);
    }

    /// It was not sent after all: it waits as it did before, or for another turn.
    fn untried(&mut self, face: Face) {
        if self.is_testing(face.place) {
            self.testing = None;
        }
        let index = self
            .cases
            .iter()
            .position(|case| case.face.place == face.place);
        let known = index.and_then(|index| self.cases.remove(index));
        let (state, probes) =
            known.map_or((DeferredState::Again, 0), |case| (case.state, case.probes));
        self.lay_aside(face, state, probes);
    }

    fn note_refusal(&mut self, face: Face, kind: Refusal, detail: &str) {
        if self.hold.is_none() {
            detail.clone_into(&mut self.why);
        }
        if !kind.is_ours() {
            self.last_refused = Some(face);
            self.answered = self.answered.saturating_add(1);
        }
        match kind {
            Refusal::Unfit | Refusal::Untried => return,
            // It is said of the pace, so it does not put upstream as a whole in doubt.
            Refusal::Quota => self.row = self.row.max(1),
            Refusal::Final | Refusal::Busy | Refusal::Limit => {
                self.row = self.row.saturating_add(1);
            }
        }
        self.count(true);
    }

    /// What is refused for now waits, and is sent again; `None` when it was tried for long enough.
    fn pauses(
        &mut self,
        face: Face,
        kind: Refusal,
        before: Option<&DeferredState>,
        now: Instant,
    ) -> Option<DeferredState> {
        let is_quota = kind == Refusal::Quota;
        if !is_quota && kind != Refusal::Busy {
            return None;
        }
        let is_recent = |(key, at): &(u64, Instant)| *key == face.key && now < *at + IMPATIENT;
        let is_impatient = self.impatient.iter().any(is_recent);
        let Some(DeferredState::Busy { since, pause, .. }) = before else {
            if is_quota {
                self.too_much(now);
            }
            let pause = if is_quota { Duration::ZERO } else { RETRY.0 };
            return (is_quota || !is_impatient).then(|| DeferredState::Busy {
                since: now,
                next: now + pause,
                pause,
                is_quota,
            });
        };
        let (mut since, patience) = if is_quota && is_impatient {
            (*since, IMPATIENCE)
        } else {
            (*since, PATIENCE)
        };
        if is_quota {
            // One that is refused again and again, while others are not, is no sign of the pace.
            if *pause <= SOON || self.is_starved() {
                self.too_much(now);
            } else {
                self.pace.iter_mut().for_each(|pace| pace.turn(now));
            }
            let pace = self
                .pace
                .filter(|pace| pace.is_starved() || pace.has_relented_since(since));
            since = pace.map_or(since, |_| now);
        }
        if now >= since + patience {
            self.impatient.retain(|(key, _)| *key != face.key);
            remember(&mut self.impatient, (face.key, now));
            return None;
        }
        let pause = if is_quota && self.pace.is_some_and(|pace| pace.is_strict(now)) {
            (*pause * 2).clamp(SOON, SOON * 4)
        } else {
            (*pause * 2).clamp(if is_quota { SOON } else { RETRY.0 }, RETRY.1)
        };
        Some(DeferredState::Busy {
            since,
            next: now + pause,
            pause,
            is_quota,
        })
    }

    /// Upstream says that it was too much.
    pub(super) fn too_much(&mut self, now: Instant) {
        if self.hold.is_some() {
            return;
        }
        self.settles |= self.pace.is_none();
        self.pace.get_or_insert_with(|| Pace::new(now)).refused(now);
    }

    /// One was accepted. While none was, nothing is known of those that were refused.
    pub(super) fn keep_pace(&mut self, now: Instant) {
        if self.is_starved() {
            self.relent(now);
        }
        self.pace.iter_mut().for_each(|pace| pace.accepted(now));
    }

    /// What was taken for refused for good is sent again: it was too much, perhaps. The others have all their time again.
    pub(super) fn relent(&mut self, now: Instant) {
        for case in &mut self.cases {
            if let DeferredState::Busy {
                since,
                is_quota: true,
                ..
            } = &mut case.state
            {
                *since = now;
            }
            if let DeferredState::Refused {
                kind: Refusal::Quota,
                ..
            } = case.state
            {
                case.state = DeferredState::Busy {
                    since: now,
                    next: now,
                    pause: SOON,
                    is_quota: true,
                };
            }
        }
    }

    /// Whether upstream takes nothing, and says that it is too much.
    pub(in crate::uplink) fn is_starved(&self) -> bool {
        self.pace.is_some_and(|pace| pace.is_starved())
    }

    /// Whether upstream takes only so many in a time.
    pub(in crate::uplink) fn is_paced(&self) -> bool {
        self.pace
            .is_some_and(|pace| pace.has_relented() || pace.ends_connections())
    }

    pub(super) fn hold(&mut self, now: Instant) {
        for case in &mut self.cases {
            let is_suspect =
                matches!(case.state, DeferredState::Suspect { .. }) && !case.face.is_own;
            let is_refused =
                matches!(&case.state, DeferredState::Refused { kind, .. } if !kind.is_ours());
            if is_suspect || is_refused || matches!(case.state, DeferredState::Busy { .. }) {
                case.state = DeferredState::Again;
            }
        }
        let next = Some(now + PROBE.0);
        self.hold.get_or_insert(Hold {
            since: now,
            pause: PROBE.0,
            next,
            proofs: 0,
            tried: 0,
            is_next: false,
            is_hung_up: false,
            is_by_hang_ups: false,
        });
    }

    /// Those that are refused for good while upstream takes others: to be parked, as far as there is room, the first
    /// ones first. What has no room stays.
    pub(in crate::uplink) fn proven(
        &mut self,
        mut has_room: impl FnMut(PublishId) -> bool,
    ) -> Vec<(PublishId, String)> {
        let mut parked = Vec::new();
        while let Some(place) = self
            .cases
            .iter()
            .find(|case| self.is_proven(case))
            .map(|case| case.face.place)
        {
            if !has_room(place) {
                break;
            }
            if let Some(Deferred {
                state: DeferredState::Refused { detail, .. },
                ..
            }) = self.close(place)
            {
                parked.push((place, detail));
            }
        }
        let is_refused = |case: &Deferred| matches!(case.state, DeferredState::Refused { .. });
        self.is_back_due |= self.has_passed_refused && !self.cases.iter().any(is_refused);
        parked
    }

    fn is_proven(&self, case: &Deferred) -> bool {
        let DeferredState::Refused { is_sure, kind, .. } = case.state else {
            return false;
        };
        kind == Refusal::Unfit
            || self.hold.is_none() && (is_sure || (self.row == 0 && self.has_delivered))
    }

    /// Whether something is refused and could not be parked, though upstream takes others.
    pub(in crate::uplink) fn is_crowded(&self) -> bool {
        self.cases.iter().any(|case| self.is_proven(case))
    }

    /// Since when upstream takes nothing.
    pub(in crate::uplink) fn held_since(&self) -> Option<Instant> {
        self.hold.map(|hold| hold.since)
    }

    /// Whether somebody should look: nothing is taken, or too little.
    pub(in crate::uplink) fn is_alarming(&self) -> bool {
        self.hold.is_some()
            || self.is_starved()
            || self.is_mute
            || self.is_fruitless()
            || (self.answers >= ANSWERS && self.refused * ONE_IN > self.answers)
    }

    pub(super) fn count(&mut self, is_refused: bool) {
        if self.answers >= 2 * ANSWERS {
            self.answers /= 2;
            self.refused /= 2;
        }
        self.answers += 1;
        self.refused += u32::from(is_refused);
    }
}
