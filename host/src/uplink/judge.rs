//! What is made of what upstream answers, or does not answer: which messages wait apart from the others, which become dead
//! letters, and when nothing goes out but probes. No sockets, no words of a protocol; the caller brings the time.
//!
//! The rule: whatever upstream does about one message, no other one waits for more than ten seconds; and where it takes
//! nothing at all, nothing becomes a dead letter.
//!
//! - **Refused for good**: laid aside, and a dead letter as soon as upstream is seen to take another one. When many are
//!   refused and none is accepted, one that was accepted before is sent again: upstream takes it, and refuses these, or
//!   refuses that too, and then only probes go out ([`Hold`]).
//! - **Refused for now**: waits apart with those of its key behind it, and is sent again; for good after some seconds in
//!   which others were accepted.
//! - **The connection ended**: the first message without an answer is suspected, and the next connection begins without it and
//!   those of its key, at once, one by one at first. It is tried alone, after others were accepted: what ends the connection
//!   then, twice, is convicted. Where there are no others it is tried ever more seldom, over a connection that stands.
//! - **No answer**: over a new connection it waits apart until others were accepted, and is sent again beside them, in half of
//!   the window at most; when it is not answered either in all the time that an answer may take, convicted.

mod mutes;
mod next;
mod suspects;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub(super) use self::next::Step;
pub(super) use self::suspects::{End, Haste};
use self::suspects::{LONE, Test};

use crate::message::Seq;

/// A publish: index of its queue, and place of its first message.
pub(super) type Place = (usize, Seq);

/// Publishes that wait apart, at most: they are kept in memory.
pub(super) const MOST: usize = 256;
/// The same of those without an answer: whoever swallows them may swallow a whole window.
const MOST_MUTE: usize = 1_024;
/// Refusals in a row, with nothing accepted between them, that put upstream as a whole in doubt.
const DOUBT: u32 = 16;
/// Accepted probes that end a hold.
const PROOFS: u32 = 3;
/// Refused probes, one after the other, before there is a pause: what is good among a few that are not is found in one round.
const ROUND: usize = 8;
/// That pause: doubles from the first to the second.
const PROBE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// Pause before what is refused for now is sent again, in the same way.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(2));
/// How long it is tried while others are accepted. With the last pause those of its key have waited for less than ten seconds.
const PATIENCE: Duration = Duration::from_secs(7);
/// Topics and keys that are remembered.
const REMEMBERED: usize = 64;
/// Answers over which the share of refusals is taken; both counts are halved at twice that.
const ANSWERS: u32 = 100;
/// One in so many is worth an alarm: 5 %.
const ONE_IN: u32 = 20;

/// What is known of a publish before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Face {
    pub(super) place: Place,
    /// Messages of one key keep their order.
    pub(super) key: u64,
    pub(super) topic: u64,
    /// Tidegate made it itself: it is worth less than what devices sent.
    pub(super) is_own: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Refused for good; a dead letter once another one is accepted, or at once where it is sure.
    Refused {
        detail: String,
        since: Instant,
        is_sure: bool,
    },
    /// Refused for now.
    Busy {
        since: Instant,
        next: Instant,
        pause: Duration,
    },
    /// Upstream ended a connection over it, perhaps.
    /// So often when it was tried after others, and so often with no others there; or nobody waits for it.
    Suspect {
        strikes: u32,
        lone: u32,
        is_slow: bool,
    },
    /// There was no answer, so often and for so long in all.
    Mute { times: u32, waited: Duration },
    /// Waits for one of its key.
    Behind,
    /// To be sent again in its turn.
    Again,
}

/// A publish that waits apart from the others.
#[derive(Clone, Debug)]
struct Case {
    face: Face,
    state: State,
    /// The connection in use has it laid aside: it can be sent.
    is_here: bool,
    /// It is under way.
    is_out: bool,
    /// How often it was a probe, and refused.
    probes: u32,
}

/// Upstream takes nothing: one message at a time, until it takes some again.
#[derive(Clone, Copy, Debug)]
struct Hold {
    since: Instant,
    pause: Duration,
    next: Option<Instant>,
    proofs: u32,
    /// Probes refused since the last pause.
    tried: usize,
    /// Probes take turns between what was refused and what comes next.
    is_next: bool,
    /// The connection ended over the last one; it began with that.
    is_hung_up: bool,
    is_by_hang_ups: bool,
}

/// What is known of one uplink's upstream.
#[derive(Debug)]
pub(super) struct Judge {
    cases: VecDeque<Case>,
    hold: Option<Hold>,
    row: u32,
    answers: u32,
    refused: u32,
    /// Something is asked of upstream that decides how to go on.
    comparing_since: Option<Instant>,
    testing: Option<Test>,
    /// What is asked is one that was accepted before.
    compares_with_sample: bool,
    /// What was compared with ended a connection too, and was never accepted: the suspect is tried without it.
    skips_comparison: bool,
    /// Since when nothing else is sent for its sake.
    quiet_since: Option<Instant>,
    /// On the connection in use: since when it stands, whether a message went out, whether one was accepted.
    began: Instant,
    has_sent: bool,
    has_delivered: bool,
    has_convicted: bool,
    has_nothing_to_compare: bool,
    /// The last connection showed a new suspect.
    has_learned: bool,
    /// Connections in a row that ended with nothing accepted; suspects in a row that were then accepted.
    fruitless: u32,
    acquitted: u32,
    /// What a connection may have ended over, where they end for other reasons too.
    doubted: Option<Place>,
    /// Dials that may follow at once, and since when there are so many.
    hasty: (u32, Instant),
    /// It answers nothing.
    is_mute: bool,
    /// What it has refused last, if nothing happened since.
    last_refused: Option<Face>,
    /// Topics of which a message was convicted, of devices and of our own.
    convicted: VecDeque<(u64, bool)>,
    /// Keys of which one was given up after it had been refused for now.
    impatient: VecDeque<u64>,
    own_is_good: bool,
    why: String,
}

impl Judge {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            cases: VecDeque::new(),
            hold: None,
            row: 0,
            answers: 0,
            refused: 0,
            comparing_since: None,
            testing: None,
            compares_with_sample: false,
            skips_comparison: false,
            quiet_since: None,
            began: now,
            has_sent: false,
            has_delivered: false,
            has_convicted: false,
            has_nothing_to_compare: false,
            has_learned: false,
            fruitless: 0,
            acquitted: 0,
            doubted: None,
            hasty: (0, now.checked_sub(Duration::from_secs(60)).unwrap_or(now)),
            is_mute: false,
            last_refused: None,
            convicted: VecDeque::new(),
            impatient: VecDeque::new(),
            own_is_good: false,
            why: String::new(),
        }
    }

    /// A connection begins, and with it sending from the first message owed: a new chance. `is_over` says what is owed no
    /// more.
    pub(super) fn begin(&mut self, now: Instant, is_over: impl Fn(Place) -> bool) {
        self.cases.retain(|case| !is_over(case.face.place));
        // While upstream takes nothing it is remembered what was tried: others come first then.
        let is_held = self.hold.is_some();
        self.cases.retain(|case| {
            !matches!(case.state, State::Behind) && (is_held || case.state != State::Again)
        });
        for case in &mut self.cases {
            (case.is_here, case.is_out) = (false, false);
            // The connection ended upon the refusal, before another one could be accepted: it is tried after others.
            if let State::Refused { .. } = case.state {
                case.state = State::Suspect {
                    strikes: 0,
                    lone: 0,
                    is_slow: false,
                };
            }
        }
        if let Some(hold) = &mut self.hold {
            (hold.tried, hold.is_next) = (0, true);
            if std::mem::take(&mut hold.is_hung_up) {
                hold.next = Some(now + hold.pause);
                hold.pause =
                    (hold.pause * 2).min(if hold.is_by_hang_ups { LONE.1 } else { PROBE.1 });
            } else {
                (hold.next, hold.pause) = (None, PROBE.0);
            }
        }
        (
            self.comparing_since,
            self.testing,
            self.row,
            self.has_nothing_to_compare,
        ) = (None, None, 0, false);
        self.last_refused = None;
        (
            self.began,
            self.has_sent,
            self.has_delivered,
            self.has_convicted,
        ) = (now, false, false, false);
    }

    /// Whether something waits apart, or would: then each message has to be shown to [`Self::lays_aside`].
    pub(super) fn is_watchful(&self) -> bool {
        !self.cases.is_empty() || self.hold.is_some()
    }

    /// Whether this one, whose turn it is, has to wait apart instead.
    pub(super) fn lays_aside(&mut self, face: Face) -> bool {
        self.forget_before(face.place);
        if let Some(case) = self
            .cases
            .iter_mut()
            .find(|case| case.face.place == face.place)
        {
            case.is_here = true;
            return true;
        }
        let is_blocked = self
            .cases
            .iter()
            .any(|case| case.face.key == face.key && case.blocks());
        let is_unknown = face.is_own && !self.own_is_good;
        if !is_blocked && !is_unknown {
            return false;
        }
        let state = if is_unknown {
            State::Suspect {
                strikes: 0,
                lone: 0,
                is_slow: false,
            }
        } else {
            State::Behind
        };
        self.cases.push_back(Case {
            face,
            state,
            is_here: true,
            is_out: false,
            probes: 0,
        });
        self.release(face.key);
        true
    }

    /// A queue rises: what would have to come before this place, and did not, is no more.
    fn forget_before(&mut self, (queue, seq): Place) {
        let is_over =
            |case: &Case| !case.is_here && case.face.place.0 == queue && case.face.place.1 < seq;
        while let Some(place) = self
            .cases
            .iter()
            .find(|case| is_over(case))
            .map(|case| case.face.place)
        {
            self.close(place);
        }
    }

    /// A topic of our own of which a message was convicted is not tried again.
    pub(super) fn is_barred(&self, face: Face) -> bool {
        face.is_own && self.convicted.contains(&(face.topic, true))
    }

    /// A publish went out; one that waited apart if `place` says so.
    pub(super) fn sent(&mut self, again: Option<Place>, now: Instant) {
        (self.has_sent, self.last_refused, self.quiet_since) = (true, None, None);
        if let Some(hold) = &mut self.hold {
            hold.is_next = !hold.is_next;
        }
        let Some(place) = again else { return };
        let is_held = self.hold.is_some();
        let Some(case) = self.cases.iter_mut().find(|case| case.face.place == place) else {
            return;
        };
        case.is_out = true;
        if let State::Suspect { is_slow, .. } = case.state
            && !is_held
        {
            self.testing = Some(Test {
                place,
                since: now,
                is_slow,
                began_slow: is_slow,
                is_passed: false,
            });
        }
    }

    /// One that is only to be compared with went out, which was accepted before, or not; it says nothing about the account.
    pub(super) fn asked(&mut self, is_sample: bool, now: Instant) {
        (
            self.comparing_since,
            self.has_sent,
            self.compares_with_sample,
        ) = (Some(now), true, is_sample);
    }

    /// There is nothing to compare with.
    pub(super) fn cannot_compare(&mut self, now: Instant) {
        self.has_nothing_to_compare = true;
        let is_refused = |case: &Case| matches!(case.state, State::Refused { .. });
        if self.row >= DOUBT || self.cases.iter().any(is_refused) {
            self.hold(now);
        }
    }

    /// Upstream accepted what it was compared with, or did not.
    pub(super) fn compared(&mut self, is_accepted: bool, now: Instant) {
        if self.comparing_since.take().is_none() {
            return;
        }
        if is_accepted {
            (self.row, self.has_delivered, self.is_mute, self.fruitless) = (0, true, false, 0);
        } else {
            self.hold(now);
        }
    }

    /// Upstream accepted a publish.
    pub(super) fn accepted(&mut self, place: Place) {
        self.count(false);
        (self.row, self.fruitless) = (0, 0);
        (
            self.has_delivered,
            self.has_nothing_to_compare,
            self.is_mute,
        ) = (true, false, false);
        self.last_refused = None;
        if let Some(hold) = &mut self.hold {
            hold.proofs += 1;
            (hold.next, hold.tried, hold.pause) = (None, 0, PROBE.0);
            if hold.is_by_hang_ups || hold.proofs >= PROOFS {
                self.let_go();
            }
        }
        if self.cases.is_empty() {
            return;
        }
        if let Some(test) = &mut self.testing {
            test.is_passed |= test.is_slow && test.place != place;
        }
        let case = self.close(place);
        self.acquitted +=
            u32::from(case.is_some_and(|case| {
                !case.face.is_own && matches!(case.state, State::Suspect { .. })
            }));
    }

    /// Upstream takes messages again. Those over which it ended connections are suspected again.
    fn let_go(&mut self) {
        let is_by_hang_ups = self.hold.take().is_some_and(|hold| hold.is_by_hang_ups);
        for case in self
            .cases
            .iter_mut()
            .filter(|case| is_by_hang_ups && !case.is_out && case.state == State::Again)
        {
            case.state = State::Suspect {
                strikes: 0,
                lone: 0,
                is_slow: false,
            };
        }
    }

    /// One that waited apart is no more: it has expired, or is another connection's.
    pub(super) fn gone(&mut self, place: Place) {
        self.close(place);
    }

    /// One that waits only for others, and may be compared with them.
    pub(super) fn bystander(&self) -> Option<Place> {
        let bystander = |case: &&Case| case.is_here && matches!(case.state, State::Behind);
        self.cases
            .iter()
            .find(bystander)
            .map(|case| case.face.place)
    }

    /// Whether a message went out over the connection in use.
    pub(super) fn has_sent(&self) -> bool {
        self.has_sent
    }

    /// The words of the last refusal.
    pub(super) fn why(&self) -> &str {
        &self.why
    }

    fn is_testing(&self, place: Place) -> bool {
        self.testing.is_some_and(|test| test.place == place)
    }

    /// Takes a case off the list, whatever became of it, and lets those behind it go on.
    fn close(&mut self, place: Place) -> Option<Case> {
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
            self.impatient.retain(|key| *key != case.face.key);
        }
        self.release(case.face.key);
        Some(case)
    }

    /// Those of this key that wait for another one go on, if nothing is left to wait for.
    fn release(&mut self, key: u64) {
        let waits = |case: &Case| {
            matches!(
                case.state,
                State::Busy { .. } | State::Suspect { is_slow: false, .. }
            )
        };
        if self
            .cases
            .iter()
            .any(|case| case.face.key == key && waits(case))
        {
            return;
        }
        for case in self
            .cases
            .iter_mut()
            .filter(|case| case.face.key == key && case.state == State::Behind)
        {
            case.state = State::Again;
        }
    }

    /// Upstream refused a publish, or it cannot be sent: for good, or for now.
    pub(super) fn refused(&mut self, face: Face, is_final: bool, detail: String, now: Instant) {
        self.count(true);
        self.row = self.row.saturating_add(1);
        self.last_refused = Some(face);
        if self.hold.is_none() {
            self.why.clone_from(&detail);
        }
        let is_sure = self.is_testing(face.place) && self.has_delivered && is_final;
        if self.is_testing(face.place) {
            self.testing = None;
        }
        let index = self
            .cases
            .iter()
            .position(|case| case.face.place == face.place);
        let known = index.and_then(|index| self.cases.remove(index));
        let state = match known.as_ref().map(|case| &case.state) {
            _ if self.hold.is_some() => State::Again,
            Some(State::Busy { since, .. }) if !is_final && now < *since + PATIENCE => {
                let Some(State::Busy { since, pause, .. }) =
                    known.as_ref().map(|case| case.state.clone())
                else {
                    return;
                };
                let pause = (pause * 2).min(RETRY.1);
                State::Busy {
                    since,
                    next: now + pause,
                    pause,
                }
            }
            Some(State::Busy { .. }) if !is_final => {
                remember(&mut self.impatient, face.key);
                State::Refused {
                    detail,
                    since: now,
                    is_sure,
                }
            }
            _ if is_final || self.impatient.contains(&face.key) => State::Refused {
                detail,
                since: now,
                is_sure,
            },
            _ => State::Busy {
                since: now,
                next: now + RETRY.0,
                pause: RETRY.0,
            },
        };
        let probes = known.map_or(0, |case| case.probes) + u32::from(self.hold.is_some());
        self.cases.push_back(Case {
            face,
            state,
            is_here: true,
            is_out: false,
            probes,
        });
        self.release(face.key);
        if let Some(hold) = &mut self.hold {
            hold.tried += 1;
            if hold.tried >= ROUND.min(self.cases.len()) {
                (hold.tried, hold.next) = (0, Some(now + hold.pause));
                hold.pause = (hold.pause * 2).min(PROBE.1);
            }
        }
    }

    fn hold(&mut self, now: Instant) {
        for case in &mut self.cases {
            let is_suspect = matches!(case.state, State::Suspect { .. }) && !case.face.is_own;
            if is_suspect || matches!(case.state, State::Refused { .. } | State::Busy { .. }) {
                case.state = State::Again;
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
    pub(super) fn proven(
        &mut self,
        mut has_room: impl FnMut(Place) -> bool,
    ) -> Vec<(Place, String)> {
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
            if let Some(Case {
                state: State::Refused { detail, .. },
                ..
            }) = self.close(place)
            {
                parked.push((place, detail));
            }
        }
        parked
    }

    fn is_proven(&self, case: &Case) -> bool {
        let State::Refused { is_sure, .. } = case.state else {
            return false;
        };
        self.hold.is_none() && (is_sure || (self.row == 0 && self.has_delivered))
    }

    /// Whether something is refused and could not be parked, though upstream takes others.
    pub(super) fn is_crowded(&self) -> bool {
        self.cases.iter().any(|case| self.is_proven(case))
    }

    /// Since when upstream takes nothing.
    pub(super) fn held_since(&self) -> Option<Instant> {
        self.hold.map(|hold| hold.since)
    }

    /// Whether somebody should look: nothing is taken, or too little.
    pub(super) fn is_alarming(&self) -> bool {
        self.hold.is_some()
            || self.is_mute
            || self.is_fruitless()
            || (self.answers >= ANSWERS && self.refused * ONE_IN > self.answers)
    }

    fn count(&mut self, is_refused: bool) {
        if self.answers >= 2 * ANSWERS {
            self.answers /= 2;
            self.refused /= 2;
        }
        self.answers += 1;
        self.refused += u32::from(is_refused);
    }
}

impl Case {
    fn is_mute(&self) -> bool {
        matches!(self.state, State::Mute { .. })
    }

    /// Whether others of its key have to wait for it.
    fn blocks(&self) -> bool {
        match self.state {
            State::Refused { .. } | State::Mute { .. } | State::Suspect { is_slow: true, .. } => {
                false
            }
            State::Again => !self.is_out,
            State::Busy { .. } | State::Suspect { .. } | State::Behind => true,
        }
    }
}

fn remember<T: PartialEq>(list: &mut VecDeque<T>, entry: T) {
    list.retain(|known| *known != entry);
    list.push_back(entry);
    if list.len() > REMEMBERED {
        list.pop_front();
    }
}

#[cfg(test)]
mod model;
