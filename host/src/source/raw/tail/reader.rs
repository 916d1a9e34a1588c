//! All files of a source: which there are, which of them were renamed, copied, cut or replaced, and what is new in each. Waits for the
//! disk; time is an argument.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fs::{File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::followed::{FileChunk, FileStep, FollowedFile};
use super::handover::TailNext;
use super::mark::{FileId, FileMark, ReadPlace};
use super::pattern::{FilePattern, level, shown};
use super::problem::TailProblem;
use super::search;
use super::slot::{MOST_ASIDE, MOST_OPEN, RestingFile, WaitingFile};
use crate::file;
use crate::source::raw::PeerTopic;
use crate::source::raw::frame::{Framer, RawFraming};

/// Bytes that are read of one file, and of all, in a turn.
pub(super) const CHUNK_BYTES: usize = 64 << 10;
pub(super) const TURN_BYTES: usize = 256 << 10;
/// How often is looked which files there are.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The same for a while after files came or were rotated: where that is done more often, what is renamed may be removed soon.
const LOOK_SOON: Duration = Duration::from_millis(200);
const SOON: Duration = Duration::from_secs(60);
/// So long one is read to which nobody's name leads any more, and one that is somewhere else, since something was last added to it: who writes
/// may not have heard yet.
const DELETED: Duration = Duration::from_secs(10);
const MOVED: Duration = Duration::from_secs(300);
/// Files of which is told that they cannot be read; how many more there are is told of the others.
const MOST_TOLD: usize = 32;

/// What the reader is to do beside reading.
#[derive(Debug, Default)]
pub(super) struct TailOrders {
    pub(super) may_read: bool,
    /// Nothing is read any more but what is gone with the last look.
    pub(super) leaves: Option<TailNext>,
    /// From there on files are read again.
    pub(super) go_back: Vec<ReadPlace>,
}

/// What a turn came to.
#[derive(Debug, Default)]
pub(super) struct TailTurn {
    pub(super) chunks: Vec<FileChunk>,
    /// Files that are read from now on, each from there.
    pub(super) begun: Vec<ReadPlace>,
    /// Numbers of files that are read no more.
    pub(super) ended: Vec<u64>,
    /// Those that are read to their ends and do not stand where they were found any more.
    pub(super) through: Vec<u64>,
    pub(super) problems: Vec<TailProblem>,
    /// Files that have given up their slots, and the numbers of those that have one again, or are gone.
    pub(super) rested: Vec<Arc<RestingFile>>,
    pub(super) woken: Vec<u64>,
    /// Topics of files of which something is gone, nobody knows how much.
    pub(super) lost: Vec<Bytes>,
    /// More could be read at once.
    pub(super) is_busy: bool,
    /// Of one who leaves: files that are not read to their ends and go with him.
    pub(super) rest: usize,
}

#[derive(Debug)]
pub(super) struct TailReader {
    pub(super) pattern: FilePattern,
    framing: RawFraming,
    topic: PeerTopic,
    max_payload_bytes: usize,
    pub(super) files: BTreeMap<u64, FollowedFile>,
    /// Read before, and not found yet.
    pub(super) known: Vec<ReadPlace>,
    /// Read to their ends, and gone with nothing in their place, since then.
    pub(super) away: VecDeque<(ReadPlace, Instant)>,
    pub(super) next: u64,
    looked: Option<Instant>,
    /// When a look brought a file last.
    news: Option<Instant>,
    /// Of the last look.
    pub(super) problems: Vec<TailProblem>,
    /// Of files that were found and could not be read, the file system's numbers.
    pub(super) unread: Vec<FileId>,
    pub(super) begun: Vec<ReadPlace>,
    pub(super) ended: Vec<u64>,
    /// Closed, and with nothing new when they were last looked at, or with something that waits for a slot.
    pub(super) resting: BTreeMap<FileId, Arc<RestingFile>>,
    /// Files that are open at a time.
    pub(super) slots: usize,
    /// Those that wait for a slot.
    pub(super) waiting: BTreeMap<FileId, WaitingFile>,
    /// Numbers of places in files that have something of which nothing was read: where they are gone, that is.
    pub(super) unread_ones: BTreeSet<u64>,
    pub(super) rested: Vec<Arc<RestingFile>>,
    pub(super) woken: Vec<u64>,
    pub(super) lost: Vec<Bytes>,
    /// When the turn that is under way began.
    pub(super) now: Instant,
}

impl TailReader {
    /// One that goes on from these places.
    pub(super) fn new(
        pattern: FilePattern,
        (framing, topic): (RawFraming, PeerTopic),
        max_payload_bytes: usize,
        known: Vec<ReadPlace>,
    ) -> Self {
        Self {
            pattern,
            framing,
            topic,
            max_payload_bytes,
            files: BTreeMap::new(),
            next: known
                .iter()
                .map(|place| place.number + 1)
                .max()
                .unwrap_or(1),
            known,
            away: VecDeque::new(),
            looked: None,
            news: None,
            problems: Vec::new(),
            unread: Vec::new(),
            begun: Vec::new(),
            ended: Vec::new(),
            resting: BTreeMap::new(),
            slots: MOST_OPEN,
            waiting: BTreeMap::new(),
            unread_ones: BTreeSet::new(),
            rested: Vec::new(),
            woken: Vec::new(),
            lost: Vec::new(),
            now: Instant::now(),
        }
    }

    /// Looks which files there are, now and then, and reads what is new in them.
    pub(super) fn turn(&mut self, orders: TailOrders, now: Instant) -> TailTurn {
        let passed = |since: Instant| now.saturating_duration_since(since);
        let is_soon = self.news.is_some_and(|news| passed(news) < SOON);
        let every = if is_soon { LOOK_SOON } else { LOOK_EVERY };
        let is_due = |looked: Instant| passed(looked) >= every;
        let mut turn = TailTurn::default();
        self.now = now;
        if let Some(next) = &orders.leaves {
            self.read_last(&mut turn, next, orders.may_read);
            return turn;
        }
        if self.looked.is_none_or(is_due) {
            self.looked = Some(now);
            self.look(&mut turn, orders.may_read, now);
            if !self.begun.is_empty() {
                self.news = Some(now);
            }
        }
        for place in orders.go_back {
            self.go_back(place);
        }
        if !self.begun.is_empty() {
            // Where they begin is noted before anything is read of them.
            turn.is_busy = true;
        } else if orders.may_read {
            self.read(&mut turn, now);
            self.let_go(&mut turn, now);
        }
        turn.begun.append(&mut self.begun);
        turn.ended.append(&mut self.ended);
        turn.rested.append(&mut self.rested);
        turn.woken.append(&mut self.woken);
        turn.lost.append(&mut self.lost);
        turn.problems.extend(self.problems.iter().cloned());
        turn.problems.extend(self.problems_of_files());
        turn.problems.sort_unstable();
        turn.problems.dedup();
        if turn.problems.len() > MOST_TOLD {
            let others = turn.problems.split_off(MOST_TOLD);
            turn.problems.push(TailProblem::Others(others.len()));
        }
        turn
    }

    fn problems_of_files(&self) -> impl Iterator<Item = TailProblem> {
        let home = |file: &FollowedFile| shown(&file.done.home);
        self.files.values().filter_map(move |file| {
            if file.is_out_of_step() {
                return Some(TailProblem::OutOfStep(home(file)));
            }
            let of = self.files.get(&file.twin?.of)?;
            Some(TailProblem::Copy(home(file), home(of)))
        })
    }

    /// Of the files that are followed.
    #[cfg(test)]
    pub(super) fn topics(&self) -> Vec<String> {
        let topics = self.files.values().map(|file| &file.topic);
        topics
            .map(|topic| String::from_utf8_lossy(topic).into_owned())
            .collect()
    }

    fn read(&mut self, turn: &mut TailTurn, now: Instant) {
        let mut left = TURN_BYTES;
        let numbers: Vec<u64> = self.files.keys().copied().collect();
        for number in numbers {
            let is_next = self.files.get(&number).is_some_and(|file| {
                let is_through = |behind| self.is_through(behind);
                file.twin.is_none() && file.behind.is_none_or(is_through)
            });
            if !is_next {
                continue;
            }
            if self.comes_behind(number) {
                turn.is_busy = true;
                continue;
            }
            let Some(file) = self.files.get_mut(&number) else {
                continue;
            };
            if file.is_out_of_step() && file.is_intact() {
                continue;
            }
            match file.step(CHUNK_BYTES.min(left)) {
                Ok(FileStep::AtEnd) => {}
                Ok(FileStep::Read(chunk)) => {
                    file.read = now;
                    if let Some(gone) = &mut file.gone {
                        *gone = now;
                    }
                    // Who comes behind it may be next.
                    turn.is_busy = true;
                    left = left.saturating_sub(CHUNK_BYTES);
                    turn.chunks.push(*chunk);
                }
                Ok(FileStep::Rewritten) => {
                    turn.is_busy = true;
                    self.rewritten(number, turn);
                }
                Err(error) => {
                    self.problems.push(unreadable(&file.done.home, &error));
                    let place = self.files.remove(&number).map(|file| file.done);
                    self.known.extend(place);
                }
            }
            if left == 0 {
                turn.is_busy = true;
                return;
            }
        }
    }

    /// Whether a file is read to its end, and all that it comes behind.
    fn is_through(&self, mut number: u64) -> bool {
        while let Some(file) = self.files.get(&number) {
            if file.has_more() {
                return false;
            }
            let Some(behind) = file.behind else {
                return true;
            };
            number = behind;
        }
        true
    }

    /// Ends with files that are read and somewhere else.
    fn let_go(&mut self, turn: &mut TailTurn, now: Instant) {
        let is_crowded = !self.waiting.is_empty() || self.files.len() >= self.slots + MOST_ASIDE;
        let is_over = |file: &FollowedFile| {
            let about = file.file.metadata();
            let is_somewhere = about.as_ref().is_ok_and(|about| about.nlink() > 0);
            // Others need the slot.
            let is_soon = !is_somewhere || is_crowded;
            let patience = if is_soon { DELETED } else { MOVED };
            let passed = |gone: Instant| now.saturating_duration_since(gone);
            let is_late = file.gone.is_some_and(|gone| passed(gone) >= patience);
            is_late && (file.twin.is_some() || !file.has_more())
        };
        let over = self.files.extract_if(.., |_, file| is_over(file));
        let over: Vec<_> = over.collect();
        for (number, mut file) in over {
            if file.twin.is_none() {
                turn.chunks.push(file.end());
            }
            if !self.lay_aside(file, now) {
                turn.ended.push(number);
            }
        }
        self.forget_away(now);
    }

    fn look(&mut self, turn: &mut TailTurn, may_read: bool, now: Instant) {
        self.problems.clear();
        self.unread.clear();
        let found = match search::found(&self.pattern) {
            Ok(found) => found,
            Err(error) => {
                let path = self.pattern.path();
                self.problems.push(unreadable(&path, &error));
                return;
            }
        };
        let files = found.files.iter();
        // Of several names of one file the first counts.
        let by_id: HashMap<FileId, &search::FoundFile> =
            files.rev().map(|one| (one.id, one)).collect();
        for file in self.files.values_mut() {
            let own = by_id.get(&file.done.id);
            if own.is_none() && found.has_more {
                // It is not known whether it is gone.
                continue;
            }
            file.path = own.map(|own| own.path.clone());
            file.gone = match own {
                Some(_) => None,
                None => file.gone.or(Some(now)),
            };
        }
        // A copy of one that was cut is no file of its own.
        let changed = self.files.values().filter(|file| !file.is_intact());
        let changed: Vec<u64> = changed.map(FollowedFile::number).collect();
        for number in changed {
            self.rewritten(number, turn);
        }
        for file in self.files.values_mut() {
            file.seen = by_id.get(&file.done.id).map_or(file.seen, |own| own.length);
        }
        let numbers: Vec<u64> = self.files.keys().copied().collect();
        for number in numbers {
            self.comes_behind(number);
        }
        self.share_slots(&found, &by_id, may_read);
        self.find_known(now, !found.files.is_empty());
        self.part_twins(now);
        let through = self.files.values().filter(|file| file.is_aside_and_read());
        turn.through.extend(through.map(FollowedFile::number));
        if found.files.is_empty() {
            self.problems.push(TailProblem::Missing);
        }
        if found.has_more {
            self.problems.push(TailProblem::NotLookedAt);
        }
    }

    /// Begins with a file, or goes on with one that was read before.
    pub(super) fn follow(&mut self, path: &Path, file: File, now: Instant) {
        let Ok(about) = file.metadata() else { return };
        let id = FileId::of(&about);
        self.come_back(path, &file, id);
        let known = self.known_as(path, id);
        let is_same = known.map(|at| self.known[at].mark.is_on(&file));
        let (place, twin) = match (known, is_same) {
            (_, Some(Err(error))) => {
                self.problems.push(unreadable(path, &error));
                return self.unread.push(id);
            }
            (Some(at), Some(Ok(true))) => {
                let place = self.known.remove(at);
                self.unread_ones.remove(&place.number);
                let is_begun = place.mark.offset > 0;
                let twin = || self.twin_of(path, &file, about.len(), now);
                let twin = (!is_begun).then(twin).flatten();
                (place.with(place.number, id), twin)
            }
            _ => {
                let twin = self.twin_of(path, &file, about.len(), now);
                (self.new_place(path, &about), twin)
            }
        };
        // One that was read before stands where it stood.
        let before = match place.mark.offset > 0 {
            true => None,
            false => self.last_of(&place.home),
        };
        let last = before.and_then(|number| self.files.get(&number));
        let before = match last.map(|file| file.done.clone()) {
            Some(last) => self.find_missed(&last, before, None),
            None => None,
        };
        let mut followed = self.file_from(file, place);
        followed.path = Some(path.to_owned());
        followed.behind = before;
        followed.twin = twin;
        self.begin(followed);
    }

    pub(super) fn new_place(&mut self, home: &Path, about: &Metadata) -> ReadPlace {
        self.next += 1;
        ReadPlace {
            number: self.next - 1,
            home: home.to_owned(),
            id: FileId::of(about),
            since: (about.mtime(), about.mtime_nsec()),
            is_through: false,
            mark: FileMark::default(),
        }
    }

    pub(super) fn begin(&mut self, file: FollowedFile) {
        // It may have waited for a slot, and is found to be the rest of another one.
        if let Some(one) = self.resting.remove(&file.done.id) {
            self.woken.push(one.place.number);
            self.ended.push(one.place.number);
        }
        let (id, number) = (file.done.id, file.number());
        let is_it =
            |place: &ReadPlace| place.id == id && place.number != number && place.mark.offset == 0;
        for place in self.known.extract_if(.., |place| is_it(place)) {
            self.unread_ones.remove(&place.number);
            self.ended.push(place.number);
        }
        self.begun.push(file.done.clone());
        self.files.insert(file.number(), file);
    }

    pub(super) fn file_from(&self, file: File, place: ReadPlace) -> FollowedFile {
        let topic = self.topic_of(&place.home);
        let framer = Framer::new(&self.framing, self.max_payload_bytes);
        FollowedFile::from(file, topic, place, framer, self.now)
    }

    /// The topic of what stands in a file that was found there.
    pub(super) fn topic_of(&self, home: &Path) -> Bytes {
        self.topic.of_file(&level(home))
    }
}

pub(super) fn unreadable(path: &Path, error: &io::Error) -> TailProblem {
    let why = match error.kind() {
        ErrorKind::PermissionDenied => "the gateway's user may not read it".to_owned(),
        _ => error.to_string(),
    };
    TailProblem::Unreadable(shown(path), crate::words::line(&why, 200))
}

/// Whether there is something to follow, in words.
///
/// # Errors
/// Why not, in words.
pub(in crate::source::raw) fn reach(pattern: &FilePattern) -> Result<String, String> {
    let found = search::found(pattern).map_err(|error| error.to_string())?;
    for one in &found.files {
        file::open(&one.path).map_err(|error| format!("{}: {error}", shown(&one.path)))?;
    }
    match found.files.len() {
        _ if found.has_more => Err(format!(
            "more than {} names fit, and files behind those are not looked at",
            search::MOST_ENTRIES
        )),
        0 => Err("there is no such file yet".to_owned()),
        1 => Ok("the file is there, and can be read".to_owned()),
        files if files > MOST_OPEN => Ok(format!(
            "{files} files are there, and can be read; {MOST_OPEN} of them are open at a time"
        )),
        files => Ok(format!("{files} files are there, and can be read")),
    }
}
