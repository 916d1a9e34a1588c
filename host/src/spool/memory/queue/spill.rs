//! The side of the disk: what a spill takes, what a commit changes, what reading teaches, what is lost.

use std::collections::VecDeque;
use std::ops::Range;

use crate::clock::RunningTime;
use crate::message::{Message, Seq, Wait};
use crate::spool::disk::chunk::Extent;
use crate::spool::disk::mark::QueueMark;
use crate::spool::memory::queue::Queue;
use crate::spool::memory::queue::head::HeadMessage;
use crate::spool::memory::ranges::Ranges;

/// A message on its way to disk.
pub(crate) struct Copied {
    pub place: Seq,
    pub message: Message,
    /// When it came into the queue.
    pub since: RunningTime,
    /// It is entered as refused, expired or given up by hand already: nothing else may enter it, too.
    pub is_barred: bool,
}

impl Queue {
    /// Clones messages of `part` for a spill, at most `max` and about `max_bytes`; answers where to go on.
    pub(crate) fn copy(
        &self,
        part: Range<Seq>,
        max: usize,
        max_bytes: usize,
        into: &mut Vec<Copied>,
    ) -> Seq {
        let mut place = part.start.max(self.head.start());
        let mut bytes = 0;
        let mut walked = 0;
        while place < part.end.min(self.next()) && walked < max && bytes < max_bytes {
            let Some(held) = self.head.get(place) else {
                break;
            };
            if let Some(message) = &held.message {
                bytes += message.weight();
                let is_barred = self.barred.has(place);
                into.push(Copied {
                    place,
                    message: message.clone(),
                    since: held.since,
                    is_barred,
                });
            }
            place = place.next();
            walked += 1;
        }
        place
    }

    /// A spill begins: what presses later asks for the next one. Answers where it begins and ends.
    pub(crate) fn cut(&mut self) -> (Seq, Seq) {
        self.head.begin_spill();
        self.told.spill_end = self.next();
        (self.spilled(), self.told.spill_end)
    }

    /// A source waits for what is here with a receipt, or a spill took only a part of that.
    pub(crate) fn press(&mut self, wait: Wait) {
        self.head.press(wait);
    }

    /// What the store is to be told once it holds chunks of `bytes` bytes up to `end`, and the chunks to delete, which
    /// are the caller's until he tells [`Queue::committed`] or gives them back. `None` when it knows that already.
    pub(crate) fn plan(
        &mut self,
        end: Seq,
        bytes: u64,
        clock: RunningTime,
    ) -> Option<(QueueMark, Vec<Seq>)> {
        let mark = self.mark_then(end.max(self.tail.end), bytes, clock);
        let is_moved = mark.low > self.tail.stored.low || mark.owed != self.tail.stored.owed;
        let is_news = bytes > 0 || self.marked.bytes() > 0 || self.tail.gone() > 0 || is_moved;
        is_news.then(|| (mark, self.tail.take_gone()))
    }

    /// A commit failed: they are still there.
    pub(crate) fn give_back_gone(&mut self, gone: Vec<Seq>) {
        self.tail.add_gone(gone);
    }

    /// What the store is to be told when it was opened anew: only what is surely on disk.
    pub(crate) fn mark_now(&self, clock: RunningTime) -> QueueMark {
        self.mark_then(self.tail.end, 0, clock)
    }

    /// Messages of `from..to` that are not accepted; exact for what came since the start.
    pub(super) fn owed_between(&self, from: Seq, to: Seq) -> u64 {
        let from = from.max(self.low);
        to.places_since(from) - self.accepted.covered(from, to)
    }

    /// The place that the next message gets.
    pub(crate) fn end(&self) -> Seq {
        self.head.next()
    }

    /// The place behind the last chunk on disk.
    pub(crate) fn disk_end(&self) -> Seq {
        self.tail.end
    }

    /// The store has `chunks` and `mark` for good; answers what is no longer needed in RAM.
    pub(crate) fn committed(
        &mut self,
        chunks: &[Extent],
        mark: QueueMark,
        now: RunningTime,
    ) -> VecDeque<HeadMessage> {
        if self.tail.end <= self.low {
            self.tail.since = chunks
                .first()
                .map_or(self.tail.since, |extent| extent.since);
        }
        self.tail.owed += self.owed_between(self.tail.end, mark.end);
        // A chunk that was accepted meanwhile may have got a successor under its key.
        self.tail.keep(chunks);
        for extent in chunks {
            if extent.end <= self.low {
                self.tail.add_gone([extent.first]);
            } else {
                self.tail.add(*extent);
            }
        }
        self.tail.end = self.tail.end.max(mark.end);
        if self.tail.stored.end <= mark.low {
            // A disk's part that begins there shows it; within one, the store may hear of it later than a kill comes.
            self.told.noted = self.told.noted.max(mark.low);
        }
        self.tail.stored = mark;
        (self.told.changed, self.told.unnoted) = (None, None);
        self.note_change(now);
        self.head.let_go(self.tail.end)
    }

    /// A chunk was read: its size is known, and places without a message are settled.
    pub(crate) fn learn(
        &mut self,
        extent: Extent,
        present: impl Iterator<Item = Seq>,
        now: RunningTime,
    ) {
        if extent.end <= self.low || extent.first >= self.tail.end {
            return;
        }
        self.tail.know(extent);
        let mut expected = extent.first.max(self.low);
        for place in present {
            self.accepted.insert(expected, place);
            expected = expected.max(place.next());
        }
        self.accepted.insert(expected, extent.end);
        self.advance(now);
    }

    /// Whether `place` may still be handed out.
    pub(crate) fn is_owed(&self, place: Seq) -> bool {
        place >= self.low
            && !self.accepted.has(place)
            && !self.is_marked_for_drop(place)
            && !self.barred.has(place)
    }

    /// The disk has lost `from..to`, which held `known` messages if that is known; answers how many of them were owed. They
    /// are owed until the ledger has them. `None` when that is known already.
    pub(crate) fn lose(&mut self, from: Seq, to: Seq, known: Option<u64>) -> Option<u64> {
        let from = from.max(self.low);
        let to = to.min(self.tail.end);
        let places = if from < to {
            self.owed_between(from, to)
                .saturating_sub(self.barred.covered(from, to))
        } else {
            0
        };
        if places == 0 {
            return None;
        }
        // A chunk that cannot be read does not tell how many of its places had a message.
        let lost = places
            .min(known.unwrap_or(u64::MAX))
            .min(self.tail.owed.saturating_sub(self.tail.lost()));
        self.barred.insert(from, to);
        self.tail.lose(from, to, lost);
        self.tally.damaged += lost;
        Some(lost)
    }

    /// All chunks were read: what is owed on disk is known exactly, and the store is to be told.
    pub(crate) fn recount(&mut self, now: RunningTime) {
        self.tail.owed = self.owed_between(self.low, self.tail.end);
        if self.tail.owed != self.tail.stored.owed {
            self.told.changed.get_or_insert(now);
        }
    }

    /// The operator gives everything up: it is barred, and the places settle with their entry in the ledger. Answers
    /// them, and how many messages were owed there. What is barred already or marked for drop has an end of its own.
    pub(crate) fn abandon(&mut self) -> (Vec<Range<Seq>>, u64) {
        let low = self.low;
        let next = self.next();
        let mut others = Ranges::default();
        for (from, to) in self.barred.iter().chain(self.marked.iter()) {
            others.insert(from, to);
        }
        let elsewhere: u64 = others
            .iter()
            .map(|(from, to)| self.owed_between(from, to))
            .sum();
        let owed = (self.head.live() + self.tail.owed).saturating_sub(elsewhere);
        let places = others.gaps(low, next);
        for part in &places {
            self.barred.insert(part.start, part.end);
        }
        self.tally.dropped += owed;
        (places, owed)
    }

    /// Whether nothing of these places is owed any more.
    pub(crate) fn has_settled(&self, places: &Range<Seq>) -> bool {
        self.accepted.skip(places.start.max(self.low)) >= places.end
    }

    /// The store cannot write: drops the oldest messages without a receipt until RAM holds `most` bytes; answers them.
    pub(crate) fn shed(&mut self, most: usize, now: RunningTime) -> Vec<(Seq, Message)> {
        let mut dropped = Vec::new();
        while self.head.bytes() > most
            && let Some((place, message)) = self.head.next_to_shed()
        {
            if let Some(message) = message.filter(|_| self.is_owed(place)) {
                self.head.take(place, &mut Vec::new());
                self.accepted.insert(place, place.next());
                dropped.push((place, message));
            }
        }
        if !dropped.is_empty() {
            self.tally.dropped += dropped.len() as u64;
            self.advance(now);
        }
        dropped
    }
}
