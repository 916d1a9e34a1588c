//! A small uplink around the judge, in time of its own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::*;
use super::upstream::{Grant, Nature};
use crate::message::Seq;

pub(super) const ROUND_TRIP: Duration = Duration::from_millis(20);
/// Before a dial that comes at once, and one as after a first failure; after others it doubles.
const AT_ONCE: Duration = Duration::from_millis(300);
pub(super) const REDIAL: Duration = Duration::from_millis(1_200);
const OVERDUE: Duration = Duration::from_secs(30);
/// When nothing is answered and the window is full, which is wider then.
const LATE: Duration = Duration::from_millis(500);
/// Only to compare with.
pub(super) const COPY: usize = usize::MAX;

#[derive(Debug)]
pub(super) struct ModelUplink {
    pub(super) judge: Judge,
    pub(super) now: Instant,
    pub(super) start: Instant,
    /// Key and nature, and how often it was refused for now.
    pub(super) messages: Vec<(u64, Nature, u32)>,
    pub(super) refuses_all_until: Duration,
    pub(super) starves_until: Duration,
    /// Pause between two messages.
    pub(super) every: Duration,
    pub(super) round_trip: Duration,
    pub(super) grant: Grant,
    pub(super) tokens: f64,
    pub(super) filled: Instant,
    /// What is over the grant ends the connection, which says so, instead of being refused.
    pub(super) ends_over_grant: bool,
    pub(super) is_too_much: bool,
    pub(super) ends: usize,
    /// When the link is cut, and how long after that again.
    pub(super) cut_every: Option<Duration>,
    cut_at: Instant,
    /// How many are answered over one connection before upstream ends it.
    pub(super) ends_after: Option<usize>,
    answers: usize,
    /// Every message has a topic of its own: the hardest case.
    pub(super) has_many_topics: bool,
    cursor: usize,
    aside: BTreeSet<usize>,
    pub(super) under_way: VecDeque<(usize, Instant)>,
    pub(super) delivered: BTreeMap<usize, Duration>,
    pub(super) parked: BTreeMap<usize, Duration>,
    pub(super) order: Vec<usize>,
    pub(super) room: usize,
    window: usize,
    /// How much of it is open, and when it was opened without an answer.
    pub(super) open: usize,
    widened: Instant,
    failures: u32,
    /// When upstream answered last.
    answered: Instant,
    pub(super) refusals: usize,
}

impl ModelUplink {
    pub(super) fn new(
        messages: &[(u64, Nature)],
        refuses_all_until: Duration,
        window: usize,
    ) -> Self {
        let start = Instant::now();
        let mut judge = Judge::new(start);
        judge.begin(start, |_| false);
        Self {
            judge,
            now: start,
            start,
            messages: messages
                .iter()
                .map(|(key, nature)| (*key, *nature, 0))
                .collect(),
            refuses_all_until,
            starves_until: Duration::ZERO,
            every: Duration::ZERO,
            round_trip: ROUND_TRIP,
            grant: Grant::All,
            tokens: 0.0,
            filled: start,
            ends_over_grant: false,
            is_too_much: false,
            ends: 0,
            cut_every: None,
            cut_at: start,
            ends_after: None,
            answers: 0,
            has_many_topics: true,
            cursor: 0,
            aside: BTreeSet::new(),
            under_way: VecDeque::new(),
            delivered: BTreeMap::new(),
            parked: BTreeMap::new(),
            order: Vec::new(),
            room: usize::MAX,
            window,
            open: usize::MAX,
            widened: start,
            failures: 0,
            answered: start,
            refusals: 0,
        }
    }

    fn face(&self, index: usize) -> Face {
        let key = self.messages[index].0;
        Face {
            place: (0, Seq(index as u64)),
            key,
            topic: if self.has_many_topics {
                index as u64
            } else {
                key
            },
            is_own: false,
        }
    }

    pub(super) fn is_done(&self, index: usize) -> bool {
        self.delivered.contains_key(&index) || self.parked.contains_key(&index)
    }

    fn front(&mut self) -> Option<usize> {
        while self.cursor < self.messages.len() && self.is_done(self.cursor) {
            self.cursor += 1;
        }
        (self.cursor < self.messages.len() && self.start + self.arrival(self.cursor) <= self.now)
            .then_some(self.cursor)
    }

    fn arrival(&self, index: usize) -> Duration {
        self.every * u32::try_from(index).unwrap()
    }

    /// The longest that one of those `wanted` took, if all of them arrived.
    pub(super) fn longest(&self, wanted: impl Fn(usize) -> bool) -> Option<Duration> {
        let time = |index: usize| {
            Some(
                self.delivered
                    .get(&index)?
                    .saturating_sub(self.arrival(index)),
            )
        };
        (0..self.messages.len())
            .filter(|index| wanted(*index))
            .map(time)
            .try_fold(Duration::ZERO, |most, time| Some(most.max(time?)))
    }

    fn lays_aside(&mut self, index: usize) -> bool {
        let turn = if self.judge.is_watchful() {
            self.judge.turn(self.face(index), self.now)
        } else {
            Turn::Out
        };
        self.cursor += usize::from(turn != Turn::Out);
        if turn == Turn::Aside {
            self.aside.insert(index);
        }
        turn != Turn::Out
    }

    /// Sends one, where it can be sent.
    fn put(&mut self, index: usize, again: Option<PublishId>) {
        let refusal = match self.messages.get(index).map(|message| message.1) {
            Some(Nature::Limit) => Some(Refusal::Limit),
            Some(Nature::Unfit) => Some(Refusal::Unfit),
            _ => None,
        };
        if let Some(refusal) = refusal {
            return self.refuse(index, refusal);
        }
        self.under_way.push_back((index, self.now));
        if index != COPY {
            self.judge.sent(again, self.now);
        }
    }

    /// Sends what may be sent; gives when it is to be asked again, and whether an answer has to come first.
    fn fill(&mut self) -> (Option<Instant>, bool) {
        let mut steps = 0;
        loop {
            steps += 1;
            assert!(steps < 100_000, "it sends without an end: {self:?}");
            let room = self
                .window
                .min(self.open)
                .saturating_sub(self.under_way.len());
            if room == 0 {
                match self.widens_at() {
                    None => return (None, true),
                    Some(at) if at > self.now => return (Some(at), false),
                    Some(_) => (self.open, self.widened) = (self.open * 2, self.now),
                }
                continue;
            }
            let step = match self.judge.step(self.now, self.under_way.len(), room) {
                NextStep::Free => match self.front() {
                    Some(index) => {
                        if !self.lays_aside(index) {
                            self.cursor += 1;
                            self.put(index, None);
                        }
                        self.park_proven();
                        continue;
                    }
                    None => match self.judge.idle(self.now, self.under_way.len(), room) {
                        // What comes then goes out.
                        NextStep::Wait(at) => return (at, false),
                        step => step,
                    },
                },
                step => step,
            };
            match step {
                NextStep::Free => return (None, false),
                NextStep::Wait(at) => return (at, at.is_none() && !self.under_way.is_empty()),
                step => self.follow(step),
            }
        }
    }

    fn follow(&mut self, step: NextStep) {
        match step {
            NextStep::Again(place) => {
                let index = usize::try_from(place.1.0).unwrap();
                assert!(self.aside.remove(&index), "{index} is not aside");
                self.put(index, Some(place));
            }
            NextStep::Back => {
                assert!(self.under_way.is_empty());
                (self.cursor, self.aside) = (0, BTreeSet::new());
                self.judge.went_back();
            }
            NextStep::Compare if self.delivered.is_empty() && !self.has_good_bystander() => {
                self.judge.cannot_compare(self.now);
            }
            _ => {
                self.put(COPY, None);
                self.judge.asked(!self.delivered.is_empty(), self.now);
            }
        }
    }

    /// When a window that is narrow since the connection is new is wider.
    fn widens_at(&self) -> Option<Instant> {
        let sent = self.under_way.front().map_or(self.now, |(_, sent)| *sent);
        (self.open < self.window)
            .then(|| sent.max(self.answered).max(self.widened) + LATE.max(self.round_trip * 4))
    }

    /// Whether one that waits for another one may be compared with it.
    fn has_good_bystander(&self) -> bool {
        let nature = |place: PublishId| self.messages[usize::try_from(place.1.0).unwrap()].1;
        self.judge
            .bystander()
            .is_some_and(|place| nature(place) == Nature::Good)
    }

    pub(super) fn refuse(&mut self, index: usize, kind: Refusal) {
        self.refusals += 1;
        self.aside.insert(index);
        self.judge
            .refused(self.face(index), kind, String::new(), self.now);
    }

    fn reconnect(&mut self) {
        self.now += match self.judge.haste(self.now) {
            Haste::Now => Duration::from_millis(20),
            Haste::AtOnce => AT_ONCE,
            Haste::Soon => REDIAL,
            Haste::Later => (REDIAL * 2_u32.pow(self.failures.min(6))).min(Duration::from_secs(60)),
        };
        self.now += 2 * (self.round_trip - ROUND_TRIP);
        self.failures += 1;
        if !std::mem::take(&mut self.is_too_much) {
            (self.open, self.widened) = (if self.judge.is_shaky() { 8 } else { 1 }, self.now);
        }
        self.under_way.clear();
        self.aside.clear();
        (self.cursor, self.answers) = (0, 0);
        (self.answered, self.cut_at) = (self.now, self.now);
        let done: BTreeSet<_> = self
            .delivered
            .keys()
            .chain(self.parked.keys())
            .map(|index| *index as u64)
            .collect();
        let low = (0..)
            .find(|index| !done.contains(index))
            .unwrap_or_default();
        self.judge.begin(self.now, |(_, seq)| seq.0 < low);
    }

    fn park(&mut self, index: usize) {
        assert!(self.room > 0 && !self.is_done(index), "{index} is parked");
        self.room -= 1;
        self.aside.remove(&index);
        self.parked.insert(index, self.now - self.start);
    }

    fn park_all(&mut self, proven: Vec<(PublishId, String)>) {
        for (place, _) in proven {
            self.park(usize::try_from(place.1.0).unwrap());
        }
    }

    fn park_proven(&mut self) {
        let mut left = self.room;
        let proven = self.judge.proven(|_| {
            let has_room = left > 0;
            left = left.saturating_sub(1);
            has_room
        });
        self.park_all(proven);
        if self.judge.is_crowded() {
            for place in self.judge.surplus() {
                self.aside.remove(&usize::try_from(place.1.0).unwrap());
            }
        }
    }

    /// One answer, one wait, or one deadline.
    pub(super) fn turn(&mut self) {
        self.park_proven();
        let (again, is_full) = self.fill();
        let times = self
            .under_way
            .iter()
            .enumerate()
            .filter_map(|(place, (index, sent))| Some((*sent + self.takes(*index)?, place)));
        let (answer_at, next) = times.min().unzip();
        let overdue = self.under_way.front().map(|(_, sent)| *sent + OVERDUE);
        let answer = answer_at.map(|at| at.max(self.now));
        // Upstream answers a ping in between, which goes behind all that was sent.
        let stalled = is_full && !self.judge.is_mute() && !self.under_way.is_empty();
        let stalled = stalled.then(|| {
            let sent = |flight: Option<&(usize, Instant)>| flight.map_or(self.now, |(_, at)| *at);
            let since = sent(self.under_way.front()).max(self.answered);
            let asked = since + self.judge.quiet(self.round_trip, self.now);
            let answered = asked.max(sent(self.under_way.back()) + self.round_trip);
            answered + self.judge.stall(self.under_way.len(), self.now)
        });
        let has_more = self.cursor < self.messages.len() && !self.every.is_zero();
        let arrival = (has_more && !is_full)
            .then(|| self.start + self.arrival(self.cursor))
            .filter(|at| *at > self.now);
        let cut = self.cut_every.map(|every| self.cut_at + every);
        let Some(at) = [answer, again, overdue, stalled, arrival, cut]
            .into_iter()
            .flatten()
            .min()
        else {
            self.now += Duration::from_secs(1);
            return;
        };
        self.now = self.now.max(at);
        if cut == Some(at) {
            let count = self.under_way.len().saturating_sub(self.judge.mutes_out());
            return self.ended(None, self.under_way.len(), count);
        }
        if overdue == Some(at) || (stalled == Some(at) && answer != Some(at)) {
            let due = if overdue == Some(at) {
                at - OVERDUE
            } else {
                self.judge.stalled(at);
                at
            };
            return self.unanswered(at, due);
        }
        if let Some(place) = next.filter(|_| answer == Some(at)) {
            let count = self.under_way.len().saturating_sub(self.judge.mutes_out());
            let (index, sent) = self.under_way.remove(place).unwrap();
            if index != COPY {
                self.judge.took(self.now - sent);
            }
            self.answered = self.now;
            self.answers += 1;
            if self.ends_after.is_some_and(|most| self.answers > most) {
                return self.ended(Some(index), place, count);
            }
            if let Err(first) = self.answer(index) {
                self.ended(first, place, count);
            }
        }
    }

    fn unanswered(&mut self, at: Instant, due: Instant) {
        let late: Vec<_> = self
            .under_way
            .iter()
            .filter(|(index, sent)| *index != COPY && *sent <= due)
            .copied()
            .collect();
        for (index, sent) in late {
            if self.judge.unanswered(self.face(index), at - sent, OVERDUE) {
                self.park(index);
            }
        }
        self.reconnect();
    }

    /// The connection is over. What was sent before and has no answer yet is what an uplink sees as the first.
    fn ended(&mut self, first: Option<usize>, place: usize, count: usize) {
        let is_known =
            |index: usize| index == COPY || self.judge.is_known_mute((0, Seq(index as u64)));
        let before = self
            .under_way
            .iter()
            .take(place)
            .map(|(index, _)| *index)
            .find(|index| !is_known(*index));
        let first = before.or(first).filter(|index| !is_known(*index));
        let first = first.map(|index| self.face(index));
        let proven = self.judge.proven(|_| true);
        self.park_all(proven);
        let end = ConnectionEnd {
            is_hang_up: true,
            is_too_much: self.is_too_much,
            under_way: count,
        };
        self.ends += 1;
        if let Some(place) = self.judge.ended(first, end, self.now) {
            self.park(usize::try_from(place.1.0).unwrap());
        }
        self.reconnect();
    }

    pub(super) fn run(&mut self, time: Duration) {
        let mut turns = 0;
        while self.now - self.start < time
            && self.delivered.len() + self.parked.len() < self.messages.len()
        {
            self.turn();
            turns += 1;
            assert!(turns < 400_000, "it turns and turns: {self:?}");
        }
    }

    /// First deliveries of a key that came out of their order.
    pub(super) fn disorder(&self) -> usize {
        let mut last = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let firsts = self.order.iter().filter(|index| seen.insert(**index));
        let mut disorder = 0;
        for index in firsts {
            let before = last.insert(self.messages[*index].0, *index);
            disorder += usize::from(before.is_some_and(|before| before > *index));
        }
        disorder
    }
}
