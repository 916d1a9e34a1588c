//! Packs the head of a queue for the disk, and leaves out what its class does not want written.

use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;

use crate::message::{LossReason, Message, Wait};
use crate::spool::disk::chunk::{self, Chunk, Extent};
use crate::spool::ledger::Entry;
use crate::spool::ledger::loss_counts::LossCounts;
use crate::spool::lock::locked;
use crate::spool::memory::queue::spill::Copied;
use crate::spool::memory::ranges::Ranges;
use crate::spool::settings::DropPolicy;
use crate::spool::writer::{COMMIT_BYTES, COPY, Writer};

/// What a spill comes to.
#[derive(Default)]
pub(super) struct Packed {
    pub(super) chunks: Vec<Chunk>,
    /// A hole at the end that a longer one replaces.
    pub(super) replaced: Vec<Extent>,
    /// What is not written, and its places.
    pub(super) lost: Vec<Entry>,
    left_out: Ranges,
}

/// Which messages of a spill are not written.
enum Leaving {
    Nothing,
    /// All, once so many bytes of chunks are full.
    Behind(u64),
    /// All but the last of each topic.
    Superseded(HashMap<Bytes, u64>),
}

impl Leaving {
    fn takes(&self, place: u64, message: &Message, bytes: u64) -> bool {
        match self {
            Self::Nothing => false,
            Self::Behind(room) => bytes >= *room,
            Self::Superseded(last) => last.get(&message.topic).is_some_and(|last| *last != place),
        }
    }

    fn reason(&self) -> LossReason {
        match self {
            Self::Nothing | Self::Behind(_) => LossReason::QuotaNewest,
            Self::Superseded(_) => LossReason::Superseded,
        }
    }
}

impl Writer {
    /// Packs the messages between two places into chunks. The lock is held for a few hundred clones at a time.
    pub(super) fn pack(&mut self, index: usize, (from, cut): (u64, u64)) -> Packed {
        let policy = self.shared.config.queues[index].policy;
        // A queue that may have little on disk is spilled in small steps, each of which makes room for itself.
        let most = COMMIT_BYTES
            .min(policy.max_bytes / 4)
            .min(self.space_level.budget.saturating_sub(self.work.bytes))
            .max(1);
        let (leaving, in_flight_end) = self.leaving(index, from..cut);
        let slot = &self.shared.slots[index];
        let config = &self.shared.config.queues[index];
        let mut counts = LossCounts::new(leaving.reason(), &config.uplink, &config.class);
        let mut packed = Packed::default();
        let (mut bytes, mut place) = (0, from);
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
            for Copied {
                place,
                message,
                since_us,
                is_barred,
            } in batch.drain(..)
            {
                if place >= in_flight_end && !is_barred && leaving.takes(place, &message, bytes) {
                    counts.add(place, &message);
                    packed.left_out.insert(place, place + 1);
                    continue;
                }
                self.packer.push(place, &message, since_us);
                if self.packer.raw_bytes() >= self.shared.config.chunk_bytes {
                    let end = self.packer.end();
                    packed.chunks.extend(
                        self.packer
                            .finish(&self.shared.flows, self.shared.sealer(index))
                            .inspect(|chunk| bytes += chunk.extent.bytes),
                    );
                    self.packer.begin(end);
                }
            }
        }
        packed.chunks.extend(
            self.packer
                .finish(&self.shared.flows, self.shared.sealer(index)),
        );
        if place < cut && !self.may_spill() {
            locked(&slot.queue).press(Wait::Sure);
        }
        if !matches!(leaving, Leaving::Nothing) {
            packed.lost.extend(counts.into_entries());
            self.leave_out(index, from..place, &leaving, &mut packed);
        }
        packed
    }

    /// What is left out of the places that were walked over goes with this commit, the rest is free again.
    fn leave_out(&self, index: usize, walked: Range<u64>, leaving: &Leaving, packed: &mut Packed) {
        let left_out = std::mem::take(&mut packed.left_out);
        let slot = &self.shared.slots[index];
        let is_refused = matches!(leaving, Leaving::Behind(_)) && left_out.iter().next().is_some();
        locked(&slot.queue).mark_only(left_out);
        if is_refused {
            self.close_with_a_hole(index, walked, packed);
        }
        // A fetch may have found the way barred while it was not decided what is left out.
        slot.link.wake();
    }

    /// What is left out, and the place before which nothing is: the uplink has that in hand. What may be left out is
    /// barred from it until that is decided.
    fn leaving(&self, index: usize, part: Range<u64>) -> (Leaving, u64) {
        let policy = self.shared.config.queues[index].policy;
        let step =
            COMMIT_BYTES.min(policy.max_bytes / 4) + 2 * self.shared.config.chunk_bytes as u64;
        let (in_flight_end, leaving) = {
            let mut queue = locked(&self.shared.slots[index].queue);
            let in_flight_end = queue.in_flight_end();
            let may_spill = self.may_spill();
            let leaving = match policy.drop {
                DropPolicy::Newest if !may_spill => Leaving::Behind(0),
                DropPolicy::Newest
                    if queue.disk_bytes().saturating_add(step) > policy.max_bytes =>
                {
                    let reserve = 2 * self.shared.config.chunk_bytes as u64;
                    Leaving::Behind(
                        policy
                            .max_bytes
                            .saturating_sub(queue.disk_bytes().saturating_add(reserve)),
                    )
                }
                DropPolicy::KeepLastPerTopic => Leaving::Superseded(HashMap::new()),
                DropPolicy::Newest | DropPolicy::Oldest => {
                    return (Leaving::Nothing, in_flight_end);
                }
            };
            queue.mark_for_drop(part.start.max(in_flight_end), part.end);
            (in_flight_end, leaving)
        };
        match leaving {
            Leaving::Superseded(_) => (
                Leaving::Superseded(
                    self.last_places(index, part.start.max(in_flight_end)..part.end),
                ),
                in_flight_end,
            ),
            other => (other, in_flight_end),
        }
    }

    /// Where the last message of each topic stands.
    fn last_places(&self, index: usize, part: Range<u64>) -> HashMap<Bytes, u64> {
        let (mut last, mut place) = (HashMap::new(), part.start);
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
    fn close_with_a_hole(&self, index: usize, walked: Range<u64>, packed: &mut Packed) {
        let since_us = self.shared.clock.now();
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
        packed.chunks.push(chunk::hole(first, walked.end, since_us));
    }
}
