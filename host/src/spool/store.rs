//! The only part that names sled: trees, batches, and what makes them durable. Chunks lie in files beside it (`log`).
//!
//! ```text
//! default tree            "format" → u8, "boot" → u32
//! "queue:<uplink>:<class>"  'c' + first place (u64, big endian) → where its chunk lies;
//!                         'm' → mark (low, end, owed, bytes, clock);  'p' → up to where the files are in here
//! "ledger"                see `ledger`
//! "dead"                  'l' + boot + number → dead letter;  'm' → how many are kept for each reason, their bytes
//! "state"                 flow + 0 + plugin + 0 + key → version and value of a plugin's state
//! "state-aside"           the same, of a plugin that could not read it
//! "damaged"               name of the tree + 0 + key → what could not be read there
//! ```
//!
//! A commit of chunks alone is one sync of their files: what the index has not heard of is found again at their end. All
//! else is recorded: sled's `flush`, which alone does not survive a power cut, and a `syncfs` behind it. sled is never
//! flushed without that: it writes over what it has freed before the growing end of its file is on the medium.
//!
//! sled panics on some damage, so every call is caught. After one failed write a handle is dead: it must be opened anew.

mod log;
mod open;
mod sealed;
mod state;
mod tail;
mod tools;

pub(super) use log::sealed_with as chunks_sealed_with;
pub(super) use open::{Opened, is_held, no_books, open, open_files, retire};

use std::fs::File;
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use sled::Transactional;
use sled::transaction::TransactionError;

use super::chunk::Chunk;
use super::ledger::Changes;
use super::letters::{self, Kept, LetterId};
use super::queue::Mark;
use super::seam::{Call, Seam};
use super::vault::{KeyId, Vault};
use sealed::Kind;
use tail::Tail;

/// The layout above.
pub(super) const FORMAT: u8 = 2;
/// The same, and something in it is sealed: a program that knows no seals must not take that for damage.
const FORMAT_SEALED: u8 = 3;
const MARK: &[u8] = b"m";
/// Damaged values kept for salvage; more would let a broken card fill itself.
const DAMAGED_KEPT: usize = 256;

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
    /// Another version wrote it.
    #[error("the store has format {0}, and this program knows {FORMAT}")]
    Format(u8),
    /// A key is not here.
    #[error("the store is sealed with key {0}, which the config does not have")]
    Key(KeyId),
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
    queues: Vec<Tail>,
    ledger: sled::Tree,
    dead: sled::Tree,
    damaged: sled::Tree,
    state: sled::Tree,
    state_aside: sled::Tree,
    /// A handle on each file system that the files lie on.
    disks: Vec<File>,
    /// Chunks were written and are not synced.
    is_written: AtomicBool,
    /// sled was told something.
    is_told: AtomicBool,
    /// It was told something that must not wait.
    is_behind: AtomicBool,
    seam: Seam,
    vault: Vault,
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

fn encode_mark(mark: Mark) -> Vec<u8> {
    let Mark { low, end, owed, bytes, clock_us } = mark;
    rmp_serde::to_vec(&(low, end, owed, bytes, clock_us)).expect("five numbers always go into a Vec")
}

fn decode_mark(value: &[u8]) -> Option<Mark> {
    let (low, end, owed, bytes, clock_us) = rmp_serde::from_slice(value).ok()?;
    Some(Mark { low, end, owed, bytes, clock_us })
}

type Entry = (sled::IVec, sled::IVec);

fn batch_of(changes: Changes, vault: &Vault) -> sled::Batch {
    let mut batch = sled::Batch::default();
    for key in changes.gone {
        batch.remove(key);
    }
    for (key, value) in changes.put {
        let value = sealed::seal(vault, Kind::Ledger, &key, value);
        batch.insert(key, value);
    }
    batch
}

impl Store {
    fn pass(&self, call: Call) -> Result<(), StoreError> {
        self.seam.pass(call).map_err(StoreError::Disk)
    }

    /// Notes the boot.
    pub(super) fn write_boot(&self, boot: u32) -> Result<(), StoreError> {
        self.pass(Call::Write)?;
        self.is_behind.store(true, Ordering::Release);
        guarded(|| self.db.insert("boot", &boot.to_be_bytes())).map(drop)
    }

    /// Writes chunks and mark of a queue, deletes what is gone, and enters in the ledger what that gives up: all of it or
    /// nothing. A chunk may take the place of one that is gone. Not durable yet.
    pub(super) fn write_queue(&self, queue: usize, change: QueueChange<'_>) -> Result<(), StoreError> {
        let QueueChange { chunks, gone, mark, given_up } = change;
        self.pass(Call::Write)?;
        let tail = &self.queues[queue];
        if !chunks.is_empty() {
            self.is_written.store(true, Ordering::Release);
        }
        self.is_told.store(true, Ordering::Release);
        let batch = tail.change(&chunks, gone, mark)?;
        if chunks.is_empty() || !gone.is_empty() || given_up.is_some() || tail.has_dead() {
            self.is_behind.store(true, Ordering::Release);
        }
        self.apply(tail.tree(), batch, given_up)
    }

    /// Writes changes of the ledger alone. Not durable yet.
    pub(super) fn write_ledger(&self, changes: Changes) -> Result<(), StoreError> {
        self.is_behind.store(true, Ordering::Release);
        guarded(|| self.ledger.apply_batch(batch_of(changes, &self.vault)))
    }

    /// Applies a batch to a tree and changes to the ledger, both or neither.
    fn apply(&self, tree: &sled::Tree, batch: sled::Batch, changes: Option<Changes>) -> Result<(), StoreError> {
        let Some(changes) = changes else { return guarded(|| tree.apply_batch(batch)) };
        let entries = batch_of(changes, &self.vault);
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
        letters: Vec<(LetterId, Vec<u8>)>,
        gone: &[LetterId],
        kept: Kept,
        evicted: Option<Changes>,
    ) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for id in gone {
            batch.remove(&letters::key(*id));
        }
        for (id, value) in letters {
            let key = letters::key(id);
            let value = sealed::seal(&self.vault, Kind::Letter, &key, value);
            batch.insert(&key, value);
        }
        batch.insert(MARK, rmp_serde::to_vec(&kept).expect("some numbers always go into a Vec"));
        self.pass(Call::Write)?;
        self.is_behind.store(true, Ordering::Release);
        self.apply(&self.dead, batch, evicted)
    }

    /// Makes durable what the calls before have written: it survives a kill and a power cut. With `all` the index is up
    /// to date, too, so that nothing need be looked for at the next start.
    pub(super) fn settle(&self, all: bool) -> Result<(), StoreError> {
        for tail in &self.queues {
            if tail.tidy(&self.vault)? {
                self.is_written.store(true, Ordering::Release);
                self.is_behind.store(true, Ordering::Release);
            }
        }
        // In this order: the index must not know of chunks that a power cut takes.
        if self.is_written.load(Ordering::Acquire) {
            self.sync()?;
            self.is_written.store(false, Ordering::Release);
        }
        if self.is_behind.swap(false, Ordering::AcqRel) || (all && self.is_told.load(Ordering::Acquire)) {
            self.record()?;
        }
        Ok(())
    }

    /// Brings sled to the medium; only then may files go that it does not need.
    fn record(&self) -> Result<(), StoreError> {
        self.pass(Call::Write)?;
        self.is_told.store(false, Ordering::Release);
        guarded(|| self.db.flush())?;
        self.sync()?;
        self.queues.iter().for_each(Tail::sweep);
        Ok(())
    }

    /// The whole file system: sled syncs neither its blob files nor its file's size, and one call serves all files of
    /// chunks.
    fn sync(&self) -> Result<(), StoreError> {
        self.pass(Call::Sync)?;
        let sync = |disk: &File| rustix::fs::syncfs(disk).map_err(|error| StoreError::Disk(error.into()));
        self.disks.iter().try_for_each(sync)
    }

    /// The first place of the chunk that answers for `place`, or else of the first behind it, and its bytes.
    pub(super) fn chunk_near(&self, queue: usize, place: u64) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        self.queues[queue].near(place)
    }

    /// Where the first chunk behind `place` begins.
    pub(super) fn next_chunk(&self, queue: usize, place: u64) -> Result<Option<u64>, StoreError> {
        self.queues[queue].next_chunk(place)
    }

    /// Moves a chunk that cannot be read to the damaged values, as long as there is room for it.
    pub(super) fn set_chunk_aside(&self, queue: usize, first: u64, value: &[u8]) -> Result<(), StoreError> {
        let tail = &self.queues[queue];
        let mut key = tail.tree().name().to_vec();
        key.push(0);
        key.extend_from_slice(&first.to_be_bytes());
        guarded(|| {
            if self.damaged.len() < DAMAGED_KEPT {
                self.damaged.insert(&key, value)?;
            }
            Ok(())
        })?;
        tail.forget(first)
    }

    /// Looks, once, through all files of a queue for chunks of the places `owed` that the index has forgotten. Answers
    /// whether there were any.
    pub(super) fn search(&self, queue: usize, owed: Range<u64>) -> Result<bool, StoreError> {
        self.queues[queue].search(owed)
    }

    /// Answers for places of a queue that were found missing, so that they are not counted again after a restart.
    pub(super) fn bridge(&self, queue: usize, hole: Range<u64>) -> Result<(), StoreError> {
        self.queues[queue].bridge(hole)
    }

    /// Removes chunks from `place` on: leavings of a commit that failed half-way.
    pub(super) fn remove_from(&self, queue: usize, place: u64) -> Result<(), StoreError> {
        self.pass(Call::Write)?;
        self.queues[queue].remove_from(place)
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
