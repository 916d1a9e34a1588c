//! Files that have given up their slots: so many are held open at a time, and of the others is known up to where they are read. Those that
//! are read to their ends give way, the one that has been quiet longest first. Waits for the disk.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::followed::FollowedFile;
use super::mark::{FileId, FileMark, ReadPlace};
use super::pattern;
use super::problem::TailProblem;
use super::reader::{TailReader, unreadable};
use super::search::{self, FoundFile, FoundFiles, MOST_ENTRIES};
use super::slot::{RestingFile, WaitingFile};
use crate::file;

/// One that always has more gives way all the same once it had its slot for so long, and another one waited for as long.
const HOLDS: Duration = Duration::from_secs(2);
/// Those that are not where they were, of which so many are looked for at a time: each takes a look into its folder.
const MOST_LOOKED_FOR: usize = 64;
/// That files wait is told when one has waited for so long.
const TOLD_AFTER: Duration = Duration::from_secs(5);

/// Those that may give up their slots, in that order: those that are read, and those that always have more.
#[derive(Debug, Default)]
struct SlotGivers {
    read: VecDeque<u64>,
    busy: VecDeque<u64>,
}

impl SlotGivers {
    fn next(&mut self, may_be_busy: bool) -> Option<u64> {
        let busy = || may_be_busy.then(|| self.busy.pop_front()).flatten();
        self.read.pop_front().or_else(busy)
    }
}

/// Those that were found, by their numbers.
type FoundById<'a> = HashMap<FileId, &'a FoundFile>;

impl TailReader {
    /// Opens those that nobody follows yet, and those at rest that have something new, each in its turn.
    pub(super) fn share_slots(
        &mut self,
        found: &FoundFiles,
        by_id: &FoundById<'_>,
        may_read: bool,
    ) {
        let now = self.now;
        self.settle_down(by_id);
        self.look_for_moved(found);
        let before = std::mem::take(&mut self.waiting);
        let mut candidates = self.candidates(found, &before);
        candidates.sort_by_key(|(since, _)| *since);
        let mut givers = None;
        for (since, one) in candidates {
            if self.is_open(one.id) {
                // Under another name.
                continue;
            }
            let has_waited = now.saturating_duration_since(since) >= HOLDS;
            let mut has_slot = self.files.len() < self.slots;
            if !has_slot {
                let givers = givers.get_or_insert_with(|| self.givers(by_id));
                let giver = givers.next(may_read && has_waited);
                has_slot = giver.is_some_and(|number| self.rest(number, by_id));
            }
            let seen = before.get(&one.id).copied();
            if !has_slot {
                self.wait(one, since, seen);
                continue;
            }
            match file::open(&one.path) {
                Ok(file) => {
                    self.wake(one.id);
                    self.wake_original(&one.path, &file, one.length);
                    if seen.is_some_and(|seen| seen.is_cut_at(one.length)) {
                        self.was_cut(one);
                    }
                    self.follow(&one.path, file, now);
                }
                Err(error) => {
                    self.problems.push(unreadable(&one.path, &error));
                    self.unread.push(one.id);
                }
            }
        }
        let oldest = self.waiting.values().map(|one| one.since).min();
        if oldest.is_some_and(|since| now.saturating_duration_since(since) >= TOLD_AFTER) {
            self.problems.push(TailProblem::Waiting(self.waiting.len()));
        }
    }

    fn is_open(&self, id: FileId) -> bool {
        self.files.values().any(|file| file.done.id == id)
    }

    /// Places that are more than there are slots wait where their files are.
    fn settle_down(&mut self, by_id: &FoundById<'_>) {
        if self.known.len() <= self.slots {
            return;
        }
        for place in std::mem::take(&mut self.known) {
            let own = by_id.get(&place.id);
            match own.filter(|own| own.path == place.home && !self.resting.contains_key(&place.id))
            {
                Some(own) => {
                    let path = own.path.clone();
                    let one = RestingFile {
                        place,
                        path,
                        seen: None,
                    };
                    self.lay_down(one);
                }
                None => self.known.push(place),
            }
        }
    }

    fn lay_down(&mut self, one: RestingFile) {
        let one = Arc::new(one);
        self.rested.push(Arc::clone(&one));
        self.resting.insert(one.place.id, one);
    }

    /// Those at rest that are not where they were are looked for, as after a restart.
    fn look_for_moved(&mut self, found: &FoundFiles) {
        // Where there is nothing at all, its disk may not be there.
        if found.has_more || found.files.is_empty() || self.resting.is_empty() {
            return;
        }
        let at: HashMap<&Path, FileId> =
            found.files.iter().map(|one| (&*one.path, one.id)).collect();
        let is_there = |one: &RestingFile| at.get(&*one.path) == Some(&one.place.id);
        let moved = self.resting.iter().filter(|(_, one)| !is_there(one));
        let moved: Vec<FileId> = moved.map(|(id, _)| *id).take(MOST_LOOKED_FOR).collect();
        for id in moved {
            self.wake(id);
        }
    }

    /// Those that want a slot, each with since when.
    fn candidates<'a>(
        &mut self,
        found: &'a FoundFiles,
        before: &BTreeMap<FileId, WaitingFile>,
    ) -> Vec<(Instant, &'a FoundFile)> {
        let mut taken: BTreeSet<FileId> = self.files.values().map(|file| file.done.id).collect();
        let mut candidates = Vec::new();
        for one in &found.files {
            if !taken.insert(one.id) {
                continue;
            }
            if let Some(rest) = self.resting.get_mut(&one.id) {
                if rest.seen == Some((one.changed, one.length)) {
                    continue;
                }
                if rest.seen.is_some() {
                    let rest = Arc::make_mut(rest);
                    (rest.seen, rest.place.is_through) = (None, false);
                }
            }
            let since = before.get(&one.id).map_or(self.now, |one| one.since);
            candidates.push((since, one));
        }
        candidates
    }

    /// One that has no slot waits where it is; of one that was never opened is kept that it is there, as of any other.
    fn wait(&mut self, one: &FoundFile, since: Instant, before: Option<WaitingFile>) {
        let has_room = self.resting.len() + self.slots < MOST_ENTRIES;
        let is_known = || {
            let mut known = self.known.iter();
            self.resting.contains_key(&one.id) || known.any(|place| place.id == one.id)
        };
        if one.length > 0 && has_room && !is_known() {
            let place = ReadPlace {
                number: self.next,
                home: one.path.clone(),
                id: one.id,
                since: one.changed,
                is_through: false,
                mark: FileMark::default(),
            };
            self.next += 1;
            self.lay_down(RestingFile {
                place,
                path: one.path.clone(),
                seen: None,
            });
        }
        let was_cut = before.is_some_and(|before| before.is_cut_at(one.length));
        let length = one.length;
        let waiting = WaitingFile {
            since,
            length,
            was_cut,
        };
        self.waiting.insert(one.id, waiting);
    }

    /// One was cut while it waited: what it had is gone, unless there is a copy.
    fn was_cut(&mut self, one: &FoundFile) {
        let Some(place) = self.known.iter().find(|place| place.id == one.id) else {
            return;
        };
        if place.mark.offset > 0 {
            // Whether it is in a copy is looked for.
            self.unread_ones.insert(place.number);
        } else if search::rotated(&place.home, place.since).is_empty() {
            let file = pattern::shown(&one.path);
            tracing::warn!(
                file,
                "the file was cut while it waited to be read, and there is no copy of it: what it had is gone"
            );
            self.lost.push(self.topic_of(&place.home));
        }
    }

    fn givers(&self, by_id: &FoundById<'_>) -> SlotGivers {
        let others = self.files.values();
        let is_over = |before: &u64| !self.files.contains_key(before);
        let needed: BTreeSet<u64> = others
            .flat_map(|file| file.behind.into_iter().chain(file.twin.map(|twin| twin.of)))
            .collect();
        let may_rest = |file: &&FollowedFile| {
            let is_alone = file.behind.as_ref().is_none_or(is_over) && file.twin.is_none();
            let is_there = file.path.is_some() && file.gone.is_none();
            is_alone && is_there && !file.is_out_of_step() && !needed.contains(&file.number())
        };
        let is_read = |file: &&FollowedFile| {
            let own = by_id.get(&file.done.id);
            own.is_some_and(|own| file.is_read_to(own.length))
        };
        let files = self.files.values().filter(may_rest);
        let (mut read, mut busy): (Vec<_>, Vec<_>) = files.partition(is_read);
        read.sort_by_key(|file| file.read);
        busy.retain(|file| self.now.saturating_duration_since(file.opened) >= HOLDS);
        busy.sort_by_key(|file| file.opened);
        SlotGivers {
            read: read.into_iter().map(FollowedFile::number).collect(),
            busy: busy.into_iter().map(FollowedFile::number).collect(),
        }
    }

    /// Closes a file; whether there was room to know of it.
    fn rest(&mut self, number: u64, by_id: &FoundById<'_>) -> bool {
        if self.resting.len() >= MOST_ENTRIES {
            return false;
        }
        let Some(file) = self.files.remove(&number) else {
            return false;
        };
        let own = by_id.get(&file.done.id);
        let own = own.filter(|own| file.is_read_to(own.length));
        let is_through = own.is_some() && !file.is_within_frame();
        self.lay_down(RestingFile {
            seen: own.map(|own| (own.changed, own.length)),
            path: file.path.unwrap_or_else(|| file.done.home.clone()),
            place: ReadPlace {
                is_through,
                ..file.done
            },
        });
        true
    }

    /// One at rest is looked for, or opened, from now on.
    fn wake(&mut self, id: FileId) {
        if let Some(one) = self.resting.remove(&id) {
            if one.is_unread() {
                self.unread_ones.insert(one.place.number);
            }
            self.woken.push(one.place.number);
            self.known.push(one.place.clone());
        }
    }

    /// One at rest is to be read again from a place on.
    pub(super) fn stir(&mut self, place: &ReadPlace) -> bool {
        let mut resting = self.resting.values_mut();
        let own = resting.find(|one| one.place.number == place.number);
        own.is_some_and(|one| {
            let one = Arc::make_mut(one);
            (one.place, one.seen) = (place.clone(), None);
            true
        })
    }

    /// Opens the one at rest of which another one may be a copy: which of the two is about to be cut is seen then.
    fn wake_original(&mut self, path: &Path, copy: &File, length: u64) {
        if length == 0 || self.pattern.single().is_some() {
            return;
        }
        let Ok(mark) = FileMark::of(copy, length) else {
            return;
        };
        let aside = self.resting.values();
        let aside = aside.filter(|one| pattern::is_aside(&one.place.home, path));
        let original = aside.cloned().find_map(|one| {
            let file = file::open(&one.path).ok()?;
            let is_it = FileId::of(&file.metadata().ok()?) == one.place.id;
            let has_all = is_it && one.place.mark.is_on(&file).ok()? && mark.is_on(&file).ok()?;
            has_all.then_some((one, file))
        });
        if let Some((one, file)) = original {
            self.wake(one.place.id);
            self.follow(&one.path, file, self.now);
        }
    }
}
