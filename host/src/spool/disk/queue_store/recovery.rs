//! What a queue owes is found out at an opening.

use std::ops::Range;

use crate::message::Seq;
use crate::spool::disk::chunk::Extent;
use crate::spool::disk::error::StoreError;
use crate::spool::disk::index::{IndexResult, guarded};
use crate::spool::disk::log::located::Position;
use crate::spool::disk::mark::{MARK, QueueMark, decode_mark, encode_mark};
use crate::spool::disk::queue_store::places::{IndexEntry, QueueIndex, key, located};
use crate::spool::disk::queue_store::{NUMBER, POSITION, QueueStore};
use crate::spool::lock::locked;

/// What the index says of itself.
struct Noted {
    mark: Option<QueueMark>,
    /// Number of the last batch of the records that it knows of.
    number: u64,
    /// All before it is in the index.
    position: Option<Position>,
}

impl QueueStore {
    /// Finds out what is owed: what the index says, and what was written behind that; `newer` knows what was accepted
    /// since, what must be there, and whether it knows that of all. An index that is gone, or that does not know of the
    /// records' batch `number`, is made up from the files; before `floor` nothing was owed then.
    pub(crate) fn recover(
        &self,
        (number, floor): (u64, Seq),
        newer: impl FnOnce(QueueMark) -> (QueueMark, bool),
    ) -> Result<Recovered, StoreError> {
        let noted = self.noted()?;
        self.log.follow(noted.position.unwrap_or(Position::START));
        let position = noted.position.filter(|_| noted.number >= number);
        let entries = guarded(|| {
            self.tree
                .range(key(Seq::FIRST)..=key(Seq::END))
                .collect::<IndexResult<Vec<IndexEntry>>>()
        })?;
        let usable = entries.iter().filter(|_| position.is_some());
        let mut index = QueueIndex::of(usable.filter_map(|(key, value)| located(key, value)));
        let mut end = noted
            .mark
            .map_or(Seq::FIRST, |mark| mark.end)
            .max(index.end());
        let (grown, is_rebuilt) = self.take_what_follows(position, &mut index, &mut end);
        let told = told(noted.mark, &index, end, floor);
        let (mark, is_exact) = newer(QueueMark {
            end,
            owed: told.owed + grown,
            ..told
        });
        let end = end.max(mark.end);
        let low = index.pass(mark.low);
        // As it was told, or else as far as the index can tell.
        let owed = match noted.mark.filter(|_| position.is_some()) {
            _ if is_exact => mark.owed,
            Some(_) if low == told.low => mark.owed,
            Some(_) => mark.owed.min(index.owed(low) + self.known_missing(low)),
            None => index.owed(low) + self.known_missing(low),
        };
        let mark = QueueMark {
            low,
            end,
            owed,
            bytes: index.bytes(),
            ..mark
        };
        self.log.adopt(index.0.values(), end);
        let mut batch = index.batch(&entries);
        batch.insert(MARK, encode_mark(mark));
        batch.insert(POSITION, self.log.position().encode());
        batch.insert(NUMBER, &number.max(noted.number).to_be_bytes());
        guarded(|| self.tree.apply_batch(batch))?;
        Ok(Recovered {
            mark,
            first: index.0.values().next().map(|found| found.extent),
            is_rebuilt,
        })
    }

    fn noted(&self) -> Result<Noted, StoreError> {
        let mark = guarded(|| self.tree.get(MARK))?;
        let number: Option<[u8; 8]> =
            guarded(|| self.tree.get(NUMBER))?.and_then(|value| value.as_ref().try_into().ok());
        let position = guarded(|| self.tree.get(POSITION))?;
        Ok(Noted {
            mark: mark.as_deref().and_then(decode_mark),
            number: number.map_or(0, u64::from_be_bytes),
            position: position.as_deref().and_then(Position::decode),
        })
    }

    /// Takes up what was written behind `position`, or all of it where the index cannot be used. Answers the messages that
    /// came with it, and whether the index is made up from the files.
    fn take_what_follows(
        &self,
        position: Option<Position>,
        index: &mut QueueIndex,
        end: &mut Seq,
    ) -> (u64, bool) {
        let behind = self.log.since(position.unwrap_or(Position::START));
        let is_rebuilt = position.is_none() && !behind.chunks.is_empty();
        let mut grown = 0;
        for found in behind.chunks {
            // What was written anew in the middle of a queue is only known to be meant by the index.
            if position.is_some() && found.extent.first < *end {
                continue;
            }
            grown += u64::from(found.count);
            *end = (*end).max(found.extent.end);
            index.put(found);
        }
        // What was safe and is not there is missing.
        *end = (*end).max(behind.end);
        if position.is_some() {
            grown += behind.missing.iter().map(|(_, count)| *count).sum::<u64>();
        }
        self.miss(behind.missing);
        (grown, is_rebuilt)
    }

    pub(super) fn miss(&self, places: Vec<(Range<Seq>, u64)>) {
        let mut missing = locked(&self.missing);
        for place in places {
            if !missing.contains(&place) {
                missing.push(place);
            }
        }
    }

    pub(super) fn known_missing(&self, low: Seq) -> u64 {
        locked(&self.missing)
            .iter()
            .filter(|(places, _)| places.end > low)
            .map(|(_, count)| *count)
            .sum()
    }
}

/// What was found of a queue.
pub(crate) struct Recovered {
    pub mark: QueueMark,
    pub first: Option<Extent>,
    /// The index was gone or behind, and was made up from the files.
    pub is_rebuilt: bool,
}

/// What the index was told. Where nothing was owed, what is owed now begins with the first chunk.
fn told(noted: Option<QueueMark>, index: &QueueIndex, end: Seq, floor: Seq) -> QueueMark {
    let told = noted.filter(|mark| mark.low < mark.end).unwrap_or_else(|| {
        let before = noted.unwrap_or_default();
        QueueMark {
            low: index.start().unwrap_or(end).max(before.low),
            owed: 0,
            ..before
        }
    });
    QueueMark {
        low: told.low.max(floor.min(end)),
        ..told
    }
}
