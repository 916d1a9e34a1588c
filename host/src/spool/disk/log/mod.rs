//! The chunks of one queue, in files that only grow. What is on the medium is never written over, and a file goes as a
//! whole once nothing in it is owed any more: a power cut takes no more than what was not synced, damage no more than the
//! chunk it hits, and a byte is written once.
//!
//! ```text
//! <data>/chunks/<uplink>:<class>.<number>      one queue's files, numbered from 1 in the order they were begun
//! ```
//!
//! Pieces stand in a file as `frame` says: chunks, and stands. A stand begins every file and follows on what a sync was
//! behind: which store the file belongs to, where the queue ended then, and how many messages the file had got. So a chunk
//! that is hurt is told from one that a power cut has torn, by what stands behind it, and what it cost is known.
//!
//! The files tell all by themselves: each chunk says which places it answers for, and where a queue goes on behind places
//! that were settled in memory a hole says so.

mod files;
pub(crate) mod listing;
pub(crate) mod located;
pub(crate) mod stand;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::message::Seq;
use crate::spool::disk::chunk::{self, Chunk, Extent};
use crate::spool::disk::fault_injection::{DiskCall, FaultInjection};
use crate::spool::disk::frame::{PieceKind, is_no_file, open_regular, read_regular};
use crate::spool::disk::log::files::{
    ActiveFile, ChunkFiles, FILE_BYTES, IDLE_BYTES, NO_FILE, Usage,
};
use crate::spool::disk::log::listing::{listed, path};
use crate::spool::disk::log::located::{Located, Position};
use crate::spool::disk::log::stand::Behind;
use crate::spool::lock::locked;

#[derive(Debug)]
pub(super) struct ChunkLog {
    folder: PathBuf,
    name: String,
    /// Name of the store.
    store: String,
    fault_injection: FaultInjection,
    /// Held while a chunk is written; whoever waits for it is the writer, or somebody who reads the disk anyway.
    files: Mutex<ChunkFiles>,
    /// The file that was last read from.
    reading: Mutex<Option<(u64, Arc<File>)>>,
}

impl ChunkLog {
    /// What there is of a queue of this store. Nothing in it counts as owed until [`ChunkLog::adopt`] says so. A file of another
    /// store, and what is no file, stays where it is.
    pub(super) fn open(
        folder: &Path,
        name: &str,
        store: &str,
        fault_injection: &FaultInjection,
    ) -> io::Result<Self> {
        let mut used = BTreeMap::new();
        let mut last = 0;
        for (queue, number) in listed(folder)? {
            if queue != name {
                continue;
            }
            last = last.max(number);
            let path = path(folder, name, number);
            // One that cannot be read now may be read later.
            match stand::owner(&path, fault_injection) {
                Ok(Some(owner)) if owner != store => {
                    tracing::error!(path = %path.display(), owner, store, "this file belongs to another store: it is left alone");
                    continue;
                }
                Err(error) if is_no_file(&error) => {
                    tracing::error!(path = %path.display(), %error, "this is in the way of a file of chunks: it is left alone");
                    continue;
                }
                Ok(_) | Err(_) => {}
            }
            let bytes = fs::metadata(&path).map_or(0, |about| about.len());
            used.insert(
                number,
                Usage {
                    bytes,
                    ..Usage::default()
                },
            );
        }
        let dead = Vec::new();
        let sick = BTreeSet::new();
        let files = ChunkFiles {
            active: None,
            next: last + 1,
            used,
            dead,
            sick,
            end: Seq::FIRST,
            safe: Seq::FIRST,
            buffer: Vec::new(),
        };
        let folder = folder.to_owned();
        let name = name.to_owned();
        let store = store.to_owned();
        let fault_injection = fault_injection.clone();
        Ok(Self {
            folder,
            name,
            store,
            fault_injection,
            files: Mutex::new(files),
            reading: Mutex::default(),
        })
    }

    /// What lies at and behind `from`, in the order it was written. A file that cannot be read is left out, and looked
    /// through again by [`ChunkLog::look_again`].
    pub(super) fn since(&self, from: Position) -> Behind {
        let files: Vec<u64> = locked(&self.files)
            .used
            .range(from.file..)
            .map(|(number, _)| *number)
            .collect();
        let mut behind = Behind::default();
        for file in files {
            let path = path(&self.folder, &self.name, file);
            match read_regular(&path, u64::MAX, &self.fault_injection) {
                Ok(bytes) => behind.take(
                    &bytes,
                    file,
                    if file == from.file { from.offset } else { 0 },
                ),
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "a file of chunks cannot be read: it is looked through again later");
                    locked(&self.files).sick.insert(file);
                }
            }
        }
        behind
    }

    /// Looks through the files that could not be read before. One that still cannot is the disk's error; what is no file any
    /// more is passed over.
    pub(super) fn look_again(&self) -> io::Result<Behind> {
        let sick: Vec<u64> = locked(&self.files).sick.iter().copied().collect();
        let mut behind = Behind::default();
        for file in sick {
            match read_regular(
                &path(&self.folder, &self.name, file),
                u64::MAX,
                &self.fault_injection,
            ) {
                Ok(bytes) => behind.take(&bytes, file, 0),
                Err(error) if is_no_file(&error) => {}
                Err(error) => return Err(error),
            }
            locked(&self.files).sick.remove(&file);
        }
        Ok(behind)
    }

    /// Nobody waits any longer for the files that cannot be read.
    pub(super) fn give_up_sick(&self) {
        locked(&self.files).sick.clear();
    }

    /// ChunkFiles from now on lie at or behind this place, also when those before it are all gone: a search from there must find
    /// what goes into them.
    pub(super) fn follow(&self, from: Position) {
        let mut files = locked(&self.files);
        files.next = files.next.max(from.file + u64::from(from.offset > 0));
    }

    /// These are in the index, and the queue ends at `end`. ChunkFiles with none of them go with the next sweep, and new chunks
    /// go to a new file.
    pub(super) fn adopt<'a>(&self, index: impl Iterator<Item = &'a Located>, end: Seq) {
        let mut files = locked(&self.files);
        (files.end, files.safe) = (end, end);
        for located in index {
            files.next = files.next.max(located.file + 1);
            files.hold(located);
        }
        let sick = files.sick.clone();
        let empty = files
            .used
            .iter()
            .filter(|(number, usage)| usage.chunks == 0 && !sick.contains(*number));
        let empty: Vec<u64> = empty.map(|(number, _)| *number).collect();
        files.dead.extend(empty);
    }

    /// Chunks from `end` on will be written anew.
    pub(super) fn rewind(&self, end: Seq) {
        let mut files = locked(&self.files);
        files.end = files.end.min(end);
        files.safe = files.safe.min(end);
    }

    /// Where the next chunk goes.
    pub(super) fn position(&self) -> Position {
        let files = locked(&self.files);
        files.active.as_ref().map_or(
            Position {
                file: files.next,
                offset: 0,
            },
            |active| Position {
                file: active.number,
                offset: active.end,
            },
        )
    }

    /// Writes a chunk behind all others. Not durable yet.
    pub(super) fn append(&self, chunk: &Chunk) -> io::Result<Located> {
        let mut files = locked(&self.files);
        let Extent {
            first, end, since, ..
        } = chunk.extent;
        if first > files.end && files.end > Seq::FIRST {
            let hole = chunk::hole(files.end, first, since);
            self.write(&mut files, &hole)?;
        }
        let located = self.write(&mut files, chunk)?;
        files.end = files.end.max(end);
        files.hold(&located);
        Ok(located)
    }

    fn write(&self, files: &mut ChunkFiles, chunk: &Chunk) -> io::Result<Located> {
        if files
            .active
            .as_ref()
            .is_none_or(|active| active.end >= FILE_BYTES)
        {
            self.begin(files)?;
        }
        let at = files.write(PieceKind::Chunk, &chunk.value)?;
        let Some(active) = &mut files.active else {
            return Err(io::Error::other("there is no file of chunks"));
        };
        active.messages += u64::from(chunk.count);
        active.is_told = false;
        Ok(Located {
            file: active.number,
            offset: at,
            count: chunk.count,
            extent: chunk.extent,
        })
    }

    fn begin(&self, files: &mut ChunkFiles) -> io::Result<()> {
        files.give_up_empty();
        let number = files.next;
        let file = OpenOptions::new().write(true).create_new(true).open(path(
            &self.folder,
            &self.name,
            number,
        ))?;
        files.next += 1;
        files.used.insert(number, Usage::default());
        files.active = Some(ActiveFile {
            number,
            file,
            end: 0,
            messages: 0,
            is_told: true,
        });
        let safe = files.safe;
        files
            .write(PieceKind::Stand, &stand::encode(&self.store, safe, 0))
            .map(drop)
    }

    /// What was written until now is on the medium: says so behind it. Not durable itself until the next sync.
    pub(super) fn stand(&self) -> io::Result<()> {
        let mut files = locked(&self.files);
        let end = files.end;
        files.safe = end;
        let Some(active) = files.active.as_mut().filter(|active| !active.is_told) else {
            return Ok(());
        };
        active.is_told = true;
        let body = stand::encode(&self.store, end, active.messages);
        files.write(PieceKind::Stand, &body).map(drop)
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
        let Some(usage) = files.used.get_mut(&located.file) else {
            return;
        };
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
        let ended = || {
            files
                .used
                .iter()
                .filter(|(number, usage)| **number != active && usage.chunks > 0)
        };
        let (live, bytes) = ended().fold((0, 0), |(live, bytes), (_, usage)| {
            (live + usage.live, bytes + usage.bytes)
        });
        let is_sparse = bytes > live.saturating_mul(2).saturating_add(8 * FILE_BYTES);
        is_sparse
            .then(|| {
                ended()
                    .min_by_key(|(_, usage)| usage.live)
                    .map(|(number, _)| *number)
            })
            .flatten()
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

    /// The bytes of a chunk, as many as are there: none when its file is gone from its folder.
    pub(super) fn read(&self, located: &Located) -> io::Result<Vec<u8>> {
        let Located {
            file,
            offset,
            extent,
            ..
        } = *located;
        if file == NO_FILE {
            return Ok(chunk::hole(extent.first, extent.end, extent.since).value);
        }
        let mut value = vec![0; usize::try_from(extent.bytes).unwrap_or(0)];
        let mut filled = 0;
        let opened = match self.opened(file) {
            Err(error) if is_no_file(&error) && self.folder.is_dir() => return Ok(Vec::new()),
            opened => opened?,
        };
        while filled < value.len() {
            self.fault_injection.pass(DiskCall::Read)?;
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
        let file = Arc::new(open_regular(
            &path(&self.folder, &self.name, number),
            &self.fault_injection,
        )?);
        *reading = Some((number, Arc::clone(&file)));
        Ok(file)
    }

    /// The file a chunk lies in.
    #[cfg(test)]
    pub(super) fn path_of(&self, located: &Located) -> PathBuf {
        path(&self.folder, &self.name, located.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::RunningTime;
    use crate::message::Message;
    use crate::spool::disk::chunk::flows::FlowNames;
    use crate::spool::disk::chunk::queue_sealer::QueueSealer;
    use crate::spool::disk::frame::HEAD;
    use crate::spool::disk::sealing::sealer::Sealer;

    fn chunk(first: u64, end: u64) -> Chunk {
        chunk::hole(Seq(first), Seq(end), RunningTime(7))
    }

    fn places(found: &[Located]) -> Vec<(u64, u64)> {
        found
            .iter()
            .map(|located| (located.extent.first.0, located.extent.end.0))
            .collect()
    }

    fn log(folder: &Path) -> ChunkLog {
        ChunkLog::open(
            folder,
            "cloud:telemetry",
            "abcdefgh",
            &FaultInjection::default(),
        )
        .unwrap()
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
        assert_eq!(
            places(&again.since(Position::START).chunks),
            [(3, 5), (5, 9), (9, 12)]
        );
        assert_eq!(places(&again.since(position).chunks), [(5, 9), (9, 12)]);
        assert_eq!(Located::decode(Seq(3), &one.encode()), Some(one));
        assert_eq!(Position::decode(&position.encode()), Some(position));
    }

    #[test]
    fn a_file_goes_when_nothing_in_it_is_owed_and_not_before() {
        let folder = crate::spool::tests::tempdir();
        let written = log(folder.path());
        let all: Vec<Located> = (1..200)
            .map(|place| written.append(&chunk(place, place + 1)).unwrap())
            .collect();
        let count = || fs::read_dir(folder.path()).unwrap().count();
        let before = count();
        assert!(before > 3 && !written.has_dead());
        let of_first: Vec<_> = all.iter().filter(|located| located.file == 1).collect();
        of_first[1..]
            .iter()
            .for_each(|located| written.release(located));
        assert!(!written.has_dead());
        written.release(of_first[0]);
        written.sweep();
        assert_eq!(count(), before - 1);
        all.iter()
            .filter(|located| located.file > 1)
            .for_each(|located| written.release(located));
        written.sweep();
        assert!(count() <= 1);
    }

    /// A chunk of one message.
    fn message(place: u64) -> Chunk {
        let mut packer = crate::spool::disk::chunk::packer::Packer::new();
        packer.begin(Seq(place));
        packer.push(Seq(place), &Message::default(), RunningTime(7));
        packer
            .finish(
                &FlowNames::new(&[]),
                QueueSealer {
                    sealer: &Sealer::default(),
                    queue: "",
                },
            )
            .unwrap()
    }

    /// A file of five messages, safe to its end, and where each chunk begins.
    fn file_of_five(folder: &Path) -> (Vec<u8>, Vec<usize>) {
        let written = log(folder);
        let all: Vec<Located> = (1..=5)
            .map(|place| written.append(&message(place)).unwrap())
            .collect();
        written.stand().unwrap();
        let starts = all
            .iter()
            .map(|located| usize::try_from(located.offset).unwrap() - HEAD)
            .collect();
        (fs::read(written.path_of(&all[0])).unwrap(), starts)
    }

    fn behind(bytes: &[u8]) -> Behind {
        let mut behind = Behind::default();
        behind.take(bytes, 1, 0);
        behind
    }

    #[test]
    fn a_damaged_head_or_chunk_costs_itself_only_and_is_missed() {
        let folder = crate::spool::tests::tempdir();
        let (bytes, starts) = file_of_five(folder.path());
        assert!(behind(&bytes).missing.is_empty());
        let frame = starts[1] - starts[0];
        for at in starts[0]..starts[4] + frame {
            let mut hurt = bytes.clone();
            hurt[at] ^= 0x10;
            let found = behind(&hurt);
            let lost = ((at - starts[0]) / frame) as u64 + 1;
            let expected: Vec<(u64, u64)> = (1..=5)
                .filter(|place| *place != lost)
                .map(|place| (place, place + 1))
                .collect();
            assert_eq!(places(&found.chunks), expected, "byte {at}");
            assert_eq!(
                (found.end, found.damaged, found.missing),
                (Seq(6), 1, vec![(Seq(0)..Seq(6), 1)]),
                "byte {at}"
            );
        }
        for length in starts[0]..starts[4] + frame {
            assert_eq!(
                behind(&bytes[..length]).chunks.len(),
                (length - starts[0]) / frame
            );
        }
    }

    #[test]
    fn a_file_of_another_store_is_left_alone() {
        let folder = crate::spool::tests::tempdir();
        let (_, starts) = file_of_five(folder.path());
        let other = ChunkLog::open(
            folder.path(),
            "cloud:telemetry",
            "hgfedcba",
            &FaultInjection::default(),
        )
        .unwrap();
        assert!(starts.len() == 5 && other.since(Position::START).chunks.is_empty());
        other.adopt(std::iter::empty(), Seq(0));
        other.sweep();
        other.append(&chunk(7, 9)).unwrap();
        assert_eq!(
            places(&log(folder.path()).since(Position::START).chunks).len(),
            5
        );
    }

    #[test]
    fn files_that_are_mostly_settled_are_sparse() {
        let folder = crate::spool::tests::tempdir();
        let written = log(folder.path());
        let all: Vec<Located> = (1..2_000)
            .map(|place| written.append(&chunk(place, place + 1)).unwrap())
            .collect();
        assert_eq!(written.sparse(), None);
        for located in &all {
            if located.extent.first.0 % 20 > 0 {
                written.release(located);
            }
        }
        assert!(written.sparse().is_some());
    }
}
