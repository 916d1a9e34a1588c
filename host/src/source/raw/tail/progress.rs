//! How far a file is safe: what was read of it, in its order, and what of that is settled. Pure.

use std::collections::VecDeque;

use super::mark::ReadPlace;

/// What was read together, up to a place.
#[derive(Debug)]
struct ReadStretch {
    end: ReadPlace,
    /// Messages of it that are not settled.
    open: usize,
}

#[derive(Debug)]
pub(super) struct FileProgress {
    /// Up to here all is settled.
    settled: ReadPlace,
    stretches: VecDeque<ReadStretch>,
    /// The number of the first of them; the next ones follow it.
    first: u64,
}

impl FileProgress {
    pub(super) fn from(place: ReadPlace) -> Self {
        Self {
            settled: place,
            stretches: VecDeque::new(),
            first: 0,
        }
    }

    /// The number that the next stretch has.
    pub(super) fn next(&self) -> u64 {
        self.first + self.stretches.len() as u64
    }

    /// A stretch up to `end`, of which so many messages are under way.
    pub(super) fn read(&mut self, end: ReadPlace, open: usize) {
        self.stretches.push_back(ReadStretch { end, open });
    }

    /// A message of that stretch is settled.
    pub(super) fn settle(&mut self, stretch: u64) {
        let place = stretch.checked_sub(self.first);
        let place = place.and_then(|place| usize::try_from(place).ok());
        if let Some(stretch) = place.and_then(|place| self.stretches.get_mut(place)) {
            stretch.open = stretch.open.saturating_sub(1);
        }
    }

    /// Up to where it is safe, if that is further than when this was last asked.
    pub(super) fn advance(&mut self) -> Option<&ReadPlace> {
        let mut is_further = false;
        while let Some(done) = self.stretches.pop_front_if(|stretch| stretch.open == 0) {
            self.first += 1;
            self.settled = done.end;
            is_further = true;
        }
        is_further.then_some(&self.settled)
    }

    /// Whether all that was read is settled.
    pub(super) fn is_settled(&self) -> bool {
        self.stretches.is_empty()
    }

    /// Whether a stretch has messages under way, none of which is among those of which `is_alive` knows.
    pub(super) fn has_lost(&self, is_alive: impl Fn(u64) -> bool) -> bool {
        let mut stretches = (self.first..).zip(&self.stretches);
        stretches.any(|(number, stretch)| stretch.open > 0 && !is_alive(number))
    }

    /// Forgets what is not settled: from where it is to be read again.
    pub(super) fn go_back(&mut self) -> &ReadPlace {
        self.first = self.next();
        self.stretches.clear();
        &self.settled
    }
}

#[cfg(test)]
mod tests {
    use super::super::mark::{FileId, FileMark};
    use super::*;

    fn place(offset: u64) -> ReadPlace {
        ReadPlace {
            number: 1,
            home: std::path::PathBuf::new(),
            id: FileId {
                device: Some(1),
                inode: 1,
            },
            since: (0, 0),
            is_through: false,
            mark: FileMark {
                offset,
                ..FileMark::default()
            },
        }
    }

    #[test]
    fn a_place_is_safe_once_all_before_it_is_settled() {
        let mut progress = FileProgress::from(place(0));
        for (end, open) in [(10, 2), (20, 1), (30, 0)] {
            progress.read(place(end), open);
        }
        assert_eq!(progress.advance(), None);
        progress.settle(1);
        progress.settle(0);
        assert_eq!(progress.advance(), None);
        progress.settle(0);
        assert_eq!(progress.advance(), Some(&place(30)));
        assert!(progress.is_settled() && progress.advance().is_none() && progress.next() == 3);
    }

    #[test]
    fn what_was_lost_inside_is_read_again_and_what_settles_late_counts_for_nothing() {
        let mut progress = FileProgress::from(place(0));
        progress.read(place(10), 1);
        progress.settle(0);
        assert_eq!(progress.advance(), Some(&place(10)));
        progress.read(place(20), 1);
        progress.read(place(30), 1);
        assert!(!progress.has_lost(|_| true) && progress.has_lost(|stretch| stretch == 2));
        assert_eq!(progress.go_back(), &place(10));
        assert!(progress.next() == 3 && progress.is_settled());
        progress.read(place(20), 1);
        progress.settle(1);
        assert_eq!(progress.advance(), None);
        progress.settle(3);
        assert_eq!(progress.advance(), Some(&place(20)));
    }
}
