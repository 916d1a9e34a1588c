//! The only file that names sled: trees, batches, and the two steps that make them durable.
//!
//! ```text
//! default tree            "format" → u8, "boot" → u32
//! "queue:<uplink>:<class>"  'c' + first place (u64, big endian) → chunk;  'm' → mark (low, end, owed, bytes, clock)
//! "ledger"                see `ledger`
//! "dead"                  'l' + boot + number → dead letter;  'm' → how many are kept for each reason, their bytes
//! "state"                 flow + 0 + plugin + 0 + key → version and value of a plugin's state
//! "state-aside"           the same, of a plugin that could not read it
//! "damaged"               name of the tree + 0 + key → what could not be read there
//! ```
//!
//! `flush` alone does not survive a power cut; `flush` and then `syncfs` does. sled panics on some damage, so every call
//! is caught. After one failed write a handle is dead: it must be opened anew.

mod open;
mod state;
mod tools;

pub(super) use open::{Opened, is_held, no_books, open, open_files};

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use sled::Transactional;
use sled::transaction::TransactionError;

use super::chunk::Chunk;
use super::ledger::Changes;
use super::letters::{self, Kept, LetterId};
use super::queue::Mark;
use super::seam::{Call, Seam};

/// The layout above.
pub(super) const FORMAT: u8 = 1;
const MARK: &[u8] = b"m";
/// Damaged values kept for salvage; more would let a broken card fill itself.
const DAMAGED_KEPT: usize = 256;
/// sled's log when it is all but empty: some segments of 512 KiB.
const LOG_MIN: u64 = 4 << 20;

/// What went wrong with the store.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// The disk refuses.
    #[error("the disk refuses")]
    Disk(#[source] io::Error),
    /// A later start than this one has used the store.
    #[error("the store was used by start {0}, which is later than this one: restart the gateway")]
    Overtaken(u32),
    /// The files make no sense.
    #[error("the store's files are damaged: {0}")]
    Damaged(String),
    /// A later version wrote it.
    #[error("the store has format {0}, and this program knows {FORMAT}")]
    Newer(u8),
}

impl From<sled::Error> for StoreError {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
                Self::Damaged(error.to_string())
            }
            sled::Error::Io(error) => Self::Disk(error),
            other => Self::Damaged(other.to_string()),
        }
    }
}

/// Runs sled code; a panic in it is damage.
fn guarded<T>(work: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => Ok(result?),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
            Err(StoreError::Damaged(format!("sled panicked: {}", text.unwrap_or("without a word"))))
        }
    }
}

/// An open store.
pub(super) struct Store {
    db: sled::Db,
    queues: Vec<sled::Tree>,
    ledger: sled::Tree,
    dead: sled::Tree,
    damaged: sled::Tree,
    state: sled::Tree,
    state_aside: sled::Tree,
    folder: File,
    files: PathBuf,
    seam: Seam,
}

/// What one commit changes in a queue's tree.
pub(super) struct QueueChange<'a> {
    pub chunks: Vec<Chunk>,
    /// Where chunks begin that go.
    pub gone: &'a [u64],
    pub mark: Mark,
    /// What the ledger says of that.
    pub given_up: Option<Changes>,
}

fn chunk_key(first: u64) -> [u8; 9] {
    let mut key = [b'c'; 9];
    key[1..].copy_from_slice(&first.to_be_bytes());
    key
}

fn chunk_place(key: &[u8]) -> Option<u64> {
    key.strip_prefix(b"c").and_then(|place| place.try_into().ok()).map(u64::from_be_bytes)
}

fn encode_mark(mark: Mark) -> Vec<u8> {
    let Mark { low, end, owed, bytes, clock_us } = mark;
    rmp_serde::to_vec(&(low, end, owed, bytes, clock_us)).expect("five numbers always go into a Vec")
}

fn decode_mark(value: &[u8]) -> Option<Mark> {
    let (low, end, owed, bytes, clock_us) = rmp_serde::from_slice(value).ok()?;
    Some(Mark { low, end, owed, bytes, clock_us })
}

type Entry = (sled::IVec, sled::IVec);

fn chunks(tree: &sled::Tree) -> sled::Iter {
    tree.range(chunk_key(0)..=chunk_key(u64::MAX))
}

fn batch_of(changes: Changes) -> sled::Batch {
    let mut batch = sled::Batch::default();
    for key in changes.gone {
        batch.remove(key);
    }
    for (key, value) in changes.put {
        batch.insert(key, value);
    }
    batch
}

impl Store {
    fn pass(&self, call: Call) -> Result<(), StoreError> {
        self.seam.pass(call).map_err(StoreError::Disk)
    }

    /// Bytes of the files that are there for reuse, given the bytes of all chunks: sled's log never shrinks, and what
    /// was drained is written over. Told with care: `live` may stand in the log twice.
    pub(super) fn reusable(&self, live: u64) -> u64 {
        let log = std::fs::metadata(self.files.join("db")).map_or(0, |about| about.len());
        log.saturating_sub(live.saturating_mul(2)).saturating_sub(LOG_MIN)
    }

    /// Notes the boot.
    pub(super) fn write_boot(&self, boot: u32) -> Result<(), StoreError> {
        self.pass(Call::Write)?;
        guarded(|| self.db.insert("boot", &boot.to_be_bytes())).map(drop)
    }

    /// Writes chunks and mark of a queue, deletes what is gone, and enters in the ledger what that gives up, in one
    /// batch. A chunk may take the key of one that is gone. Not durable yet.
    pub(super) fn write_queue(&self, queue: usize, change: QueueChange<'_>) -> Result<(), StoreError> {
        let QueueChange { chunks, gone, mark, given_up } = change;
        let mut batch = sled::Batch::default();
        for first in gone {
            batch.remove(&chunk_key(*first));
        }
        for chunk in chunks {
            batch.insert(&chunk_key(chunk.extent.first), chunk.value);
        }
        batch.insert(MARK, encode_mark(mark));
        self.pass(Call::Write)?;
        self.apply(&self.queues[queue], batch, given_up)
    }

    /// Writes changes of the ledger alone. Not durable yet.
    pub(super) fn write_ledger(&self, changes: Changes) -> Result<(), StoreError> {
        guarded(|| self.ledger.apply_batch(batch_of(changes)))
    }

    /// Applies a batch to a tree and changes to the ledger, both or neither.
    fn apply(&self, tree: &sled::Tree, batch: sled::Batch, changes: Option<Changes>) -> Result<(), StoreError> {
        let Some(changes) = changes else { return guarded(|| tree.apply_batch(batch)) };
        let entries = batch_of(changes);
        guarded(|| {
            let both = [tree, &self.ledger];
            let done = both.transaction(|trees| {
                trees[0].apply_batch(&batch)?;
                Ok(trees[1].apply_batch(&entries)?)
            });
            done.map_err(|error: TransactionError<()>| match error {
                TransactionError::Storage(error) => error,
                TransactionError::Abort(()) => sled::Error::ReportableBug("nobody aborts this transaction".to_owned()),
            })
        })
    }

    /// Writes letters and deletes others, with what the ledger says of those, in one batch. Not durable yet.
    pub(super) fn write_letters(
        &self,
        letters: &[(LetterId, Vec<u8>)],
        gone: &[LetterId],
        kept: Kept,
        evicted: Option<Changes>,
    ) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for id in gone {
            batch.remove(&letters::key(*id));
        }
        for (id, value) in letters {
            batch.insert(&letters::key(*id), value.as_slice());
        }
        batch.insert(MARK, rmp_serde::to_vec(&kept).expect("some numbers always go into a Vec"));
        self.pass(Call::Write)?;
        self.apply(&self.dead, batch, evicted)
    }

    /// First step: everything written is handed to the operating system, and survives a kill.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        self.pass(Call::Write)?;
        guarded(|| self.db.flush()).map(drop)
    }

    /// Second step: the whole file system is on the medium. sled syncs neither its blob files nor the file's size, so
    /// nothing less survives a power cut.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.pass(Call::Sync)?;
        rustix::fs::syncfs(&self.folder).map_err(|error| StoreError::Disk(error.into()))
    }

    /// The chunk that begins at or before `place`, or else the first behind it.
    pub(super) fn chunk_near(&self, queue: usize, place: u64) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        let tree = &self.queues[queue];
        let before = guarded(|| tree.range(chunk_key(0)..=chunk_key(place)).next_back().transpose())?;
        match before {
            Some((key, value)) => Ok(chunk_place(&key).map(|place| (place, value.to_vec()))),
            None => self.chunk_after(queue, place),
        }
    }

    /// The first chunk that begins behind `place`.
    pub(super) fn chunk_after(&self, queue: usize, place: u64) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        let Some(next) = place.checked_add(1) else { return Ok(None) };
        let tree = &self.queues[queue];
        let found = guarded(|| tree.range(chunk_key(next)..=chunk_key(u64::MAX)).next().transpose())?;
        Ok(found.and_then(|(key, value)| Some((chunk_place(&key)?, value.to_vec()))))
    }

    /// Moves a chunk that cannot be read to the damaged values, as long as there is room for it.
    pub(super) fn set_chunk_aside(&self, queue: usize, first: u64, value: &[u8]) -> Result<(), StoreError> {
        let tree = &self.queues[queue];
        let mut key = tree.name().to_vec();
        key.push(0);
        key.extend_from_slice(&chunk_key(first));
        guarded(|| {
            if self.damaged.len() < DAMAGED_KEPT {
                self.damaged.insert(&key, value)?;
            }
            tree.remove(chunk_key(first))
        })
        .map(drop)
    }

    /// Removes chunks from `place` on: leavings of a commit that failed half-way.
    pub(super) fn remove_from(&self, queue: usize, place: u64) -> Result<(), StoreError> {
        self.pass(Call::Write)?;
        let tree = &self.queues[queue];
        guarded(|| {
            for entry in tree.range(chunk_key(place)..=chunk_key(u64::MAX)).keys() {
                tree.remove(entry?)?;
            }
            Ok(())
        })
    }

    /// Whether a letter is there already.
    pub(super) fn has_letter(&self, id: LetterId) -> Result<bool, StoreError> {
        guarded(|| self.dead.contains_key(letters::key(id)))
    }

    /// Closes the files. sled may panic while it does so after an error.
    pub(super) fn close(self) {
        if let Err(error) = guarded(|| {
            drop(self);
            Ok(())
        }) {
            tracing::debug!(%error, "the store did not close cleanly");
        }
    }
}

/// Writes the format version of a closed store.
#[cfg(test)]
pub(super) fn set_format(path: &std::path::Path, format: u8) {
    let db = sled::Config::new().path(path).flush_every_ms(None).open().unwrap();
    db.insert("format", &[format]).unwrap();
    db.flush().unwrap();
}
