//! Which file is the rest of which: renamed, copied and cut, or replaced, under our eyes or while nobody looked. Waits for the disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::followed::{COPY, FileTwin, FollowedFile};
use super::mark::{FileId, FileMark, ReadPlace};
use super::pattern;
use super::reader::{TailReader, TailTurn};
use super::search::{self, FoundFile};
use super::slot::MOST_ASIDE;
use crate::file;

/// Bytes by which a file is known again that the file system gives another number, or that has another name.
pub(super) const KNOWN_BYTES: u64 = 1 << 10;

impl TailReader {
    /// The file of which another one is a copy by its name, and as all of it stands at the beginning of that one. While that one is as it was
    /// the copy is not read for a while: it may be about to be cut.
    pub(super) fn twin_of(
        &self,
        path: &Path,
        file: &File,
        length: u64,
        now: Instant,
    ) -> Option<FileTwin> {
        let may_be = length > 0 && self.pattern.single().is_none();
        let mark = FileMark::of(file, length).ok().filter(|_| may_be)?;
        let is_original = |other: &FollowedFile| {
            // What takes the place of another one is no copy of it, and what has a name of its own has a content of its own.
            let is_aside = pattern::is_aside(&other.done.home, path);
            is_aside
                && other.twin.is_none()
                && other.is_intact()
                && mark.is_on(&other.file).unwrap_or_default()
        };
        let found = self.files.iter().find(|(_, other)| is_original(other));
        found.map(|(number, _)| FileTwin {
            of: *number,
            until: now + COPY,
        })
    }

    /// Begins with those that were taken for copies and are none, or are for too long.
    pub(super) fn part_twins(&mut self, now: Instant) {
        let is_twin = |file: &FollowedFile, twin: FileTwin| {
            let Some(original) = self.files.get(&twin.of) else {
                return false;
            };
            let length = file.file.metadata().map(|about| about.len());
            let mark = length.and_then(|length| FileMark::of(&file.file, length));
            // That it was cut is found out when it is read.
            let is_on = || mark.and_then(|mark| mark.is_on(&original.file));
            !original.is_intact() || now < twin.until && is_on().unwrap_or_default()
        };
        let parted: Vec<u64> = self
            .files
            .values()
            .filter(|file| file.twin.is_some_and(|twin| !is_twin(file, twin)))
            .map(FollowedFile::number)
            .collect();
        for number in parted {
            if let Some(file) = self.files.get_mut(&number) {
                file.twin = None;
            }
        }
    }

    /// A file was cut, or written anew in its place: the rest of what it had is read out of a copy, if there is one, and then what it has now.
    pub(super) fn rewritten(&mut self, number: u64, turn: &mut TailTurn) {
        let Some(mut before) = self.files.remove(&number) else {
            return;
        };
        let place = before.done.clone();
        let copy = self.copy(&place);
        if let Some(copy) = copy.and_then(|copy| self.files.get_mut(&copy)) {
            copy.behind = before.behind;
        } else {
            turn.chunks.push(before.end());
            let file = pattern::shown(&place.home);
            if before.had_more() {
                tracing::warn!(
                    file,
                    read = place.mark.offset,
                    "the file was cut before all of it was read, and there is no copy of it: the rest is gone"
                );
                self.lost.push(before.topic.clone());
            } else {
                tracing::info!(
                    file,
                    read = place.mark.offset,
                    "the file was cut, and there is no copy of it: it is read from its beginning"
                );
            }
        }
        turn.ended.push(number);
        self.next += 1;
        let anew = ReadPlace {
            mark: FileMark::default(),
            since: before.changed,
            ..place.with(self.next - 1, place.id)
        };
        let mut file = self.file_from(before.file, anew);
        // It may have been cut more than once.
        file.looked_for = (0, 0);
        file.path = before.path;
        file.gone = before.gone;
        file.behind = copy.or(before.behind);
        // Whoever waited for what it was waits for what came of it.
        for other in self.files.values_mut() {
            other.behind = match other.behind {
                Some(of) if of == number => Some(file.number()),
                behind => behind,
            };
        }
        self.begin(file);
    }

    /// Goes on in a copy of what was read up to a place, and with which number.
    fn copy(&mut self, place: &ReadPlace) -> Option<u64> {
        if place.mark.offset == 0 {
            return None;
        }
        // One that came just now, of which nothing was read.
        let is_copy = |file: &&FollowedFile| {
            let is_new = file.done.mark.offset == 0 && file.done.id != place.id;
            let is_twin = file.twin.is_none_or(|twin| twin.of == place.number);
            let is_aside = pattern::is_aside(&place.home, &at(file));
            is_new && is_twin && is_aside && place.mark.is_on(&file.file).unwrap_or_default()
        };
        let copy = self.files.values().find(is_copy).map(FollowedFile::number);
        if let Some(copy) = copy.and_then(|number| self.files.remove(&number)) {
            self.ended.push(copy.number());
            self.next += 1;
            let own = place.with(self.next - 1, copy.done.id);
            return Some(self.go_on(copy.file, (copy.path, copy.gone), own, None));
        }
        let (path, file) = self.siblings(place).into_iter().find_map(|one| {
            let file = file::open(&one.path).ok()?;
            place
                .mark
                .is_on(&file)
                .unwrap_or_default()
                .then_some((one.path, file))
        })?;
        let id = FileId::of(&file.metadata().ok()?);
        self.next += 1;
        let own = place.with(self.next - 1, id);
        Some(self.go_on(file, (Some(path), None), own, None))
    }

    pub(super) fn is_followed(&self, id: FileId) -> bool {
        let is_at_rest = self.resting.get(&id).is_some_and(|one| !one.is_unread());
        is_at_rest || self.files.values().any(|file| file.done.id == id)
    }

    /// Files beside one that nobody follows and that may be rotations of it, the newest first.
    fn siblings(&self, place: &ReadPlace) -> Vec<FoundFile> {
        let found = search::beside(&place.home);
        let others = found.into_iter();
        others
            .filter(|one| one.id != place.id && !self.is_followed(one.id))
            .collect()
    }

    /// Reads a file from a place on that is not its beginning; its number.
    fn go_on(
        &mut self,
        file: File,
        (path, gone): (Option<PathBuf>, Option<Instant>),
        place: ReadPlace,
        behind: Option<u64>,
    ) -> u64 {
        let number = place.number;
        let mut copy = self.file_from(file, place);
        (copy.path, copy.gone, copy.behind) = (path, gone, behind);
        self.begin(copy);
        number
    }

    /// Looks for what was read before and is not where it was: it was renamed, or copied and cut, while nobody looked.
    pub(super) fn find_known(&mut self, now: Instant, is_there: bool) {
        let mut found = BTreeMap::<PathBuf, ReadPlace>::new();
        self.known.sort_by_key(|place| place.number);
        for place in std::mem::take(&mut self.known) {
            if self.unread.iter().any(|id| id.inode == place.id.inode) {
                self.known.push(place);
                continue;
            }
            if self.files.len() >= self.slots + MOST_ASIDE {
                self.known.push(place);
                continue;
            }
            if place.mark.offset == 0 && self.is_followed(place.id) {
                // It was found to be the rest of another one, and is read as that.
                self.unread_ones.remove(&place.number);
                self.ended.push(place.number);
                continue;
            }
            if let Some(problem) = self.barred(&place) {
                self.problems.push(problem);
                self.known.push(place);
                continue;
            }
            let Some((path, file)) = self.find(&place) else {
                self.not_found(place, is_there);
                continue;
            };
            let Ok(about) = file.metadata() else { continue };
            self.unread_ones.remove(&place.number);
            let own = place.with(place.number, FileId::of(&about));
            let mut before = found.get(&place.home).map(|before| before.number);
            if place.mark.offset == 0 {
                // It may have been cut before it was renamed.
                before = self.find_missed(&own, before, Some((about.mtime(), about.mtime_nsec())));
            }
            self.go_on(file, (Some(path), Some(now)), own, before);
            found.insert(place.home.clone(), place);
        }
        for (home, place) in found {
            let live = self.live(&home);
            let live = live.and_then(|number| self.files.get(&number));
            // What stands in its place now, and was not known, comes behind, and what stood there in between.
            if let Some(new) = live.filter(|file| file.done.mark.offset == 0) {
                let new = new.number();
                let last = self.find_missed(&place, Some(place.number), None);
                if let Some(file) = self.files.get_mut(&new) {
                    file.behind = last;
                }
            } else if live.is_none() {
                self.find_missed(&place, Some(place.number), None);
            }
        }
    }

    fn not_found(&mut self, place: ReadPlace, is_there: bool) {
        // While there is nothing at all, its disk may not be there yet.
        if !is_there {
            return self.known.push(place);
        }
        self.ended.push(place.number);
        let is_another_s = self.is_followed(place.id);
        let was_unread = self.unread_ones.remove(&place.number);
        if (place.mark.offset > 0 && !place.is_through && !is_another_s) || was_unread {
            let (file, read) = (pattern::shown(&place.home), place.mark.offset);
            tracing::warn!(
                file,
                read,
                "the file is not there any more: what it had behind what was read is not known"
            );
            self.lost.push(self.topic_of(&place.home));
        }
    }

    /// The last of those that were found at a path, behind which none of the others comes.
    pub(super) fn last_of(&self, home: &Path) -> Option<u64> {
        let own = || self.files.values().filter(|file| file.done.home == home);
        let is_last = |number: &u64| own().all(|file| file.behind != Some(*number));
        own().map(FollowedFile::number).filter(is_last).max()
    }

    /// The file that stands at a path.
    pub(super) fn live(&self, path: &Path) -> Option<u64> {
        let mut files = self.files.values();
        let live = files.find(|file| file.path.as_deref() == Some(path));
        live.map(FollowedFile::number)
    }

    /// Begins with what stood in the place of a file since that was there, was renamed or copied in its turn, and was never seen; where it is
    /// said, what changed `until` then. They are read behind `before` and one behind the other. The last of them.
    pub(super) fn find_missed(
        &mut self,
        place: &ReadPlace,
        mut before: Option<u64>,
        until: Option<(i64, i64)>,
    ) -> Option<u64> {
        for one in search::rotated(&place.home, place.since) {
            // One that fits is a file of its own.
            let is_own_s = one
                .path
                .file_name()
                .is_some_and(|name| self.pattern.fits(name));
            let is_it = until.is_some() && one.id == place.id;
            if is_own_s
                || is_it
                || self.is_followed(one.id)
                || until.is_some_and(|until| one.changed > until)
            {
                continue;
            }
            let opened = file::open(&one.path);
            let about = opened.as_ref().ok().and_then(|file| file.metadata().ok());
            let (Ok(file), Some(about)) = (opened, about) else {
                continue;
            };
            let own = self.new_place(&place.home, &about);
            let mut file = self.file_from(file, own);
            file.behind = before.replace(file.number());
            self.begin(file);
        }
        before
    }

    /// Whether others stood in the place of a file of which nothing was read before its content became another one.
    pub(super) fn comes_behind(&mut self, number: u64) -> bool {
        let Some(file) = self.files.get_mut(&number) else {
            return false;
        };
        if !file.is_beginning() {
            return false;
        }
        let (place, before, until) = (file.done.clone(), file.behind, Some(file.looked_for));
        let last = self.find_missed(&place, before, until);
        if let Some(file) = self.files.get_mut(&number) {
            file.behind = last;
        }
        last != before
    }

    fn find(&mut self, place: &ReadPlace) -> Option<(PathBuf, File)> {
        let is_it = |file: &File| place.mark.is_on(file).unwrap_or_default();
        let mut files = self.files.values();
        let was_cut = files.any(|file| file.done.id.inode == place.id.inode);
        // One under another number that would have been read from its beginning is known by its content, if that is long enough to be its own.
        let may_be = was_cut || place.mark.offset >= KNOWN_BYTES;
        let may_be = may_be && place.mark.offset > 0;
        // Or it is a copy that was begun further on, as what it has before that was not safe.
        let home = &place.home;
        let is_rest = |file: &FollowedFile| match file.done.mark.offset {
            0 => may_be && pattern::is_named_after(home, &at(file)),
            begun => file.done.home == place.home && begun >= place.mark.offset,
        };
        let mut others = self
            .files
            .values()
            .filter(|file| place.mark.offset > 0 && file.done.id != place.id && is_rest(file));
        let begun = others.find(|file| is_it(&file.file));
        if let Some(number) = begun.map(FollowedFile::number) {
            let file = self.files.remove(&number)?;
            self.ended.push(number);
            return Some((file.path.unwrap_or_default(), file.file));
        }
        let siblings = search::beside(home);
        let (own, others): (Vec<_>, Vec<_>) = siblings
            .into_iter()
            .partition(|one| one.id.inode == place.id.inode);
        // Of one of which nothing was read there is but its number.
        let others = others.into_iter().filter(|_| place.mark.offset > 0);
        own.into_iter().chain(others).find_map(|one| {
            let file = file::open(&one.path)
                .ok()
                .filter(|_| !self.is_followed(one.id))?;
            is_it(&file).then_some((one.path, file))
        })
    }

    /// What was read behind a place was lost inside: it is read again.
    pub(super) fn go_back(&mut self, place: ReadPlace) {
        if self.stir(&place) {
            return;
        }
        let own = self
            .files
            .remove(&place.number)
            .map(|file| (file.file, (file.path, file.gone), file.behind));
        let Some((file, (path, gone), behind)) = own else {
            // It was cut or given up since; a copy may have it.
            self.copy(&place);
            return;
        };
        let number = place.number;
        let mut again = self.file_from(file, place);
        (again.path, again.gone, again.behind) = (path, gone, behind);
        self.files.insert(number, again);
    }
}

/// Where a file is, or was found.
fn at(file: &FollowedFile) -> PathBuf {
    let home = || file.done.home.clone();
    file.path.clone().unwrap_or_else(home)
}
