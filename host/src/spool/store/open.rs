//! Opens the store, and finds out what is in it.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Entry, FORMAT, MARK, Store, StoreError, chunk_place, chunks, decode_mark, guarded, tools};
use crate::clock::Now;
use crate::spool::chunk::{self, Extent};
use crate::spool::folder::Folder;
use crate::spool::ledger::Books;
use crate::spool::letters::Kept;
use crate::spool::notes::Notes;
use crate::spool::queue::Mark;
use crate::spool::seam::Call;
use crate::spool::settings::Config;

/// Whoever waits for a commit can wait for a sled handle that is still being closed.
const REOPEN_TRIES: u32 = 100;

/// What was found in it.
pub(in crate::spool) struct Opened {
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
pub(in crate::spool) fn open(config: &Config, folder: &Folder) -> Result<Opened, StoreError> {
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
pub(in crate::spool) fn open_files(config: &Config, folder: &Folder) -> Result<Opened, StoreError> {
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
pub(in crate::spool) fn no_books(config: &Config) -> Books {
    Books::found(std::iter::empty(), &uplinks(config))
}

fn uplinks(config: &Config) -> Vec<Arc<str>> {
    let mut uplinks: Vec<Arc<str>> = config.queues.iter().map(|queue| Arc::clone(&queue.uplink)).collect();
    uplinks.sort_unstable();
    uplinks.dedup();
    uplinks
}

/// Whether another handle, perhaps of another process, has the files open.
pub(in crate::spool) fn is_held(error: &io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
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
