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

mod state;
mod tools;

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use sled::Transactional;
use sled::transaction::TransactionError;

use super::chunk::{self, Chunk, Extent};
use super::folder::Folder;
use super::ledger::{Books, Changes};
use super::letters::{self, Kept, LetterId};
use super::notes::Notes;
use super::queue::Mark;
use super::seam::{Call, Seam};
use super::settings::Config;
use crate::clock::Now;

/// The layout above.
pub(super) const FORMAT: u8 = 1;
const MARK: &[u8] = b"m";
/// Damaged values kept for salvage; more would let a broken card fill itself.
const DAMAGED_KEPT: usize = 256;
/// sled's log when it is all but empty: some segments of 512 KiB.
const LOG_MIN: u64 = 4 << 20;
/// Whoever waits for a commit can wait for a sled handle that is still being closed.
const REOPEN_TRIES: u32 = 100;

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

/// What was found in it.
pub(super) struct Opened {
    pub store: Store,
    pub notes: Notes,
    /// The last boot that was noted.
    pub boot: u32,
    /// For each queue of the config its mark and its first chunk.
    pub queues: Vec<(Mark, Option<Extent>)>,
    /// Letters kept.
    pub kept: Kept,
    /// The ledger.
    pub books: Books,
    /// Queues with something owed that the config does not have: name and messages.
    pub strangers: Vec<(String, u64)>,
    /// Where a damaged store was moved.
    pub set_aside: Option<PathBuf>,
}

/// Opens the store; one that is damaged beyond opening is moved aside, and a fresh one takes its place.
pub(super) fn open(config: &Config, folder: &Folder) -> Result<Opened, StoreError> {
    folder.seam.pass(Call::Write).map_err(StoreError::Disk)?;
    folder.remove_unfinished_snapshots().map_err(StoreError::Disk)?;
    let damage = match open_files(config, folder) {
        Err(StoreError::Damaged(damage)) => damage,
        other => return other,
    };
    // sled takes a disk that refuses for damage here and there; then nothing is touched.
    folder.prove().map_err(StoreError::Disk)?;
    if folder.remove_all_snapshots().map_err(StoreError::Disk)? {
        tracing::warn!(path = %folder.store().display(), %damage, "the store does not open; trying again without its snapshots");
        match open_files(config, folder) {
            Err(StoreError::Damaged(_)) => {}
            other => return other,
        }
    }
    let aside = folder.set_aside(Now::read()).map_err(StoreError::Disk)?;
    tracing::error!(path = %aside.display(), %damage, "the store is damaged: it was moved aside, and what it held is not sent");
    let opened = open_files(config, folder)?;
    Ok(Opened { set_aside: Some(aside), ..opened })
}

/// Opens the store as it is: one that is damaged is an error, and nothing is moved.
pub(super) fn open_files(config: &Config, folder: &Folder) -> Result<Opened, StoreError> {
    let is_new = !folder.store().exists();
    let opened = open_trees(config, folder, is_new);
    match &opened {
        Ok(opened) if is_new => {
            opened.store.flush()?;
            folder.sync().map_err(StoreError::Disk)?;
        }
        Err(_) if is_new => folder.remove_unfinished_store(),
        Ok(_) | Err(_) => {}
    }
    opened
}

fn open_trees(config: &Config, folder: &Folder, is_new: bool) -> Result<Opened, StoreError> {
    let options =
        sled::Config::new().path(folder.store()).cache_capacity(config.cache_bytes).flush_every_ms(None).use_compression(false);
    let db = open_when_free(&options)?;
    let format = guarded(|| db.get("format"))?.and_then(|value| value.first().copied());
    match format {
        Some(FORMAT) => {}
        Some(format) if format > FORMAT => return Err(StoreError::Newer(format)),
        Some(_) | None => drop(guarded(|| db.insert("format", &[FORMAT]))?),
    }
    let boot = guarded(|| db.get("boot"))?.and_then(|value| value.as_ref().try_into().ok()).map_or(0, u32::from_be_bytes);
    let names: Vec<String> = config.queues.iter().map(|queue| format!("queue:{}:{}", queue.uplink, queue.class)).collect();
    let queues = names.iter().map(|name| guarded(|| db.open_tree(name))).collect::<Result<Vec<_>, _>>()?;
    let (dead, damaged) = (guarded(|| db.open_tree("dead"))?, guarded(|| db.open_tree("damaged"))?);
    let ledger = guarded(|| db.open_tree("ledger"))?;
    let books = books(config, &ledger)?;
    let (state, state_aside) = (guarded(|| db.open_tree("state"))?, guarded(|| db.open_tree("state-aside"))?);
    let notes = Notes::open(folder, names.clone(), !is_new);
    let found = (0..).zip(queues.iter().zip(&names));
    let found = found.map(|(index, (tree, name))| recover(tree, name, |mark| notes.newer(index, mark)));
    let found = found.collect::<Result<Vec<_>, _>>()?;
    let kept = match guarded(|| dead.get(MARK))?.and_then(|value| rmp_serde::from_slice(&value).ok()) {
        Some(kept) => kept,
        None => tools::count_letters(&dead)?,
    };
    let strangers = strangers(&db, &names)?;
    let handle = File::open(folder.path()).map_err(StoreError::Disk)?;
    let (files, seam) = (folder.store(), folder.seam.clone());
    let store = Store { db, queues, ledger, dead, damaged, state, state_aside, folder: handle, files, seam };
    Ok(Opened { store, notes, boot, queues: found, kept, books, strangers, set_aside: None })
}

/// Opens the files, waiting for an earlier handle of this process that is still being closed.
fn open_when_free(options: &sled::Config) -> Result<sled::Db, StoreError> {
    for _ in 0..REOPEN_TRIES {
        match guarded(|| options.open()) {
            Err(StoreError::Disk(error)) if is_held(&error) => {
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            other => return other,
        }
    }
    guarded(|| options.open())
}

/// Reads the ledger.
fn books(config: &Config, ledger: &sled::Tree) -> Result<Books, StoreError> {
    let pairs = guarded(|| ledger.iter().collect::<sled::Result<Vec<Entry>>>())?;
    Ok(Books::found(pairs.iter().map(|(key, value)| (&**key, &**value)), &uplinks(config)))
}

/// The ledger as long as there is no store.
pub(super) fn no_books(config: &Config) -> Books {
    Books::found(std::iter::empty(), &uplinks(config))
}

fn uplinks(config: &Config) -> Vec<Arc<str>> {
    let mut uplinks: Vec<Arc<str>> = config.queues.iter().map(|queue| Arc::clone(&queue.uplink)).collect();
    uplinks.sort_unstable();
    uplinks.dedup();
    uplinks
}

/// Whether another handle, perhaps of another process, has the files open.
pub(super) fn is_held(error: &io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
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

/// Reads a queue's mark and the two ends of its chunks; deletes chunks that `low` has passed.
fn recover(tree: &sled::Tree, name: &str, newer: impl FnOnce(Mark) -> Mark) -> Result<(Mark, Option<Extent>), StoreError> {
    let noted = guarded(|| tree.get(MARK))?.as_deref().and_then(decode_mark);
    let Some((last, value)) = guarded(|| chunks(tree).next_back().transpose())? else {
        return Ok((noted.unwrap_or_default(), None));
    };
    let end = chunk::extent(&value).map_or_else(|_| chunk_place(&last).unwrap_or(0) + 1, |extent| extent.end);
    let mut mark = match noted {
        Some(mark) => mark,
        None => mark_from_chunks(tree, name, end)?,
    };
    mark.end = mark.end.max(end);
    let mark = newer(mark);
    loop {
        let Some((key, value)) = guarded(|| chunks(tree).next().transpose())? else {
            return Ok((mark, None));
        };
        match chunk::extent(&value) {
            Ok(extent) if extent.end <= mark.low => drop(guarded(|| tree.remove(&key))?),
            Ok(extent) => return Ok((mark, Some(extent))),
            Err(_) => return Ok((mark, None)),
        }
    }
}

/// A mark for a queue that lost its own: all its chunks are owed.
fn mark_from_chunks(tree: &sled::Tree, name: &str, end: u64) -> Result<Mark, StoreError> {
    let first: Option<Entry> = guarded(|| chunks(tree).next().transpose())?;
    let low = first.and_then(|(key, _)| chunk_place(&key)).unwrap_or(end);
    tracing::error!(queue = name, low, end, "the store has lost the mark of this queue; all its chunks are sent again");
    Ok(Mark { low, end, owed: end - low, bytes: 0, clock_us: 0 })
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

/// Queues with something owed that the config does not have.
fn strangers(db: &sled::Db, names: &[String]) -> Result<Vec<(String, u64)>, StoreError> {
    let mut found = Vec::new();
    for name in db.tree_names() {
        let Ok(text) = std::str::from_utf8(&name) else { continue };
        if !text.starts_with("queue:") || names.iter().any(|known| known == text) {
            continue;
        }
        let tree = guarded(|| db.open_tree(&name))?;
        let mark = guarded(|| tree.get(MARK))?.as_deref().and_then(decode_mark).unwrap_or_default();
        if mark.low < mark.end {
            found.push((text.trim_start_matches("queue:").to_owned(), mark.owed));
        }
    }
    Ok(found)
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
