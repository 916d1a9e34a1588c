//! The disk's part of one queue: the chunks in their files, and the index over them in sled.

pub(crate) mod places;
pub(crate) mod recovery;
mod search;
mod tidy;

use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use crate::message::Seq;
use crate::spool::disk::chunk::{self, Chunk, Extent};
use crate::spool::disk::error::StoreError;
use crate::spool::disk::fault_injection::FaultInjection;
use crate::spool::disk::index::{IndexBatch, IndexFile, IndexTree, guarded};
use crate::spool::disk::log::ChunkLog;
use crate::spool::disk::log::located::Located;
use crate::spool::disk::mark::{MARK, QueueMark, encode_mark};
use crate::spool::disk::queue_store::places::{key, located};
use crate::spool::lock::locked;

/// What the name of a queue's tree in the index begins with.
pub(super) const QUEUE_TREE: &str = "queue:";

/// All before it is in the index.
const POSITION: &[u8] = b"p";
/// Number of the last batch of the records that gave up something of this queue.
const NUMBER: &[u8] = b"n";

/// Index and files of one queue.
pub(super) struct QueueStore {
    name: String,
    tree: IndexTree,
    log: ChunkLog,
    is_searched: AtomicBool,
    /// Places of which it is known how many messages are missing there.
    missing: Mutex<Vec<(Range<Seq>, u64)>>,
}

/// What lies at a place, or else next behind it.
pub(crate) struct Near {
    /// The first place of the chunk, and the place behind the last.
    pub first: Seq,
    pub end: Seq,
    pub count: u64,
    /// Its bytes, as many as are there.
    pub value: Vec<u8>,
}

impl QueueStore {
    /// Opens index and files.
    pub(super) fn open(
        db: &IndexFile,
        folder: &Path,
        name: &str,
        store: &str,
        fault_injection: &FaultInjection,
    ) -> Result<Self, StoreError> {
        let tree = guarded(|| db.open_tree(format!("{QUEUE_TREE}{name}")))?;
        let log = ChunkLog::open(folder, name, store, fault_injection).map_err(StoreError::Disk)?;
        Ok(Self {
            name: name.to_owned(),
            tree,
            log,
            is_searched: AtomicBool::new(false),
            missing: Mutex::default(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What was written is on the medium: its file says so.
    pub(super) fn stand(&self) -> Result<(), StoreError> {
        self.log.stand().map_err(StoreError::Disk)
    }

    /// The tree of the index.
    pub(super) fn tree(&self) -> &IndexTree {
        &self.tree
    }

    /// Removes the files that nothing in the index needs. The index must be on the medium.
    pub(super) fn sweep(&self) {
        self.log.sweep();
    }

    /// Whether there are such files.
    pub(super) fn has_dead(&self) -> bool {
        self.log.has_dead()
    }

    /// Writes chunks to the files; answers what the index has to learn of that, of chunks that go, and of the mark.
    /// `number` is that of the records' batch that tells what was given up.
    pub(super) fn change(
        &self,
        chunks: &[Chunk],
        gone: &[Seq],
        mark: QueueMark,
        number: Option<u64>,
    ) -> Result<IndexBatch, StoreError> {
        let mut batch = IndexBatch::default();
        if let Some(number) = number {
            batch.insert(NUMBER, &number.to_be_bytes());
        }
        for first in gone {
            if let Some(old) = self.entry(*first)? {
                self.log.release(&old);
            }
            batch.remove(&key(*first));
        }
        for chunk in chunks {
            let located = self.log.append(chunk).map_err(StoreError::Disk)?;
            batch.insert(&key(located.extent.first), located.encode());
        }
        batch.insert(MARK, encode_mark(mark));
        batch.insert(POSITION, self.log.position().encode());
        Ok(batch)
    }

    fn entry(&self, first: Seq) -> Result<Option<Located>, StoreError> {
        let value = guarded(|| self.tree.get(key(first)))?;
        Ok(value.and_then(|value| Located::decode(first, &value)))
    }

    fn next_entry(&self, place: Seq) -> Result<Option<Located>, StoreError> {
        let found = guarded(|| {
            self.tree
                .range(key(place)..=key(Seq::END))
                .next()
                .transpose()
        })?;
        Ok(found.and_then(|(key, value)| located(&key, &value)))
    }

    /// The chunk that answers for `place`, or else the first behind it.
    fn entry_near(&self, place: Seq) -> Result<Option<Located>, StoreError> {
        let before = guarded(|| {
            self.tree
                .range(key(Seq::FIRST)..=key(place))
                .next_back()
                .transpose()
        })?;
        let before = before.and_then(|(key, value)| located(&key, &value));
        match before.filter(|before| place < before.extent.end) {
            Some(found) => Ok(Some(found)),
            None => self.next_entry(place),
        }
    }

    /// The chunk that answers for `place`, or else the first behind it.
    pub(super) fn near(&self, place: Seq) -> Result<Option<Near>, StoreError> {
        let mut entry = self.entry_near(place)?;
        while let Some(found) = entry {
            let value = self.log.read(&found);
            let again = self.entry_near(place)?;
            if again == entry {
                let Extent { first, end, .. } = found.extent;
                let near = |value| {
                    Some(Near {
                        first,
                        end,
                        count: u64::from(found.count),
                        value,
                    })
                };
                return value.map(near).map_err(StoreError::Unread);
            }
            // It was moved or given up, and its file may be gone by now.
            entry = again;
        }
        Ok(None)
    }

    /// How many messages are known to be missing of these places; they are asked for once.
    pub(super) fn missing_in(&self, places: &Range<Seq>) -> Option<u64> {
        let mut missing = locked(&self.missing);
        let is_there =
            |known: &(Range<Seq>, u64)| known.0.start < places.end && places.start < known.0.end;
        let found: Vec<u64> = missing
            .extract_if(.., |known| is_there(known))
            .map(|(_, count)| count)
            .collect();
        (!found.is_empty()).then(|| found.iter().sum())
    }

    /// Nobody waits any longer for what cannot be read.
    pub(super) fn give_up_sick(&self) {
        self.log.give_up_sick();
    }

    /// The places of the chunk that answers for `place`, and its messages.
    pub(super) fn known(&self, place: Seq) -> Result<Option<(Range<Seq>, u64)>, StoreError> {
        let found = self
            .entry_near(place)?
            .filter(|found| found.extent.first <= place);
        Ok(found.map(|found| (found.extent.first..found.extent.end, u64::from(found.count))))
    }

    /// Where the first chunk behind `place` begins.
    #[cfg(test)]
    pub(super) fn next_chunk(&self, place: Seq) -> Result<Option<Seq>, StoreError> {
        let Some(next) = place.checked_plus(1) else {
            return Ok(None);
        };
        Ok(self.next_entry(next)?.map(|found| found.extent.first))
    }

    pub(super) fn forget(&self, first: Seq) -> Result<(), StoreError> {
        if let Some(old) = self.entry(first)? {
            self.log.release(&old);
        }
        guarded(|| self.tree.remove(key(first))).map(drop)
    }

    /// Removes chunks from `place` on: leavings of a commit that failed half-way. Answers whether a hole that it had made
    /// longer was written anew as long as it may be: whatever comes at `place` would take the place of the long one, and
    /// what lies before would be missed.
    pub(super) fn remove_from(&self, place: Seq) -> Result<bool, StoreError> {
        while let Some(found) = self.next_entry(place)? {
            self.forget(found.extent.first)?;
        }
        self.log.rewind(place);
        let long = self.entry_near(place.before())?;
        let Some(long) = long
            .filter(|long| long.count == 0 && long.extent.first < place && place < long.extent.end)
        else {
            return Ok(false);
        };
        let Extent { first, since, .. } = long.extent;
        let hole = self
            .log
            .append(&chunk::hole(first, place, since))
            .map_err(StoreError::Disk)?;
        self.log.release(&long);
        guarded(|| self.tree.insert(key(first), hole.encode()))?;
        Ok(true)
    }
}

#[cfg(test)]
impl QueueStore {
    /// Flips a bit of a chunk's last byte.
    pub(super) fn damage(&self, first: Seq) {
        use std::os::unix::fs::FileExt;
        let located = self.entry(first).unwrap().unwrap();
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.log.path_of(&located))
            .unwrap();
        let mut byte = [0];
        let at = located.offset + located.extent.bytes - 1;
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }
}
