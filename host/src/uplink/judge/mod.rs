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
//! - **Refused as too much**: the same, but all go out more slowly ([`pace`]), and none becomes a dead letter while some that
//!   were refused so are accepted later.
//! - **Not fit to be sent**: says nothing about upstream. Over a limit that upstream announced, it is as if refused.
//! - **The connection ended**: the first message without an answer is suspected, and the next connection begins without it and
//!   those of its key, at once, one by one at first. It is tried alone, after others were accepted: what ends the connection
//!   then, twice, is convicted. Where there are no others it is tried ever more seldom, over a connection that stands.
//! - **No answer**: over a new connection it waits apart until others were accepted, and is sent again beside them, in half of
//!   the window at most; when it is not answered either in all the time that an answer may take, convicted. Where it takes the
//!   whole window, each trial is short, they come ever more seldom, and less time convicts ([`mutes`]). What then stalls a
//!   connection is found by what answers take ([`stillness`]).
//! - **A device of which a message was convicted**: what else comes of it is tried in the same way from the start ([`wary`]).
//!
//! What waits apart is bounded, also of each key. What is beyond that is passed over: it stays in its queue, and sending goes
//! back to it when there is room ([`cases`]).

mod account;
mod case;
mod cases;
mod mutes;
mod next;
mod pace;
mod refusals;
mod stillness;
mod suspects;
mod wary;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

pub(super) use self::account::{Apart, Obstacles};
use self::case::{DOUBT, Deferred, DeferredState, Hold, LONE, PROBE, PROOFS, REMEMBERED, SoloTest};
pub(super) use self::case::{Face, PublishId};
pub(super) use self::cases::Turn;
pub(super) use self::next::NextStep;
use self::pace::Pace;
use self::stillness::Stillness;
pub(super) use self::suspects::{ConnectionEnd, Haste};
use self::wary::Wary;
use crate::uplink::carrier::Refusal;

/// What is known of one uplink's upstream.
#[derive(Debug)]
pub(super) struct Judge {
    cases: VecDeque<Deferred>,
    hold: Option<Hold>,
    row: u32,
    answers: u32,
    refused: u32,
    /// Something is asked of upstream that decides how to go on.
    comparing_since: Option<Instant>,
    testing: Option<SoloTest>,
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
    /// Answers over the connection in use, and over the last ones that upstream ended.
    answered: u32,
    ended_after: VecDeque<u32>,
    /// The last one may have ended for their number: a suspect is tried before there are as many again.
    is_early_due: bool,
    /// The last connection showed a new suspect.
    has_learned: bool,
    /// Connections in a row that ended with nothing accepted; suspects in a row that were then accepted.
    fruitless: u32,
    acquitted: u32,
    /// What a connection may have ended over, where they end for other reasons too.
    doubted: Option<PublishId>,
    /// Dials that may follow at once, and since when there are so many.
    hasty: (u32, Instant),
    is_mute: bool,
    stillness: Stillness,
    /// The connection in use is given up since nothing was acknowledged.
    has_stalled: bool,
    /// Trials of such as had no answer that took the whole window, and in vain.
    in_vain: u32,
    /// What it has refused last, if nothing happened since.
    last_refused: Option<Face>,
    /// Topics of our own of which a message was convicted.
    barred: VecDeque<u64>,
    wary: Wary,
    pace: Option<Pace>,
    /// What is under way is answered before that pace begins.
    settles: bool,
    /// Under way while something waits apart: key, and since when.
    out: BTreeMap<PublishId, (u64, Instant)>,
    /// The one whose turn it is, and may go.
    next_out: Option<Face>,
    /// How many may be under way, when last looked.
    window: usize,
    /// The most that it ever was.
    widest: usize,
    /// Keys of which something was passed over.
    passed: BTreeSet<u64>,
    /// For want of room, and among them such as are refused.
    has_passed_many: bool,
    has_passed_refused: bool,
    /// Sending is to go back to them, and not before this time.
    is_back_due: bool,
    back_at: Option<Instant>,
    /// Since when others are sent between two trials.
    flows_since: Instant,
    /// Keys of which one was given up after it had been refused for now, none was accepted since, and when that was.
    impatient: VecDeque<(u64, Instant)>,
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
            answered: 0,
            ended_after: VecDeque::new(),
            is_early_due: false,
            has_learned: false,
            fruitless: 0,
            acquitted: 0,
            doubted: None,
            hasty: (0, now.checked_sub(Duration::from_secs(60)).unwrap_or(now)),
            is_mute: false,
            stillness: Stillness::default(),
            has_stalled: false,
            in_vain: 0,
            last_refused: None,
            barred: VecDeque::new(),
            wary: Wary::default(),
            pace: None,
            settles: false,
            out: BTreeMap::new(),
            next_out: None,
            window: 1,
            widest: 1,
            passed: BTreeSet::new(),
            has_passed_many: false,
            has_passed_refused: false,
            is_back_due: false,
            back_at: None,
            flows_since: now,
            impatient: VecDeque::new(),
            own_is_good: false,
            why: String::new(),
        }
    }

    /// A connection begins, and with it sending from the first message owed: a new chance. `is_over` says what is owed no
    /// more.
    pub(super) fn begin(&mut self, now: Instant, is_over: impl Fn(PublishId) -> bool) {
        self.cases.retain(|case| !is_over(case.face.place));
        // While upstream takes nothing it is remembered what was tried: others come first then.
        let is_held = self.hold.is_some();
        self.cases.retain(|case| match &case.state {
            DeferredState::Behind => false,
            DeferredState::Again => is_held,
            DeferredState::Refused { kind, .. } => !kind.is_ours(),
            _ => true,
        });
        for case in &mut self.cases {
            (case.is_here, case.is_out) = (false, false);
            // The connection ended upon the refusal, before another one could be accepted: it is tried after others.
            if let DeferredState::Refused { .. } = case.state {
                case.state = DeferredState::suspect();
            }
        }
        self.passed.clear();
        self.out.clear();
        (self.has_passed_many, self.has_passed_refused) = (false, false);
        (self.is_back_due, self.back_at, self.flows_since) = (false, None, now);
        self.pace.iter_mut().for_each(|pace| pace.begin(now));
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
        (self.has_stalled, self.has_learned) = (false, false);
        self.last_refused = None;
        self.answered = 0;
        (
            self.began,
            self.has_sent,
            self.has_delivered,
            self.has_convicted,
        ) = (now, false, false, false);
    }

    /// Whether something waits apart, or would: then each message has to be shown to [`Self::turn`].
    pub(super) fn is_watchful(&self) -> bool {
        !self.cases.is_empty()
            || self.hold.is_some()
            || self.pace.is_some()
            || !self.wary.is_empty()
    }

    /// A topic of our own of which a message was convicted is not tried again.
    pub(super) fn is_barred(&self, face: Face) -> bool {
        face.is_own && self.barred.contains(&face.topic)
    }

    /// A publish went out; one that waited apart if `place` says so.
    pub(super) fn sent(&mut self, again: Option<PublishId>, now: Instant) {
        (self.has_sent, self.last_refused, self.quiet_since) = (true, None, None);
        if let Some(hold) = &mut self.hold {
            hold.is_next = !hold.is_next;
        }
        self.pace.iter_mut().for_each(|pace| pace.sent(now));
        let next = self.next_out.take();
        let Some(place) = again else {
            self.out
                .extend(next.map(|face| (face.place, (face.key, now))));
            return;
        };
        let is_held = self.hold.is_some();
        let Some(case) = self.cases.iter_mut().find(|case| case.face.place == place) else {
            return;
        };
        case.is_out = true;
        if !case.is_mute() {
            self.out.insert(place, (case.face.key, now));
        }
        if let DeferredState::Suspect { is_slow, .. } = case.state
            && !is_held
        {
            self.is_early_due = false;
            self.testing = Some(SoloTest {
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
        self.pace.iter_mut().for_each(|pace| pace.sent(now));
        (
            self.comparing_since,
            self.has_sent,
            self.compares_with_sample,
        ) = (Some(now), true, is_sample);
    }

    /// There is nothing to compare with.
    pub(super) fn cannot_compare(&mut self, now: Instant) {
        self.has_nothing_to_compare = true;
        let is_refused = |case: &Deferred| matches!(case.state, DeferredState::Refused { kind, .. } if kind != Refusal::Quota && !kind.is_ours());
        if self.row >= DOUBT || self.cases.iter().any(is_refused) {
            self.hold(now);
        }
    }

    /// Upstream accepted what it was compared with, or did not.
    pub(super) fn compared(&mut self, is_accepted: bool, now: Instant) {
        let Some(since) = self.comparing_since.take() else {
            return;
        };
        self.answered = self.answered.saturating_add(1);
        if is_accepted {
            (self.row, self.has_delivered, self.is_mute, self.fruitless) = (0, true, false, 0);
            self.stillness.took(now.saturating_duration_since(since));
            self.keep_pace(now);
        } else {
            self.hold(now);
        }
    }

    /// What it was compared with is refused as too much: that says nothing.
    pub(super) fn compared_too_soon(&mut self, now: Instant) {
        self.comparing_since = None;
        self.relent(now);
        self.too_much(now);
    }

    /// Upstream accepted a publish.
    pub(super) fn accepted(&mut self, place: PublishId, now: Instant) {
        self.count(false);
        self.answered = self.answered.saturating_add(1);
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
        if !self.is_watchful() {
            self.out.clear();
            return;
        }
        self.keep_pace(now);
        let out = self.out.remove(&place);
        if let Some(test) = &mut self.testing {
            test.is_passed |= test.is_slow && test.place != place;
        }
        if self.is_testing(place) {
            self.flows_since = now;
        }
        if let Some((accepted, _)) = out {
            self.impatient.retain(|(key, _)| *key != accepted);
        }
        match (self.close(place), out) {
            (Some(case), _) => self.acquit(&case, now),
            (None, Some((key, _))) => self.release(key),
            (None, None) => {}
        }
    }

    /// One that waited apart is accepted.
    fn acquit(&mut self, case: &Deferred, now: Instant) {
        if case.has_been_mute() {
            self.stillness.was_wrong();
        }
        let is_quota = matches!(case.state, DeferredState::Busy { is_quota: true, .. });
        if is_quota && case.is_out {
            self.pace.iter_mut().for_each(|pace| pace.relented(now));
            self.relent(now);
        }
        let is_suspect = matches!(case.state, DeferredState::Suspect { .. }) && !case.face.is_own;
        if is_suspect && self.ends_for_the_pace() {
            self.clear_suspects();
        }
        if self.wary.kind(case.face).is_none() {
            self.acquitted += u32::from(is_suspect);
        } else if self.wary.accepted(case.face) {
            let is_it = |other: &&mut Deferred| {
                other.face.key == case.face.key
                    && !other.is_out
                    && other.state == DeferredState::suspect()
            };
            self.cases
                .iter_mut()
                .filter(is_it)
                .for_each(|other| other.state = DeferredState::Again);
        }
    }

    /// What one was suspected of was too much, and so it was with the others that were not tried yet.
    fn clear_suspects(&mut self) {
        let Self { cases, wary, .. } = self;
        for case in cases.iter_mut().filter(|case| !case.is_out) {
            let is_untried = matches!(case.state, DeferredState::Suspect { strikes: 0, .. });
            if is_untried && !case.face.is_own && wary.kind(case.face).is_none() {
                case.state = DeferredState::Again;
            }
        }
    }

    /// Upstream takes messages again. Those over which it ended connections are suspected again.
    fn let_go(&mut self) {
        let is_by_hang_ups = self.hold.take().is_some_and(|hold| hold.is_by_hang_ups);
        for case in self
            .cases
            .iter_mut()
            .filter(|case| is_by_hang_ups && !case.is_out && case.state == DeferredState::Again)
        {
            case.state = DeferredState::suspect();
        }
    }

    /// One that waits only for others, and may be compared with them.
    pub(super) fn bystander(&self) -> Option<PublishId> {
        let bystander =
            |case: &&Deferred| case.is_here && matches!(case.state, DeferredState::Behind);
        self.cases
            .iter()
            .find(bystander)
            .map(|case| case.face.place)
    }

    /// Whether a message went out over the connection in use.
    pub(super) fn has_sent(&self) -> bool {
        self.has_sent
    }

    /// Whether a message was accepted over the connection in use.
    pub(super) fn has_delivered(&self) -> bool {
        self.has_delivered
    }

    /// The words of the last refusal.
    pub(super) fn why(&self) -> &str {
        &self.why
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
