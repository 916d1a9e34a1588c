//! What is known of files at rest, and when that is noted. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::mark::ReadPlace;
use super::slot::RestingFile;

/// How often they are noted, if there are others all the time.
const NOTE_EVERY: Duration = Duration::from_secs(30);
/// The same where some were never opened, of which nothing else is noted: the first of them are noted before anything is read.
const NOTE_UNREAD: Duration = Duration::from_secs(2);
/// So many that are not noted are noted at once: until then the other notes have them, which are written more often.
const MOST_UNNOTED: usize = 384;

/// Files at rest, by their numbers.
#[derive(Debug)]
pub(super) struct FilesAtRest {
    all: BTreeMap<u64, Arc<RestingFile>>,
    /// Since when they are others than those that are noted.
    changed: Option<Instant>,
    tried: Instant,
    /// Some that are not noted were never opened.
    has_unread: bool,
}

impl FilesAtRest {
    pub(super) fn from<'a>(all: impl Iterator<Item = &'a Arc<RestingFile>>, now: Instant) -> Self {
        let by_number = |one: &Arc<RestingFile>| (one.place.number, Arc::clone(one));
        Self {
            all: all.map(by_number).collect(),
            changed: None,
            tried: now.checked_sub(NOTE_UNREAD).unwrap_or(now),
            has_unread: false,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    pub(super) fn put(&mut self, one: Arc<RestingFile>, now: Instant) {
        self.has_unread |= one.is_unread();
        self.all.insert(one.place.number, one);
        self.changed.get_or_insert(now);
    }

    /// One is at rest no more: what was known of it.
    pub(super) fn take(&mut self, number: u64, now: Instant) -> Option<Arc<RestingFile>> {
        let one = self.all.remove(&number)?;
        self.changed.get_or_insert(now);
        Some(one)
    }

    /// One is to be read again from a place on.
    pub(super) fn go_back(&mut self, place: &ReadPlace) {
        if let Some(one) = self.all.get_mut(&place.number) {
            let one = Arc::make_mut(one);
            (one.place, one.seen) = (place.clone(), None);
        }
    }

    /// All of which `is_safe` holds, where it is time to note them; `unnoted` of these are not.
    pub(super) fn due(
        &mut self,
        unnoted: usize,
        is_safe: impl Fn(u64) -> bool,
        (is_last, now): (bool, Instant),
    ) -> Option<Vec<Arc<RestingFile>>> {
        let changed = self.changed?;
        let is_over = |since: Instant, time| now.saturating_duration_since(since) >= time;
        let is_late = is_over(changed.max(self.tried), NOTE_EVERY)
            || (self.has_unread && is_over(self.tried, NOTE_UNREAD));
        let is_pressed = unnoted >= MOST_UNNOTED && changed >= self.tried;
        if !(is_last || is_late || is_pressed) {
            return None;
        }
        (self.changed, self.tried, self.has_unread) = (None, now, false);
        let safe = self.all.iter().filter(|(number, _)| is_safe(**number));
        Some(safe.map(|(_, one)| Arc::clone(one)).collect())
    }

    /// It was not noted.
    pub(super) fn failed(&mut self, now: Instant) {
        self.changed.get_or_insert(now);
        self.tried = now;
    }

    /// Whether it is at rest as it is here.
    pub(super) fn has(&self, one: &RestingFile) -> bool {
        let own = self.all.get(&one.place.number);
        own.is_some_and(|own| **own == *one)
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.all.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::mark::{FileId, FileMark};
    use super::*;

    fn never_opened(number: u64) -> Arc<RestingFile> {
        let place = ReadPlace {
            number,
            home: PathBuf::from("/log/a"),
            id: FileId {
                device: Some(1),
                inode: number,
            },
            since: (0, 0),
            is_through: false,
            mark: FileMark::default(),
        };
        Arc::new(RestingFile {
            path: place.home.clone(),
            place,
            seen: None,
        })
    }

    #[test]
    fn the_first_that_were_never_opened_are_noted_at_once_and_later_ones_soon() {
        let start = Instant::now();
        let mut rests = FilesAtRest::from(std::iter::empty(), start);
        let due = |rests: &mut FilesAtRest, now| {
            let due = rests.due(0, |_| true, (false, now));
            due.map(|due| due.len())
        };
        assert_eq!(due(&mut rests, start), None);
        rests.put(never_opened(1), start);
        assert_eq!(due(&mut rests, start), Some(1));
        rests.put(never_opened(2), start);
        assert_eq!(due(&mut rests, start + NOTE_UNREAD / 2), None);
        assert_eq!(due(&mut rests, start + NOTE_UNREAD), Some(2));
        // Of those that were read the other notes tell.
        let read = RestingFile {
            seen: Some(((0, 0), 5)),
            ..(*never_opened(3)).clone()
        };
        rests.put(Arc::new(read), start + NOTE_UNREAD);
        assert_eq!(due(&mut rests, start + 4 * NOTE_UNREAD), None);
        assert_eq!(due(&mut rests, start + NOTE_UNREAD + NOTE_EVERY), Some(3));
    }
}
