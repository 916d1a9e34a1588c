//! What a queue gives up: what may go, what is doomed by a commit under way, and what that commit changes.
//!
//! A message is doomed when a commit is about to give it up: it is not handed out any more, and still owed until the
//! ledger has it. What the uplink has in hand on this connection is never doomed, so nothing is both delivered and
//! counted as given up.

use std::collections::HashMap;

use bytes::Bytes;

use super::{Mark, Queue, Ranges};
use crate::message::{Receipt, Stored};
use crate::spool::card::Filling;
use crate::spool::chunk::{Content, Extent};
use crate::spool::settings::{Giving, Policy};

/// The messages of a chunk that are owed.
pub(in crate::spool) struct Split {
    /// The last of their topics.
    pub kept: Vec<Stored>,
    /// The others.
    pub superseded: Vec<Stored>,
}

/// After a look that found nothing to give up: all that could go is in the uplink's hand.
const REST_US: u64 = 1_000_000;

impl Queue {
    /// The uplink has everything before `place` in hand, as far as it is owed.
    pub(in crate::spool) fn lend(&mut self, place: u64) {
        self.lent = self.lent.max(place);
    }

    /// The connection is gone, and with it what was in hand.
    pub(in crate::spool) fn take_back(&mut self) {
        (self.lent, self.rest_until_us) = (0, 0);
        self.ahead
            .iter_mut()
            .for_each(|ahead| *ahead = Ranges::default());
    }

    /// The place behind all that the uplink has in hand.
    pub(in crate::spool) fn lent(&self) -> u64 {
        self.lent.max(self.ahead.as_ref().map_or(0, Ranges::end))
    }

    /// Bytes of the chunks on disk.
    pub(in crate::spool) fn disk_bytes(&self) -> u64 {
        self.disk_bytes.saturating_sub(self.doomed_bytes)
    }

    /// Bytes on disk that its class may give up, as far as the uplink lets go of them.
    pub(in crate::spool) fn bytes_to_give(&self, policy: Policy, now_us: u64) -> u64 {
        let may_give = policy.giving != Giving::Newest
            && policy.max_bytes < u64::MAX
            && self.rest_until_us <= now_us;
        if may_give { self.disk_bytes() } else { 0 }
    }

    /// What fills the queue, where its class sets it a limit that loses messages.
    pub(in crate::spool) fn filling(&self, policy: Policy) -> Option<Filling> {
        let has_limit = policy.max_bytes < u64::MAX && policy.giving != Giving::KeepLastPerTopic;
        let room = policy.max_bytes.saturating_sub(self.disk_bytes);
        has_limit.then_some(Filling {
            room,
            payload: self.tally.payload,
        })
    }

    /// When something on disk is to be given up (running clock).
    pub(in crate::spool) fn policy_due(&self, policy: Policy) -> Option<u64> {
        if self.disk_owed == 0 {
            return None;
        }
        let is_over = policy.giving != Giving::Newest && self.disk_bytes > policy.max_bytes;
        let expires = policy
            .max_age_us()
            .map(|age| self.disk_since_us.saturating_add(age));
        is_over
            .then_some(0)
            .into_iter()
            .chain(expires)
            .min()
            .map(|due| due.max(self.rest_until_us))
    }

    /// Nothing can go at the moment.
    pub(in crate::spool) fn rest(&mut self, now_us: u64) {
        self.rest_until_us = now_us.saturating_add(REST_US);
    }

    /// The first place on disk at or after `from` that may be given up.
    pub(in crate::spool) fn victim(&self, from: u64) -> Option<u64> {
        let mut place = from.max(self.lent);
        loop {
            place = self.owed_from(place);
            let next = self.doomed.skip(place);
            if next == place {
                return Some(place).filter(|place| *place < self.disk_end);
            }
            place = next;
        }
    }

    /// Whether a commit under way is about to give `place` up.
    pub(in crate::spool) fn is_doomed(&self, place: u64) -> bool {
        self.doomed.has(place)
    }

    /// The front of the disk's part came at `since_us`; the clock of an unknown chunk is its predecessor's.
    pub(in crate::spool) fn note_front(&mut self, extent: Extent) {
        if extent.first <= self.low {
            self.disk_since_us = extent.since_us;
        }
    }

    /// A chunk that was read is doomed; `owed` gets what of it is owed.
    pub(in crate::spool) fn doom_chunk(
        &mut self,
        extent: Extent,
        messages: Vec<Stored>,
        now_us: u64,
        owed: &mut Vec<Stored>,
    ) {
        self.learn(extent, messages.iter().map(|stored| stored.seq.0), now_us);
        owed.extend(
            messages
                .into_iter()
                .filter(|stored| self.is_owed(stored.seq.0)),
        );
        self.doomed.insert(extent.first.max(self.low), extent.end);
        self.doomed_bytes += extent.bytes;
    }

    /// Of a chunk that was read, what a later message of its topic supersedes is doomed. `None` when that is nothing, or
    /// the uplink has some of the chunk in hand.
    pub(in crate::spool) fn doom_superseded(
        &mut self,
        content: Content,
        last: &HashMap<Bytes, u64>,
        now_us: u64,
    ) -> Option<Split> {
        let Content { extent, messages } = content;
        if self.holds(extent) {
            return None;
        }
        self.learn(extent, messages.iter().map(|stored| stored.seq.0), now_us);
        let owed = messages
            .into_iter()
            .filter(|stored| self.is_owed(stored.seq.0));
        let (kept, superseded): (Vec<_>, Vec<_>) = owed.partition(|stored| {
            last.get(&stored.message.topic)
                .is_none_or(|last| *last == stored.seq.0)
        });
        if superseded.is_empty() {
            return None;
        }
        for stored in &superseded {
            self.doomed.insert(stored.seq.0, stored.seq.next().0);
        }
        self.doomed_bytes += extent.bytes;
        Some(Split { kept, superseded })
    }

    /// The messages between these places are doomed.
    pub(in crate::spool) fn doom(&mut self, from: u64, to: u64) {
        self.doomed.insert(from.max(self.low), to);
    }

    /// Of what was doomed only these are, after all.
    pub(in crate::spool) fn doom_only(&mut self, places: Ranges) {
        self.doomed = places;
    }

    /// A place that stands for others is doomed: what it stands for is settled already.
    pub(in crate::spool) fn doom_hole(&mut self, hole: Extent) {
        self.doomed_bytes += hole.bytes;
    }

    /// A hole that ends where `first` begins and can be made longer.
    pub(in crate::spool) fn hole_before(&self, first: u64) -> Option<Extent> {
        self.chunks
            .range(..first)
            .next_back()
            .map(|(_, extent)| *extent)
            .filter(|extent| extent.is_hole() && extent.end == first)
    }

    /// Where `low` will be once the doomed are gone.
    pub(in crate::spool) fn low_then(&self) -> u64 {
        let mut low = self.low;
        loop {
            let next = self.doomed.skip(self.accepted.skip(low));
            if next == low {
                return low;
            }
            low = next;
        }
    }

    /// Doomed messages before `end` that are still owed.
    pub(super) fn doomed_before(&self, end: u64) -> u64 {
        let ranges = self
            .doomed
            .iter()
            .map(|(from, to)| (from.max(self.low), to.min(end)));
        ranges
            .filter(|(from, to)| from < to)
            .map(|(from, to)| to - from - self.accepted.covered(from, to))
            .sum()
    }

    /// The ledger has the doomed for good: they are owed no more, and `victims` are not on disk any more.
    pub(in crate::spool) fn give_up(
        &mut self,
        victims: &[Extent],
        now_us: u64,
        released: &mut Vec<Receipt>,
    ) {
        for extent in victims {
            if let Some(extent) = self.chunks.remove(&extent.first) {
                self.disk_bytes = self.disk_bytes.saturating_sub(extent.bytes);
            }
        }
        self.doomed_bytes = 0;
        for (from, to) in std::mem::take(&mut self.doomed).iter() {
            self.settle(from, to, now_us, released);
        }
    }

    /// The ledger has these places as expired: they are owed no more.
    pub(in crate::spool) fn expire(
        &mut self,
        from: u64,
        to: u64,
        now_us: u64,
        released: &mut Vec<Receipt>,
    ) {
        let lost = self
            .losing
            .remove(&from)
            .map(|(_, lost)| self.disk_owed.saturating_sub(lost));
        self.settle(from, to, now_us, released);
        if let Some(owed) = lost.filter(|_| self.low < self.disk_end) {
            self.disk_owed = owed;
        }
    }

    /// The commit failed: everything is owed as before.
    pub(in crate::spool) fn spare(&mut self) {
        (self.doomed, self.doomed_bytes) = (Ranges::default(), 0);
    }

    /// The same, of what is in RAM only.
    pub(in crate::spool) fn spare_ram(&mut self) {
        self.doomed.forget_from(self.head_start);
    }

    /// What the store is to be told.
    pub(super) fn mark_then(&self, end: u64, bytes: u64, clock_us: u64) -> Mark {
        let owed = (self.disk_owed + self.owed_between(self.disk_end, end))
            .saturating_sub(self.doomed_before(end));
        let bytes = (self.disk_bytes + bytes).saturating_sub(self.doomed_bytes);
        Mark {
            low: self.low_then().min(end),
            end,
            owed,
            bytes,
            clock_us,
        }
    }
}
