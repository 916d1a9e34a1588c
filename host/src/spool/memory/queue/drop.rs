//! What a queue gives up: what may go, what is marked for drop by a commit under way, and what that commit changes.
//!
//! A message is marked for drop when a commit is about to give it up: it is not handed out any more, and still owed until the
//! ledger has it. What the uplink has in hand on this connection is never marked for drop, so nothing is both delivered and
//! counted as given up.

use std::collections::HashMap;

use bytes::Bytes;

use crate::clock::RunningTime;
use crate::message::{Receipt, Seq, Stored};
use crate::spool::disk::chunk::{ChunkContent, Extent};
use crate::spool::disk::mark::QueueMark;
use crate::spool::drop_policy::Policy;
use crate::spool::memory::queue::Queue;
use crate::spool::memory::queue::marked::Marked;
use crate::spool::memory::ranges::Ranges;
use crate::spool::space::wear::QueueInflow;

/// The messages of a chunk that are owed.
pub(crate) struct SupersededSplit {
    /// The last of their topics.
    pub kept: Vec<Stored>,
    pub superseded: Vec<Stored>,
}

/// After a look that found nothing to give up: all that could go is in the uplink's hand.
const REST_US: u64 = 1_000_000;

impl Queue {
    /// The uplink has everything before `place` in hand, as far as it is owed.
    pub(crate) fn mark_in_flight(&mut self, place: Seq) {
        self.in_flight.mark(place);
    }

    /// The connection is gone, and with it what was in hand.
    pub(crate) fn take_back(&mut self) {
        self.in_flight.clear();
        self.rest_until = RunningTime::START;
    }

    /// The place behind all that the uplink has in hand.
    pub(crate) fn in_flight_end(&self) -> Seq {
        self.in_flight.end()
    }

    /// Bytes of the chunks on disk.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.tail.bytes.saturating_sub(self.marked.bytes())
    }

    /// Bytes on disk that its class may give up, as far as the uplink lets go of them.
    pub(crate) fn bytes_to_give(&self, policy: Policy, now: RunningTime) -> u64 {
        let may_give = policy.gives_up_on_full_disk() && self.rest_until <= now;
        if may_give { self.disk_bytes() } else { 0 }
    }

    /// What fills the queue, where its class sets it a limit that loses messages.
    pub(crate) fn filling(&self, policy: Policy) -> Option<QueueInflow> {
        let payload = self.tally.payload;
        let room = policy.room_left(self.tail.bytes)?;
        let is_full = policy.is_filled(self.tail.bytes);
        Some(QueueInflow {
            room,
            payload,
            is_full,
        })
    }

    /// When something on disk is to be given up.
    pub(crate) fn policy_due(&self, policy: Policy) -> Option<RunningTime> {
        if self.tail.owed == 0 {
            return None;
        }
        let is_over = policy.is_over(self.tail.bytes);
        let expires = policy.max_age_us().map(|age| self.tail.since.plus_us(age));
        is_over
            .then_some(RunningTime::START)
            .into_iter()
            .chain(expires)
            .min()
            .map(|due| due.max(self.rest_until))
    }

    /// Nothing can go at the moment.
    pub(crate) fn rest(&mut self, now: RunningTime) {
        self.rest_until = now.plus_us(REST_US);
    }

    /// The first place on disk at or after `from` that may be given up.
    pub(crate) fn victim(&self, from: Seq) -> Option<Seq> {
        let mut place = from.max(self.in_flight.in_order_end());
        loop {
            place = self.owed_from(place);
            let next = self.marked.skip(place);
            if next == place {
                return Some(place).filter(|place| *place < self.tail.end);
            }
            place = next;
        }
    }

    /// Whether a commit under way is about to give `place` up.
    pub(crate) fn is_marked_for_drop(&self, place: Seq) -> bool {
        self.marked.has(place)
    }

    /// The front of the disk's part came at `since`; the clock of an unknown chunk is its predecessor's.
    pub(crate) fn note_front(&mut self, extent: Extent) {
        if extent.first <= self.low {
            self.tail.since = extent.since;
        }
    }

    /// A chunk that was read is marked for drop; `owed` gets what of it is owed.
    pub(crate) fn mark_chunk_for_drop(
        &mut self,
        extent: Extent,
        messages: Vec<Stored>,
        now: RunningTime,
        owed: &mut Vec<Stored>,
    ) {
        self.learn(extent, messages.iter().map(|stored| stored.seq), now);
        owed.extend(
            messages
                .into_iter()
                .filter(|stored| self.is_owed(stored.seq)),
        );
        self.marked.insert(extent.first.max(self.low), extent.end);
        self.marked.add_bytes(extent.bytes);
    }

    /// Of a chunk that was read, what a later message of its topic supersedes is marked for drop. `None` when that is nothing, or
    /// the uplink has some of the chunk in hand.
    pub(crate) fn mark_superseded_for_drop(
        &mut self,
        content: ChunkContent,
        last: &HashMap<Bytes, Seq>,
        now: RunningTime,
    ) -> Option<SupersededSplit> {
        let ChunkContent { extent, messages } = content;
        if self.holds(extent) {
            return None;
        }
        self.learn(extent, messages.iter().map(|stored| stored.seq), now);
        let owed = messages
            .into_iter()
            .filter(|stored| self.is_owed(stored.seq));
        let (kept, superseded): (Vec<_>, Vec<_>) = owed.partition(|stored| {
            last.get(&stored.message.topic)
                .is_none_or(|last| *last == stored.seq)
        });
        if superseded.is_empty() {
            return None;
        }
        for stored in &superseded {
            self.marked.insert(stored.seq, stored.seq.next());
        }
        self.marked.add_bytes(extent.bytes);
        Some(SupersededSplit { kept, superseded })
    }

    /// The messages between these places are marked for drop.
    pub(crate) fn mark_for_drop(&mut self, from: Seq, to: Seq) {
        self.marked.insert(from.max(self.low), to);
    }

    /// Of what was marked for drop only these are, after all.
    pub(crate) fn mark_only(&mut self, places: Ranges) {
        self.marked.keep_only(places);
    }

    /// A place that stands for others is marked for drop: what it stands for is settled already.
    pub(crate) fn mark_hole_for_drop(&mut self, hole: Extent) {
        self.marked.add_bytes(hole.bytes);
    }

    /// A hole that ends where `first` begins and can be made longer.
    pub(crate) fn hole_before(&self, first: Seq) -> Option<Extent> {
        self.tail.hole_before(first)
    }

    /// Where `low` will be once what is marked for drop is gone.
    pub(crate) fn low_then(&self) -> Seq {
        let mut low = self.low;
        loop {
            let next = self.marked.skip(self.accepted.skip(low));
            if next == low {
                return low;
            }
            low = next;
        }
    }

    /// Doomed messages before `end` that are still owed.
    pub(super) fn marked_before(&self, end: Seq) -> u64 {
        let ranges = self
            .marked
            .iter()
            .map(|(from, to)| (from.max(self.low), to.min(end)));
        ranges
            .filter(|(from, to)| from < to)
            .map(|(from, to)| to.places_since(from) - self.accepted.covered(from, to))
            .sum()
    }

    /// The ledger has what is marked for drop for good: it is owed no more, and `victims` are not on disk any more.
    pub(crate) fn give_up(
        &mut self,
        victims: &[Extent],
        now: RunningTime,
        released: &mut Vec<Receipt>,
    ) {
        for extent in victims {
            self.tail.remove(extent.first);
        }
        for (from, to) in self.marked.take().iter() {
            self.settle(from, to, now, released);
        }
    }

    /// The ledger has these places as expired: they are owed no more.
    pub(crate) fn expire(
        &mut self,
        from: Seq,
        to: Seq,
        now: RunningTime,
        released: &mut Vec<Receipt>,
    ) {
        let lost = self.tail.settle_lost(from);
        self.settle(from, to, now, released);
        if let Some(owed) = lost.filter(|_| self.low < self.tail.end) {
            self.tail.owed = owed;
        }
    }

    /// The commit failed: everything is owed as before.
    pub(crate) fn unmark_for_drop(&mut self) {
        self.marked = Marked::default();
    }

    /// The same, of what is in RAM only.
    pub(crate) fn unmark_ram(&mut self) {
        self.marked.forget_from(self.head.start());
    }

    /// What the store is to be told.
    pub(super) fn mark_then(&self, end: Seq, bytes: u64, clock: RunningTime) -> QueueMark {
        let owed = (self.tail.owed + self.owed_between(self.tail.end, end))
            .saturating_sub(self.marked_before(end));
        let bytes = (self.tail.bytes + bytes).saturating_sub(self.marked.bytes());
        QueueMark {
            low: self.low_then().min(end),
            end,
            owed,
            bytes,
            clock,
        }
    }
}
