//! Files that others write, followed line by line.
//!
//! **Promised**
//! - Each frame of a file is taken at least once and in order, over restarts and kills: up to where is kept, and only moves over what has
//!   settled. What was under way at a kill comes again.
//! - A file that is renamed is read to its end before the one that takes its place, and so is the copy of one that is cut, where it lies
//!   beside it under its name with `.`, `-` or `_` and more behind it; which is which is told by the file system's number and by what stands
//!   in it. What fits the pattern is never read as what stood in the place of another one just because its name goes on so.
//! - A frame that is not complete waits; one that is too long, or cut off for good, is a dead letter by its head.
//! - A file that is not there is waited for, and that, and what cannot be read, is told. A disk that hangs holds up nothing but its files.
//! - Memory is bounded: a turn reads so much, a file holds half a frame, and at `max_unsettled` nothing is read.
//!
//! **Not promised**: an order of what stands in different files, or of one that is rotated more than once between two looks around a kill; what is cut before it was read and stands in no copy; what is written to a
//! renamed file long after the next one began; that a file which is replaced by another one with the same beginning is known as the same.
//!
//! - `pattern`: which files; `mark`: by what one is known again; `notes`: up to where each was read, on disk; `progress`: up to where it is
//!   safe; `problem`: what is told. `search`, `followed`, `reader`, `rotation`, `absent`: the part that waits for the disk, on a thread of its own (`file/within`).

mod absent;
mod followed;
mod mark;
mod notes;
mod pattern;
mod problem;
mod progress;
mod reader;
mod rotation;
mod search;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(in crate::source) use notes::kept_at;
pub use pattern::FilePattern;
pub(super) use reader::reach;

use super::desk::{FrameDesk, TakenPiece};
use super::dialler::{Opened, RawDialler};
use crate::clock::sleep_until;
use crate::file;
use crate::link::{Redial, Stop};
use crate::source::conditions::SourceCondition;
use crate::source::taker::Borders;
use followed::FileChunk;
use mark::ReadPlace;
use notes::PlaceNotes;
use problem::TailProblem;
use progress::FileProgress;
use reader::{TailOrders, TailReader, TailTurn};

/// How often files at whose end we are are looked into.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// What has settled is noted within this.
const NOTE_WITHIN: Duration = Duration::from_millis(20);

/// A message of a stretch of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct TailClaim {
    file: u64,
    stretch: u64,
}

/// What a turn needs that waits for the disk, and what it has brought: a turn that was given up leaves it for the next one.
struct TailDisk {
    reader: Mutex<(TailReader, Vec<TailTurn>)>,
    orders: Mutex<Vec<ReadPlace>>,
    notes: Mutex<Option<PlaceNotes>>,
    folder: PathBuf,
}

/// What came of a turn: of the files, and of the notes.
type TurnEnd = (io::Result<()>, io::Result<()>);

pub(super) struct TailSource {
    name: Arc<str>,
    desk: FrameDesk<TailClaim>,
    disk: Arc<TailDisk>,
    progress: BTreeMap<u64, FileProgress>,
    /// Up to where each file is safe.
    places: BTreeMap<u64, ReadPlace>,
    /// Read no more, but something of them is not safe yet.
    ending: BTreeSet<u64>,
    /// Since when something is not noted.
    unnoted: Option<Instant>,
    running: Option<JoinHandle<TurnEnd>>,
    next_turn: Instant,
    /// Problems, and since when.
    problems: BTreeMap<TailProblem, Instant>,
    hanging: Option<(String, Instant)>,
}

impl TailSource {
    /// One that goes on from what is noted.
    pub(super) fn new(
        config: &crate::source::Config,
        own: &super::Config,
        pattern: &FilePattern,
        (borders, metrics): (Borders, &crate::source::Metrics),
    ) -> Self {
        let now = Instant::now();
        let opened = own.kept.as_ref().map(|path| PlaceNotes::open(path, now));
        let (notes, known) = match opened {
            Some(Ok((notes, known))) => {
                if notes.is_damaged {
                    let source = &config.name;
                    let notes = own.kept.as_ref().map(|path| path.display().to_string());
                    tracing::warn!(%source, notes, "up to where files were read is not known, as the notes of it are damaged: they are read from their beginning, and what was sent before comes again");
                }
                (Some(notes), known)
            }
            Some(Err(error)) => {
                let source = &config.name;
                tracing::warn!(%source, %error, "up to where files are read cannot be kept: after a restart they are read again");
                (None, Vec::new())
            }
            None => (None, Vec::new()),
        };
        let places = known.iter().map(|place| (place.number, place.clone()));
        let places = places.collect();
        let how = (own.framing.clone(), own.topic.clone());
        let reader = TailReader::new(pattern.clone(), how, config.max_payload_bytes, known);
        Self {
            name: Arc::clone(&config.name),
            desk: FrameDesk::new(config, borders, metrics),
            disk: Arc::new(TailDisk {
                reader: Mutex::new((reader, Vec::new())),
                orders: Mutex::default(),
                notes: Mutex::new(notes),
                folder: pattern.path(),
            }),
            progress: BTreeMap::new(),
            places,
            ending: BTreeSet::new(),
            unnoted: None,
            running: None,
            next_turn: now,
            problems: BTreeMap::new(),
            hanging: None,
        }
    }

    /// Follows until `stop` says otherwise.
    pub(super) async fn run(
        &mut self,
        redial: &mut Redial<RawDialler>,
        stop: &mut watch::Receiver<Stop>,
    ) {
        if let Some(Opened::Files) = redial.connect(stop).await {
            redial.stands();
            let files = self.disk.folder.display();
            tracing::info!(source = %self.name, %files, known = self.places.len(), "files are followed");
            self.serve(stop).await;
        }
        self.leave(stop).await;
    }

    async fn serve(&mut self, stop: &mut watch::Receiver<Stop>) {
        let settled = self.desk.settled();
        while *stop.borrow_and_update() == Stop::Run {
            let now = Instant::now();
            if self.running.is_none() && self.turn_at() <= now {
                self.begin_turn(!self.desk.is_full());
            }
            let turn_at = self.running.is_none().then(|| self.turn_at());
            tokio::select! {
                changed = stop.changed() => if changed.is_err() {
                    return;
                },
                ended = ended(&mut self.running) => self.turned(ended),
                () = settled.changed() => self.settle(false),
                () = sleep_until(self.desk.look_at()) => self.settle(false),
                () = sleep_until(turn_at) => {}
            }
        }
    }

    fn turn_at(&self) -> Instant {
        let note_at = self.unnoted.map(|since| since + NOTE_WITHIN);
        note_at.map_or(self.next_turn, |at| at.min(self.next_turn))
    }

    /// Notes what is safe, and reads on, on a thread that may wait.
    fn begin_turn(&mut self, may_read: bool) {
        let disk = Arc::clone(&self.disk);
        let places = self.unnoted.take().map(|_| self.places.clone());
        self.running = Some(tokio::task::spawn_blocking(move || {
            disk.turn(places, may_read)
        }));
    }

    /// Takes what a turn has brought.
    fn turned(&mut self, (read, noted): TurnEnd) {
        let now = Instant::now();
        self.next_turn = now + LOOK_EVERY;
        if let Err(error) = noted {
            let source = &self.name;
            tracing::warn!(%source, %error, "up to where files are read was not noted: after a kill more of them comes again");
        }
        match read {
            Ok(()) => {
                self.hanging = None;
                let turns = std::mem::take(&mut self.disk.reader().1);
                for turn in turns {
                    self.take(turn, now);
                }
            }
            Err(error) => {
                let words = crate::words::line(&error.to_string(), 200);
                let since = self.hanging.take().map_or(now, |(_, since)| since);
                self.hanging = Some((words, since));
            }
        }
        self.settle(false);
        self.tell();
    }

    fn take(&mut self, turn: TailTurn, now: Instant) {
        if turn.is_busy {
            self.next_turn = now;
        }
        for chunk in turn.chunks {
            self.take_chunk(chunk, now);
        }
        for place in turn.begun {
            // Before the one that it goes on from is forgotten.
            self.places.entry(place.number).or_insert(place);
            self.unnoted.get_or_insert(now);
        }
        self.ending.extend(turn.ended);
        self.note_through(turn.through, now);
        let before = std::mem::take(&mut self.problems);
        let since = |problem: TailProblem| {
            let since = before.get(&problem).copied().unwrap_or(now);
            (problem, since)
        };
        self.problems = turn.problems.into_iter().map(since).collect();
    }

    /// That nothing is missing of these is noted once all of them is settled.
    fn note_through(&mut self, through: Vec<u64>, now: Instant) {
        for number in through {
            let progress = self.progress.get(&number);
            let is_settled = progress.is_none_or(FileProgress::is_settled);
            let place = self.places.get_mut(&number);
            if let Some(place) = place.filter(|place| is_settled && !place.is_through) {
                place.is_through = true;
                self.unnoted.get_or_insert(now);
            }
        }
    }

    fn take_chunk(&mut self, chunk: FileChunk, now: Instant) {
        let FileChunk {
            topic,
            pieces,
            from,
            end,
        } = chunk;
        if pieces.is_empty() && from == end {
            return;
        }
        let file = end.number;
        let begin = || FileProgress::from(from);
        let progress = self.progress.entry(file).or_insert_with(begin);
        let stretch = progress.next();
        let claim = TailClaim { file, stretch };
        let taken = pieces.into_iter().map(|piece| TakenPiece {
            topic: topic.clone(),
            piece,
            claim: Some(claim),
        });
        let taken: Vec<_> = taken.collect();
        let count = taken.len();
        let untold = self.desk.take(taken, now).len();
        progress.read(end, count - untold);
        if let Some(place) = self.places.get_mut(&file) {
            place.is_through = false;
        }
    }

    /// Moves the places over what has settled.
    fn settle(&mut self, draining: bool) {
        let progress = &mut self.progress;
        let has_fallen = self.desk.settle(draining, |claim| {
            if let Some(progress) = progress.get_mut(&claim.file) {
                progress.settle(claim.stretch);
            }
        });
        if has_fallen {
            self.read_again();
        }
        let mut is_news = false;
        for (file, progress) in &mut self.progress {
            if let Some(place) = progress.advance() {
                self.places.insert(*file, place.clone());
                is_news = true;
            }
        }
        let (progress, places) = (&mut self.progress, &mut self.places);
        self.ending.retain(|file| {
            let is_settled = progress.get(file).is_none_or(FileProgress::is_settled);
            if is_settled {
                progress.remove(file);
                is_news |= places.remove(file).is_some();
            }
            !is_settled
        });
        if is_news {
            self.unnoted.get_or_insert_with(Instant::now);
        }
    }

    /// What was lost inside is read again, with what came behind it.
    fn read_again(&mut self) {
        let alive: BTreeSet<TailClaim> = self.desk.claims().collect();
        for (file, progress) in &mut self.progress {
            let is_alive = |stretch| {
                alive.contains(&TailClaim {
                    file: *file,
                    stretch,
                })
            };
            if progress.has_lost(is_alive) {
                let place = progress.go_back().clone();
                let mut orders = self
                    .disk
                    .orders
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                orders.push(place);
            }
        }
    }

    /// Tells what is not as it should be.
    fn tell(&mut self) {
        let at = self.disk.folder.display();
        let problems = self.problems.iter().map(|(problem, since)| {
            let (kind, words, own) = problem.words(&at.to_string());
            (kind, words, own, *since)
        });
        let hanging = self.hanging.iter().map(|(words, since)| {
            let own = "the disk of its files does not answer";
            ("file-unreadable", format!("`{at}`: {words}"), own, *since)
        });
        let conditions = problems.chain(hanging);
        let conditions = conditions.map(|(kind, words, own, since)| SourceCondition {
            kind,
            words,
            own,
            messages: 0,
            since,
            next_try: None,
        });
        self.desk.tell(conditions.collect());
    }

    /// Waits until all that was taken is settled, or for the end; and notes it.
    async fn leave(&mut self, stop: &mut watch::Receiver<Stop>) {
        self.desk.cease();
        let settled = self.desk.settled();
        loop {
            self.settle(true);
            let is_over = self.desk.is_empty() && self.running.is_none();
            if is_over || *stop.borrow_and_update() == Stop::Now {
                break;
            }
            tokio::select! {
                changed = stop.changed() => if changed.is_err() {
                    break;
                },
                // What it has read is not taken any more: it is read again.
                ended = ended(&mut self.running) => drop(ended),
                () = settled.changed() => {}
                () = sleep_until(self.desk.look_at()) => {}
            }
        }
        let (disk, places) = (Arc::clone(&self.disk), self.places.clone());
        let noted = tokio::task::spawn_blocking(move || {
            let noted = disk.note_all(&places);
            (noted, disk.left_behind(places))
        });
        let (noted, left) = noted.await.unwrap_or_else(|_| (Ok(()), Vec::new()));
        for (file, bytes) in left {
            tracing::warn!(source = %self.name, file, bytes, "the file is deleted, and not all of it was taken when the source ended: the rest is gone");
        }
        if let Err(error) = noted {
            tracing::warn!(source = %self.name, %error, "up to where files are read was not noted: some of it comes again");
        }
    }
}

impl TailDisk {
    fn reader(&self) -> std::sync::MutexGuard<'_, (TailReader, Vec<TailTurn>)> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(self: Arc<Self>, places: Option<BTreeMap<u64, ReadPlace>>, may_read: bool) -> TurnEnd {
        let noted = places.map_or(Ok(()), |places| self.note(&places, false));
        let path = self.folder.clone();
        let read = file::within(&path, move || {
            let mut own = self.reader();
            let go_back =
                std::mem::take(&mut *self.orders.lock().unwrap_or_else(PoisonError::into_inner));
            let turn = own.0.turn(TailOrders { may_read, go_back }, Instant::now());
            own.1.push(turn);
            Ok(())
        });
        (read, noted)
    }

    fn note(&self, places: &BTreeMap<u64, ReadPlace>, for_good: bool) -> io::Result<()> {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(notes) = notes.as_mut() else {
            return Ok(());
        };
        let now = Instant::now();
        notes.write(places, now)?;
        if for_good { notes.sync(now) } else { Ok(()) }
    }

    /// What is gone once the files are closed; of a disk that hangs that is not known.
    fn left_behind(self: Arc<Self>, places: BTreeMap<u64, ReadPlace>) -> Vec<(String, u64)> {
        let path = self.folder.clone();
        let left = file::within(&path, move || {
            let reader = self.reader.try_lock();
            Ok(reader.map_or_else(|_| Vec::new(), |own| own.0.left_behind(&places)))
        });
        left.unwrap_or_default()
    }

    fn note_all(&self, places: &BTreeMap<u64, ReadPlace>) -> io::Result<()> {
        self.note(places, true)
    }
}

/// The end of a turn; while none runs, never.
async fn ended(running: &mut Option<JoinHandle<TurnEnd>>) -> TurnEnd {
    let Some(turn) = running.as_mut() else {
        return std::future::pending().await;
    };
    let ended = turn.await;
    *running = None;
    // A panic is one of the whole source, which then begins anew.
    ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
