//! What lies on disk: chunks in their files (`log`), letters, ledger and state in theirs (`records`), and in sled the index
//! over the chunks. The only part that names sled.
//!
//! ```text
//! default tree            "format" → u8, "store" → name
//! "queue:<uplink>:<class>"  'c' + first place (u64, big endian) → where its chunk lies;
//!                         'm' → mark (low, end, owed, bytes, clock);  'p' → up to where the files are in here;
//!                         'n' → number of the last batch of the records that gave up something of this queue
//! ```
//!
//! sled takes what it cannot read for the end of its log, so it holds nothing that is not found again in the files: an index
//! that is lost, or does not know what the records know, is made up from them.
//!
//! A commit is the chunks, one batch of the records, and one sync; what is given up goes from the index only behind that.
//! What the index has not heard of is found again at the end of the files. sled is told durably of deletes: its `flush`, which
//! alone does not survive a power cut, and a `syncfs` behind it. sled is never flushed without that: it writes over what it
//! has freed before the growing end of its file is on the medium.
//!
//! sled panics on some damage, so every call is caught. After one failed write a handle is dead: it must be opened anew.

mod frame;
mod log;
mod open;
mod records;
mod sealed;
mod state;
mod tail;
mod tools;

pub(super) use frame::{is_no_file, read_regular};
pub(super) use log::sealed_with as chunks_sealed_with;
pub(super) use open::{Lost, Opened, is_held, no_books, open, open_files, retire};
pub(super) use records::{Totals, Witness};
pub(super) use tail::Near;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::chunk::Chunk;
use super::ledger::Changes;
use super::letters::{self, Kept, LetterId};
use super::locked;
use super::queue::Mark;
use super::seam::{Call, Seam};
use super::vault::{KeyId, Vault};
use records::{Records, Tree};
use sealed::Kind;
use tail::Tail;

/// The layout above.
pub(super) const FORMAT: u8 = 4;
/// Letters, ledger and state lay in sled, too; they are taken over. In 3 something was sealed.
const FORMATS_BEFORE: [u8; 2] = [2, 3];
const MARK: &[u8] = b"m";
/// Key of the last boot in the records.
const BOOT: &[u8] = b"boot";
/// Damaged values kept for salvage; more would let a broken card fill itself.
const DAMAGED_KEPT: u64 = 256;

/// What went wrong with the store.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// The disk refuses.
    #[error("the disk refuses")]
    Disk(#[source] io::Error),
    /// Chunks cannot be read: nothing else is wrong.
    #[error("a file of chunks cannot be read")]
    Unread(#[source] io::Error),
    /// A newer version wrote them.
    #[error(
        "what is owed was written by a newer version of this program (version {0} of a chunk): it waits for that one"
    )]
    Newer(u8),
    /// The folder is not where it was.
    #[error("the data folder was removed, or moved to another place")]
    Away,
    /// A later start than this one has used the store.
    #[error("the store was used by start {0}, which is later than this one: restart the gateway")]
    Overtaken(u32),
    /// The files make no sense.
    #[error("the store's files are damaged: {0}")]
    Damaged(String),
    /// Another version wrote it.
    #[error("the store has format {0}, and this program knows {FORMAT}")]
    Format(u8),
    /// A key is not here.
    #[error("the store is sealed with key {0}, which the config does not have")]
    Key(KeyId),
}

impl StoreError {
    /// Whether it is about one chunk: nothing else is wrong.
    pub(super) fn is_of_a_chunk(&self) -> bool {
        matches!(self, Self::Unread(_) | Self::Newer(_))
    }
}

impl From<sled::Error> for StoreError {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
                ) =>
            {
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
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            Err(StoreError::Damaged(format!(
                "sled panicked: {}",
                text.unwrap_or("without a word")
            )))
        }
    }
}

/// An open store.
pub(super) struct Store {
    db: sled::Db,
    queues: Vec<Tail>,
    records: Records,
    /// What the index learns once the records are on the medium: by number of the queue.
    behind: Mutex<Vec<(usize, sled::Batch)>>,
    /// Where damaged values are kept for salvage.
    damaged: PathBuf,
    /// A handle on each file system that the files lie on.
    disks: Vec<File>,
    /// Chunks were written and are not synced.
    is_written: AtomicBool,
    /// sled was told something.
    is_told: AtomicBool,
    /// It was told something that must not wait.
    is_behind: AtomicBool,
    seam: Seam,
    vault: Vault,
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

fn encode_mark(mark: Mark) -> Vec<u8> {
    let Mark {
        low,
        end,
        owed,
        bytes,
        clock_us,
    } = mark;
    rmp_serde::to_vec(&(low, end, owed, bytes, clock_us))
        .expect("five numbers always go into a Vec")
}

fn decode_mark(value: &[u8]) -> Option<Mark> {
    let (low, end, owed, bytes, clock_us) = rmp_serde::from_slice(value).ok()?;
    Some(Mark {
        low,
        end,
        owed,
        bytes,
        clock_us,
    })
}

type Entry = (sled::IVec, sled::IVec);

impl Store {
    fn pass(&self, call: Call) -> Result<(), StoreError> {
        self.seam.pass(call).map_err(StoreError::Disk)
    }

    /// Notes the boot.
    pub(super) fn write_boot(&self, boot: u32) {
        self.records
            .put(Tree::Own, BOOT, boot.to_be_bytes().to_vec());
    }

    /// What was last recorded, with the totals as they are now.
    pub(super) fn witness(&self) -> Witness {
        self.records.witness()
    }

    /// Writes chunks and mark of a queue, deletes what is gone, and enters in the ledger what that gives up: all of it or
    /// nothing. A chunk may take the place of one that is gone. Not durable yet.
    pub(super) fn write_queue(
        &self,
        queue: usize,
        change: QueueChange<'_>,
    ) -> Result<(), StoreError> {
        let QueueChange {
            chunks,
            gone,
            mark,
            given_up,
        } = change;
        self.pass(Call::Write)?;
        let tail = &self.queues[queue];
        if !chunks.is_empty() {
            self.is_written.store(true, Ordering::Release);
        }
        self.is_told.store(true, Ordering::Release);
        let number = given_up.is_some().then(|| self.records.next_number());
        let batch = tail.change(&chunks, gone, mark, number)?;
        if chunks.is_empty() || !gone.is_empty() || given_up.is_some() || tail.has_dead() {
            self.is_behind.store(true, Ordering::Release);
        }
        let Some(changes) = given_up else {
            return guarded(|| tail.tree().apply_batch(batch));
        };
        self.write_ledger(changes);
        let given_up = open::encode_given_up(self.records.next_number(), mark.low);
        self.records
            .put(Tree::Own, tail.name().as_bytes(), given_up);
        locked(&self.behind).push((queue, batch));
        Ok(())
    }

    /// Writes changes of the ledger. Not durable yet.
    pub(super) fn write_ledger(&self, changes: Changes) {
        for key in changes.gone {
            self.records.remove(Tree::Ledger, &key);
        }
        for (key, value) in changes.put {
            let value = sealed::seal(&self.vault, Kind::Ledger, &key, value);
            self.records.put(Tree::Ledger, &key, value);
        }
        self.records
            .total(|totals| totals.given_up = changes.totals);
    }

    /// Writes letters and deletes others, with what the ledger says of those. Not durable yet.
    pub(super) fn write_letters(
        &self,
        letters: Vec<(LetterId, Vec<u8>)>,
        gone: &[LetterId],
        kept: Kept,
        evicted: Option<Changes>,
    ) {
        for id in gone {
            self.records.remove(Tree::Letters, &letters::key(*id));
        }
        for (id, value) in letters {
            let key = letters::key(id);
            let value = sealed::seal(&self.vault, Kind::Letter, &key, value);
            self.records.put(Tree::Letters, &key, value);
        }
        self.records.total(|totals| totals.kept = kept);
        evicted
            .into_iter()
            .for_each(|changes| self.write_ledger(changes));
    }

    /// Makes durable what the calls before have written: it survives a kill and a power cut. With `all` the index is up
    /// to date, too, so that nothing need be looked for at the next start.
    pub(super) fn settle(&self, all: bool) -> Result<(), StoreError> {
        for tail in &self.queues {
            if tail.tidy(&self.vault)? {
                self.is_written.store(true, Ordering::Release);
                self.is_behind.store(true, Ordering::Release);
            }
        }
        let is_recorded = self.records.append().map_err(StoreError::Disk)?;
        // In this order: the index must not know of chunks that a power cut takes, nor forget what the ledger may not have.
        if is_recorded || self.is_written.load(Ordering::Acquire) {
            self.sync()?;
            self.is_written.store(false, Ordering::Release);
            self.records.stand().map_err(StoreError::Disk)?;
            self.queues.iter().try_for_each(Tail::stand)?;
        }
        for (queue, batch) in std::mem::take(&mut *locked(&self.behind)) {
            guarded(|| self.queues[queue].tree().apply_batch(batch))?;
        }
        if self.is_behind.swap(false, Ordering::AcqRel)
            || (all && self.is_told.load(Ordering::Acquire))
        {
            self.record()?;
        }
        Ok(())
    }

    /// Brings sled to the medium; only then may files go that it does not need.
    fn record(&self) -> Result<(), StoreError> {
        self.pass(Call::Write)?;
        self.is_told.store(false, Ordering::Release);
        guarded(|| self.db.flush())?;
        self.sync()?;
        self.queues.iter().for_each(Tail::sweep);
        Ok(())
    }

    /// The whole file system: sled syncs neither its blob files nor its file's size, and one call serves all files.
    fn sync(&self) -> Result<(), StoreError> {
        self.pass(Call::Sync)?;
        let sync =
            |disk: &File| rustix::fs::syncfs(disk).map_err(|error| StoreError::Disk(error.into()));
        self.disks.iter().try_for_each(sync)
    }

    /// The chunk that answers for `place`, or else the first behind it.
    pub(super) fn chunk_near(&self, queue: usize, place: u64) -> Result<Option<Near>, StoreError> {
        self.queues[queue].near(place)
    }

    /// The places of the chunk that answers for `place`, and its messages: what the index knows of them.
    pub(super) fn known(
        &self,
        queue: usize,
        place: u64,
    ) -> Result<Option<(Range<u64>, u64)>, StoreError> {
        self.queues[queue].known(place)
    }

    /// Where the first chunk behind `place` begins.
    #[cfg(test)]
    pub(super) fn next_chunk(&self, queue: usize, place: u64) -> Result<Option<u64>, StoreError> {
        self.queues[queue].next_chunk(place)
    }

    /// How many messages are known to be missing of these places, if that is known; it is told once.
    pub(super) fn missing_in(&self, queue: usize, places: &Range<u64>) -> Option<u64> {
        self.queues[queue].missing_in(places)
    }

    /// What cannot be read of a queue's files counts as not there from now on.
    pub(super) fn give_up_sick(&self, queue: usize) {
        self.queues[queue].give_up_sick();
    }

    /// Keeps the bytes of a chunk that cannot be read, as long as there is room for them.
    pub(super) fn set_chunk_aside(&self, queue: usize, first: u64, value: &[u8]) {
        let path = self
            .damaged
            .join(format!("{}.{first}", self.queues[queue].name()));
        if self.set_aside() >= DAMAGED_KEPT {
            return;
        }
        if let Err(error) =
            std::fs::create_dir_all(&self.damaged).and_then(|()| std::fs::write(&path, value))
        {
            tracing::debug!(path = %path.display(), %error, "a damaged chunk was not kept");
        }
    }

    /// How many damaged values were set aside and kept.
    pub(super) fn set_aside(&self) -> u64 {
        std::fs::read_dir(&self.damaged).map_or(0, |entries| entries.count() as u64)
    }

    /// Looks for chunks of the places `owed` that the index does not know. Answers whether there were any.
    pub(super) fn search(&self, queue: usize, owed: Range<u64>) -> Result<bool, StoreError> {
        self.queues[queue].search(owed)
    }

    /// Answers for places of a queue that are missing, once the ledger, in the same commit, has them.
    pub(super) fn bridge(&self, queue: usize, places: Range<u64>) -> Result<(), StoreError> {
        let batch = self.queues[queue].bridge(places)?;
        self.is_written.store(true, Ordering::Release);
        self.is_told.store(true, Ordering::Release);
        locked(&self.behind).push((queue, batch));
        Ok(())
    }

    /// Removes chunks from `place` on: leavings of a commit that failed half-way.
    pub(super) fn remove_from(&self, queue: usize, place: u64) -> Result<(), StoreError> {
        self.pass(Call::Write)?;
        if self.queues[queue].remove_from(place)? {
            self.is_written.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Whether a letter is there already.
    pub(super) fn has_letter(&self, id: LetterId) -> bool {
        self.records.has(Tree::Letters, &letters::key(id))
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
    let db = sled::Config::new()
        .path(path)
        .flush_every_ms(None)
        .open()
        .unwrap();
    db.insert("format", &[format]).unwrap();
    db.flush().unwrap();
}

/// Makes a closed store one of a format before: letters, ledger and state lie in sled.
#[cfg(test)]
pub(super) fn put_back(folder: &std::path::Path, format: u8) {
    let (records, _) = Records::open(folder, None, &Seam::default()).unwrap();
    let db = sled::Config::new()
        .path(folder.join("store"))
        .flush_every_ms(None)
        .open()
        .unwrap();
    for (name, tree) in open::TREES_BEFORE {
        for entry in records.each(tree, &[]) {
            let (key, value) = entry.unwrap();
            db.open_tree(name).unwrap().insert(key, value).unwrap();
        }
    }
    let boot = records.get(Tree::Own, BOOT).unwrap().unwrap();
    db.insert("boot", boot).unwrap();
    db.remove("store").unwrap();
    db.insert("format", &[format]).unwrap();
    db.flush().unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("records.")
        {
            std::fs::remove_file(path).unwrap();
        }
    }
    let low = std::fs::read_to_string(folder.join("low")).unwrap();
    let lines: Vec<&str> = low
        .lines()
        .skip(2)
        .filter(|line| !line.starts_with("crc="))
        .collect();
    let body = format!("low 1\n{}\n", lines.join("\n"));
    let sum = crc32fast::hash(body.as_bytes());
    std::fs::write(folder.join("low"), format!("{body}crc={sum:08x}\n")).unwrap();
}
