//! Packs the head of a queue for the disk, and leaves out what its class does not want written.

use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;

use crate::message::{Seq, Wait};
use crate::spool::disk::chunk::packer::Packer;
use crate::spool::disk::chunk::{self, Chunk, Extent};
use crate::spool::drop_policy::LeftOut;
use crate::spool::ledger::LedgerEntry;
use crate::spool::ledger::loss_counts::LossCounts;
use crate::spool::lock::locked;
use crate::spool::memory::queue::spill::Copied;
use crate::spool::memory::ranges::Ranges;
use crate::spool::shared::Shared;
use crate::spool::writer::{COMMIT_BYTES, COPY, Writer};

/// What a spill comes to.
#[derive(Default)]
pub(super) struct PackedSpill {
    pub(super) chunks: Vec<Chunk>,
    /// A hole at the end that a longer one replaces.
    pub(super) replaced: Vec<Extent>,
    /// What is not written, and its places.
    pub(super) lost: Vec<LedgerEntry>,
    left_out: Ranges,
}

/// Which messages of a spill are not written.
struct SpillFilter {
    what: LeftOut,
    /// The place before which nothing is left out: the uplink has that in hand.
    from: Seq,
    /// Where the last message of each topic stands, where the others are left out.
    last: HashMap<Bytes, Seq>,
}

impl SpillFilter {
    /// Whether a message is one of them, with so many bytes of chunks full.
    fn takes(&self, copied: &Copied, bytes: u64) -> bool {
        let may_go = copied.place >= self.from && !copied.is_barred;
        may_go
            && match self.what {
                LeftOut::Nothing => false,
                LeftOut::Behind(room) => bytes >= room,
                LeftOut::Superseded => self
                    .last
                    .get(&copied.message.topic)
                    .is_some_and(|last| *last != copied.place),
            }
    }
}

impl Writer {
    /// Packs the messages between two places into chunks. The lock is held for a few hundred clones at a time.
    pub(super) fn pack(&mut self, index: usize, (from, cut): (Seq, Seq)) -> PackedSpill {
        let policy = self.shared.slots[index].policy();
        // A queue that may have little on disk is spilled in small steps, each of which makes room for itself.
        let most = COMMIT_BYTES
            .min(policy.max_bytes / 4)
            .min(self.space_level.budget.saturating_sub(self.work.bytes))
            .max(1);
        let leaving = self.leaving(index, from..cut);
        let slot = &self.shared.slots[index];
        let mut counts = LossCounts::new(leaving.what.reason(), &slot.uplink, &slot.class);
        let mut packed = PackedSpill::default();
        let mut bytes = 0;
        let mut place = from;
        let mut batch = Vec::with_capacity(COPY);
        self.packer.begin(from);
        while place < cut && bytes < most {
            let next = locked(&slot.queue).copy(
                place..cut,
                COPY,
                self.shared.config.chunk_bytes,
                &mut batch,
            );
            if next <= place && batch.is_empty() {
                break;
            }
            place = next;
            for copied in batch.drain(..) {
                if leaving.takes(&copied, bytes) {
                    counts.add(copied.place, &copied.message);
                    packed.left_out.insert(copied.place, copied.place.next());
                    continue;
                }
                self.packer
                    .push(copied.place, &copied.message, copied.since);
                if self.packer.raw_bytes() >= self.shared.config.chunk_bytes {
                    bytes += finish_chunk(&mut self.packer, &self.shared, index, &mut packed);
                }
            }
        }
        finish_chunk(&mut self.packer, &self.shared, index, &mut packed);
        if place < cut && !self.may_spill() {
            locked(&slot.queue).press(Wait::Sure);
        }
        if leaving.what != LeftOut::Nothing {
            packed.lost.extend(counts.into_entries());
            self.leave_out(index, from..place, leaving.what, &mut packed);
        }
        packed
    }

    /// What is left out of the places that were walked over goes with this commit, the rest is free again.
    fn leave_out(&self, index: usize, walked: Range<Seq>, what: LeftOut, packed: &mut PackedSpill) {
        let left_out = std::mem::take(&mut packed.left_out);
        let slot = &self.shared.slots[index];
        let is_refused = matches!(what, LeftOut::Behind(_)) && left_out.iter().next().is_some();
        locked(&slot.queue).mark_only(left_out);
        if is_refused {
            self.close_with_a_hole(index, walked, packed);
        }
        // A fetch may have found the way barred while it was not decided what is left out.
        slot.link.wake();
    }

    /// What is left out. What may be is barred from the uplink until that is decided.
    fn leaving(&self, index: usize, part: Range<Seq>) -> SpillFilter {
        let policy = self.shared.slots[index].policy();
        let margin = 2 * self.shared.config.chunk_bytes as u64;
        let step = COMMIT_BYTES.min(policy.max_bytes / 4) + margin;
        let (what, from) = {
            let mut queue = locked(&self.shared.slots[index].queue);
            let what = policy.left_out(queue.disk_bytes(), (step, margin), self.may_spill());
            let from = queue.in_flight_end();
            if what != LeftOut::Nothing {
                queue.mark_for_drop(part.start.max(from), part.end);
            }
            (what, from)
        };
        let last = if what == LeftOut::Superseded {
            self.last_places(index, part.start.max(from)..part.end)
        } else {
            HashMap::new()
        };
        SpillFilter { what, from, last }
    }

    /// Where the last message of each topic stands.
    fn last_places(&self, index: usize, part: Range<Seq>) -> HashMap<Bytes, Seq> {
        let mut last = HashMap::new();
        let mut place = part.start;
        let mut batch = Vec::with_capacity(COPY);
        while place < part.end {
            let queue = &self.shared.slots[index].queue;
            let next = locked(queue).copy(
                place..part.end,
                COPY,
                self.shared.config.chunk_bytes,
                &mut batch,
            );
            if next <= place {
                break;
            }
            place = next;
            last.extend(
                batch
                    .drain(..)
                    .map(|copied| (copied.message.topic, copied.place)),
            );
        }
        last
    }

    /// What is not taken any more ends the queue on disk as a hole, so that RAM need not remember it.
    fn close_with_a_hole(&self, index: usize, walked: Range<Seq>, packed: &mut PackedSpill) {
        let since = self.shared.clock.now();
        let mut first = packed
            .chunks
            .last()
            .map_or(walked.start, |chunk| chunk.extent.end);
        let mut queue = locked(&self.shared.slots[index].queue);
        if packed.chunks.is_empty()
            && let Some(known) = queue.hole_before(first)
        {
            queue.mark_hole_for_drop(known);
            first = known.first;
            packed.replaced.push(known);
        }
        packed.chunks.push(chunk::hole(first, walked.end, since));
    }
}

/// Ends the chunk that is being packed, if it has anything, and begins the next behind it. Answers its bytes.
fn finish_chunk(
    packer: &mut Packer,
    shared: &Shared,
    index: usize,
    packed: &mut PackedSpill,
) -> u64 {
    let end = packer.end();
    let chunk = packer.finish(&shared.flows, shared.sealer(index));
    let bytes = chunk.as_ref().map_or(0, |chunk| chunk.extent.bytes);
    packed.chunks.extend(chunk);
    packer.begin(end);
    bytes
}
