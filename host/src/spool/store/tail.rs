//! The disk's part of one queue: the chunks in their files, and the index over them in sled.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::log::{Located, Log, Position};
use super::{Entry, MARK, StoreError, decode_mark, encode_mark, guarded};
use crate::spool::chunk::{self, Chunk, Extent, Seal};
use crate::spool::queue::Mark;
use crate::spool::vault::Vault;

/// All before it is in the index.
const POSITION: &[u8] = b"p";
/// Chunks moved together when a file is emptied.
const TIDY_AT_ONCE: usize = 256;

/// Index and files of one queue.
pub(super) struct Tail {
    name: String,
    tree: sled::Tree,
    log: Log,
    is_searched: AtomicBool,
}

/// What was found of a queue.
pub(super) struct Recovered {
    pub mark: Mark,
    /// Its first chunk.
    pub first: Option<Extent>,
    /// The index was gone or behind, and was made up from the files.
    pub is_rebuilt: bool,
}

fn key(first: u64) -> [u8; 9] {
    let mut key = [b'c'; 9];
    key[1..].copy_from_slice(&first.to_be_bytes());
    key
}

fn located(key: &[u8], value: &[u8]) -> Option<Located> {
    let first = key.strip_prefix(b"c").and_then(|place| place.try_into().ok()).map(u64::from_be_bytes)?;
    Located::decode(first, value)
}

impl Tail {
    /// Opens index and files.
    pub(super) fn open(db: &sled::Db, folder: &Path, name: &str) -> Result<Self, StoreError> {
        let tree = guarded(|| db.open_tree(format!("queue:{name}")))?;
        let log = Log::open(folder, name).map_err(StoreError::Disk)?;
        Ok(Self { name: name.to_owned(), tree, log, is_searched: AtomicBool::new(false) })
    }

    /// The tree of the index.
    pub(super) fn tree(&self) -> &sled::Tree {
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
    pub(super) fn change(&self, chunks: &[Chunk], gone: &[u64], mark: Mark) -> Result<sled::Batch, StoreError> {
        let mut batch = sled::Batch::default();
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

    fn entry(&self, first: u64) -> Result<Option<Located>, StoreError> {
        let value = guarded(|| self.tree.get(key(first)))?;
        Ok(value.and_then(|value| Located::decode(first, &value)))
    }

    fn next_entry(&self, place: u64) -> Result<Option<Located>, StoreError> {
        let found = guarded(|| self.tree.range(key(place)..=key(u64::MAX)).next().transpose())?;
        Ok(found.and_then(|(key, value)| located(&key, &value)))
    }

    /// The chunk that answers for `place`, or else the first behind it.
    fn entry_near(&self, place: u64) -> Result<Option<Located>, StoreError> {
        let before = guarded(|| self.tree.range(key(0)..=key(place)).next_back().transpose())?;
        let before = before.and_then(|(key, value)| located(&key, &value));
        match before.filter(|before| place < before.extent.end) {
            Some(found) => Ok(Some(found)),
            None => self.next_entry(place),
        }
    }

    /// The first place of the chunk that answers for `place`, or else of the first behind it; and its bytes, as many as
    /// are there.
    pub(super) fn near(&self, place: u64) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        let mut entry = self.entry_near(place)?;
        while let Some(found) = entry {
            let value = self.log.read(&found);
            let again = self.entry_near(place)?;
            if again == entry {
                let what = |error| format!("a file of chunks cannot be read: {error}");
                return value.map(|value| Some((found.extent.first, value))).map_err(|error| StoreError::Damaged(what(error)));
            }
            // It was moved or given up, and its file may be gone by now.
            entry = again;
        }
        Ok(None)
    }

    /// Where the first chunk behind `place` begins.
    pub(super) fn next_chunk(&self, place: u64) -> Result<Option<u64>, StoreError> {
        let Some(next) = place.checked_add(1) else { return Ok(None) };
        Ok(self.next_entry(next)?.map(|found| found.extent.first))
    }

    /// Forgets a chunk.
    pub(super) fn forget(&self, first: u64) -> Result<(), StoreError> {
        if let Some(old) = self.entry(first)? {
            self.log.release(&old);
        }
        guarded(|| self.tree.remove(key(first))).map(drop)
    }

    /// Removes chunks from `place` on: leavings of a commit that failed half-way.
    pub(super) fn remove_from(&self, place: u64) -> Result<(), StoreError> {
        while let Some(found) = self.next_entry(place)? {
            self.forget(found.extent.first)?;
        }
        self.log.rewind(place);
        Ok(())
    }

    /// Looks, once, through all files for chunks of the places `owed` that the index has forgotten. Answers whether there
    /// were any.
    pub(super) fn search(&self, owed: Range<u64>) -> Result<bool, StoreError> {
        if self.is_searched.swap(true, Ordering::AcqRel) {
            return Ok(false);
        }
        let mut found = 0_usize;
        for lost in self.log.since(Position::START).map_err(StoreError::Disk)?.into_iter().rev() {
            let Extent { first, end, .. } = lost.extent;
            let is_known = self.entry_near(first)?.is_some_and(|known| known.extent.first < end);
            if end > owed.start && end <= owed.end && !is_known {
                guarded(|| self.tree.insert(key(first), lost.encode()))?;
                self.log.hold(&lost);
                found += 1;
            }
        }
        if found > 0 {
            tracing::warn!(chunks = found, "the index had lost chunks; they were found in their files");
        }
        Ok(found > 0)
    }

    /// Answers for places that were found missing, so that they are not met and counted again after a restart.
    pub(super) fn bridge(&self, hole: Range<u64>) -> Result<(), StoreError> {
        if hole.is_empty() {
            return Ok(());
        }
        let bytes = chunk::hole(hole.start, hole.end, 0).extent.bytes;
        let hole = Located::hole(Extent { first: hole.start, end: hole.end, bytes, since_us: 0 });
        let _ = guarded(|| self.tree.compare_and_swap(key(hole.extent.first), None as Option<&[u8]>, Some(hole.encode())))?;
        Ok(())
    }

    /// Moves what is still owed out of a file that is mostly settled, when there are too many of those, as today's key
    /// seals it. Answers whether there was something to move.
    pub(super) fn tidy(&self, vault: &Vault) -> Result<bool, StoreError> {
        let Some(file) = self.log.sparse() else { return Ok(false) };
        let mut moved = 0;
        for entry in self.tree.range(key(0)..=key(u64::MAX)) {
            let (key, value) = guarded(|| entry)?;
            let Some(from) = located(&key, &value).filter(|from| from.file == file) else { continue };
            let bytes = self.log.read(&from).map_err(StoreError::Disk)?;
            let chunk = Chunk { extent: from.extent, count: from.count, value: bytes };
            let renewed = Seal { vault, queue: &self.name }.renew(&chunk);
            let to = self.log.append(renewed.as_ref().unwrap_or(&chunk)).map_err(StoreError::Disk)?;
            let swapped = guarded(|| self.tree.compare_and_swap(&key, Some(&value), Some(to.encode())))?;
            self.log.release(if swapped.is_ok() { &from } else { &to });
            moved += 1;
            if moved == TIDY_AT_ONCE {
                break;
            }
        }
        Ok(moved > 0)
    }

    /// Finds out what is owed: what the index says, and what was written behind that; `newer` knows what was accepted
    /// since. An index that is gone is made up from the files.
    pub(super) fn recover(&self, newer: impl FnOnce(Mark) -> Mark) -> Result<Recovered, StoreError> {
        let noted = guarded(|| self.tree.get(MARK))?.as_deref().and_then(decode_mark);
        let position = guarded(|| self.tree.get(POSITION))?.as_deref().and_then(Position::decode);
        let entries = guarded(|| self.tree.range(key(0)..=key(u64::MAX)).collect::<sled::Result<Vec<Entry>>>())?;
        let mut index = Index::of(entries.iter().filter_map(|(key, value)| located(key, value)));
        let mut end = noted.map_or(0, |mark| mark.end).max(index.end());
        let behind = self.log.since(position.unwrap_or(Position::START)).map_err(StoreError::Disk)?;
        let is_rebuilt = position.is_none() && !behind.is_empty();
        let mut grown = 0;
        for found in behind {
            // What was written anew in the middle of a queue is only known to be meant by the index.
            if position.is_some() && found.extent.first < end {
                continue;
            }
            grown += u64::from(found.count);
            end = end.max(found.extent.end);
            index.put(found);
        }
        // Where nothing was owed, what is owed now begins with the first chunk.
        let told = noted.filter(|mark| mark.low < mark.end).unwrap_or_else(|| {
            let before = noted.unwrap_or_default();
            Mark { low: index.start().unwrap_or(end).max(before.low), owed: 0, ..before }
        });
        let mark = newer(Mark { end, owed: told.owed + grown, ..told });
        let low = index.pass(mark.low);
        // As it was told, or else as far as the index can tell.
        let owed = match noted {
            Some(_) if low == told.low => mark.owed,
            Some(_) => mark.owed.min(index.owed(low)),
            None => index.owed(low),
        };
        let mark = Mark { low, owed, bytes: index.bytes(), ..mark };
        self.log.adopt(index.0.values(), end);
        let mut batch = index.batch(&entries);
        batch.insert(MARK, encode_mark(mark));
        batch.insert(POSITION, self.log.position().encode());
        guarded(|| self.tree.apply_batch(batch))?;
        Ok(Recovered { mark, first: index.0.values().next().map(|found| found.extent), is_rebuilt })
    }
}

#[cfg(test)]
impl Tail {
    /// Flips a bit of a chunk's last byte.
    pub(super) fn damage(&self, first: u64) {
        use std::os::unix::fs::FileExt;
        let located = self.entry(first).unwrap().unwrap();
        let file = std::fs::OpenOptions::new().read(true).write(true).open(self.log.path_of(&located)).unwrap();
        let (mut byte, at) = ([0], located.offset + located.extent.bytes - 1);
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }
}

/// The index of a queue, by first place.
struct Index(BTreeMap<u64, Located>);

impl Index {
    fn of(entries: impl Iterator<Item = Located>) -> Self {
        Self(entries.map(|found| (found.extent.first, found)).collect())
    }

    fn start(&self) -> Option<u64> {
        self.0.keys().next().copied()
    }

    fn end(&self) -> u64 {
        self.0.values().next_back().map_or(0, |last| last.extent.end)
    }

    fn bytes(&self) -> u64 {
        self.0.values().map(|found| found.extent.bytes).sum()
    }

    /// A chunk takes the place of those before it that answer for the same places.
    fn put(&mut self, found: Located) {
        let Extent { first, end, .. } = found.extent;
        let before = self.0.range(..first).next_back().filter(|(_, before)| before.extent.end > first).map(|(key, _)| *key);
        let over: Vec<u64> = self.0.range(first..end).map(|(key, _)| *key).chain(before).collect();
        for key in over {
            self.0.remove(&key);
        }
        self.0.insert(first, found);
    }

    /// Everything before `low` is accepted; answers where what is owed begins, behind holes.
    fn pass(&mut self, mut low: u64) -> u64 {
        self.0.retain(|_, found| found.extent.end > low);
        while let Some(hole) = self.0.first_entry().filter(|first| first.get().count == 0 && *first.key() <= low) {
            low = hole.remove().extent.end;
        }
        low
    }

    /// Messages from `low` on, as far as that can be told without reading them: of the chunk that `low` lies in at most
    /// those that fit.
    fn owed(&self, low: u64) -> u64 {
        let of = |found: &Located| u64::from(found.count).min(found.extent.end - low.max(found.extent.first));
        self.0.values().map(of).sum()
    }

    /// What turns `entries` into this.
    fn batch(&self, entries: &[Entry]) -> sled::Batch {
        let mut batch = sled::Batch::default();
        let mut new = self.0.clone();
        for (old, value) in entries {
            match located(old, value).filter(|old| self.0.get(&old.extent.first) == Some(old)) {
                Some(old) => drop(new.remove(&old.extent.first)),
                None => batch.remove(old),
            }
        }
        for found in new.values() {
            batch.insert(&key(found.extent.first), found.encode());
        }
        batch
    }
}
