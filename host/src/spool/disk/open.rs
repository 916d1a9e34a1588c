//! Opens the store, and finds out what is in it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use crate::clock::Now;
use crate::spool::dead_letters::kept::KeptLetters;
use crate::spool::disk::audit::{Lost, audit};
use crate::spool::disk::chunk::Extent;
use crate::spool::disk::error::StoreError;
use crate::spool::disk::fault_injection::DiskCall;
use crate::spool::disk::folder::DataFolder;
use crate::spool::disk::format_before::take_up;
use crate::spool::disk::identity::{belong, find_name, own_name};
use crate::spool::disk::index::{IndexFile, IndexOptions, guarded};
use crate::spool::disk::log::listing;
use crate::spool::disk::low_marks::LowMarks;
use crate::spool::disk::mark::QueueMark;
use crate::spool::disk::name::StoreName;
use crate::spool::disk::queue_store::{QUEUE_TREE, QueueStore};
use crate::spool::disk::records::Records;
use crate::spool::disk::records::batch::{Tree, Witness};
use crate::spool::disk::records::files::Scan;
use crate::spool::disk::recover::{recover, strangers};
use crate::spool::disk::sealing::keys;
use crate::spool::disk::store::{BOOT, Store};
use crate::spool::disk::{FORMAT, FORMATS_BEFORE};
use crate::spool::growing::Growing;
use crate::spool::ledger::store::LedgerStore;
use crate::spool::settings::{Config, QueueConfig};

/// Whoever waits for a commit can wait for a sled handle that is still being closed.
const REOPEN_TRIES: u32 = 100;

/// What was found in it.
pub(crate) struct OpenedStore {
    pub store: Store,
    pub low_marks: LowMarks,
    /// The last boot that was noted.
    pub boot: u32,
    /// For each queue of the config its mark and its first chunk.
    pub queues: Vec<(QueueMark, Option<Extent>)>,
    pub kept: KeptLetters,
    pub ledger_store: LedgerStore,
    /// Queues with something owed that the config does not have: name and messages.
    pub strangers: Vec<(String, u64)>,
    /// Where a damaged index was moved.
    pub set_aside: Option<PathBuf>,
    /// What letters, ledger and state have lost, if anything.
    pub lost: Option<Lost>,
    /// What the store is called in the ids of messages.
    pub name: StoreName,
}

/// Opens the store; an index that does not open is moved aside, and is made up from the files. `known` is what a run before
/// in this process has recorded. What today's key has not sealed is sealed with it, chunks but for the moment.
pub(crate) fn open(
    config: &Config,
    folder: &DataFolder,
    known: &Witness,
) -> Result<OpenedStore, StoreError> {
    folder
        .fault_injection
        .pass(DiskCall::Write)
        .map_err(StoreError::Disk)?;
    keys::register(folder, &config.sealer)?;
    let opened = open_or_move(config, folder, known)?;
    opened.store.take_over()?;
    if keys::is_mixed(folder, &config.sealer) {
        opened.store.renew()?;
        // What the files hold as it was sealed before, or was not, goes with them.
        let old = opened.store.records.renew().map_err(StoreError::Disk)?;
        opened.store.settle(true)?;
        old.iter()
            .try_for_each(std::fs::remove_file)
            .map_err(StoreError::Disk)?;
        keys::retire(folder, &config.sealer).map_err(StoreError::Disk)?;
    }
    Ok(opened)
}

/// The store is about to be closed: which keys it still needs.
pub(crate) fn retire(config: &Config, folder: &DataFolder) {
    if keys::is_mixed(folder, &config.sealer)
        && let Err(error) = keys::retire(folder, &config.sealer)
    {
        tracing::debug!(%error, "which keys the store needs was not noted; the next start does it");
    }
}

fn open_or_move(
    config: &Config,
    folder: &DataFolder,
    known: &Witness,
) -> Result<OpenedStore, StoreError> {
    folder
        .remove_unfinished_snapshots()
        .map_err(StoreError::Disk)?;
    let damage = match open_files(config, folder, known) {
        Err(StoreError::Damaged(damage)) => damage,
        other => return other,
    };
    // sled takes a disk that refuses for damage here and there; then nothing is touched.
    folder.prove().map_err(StoreError::Disk)?;
    if folder.remove_all_snapshots().map_err(StoreError::Disk)? {
        tracing::warn!(path = %folder.store().display(), %damage, "the index does not open; trying again without its snapshots");
        match open_files(config, folder, known) {
            Err(StoreError::Damaged(_)) => {}
            other => return other,
        }
    }
    let aside = folder.set_aside(Now::read()).map_err(StoreError::Disk)?;
    let path = aside.display();
    tracing::error!(%path, %damage, "the index of the store is damaged and was moved aside; it is made up from the files, and nothing is lost by it");
    let opened = open_files(config, folder, known)?;
    Ok(OpenedStore {
        set_aside: Some(aside),
        ..opened
    })
}

/// Opens the store as it is: an index that is damaged is an error, and nothing is moved.
pub(crate) fn open_files(
    config: &Config,
    folder: &DataFolder,
    known: &Witness,
) -> Result<OpenedStore, StoreError> {
    let is_new = !folder.store().exists();
    let opened = open_trees(config, folder, is_new, known);
    match &opened {
        Ok(opened) if is_new => {
            opened.store.record()?;
            folder.sync().map_err(StoreError::Disk)?;
        }
        Err(_) if is_new => folder.remove_unfinished_store(),
        Ok(_) | Err(_) => {}
    }
    opened
}

/// Opens sled, and looks which format the store has: whether it is one of those before.
fn open_index(config: &Config, folder: &DataFolder) -> Result<(IndexFile, bool), StoreError> {
    let options = IndexOptions::new()
        .path(folder.store())
        .cache_capacity(config.cache_bytes)
        .flush_every_ms(None)
        .use_compression(false);
    let db = open_when_free(&options)?;
    let format = guarded(|| db.get("format"))?.and_then(|value| value.first().copied());
    match format {
        Some(format) if format != FORMAT && !FORMATS_BEFORE.contains(&format) => {
            return Err(StoreError::Format(format));
        }
        Some(_) => {}
        None => drop(guarded(|| db.insert("format", &[FORMAT]))?),
    }
    Ok((db, format.is_some_and(|format| format != FORMAT)))
}

fn open_records(folder: &DataFolder) -> Result<(Records, Scan), StoreError> {
    let path = folder.path();
    let faults = &folder.fault_injection;
    Records::open(path, own_name(folder), faults, &folder.failed_reads).map_err(StoreError::Disk)
}

fn open_trees(
    config: &Config,
    folder: &DataFolder,
    is_new: bool,
    known: &Witness,
) -> Result<OpenedStore, StoreError> {
    let (db, is_before) = open_index(config, folder)?;
    let was_used = !is_new && !is_before && folder.last_boot().is_some();
    let names: Vec<String> = config.queues.iter().map(QueueConfig::name).collect();
    std::fs::create_dir_all(folder.chunks()).map_err(StoreError::Disk)?;
    let (records, scan) = open_records(folder)?;
    let name = find_name(folder, &records, &scan)?;
    belong(&db, &name.store)?;
    let with_files = listing::queues(&folder.chunks()).map_err(StoreError::Disk)?;
    let is_known = !is_new || !with_files.is_empty();
    let low_marks = LowMarks::open(folder, names.clone(), &name.store, (is_known, is_before))
        .map_err(StoreError::Disk)?;
    let witness = newest([known, low_marks.witness(), &scan.witness]);
    records.begin(&name.store, &witness);
    if is_before {
        take_up(&db, &records)?;
    }
    let (kept, ledger_store, lost) = audit(config, &records, &scan, (&witness, was_used))?;
    folder.move_aside(&scan.given_up);
    let chunks = folder.chunks();
    let open_queue =
        |queue: &str| QueueStore::open(&db, &chunks, queue, &name.store, &folder.fault_injection);
    let queues = names.iter().map(|name| open_queue(name));
    let queues = queues.collect::<Result<Growing<_>, _>>()?;
    let found = recover_all(&queues, &records, &low_marks)?;
    let boot = last_boot(&records, &found)?;
    let strangers = strangers(&records, &names, all_queues(&db, with_files)?, open_queue)?;
    let store = Store {
        db,
        queues,
        files: (chunks.clone(), Arc::clone(&name.store)),
        records,
        behind: Mutex::default(),
        damaged: folder.damaged(),
        disks: disks(folder).map_err(StoreError::Disk)?,
        is_written: AtomicBool::default(),
        is_told: AtomicBool::default(),
        is_behind: AtomicBool::default(),
        fault_injection: folder.fault_injection.clone(),
        sealer: config.sealer.clone(),
    };
    Ok(OpenedStore {
        store,
        low_marks,
        boot,
        queues: found,
        kept,
        ledger_store,
        strangers,
        set_aside: None,
        lost,
        name,
    })
}

/// The queues that have files, and those that the index knows.
fn all_queues(db: &IndexFile, with_files: Vec<String>) -> Result<BTreeSet<String>, StoreError> {
    let names = guarded(|| Ok(db.tree_names()))?;
    let names = names.iter().filter_map(|name| str::from_utf8(name).ok());
    let indexed = names.filter_map(|name| name.strip_prefix(QUEUE_TREE));
    Ok(with_files
        .into_iter()
        .chain(indexed.map(str::to_owned))
        .collect())
}

/// Each queue as it lies on disk, accepted as far as its index or the low marks say, whichever know more.
fn recover_all(
    queues: &Growing<QueueStore>,
    records: &Records,
    low_marks: &LowMarks,
) -> Result<Vec<(QueueMark, Option<Extent>)>, StoreError> {
    let recover = |(index, queue)| recover(queue, records, |mark| low_marks.newer(index, mark));
    queues.iter().enumerate().map(recover).collect()
}

/// Of several who know what was recorded the one who knows most.
fn newest(witnesses: [&Witness; 3]) -> Witness {
    let newest = witnesses.into_iter().max_by_key(|witness| witness.number);
    newest.cloned().unwrap_or_default()
}

/// The last boot that was noted, or that the queues have places of: a store that was made anew does not know how far its
/// places were used.
fn last_boot(records: &Records, queues: &[(QueueMark, Option<Extent>)]) -> Result<u32, StoreError> {
    let noted = records.get(Tree::Own, BOOT).map_err(StoreError::Disk)?;
    let noted = noted
        .and_then(|boot| boot.first_chunk().copied())
        .map_or(0, u32::from_be_bytes);
    Ok(queues
        .iter()
        .map(|(mark, _)| u32::try_from(mark.end.boot()).unwrap_or(0))
        .fold(noted, u32::max))
}

impl Store {
    /// Writes letters, ledger and state anew, with this ledger, and sets the files they were in aside.
    pub(crate) fn make_anew(
        &self,
        ledger_store: &mut LedgerStore,
        folder: &DataFolder,
    ) -> Result<(), StoreError> {
        let old = self.records.renew().map_err(StoreError::Disk)?;
        let keys: Vec<Vec<u8>> = self
            .records
            .each(Tree::Ledger, &[])
            .map(|entry| entry.map(|(key, _)| key))
            .collect::<Result<_, _>>()
            .map_err(StoreError::Disk)?;
        for key in keys {
            self.records.remove(Tree::Ledger, &key);
        }
        ledger_store.rewrite();
        ledger_store
            .changes()
            .into_iter()
            .for_each(|changes| self.write_ledger(changes));
        self.settle(true)?;
        for path in old {
            folder.keep_damaged(&path, Now::read());
        }
        Ok(())
    }
}

/// A handle on each file system that files of the store lie on: a part of it may be linked in from another.
fn disks(folder: &DataFolder) -> io::Result<Vec<File>> {
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
pub(super) fn open_when_free(options: &IndexOptions) -> Result<IndexFile, StoreError> {
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

/// Whether another handle, perhaps of another process, has the files open.
pub(crate) fn is_held(error: &io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}
