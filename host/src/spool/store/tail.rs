//! The disk's part of one queue: the chunks in their files, and the index over them in sled.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::log::{Behind, Located, Log, Position};
use super::{Entry, MARK, StoreError, decode_mark, encode_mark, guarded};
use crate::spool::chunk::{self, Chunk, Extent, Seal};
use crate::spool::locked;
use crate::spool::queue::Mark;
use crate::spool::seam::Seam;
use crate::spool::vault::Vault;

/// All before it is in the index.
const POSITION: &[u8] = b"p";
/// Number of the last batch of the records that gave up something of this queue.
const NUMBER: &[u8] = b"n";
/// Chunks moved together when a file is emptied.
const TIDY_AT_ONCE: usize = 256;

/// Index and files of one queue.
pub(super) struct Tail {
    name: String,
    tree: sled::Tree,
    log: Log,
    is_searched: AtomicBool,
    /// Places of which it is known how many messages are missing there.
    missing: Mutex<Vec<(Range<u64>, u64)>>,
}

/// What lies at a place, or else next behind it.
pub(in crate::spool) struct Near {
    /// The first place of the chunk, and the place behind the last.
    pub first: u64,
    pub end: u64,
    /// Messages in it.
    pub count: u64,
    /// Its bytes, as many as are there.
    pub value: Vec<u8>,
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
    let first = key
        .strip_prefix(b"c")
        .and_then(|place| place.try_into().ok())
        .map(u64::from_be_bytes)?;
    Located::decode(first, value)
}

impl Tail {
    /// Opens index and files.
    pub(super) fn open(
        db: &sled::Db,
        folder: &Path,
        name: &str,
        store: &str,
        seam: &Seam,
    ) -> Result<Self, StoreError> {
        let tree = guarded(|| db.open_tree(format!("queue:{name}")))?;
        let log = Log::open(folder, name, store, seam).map_err(StoreError::Disk)?;
        Ok(Self {
            name: name.to_owned(),
            tree,
            log,
            is_searched: AtomicBool::new(false),
            missing: Mutex::default(),
        })
    }

    /// `uplink:class`.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What was written is on the medium: its file says so.
    pub(super) fn stand(&self) -> Result<(), StoreError> {
        self.log.stand().map_err(StoreError::Disk)
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
    /// `number` is that of the records' batch that tells what was given up.
    pub(super) fn change(
        &self,
        chunks: &[Chunk],
        gone: &[u64],
        mark: Mark,
        number: Option<u64>,
    ) -> Result<sled::Batch, StoreError> {
        let mut batch = sled::Batch::default();
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

    fn entry(&self, first: u64) -> Result<Option<Located>, StoreError> {
        let value = guarded(|| self.tree.get(key(first)))?;
        Ok(value.and_then(|value| Located::decode(first, &value)))
    }

    fn next_entry(&self, place: u64) -> Result<Option<Located>, StoreError> {
        let found = guarded(|| {
            self.tree
                .range(key(place)..=key(u64::MAX))
                .next()
                .transpose()
        })?;
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

    /// The chunk that answers for `place`, or else the first behind it.
    pub(super) fn near(&self, place: u64) -> Result<Option<Near>, StoreError> {
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
    pub(super) fn missing_in(&self, places: &Range<u64>) -> Option<u64> {
        let mut missing = locked(&self.missing);
        let is_there =
            |known: &(Range<u64>, u64)| known.0.start < places.end && places.start < known.0.end;
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
    pub(super) fn known(&self, place: u64) -> Result<Option<(Range<u64>, u64)>, StoreError> {
        let found = self
            .entry_near(place)?
            .filter(|found| found.extent.first <= place);
        Ok(found.map(|found| (found.extent.first..found.extent.end, u64::from(found.count))))
    }

    /// Where the first chunk behind `place` begins.
    #[cfg(test)]
    pub(super) fn next_chunk(&self, place: u64) -> Result<Option<u64>, StoreError> {
        let Some(next) = place.checked_add(1) else {
            return Ok(None);
        };
        Ok(self.next_entry(next)?.map(|found| found.extent.first))
    }

    /// Forgets a chunk.
    pub(super) fn forget(&self, first: u64) -> Result<(), StoreError> {
        if let Some(old) = self.entry(first)? {
            self.log.release(&old);
        }
        guarded(|| self.tree.remove(key(first))).map(drop)
    }

    /// Removes chunks from `place` on: leavings of a commit that failed half-way. Answers whether a hole that it had made
    /// longer was written anew as long as it may be: whatever comes at `place` would take the place of the long one, and
    /// what lies before would be missed.
    pub(super) fn remove_from(&self, place: u64) -> Result<bool, StoreError> {
        while let Some(found) = self.next_entry(place)? {
            self.forget(found.extent.first)?;
        }
        self.log.rewind(place);
        let long = self.entry_near(place.saturating_sub(1))?;
        let Some(long) = long
            .filter(|long| long.count == 0 && long.extent.first < place && place < long.extent.end)
        else {
            return Ok(false);
        };
        let Extent {
            first, since_us, ..
        } = long.extent;
        let hole = self
            .log
            .append(&chunk::hole(first, place, since_us))
            .map_err(StoreError::Disk)?;
        self.log.release(&long);
        guarded(|| self.tree.insert(key(first), hole.encode()))?;
        Ok(true)
    }

    /// Looks for chunks of the places `owed` that the index does not know: in files that could not be read before, and once
    /// in all others. Answers whether there were any.
    pub(super) fn search(&self, owed: Range<u64>) -> Result<bool, StoreError> {
        let again = self.log.look_again().map_err(StoreError::Unread)?;
        let mut found = self.take_up(again, &owed)?;
        if !self.is_searched.swap(true, Ordering::AcqRel) {
            found += self.take_up(self.log.since(Position::START), &owed)?;
        }
        if found > 0 {
            tracing::warn!(
                chunks = found,
                "the index had lost chunks; they were found in their files"
            );
        }
        Ok(found > 0)
    }

    fn take_up(&self, behind: Behind, owed: &Range<u64>) -> Result<usize, StoreError> {
        let mut found = 0;
        for lost in behind.chunks.into_iter().rev() {
            let Extent { first, end, .. } = lost.extent;
            let is_known = self
                .entry_near(first)?
                .is_some_and(|known| known.extent.first < end);
            if end > owed.start && end <= owed.end && !is_known {
                guarded(|| self.tree.insert(key(first), lost.encode()))?;
                self.log.hold(&lost);
                found += 1;
            }
        }
        self.miss(behind.missing);
        Ok(found)
    }

    /// Answers for places that are missing and in the ledger, so that they are not met and counted again after a restart: a
    /// hole in the files, and what the index has to learn of it.
    pub(super) fn bridge(&self, places: Range<u64>) -> Result<sled::Batch, StoreError> {
        let (mut batch, mut place) = (sled::Batch::default(), places.start);
        while let Some(hurt) = self
            .next_entry(place)?
            .filter(|hurt| hurt.extent.first < places.end)
        {
            self.log.release(&hurt);
            batch.remove(&key(hurt.extent.first));
            place = hurt.extent.end.max(place + 1);
        }
        let hole = self
            .log
            .append(&chunk::hole(places.start, places.end, 0))
            .map_err(StoreError::Disk)?;
        batch.insert(&key(places.start), hole.encode());
        Ok(batch)
    }

    /// Moves what is still owed out of a file that is mostly settled, when there are too many of those, as today's key
    /// seals it. Answers whether there was something to move.
    pub(super) fn tidy(&self, vault: &Vault) -> Result<bool, StoreError> {
        let Some(file) = self.log.sparse() else {
            return Ok(false);
        };
        let mut moved = 0;
        for entry in self.tree.range(key(0)..=key(u64::MAX)) {
            let (key, value) = guarded(|| entry)?;
            let Some(from) = located(&key, &value).filter(|from| from.file == file) else {
                continue;
            };
            // What cannot be read stays where it is, and whoever it is owed to finds out.
            let Some(bytes) = self
                .log
                .read(&from)
                .ok()
                .filter(|bytes| bytes.len() as u64 == from.extent.bytes)
            else {
                continue;
            };
            let chunk = Chunk {
                extent: from.extent,
                count: from.count,
                value: bytes,
            };
            let renewed = Seal {
                vault,
                queue: &self.name,
            }
            .renew(&chunk);
            let to = self
                .log
                .append(renewed.as_ref().unwrap_or(&chunk))
                .map_err(StoreError::Disk)?;
            let swapped = guarded(|| {
                self.tree
                    .compare_and_swap(&key, Some(&value), Some(to.encode()))
            })?;
            self.log.release(if swapped.is_ok() { &from } else { &to });
            moved += 1;
            if moved == TIDY_AT_ONCE {
                break;
            }
        }
        Ok(moved > 0)
    }

    /// Finds out what is owed: what the index says, and what was written behind that; `newer` knows what was accepted
    /// since, what must be there, and whether it knows that of all. An index that is gone, or that does not know of the
    /// records' batch `number`, is made up from the files; before `floor` nothing was owed then.
    pub(super) fn recover(
        &self,
        (number, floor): (u64, u64),
        newer: impl FnOnce(Mark) -> (Mark, bool),
    ) -> Result<Recovered, StoreError> {
        let noted = guarded(|| self.tree.get(MARK))?
            .as_deref()
            .and_then(decode_mark);
        let known: Option<[u8; 8]> =
            guarded(|| self.tree.get(NUMBER))?.and_then(|value| value.as_ref().try_into().ok());
        let is_behind = known.map_or(0, u64::from_be_bytes) < number;
        let noted_position = guarded(|| self.tree.get(POSITION))?
            .as_deref()
            .and_then(Position::decode);
        self.log.follow(noted_position.unwrap_or(Position::START));
        let position = noted_position.filter(|_| !is_behind);
        let entries = guarded(|| {
            self.tree
                .range(key(0)..=key(u64::MAX))
                .collect::<sled::Result<Vec<Entry>>>()
        })?;
        let usable = entries.iter().filter(|_| position.is_some());
        let mut index = Index::of(usable.filter_map(|(key, value)| located(key, value)));
        let mut end = noted.map_or(0, |mark| mark.end).max(index.end());
        let behind = self.log.since(position.unwrap_or(Position::START));
        let is_rebuilt = position.is_none() && !behind.chunks.is_empty();
        let mut grown = 0;
        for found in behind.chunks {
            // What was written anew in the middle of a queue is only known to be meant by the index.
            if position.is_some() && found.extent.first < end {
                continue;
            }
            grown += u64::from(found.count);
            end = end.max(found.extent.end);
            index.put(found);
        }
        // What was safe and is not there is missing.
        end = end.max(behind.end);
        grown += if position.is_some() {
            behind.missing.iter().map(|(_, count)| *count).sum()
        } else {
            0
        };
        self.miss(behind.missing);
        // Where nothing was owed, what is owed now begins with the first chunk.
        let told = noted.filter(|mark| mark.low < mark.end).unwrap_or_else(|| {
            let before = noted.unwrap_or_default();
            Mark {
                low: index.start().unwrap_or(end).max(before.low),
                owed: 0,
                ..before
            }
        });
        let told = Mark {
            low: told.low.max(floor.min(end)),
            ..told
        };
        let (mark, is_exact) = newer(Mark {
            end,
            owed: told.owed + grown,
            ..told
        });
        let end = end.max(mark.end);
        let low = index.pass(mark.low);
        // As it was told, or else as far as the index can tell.
        let owed = match noted.filter(|_| position.is_some()) {
            _ if is_exact => mark.owed,
            Some(_) if low == told.low => mark.owed,
            Some(_) => mark.owed.min(index.owed(low) + self.known_missing(low)),
            None => index.owed(low) + self.known_missing(low),
        };
        let mark = Mark {
            low,
            end,
            owed,
            bytes: index.bytes(),
            ..mark
        };
        self.log.adopt(index.0.values(), end);
        let mut batch = index.batch(&entries);
        batch.insert(MARK, encode_mark(mark));
        batch.insert(POSITION, self.log.position().encode());
        batch.insert(
            NUMBER,
            &number
                .max(known.map_or(0, u64::from_be_bytes))
                .to_be_bytes(),
        );
        guarded(|| self.tree.apply_batch(batch))?;
        Ok(Recovered {
            mark,
            first: index.0.values().next().map(|found| found.extent),
            is_rebuilt,
        })
    }

    fn miss(&self, places: Vec<(Range<u64>, u64)>) {
        let mut missing = locked(&self.missing);
        for place in places {
            if !missing.contains(&place) {
                missing.push(place);
            }
        }
    }

    fn known_missing(&self, low: u64) -> u64 {
        locked(&self.missing)
            .iter()
            .filter(|(places, _)| places.end > low)
            .map(|(_, count)| *count)
            .sum()
    }
}

#[cfg(test)]
impl Tail {
    /// Flips a bit of a chunk's last byte.
    pub(super) fn damage(&self, first: u64) {
        use std::os::unix::fs::FileExt;
        let located = self.entry(first).unwrap().unwrap();
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.log.path_of(&located))
            .unwrap();
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
        self.0
            .values()
            .next_back()
            .map_or(0, |last| last.extent.end)
    }

    fn bytes(&self) -> u64 {
        self.0.values().map(|found| found.extent.bytes).sum()
    }

    /// A chunk takes the place of those before it that answer for the same places.
    fn put(&mut self, found: Located) {
        let Extent { first, end, .. } = found.extent;
        let before = self
            .0
            .range(..first)
            .next_back()
            .filter(|(_, before)| before.extent.end > first)
            .map(|(key, _)| *key);
        let over: Vec<u64> = self
            .0
            .range(first..end)
            .map(|(key, _)| *key)
            .chain(before)
            .collect();
        for key in over {
            self.0.remove(&key);
        }
        self.0.insert(first, found);
    }

    /// Everything before `low` is accepted; answers where what is owed begins, behind holes.
    fn pass(&mut self, mut low: u64) -> u64 {
        self.0.retain(|_, found| found.extent.end > low);
        while let Some(hole) = self
            .0
            .first_entry()
            .filter(|first| first.get().count == 0 && *first.key() <= low)
        {
            low = hole.remove().extent.end;
        }
        low
    }

    /// Messages from `low` on, as far as that can be told without reading them: of the chunk that `low` lies in at most
    /// those that fit.
    fn owed(&self, low: u64) -> u64 {
        let of = |found: &Located| {
            u64::from(found.count).min(found.extent.end - low.max(found.extent.first))
        };
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
