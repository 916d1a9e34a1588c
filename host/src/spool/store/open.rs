//! Opens the store, and finds out what is in it.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use super::records::{Records, Scan, Totals, Tree, Witness};
use super::sealed::{self, Kind};
use super::tail::{Recovered, Tail};
use super::{BOOT, FORMAT, FORMATS_BEFORE, MARK, Store, StoreError, guarded, log, tools};
use crate::clock::Now;
use crate::spool::chunk::Extent;
use crate::spool::folder::Folder;
use crate::spool::keys;
use crate::spool::ledger::Books;
use crate::spool::letters::Kept;
use crate::spool::name::{self, Name};
use crate::spool::notes::Notes;
use crate::spool::queue::{BOOT_SHIFT, Mark};
use crate::spool::seam::Call;
use crate::spool::settings::{Config, QueueConfig};

/// Whoever waits for a commit can wait for a sled handle that is still being closed.
const REOPEN_TRIES: u32 = 100;
/// Key of the name that message ids carry.
const IDS: &[u8] = b"ids";
/// What lay in sled in formats before, besides the index.
pub(super) const TREES_BEFORE: [(&str, Tree); 4] = [
    ("dead", Tree::Letters),
    ("ledger", Tree::Ledger),
    ("state", Tree::State),
    ("state-aside", Tree::StateAside),
];

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
    /// Where a damaged index was moved.
    pub set_aside: Option<PathBuf>,
    /// What letters, ledger and state have lost, if anything.
    pub lost: Option<Lost>,
    /// What the store is called in the ids of messages.
    pub name: Name,
}

/// What letters, ledger and state have lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::spool) struct Lost {
    /// Commits of which nothing is known but that there were some.
    pub commits: u64,
    /// Letters, messages in the ledger, and entries of state: more than is there.
    pub totals: Totals,
}

impl Lost {
    /// What is missing of `known` where only `found` is there.
    fn of(commits: u64, known: &Totals, found: &Totals) -> Self {
        let mut totals = Totals {
            states: known.states.saturating_sub(found.states),
            ..Totals::default()
        };
        let counts = known.kept.counts.iter().zip(found.kept.counts);
        for (lost, (known, found)) in totals.kept.counts.iter_mut().zip(counts) {
            *lost = known.saturating_sub(found);
        }
        for (reason, known) in &known.given_up {
            let lost = known.saturating_sub(found.given_up.get(reason).copied().unwrap_or(0));
            totals
                .given_up
                .extend((lost > 0).then_some((*reason, lost)));
        }
        Self { commits, totals }
    }

    /// Whether it is anything.
    fn is_some(&self) -> bool {
        let Totals {
            kept,
            states,
            given_up,
        } = &self.totals;
        self.commits > 0 || kept.total() > 0 || *states > 0 || !given_up.is_empty()
    }
}

/// Opens the store; an index that does not open is moved aside, and is made up from the files. `known` is what a run before
/// in this process has recorded. What today's key has not sealed is sealed with it, chunks but for the moment.
pub(in crate::spool) fn open(
    config: &Config,
    folder: &Folder,
    known: &Witness,
) -> Result<Opened, StoreError> {
    folder.seam.pass(Call::Write).map_err(StoreError::Disk)?;
    keys::register(folder, &config.vault)?;
    let opened = open_or_move(config, folder, known)?;
    opened.store.take_over()?;
    if keys::is_mixed(folder, &config.vault) {
        opened.store.renew()?;
        // What the files hold as it was sealed before, or was not, goes with them.
        let old = opened.store.records.renew().map_err(StoreError::Disk)?;
        opened.store.settle(true)?;
        old.iter()
            .try_for_each(std::fs::remove_file)
            .map_err(StoreError::Disk)?;
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

fn open_or_move(config: &Config, folder: &Folder, known: &Witness) -> Result<Opened, StoreError> {
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
    Ok(Opened {
        set_aside: Some(aside),
        ..opened
    })
}

/// Opens the store as it is: an index that is damaged is an error, and nothing is moved.
pub(in crate::spool) fn open_files(
    config: &Config,
    folder: &Folder,
    known: &Witness,
) -> Result<Opened, StoreError> {
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

fn open_trees(
    config: &Config,
    folder: &Folder,
    is_new: bool,
    known: &Witness,
) -> Result<Opened, StoreError> {
    let options = sled::Config::new()
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
    let is_before = format.is_some_and(|format| format != FORMAT);
    let names: Vec<String> = config.queues.iter().map(QueueConfig::name).collect();
    std::fs::create_dir_all(folder.chunks()).map_err(StoreError::Disk)?;
    let (records, scan) =
        Records::open(folder.path(), own_name(folder), &folder.seam).map_err(StoreError::Disk)?;
    let name = find_name(folder, &records, &scan)?;
    belong(&db, &name.store)?;
    let with_files = log::queues(&folder.chunks()).map_err(StoreError::Disk)?;
    let is_known = !is_new || !with_files.is_empty();
    let notes = Notes::open(folder, names.clone(), &name.store, (is_known, is_before))
        .map_err(StoreError::Disk)?;
    let witness = [known, notes.witness(), &scan.witness]
        .into_iter()
        .max_by_key(|witness| witness.number)
        .cloned();
    let witness = witness.unwrap_or_default();
    records.begin(&name.store, &witness);
    if is_before {
        take_up(&db, &records)?;
    }
    let (kept, books, lost) = audit(config, &records, &scan, &witness)?;
    let open_tail =
        |queue: &str| Tail::open(&db, &folder.chunks(), queue, &name.store, &folder.seam);
    let queues = names
        .iter()
        .map(|name| open_tail(name))
        .collect::<Result<Vec<_>, _>>()?;
    let mut found = Vec::with_capacity(queues.len());
    for (index, tail) in queues.iter().enumerate() {
        found.push(recover(tail, &records, |mark| notes.newer(index, mark))?);
    }
    let boot = records.get(Tree::Own, BOOT).map_err(StoreError::Disk)?;
    let boot = boot
        .and_then(|boot| boot.first_chunk().copied())
        .map_or(0, u32::from_be_bytes);
    // A store that was made anew does not know how far its places were used.
    let boot = found
        .iter()
        .map(|(mark, _)| u32::try_from(mark.end >> BOOT_SHIFT).unwrap_or(0))
        .fold(boot, u32::max);
    let strangers = strangers(&records, &names, with_files, open_tail)?;
    let (disks, seam) = (
        disks(folder).map_err(StoreError::Disk)?,
        folder.seam.clone(),
    );
    let flag = AtomicBool::default;
    let (is_written, is_told, is_behind) = (flag(), flag(), flag());
    let (vault, damaged, behind) = (config.vault.clone(), folder.damaged(), Mutex::default());
    let store = Store {
        db,
        queues,
        records,
        behind,
        damaged,
        disks,
        is_written,
        is_told,
        is_behind,
        seam,
        vault,
    };
    Ok(Opened {
        store,
        notes,
        boot,
        queues: found,
        kept,
        books,
        strangers,
        set_aside: None,
        lost,
        name,
    })
}

/// An index of another store is as good as none.
fn belong(db: &sled::Db, store: &str) -> Result<(), StoreError> {
    match guarded(|| db.get("store"))? {
        Some(noted) if *noted != *store.as_bytes() => Err(StoreError::Damaged(
            "it belongs to another store".to_owned(),
        )),
        Some(_) => Ok(()),
        None => guarded(|| db.insert("store", store)).map(drop),
    }
}

/// What the store is called, if its lock file is whole and lies where it was signed.
fn own_name(folder: &Folder) -> Option<String> {
    let signed = folder.signed();
    let is_here = signed
        .at
        .is_some_and(|at| at == name::whereabouts(folder.path()));
    signed.store.filter(|store| is_here && name::is_name(store))
}

/// What the store is called; a new one, and one that was copied, gets a name.
fn find_name(folder: &Folder, records: &Records, scan: &Scan) -> Result<Name, StoreError> {
    let signed = folder.signed();
    let in_lock = signed.store.as_deref().filter(|store| name::is_name(store));
    let in_chunks = log::owner(&folder.chunks(), &folder.seam);
    let found = scan
        .store
        .as_deref()
        .or(in_lock)
        .or(in_chunks.as_deref())
        .filter(|store| name::is_name(store));
    let store = found.map_or_else(name::any, Arc::from);
    let path = folder.path().display();
    let is_mixed = in_lock.is_some_and(|signed| *signed != *store);
    if is_mixed {
        tracing::error!(%path, signed = in_lock, %store, "files of two stores are mixed here: those of the one are used, the others are left alone");
    }
    let is_copied = signed
        .at
        .is_some_and(|at| at != name::whereabouts(folder.path()));
    let noted = records.get(Tree::Own, IDS).map_err(StoreError::Disk)?;
    let noted: Option<Arc<str>> = noted
        .and_then(|noted| String::from_utf8(noted).ok())
        .map(Arc::from);
    let ids = match noted.clone() {
        _ if is_mixed || is_copied => name::any(),
        Some(noted) => noted,
        None => Arc::clone(&store),
    };
    if is_copied {
        tracing::warn!(%path, %store, %ids, "the store was copied, restored or moved to another machine: the ids of its messages carry a new name");
    }
    if noted.as_ref() != Some(&ids) {
        records.put(Tree::Own, IDS, ids.as_bytes().to_vec());
    }
    Ok(Name { store, ids })
}

/// Letters kept, the ledger, and what is missing of letters, ledger and state.
fn audit(
    config: &Config,
    records: &Records,
    scan: &Scan,
    witness: &Witness,
) -> Result<(Kept, Books, Option<Lost>), StoreError> {
    let books = books(config, records)?;
    let commits = scan.missing + witness.number.saturating_sub(scan.witness.number);
    let totals = &witness.totals;
    // Files that are gone altogether leave no gap in the numbers where they were the oldest.
    let is_whole = commits == 0
        && witness.number > 0
        && (records.count(Tree::Letters), records.states()) == (totals.kept.total(), totals.states)
        && books.totals() == totals.given_up;
    let kept = if is_whole {
        totals.kept
    } else {
        tools::count_letters(records, &config.vault)?
    };
    let found = Totals {
        kept,
        states: records.states(),
        given_up: books.totals(),
    };
    for (path, why) in &scan.strange {
        tracing::error!(path = %path.display(), why, "this file of letters, ledger and state is left alone");
    }
    let lost = Some(Lost::of(commits, totals, &found)).filter(Lost::is_some);
    // What a power cut has torn was safe nowhere, and nobody misses it.
    for path in scan.damaged.iter().filter(|_| lost.is_some()) {
        tracing::warn!(path = %path.display(), "this file of letters, ledger and state has damaged bytes");
    }
    records.found(found);
    Ok((kept, books, lost))
}

/// What a store of a format before had in sled. It is recorded with the next commit.
fn take_up(db: &sled::Db, records: &Records) -> Result<(), StoreError> {
    for (name, tree) in TREES_BEFORE {
        let entries = guarded(|| db.open_tree(name))?;
        for entry in entries.iter() {
            let (key, value) = guarded(|| entry)?;
            if tree != Tree::Letters || *key != *MARK {
                records.put(tree, &key, value.to_vec());
            }
        }
    }
    if let Some(boot) = guarded(|| db.get("boot"))? {
        records.put(Tree::Own, BOOT, boot.to_vec());
    }
    Ok(())
}

impl Store {
    /// What was taken up from a store of a format before is recorded for good, and only then goes there.
    fn take_over(&self) -> Result<(), StoreError> {
        let format = guarded(|| self.db.get("format"))?.and_then(|value| value.first().copied());
        if format == Some(FORMAT) {
            return Ok(());
        }
        self.settle(true)?;
        guarded(|| self.db.insert("format", &[FORMAT]))?;
        self.record()?;
        for (name, _) in TREES_BEFORE {
            guarded(|| self.db.drop_tree(name))?;
        }
        tracing::info!(
            "letters, ledger and state of this store were taken over into files of their own"
        );
        Ok(())
    }

    /// Writes letters, ledger and state anew, with this ledger, and sets the files they were in aside.
    pub(in crate::spool) fn make_anew(
        &self,
        books: &mut Books,
        folder: &Folder,
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
        books.rewrite();
        books
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

/// The last batch of the records that gave up something of a queue, and the place before which nothing was owed then.
pub(super) fn encode_given_up(number: u64, low: u64) -> Vec<u8> {
    [number.to_be_bytes(), low.to_be_bytes()].concat()
}

fn decode_given_up(value: &[u8]) -> Option<(u64, u64)> {
    let (number, low) = value.split_first_chunk()?;
    Some((
        u64::from_be_bytes(*number),
        u64::from_be_bytes(*low.first_chunk()?),
    ))
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
fn books(config: &Config, records: &Records) -> Result<Books, StoreError> {
    let pairs = records
        .each(Tree::Ledger, &[])
        .collect::<Result<Vec<_>, _>>()
        .map_err(StoreError::Disk)?;
    let opened = |(key, value): (Vec<u8>, Vec<u8>)| {
        let value = sealed::open(&config.vault, Kind::Ledger, &key, &value).into_owned();
        (key, value)
    };
    let pairs: Vec<_> = pairs.into_iter().map(opened).collect();
    Ok(Books::found(
        pairs.iter().map(|(key, value)| (&**key, &**value)),
        &uplinks(config),
    ))
}

/// The ledger as long as there is no store.
pub(in crate::spool) fn no_books(config: &Config) -> Books {
    Books::found(std::iter::empty(), &uplinks(config))
}

fn uplinks(config: &Config) -> Vec<Arc<str>> {
    let mut uplinks: Vec<Arc<str>> = config
        .queues
        .iter()
        .map(|queue| Arc::clone(&queue.uplink))
        .collect();
    uplinks.sort_unstable();
    uplinks.dedup();
    uplinks
}

/// Whether another handle, perhaps of another process, has the files open.
pub(in crate::spool) fn is_held(error: &io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

/// What a queue owes.
fn recover(
    tail: &Tail,
    records: &Records,
    newer: impl FnOnce(Mark) -> (Mark, bool),
) -> Result<(Mark, Option<Extent>), StoreError> {
    let given_up = records
        .get(Tree::Own, tail.name().as_bytes())
        .map_err(StoreError::Disk)?;
    let given_up = given_up
        .as_deref()
        .and_then(decode_given_up)
        .unwrap_or_default();
    let Recovered {
        mark,
        first,
        is_rebuilt,
    } = tail.recover(given_up, newer)?;
    if is_rebuilt {
        let (queue, Mark { low, end, owed, .. }) = (tail.name(), mark);
        tracing::warn!(
            queue,
            low,
            end,
            owed,
            "the index of this queue was made up from its files"
        );
    }
    Ok((mark, first))
}

/// Queues with something owed that the config does not have.
fn strangers(
    records: &Records,
    names: &[String],
    with_files: Vec<String>,
    open: impl Fn(&str) -> Result<Tail, StoreError>,
) -> Result<Vec<(String, u64)>, StoreError> {
    let mut found = Vec::new();
    for name in with_files.into_iter().filter(|name| !names.contains(name)) {
        let (mark, _) = recover(&open(&name)?, records, |mark| (mark, false))?;
        if mark.owed > 0 {
            found.push((name, mark.owed));
        }
    }
    Ok(found)
}
