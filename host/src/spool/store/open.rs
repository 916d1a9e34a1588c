//! Opens the store, and finds out what is in it.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::sealed::{self, Kind};
use super::tail::{Recovered, Tail};
use super::{Entry, FORMAT, FORMAT_SEALED, MARK, Store, StoreError, guarded, log, tools};
use crate::clock::Now;
use crate::spool::chunk::Extent;
use crate::spool::folder::Folder;
use crate::spool::keys;
use crate::spool::ledger::Books;
use crate::spool::letters::Kept;
use crate::spool::notes::Notes;
use crate::spool::queue::{BOOT_SHIFT, Mark};
use crate::spool::seam::Call;
use crate::spool::settings::{Config, QueueConfig};

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

/// Opens the store; one that is damaged beyond opening is moved aside, and a fresh one takes its place. What today's key
/// has not sealed is sealed with it, chunks but for the moment.
pub(in crate::spool) fn open(config: &Config, folder: &Folder) -> Result<Opened, StoreError> {
    folder.seam.pass(Call::Write).map_err(StoreError::Disk)?;
    keys::register(folder, &config.vault)?;
    let opened = open_or_move(config, folder)?;
    if config.vault.current().is_some() {
        // Durable with the boot, before anything is sealed.
        guarded(|| opened.store.db.insert("format", &[FORMAT_SEALED]))?;
    }
    if keys::is_mixed(folder, &config.vault) {
        opened.store.renew()?;
        opened.store.settle(true)?;
        keys::retire(folder, &config.vault).map_err(StoreError::Disk)?;
    }
    Ok(opened)
}

/// The store is about to be closed: which keys it still needs.
pub(in crate::spool) fn retire(config: &Config, folder: &Folder) {
    if keys::is_mixed(folder, &config.vault)
        && let Err(error) = keys::retire(folder, &config.vault)
    {
        tracing::debug!(%error, "which keys the store needs was not noted; the next start does it");
    }
}

fn open_or_move(config: &Config, folder: &Folder) -> Result<Opened, StoreError> {
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
    let path = aside.display();
    tracing::error!(%path, %damage, "the store is damaged: its dead letters, ledger and plugin state were moved aside; what is owed is found again in the files of chunks");
    let opened = open_files(config, folder)?;
    Ok(Opened { set_aside: Some(aside), ..opened })
}

/// Opens the store as it is: one that is damaged is an error, and nothing is moved.
pub(in crate::spool) fn open_files(config: &Config, folder: &Folder) -> Result<Opened, StoreError> {
    let is_new = !folder.store().exists();
    let opened = open_trees(config, folder, is_new);
    match &opened {
        Ok(opened) if is_new => {
            opened.store.settle(true)?;
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
        Some(FORMAT | FORMAT_SEALED) => {}
        Some(format) => return Err(StoreError::Format(format)),
        None => drop(guarded(|| db.insert("format", &[FORMAT]))?),
    }
    let boot = guarded(|| db.get("boot"))?.and_then(|value| value.as_ref().try_into().ok()).map_or(0, u32::from_be_bytes);
    let names: Vec<String> = config.queues.iter().map(QueueConfig::name).collect();
    std::fs::create_dir_all(folder.chunks()).map_err(StoreError::Disk)?;
    let open_tail = |name: &str| Tail::open(&db, &folder.chunks(), name);
    let queues = names.iter().map(|name| open_tail(name)).collect::<Result<Vec<_>, _>>()?;
    let (dead, damaged) = (guarded(|| db.open_tree("dead"))?, guarded(|| db.open_tree("damaged"))?);
    let ledger = guarded(|| db.open_tree("ledger"))?;
    let books = books(config, &ledger)?;
    let (state, state_aside) = (guarded(|| db.open_tree("state"))?, guarded(|| db.open_tree("state-aside"))?);
    let with_files = log::queues(&folder.chunks()).map_err(StoreError::Disk)?;
    let notes = Notes::open(folder, names.clone(), !is_new || !with_files.is_empty());
    let mut found = Vec::with_capacity(queues.len());
    for (index, (tail, name)) in queues.iter().zip(&names).enumerate() {
        found.push(recover(tail, name, |mark| notes.newer(index, mark))?);
    }
    // A store that was made anew does not know how far its places were used.
    let boot = found.iter().map(|(mark, _)| u32::try_from(mark.end >> BOOT_SHIFT).unwrap_or(0)).fold(boot, u32::max);
    let kept = match guarded(|| dead.get(MARK))?.and_then(|value| rmp_serde::from_slice(&value).ok()) {
        Some(kept) => kept,
        None => tools::count_letters(&dead, &config.vault)?,
    };
    let strangers = strangers(&db, folder, &names, with_files)?;
    let (disks, seam) = (disks(folder).map_err(StoreError::Disk)?, folder.seam.clone());
    let flag = AtomicBool::default;
    let (is_written, is_told, is_behind) = (flag(), flag(), flag());
    let vault = config.vault.clone();
    let store =
        Store { db, queues, ledger, dead, damaged, state, state_aside, disks, is_written, is_told, is_behind, seam, vault };
    Ok(Opened { store, notes, boot, queues: found, kept, books, strangers, set_aside: None })
}

/// A handle on each file system that files of the store lie on: a part of it may be linked in from another.
fn disks(folder: &Folder) -> io::Result<Vec<File>> {
    let mut disks: Vec<(u64, File)> = Vec::new();
    for path in [folder.path(), &folder.store(), &folder.chunks()] {
        let handle = File::open(path)?;
        let device = handle.metadata()?.dev();
        if disks.iter().all(|(known, _)| *known != device) {
            disks.push((device, handle));
        }
    }
    Ok(disks.into_iter().map(|(_, handle)| handle).collect())
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
    let opened = |(key, value): (sled::IVec, sled::IVec)| {
        let value = sealed::open(&config.vault, Kind::Ledger, &key, &value).into_owned();
        (key, value)
    };
    let pairs: Vec<_> = pairs.into_iter().map(opened).collect();
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

/// What a queue owes.
fn recover(tail: &Tail, name: &str, newer: impl FnOnce(Mark) -> Mark) -> Result<(Mark, Option<Extent>), StoreError> {
    let Recovered { mark, first, is_rebuilt } = tail.recover(newer)?;
    if is_rebuilt {
        let Mark { low, end, owed, .. } = mark;
        tracing::warn!(queue = name, low, end, owed, "the index of this queue was made up from its files");
    }
    Ok((mark, first))
}

/// Queues with something owed that the config does not have.
fn strangers(
    db: &sled::Db,
    folder: &Folder,
    names: &[String],
    with_files: Vec<String>,
) -> Result<Vec<(String, u64)>, StoreError> {
    let mut found = Vec::new();
    for name in with_files.into_iter().filter(|name| !names.contains(name)) {
        let (mark, _) = recover(&Tail::open(db, &folder.chunks(), &name)?, &name, |mark| mark)?;
        if mark.owed > 0 {
            found.push((name, mark.owed));
        }
    }
    Ok(found)
}
