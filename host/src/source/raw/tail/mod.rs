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
//! - Memory is bounded: a turn reads so much, a file holds half a frame, and at `max_unsettled` nothing is read. So many files are open at a
//!   time; one that is read gives its slot up to one that has something, and of it is known up to where it is read.
//! - A source that begins anew goes on with what is open. What is gone with a source, as it stands in a deleted file, is read before it ends, or
//!   is in the ledger.
//!
//! **Not promised**: the order over a rotation of a file that waits for a slot; an order of what stands in different files, or of one that is rotated more than once between two looks around a kill; what is cut before it was read and stands in no copy; what is written to a
//! renamed file long after the next one began; that a file which is replaced by another one with the same beginning is known as the same.
//!
//! - `pattern`: which files; `mark`: by what one is known again; `notes`: up to where each was read, on disk; `progress`: up to where it is
//!   safe; `problem`: what is told. `search`, `followed`, `reader`, `rotation`, `absent`, `resting`, `leaving`: the part that waits for the disk, on a thread
//!   of its own (`file/within`), which is `disk`'s. `at_rest`, `rest_notes`: what is known of closed files, and kept; `ending`, `handover`: what a source
//!   does at its end, and leaves to the next one.

mod absent;
mod at_rest;
mod disk;
mod ending;
mod followed;
mod handover;
mod leaving;
mod mark;
mod notes;
mod pattern;
mod problem;
mod progress;
mod reader;
mod rest_notes;
mod resting;
mod rotation;
mod search;
mod slot;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use handover::{TailHandover, TailNext};
pub(in crate::source) use notes::kept_at;
pub use pattern::FilePattern;
pub(super) use reader::reach;

use super::desk::{FrameDesk, TakenPiece};
use super::dialler::{Opened, RawDialler};
use crate::clock::sleep_until;
use crate::link::{Redial, Stop};
use crate::message::LossReason;
use crate::source::conditions::SourceCondition;
use crate::source::taker::Borders;
use at_rest::FilesAtRest;
use disk::{DiskWork, KeptFiles, TailDisk, TurnEnd, ended};
use followed::FileChunk;
use mark::ReadPlace;
use problem::TailProblem;
use progress::FileProgress;
use reader::{TailReader, TailTurn};

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

pub(super) struct TailSource {
    name: Arc<str>,
    desk: FrameDesk<TailClaim>,
    disk: Arc<TailDisk>,
    progress: BTreeMap<u64, FileProgress>,
    /// Up to where each file is safe.
    places: BTreeMap<u64, ReadPlace>,
    at_rest: FilesAtRest,
    /// Read no more, but something of them is not safe yet.
    ending: BTreeSet<u64>,
    /// Since when something is not noted.
    unnoted: Option<Instant>,
    running: Option<JoinHandle<TurnEnd>>,
    next_turn: Instant,
    /// Problems, and since when.
    problems: BTreeMap<TailProblem, Instant>,
    hanging: Option<(String, Instant)>,
    handover: TailHandover,
    /// Of one who leaves: files that are not read to their ends and go with him.
    rest: usize,
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
        let mut kept = KeptFiles::find(config, own, pattern);
        let known: Vec<ReadPlace> = kept.places.values().cloned().collect();
        let at_rest = FilesAtRest::from(kept.resting.values(), now);
        let how = (own.framing.clone(), own.topic.clone());
        let mut reader = TailReader::new(pattern.clone(), how, config.max_payload_bytes, known);
        reader.take_over(kept.left());
        Self {
            name: Arc::clone(&config.name),
            desk: FrameDesk::new(config, borders, metrics),
            disk: Arc::new(TailDisk::new(reader, kept.notes, pattern.path())),
            progress: BTreeMap::new(),
            places: kept.places,
            at_rest,
            ending: BTreeSet::new(),
            unnoted: None,
            running: None,
            next_turn: now,
            problems: BTreeMap::new(),
            hanging: None,
            handover: own.left.clone(),
            rest: 0,
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
            let files = pattern::shown(self.disk.folder());
            tracing::info!(source = %self.name, files, known = self.places.len() + self.at_rest.count(), "files are followed");
            self.serve(stop).await;
        }
        self.leave(stop).await;
    }

    async fn serve(&mut self, stop: &mut watch::Receiver<Stop>) {
        let settled = self.desk.settled();
        while *stop.borrow_and_update() == Stop::Run {
            let now = Instant::now();
            if self.running.is_none() && self.turn_at() <= now {
                self.begin_turn(!self.desk.is_full(), None);
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

    /// Notes what is safe, and reads on, on a thread that may wait; of one who leaves, what goes with him.
    fn begin_turn(&mut self, may_read: bool, leaves: Option<TailNext>) {
        let disk = Arc::clone(&self.disk);
        let work = DiskWork {
            places: self.unnoted.take().map(|_| self.places.clone()),
            resting: self.rests_to_note(false),
            may_read,
            leaves,
        };
        self.running = Some(tokio::task::spawn_blocking(move || disk.turn(work)));
    }

    /// Takes what a turn has brought.
    fn turned(&mut self, ended: TurnEnd) {
        let now = Instant::now();
        self.next_turn = now + LOOK_EVERY;
        if let Err(error) = ended.noted {
            let source = &self.name;
            tracing::warn!(%source, %error, "up to where files are read was not noted: after a kill more of them comes again");
        }
        self.rests_noted(ended.resting);
        let read = ended.read;
        match read {
            Ok(()) => {
                self.hanging = None;
                let turns = self.disk.turns();
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
        self.rest = turn.rest;
        for chunk in turn.chunks {
            self.take_chunk(chunk, now);
        }
        for number in turn.woken {
            self.woken(number, now);
        }
        for place in turn.begun {
            // Before the one that it goes on from is forgotten.
            self.places.entry(place.number).or_insert(place);
            self.unnoted.get_or_insert(now);
        }
        for one in turn.rested {
            self.at_rest.put(one, now);
        }
        for topic in turn.lost {
            self.desk.lost(LossReason::FileGone, &topic, 0);
        }
        self.ending.extend(turn.ended);
        self.note_through(turn.through, now);
        let before = std::mem::take(&mut self.problems);
        let since = |problem: TailProblem| {
            let own = before.iter().find(|(other, _)| problem.goes_on(other));
            let since = own.map_or(now, |(_, since)| *since);
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
                self.at_rest.go_back(&place);
                self.disk.order(place);
            }
        }
    }

    /// Tells what is not as it should be.
    fn tell(&mut self) {
        let at = pattern::shown(self.disk.folder());
        let problems = self.problems.iter().map(|(problem, since)| {
            let (kind, words, own) = problem.words(&at);
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
}
