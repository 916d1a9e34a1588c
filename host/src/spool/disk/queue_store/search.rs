//! Chunks that the index has lost are looked for in the files, and what is missing for good gets a hole in its place.

use std::ops::Range;
use std::sync::atomic::Ordering;

use crate::clock::RunningTime;
use crate::message::Seq;
use crate::spool::disk::chunk::{self, Extent};
use crate::spool::disk::error::StoreError;
use crate::spool::disk::index::{IndexBatch, guarded};
use crate::spool::disk::log::located::Position;
use crate::spool::disk::log::stand::Behind;
use crate::spool::disk::queue_store::QueueStore;
use crate::spool::disk::queue_store::places::key;

impl QueueStore {
    /// Looks for chunks of the places `owed` that the index does not know: in files that could not be read before, and once
    /// in all others. Answers whether there were any.
    pub(crate) fn search(&self, owed: Range<Seq>) -> Result<bool, StoreError> {
        let again = self.log.look_again().map_err(StoreError::Unread)?;
        let mut found = self.take_up(again, &owed)?;
        if !self.is_searched.swap(true, Ordering::AcqRel) {
            found += self.take_up(self.log.since(Position::START), &owed)?;
        }
        if found > 0 {
            tracing::warn!(
                chunks = found,
                "the index had lost chunks; they were found in their files"
            );
        }
        Ok(found > 0)
    }

    pub(super) fn take_up(&self, behind: Behind, owed: &Range<Seq>) -> Result<usize, StoreError> {
        let mut found = 0;
        for lost in behind.chunks.into_iter().rev() {
            let Extent { first, end, .. } = lost.extent;
            let is_known = self
                .entry_near(first)?
                .is_some_and(|known| known.extent.first < end);
            if end > owed.start && end <= owed.end && !is_known {
                guarded(|| self.tree.insert(key(first), lost.encode()))?;
                self.log.hold(&lost);
                found += 1;
            }
        }
        self.miss(behind.missing);
        Ok(found)
    }

    /// Answers for places that are missing and in the ledger, so that they are not met and counted again after a restart: a
    /// hole in the files, and what the index has to learn of it.
    pub(crate) fn bridge(&self, places: Range<Seq>) -> Result<IndexBatch, StoreError> {
        let mut batch = IndexBatch::default();
        let mut place = places.start;
        while let Some(hurt) = self
            .next_entry(place)?
            .filter(|hurt| hurt.extent.first < places.end)
        {
            self.log.release(&hurt);
            batch.remove(&key(hurt.extent.first));
            place = hurt.extent.end.max(place.next());
        }
        let hole = self
            .log
            .append(&chunk::hole(places.start, places.end, RunningTime::START))
            .map_err(StoreError::Disk)?;
        batch.insert(&key(places.start), hole.encode());
        Ok(batch)
    }
}
