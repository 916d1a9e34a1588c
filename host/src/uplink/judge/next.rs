//! What may be sent next, as things stand.

use std::time::{Duration, Instant};

use super::Judge;
use super::case::{DOUBT, Deferred, DeferredState, Hold, MOST, PublishId};

/// Where any message may be refused for the pace: how many are looked at ahead of those that go first.
const LOOKED_AT: usize = 64;

/// Refused probes of one message after which the next one of its key is tried, in case it is the message.
const PROBES: u32 = 3;
/// How long others are sent before a suspect is tried after them, if there are so many.
const FLOW: Duration = Duration::from_millis(300);
/// The same before one is sent again that had no answer: with a window of one it holds up the others about as long.
const ASIDE: Duration = Duration::from_secs(5);
/// How long others wait for the answer to a suspect. Two trials and the end before them, each of nearly so long, are over within ten
/// seconds, dials and pauses included.
pub(super) const TRIAL: Duration = Duration::from_millis(2_400);
/// How long a refused one waits for others to be accepted before one is sent again for its sake.
pub(super) const ALONE: Duration = Duration::from_secs(2);
/// How often it is looked whether there is room for what is refused.
const CROWDED: Duration = Duration::from_secs(1);

/// What may be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::uplink) enum NextStep {
    /// Send what has its turn.
    Free,
    /// Send this one again, which waits apart.
    Again(PublishId),
    /// Send one that was accepted before, or at least another one.
    Compare,
    /// Nothing is under way: begin again with the first message owed.
    Back,
    /// Nothing, until there is an answer or this time has come.
    Wait(Option<Instant>),
}

impl Judge {
    /// What may be sent while `under_way` publishes are, and `room` is left for more.
    pub(in crate::uplink) fn step(
        &mut self,
        now: Instant,
        under_way: usize,
        room: usize,
    ) -> NextStep {
        self.window = under_way + room;
        self.widest = self.widest.max(self.window);
        if self.pace.is_some_and(|pace| pace.is_over(now)) {
            self.pace = None;
        }
        self.wary.forget(now);
        if let Some(until) = self.trial_ends(now) {
            return NextStep::Wait(Some(until));
        }
        if let Some(until) = self.comparing_since.map(|since| since + TRIAL) {
            if until > now {
                return NextStep::Wait(Some(until));
            }
            // What it took before has no answer now.
            "it acknowledges nothing, not even what it took before".clone_into(&mut self.why);
            self.is_mute = true;
            self.compared(false, now);
        }
        // Whether others have an answer is asked before anything else is.
        if !self.has_sent
            && !self.has_nothing_to_compare
            && self.cases.iter().any(Deferred::is_mute)
        {
            return NextStep::Compare;
        }
        if let Some(hold) = self.hold {
            return self.probe(hold, now, under_way);
        }
        if let Some(step) = self.paced(now, under_way) {
            return step;
        }
        if self.cases.is_empty() && self.row < DOUBT && !self.is_back_due {
            return NextStep::Free;
        }
        if self.row >= DOUBT {
            return self.noise(now, under_way).unwrap_or(NextStep::Compare);
        }
        if let Some(step) = self.back(now, under_way) {
            return step;
        }
        if let Some(step) = self.trial(now, under_way, FLOW) {
            return step;
        }
        let is_fresh = self
            .pace
            .is_some_and(|pace| pace.is_fresh(self.cases.len()));
        let due = self
            .due(now, true)
            .or_else(|| self.mute(now, under_way + room, ASIDE));
        match due {
            Some(place) if !is_fresh || self.looks_far_ahead(now) => NextStep::Again(place),
            _ if self.looks_far_ahead(now) => {
                let soon = now + Duration::from_millis(100);
                NextStep::Wait(Some(self.due_at(now).map_or(soon, |at| at.min(soon))))
            }
            _ => NextStep::Free,
        }
    }

    /// The pace that upstream allows: the next one may not go yet. Before it begins what is under way is answered, and before
    /// an early trial the first one is.
    fn paced(&mut self, now: Instant, under_way: usize) -> Option<NextStep> {
        let is_early = self.is_early_due && !self.has_delivered && !self.cases.is_empty();
        if self.settles || is_early {
            if let Some(step) = self.noise(now, under_way) {
                return Some(step);
            }
            self.settles = false;
        }
        self.pace?.wait(now).map(|at| NextStep::Wait(Some(at)))
    }

    /// Whether enough wait for their turn where any message may be refused for the pace: looking further ahead would only
    /// lay more aside. A key that is refused again and again does not count.
    fn looks_far_ahead(&self, now: Instant) -> bool {
        if !self.pace.is_some_and(|pace| pace.is_strict(now)) {
            return false;
        }
        let is_stubborn = |case: &&Deferred| matches!(case.state, DeferredState::Busy { since, .. } if since + TRIAL <= now);
        let stubborn: Vec<u64> = self
            .cases
            .iter()
            .filter(is_stubborn)
            .map(|case| case.face.key)
            .collect();
        let counts =
            |case: &&Deferred| case.is_here && case.blocks() && !stubborn.contains(&case.face.key);
        self.cases.iter().filter(counts).count() >= LOOKED_AT
    }

    /// The same when there is nothing else to send.
    pub(in crate::uplink) fn idle(
        &mut self,
        now: Instant,
        under_way: usize,
        room: usize,
    ) -> NextStep {
        if self.comparing_since.is_some() {
            return NextStep::Wait(None);
        }
        let is_fresh = self.pace.is_some_and(|pace| pace.is_fresh(0));
        if self.is_starved() && is_fresh && under_way == 0 && !self.has_nothing_to_compare {
            return NextStep::Compare;
        }
        if let Some(place) = self.due(now, false).filter(|_| self.hold.is_none())
            && self.leaves_some(under_way)
        {
            return NextStep::Again(place);
        }
        if under_way > self.silent_out() {
            return NextStep::Wait(self.due_at(now));
        }
        if self.hold.is_some() {
            return self.held().map_or(NextStep::Wait(None), NextStep::Again);
        }
        if let Some(step) = self.trial(now, under_way, Duration::ZERO) {
            return step;
        }
        let is_suspect = |case: &&Deferred| {
            case.is_here && !case.is_out && matches!(case.state, DeferredState::Suspect { .. })
        };
        let strikes = |case: &&Deferred| {
            if let DeferredState::Suspect { lone, .. } = case.state {
                lone
            } else {
                0
            }
        };
        let suspect = self
            .cases
            .iter()
            .filter(is_suspect)
            .min_by_key(strikes)
            .filter(|_| self.testing.is_none());
        let is_doubtful = suspect.is_some_and(|case| case.face.is_own || self.fruitless > 1);
        let suspect = suspect.map(|case| case.face.place);
        let is_lonely = |case: &Deferred| matches!(case.state, DeferredState::Refused { since, .. } if since + ALONE <= now);
        let has_lonely = !self.is_crowded() && self.cases.iter().any(is_lonely);
        // What had no answer may be the only one there is.
        let mute = self
            .mute(now, under_way + room, Duration::ZERO)
            .filter(|_| self.leaves_some(under_way));
        let is_unsure = is_doubtful || has_lonely || (mute.is_some() && !self.has_delivered);
        if suspect.is_some() && self.lone_at() > now {
            return NextStep::Wait(Some(self.lone_at()));
        }
        let is_asked = self.has_nothing_to_compare || (suspect.is_some() && self.skips_comparison);
        if is_unsure && !is_asked {
            return NextStep::Compare;
        }
        suspect
            .or(mute)
            .map_or_else(|| NextStep::Wait(self.due_at(now)), NextStep::Again)
    }

    /// Whether some of the window is left for others that may come, where some had no answer.
    fn leaves_some(&self, under_way: usize) -> bool {
        self.widest < 4
            || under_way + self.widest / 4 < self.widest
            || !self.cases.iter().any(Deferred::is_mute)
    }

    /// When something is due by itself.
    fn due_at(&self, now: Instant) -> Option<Instant> {
        let is_crowded = self.is_crowded();
        let due = |case: &Deferred| match &case.state {
            DeferredState::Refused { .. } if is_crowded => Some(now + CROWDED),
            DeferredState::Refused { since, .. } => Some(*since + ALONE),
            DeferredState::Busy { next, .. } if !case.is_out => Some(*next),
            // Another one of its key is under way.
            DeferredState::Again if !case.is_out => Some(now + TRIAL),
            DeferredState::Suspect { .. } if self.has_delivered => Some(now + FLOW),
            DeferredState::Suspect { .. } => Some(self.lone_at()).filter(|at| *at > now),
            DeferredState::Mute { .. } if !case.is_out => self.next_trial().filter(|at| *at > now),
            _ => None,
        };
        self.cases
            .iter()
            .filter_map(due)
            .map(|at| at.max(now + Duration::from_millis(10)))
            .min()
    }

    fn probe(&mut self, hold: Hold, now: Instant, under_way: usize) -> NextStep {
        if under_way > 0 {
            return NextStep::Wait(None);
        }
        if let Some(next) = hold.next.filter(|next| *next > now) {
            return NextStep::Wait(Some(next));
        }
        match self.held() {
            Some(place) if !hold.is_next || self.cases.len() >= MOST => NextStep::Again(place),
            _ => NextStep::Free,
        }
    }

    /// The next of those laid aside to be a probe: they take turns, but each behind those of its key, unless the first of
    /// them was refused again and again.
    fn held(&self) -> Option<PublishId> {
        let goes_ahead = |other: &Deferred, case: &Deferred| {
            other.face.key == case.face.key
                && other.face.place < case.face.place
                && other.probes < PROBES
                && !matches!(other.state, DeferredState::Refused { .. })
        };
        let is_first = |case: &&Deferred| {
            case.is_here && !self.cases.iter().any(|other| goes_ahead(other, case))
        };
        let ready = self
            .cases
            .iter()
            .filter(|case| !case.is_out && !matches!(case.state, DeferredState::Refused { .. }))
            .filter(is_first);
        ready
            .min_by_key(|case| case.probes)
            .map(|case| case.face.place)
    }

    /// The trial of a suspect, where it is time for one: after others were accepted, and went for so long. Those that failed
    /// most often come first, so that one of them is done with soon.
    fn trial(&mut self, now: Instant, under_way: usize, flow: Duration) -> Option<NextStep> {
        let flow = match self.is_early_due {
            true => Duration::ZERO,
            // A trial costs the others a second there.
            false if self.ends_for_the_pace() => TRIAL,
            false => flow,
        };
        if !self.has_delivered || self.testing.is_some() || now < self.flows_since + flow {
            return None;
        }
        // An end after as many answers as one before would say nothing: one more of the others goes first.
        if !flow.is_zero() && self.ended_before_after(self.answered_after(under_way)) {
            return None;
        }
        let strikes = |case: &&Deferred| {
            if let DeferredState::Suspect { strikes, .. } = case.state {
                Some(strikes)
            } else {
                None
            }
        };
        let can_be_tried =
            |case: &&Deferred| case.is_here && !case.is_out && strikes(case).is_some();
        // Among equals the first one.
        let suspect = self
            .cases
            .iter()
            .rev()
            .filter(can_be_tried)
            .max_by_key(strikes)?;
        let place = suspect.face.place;
        if matches!(suspect.state, DeferredState::Suspect { is_slow: true, .. }) {
            return Some(NextStep::Again(place));
        }
        if let Some(step) = self.noise(now, under_way) {
            return Some(step);
        }
        // Where connections end for the pace, it is to be seen that this one does not.
        let calm_at = self.pace.and_then(|pace| pace.calm_at());
        Some(match calm_at.filter(|at| *at > now) {
            Some(at) => NextStep::Wait(Some(at)),
            None => NextStep::Again(place),
        })
    }

    /// How many will have an answer when what is under way has.
    fn answered_after(&self, under_way: usize) -> u32 {
        let waited_for = under_way.saturating_sub(self.silent_out());
        self.answered
            .saturating_add(u32::try_from(waited_for).unwrap_or(u32::MAX))
    }

    /// How many are under way for which nobody waits.
    fn silent_out(&self) -> usize {
        self.mutes_out() + usize::from(self.testing.is_some_and(|test| test.is_slow))
    }

    /// What else is under way has to be answered first, so that what happens next has one cause; but for those that were not
    /// answered before, and for so long.
    pub(super) fn noise(&mut self, now: Instant, under_way: usize) -> Option<NextStep> {
        if under_way <= self.silent_out() {
            return None;
        }
        let until = *self.quiet_since.get_or_insert(now) + TRIAL;
        (until > now).then_some(NextStep::Wait(Some(until)))
    }

    /// The first of those that are to be sent again, the one that was tried last as the last one. None goes ahead of its key.
    /// Where there are others, no key takes more than its share.
    fn due(&self, now: Instant, has_others: bool) -> Option<PublishId> {
        let time = |case: &Deferred| match case.state {
            DeferredState::Again => Some(None),
            DeferredState::Busy { next, .. } if next <= now => Some(Some(next)),
            _ => None,
        };
        let mut due: Vec<_> = self
            .cases
            .iter()
            .filter(|case| case.is_here && !case.is_out)
            .filter_map(|case| Some((time(case)?, case.face.place, case.face.key)))
            .collect();
        // Where the pace leaves few turns to what waits, those that were refused and those behind them share these.
        let has_refused_first = self.pace.is_some_and(|pace| pace.has_refused_first());
        due.sort_unstable_by_key(|(time, place, _)| {
            (time.is_some() != has_refused_first, *time, *place)
        });
        let is_free = |(_, place, key): &&(Option<Instant>, PublishId, u64)| {
            let is_before = |case: &Deferred| {
                case.face.key == *key && case.face.place < *place && case.blocks()
            };
            let has_its_share = has_others && self.has_its_share(*key);
            let waits = self.cases.iter().any(is_before) || self.is_one_out(*key, now);
            !waits && !has_its_share
        };
        due.iter().find(is_free).map(|(_, place, _)| *place)
    }
}
