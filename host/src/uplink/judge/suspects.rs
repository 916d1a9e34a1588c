//! What is made of connections that end.

use std::time::{Duration, Instant};

use super::case::{Deferred, DeferredState, Face, LONE, PublishId};
use super::next::TRIAL;
use super::pace::Pace;
use super::wary::Offence;
use super::{Judge, remember};

/// Suspects at a time when nothing was accepted in between: upstream takes nothing, and none of them is to blame.
const SUSPECTS: usize = 32;
/// Dials that may follow at once upon the one before, and how long it takes until one more may.
const HASTY: u32 = 32;
/// Such ones more where messages without an answer are found, which takes a while each time.
const HASTY_MUTE: u32 = 32;
const HASTY_AGAIN: Duration = Duration::from_secs(1);
/// Trials that end the connection before one is convicted.
const STRIKES: u32 = 2;
/// Suspects that were then taken, for each of which as many trials more are asked for, and how many at most: here connections
/// end for other reasons too.
const ACQUITTED: u32 = 2;
const MORE_STRIKES: u32 = 2;
/// What ends connections again and again after the same number of answers is that number, if it is not smaller than this,
/// and not a message. So many of the last ends are looked at.
const MANY: u32 = 3;
const ENDS: usize = 4;
/// So many alike in a row are the number for sure, though upstream says that it is too much.
const SURE_ENDS: usize = 8;
/// Connections in a row that ended with nothing accepted, at which somebody should look.
const FRUITLESS: u32 = 5;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::uplink) struct ConnectionEnd {
    /// The peer ended it; otherwise it was given up, since nothing came any more.
    pub(in crate::uplink) is_hang_up: bool,
    /// It said that what it was sent was too much, or too fast.
    pub(in crate::uplink) is_too_much: bool,
    /// Publishes without an answer.
    pub(in crate::uplink) under_way: usize,
}

/// When the next dial may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::uplink) enum Haste {
    /// Others wait, it is known what it begins without, and it was not upstream that ended the one before.
    Now,
    /// Others wait, and it is known what it begins without.
    AtOnce,
    /// As after a first failure.
    Soon,
    /// As after one failure more.
    Later,
}

impl Judge {
    /// The connection ended, while `first` was the first message without an answer. Gives the one that is convicted.
    pub(in crate::uplink) fn ended(
        &mut self,
        first: Option<Face>,
        end: ConnectionEnd,
        now: Instant,
    ) -> Option<PublishId> {
        self.has_learned = false;
        let is_by_number = end.is_hang_up && self.is_by_number();
        if end.is_too_much && self.is_for_the_pace(first, now) {
            return None;
        }
        if end.is_hang_up
            && !self.has_delivered
            && (first.or(self.last_refused).is_some() || self.comparing_since.is_some())
        {
            self.fruitless = self.fruitless.saturating_add(1);
        }
        if let Some(test) = self.testing.take() {
            if test.is_slow && !test.is_passed {
                // It, or one of those that have just gone after it: next time others go beside it from the start, and show.
                if test.began_slow {
                    self.held_its_peace(test.place);
                }
                return None;
            }
            return if is_by_number {
                None
            } else {
                self.strike(test.place, end)
            };
        }
        if self.comparing_since.is_some() {
            self.skips_comparison = true;
            if self.compares_with_sample {
                // It ends connections over what it took before: the trouble is its own.
                self.cases
                    .retain(|case| !matches!(case.state, DeferredState::Suspect { .. }));
            }
            return None;
        }
        // Some refuse, and hang up upon it; nothing else is suspected then.
        let is_parked = |face: &Face| !self.cases.iter().any(|case| case.face.place == face.place);
        if self.last_refused.as_ref().is_some_and(is_parked) {
            return None;
        }
        let is_over_a_mute = end.is_hang_up && self.hold.is_none();
        let mute = || self.untried_mute().filter(|_| is_over_a_mute);
        let face = self.last_refused.or(first).or_else(mute)?;
        if self.hold.is_some() {
            self.failed_probe(face);
            return None;
        }
        if !self.suspect(face) {
            return None;
        }
        let is_sole = self.last_refused.is_some() || end.under_way == 1;
        if is_sole && end.is_hang_up && !end.is_too_much && !is_by_number {
            self.strike(face.place, end)
        } else {
            None
        }
    }

    /// Whether upstream ends connections over what is too much.
    pub(super) fn ends_for_the_pace(&self) -> bool {
        self.pace.is_some_and(|pace| pace.ends_connections())
    }

    /// Upstream says that it was too much: whether the pace is all that it is about. Where the same message is the first one
    /// again it may be that message; one that is tried goes alone, after a while, and is not too much for any pace.
    fn is_for_the_pace(&mut self, first: Option<Face>, now: Instant) -> bool {
        let mut ends = self.ended_after.iter();
        let is_the_number = self.ended_after.len() == SURE_ENDS
            && self.answered >= MANY
            && ends.all(|answered| *answered == self.answered);
        if is_the_number || self.hold.is_some() || self.testing.is_some() {
            return false;
        }
        let is_again =
            first.is_some_and(|face| self.doubted.replace(face.place) == Some(face.place));
        let pace = self.pace.get_or_insert_with(|| Pace::of_ends(now));
        pace.ended(is_again, now);
        !is_again && self.comparing_since.is_none()
    }

    /// Whether a connection ended before after as many answers as this one, which ends now.
    fn is_by_number(&mut self) -> bool {
        let is_alike = self.ended_before_after(self.answered);
        self.ended_after.push_back(self.answered);
        if self.ended_after.len() > SURE_ENDS {
            self.ended_after.pop_front();
        }
        self.is_early_due |= is_alike;
        is_alike
    }

    /// Whether one of the last connections ended after as many answers, and not only a few.
    pub(super) fn ended_before_after(&self, answered: u32) -> bool {
        let mut last = self.ended_after.iter().rev().take(ENDS);
        answered >= MANY && last.any(|before| *before == answered)
    }

    /// Whether connections end for other reasons too: suspects were taken again and again.
    pub(in crate::uplink) fn is_shaky(&self) -> bool {
        self.acquitted >= ACQUITTED
    }

    /// Whether it is suspected: where connections end for other reasons too, the second time.
    fn suspect(&mut self, face: Face) -> bool {
        let is_known = |case: &Deferred| {
            case.face.place == face.place && matches!(case.state, DeferredState::Suspect { .. })
        };
        if self.cases.iter().any(is_known) {
            return true;
        }
        self.has_learned = true;
        if self.is_shaky() && self.doubted.replace(face.place) != Some(face.place) {
            return false;
        }
        self.cases.retain(|case| case.face.place != face.place);
        self.cases.push_back(Deferred {
            face,
            state: DeferredState::suspect(),
            is_here: false,
            is_out: false,
            probes: 0,
        });
        let suspects = self
            .cases
            .iter()
            .filter(|case| matches!(case.state, DeferredState::Suspect { .. }))
            .count();
        if suspects > SUSPECTS && !self.has_delivered {
            "it ends the connection over whatever it is sent".clone_into(&mut self.why);
            self.hold(self.began);
            self.hold
                .iter_mut()
                .for_each(|hold| hold.is_by_hang_ups = true);
        }
        true
    }

    /// Upstream, which takes nothing, ended the connection: other ones are tried before this one.
    fn failed_probe(&mut self, face: Face) {
        let index = self
            .cases
            .iter()
            .position(|case| case.face.place == face.place);
        let known = index.and_then(|index| self.cases.remove(index));
        let probes = 1 + known.map_or(0, |case| case.probes);
        self.cases.push_back(Deferred {
            face,
            state: DeferredState::Again,
            is_here: false,
            is_out: false,
            probes,
        });
        if let Some(hold) = &mut self.hold {
            hold.is_hung_up = true;
        }
    }

    fn strike(&mut self, place: PublishId, end: ConnectionEnd) -> Option<PublishId> {
        let has_delivered = self.has_delivered;
        let case = self
            .cases
            .iter_mut()
            .find(|case| case.face.place == place)?;
        let DeferredState::Suspect { strikes, lone, .. } = &mut case.state else {
            return None;
        };
        self.skips_comparison = false;
        *if has_delivered {
            &mut *strikes
        } else {
            &mut *lone
        } += 1;
        let strikes = *strikes;
        let face = case.face;
        let is_guilty = strikes >= self.enough(face, end);
        if is_guilty {
            self.convict(face, Offence::HangUp);
        }
        is_guilty.then_some(place)
    }

    /// How many strikes convict.
    fn enough(&self, face: Face, end: ConnectionEnd) -> u32 {
        if face.is_own {
            STRIKES
        } else if end.is_hang_up && self.wary.is_sure(face) {
            1
        } else {
            STRIKES + (self.acquitted / ACQUITTED).min(MORE_STRIKES) + u32::from(!end.is_hang_up)
        }
    }

    pub(super) fn convict(&mut self, face: Face, kind: Offence) {
        (self.has_convicted, self.acquitted) = (true, 0);
        if face.is_own {
            remember(&mut self.barred, face.topic);
        } else {
            self.wary.convicted(face, kind, self.began);
        }
        self.cases.retain(|case| case.face.place != face.place);
        self.release(face.key);
        self.note_room(face.key);
    }

    /// When the next dial may come, after the connection ended.
    pub(in crate::uplink) fn haste(&mut self, now: Instant) -> Haste {
        let more = now.saturating_duration_since(self.hasty.1).as_secs() / HASTY_AGAIN.as_secs();
        if more > 0 {
            let left = self
                .hasty
                .0
                .saturating_add(u32::try_from(more).unwrap_or(u32::MAX))
                .min(HASTY + HASTY_MUTE);
            self.hasty = (left, now);
        }
        let is_progress = self.has_learned || self.has_convicted || self.has_struck();
        let (haste, kept) = if self.has_stalled {
            (Haste::Now, 0)
        } else {
            (Haste::AtOnce, HASTY_MUTE)
        };
        if is_progress && self.hold.is_none() && self.hasty.0 > kept {
            self.hasty.0 -= 1;
            return haste;
        }
        // Where nothing is taken the pauses are between messages, so that a new one finds a connection.
        let has_pauses = self.hold.is_some_and(|hold| hold.is_hung_up)
            || self.fruitless > 0
            || self.ends_for_the_pace();
        if self.has_delivered || self.has_convicted || has_pauses {
            Haste::Soon
        } else {
            Haste::Later
        }
    }

    /// Whether the connection ended over one that was tried after others.
    fn has_struck(&self) -> bool {
        self.has_delivered
            && self
                .cases
                .iter()
                .any(|case| matches!(case.state, DeferredState::Suspect { strikes: 1.., .. }))
    }

    /// From when on one is sent again with which connections end, where nothing else is there.
    pub(super) fn lone_at(&self) -> Instant {
        let pause = match self.fruitless.checked_sub(2) {
            None => Duration::ZERO,
            Some(times) => (LONE.0 * 2_u32.saturating_pow(times.min(16))).min(LONE.1),
        };
        self.began + pause
    }

    /// Whether connections end again and again with nothing accepted.
    pub(super) fn is_fruitless(&self) -> bool {
        self.fruitless >= FRUITLESS
    }

    /// A suspect was tried, and neither was it answered nor did the connection end: nobody waits for it any longer.
    pub(super) fn give_way(&mut self, place: PublishId) {
        let Some(case) = self.cases.iter_mut().find(|case| case.face.place == place) else {
            return;
        };
        if let DeferredState::Suspect { is_slow, .. } = &mut case.state {
            *is_slow = true;
        }
        let key = case.face.key;
        self.release(key);
    }

    /// How long others wait still for the answer to a suspect, or until when.
    pub(super) fn trial_ends(&mut self, now: Instant) -> Option<Instant> {
        let test = self.testing.as_mut().filter(|test| !test.is_slow)?;
        let until = test.since + TRIAL;
        if until > now {
            return Some(until);
        }
        test.is_slow = true;
        let place = test.place;
        self.give_way(place);
        None
    }
}
