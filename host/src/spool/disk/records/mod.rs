//! Letters, ledger and plugins' state: files that only grow, of batches that are whole or not there.
//!
//! A batch (`batch`) is what one commit records. Its number is one more than that of the batch before it, and its totals say
//! what there is with it. A batch without changes repeats the number of the last one: it begins every file, and is written
//! once a batch is on the medium. So what must be there is known from what stands behind it, and from the low marks (`low_marks`):
//! damage shows as a number that is missing, and the totals tell what it has cost.
//!
//! Where what is live is in memory (`files`); values are read when they are asked for. Once more than half of the bytes are
//! not live, the oldest file is emptied into the newest and removed; a younger one never goes before an older one, whose
//! entries it may have removed.

pub(crate) mod batch;
pub(crate) mod failed_reads;
pub(crate) mod files;
pub(crate) mod letters;
pub(crate) mod sealed;
pub(crate) mod state;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use crate::spool::disk::fault_injection::FaultInjection;
use crate::spool::disk::folder::prove;
use crate::spool::disk::frame::{HEAD, is_no_file, read_regular};
use crate::spool::disk::records::batch::{RecordBatch, Totals, Tree, Witness, decode, encode};
use crate::spool::disk::records::failed_reads::FailedReads;
use crate::spool::disk::records::files::{RecordFiles, Scan, ValueLocation, listed, path};
use crate::spool::lock::locked;

/// The records of one store.
#[derive(Debug)]
pub(crate) struct Records {
    folder: PathBuf,
    fault_injection: FaultInjection,
    /// Name of the store, and whether the files still have to learn it.
    store: Mutex<String>,
    files: Mutex<RecordFiles>,
}

impl Records {
    /// Reads all there is in `folder` of the store of this name, or else of the one that the oldest file belongs to. A file
    /// that cannot be read is the disk's error, until it has failed for long on a disk that takes writes; nothing is changed.
    pub(super) fn open(
        folder: &Path,
        store: Option<String>,
        fault_injection: &FaultInjection,
        failed_reads: &FailedReads,
    ) -> io::Result<(Self, Scan)> {
        let mut files = RecordFiles::default();
        let mut scan = Scan::default();
        scan.store = store;
        let numbers = listed(folder)?;
        files.next = numbers.last().map_or(1, |last| last + 1);
        for number in numbers {
            let path = path(folder, number);
            match read_regular(&path, u64::MAX, fault_injection) {
                Ok(bytes) => {
                    failed_reads.read(&path);
                    files.take(number, &bytes, &path, &mut scan);
                }
                Err(error) if is_no_file(&error) => scan.strange.push((path, error.to_string())),
                Err(_) if failed_reads.failed(&path, Instant::now()) && prove(folder).is_ok() => {
                    scan.given_up.push(path);
                }
                Err(error) => return Err(error),
            }
        }
        let missing = scan.witness.number.saturating_sub(files.witness.number);
        scan.missing += missing;
        files.states = files.count(Tree::State);
        files.witness.number = scan.witness.number;
        files.last = scan.witness.clone();
        let store = Mutex::new(scan.store.clone().unwrap_or_default());
        let folder = folder.to_owned();
        let fault_injection = fault_injection.clone();
        Ok((
            Self {
                folder,
                fault_injection,
                store,
                files: Mutex::new(files),
            },
            scan,
        ))
    }

    /// Batches from now on belong to the store of this name, and follow on what `witness` knows.
    pub(super) fn begin(&self, store: &str, witness: &Witness) {
        store.clone_into(&mut locked(&self.store));
        let mut files = locked(&self.files);
        files.witness.number = files.witness.number.max(witness.number);
    }

    /// What was last written.
    pub(super) fn witness(&self) -> Witness {
        locked(&self.files).last.clone()
    }

    /// So much is there.
    pub(super) fn found(&self, totals: Totals) {
        let mut files = locked(&self.files);
        files.witness.totals = totals;
        files.last = files.witness.clone();
    }

    /// What changes the totals of letters and ledger.
    pub(super) fn total(&self, change: impl FnOnce(&mut Totals)) {
        change(&mut locked(&self.files).witness.totals);
    }

    /// Number of the batch to come.
    pub(super) fn next_number(&self) -> u64 {
        locked(&self.files).witness.number + 1
    }

    /// Entries of a tree.
    pub(super) fn count(&self, tree: Tree) -> u64 {
        locked(&self.files).count(tree)
    }

    /// Entries of plugins' state.
    pub(super) fn states(&self) -> u64 {
        locked(&self.files).states
    }

    /// Notes a value for the next batch.
    pub(super) fn put(&self, tree: Tree, key: &[u8], value: Vec<u8>) {
        let mut files = locked(&self.files);
        let key = tree.key(key);
        let old = files.live.insert(key.clone(), ValueLocation::Memory(value));
        files.let_go(&key, old.as_ref());
        files.states += u64::from(tree == Tree::State && old.is_none());
        files.fresh.push(key);
    }

    /// Notes that an entry goes with the next batch. False when there is none.
    pub(super) fn remove(&self, tree: Tree, key: &[u8]) -> bool {
        let mut files = locked(&self.files);
        let key = tree.key(key);
        let Some(old) = files.live.remove(&key) else {
            return false;
        };
        files.let_go(&key, Some(&old));
        files.states -= u64::from(tree == Tree::State);
        files.gone.push(key);
        true
    }

    /// Whether there is such an entry.
    pub(super) fn has(&self, tree: Tree, key: &[u8]) -> bool {
        locked(&self.files).live.contains_key(&tree.key(key))
    }

    pub(super) fn get(&self, tree: Tree, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let mut files = locked(&self.files);
        let Some(at) = files.live.get(&tree.key(key)).cloned() else {
            return Ok(None);
        };
        files
            .read(&self.folder, &self.fault_injection, &at)
            .map(Some)
    }

    /// The first entry at or behind a key, in the order of keys, of those that begin with `prefix`: key and value.
    pub(super) fn next(
        &self,
        tree: Tree,
        from: &[u8],
        prefix: &[u8],
    ) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
        let mut files = locked(&self.files);
        let from = tree.key(from);
        let prefix = tree.key(prefix);
        let found = files
            .live
            .range(from..)
            .next()
            .filter(|(key, _)| key.starts_with(&prefix));
        let Some((key, at)) = found.map(|(key, at)| (key[1..].to_vec(), at.clone())) else {
            return Ok(None);
        };
        files
            .read(&self.folder, &self.fault_injection, &at)
            .map(|value| Some((key, value)))
    }

    /// The last entry before a key, of those that begin with `prefix`: key and value.
    pub(super) fn last(
        &self,
        tree: Tree,
        before: &[u8],
        prefix: &[u8],
    ) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
        let mut files = locked(&self.files);
        let (before, prefix) = (tree.key(before), tree.key(prefix));
        let found = files.live.range(..before).next_back();
        let found = found.filter(|(key, _)| key.starts_with(&prefix));
        let Some((key, at)) = found.map(|(key, at)| (key[1..].to_vec(), at.clone())) else {
            return Ok(None);
        };
        files
            .read(&self.folder, &self.fault_injection, &at)
            .map(|value| Some((key, value)))
    }

    /// All entries whose keys begin with `prefix`, one after the other.
    pub(super) fn each<'r>(
        &'r self,
        tree: Tree,
        prefix: &'r [u8],
    ) -> impl Iterator<Item = io::Result<(Vec<u8>, Vec<u8>)>> + 'r {
        let mut from = Some(prefix.to_vec());
        std::iter::from_fn(move || {
            let found = self.next(tree, &from.take()?, prefix).transpose()?;
            // The next key there can be.
            from = found
                .as_ref()
                .ok()
                .map(|(key, _)| [&key[..], &[0]].concat());
            Some(found)
        })
    }

    /// Writes what waits as one batch. False when there is nothing. Not durable yet.
    pub(super) fn append(&self) -> io::Result<bool> {
        let mut files = locked(&self.files);
        if files.fresh.is_empty() && files.gone.is_empty() {
            return Ok(false);
        }
        let store = locked(&self.store).clone();
        files.empty_the_oldest(&self.folder, &self.fault_injection)?;
        files.begin(&self.folder, &self.fault_injection, &store)?;
        files.witness.number += 1;
        files.witness.totals.states = files.states;
        let fresh = std::mem::take(&mut files.fresh);
        let gone = std::mem::take(&mut files.gone);
        let mut changes: BTreeMap<&[u8], Option<&[u8]>> =
            gone.iter().map(|key| (&key[..], None)).collect();
        for key in &fresh {
            if let Some(ValueLocation::Memory(value)) = files.live.get(key) {
                changes.insert(key, Some(&value[..]));
            }
        }
        let changes = changes.into_iter().map(|(key, value)| {
            (
                serde_bytes::Bytes::new(key),
                value.map(serde_bytes::Bytes::new),
            )
        });
        let batch = RecordBatch {
            store: &store,
            witness: files.witness.clone(),
            changes: changes.collect(),
        };
        let mut piece = encode(&batch);
        let (file, at) = files.write(&self.fault_injection, &mut piece)?;
        files.last = files.witness.clone();
        // Where the values lie is found in the piece as a reader finds it.
        let body = &piece[HEAD..];
        let Some(batch) = decode(body) else {
            return Err(io::Error::other("a batch cannot be read back"));
        };
        for (key, value) in batch.changes {
            let Some(value) = value else { continue };
            let offset = at + HEAD as u64 + (value.as_ptr().addr() - body.as_ptr().addr()) as u64;
            files.place(key.to_vec(), file, offset, value.len());
        }
        files.is_unsafe = true;
        Ok(true)
    }

    /// What was written is on the medium: says so behind it. RecordFiles of which nothing is needed any more go.
    pub(super) fn stand(&self) -> io::Result<()> {
        let mut files = locked(&self.files);
        if !std::mem::take(&mut files.is_unsafe) {
            return Ok(());
        }
        let store = locked(&self.store).clone();
        let mut piece = encode(&RecordBatch {
            store: &store,
            witness: files.last.clone(),
            changes: Vec::new(),
        });
        files.write(&self.fault_injection, &mut piece)?;
        files.remove_the_oldest(&self.folder);
        Ok(())
    }

    /// Everything is written anew with the next batch: the files there are now can be set aside behind it.
    pub(super) fn renew(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = locked(&self.files);
        let old: Vec<u64> = files.sizes.keys().copied().collect();
        let keys: Vec<Vec<u8>> = files.live.keys().cloned().collect();
        for key in keys {
            files.take_up(&self.folder, &self.fault_injection, key)?;
        }
        files.active = None;
        files.sizes.clear();
        Ok(old
            .into_iter()
            .map(|number| path(&self.folder, number))
            .collect())
    }
}
