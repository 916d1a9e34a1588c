//! Files that were read and are not there: by what one that comes, or comes back, is taken for one of them. Waits for the disk.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::followed::FollowedFile;
use super::mark::{FileId, ReadPlace};
use super::pattern;
use super::problem::TailProblem;
use super::reader::{TailReader, unreadable};
use super::rotation::KNOWN_BYTES;
use super::search;
use crate::file;

/// Places of files that are away which are kept, and how long: a medium is taken out, a folder is moved, and all of it comes back.
const MOST_AWAY: usize = 256;
const AWAY: Duration = Duration::from_hours(24);

impl TailReader {
    /// Closes a file that is read and was moved away. Whether its place is kept: it is while nothing else stands there.
    pub(super) fn lay_aside(&mut self, file: FollowedFile, now: Instant) -> bool {
        let about = file.file.metadata();
        let is_somewhere = about.is_ok_and(|about| about.nlink() > 0);
        let was_read = file.twin.is_none() && file.done.mark.offset > 0;
        let is_kept = is_somewhere && was_read && self.live(&file.done.home).is_none();
        if is_kept {
            let is_through = true;
            let place = ReadPlace {
                is_through,
                ..file.done
            };
            self.away.push_back((place, now));
        }
        is_kept
    }

    /// Forgets those that are away for too long.
    pub(super) fn forget_away(&mut self, now: Instant) {
        while let Some((place, since)) = self.away.front() {
            let is_late = now.saturating_duration_since(*since) >= AWAY;
            if !is_late && self.away.len() <= MOST_AWAY {
                return;
            }
            self.ended.push(place.number);
            self.away.pop_front();
        }
    }

    /// One that may have been away is there, or something else is in its place: it is looked for again.
    pub(super) fn come_back(&mut self, path: &Path, file: &File, id: FileId) {
        // On a medium that was taken out and is back, which has another number then.
        let is_again = |one: &FollowedFile| {
            let is_named = one.done.home.file_name() == path.file_name();
            let may_be = one.path.is_none() && one.done.id.inode == id.inode && is_named;
            may_be && one.done.mark.offset > 0 && one.done.mark.is_on(file).unwrap_or_default()
        };
        let again = self.files.extract_if(.., |_, one| is_again(one));
        self.known.extend(again.map(|(_, one)| one.done));
        for (place, since) in std::mem::take(&mut self.away) {
            let is_its_place = place.home == path;
            if is_its_place || likeness(&place, path, id).is_some() {
                self.known.push(place);
            } else {
                self.away.push_back((place, since));
            }
        }
    }

    /// Why the file of a place, which is there, is not known to be that: it cannot be opened.
    pub(super) fn barred(&self, place: &ReadPlace) -> Option<TailProblem> {
        let beside = search::beside(&place.home);
        let mut own = beside
            .into_iter()
            .filter(|one| one.id.inode == place.id.inode && !self.is_followed(one.id));
        own.find_map(|one| {
            let error = file::open(&one.path).err()?;
            let is_gone = error.kind() == ErrorKind::NotFound;
            (!is_gone).then(|| unreadable(&one.path, &error))
        })
    }

    /// Which of the known places may be that of a file.
    pub(super) fn known_as(&self, path: &Path, id: FileId) -> Option<usize> {
        let known = self.known.iter().enumerate();
        let alike = known.filter_map(|(at, place)| Some((likeness(place, path, id)?, at)));
        alike.min().map(|(_, at)| at)
    }
}

/// How like the file of a place another one is, the least first, if it may be that one: by the file system's number, or, where that of its
/// medium is another one or not noted, by the file's own number and its name. A number is given to another file once one is deleted: under
/// another name it counts where what was read is long enough to be the file's own.
fn likeness(place: &ReadPlace, path: &Path, id: FileId) -> Option<(bool, bool)> {
    let home = &place.home;
    let is_named = pattern::is_named_after(home, path);
    let may_be = match place.id == id {
        true => is_named || place.mark.offset >= KNOWN_BYTES,
        false => is_named && place.id.inode == id.inode,
    };
    may_be.then(|| (place.id != id, home.file_name() != path.file_name()))
}
