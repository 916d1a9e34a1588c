//! Gives up what a queue may not keep: what was owed for too long, and the oldest when there is no more room.
//!
//! A chunk is read before it goes, so that the ledger can say what was in it: that costs as much as writing it did, and
//! nobody but the writer waits for it. What the uplink has in hand stays, and what goes behind it leaves a hole.

use crate::message::Seq;
use crate::spool::disk::chunk::{self, Chunk, ChunkContent, Extent};
use crate::spool::disk::error::StoreError;
use crate::spool::disk::store::Store;
use crate::spool::drop_policy::Clearing;
use crate::spool::ledger::LedgerEntry;
use crate::spool::ledger::loss_counts::LossCounts;
use crate::spool::lock::locked;
use crate::spool::reading::reader::QueueReader;
use crate::spool::writer::{COMMIT_BYTES, Writer};

#[derive(Default)]
pub(super) struct Cleared {
    /// Chunks that are deleted or written anew.
    pub(super) victims: Vec<Extent>,
    /// Those of them of which nothing is left.
    pub(super) emptied: Vec<Extent>,
    /// What comes in their place.
    pub(super) written: Vec<Chunk>,
    pub(super) lost: Vec<LedgerEntry>,
}

impl Writer {
    /// Marks chunks of a queue for drop until what is left and `more` bytes fit, and nothing left is too old; at most what one
    /// commit may hold. The newest chunk always stays.
    pub(super) fn make_room(
        &mut self,
        store: &Store,
        index: usize,
        more: u64,
    ) -> Result<Cleared, StoreError> {
        let policy = self.shared.slots[index].policy();
        let held = locked(&self.shared.slots[index].queue)
            .disk_bytes()
            .saturating_add(more);
        let is_over = policy.is_over(held);
        let lacks = if self.disk_full.giver == Some(index) {
            self.space_level.lacks()
        } else {
            0
        };
        let most = if lacks > 0 { held } else { policy.max_bytes };
        let has_grown = policy
            .compacts_after(most)
            .is_some_and(|bytes| self.grown[index] >= bytes);
        if has_grown && (is_over || lacks > 0) {
            self.grown[index] = 0;
            let room = self.compact(
                store,
                index,
                if lacks > 0 {
                    self.space_level.budget
                } else {
                    COMMIT_BYTES
                },
            )?;
            if !room.victims.is_empty() {
                return Ok(room);
            }
        }
        let kept = if is_over { policy.goal() } else { u64::MAX };
        self.drop_oldest(
            store,
            index,
            more,
            if lacks > 0 {
                kept.min(held.saturating_sub(lacks))
            } else {
                kept
            },
        )
    }

    /// Marks the oldest chunks for drop until no more than `goal` bytes are left, and those that are too old.
    fn drop_oldest(
        &self,
        store: &Store,
        index: usize,
        more: u64,
        goal: u64,
    ) -> Result<Cleared, StoreError> {
        let slot = &self.shared.slots[index];
        let policy = slot.policy();
        let now = self.shared.clock.now();
        let counts = |why: Clearing| LossCounts::new(why.reason(), &slot.uplink, &slot.class);
        let mut oldest = counts(Clearing::Oldest);
        let mut expired = counts(Clearing::Expired);
        let mut room = Cleared::default();
        let mut from = Seq::FIRST;
        let mut taken = 0;
        let mut used = locked(&slot.queue).disk_bytes().saturating_add(more);
        while taken < COMMIT_BYTES {
            let Some(content) = self.next_on_disk(store, index, from)? else {
                break;
            };
            let extent = content.extent;
            let is_expired = policy
                .max_age_us()
                .is_some_and(|age| extent.since.plus_us(age) <= now);
            if !is_expired && used <= goal {
                locked(&slot.queue).note_front(extent);
                break;
            }
            from = extent.end;
            let counts = if is_expired {
                &mut expired
            } else {
                &mut oldest
            };
            if self.mark_chunk_for_drop(index, content, counts) {
                used = used.saturating_sub(extent.bytes);
                taken += extent.bytes;
                room.victims.push(extent);
                room.emptied.push(extent);
            }
        }
        if room.victims.is_empty() {
            locked(&slot.queue).rest(now);
        }
        room.lost
            .extend(oldest.into_entries().chain(expired.into_entries()));
        self.dig_holes(index, &mut room);
        Ok(room)
    }

    /// The next chunk at or after `from` that is not in the uplink's hand. What cannot be read cannot be told: it waits, and
    /// so does the room it takes.
    pub(super) fn next_on_disk(
        &self,
        store: &Store,
        index: usize,
        from: Seq,
    ) -> Result<Option<ChunkContent>, StoreError> {
        let slot = &self.shared.slots[index];
        let reader = QueueReader {
            shared: &self.shared,
            slot,
            index,
        };
        loop {
            let Some(place) = locked(&slot.queue).victim(from) else {
                return Ok(None);
            };
            match reader.find(store, place) {
                Ok(Some(content)) => return Ok(Some(content)),
                Ok(None) => {}
                Err(error) if error.is_of_a_chunk() => {
                    reader.fall_sick(store, &error, place);
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Marks a chunk for drop and counts what is owed of it. False when the uplink has some of it in hand.
    fn mark_chunk_for_drop(
        &self,
        index: usize,
        content: ChunkContent,
        counts: &mut LossCounts,
    ) -> bool {
        let mut owed = Vec::new();
        {
            let mut queue = locked(&self.shared.slots[index].queue);
            if queue.holds(content.extent) {
                return false;
            }
            queue.mark_chunk_for_drop(
                content.extent,
                content.messages,
                self.shared.clock.now(),
                &mut owed,
            );
        }
        for stored in &owed {
            counts.add(stored.seq, &stored.message);
        }
        true
    }

    /// Neighbours among the victims that `low` will not pass become one hole each.
    pub(super) fn dig_holes(&self, index: usize, room: &mut Cleared) {
        let mut runs: Vec<Extent> = Vec::new();
        for extent in &room.emptied {
            match runs.last_mut() {
                Some(last) if last.end == extent.first => last.end = extent.end,
                _ => runs.push(*extent),
            }
        }
        let mut queue = locked(&self.shared.slots[index].queue);
        for mut run in runs {
            if queue.low_then() >= run.end {
                continue;
            }
            if let Some(known) = queue.hole_before(run.first) {
                queue.mark_hole_for_drop(known);
                run.first = known.first;
                room.victims.push(known);
            }
            room.written
                .push(chunk::hole(run.first, run.end, run.since));
        }
    }
}
