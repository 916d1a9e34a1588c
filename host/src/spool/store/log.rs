//! The chunks of one queue, in files that only grow. What is on the medium is never written over, and a file goes as a
//! whole once nothing in it is owed any more: a power cut takes no more than what was not synced, damage no more than the
//! chunk it hits, and a byte is written once.
//!
//! ```text
//! <data>/chunks/<uplink>:<class>.<number>      one queue's files, numbered from 1 in the order they were begun
//!
//! 0          4          8          12
//! ┌──────────┬──────────┬──────────┬────────────────────┐
//! │ "TGc1"   │ len u32  │ sum u32  │ chunk, `len` bytes │  and the next
//! └──────────┴──────────┴──────────┴────────────────────┘
//!                          └ CRC-32 of the eight bytes before it and of their offset in the file (u64)
//! ```
//!
//! Numbers are little endian. The files tell all by themselves: each chunk says which places it answers for, and where a
//! queue goes on behind places that were settled in memory a hole says so. Where a head is damaged, the next whole one is
//! looked for.

mod frame;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use frame::{HEAD, first_seal, head, whole_chunks};

use crate::spool::chunk::{self, Chunk, Extent};
use crate::spool::locked;
use crate::spool::vault::KeyId;

/// A file takes no more once it holds so much. Smaller files give their room back sooner, larger ones are fewer.
const FILE_BYTES: u64 = if cfg!(test) { 2 << 10 } else { 4 << 20 };
/// A file that is still written to is ended when nothing in it is owed and it holds so much.
const IDLE_BYTES: u64 = FILE_BYTES / 4;
/// The file of a hole that stands in the index alone.
const NO_FILE: u64 = 0;

/// Where a chunk lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Located {
    /// Number of its file.
    pub file: u64,
    /// Where it begins in there.
    pub offset: u64,
    /// Messages in it.
    pub count: u32,
    /// What it answers for.
    pub extent: Extent,
}

impl Located {
    /// A hole that needs no file.
    pub(super) fn hole(extent: Extent) -> Self {
        Self { file: NO_FILE, offset: 0, count: 0, extent }
    }

    /// As the index keeps it.
    pub(super) fn encode(self) -> Vec<u8> {
        let Self { file, offset, count, extent: Extent { end, bytes, since_us, .. } } = self;
        rmp_serde::to_vec(&(file, offset, count, end, bytes, since_us)).expect("six numbers always go into a Vec")
    }

    /// From the index, under the key of its first place.
    pub(super) fn decode(first: u64, value: &[u8]) -> Option<Self> {
        let (file, offset, count, end, bytes, since_us) = rmp_serde::from_slice(value).ok()?;
        Some(Self { file, offset, count, extent: Extent { first, end, bytes, since_us } })
    }
}

/// A place in the files: all before it is in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    file: u64,
    offset: u64,
}

impl Position {
    /// Before everything.
    pub(super) const START: Self = Self { file: 0, offset: 0 };

    /// As the index keeps it.
    pub(super) fn encode(self) -> Vec<u8> {
        rmp_serde::to_vec(&(self.file, self.offset)).expect("two numbers always go into a Vec")
    }

    /// From the index.
    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        rmp_serde::from_slice(value).ok().map(|(file, offset)| Self { file, offset })
    }
}

/// What a file holds.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    /// Chunks in the index.
    chunks: u64,
    /// Their bytes.
    live: u64,
    /// Bytes of the file.
    bytes: u64,
}

#[derive(Debug)]
struct Active {
    number: u64,
    file: File,
    end: u64,
}

#[derive(Debug)]
struct Files {
    /// None until something is written: what a file held at its opening stays as it is.
    active: Option<Active>,
    /// Number of the next file.
    next: u64,
    used: BTreeMap<u64, Usage>,
    dead: Vec<u64>,
    /// The place behind the last chunk.
    end: u64,
    buffer: Vec<u8>,
}

/// One queue's files.
#[derive(Debug)]
pub(super) struct Log {
    folder: PathBuf,
    name: String,
    /// Held while a chunk is written; whoever waits for it is the keeper, or somebody who reads the disk anyway.
    files: Mutex<Files>,
    /// The file that was last read from.
    reading: Mutex<Option<(u64, Arc<File>)>>,
}

/// The queues that have files in this folder.
pub(super) fn queues(folder: &Path) -> io::Result<Vec<String>> {
    let mut names: Vec<String> = listed(folder)?.into_iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Queue and number of each file.
fn listed(folder: &Path) -> io::Result<Vec<(String, u64)>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let parts = name.to_str().and_then(|name| name.rsplit_once('.'));
        found.extend(parts.and_then(|(queue, number)| Some((queue.to_owned(), number.parse().ok()?))));
    }
    Ok(found)
}

/// How the chunks in this folder are sealed.
pub(in crate::spool) fn sealed_with(folder: &Path) -> io::Result<BTreeSet<Option<KeyId>>> {
    let mut found = BTreeSet::new();
    for (queue, number) in listed(folder)? {
        found.extend(first_seal(&path(folder, &queue, number))?);
    }
    Ok(found)
}

impl Log {
    /// What there is of a queue. Nothing in it counts as owed until [`Log::adopt`] says so.
    pub(super) fn open(folder: &Path, name: &str) -> io::Result<Self> {
        let mut used = BTreeMap::new();
        for (queue, number) in listed(folder)? {
            if queue == name {
                let bytes = fs::metadata(path(folder, name, number))?.len();
                used.insert(number, Usage { bytes, ..Usage::default() });
            }
        }
        let next = used.last_key_value().map_or(1, |(last, _)| last + 1);
        let files = Files { active: None, next, used, dead: Vec::new(), end: 0, buffer: Vec::new() };
        Ok(Self { folder: folder.to_owned(), name: name.to_owned(), files: Mutex::new(files), reading: Mutex::default() })
    }

    /// The whole chunks at and behind `from`, in the order they were written.
    pub(super) fn since(&self, from: Position) -> io::Result<Vec<Located>> {
        let files: Vec<u64> = locked(&self.files).used.range(from.file..).map(|(number, _)| *number).collect();
        let mut found = Vec::new();
        for file in files {
            let bytes = fs::read(path(&self.folder, &self.name, file))?;
            let offset = if file == from.file { from.offset } else { 0 };
            found.extend(whole_chunks(&bytes, usize::try_from(offset).unwrap_or(usize::MAX), file));
        }
        Ok(found)
    }

    /// These are in the index, and the queue ends at `end`. Files with none of them go with the next sweep, and new chunks
    /// go to a new file.
    pub(super) fn adopt<'a>(&self, index: impl Iterator<Item = &'a Located>, end: u64) {
        let mut files = locked(&self.files);
        files.end = end;
        for located in index {
            files.next = files.next.max(located.file + 1);
            files.hold(located);
        }
        let empty: Vec<u64> = files.used.iter().filter(|(_, usage)| usage.chunks == 0).map(|(number, _)| *number).collect();
        files.dead.extend(empty);
    }

    /// Chunks from `end` on will be written anew.
    pub(super) fn rewind(&self, end: u64) {
        let mut files = locked(&self.files);
        files.end = files.end.min(end);
    }

    /// Where the next chunk goes.
    pub(super) fn position(&self) -> Position {
        let files = locked(&self.files);
        files
            .active
            .as_ref()
            .map_or(Position { file: files.next, offset: 0 }, |active| Position { file: active.number, offset: active.end })
    }

    /// Writes a chunk behind all others. Not durable yet.
    pub(super) fn append(&self, chunk: &Chunk) -> io::Result<Located> {
        let mut files = locked(&self.files);
        let Extent { first, end, since_us, .. } = chunk.extent;
        if first > files.end && files.end > 0 {
            let hole = chunk::hole(files.end, first, since_us);
            self.write(&mut files, &hole)?;
        }
        let located = self.write(&mut files, chunk)?;
        files.end = files.end.max(end);
        files.hold(&located);
        Ok(located)
    }

    fn write(&self, files: &mut Files, chunk: &Chunk) -> io::Result<Located> {
        let mut active = match files.active.take().filter(|active| active.end < FILE_BYTES) {
            Some(active) => active,
            None => {
                files.give_up_empty();
                let number = files.next;
                let file = OpenOptions::new().write(true).create_new(true).open(path(&self.folder, &self.name, number))?;
                files.next += 1;
                files.used.insert(number, Usage::default());
                Active { number, file, end: 0 }
            }
        };
        let length = u32::try_from(chunk.value.len()).map_err(|_| io::Error::other("a chunk of more than 4 GiB"))?;
        files.buffer.clear();
        files.buffer.extend_from_slice(&head(length, active.end));
        files.buffer.extend_from_slice(&chunk.value);
        let written = active.file.write_all_at(&files.buffer, active.end);
        let located = Located { file: active.number, offset: active.end + HEAD as u64, count: chunk.count, extent: chunk.extent };
        if written.is_ok() {
            active.end += files.buffer.len() as u64;
            files.used.entry(active.number).or_default().bytes = active.end;
        }
        files.active = Some(active);
        written.map(|()| located)
    }

    /// This chunk is in the index again.
    pub(super) fn hold(&self, located: &Located) {
        let mut files = locked(&self.files);
        files.hold(located);
        files.dead.retain(|dead| *dead != located.file);
    }

    /// This chunk is no longer in the index.
    pub(super) fn release(&self, located: &Located) {
        let mut files = locked(&self.files);
        let Some(usage) = files.used.get_mut(&located.file) else { return };
        usage.chunks = usage.chunks.saturating_sub(1);
        usage.live = usage.live.saturating_sub(located.extent.bytes);
        if usage.chunks > 0 {
            return;
        }
        match &files.active {
            Some(active) if active.number == located.file && active.end < IDLE_BYTES => {}
            Some(active) if active.number == located.file => {
                files.active = None;
                files.dead.push(located.file);
            }
            Some(_) | None => files.dead.push(located.file),
        }
    }

    /// The file with the least that is owed, once the files hold much more than that.
    pub(super) fn sparse(&self) -> Option<u64> {
        let files = locked(&self.files);
        let active = files.active.as_ref().map_or(0, |active| active.number);
        let ended = || files.used.iter().filter(|(number, usage)| **number != active && usage.chunks > 0);
        let (live, bytes) = ended().fold((0, 0), |(live, bytes), (_, usage)| (live + usage.live, bytes + usage.bytes));
        let is_sparse = bytes > live.saturating_mul(2).saturating_add(8 * FILE_BYTES);
        is_sparse.then(|| ended().min_by_key(|(_, usage)| usage.live).map(|(number, _)| *number)).flatten()
    }

    /// Whether there are files to remove.
    pub(super) fn has_dead(&self) -> bool {
        !locked(&self.files).dead.is_empty()
    }

    /// Removes the files that nothing in the index needs. The index must be on the medium first.
    pub(super) fn sweep(&self) {
        let mut files = locked(&self.files);
        for number in std::mem::take(&mut files.dead) {
            let path = path(&self.folder, &self.name, number);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::debug!(path = %path.display(), %error, "a settled file cannot be removed yet");
                    files.dead.push(number);
                    return;
                }
                Ok(()) | Err(_) => drop(files.used.remove(&number)),
            }
        }
    }

    /// The bytes of a chunk, as many as are there.
    pub(super) fn read(&self, located: &Located) -> io::Result<Vec<u8>> {
        let Located { file, offset, extent, .. } = *located;
        if file == NO_FILE {
            return Ok(chunk::hole(extent.first, extent.end, extent.since_us).value);
        }
        let mut value = vec![0; usize::try_from(extent.bytes).unwrap_or(0)];
        let mut filled = 0;
        let opened = match self.opened(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            opened => opened?,
        };
        while filled < value.len() {
            match opened.read_at(&mut value[filled..], offset + filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        value.truncate(filled);
        Ok(value)
    }

    fn opened(&self, number: u64) -> io::Result<Arc<File>> {
        let mut reading = locked(&self.reading);
        if let Some((_, file)) = reading.as_ref().filter(|(open, _)| *open == number) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(File::open(path(&self.folder, &self.name, number))?);
        *reading = Some((number, Arc::clone(&file)));
        Ok(file)
    }

    /// The file a chunk lies in.
    #[cfg(test)]
    pub(super) fn path_of(&self, located: &Located) -> PathBuf {
        path(&self.folder, &self.name, located.file)
    }
}

impl Files {
    fn hold(&mut self, located: &Located) {
        if located.file == NO_FILE {
            return;
        }
        let usage = self.used.entry(located.file).or_default();
        usage.chunks += 1;
        usage.live += located.extent.bytes;
    }

    /// The last file written to takes no more; if nothing in it is owed, it goes.
    fn give_up_empty(&mut self) {
        let dead = &mut self.dead;
        let empty = self.used.iter().filter(|(number, usage)| usage.chunks == 0 && !dead.contains(number));
        let empty: Vec<u64> = empty.map(|(number, _)| *number).collect();
        dead.extend(empty);
    }
}

fn path(folder: &Path, name: &str, number: u64) -> PathBuf {
    folder.join(format!("{name}.{number:08}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(first: u64, end: u64) -> Chunk {
        chunk::hole(first, end, 7)
    }

    fn places(found: &[Located]) -> Vec<(u64, u64)> {
        found.iter().map(|located| (located.extent.first, located.extent.end)).collect()
    }

    fn log(folder: &Path) -> Log {
        Log::open(folder, "cloud:telemetry").unwrap()
    }

    #[test]
    fn what_was_written_is_found_by_a_scan_with_holes_between() {
        let folder = crate::spool::tests::tempdir();
        let written = log(folder.path());
        let one = written.append(&chunk(3, 5)).unwrap();
        let position = written.position();
        let two = written.append(&chunk(9, 12)).unwrap();
        assert_eq!(written.read(&two).unwrap(), chunk(9, 12).value);
        let again = log(folder.path());
        assert_eq!(places(&again.since(Position::START).unwrap()), [(3, 5), (5, 9), (9, 12)]);
        assert_eq!(places(&again.since(position).unwrap()), [(5, 9), (9, 12)]);
        assert_eq!(Located::decode(3, &one.encode()), Some(one));
        assert_eq!(Position::decode(&position.encode()), Some(position));
    }

    #[test]
    fn a_file_goes_when_nothing_in_it_is_owed_and_not_before() {
        let folder = crate::spool::tests::tempdir();
        let written = log(folder.path());
        let all: Vec<Located> = (1..200).map(|place| written.append(&chunk(place, place + 1)).unwrap()).collect();
        let count = || fs::read_dir(folder.path()).unwrap().count();
        let before = count();
        assert!(before > 3 && !written.has_dead());
        let of_first: Vec<_> = all.iter().filter(|located| located.file == 1).collect();
        of_first[1..].iter().for_each(|located| written.release(located));
        assert!(!written.has_dead());
        written.release(of_first[0]);
        written.sweep();
        assert_eq!(count(), before - 1);
        all.iter().filter(|located| located.file > 1).for_each(|located| written.release(located));
        written.sweep();
        assert!(count() <= 1);
    }

    #[test]
    fn a_damaged_head_or_chunk_costs_itself_only() {
        let mut bytes = Vec::new();
        for place in 1..=5 {
            let value = chunk(place, place + 1).value;
            bytes.extend_from_slice(&head(u32::try_from(value.len()).unwrap(), bytes.len() as u64));
            bytes.extend_from_slice(&value);
        }
        let frame = bytes.len() / 5;
        for at in 0..bytes.len() {
            let mut hurt = bytes.clone();
            hurt[at] ^= 0x10;
            let left = places(&whole_chunks(&hurt, 0, 1));
            let lost = (at / frame) as u64 + 1;
            let expected: Vec<(u64, u64)> = (1..=5).filter(|place| *place != lost).map(|place| (place, place + 1)).collect();
            assert_eq!(left, expected, "byte {at}");
        }
        for length in 0..bytes.len() {
            assert_eq!(whole_chunks(&bytes[..length], 0, 1).len(), length / frame);
        }
    }

    #[test]
    fn files_that_are_mostly_settled_are_sparse() {
        let folder = crate::spool::tests::tempdir();
        let written = log(folder.path());
        let all: Vec<Located> = (1..2_000).map(|place| written.append(&chunk(place, place + 1)).unwrap()).collect();
        assert_eq!(written.sparse(), None);
        for located in &all {
            if located.extent.first % 20 > 0 {
                written.release(located);
            }
        }
        assert!(written.sparse().is_some());
    }
}
