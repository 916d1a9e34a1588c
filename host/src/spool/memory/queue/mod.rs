//! What one queue owes: pure state, no disk and no clock. The caller holds its lock for memory work only.
//!
//! ```text
//!        accepted    on disk, in chunks            in RAM
//!      ───────────┬─────────────────────────────┬───────────────────┐
//!                low                        tail.end               next
//!                 │  [a]     [a]                │        [a]        │      [a]: accepted ahead of low
//! ```
//!
//! Disk holds a contiguous prefix of what is owed, RAM the rest. Places are never used twice: a new boot begins at a
//! base of its own, and the places in between count as accepted.

pub(crate) mod drop;
pub(crate) mod fresh;
pub(crate) mod head;
mod in_flight;
pub(crate) mod low;
mod marked;
pub(crate) mod spill;
mod tail;
mod told;

use std::sync::Arc;

use crate::clock::RunningTime;
use crate::message::{Fetch, Message, Receipt, Seq, Stored};
use crate::spool::disk::chunk::Extent;
use crate::spool::disk::mark::QueueMark;
use crate::spool::drop_policy::Policy;
use crate::spool::memory::queue::head::Head;
use crate::spool::memory::queue::in_flight::InFlight;
use crate::spool::memory::queue::marked::Marked;
use crate::spool::memory::queue::tail::Tail;
use crate::spool::memory::queue::told::MarkLag;
use crate::spool::memory::ram::Ram;
use crate::spool::memory::ranges::Ranges;

/// When a queue wants to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueLimits {
    /// How long a message may wait in RAM, microseconds.
    pub linger_us: u64,
    pub head_bytes: usize,
    /// What is given up, and when.
    pub policy: Policy,
}

/// Numbers of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct QueueTally {
    /// Messages in RAM not accepted.
    pub in_ram: u64,
    /// Messages on disk not accepted.
    pub on_disk: u64,
    pub ram_bytes: u64,
    /// Bytes of the chunks.
    pub disk_bytes: u64,
    pub unsettled: u64,
    /// Running clock of the oldest message owed, microseconds.
    pub oldest: Option<RunningTime>,
    /// Messages appended since the start.
    pub appended: u64,
    /// Bytes of payload appended since the start.
    pub payload: u64,
    /// Messages accepted since the start.
    pub accepted: u64,
    /// Messages dropped from RAM because the store could not write.
    pub dropped: u64,
    /// Messages lost to damage on disk.
    pub damaged: u64,
}

impl QueueTally {
    /// Messages not accepted, in RAM and on disk.
    pub(crate) fn owed(&self) -> u64 {
        self.in_ram + self.on_disk
    }
}

/// One queue: which places are owed, and the parts that hold them.
#[derive(Debug)]
pub(crate) struct Queue {
    /// The first place that is not accepted.
    low: Seq,
    /// What is accepted ahead of it.
    accepted: Ranges,
    /// Not handed out again: refused for good, expired or given up by hand, until that is on the medium.
    barred: Ranges,
    tail: Tail,
    head: Head,
    in_flight: InFlight,
    marked: Marked,
    told: MarkLag,
    /// Until then there is nothing to give up.
    rest_until: RunningTime,
    tally: QueueTally,
}

impl Queue {
    /// What the store holds, with new places from this boot's base on. `first` is the first chunk, if there is one.
    pub(crate) fn new(boot: u32, stored: QueueMark, first: Option<Extent>) -> Self {
        let base = Seq::base_of(boot).max(stored.end).max(stored.low);
        let owes = stored.low < stored.end;
        let mut accepted = Ranges::default();
        if owes {
            accepted.insert(stored.end, base);
        }
        Self {
            low: if owes { stored.low } else { base },
            accepted,
            barred: Ranges::default(),
            tail: Tail::new(stored, first),
            head: Head::new(base),
            in_flight: InFlight::default(),
            marked: Marked::default(),
            told: MarkLag {
                noted: stored.low,
                ..MarkLag::default()
            },
            rest_until: RunningTime::START,
            tally: QueueTally::default(),
        }
    }

    /// What it holds in RAM is of this account. For a queue that holds nothing yet.
    pub(crate) fn with_ram(mut self, ram: &Arc<Ram>) -> Self {
        self.head.count_in(ram);
        self
    }

    /// Bytes it holds in RAM.
    pub(crate) fn ram_bytes(&self) -> usize {
        self.head.bytes()
    }

    /// The first place that is not accepted.
    pub(crate) fn low(&self) -> Seq {
        self.low
    }

    /// The place the next message gets.
    pub(crate) fn next(&self) -> Seq {
        self.head.next()
    }

    /// The place the next chunk begins at.
    pub(crate) fn spilled(&self) -> Seq {
        self.tail.end.max(self.low)
    }

    pub(crate) fn append(&mut self, message: Message, receipt: Option<Receipt>, now: RunningTime) {
        self.tally.appended += 1;
        self.tally.payload += message.payload.len() as u64;
        self.head.push(message, receipt, now);
    }

    /// When the queue wants to be written; the start for at once.
    pub(crate) fn due(&self, limits: QueueLimits) -> Option<RunningTime> {
        self.low_due()
            .into_iter()
            .chain(self.spill_due(limits))
            .chain(self.policy_due(limits.policy))
            .min()
    }

    /// When the RAM head wants to be spilled.
    pub(crate) fn spill_due(&self, limits: QueueLimits) -> Option<RunningTime> {
        self.head.spill_due(limits.head_bytes, limits.linger_us)
    }

    /// Whether what is in RAM cannot stay there: the head is full, or a source is known to wait for it.
    pub(crate) fn is_urgent(&self, head_bytes: usize) -> bool {
        self.head.is_urgent(head_bytes)
    }

    /// The first owed place at or after `from` that may be fetched.
    fn owed_from(&self, from: Seq) -> Seq {
        let mut place = from.max(self.low);
        loop {
            let next = self.accepted.skip(place);
            place = self.barred.skip(next);
            if place == next {
                return next;
            }
        }
    }

    /// The first owed place on disk at or after `from`; none while a commit under way decides on it.
    pub(crate) fn owed_on_disk(&self, from: Seq) -> Option<Seq> {
        Some(self.owed_from(from))
            .filter(|place| *place < self.tail.end && !self.is_marked_for_drop(*place))
    }

    /// Does what [`crate::message::Backlog::fetch`] says of one queue.
    pub(crate) fn fetch(&self, from: Seq, max: usize, max_bytes: usize) -> Fetch {
        let from = self.owed_from(from);
        if self.is_marked_for_drop(from) && !self.in_flight.is_fresh_first() {
            // Not to be passed over: should the commit fail, it is owed again. Whoever found nothing is woken for then.
            return Fetch::Empty;
        }
        if self.in_flight.is_fresh_first() {
            return if self.to_replay(from).is_some() {
                Fetch::Spilled
            } else {
                Fetch::Empty
            };
        }
        if from < self.tail.end {
            return Fetch::Spilled;
        }
        self.fetch_from_ram(from, max, max_bytes)
    }

    /// What is owed from `from` on, which lies in RAM.
    fn fetch_from_ram(&self, from: Seq, max: usize, max_bytes: usize) -> Fetch {
        let mut found = Vec::with_capacity(max.min(self.head.count_from(from)));
        let mut bytes = 0;
        for (place, held) in self.head.iter_from(from) {
            let Some(message) = &held.message else {
                continue;
            };
            if found.len() >= max.max(1)
                || (bytes > 0 && bytes + message.weight() > max_bytes)
                || self.is_marked_for_drop(place)
            {
                break;
            }
            if self.barred.has(place) {
                continue;
            }
            bytes += message.weight();
            found.push(Stored {
                seq: place,
                message: message.clone(),
            });
        }
        if found.is_empty() {
            Fetch::Empty
        } else {
            Fetch::Ready(found)
        }
    }

    /// Upstream has `from..to`. What must be released goes into `released`.
    pub(crate) fn accept(
        &mut self,
        from: Seq,
        to: Seq,
        now: RunningTime,
        released: &mut Vec<Receipt>,
    ) -> u64 {
        let fresh = self.settle(from, to, now, released);
        self.tally.accepted += fresh;
        fresh
    }

    fn settle(&mut self, from: Seq, to: Seq, now: RunningTime, released: &mut Vec<Receipt>) -> u64 {
        let from = from.max(self.low);
        let to = to.min(self.next());
        if from >= to {
            return 0;
        }
        let on_disk = self.accepted.insert(from, to.min(self.tail.end));
        let in_ram = self.accepted.insert(from.max(self.tail.end), to);
        self.tail.owed = self.tail.owed.saturating_sub(on_disk);
        for place in from.max(self.head.start()).up_to(to) {
            self.head.take(place, released);
        }
        self.advance(now);
        on_disk + in_ram
    }

    /// Moves `low` over what is accepted and forgets what lies before it.
    fn advance(&mut self, now: RunningTime) {
        self.head.trim();
        let low = self.accepted.skip(self.low);
        if low == self.low {
            return;
        }
        self.low = low;
        self.accepted.forget_before(low);
        self.barred.forget_before(low);
        self.in_flight.forget_before(low);
        self.head.pass(low);
        self.tail.pass(low);
        self.note_change(now);
    }

    /// This one has come to its end otherwise: it is not fetched again. False when that is known already, or a commit under
    /// way gives it up.
    pub(crate) fn refuse(&mut self, place: Seq) -> bool {
        place < self.next() && self.is_owed(place) && self.barred.insert(place, place.next()) > 0
    }

    pub(crate) fn tally(&self) -> QueueTally {
        let oldest = if self.tail.owed > 0 {
            Some(self.tail.since)
        } else {
            self.head.oldest()
        };
        QueueTally {
            in_ram: self.head.live(),
            on_disk: self.tail.owed,
            ram_bytes: self.head.bytes() as u64,
            disk_bytes: self.tail.bytes,
            unsettled: self.head.unsettled(),
            oldest,
            ..self.tally
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::message::{Burst, Settled, Wait};
    use crate::spool::memory::queue::head::{HeadMessage, release};
    use std::collections::VecDeque;

    const LOW_EVERY_US: u64 = 1_000_000;
    const LIMITS: QueueLimits = QueueLimits {
        linger_us: 1_000,
        head_bytes: 1_000,
        policy: Policy::UNLIMITED,
    };

    fn empty() -> Queue {
        Queue::new(0, QueueMark::default(), None)
    }

    fn filled(count: u64) -> Queue {
        let mut queue = empty();
        for _ in 0..count {
            queue.append(Message::default(), None, RunningTime(5));
        }
        queue
    }

    fn places(fetched: Fetch) -> Vec<u64> {
        match fetched {
            Fetch::Ready(list) => list.iter().map(|stored| stored.seq.0).collect(),
            _ => Vec::new(),
        }
    }

    /// A commit of everything in RAM as chunks of `size` places.
    fn spill(queue: &mut Queue, size: u64) -> VecDeque<HeadMessage> {
        let (from, end) = queue.cut();
        let chunks: Vec<_> = from
            .up_to(end)
            .step_by(usize::try_from(size).unwrap())
            .map(|first| Extent {
                first,
                end: first.plus(size).min(end),
                bytes: 10,
                since: RunningTime(5),
            })
            .collect();
        let (mark, _) = queue
            .plan(end, 10 * chunks.len() as u64, RunningTime::START)
            .unwrap();
        queue.committed(&chunks, mark, RunningTime(9))
    }

    #[test]
    fn acceptance_ahead_of_low_waits_for_the_gap_to_close() {
        let mut queue = filled(6);
        let mut released = Vec::new();
        assert_eq!(
            queue.accept(Seq(3), Seq(5), RunningTime(9), &mut released),
            2
        );
        assert_eq!((queue.low().0, queue.tally().in_ram), (0, 4));
        assert_eq!(places(queue.fetch(Seq(0), 9, 99_999)), [0, 1, 2, 5]);
        assert_eq!(places(queue.fetch(Seq(4), 9, 99_999)), [5]);
        assert_eq!(
            queue.accept(Seq(0), Seq(4), RunningTime(9), &mut released),
            3
        );
        assert_eq!((queue.low().0, queue.tally().accepted), (5, 5));
        assert_eq!(
            queue.accept(Seq(0), Seq(5), RunningTime(9), &mut released),
            0
        );
    }

    #[test]
    fn what_one_way_out_has_taken_no_other_takes() {
        let mut queue = filled(6);
        queue.mark_for_drop(Seq(1), Seq(3));
        assert!(
            queue.refuse(Seq(0)) && !queue.refuse(Seq(1)),
            "1 goes with the commit under way"
        );
        assert_eq!(
            queue
                .shed(0, RunningTime(9))
                .iter()
                .map(|(place, _)| place.0)
                .collect::<Vec<_>>(),
            [3, 4, 5]
        );
        queue.append(Message::default(), None, RunningTime(5));
        let (places, owed) = queue.abandon();
        assert_eq!(
            (places.len(), places[0].clone(), owed),
            (1, Seq(3)..Seq(7), 1)
        );
    }

    #[test]
    fn a_fetch_ends_at_its_limits_but_brings_one() {
        let queue = filled(6);
        assert_eq!(places(queue.fetch(Seq(2), 3, 99_999)), [2, 3, 4]);
        assert_eq!(places(queue.fetch(Seq(2), 3, 1)), [2]);
        assert!(matches!(queue.fetch(Seq(6), 3, 1), Fetch::Empty));
    }

    #[test]
    fn receipts_are_released_by_acceptance_or_by_the_commit_and_by_nothing_else() {
        let settled = Arc::new(Settled::default());
        let burst = Burst::new(Arc::clone(&settled), [1, 1, 1]);
        let mut queue = empty();
        for index in 0..3 {
            queue.append(
                Message::default(),
                Some(burst.receipt(index)),
                RunningTime(5),
            );
        }
        let mut released = Vec::new();
        queue.accept(Seq(0), Seq(1), RunningTime(9), &mut released);
        assert_eq!((released.len(), queue.tally().unsettled), (1, 2));
        released.into_iter().for_each(Receipt::release);
        let done = spill(&mut queue, 10);
        assert!(burst.is_settled(0) && !burst.is_settled(1) && queue.tally().unsettled == 0);
        release(done);
        assert!(burst.all_settled());
    }

    #[test]
    fn the_oldest_message_the_bytes_and_a_pressed_source_each_make_a_spill_due() {
        let mut queue = empty();
        assert_eq!(queue.due(LIMITS), None);
        queue.append(Message::default(), None, RunningTime(5));
        queue.append(Message::default(), None, RunningTime(800));
        assert_eq!(queue.due(LIMITS), Some(RunningTime(1_005)));
        queue.accept(Seq(0), Seq(1), RunningTime(9), &mut Vec::new());
        assert_eq!(queue.due(LIMITS), Some(RunningTime(1_800)));
        let settled = Arc::new(Settled::default());
        settled.press(true);
        let burst = Burst::new(settled, [1]);
        queue.append(Message::default(), Some(burst.receipt(0)), RunningTime(900));
        assert_eq!(queue.due(LIMITS), Some(RunningTime::START));
        queue.cut();
        queue.press(Wait::Likely);
        assert!(
            queue.due(LIMITS) == Some(RunningTime::START) && !queue.is_urgent(LIMITS.head_bytes),
            "it costs nobody his room"
        );
        queue.cut();
        assert_eq!(queue.due(LIMITS), Some(RunningTime(1_800)));
        for _ in 0..6 {
            queue.append(Message::default(), None, RunningTime(900));
        }
        assert_eq!(queue.due(LIMITS), Some(RunningTime::START));
        let mut released = Vec::new();
        queue.accept(Seq(0), Seq(99), RunningTime(9), &mut released);
        assert_eq!(queue.due(LIMITS), None);
        released.into_iter().for_each(Receipt::release);
    }

    #[test]
    fn whole_chunks_are_deleted_once_low_has_passed_them() {
        let mut queue = filled(10);
        spill(&mut queue, 4);
        assert!(matches!(queue.fetch(Seq(0), 9, 9), Fetch::Spilled));
        assert_eq!(
            (
                queue.tally().on_disk,
                queue.tally().in_ram,
                queue.tally().disk_bytes
            ),
            (10, 0, 30)
        );
        queue.accept(Seq(4), Seq(8), RunningTime(20), &mut Vec::new());
        assert!(queue.tail.gone() == 0);
        assert_eq!((queue.tally().on_disk, queue.due(LIMITS)), (6, None));
        queue.accept(Seq(0), Seq(2), RunningTime(30), &mut Vec::new());
        assert_eq!(queue.due(LIMITS), Some(RunningTime(30 + LOW_EVERY_US)));
        queue.accept(Seq(2), Seq(4), RunningTime(40), &mut Vec::new());
        assert_eq!(
            (
                queue.low().0,
                queue.tail.take_gone(),
                queue.tally().disk_bytes
            ),
            (8, vec![Seq(0), Seq(4)], 10)
        );
    }

    #[test]
    fn what_is_accepted_while_a_spill_is_under_way_counts_as_accepted() {
        let mut queue = filled(6);
        let (from, end) = queue.cut();
        queue.append(Message::default(), None, RunningTime(9));
        let chunks = [
            Extent {
                first: from,
                end: Seq(3),
                bytes: 1,
                since: RunningTime(5),
            },
            Extent {
                first: Seq(3),
                end,
                bytes: 1,
                since: RunningTime(5),
            },
        ];
        let (mark, _) = queue.plan(end, 2, RunningTime::START).unwrap();
        assert_eq!(mark.owed, 6);
        queue.accept(Seq(0), Seq(4), RunningTime(9), &mut Vec::new());
        assert_eq!(places(queue.fetch(Seq(0), 9, 99_999)), [4, 5, 6]);
        assert_eq!(queue.committed(&chunks, mark, RunningTime(9)).len(), 2);
        assert_eq!(queue.tail.take_gone(), [Seq(0)]);
        assert_eq!(
            (queue.low().0, queue.tally().on_disk, queue.tally().in_ram),
            (4, 2, 1)
        );
        assert_eq!(
            queue.due(QueueLimits {
                linger_us: 1 << 40,
                ..LIMITS
            }),
            Some(RunningTime(9 + LOW_EVERY_US))
        );
    }

    #[test]
    fn a_new_boot_takes_places_of_its_own_behind_what_is_on_disk() {
        let stored = QueueMark {
            low: Seq(7),
            end: Seq(9),
            owed: 2,
            bytes: 100,
            clock: RunningTime(50),
        };
        let mut queue = Queue::new(3, stored, None);
        queue.append(Message::default(), None, RunningTime(60));
        assert_eq!(
            (queue.low().0, queue.tally().on_disk, queue.tally().in_ram),
            (7, 2, 1)
        );
        assert_eq!(queue.owed_on_disk(Seq(0)), Some(Seq(7)));
        queue.accept(Seq(7), Seq(9), RunningTime(61), &mut Vec::new());
        assert_eq!(
            (queue.low().0, queue.owed_on_disk(Seq(0))),
            (Seq::base_of(3).0, None)
        );
        assert_eq!(places(queue.fetch(Seq(0), 9, 9)), [Seq::base_of(3).0]);
    }

    #[test]
    fn only_messages_without_a_receipt_are_dropped_and_the_oldest_first() {
        let burst = Burst::new(Arc::new(Settled::default()), [1, 1]);
        let mut queue = empty();
        queue.append(Message::default(), Some(burst.receipt(0)), RunningTime(5));
        for _ in 0..4 {
            queue.append(Message::default(), None, RunningTime(5));
        }
        queue.append(Message::default(), Some(burst.receipt(1)), RunningTime(5));
        let weight = Message::default().weight();
        assert_eq!(queue.shed(4 * weight, RunningTime(9)).len(), 2);
        assert_eq!(places(queue.fetch(Seq(0), 9, 99_999)), [0, 3, 4, 5]);
        assert_eq!(queue.shed(0, RunningTime(9)).len(), 2);
        assert_eq!(
            (
                places(queue.fetch(Seq(0), 9, 99_999)),
                queue.tally().dropped
            ),
            (vec![0, 5], 4)
        );
        let mut released = Vec::new();
        queue.accept(Seq(0), Seq(6), RunningTime(9), &mut released);
        assert_eq!(
            (released.len(), queue.low().0, queue.tally().accepted),
            (2, 6, 2)
        );
        released.into_iter().for_each(Receipt::release);
    }

    #[test]
    fn a_refused_message_is_not_fetched_again_and_holds_low_back() {
        let mut queue = filled(3);
        assert!(queue.refuse(Seq(1)) && !queue.refuse(Seq(1)));
        queue.accept(Seq(0), Seq(1), RunningTime(9), &mut Vec::new());
        assert_eq!(
            (places(queue.fetch(Seq(0), 9, 99_999)), queue.low().0),
            (vec![2], 1)
        );
        queue.accept(Seq(1), Seq(2), RunningTime(9), &mut Vec::new());
        assert_eq!((queue.low().0, queue.refuse(Seq(1))), (2, false));
    }

    #[test]
    fn places_that_the_disk_lost_are_counted_once_and_passed() {
        let mut queue = filled(6);
        spill(&mut queue, 2);
        queue.accept(Seq(0), Seq(1), RunningTime(9), &mut Vec::new());
        assert_eq!(
            (
                queue.lose(Seq(0), Seq(4), None),
                queue.lose(Seq(0), Seq(4), None)
            ),
            (Some(3), None)
        );
        assert_eq!(
            (
                queue.low().0,
                queue.owed_on_disk(Seq(0)),
                queue.tally().damaged,
                queue.tally().on_disk
            ),
            (1, Some(Seq(4)), 3, 5)
        );
        queue.expire(Seq(1), Seq(4), RunningTime(9), &mut Vec::new());
        assert_eq!((queue.low().0, queue.tally().on_disk), (4, 2));
        assert_eq!(
            (
                queue.lose(Seq(4), Seq(6), Some(1)),
                queue.owed_on_disk(Seq(0))
            ),
            (Some(1), None)
        );
    }

    #[test]
    fn a_chunk_that_is_read_tells_its_size_and_its_settled_places() {
        let mut queue = Queue::new(
            0,
            QueueMark {
                low: Seq(2),
                end: Seq(9),
                owed: 5,
                bytes: 50,
                clock: RunningTime::START,
            },
            None,
        );
        queue.learn(
            Extent {
                first: Seq(0),
                end: Seq(6),
                bytes: 30,
                since: RunningTime(4),
            },
            [1, 3, 4].map(Seq).into_iter(),
            RunningTime(9),
        );
        assert_eq!((queue.low().0, queue.tally().on_disk), (3, 5));
        queue.accept(Seq(3), Seq(5), RunningTime(9), &mut Vec::new());
        assert_eq!(
            (
                queue.low().0,
                queue.tail.take_gone(),
                queue.tally().disk_bytes
            ),
            (6, vec![Seq(0)], 20)
        );
    }
}
