//! The judge against random refusers: a small uplink around it, in time of its own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

/// What upstream does about one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nature {
    Good,
    /// Refused for good.
    Final,
    /// Refused for now, so many times.
    Busy(u32),
    /// Refused for good, and the connection ends.
    FinalAndHangUp,
    /// The connection ends.
    HangUp,
    /// The connection ends, so long after the message came.
    LateHangUp(Duration),
    /// No answer.
    Silent,
}

const ROUND_TRIP: Duration = Duration::from_millis(20);
/// Before a dial that comes at once, and one as after a first failure; after others it doubles.
const AT_ONCE: Duration = Duration::from_millis(300);
const REDIAL: Duration = Duration::from_millis(1_200);
const OVERDUE: Duration = Duration::from_secs(30);
/// When nothing is answered and the window is full.
const LATE: Duration = Duration::from_millis(500);
const STALLED: Duration = Duration::from_secs(5);
/// Only to compare with.
const COPY: usize = usize::MAX;

#[derive(Debug)]
struct Uplink {
    judge: Judge,
    now: Instant,
    start: Instant,
    /// Key and nature, and how often it was refused for now.
    messages: Vec<(u64, Nature, u32)>,
    refuses_all_until: Duration,
    /// Pause between two messages.
    every: Duration,
    cursor: usize,
    aside: BTreeSet<usize>,
    under_way: VecDeque<(usize, Instant)>,
    delivered: BTreeMap<usize, Duration>,
    parked: BTreeMap<usize, Duration>,
    order: Vec<usize>,
    room: usize,
    window: usize,
    /// How much of it is open, and when it was opened without an answer.
    open: usize,
    widened: Instant,
    failures: u32,
    /// When upstream answered last.
    answered: Instant,
}

impl Uplink {
    fn new(messages: &[(u64, Nature)], refuses_all_until: Duration, window: usize) -> Self {
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
            every: Duration::ZERO,
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
        }
    }

    fn face(&self, index: usize) -> Face {
        // Every message has a topic of its own: the hardest case.
        Face {
            place: (0, Seq(index as u64)),
            key: self.messages[index].0,
            topic: index as u64,
            is_own: false,
        }
    }

    fn is_done(&self, index: usize) -> bool {
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
    fn longest(&self, wanted: impl Fn(usize) -> bool) -> Option<Duration> {
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
        let lays = self.judge.is_watchful() && self.judge.lays_aside(self.face(index));
        if lays {
            self.cursor += 1;
            self.aside.insert(index);
        }
        lays
    }

    fn put(&mut self, index: usize) {
        self.under_way.push_back((index, self.now));
    }

    /// Sends what may be sent; gives when it is to be asked again, and whether an answer has to come first.
    #[expect(clippy::too_many_lines, reason = "a model in one piece")]
    fn fill(&mut self) -> (Option<Instant>, bool) {
        loop {
            let room = self
                .window
                .min(self.open)
                .saturating_sub(self.under_way.len());
            if room == 0 {
                if self.open >= self.window {
                    return (None, true);
                }
                let sent = self.under_way.front().map_or(self.now, |(_, sent)| *sent);
                let at = sent.max(self.answered).max(self.widened) + LATE;
                if at > self.now {
                    return (Some(at), false);
                }
                (self.open, self.widened) = (self.open * 2, self.now);
                continue;
            }
            let step = match self.judge.step(self.now, self.under_way.len(), room) {
                Step::Free => match self.front() {
                    Some(index) => {
                        if !self.lays_aside(index) {
                            self.cursor += 1;
                            self.put(index);
                            self.judge.sent(None, self.now);
                        }
                        continue;
                    }
                    None => self.judge.idle(self.now, self.under_way.len(), room),
                },
                step => step,
            };
            match step {
                Step::Free => return (None, false),
                Step::Wait(at) => return (at, at.is_none() && !self.under_way.is_empty()),
                Step::Again(place) => {
                    let index = usize::try_from(place.1.0).unwrap();
                    assert!(self.aside.remove(&index), "{index} is not aside");
                    self.put(index);
                    self.judge.sent(Some(place), self.now);
                }
                Step::Compare if self.delivered.is_empty() && !self.has_good_bystander() => {
                    self.judge.cannot_compare(self.now)
                }
                Step::Compare => {
                    self.put(COPY);
                    self.judge.asked(!self.delivered.is_empty(), self.now);
                }
            }
        }
    }

    /// Whether one that waits for another one may be compared with it.
    fn has_good_bystander(&self) -> bool {
        let nature = |place: Place| self.messages[usize::try_from(place.1.0).unwrap()].1;
        self.judge
            .bystander()
            .is_some_and(|place| nature(place) == Nature::Good)
    }

    /// What upstream says; where it ends the connection, the first message then without an answer.
    fn answer(&mut self, index: usize) -> Result<(), Option<usize>> {
        if self.now - self.start < self.refuses_all_until {
            match index {
                COPY => self.judge.compared(false, self.now),
                _ => self.refuse(index, true),
            }
            return Ok(());
        }
        if index == COPY {
            self.judge.compared(true, self.now);
            return Ok(());
        }
        let (_, nature, refused) = &mut self.messages[index];
        match nature {
            Nature::Busy(times) if *refused < *times => {
                *refused += 1;
                self.refuse(index, false);
            }
            Nature::Good | Nature::Busy(_) => {
                self.open = self.open.saturating_add(1);
                self.delivered.entry(index).or_insert(self.now - self.start);
                self.order.push(index);
                self.judge.accepted((0, Seq(index as u64)));
            }
            Nature::Final => self.refuse(index, true),
            Nature::FinalAndHangUp => {
                self.refuse(index, true);
                return Err(self.under_way.front().map(|(index, _)| *index));
            }
            Nature::HangUp | Nature::LateHangUp(_) | Nature::Silent => return Err(Some(index)),
        }
        Ok(())
    }

    fn refuse(&mut self, index: usize, is_final: bool) {
        self.aside.insert(index);
        self.judge
            .refused(self.face(index), is_final, String::new(), self.now);
    }

    fn reconnect(&mut self) {
        self.now += match self.judge.haste(self.now) {
            Haste::AtOnce => AT_ONCE,
            Haste::Soon => REDIAL,
            Haste::Later => (REDIAL * 2_u32.pow(self.failures.min(6))).min(Duration::from_secs(60)),
        };
        self.failures += 1;
        (self.open, self.widened) = (if self.judge.is_shaky() { 8 } else { 1 }, self.now);
        self.under_way.clear();
        self.aside.clear();
        self.cursor = 0;
        self.answered = self.now;
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

    /// One answer, one wait, or one deadline.
    #[expect(clippy::too_many_lines, reason = "a model in one piece")]
    fn turn(&mut self) {
        let room = self.room;
        let mut left = room;
        let proven = self.judge.proven(|_| {
            let has_room = left > 0;
            left = left.saturating_sub(1);
            has_room
        });
        proven
            .iter()
            .for_each(|(place, _)| self.park(usize::try_from(place.1.0).unwrap()));
        let (again, is_full) = self.fill();
        let takes = |index: usize| match self.messages.get(index).map(|message| message.1) {
            Some(Nature::Silent) => None,
            Some(Nature::LateHangUp(time)) => Some(time),
            _ => Some(ROUND_TRIP),
        };
        let times = self
            .under_way
            .iter()
            .enumerate()
            .filter_map(|(place, (index, sent))| Some((*sent + takes(*index)?, place)));
        let (answer_at, next) = times.min().unzip();
        let overdue = self.under_way.front().map(|(_, sent)| *sent + OVERDUE);
        let answer = answer_at.map(|at| at.max(self.now));
        // Upstream answers a ping in between.
        let stalled = is_full && !self.judge.is_mute() && !self.under_way.is_empty();
        let stalled = stalled.then(|| {
            self.under_way
                .front()
                .map_or(self.now, |(_, sent)| *sent)
                .max(self.answered)
                + STALLED
        });
        let has_more = self.cursor < self.messages.len() && !self.every.is_zero();
        let arrival = (has_more && !is_full)
            .then(|| self.start + self.arrival(self.cursor))
            .filter(|at| *at > self.now);
        let Some(at) = [answer, again, overdue, stalled, arrival]
            .into_iter()
            .flatten()
            .min()
        else {
            self.now += Duration::from_secs(1);
            return;
        };
        self.now = self.now.max(at);
        if overdue == Some(at) || (stalled == Some(at) && answer != Some(at)) {
            let due = if overdue == Some(at) {
                at - OVERDUE
            } else {
                at
            };
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
            return self.reconnect();
        }
        let Some(place) = next.filter(|_| answer == Some(at)) else {
            return;
        };
        let count = self.under_way.len().saturating_sub(self.judge.mutes_out());
        let (index, _) = self.under_way.remove(place).unwrap();
        self.answered = self.now;
        if let Err(first) = self.answer(index) {
            // What was sent before it and has no answer yet is what an uplink sees as the first.
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
            proven
                .iter()
                .for_each(|(place, _)| self.park(usize::try_from(place.1.0).unwrap()));
            if let Some(place) = self.judge.ended(
                first,
                End {
                    is_hang_up: true,
                    under_way: count,
                },
            ) {
                self.park(usize::try_from(place.1.0).unwrap());
            }
            self.reconnect();
        }
    }

    fn run(&mut self, time: Duration) {
        let mut turns = 0;
        while self.now - self.start < time
            && (0..self.messages.len()).any(|index| !self.is_done(index))
        {
            self.turn();
            turns += 1;
            assert!(turns < 400_000, "it turns and turns: {self:?}");
        }
    }
}

fn nature() -> impl Strategy<Value = Nature> {
    prop_oneof![
        30 => Just(Nature::Good),
        1 => Just(Nature::Final),
        1 => Just(Nature::FinalAndHangUp),
        1 => (1_u32..30).prop_map(Nature::Busy),
        1 => Just(Nature::HangUp),
        1 => Just(Nature::Silent),
    ]
}

fn bad() -> impl Strategy<Value = Nature> {
    prop_oneof![
        Just(Nature::Final),
        (1_u32..30).prop_map(Nature::Busy),
        Just(Nature::HangUp),
        Just(Nature::Silent),
    ]
}

proptest! {
    #[test]
    fn no_other_message_waits_for_more_than_ten_seconds(
        bad in bad(), place in 0_usize..40, keys in 1_u64..6, window in 1_usize..60,
    ) {
        let mut messages: Vec<_> = (0..60).map(|index| (index % keys, Nature::Good)).collect();
        messages[place].1 = bad;
        let mut uplink = Uplink::new(&messages, Duration::ZERO, window);
        uplink.run(Duration::from_secs(200));
        let late = uplink.delivered.iter().filter(|(index, _)| **index != place).map(|(_, at)| *at).max();
        prop_assert!(late.is_some_and(|late| late <= Duration::from_secs(10)), "{late:?} {:?}", uplink);
        let is_kept = matches!(bad, Nature::Busy(times) if times < 4);
        prop_assert!(uplink.is_done(place), "{uplink:?}");
        prop_assert_eq!(uplink.parked.keys().copied().collect::<Vec<_>>(), if is_kept || uplink.delivered.contains_key(&place) { vec![] } else { vec![place] });
    }

    #[test]
    fn many_that_upstream_hangs_up_on_at_once_hold_up_no_other_for_more_than_ten_seconds(
        count in 1_usize..13, places in proptest::collection::vec(0_usize..60, 12), window in 1_usize..100,
        has_more in proptest::bool::ANY, every in 0_u64..100,
    ) {
        let mut messages: Vec<_> = (0..if has_more { 160 } else { 60 }).map(|index| (index % 10, Nature::Good)).collect();
        for (place, key) in places[..count].iter().zip(100..) {
            messages.insert(*place, (key, Nature::HangUp));
        }
        let bad = |index: usize| messages[index].1 != Nature::Good;
        let mut uplink = Uplink::new(&messages, Duration::ZERO, window);
        uplink.every = Duration::from_millis(every);
        uplink.run(Duration::from_secs(200));
        let late = uplink.longest(|index| !bad(index));
        prop_assert!(late.is_some_and(|late| late <= Duration::from_secs(10)), "{late:?} {uplink:?}");
        prop_assert!(uplink.parked.keys().all(|index| bad(*index)) && uplink.parked.len() == count, "{uplink:?}");
    }

    #[test]
    fn one_that_upstream_hangs_up_on_late_holds_up_no_other_for_more_than_ten_seconds(
        place in 0_usize..60, key in 0_u64..11, after in prop_oneof![20_u64..8_000, 2_990_u64..3_040], window in 2_usize..100,
    ) {
        let mut messages: Vec<_> = (0..250).map(|index| (index % 10, Nature::Good)).collect();
        messages.insert(place, (key, Nature::LateHangUp(Duration::from_millis(after))));
        let mut uplink = Uplink::new(&messages, Duration::ZERO, window);
        uplink.every = Duration::from_millis(200);
        uplink.run(Duration::from_secs(200));
        let late = uplink.longest(|index| index != place);
        prop_assert!(late.is_some_and(|late| late <= Duration::from_secs(10)), "{late:?} {:?}", uplink.parked);
        prop_assert_eq!(uplink.parked.keys().copied().collect::<Vec<_>>(), vec![place]);
    }

    #[test]
    fn what_comes_behind_those_that_upstream_hangs_up_on_arrives_though_nothing_was_accepted_before(
        count in 1_usize..13, every in 1_u64..40,
    ) {
        let bad = (0..count).map(|index| (100 + index as u64, Nature::HangUp));
        let messages: Vec<_> = bad.chain((0..60).map(|index| (index % 10, Nature::Good))).collect();
        let mut uplink = Uplink::new(&messages, Duration::ZERO, 100);
        uplink.every = Duration::from_secs(every);
        uplink.run(Duration::from_secs(100 * every));
        let late = uplink.longest(|index| index >= count);
        prop_assert!(late.is_some_and(|late| late <= Duration::from_secs(10)), "{late:?} {uplink:?}");
        prop_assert_eq!(uplink.parked.len(), count);
    }

    #[test]
    fn unanswered_messages_that_fill_the_window_are_passed_within_ten_seconds(
        window in 1_usize..60, more in 0_usize..3, before in 0_usize..3, keys in 1_u64..6,
    ) {
        let silent = window + more * window / 3;
        let mut messages: Vec<_> = (0..silent + 60).map(|index| (index as u64 % keys, Nature::Good)).collect();
        messages[before..before + silent].iter_mut().for_each(|(_, nature)| *nature = Nature::Silent);
        let mut uplink = Uplink::new(&messages, Duration::ZERO, window);
        uplink.run(Duration::from_secs(7_200));
        let late = uplink.delivered.values().max().copied();
        let rounds = u32::try_from(silent.div_ceil(window)).unwrap();
        prop_assert!(late.is_some_and(|late| late <= Duration::from_secs(10) * rounds), "{late:?}");
        prop_assert_eq!((uplink.delivered.len(), uplink.parked.len()), (60, silent));
    }

    #[test]
    fn every_message_is_delivered_or_parked_once_and_keys_keep_their_order(
        messages in proptest::collection::vec((0_u64..5, nature()), 2..120), window in 4_usize..40,
    ) {
        let mut messages = messages;
        // One that upstream takes, whatever else it refuses.
        messages.insert(0, (9, Nature::Good));
        let mut uplink = Uplink::new(&messages, Duration::ZERO, window);
        uplink.run(Duration::from_secs(3_600));
        for (index, (key, nature)) in messages.iter().enumerate() {
            prop_assert!(uplink.is_done(index), "{index} is owed: {uplink:?}");
            if *nature == Nature::Good {
                prop_assert!(uplink.delivered.contains_key(&index), "{index} of key {key} was parked");
            }
        }
        // First deliveries; what lay behind one without an answer in the window is the exception that MQTT makes.
        let mut last = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for index in uplink.order.iter().filter(|index| seen.insert(**index)) {
            let key = messages[*index].0;
            let has_busy = messages.iter().any(|(other, nature)| *other == key && matches!(nature, Nature::Busy(_)));
            if !has_busy {
                prop_assert!(last.insert(key, *index).is_none_or(|before| before < *index), "{:?}", uplink.order);
            }
        }
    }

    #[test]
    fn where_everything_is_refused_nothing_is_parked(
        messages in proptest::collection::vec((0_u64..5, nature()), 1..200), seconds in 0_u64..200, window in 1_usize..100,
    ) {
        let mut messages = messages;
        messages.iter_mut().for_each(|(_, nature)| *nature = if *nature == Nature::Silent { Nature::Good } else { *nature });
        messages.push((9, Nature::Good));
        let until = Duration::from_secs(seconds);
        let mut uplink = Uplink::new(&messages, until, window);
        uplink.run(until);
        prop_assert!(uplink.parked.is_empty() && uplink.delivered.values().all(|at| *at >= until), "{uplink:?}");
        uplink.run(until + Duration::from_secs(3_600));
        let is_lost = |index: &usize| messages[*index].1 == Nature::Good && !uplink.delivered.contains_key(index);
        prop_assert_eq!((0..messages.len()).find(is_lost), None, "{:?}", uplink);
        // The next round of probes comes within ten seconds. Of those that are refused anyway each may be tried three times
        // before the one behind it, and a hang-up costs a connection and a pause.
        let count = |is: fn(&Nature) -> bool| u32::try_from(messages.iter().filter(|(_, nature)| is(nature)).count()).unwrap();
        let bad = count(|nature| *nature != Nature::Good);
        let hang_ups = count(|nature| matches!(nature, Nature::HangUp | Nature::FinalAndHangUp));
        let first = uplink.delivered.values().min().copied().unwrap_or_default();
        let bound = Duration::from_secs(11) * (1 + 3 * bad / u32::try_from(ROUND).unwrap()) + (REDIAL + PROBE.1) * 4 * hang_ups;
        prop_assert!(first <= until + bound, "{first:?} and not {until:?} + {bound:?}");
    }

    #[test]
    fn nothing_is_parked_that_has_no_room(count in 20_usize..400, room in 0_usize..40, one_in in 2_usize..9) {
        let nature = |index| if index % one_in == 0 { Nature::Good } else { Nature::Final };
        let messages: Vec<_> = (0..count).map(|index| (index as u64, nature(index))).collect();
        let mut uplink = Uplink::new(&messages, Duration::ZERO, 20);
        uplink.room = room;
        uplink.run(Duration::from_secs(60));
        let refused = messages.iter().filter(|(_, nature)| *nature == Nature::Final).count();
        prop_assert_eq!(uplink.parked.len(), room.min(refused));
    }
}

#[test]
fn a_hold_has_the_words_of_the_last_refusal_however_few_there_were() {
    let now = Instant::now();
    let mut judge = Judge::new(now);
    judge.begin(now, |_| false);
    let face = Face {
        place: (0, Seq(0)),
        key: 0,
        topic: 0,
        is_own: false,
    };
    judge.sent(None, now);
    judge.refused(face, true, "not authorised".to_owned(), now);
    judge.cannot_compare(now);
    assert!(judge.held_since().is_some());
    assert_eq!(judge.why(), "not authorised");
}
