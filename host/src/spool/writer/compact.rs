//! Leaves of a queue on disk only the last message of each topic.
//!
//! The queue is read twice, from end to end: once for where the last message of each topic stands, once to write anew
//! the chunks that hold others. A chunk keeps its place and its extent; one that is left with nothing goes.

use std::collections::HashMap;

use bytes::Bytes;

use crate::message::Seq;
use crate::spool::disk::chunk::{Chunk, Extent};
use crate::spool::disk::error::StoreError;
use crate::spool::disk::store::Store;
use crate::spool::drop_policy::Clearing;
use crate::spool::ledger::loss_counts::LossCounts;
use crate::spool::lock::locked;
use crate::spool::memory::queue::drop::SupersededSplit;
use crate::spool::writer::make_room::Cleared;
use crate::spool::writer::{COMMIT_BYTES, Writer};

impl Writer {
    /// Marks for drop what is superseded in `most` bytes of chunks, and no more than one commit may hold.
    pub(super) fn compact(
        &mut self,
        store: &Store,
        index: usize,
        most: u64,
    ) -> Result<Cleared, StoreError> {
        let last = self.last_on_disk(store, index)?;
        let slot = &self.shared.slots[index];
        let mut counts = LossCounts::new(Clearing::Superseded.reason(), &slot.uplink, &slot.class);
        let mut cleared = Cleared::default();
        let mut from = Seq::FIRST;
        let mut read = 0;
        while read < COMMIT_BYTES.min(most) {
            let Some(content) = self.next_on_disk(store, index, from)? else {
                break;
            };
            let extent = content.extent;
            from = extent.end;
            read += extent.bytes;
            let now = self.shared.clock.now();
            let split = locked(&self.shared.slots[index].queue)
                .mark_superseded_for_drop(content, &last, now);
            let Some(SupersededSplit { kept, superseded }) = split else {
                continue;
            };
            for stored in &superseded {
                counts.add(stored.seq, &stored.message);
            }
            cleared.victims.push(extent);
            if kept.is_empty() {
                cleared.emptied.push(extent);
            } else {
                cleared.written.extend(self.pack_again(index, extent, kept));
            }
        }
        cleared.lost.extend(counts.into_entries());
        self.dig_holes(index, &mut cleared);
        Ok(cleared)
    }

    fn last_on_disk(&self, store: &Store, index: usize) -> Result<HashMap<Bytes, Seq>, StoreError> {
        let mut last = HashMap::new();
        let mut from = Seq::FIRST;
        while let Some(content) = self.next_on_disk(store, index, from)? {
            from = content.extent.end;
            for stored in content.messages {
                match last.get_mut(&stored.message.topic) {
                    Some(place) => *place = stored.seq,
                    // A copy: a slice would keep the whole chunk.
                    None => {
                        last.insert(Bytes::copy_from_slice(&stored.message.topic), stored.seq);
                    }
                }
            }
        }
        Ok(last)
    }

    fn pack_again(
        &mut self,
        index: usize,
        extent: Extent,
        kept: Vec<crate::message::Stored>,
    ) -> Option<Chunk> {
        self.packer.begin(extent.first);
        for stored in kept {
            self.packer.push(stored.seq, &stored.message, extent.since);
        }
        self.packer.reach(extent.end);
        self.packer
            .finish(&self.shared.flows, self.shared.sealer(index))
    }
}
