//! An open store: what commits write to it, and what is read from it.

use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::message::Seq;
use crate::spool::dead_letters::form;
use crate::spool::dead_letters::kept::KeptLetters;
use crate::spool::dead_letters::letter::LetterId;
use crate::spool::disk::chunk::{Chunk, Extent};
use crate::spool::disk::error::StoreError;
use crate::spool::disk::fault_injection::{DiskCall, FaultInjection};
use crate::spool::disk::index::{IndexBatch, IndexFile, guarded};
use crate::spool::disk::mark::QueueMark;
use crate::spool::disk::queue_store::{Near, QueueStore};
use crate::spool::disk::records::Records;
use crate::spool::disk::records::batch::{Tree, Witness};
use crate::spool::disk::records::sealed::{self, Sealed};
use crate::spool::disk::recover::{encode_given_up, recover};
use crate::spool::disk::sealing::sealer::Sealer;
use crate::spool::growing::Growing;
use crate::spool::ledger::store::LedgerChanges;
use crate::spool::lock::locked;

/// Key of the last boot in the records.
pub(super) const BOOT: &[u8] = b"boot";
/// Damaged values kept for salvage; more would let a broken card fill itself.
const DAMAGED_KEPT: u64 = 256;

pub(crate) struct Store {
    pub(super) db: IndexFile,
    /// By `QueueId`: those of the config when it was opened, and those that came since.
    pub(super) queues: Growing<QueueStore>,
    /// Where their files are, and the name of the store that stands in them.
    pub(super) files: (PathBuf, Arc<str>),
    pub(super) records: Records,
    /// What the index learns once the records are on the medium: by number of the queue.
    pub(super) behind: Mutex<Vec<(usize, IndexBatch)>>,
    /// Where damaged values are kept for salvage.
    pub(super) damaged: PathBuf,
    /// A handle on each file system that the files lie on.
    pub(super) disks: Vec<File>,
    /// Chunks were written and are not synced.
    pub(super) is_written: AtomicBool,
    /// sled was told something.
    pub(super) is_told: AtomicBool,
    /// It was told something that must not wait.
    pub(super) is_behind: AtomicBool,
    pub(super) fault_injection: FaultInjection,
    pub(super) sealer: Sealer,
}

/// What one commit changes in a queue's tree.
pub(crate) struct QueueChange<'a> {
    pub chunks: Vec<Chunk>,
    /// Where chunks begin that go.
    pub gone: &'a [Seq],
    pub mark: QueueMark,
    /// What the ledger says of that.
    pub given_up: Option<LedgerChanges>,
}

impl Store {
    fn pass(&self, call: DiskCall) -> Result<(), StoreError> {
        self.fault_injection.pass(call).map_err(StoreError::Disk)
    }

    /// Takes up a queue with the files that there are of it, behind all others: what it owes. One of a later start than
    /// `boot` is left alone.
    pub(crate) fn add_queue(
        &self,
        name: &str,
        boot: u32,
    ) -> Result<(QueueMark, Option<Extent>), StoreError> {
        self.pass(DiskCall::Write)?;
        let (folder, store) = &self.files;
        let queue = QueueStore::open(&self.db, folder, name, store, &self.fault_injection)?;
        let (mark, first) = recover(&queue, &self.records, |mark| (mark, false))?;
        let last = u32::try_from(mark.end.boot()).unwrap_or(u32::MAX);
        if last > boot {
            return Err(StoreError::Overtaken(last));
        }
        // Whoever asks has seen that there is a place.
        drop(self.queues.push(queue));
        Ok((mark, first))
    }

    pub(crate) fn write_boot(&self, boot: u32) {
        self.records
            .put(Tree::Own, BOOT, boot.to_be_bytes().to_vec());
    }

    /// What was last recorded, with the totals as they are now.
    pub(crate) fn witness(&self) -> Witness {
        self.records.witness()
    }

    /// Writes chunks and mark of a queue, deletes what is gone, and enters in the ledger what that gives up: all of it or
    /// nothing. A chunk may take the place of one that is gone. Not durable yet.
    pub(crate) fn write_queue(
        &self,
        queue: usize,
        change: QueueChange<'_>,
    ) -> Result<(), StoreError> {
        let QueueChange {
            chunks,
            gone,
            mark,
            given_up,
        } = change;
        self.pass(DiskCall::Write)?;
        let tail = &self.queues[queue];
        if !chunks.is_empty() {
            self.is_written.store(true, Ordering::Release);
        }
        self.is_told.store(true, Ordering::Release);
        let number = given_up.is_some().then(|| self.records.next_number());
        let batch = tail.change(&chunks, gone, mark, number)?;
        if chunks.is_empty() || !gone.is_empty() || given_up.is_some() || tail.has_dead() {
            self.is_behind.store(true, Ordering::Release);
        }
        let Some(changes) = given_up else {
            return guarded(|| tail.tree().apply_batch(batch));
        };
        self.write_ledger(changes);
        let given_up = encode_given_up(self.records.next_number(), mark.low);
        self.records
            .put(Tree::Own, tail.name().as_bytes(), given_up);
        locked(&self.behind).push((queue, batch));
        Ok(())
    }

    /// Writes changes of the ledger. Not durable yet.
    pub(crate) fn write_ledger(&self, changes: LedgerChanges) {
        for key in changes.gone {
            self.records.remove(Tree::Ledger, &key);
        }
        for (key, value) in changes.put {
            let value = sealed::seal(&self.sealer, Sealed::Ledger, &key, value);
            self.records.put(Tree::Ledger, &key, value);
        }
        self.records
            .total(|totals| totals.given_up = changes.totals);
    }

    /// Writes letters and deletes others, with what the ledger says of those. Not durable yet.
    pub(crate) fn write_letters(
        &self,
        letters: Vec<(LetterId, Vec<u8>)>,
        gone: &[LetterId],
        kept: KeptLetters,
        evicted: Option<LedgerChanges>,
    ) {
        for id in gone {
            self.records.remove(Tree::Letters, &form::key(*id));
        }
        for (id, value) in letters {
            let key = form::key(id);
            let value = sealed::seal(&self.sealer, Sealed::Letter, &key, value);
            self.records.put(Tree::Letters, &key, value);
        }
        self.records.total(|totals| totals.kept = kept);
        evicted
            .into_iter()
            .for_each(|changes| self.write_ledger(changes));
    }

    /// Makes durable what the calls before have written: it survives a kill and a power cut. With `all` the index is up
    /// to date, too, so that nothing need be looked for at the next start.
    pub(crate) fn settle(&self, all: bool) -> Result<(), StoreError> {
        for tail in self.queues.iter() {
            if tail.tidy(&self.sealer)? {
                self.is_written.store(true, Ordering::Release);
                self.is_behind.store(true, Ordering::Release);
            }
        }
        let is_recorded = self.records.append().map_err(StoreError::Disk)?;
        // In this order: the index must not know of chunks that a power cut takes, nor forget what the ledger may not have.
        if is_recorded || self.is_written.load(Ordering::Acquire) {
            self.sync()?;
            self.is_written.store(false, Ordering::Release);
            self.records.stand().map_err(StoreError::Disk)?;
            self.queues.iter().try_for_each(QueueStore::stand)?;
        }
        for (queue, batch) in std::mem::take(&mut *locked(&self.behind)) {
            guarded(|| self.queues[queue].tree().apply_batch(batch))?;
        }
        if self.is_behind.swap(false, Ordering::AcqRel)
            || (all && self.is_told.load(Ordering::Acquire))
        {
            self.record()?;
        }
        Ok(())
    }

    /// Brings sled to the medium; only then may files go that it does not need.
    pub(super) fn record(&self) -> Result<(), StoreError> {
        self.pass(DiskCall::Write)?;
        self.is_told.store(false, Ordering::Release);
        guarded(|| self.db.flush())?;
        self.sync()?;
        self.queues.iter().for_each(QueueStore::sweep);
        Ok(())
    }

    /// The whole file system: sled syncs neither its blob files nor its file's size, and one call serves all files.
    fn sync(&self) -> Result<(), StoreError> {
        self.pass(DiskCall::Sync)?;
        let sync =
            |disk: &File| rustix::fs::syncfs(disk).map_err(|error| StoreError::Disk(error.into()));
        self.disks.iter().try_for_each(sync)
    }

    /// The chunk that answers for `place`, or else the first behind it.
    pub(crate) fn chunk_near(&self, queue: usize, place: Seq) -> Result<Option<Near>, StoreError> {
        self.queues[queue].near(place)
    }

    /// The places of the chunk that answers for `place`, and its messages: what the index knows of them.
    pub(crate) fn known(
        &self,
        queue: usize,
        place: Seq,
    ) -> Result<Option<(Range<Seq>, u64)>, StoreError> {
        self.queues[queue].known(place)
    }

    /// Where the first chunk behind `place` begins.
    #[cfg(test)]
    pub(crate) fn next_chunk(&self, queue: usize, place: Seq) -> Result<Option<Seq>, StoreError> {
        self.queues[queue].next_chunk(place)
    }

    /// How many messages are known to be missing of these places, if that is known; it is told once.
    pub(crate) fn missing_in(&self, queue: usize, places: &Range<Seq>) -> Option<u64> {
        self.queues[queue].missing_in(places)
    }

    /// What cannot be read of a queue's files counts as not there from now on.
    pub(crate) fn give_up_sick(&self, queue: usize) {
        self.queues[queue].give_up_sick();
    }

    /// Keeps the bytes of a chunk that cannot be read, as long as there is room for them.
    pub(crate) fn set_chunk_aside(&self, queue: usize, first: Seq, value: &[u8]) {
        let path = self
            .damaged
            .join(format!("{}.{first}", self.queues[queue].name()));
        if self.set_aside() >= DAMAGED_KEPT {
            return;
        }
        if let Err(error) =
            std::fs::create_dir_all(&self.damaged).and_then(|()| std::fs::write(&path, value))
        {
            tracing::debug!(path = %path.display(), %error, "a damaged chunk was not kept");
        }
    }

    /// How many damaged values were set aside and kept.
    pub(crate) fn set_aside(&self) -> u64 {
        std::fs::read_dir(&self.damaged).map_or(0, |entries| entries.count() as u64)
    }

    /// Looks for chunks of the places `owed` that the index does not know. Answers whether there were any.
    pub(crate) fn search(&self, queue: usize, owed: Range<Seq>) -> Result<bool, StoreError> {
        self.queues[queue].search(owed)
    }

    /// Answers for places of a queue that are missing, once the ledger, in the same commit, has them.
    pub(crate) fn bridge(&self, queue: usize, places: Range<Seq>) -> Result<(), StoreError> {
        let batch = self.queues[queue].bridge(places)?;
        self.is_written.store(true, Ordering::Release);
        self.is_told.store(true, Ordering::Release);
        locked(&self.behind).push((queue, batch));
        Ok(())
    }

    /// Removes chunks from `place` on: leavings of a commit that failed half-way.
    pub(crate) fn remove_from(&self, queue: usize, place: Seq) -> Result<(), StoreError> {
        self.pass(DiskCall::Write)?;
        if self.queues[queue].remove_from(place)? {
            self.is_written.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Whether a letter is there already.
    pub(crate) fn has_letter(&self, id: LetterId) -> bool {
        self.records.has(Tree::Letters, &form::key(id))
    }

    /// Closes the files. sled may panic while it does so after an error.
    pub(crate) fn close(self) {
        if let Err(error) = guarded(|| {
            drop(self);
            Ok(())
        }) {
            tracing::debug!(%error, "the store did not close cleanly");
        }
    }
}
