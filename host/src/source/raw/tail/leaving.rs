//! The end of a source of files, as its reader sees it: what is gone once it is closed is read before, and the rest is left to whoever
//! comes next. Waits for the disk.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::followed::{FileStep, FollowedFile};
use super::handover::{LeftFiles, TailNext};
use super::mark::ReadPlace;
use super::pattern::shown;
use super::reader::{CHUNK_BYTES, TURN_BYTES, TailReader, TailTurn};

/// The rest of a deleted file that nobody reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GivenUp {
    pub(super) file: String,
    pub(super) topic: Bytes,
    pub(super) bytes: u64,
    /// Frames that they make; 0 where that is not known.
    pub(super) frames: u64,
}

impl TailReader {
    /// Files that are gone once they are closed, and that nobody goes on with.
    fn last_ones(&self, next: &TailNext) -> Vec<u64> {
        let is_last = |file: &&FollowedFile| {
            file.twin.is_none() && !next.takes(&file.done) && file.is_deleted()
        };
        let files = self.files.values().filter(is_last);
        files.map(FollowedFile::number).collect()
    }

    /// Reads on in these, and ends with each that is read.
    pub(super) fn read_last(&mut self, turn: &mut TailTurn, next: &TailNext, may_read: bool) {
        let mut left = if may_read { TURN_BYTES } else { 0 };
        let numbers = self.last_ones(next);
        turn.rest = numbers.len();
        for number in &numbers {
            // Those that it comes behind are ended with first.
            let before = self.files.get(number).and_then(|file| file.behind);
            let is_next = before.is_none_or(|before| {
                !(numbers.contains(&before) && self.files.contains_key(&before))
            });
            let Some(file) = self.files.get_mut(number).filter(|_| left > 0 && is_next) else {
                continue;
            };
            match file.step(CHUNK_BYTES.min(left)) {
                Ok(FileStep::Read(chunk)) if !file.is_out_of_step() => {
                    left = left.saturating_sub(CHUNK_BYTES);
                    turn.chunks.push(*chunk);
                }
                Ok(_) => {
                    turn.chunks.push(file.end());
                    turn.ended.push(*number);
                    self.files.remove(number);
                    turn.rest -= 1;
                }
                // It is given up, and so counted.
                Err(_) => turn.rest -= 1,
            }
        }
        turn.is_busy = turn.rest > 0;
    }

    /// Closes those of them that were not read.
    pub(super) fn give_up(&mut self, next: &TailNext) -> Vec<GivenUp> {
        let numbers = self.last_ones(next);
        let files = numbers
            .iter()
            .filter_map(|number| self.files.remove(number));
        let given_up = |file: FollowedFile| {
            let (home, topic) = (shown(&file.done.home), file.topic.clone());
            let (bytes, frames) = file.count_rest().unwrap_or_default();
            (bytes > 0).then_some(GivenUp {
                file: home,
                topic,
                bytes,
                frames,
            })
        };
        files.filter_map(given_up).collect()
    }

    /// Leaves what is open to whoever comes next, who goes on from these places.
    pub(super) fn leave(&mut self, places: BTreeMap<u64, ReadPlace>) -> LeftFiles {
        LeftFiles {
            files: std::mem::take(&mut self.files),
            places,
            resting: std::mem::take(&mut self.resting),
            away: std::mem::take(&mut self.away),
            next: self.next,
        }
    }

    /// Goes on with what another one has left: of each file from where it is safe on.
    pub(super) fn take_over(&mut self, left: LeftFiles) {
        for (number, before) in left.files {
            let Some(at) = self.known.iter().position(|place| place.number == number) else {
                continue;
            };
            let place = self.known.swap_remove(at);
            let mut file = self.file_from(before.file, place);
            (file.path, file.gone) = (before.path, before.gone);
            (file.behind, file.twin) = (before.behind, before.twin);
            (file.looked_for, file.seen) = (before.looked_for, before.seen);
            self.files.insert(number, file);
        }
        for (id, one) in left.resting {
            if self.pattern.covers(&one.place.home) {
                let number = one.place.number;
                self.known.retain(|place| place.number != number);
                self.resting.insert(id, one);
            }
        }
        for (place, since) in left.away {
            if self.pattern.covers(&place.home) {
                self.known.retain(|known| known.number != place.number);
                self.away.push_back((place, since));
            }
        }
        self.next = self.next.max(left.next);
    }
}
