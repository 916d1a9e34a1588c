//! What is known outside of how far a queue is accepted: by the store once a second, by the low marks within milliseconds.

use crate::clock::RunningTime;
use crate::message::Seq;
use crate::spool::disk::chunk::Extent;
use crate::spool::disk::mark::QueueMark;
use crate::spool::memory::queue::Queue;

/// While the spilled part drains, the store hears of `low` and of deletes at least this often.
const LOW_EVERY_US: u64 = 1_000_000;
/// So many chunks to delete are told at once: sled holds what a change does to its pages until that is written.
const MANY_GONE: usize = 1_000;
/// The notes hear of it this long after a change: what is accepted in between is sent again after a kill.
const NOTE_EVERY_US: u64 = 2_000;

impl Queue {
    /// When the store should hear of deletes and of `low`.
    pub(crate) fn low_due(&self) -> Option<RunningTime> {
        let wait_us = if self.tail.gone() < MANY_GONE {
            LOW_EVERY_US
        } else {
            0
        };
        self.told.changed.map(|changed| changed.plus_us(wait_us))
    }

    /// When the low marks should hear of `low`.
    pub(crate) fn note_due(&self) -> Option<RunningTime> {
        self.told
            .unnoted
            .map(|changed| changed.plus_us(NOTE_EVERY_US))
    }

    /// What is to be noted, if that is news; it counts as noted from now on. What a commit under way gives up is owed
    /// until that is through.
    pub(crate) fn note(&mut self, clock: RunningTime) -> Option<QueueMark> {
        self.told.unnoted.take()?;
        self.told.noted = self.told.noted.max(self.low_to_note());
        Some(QueueMark {
            low: self.low_to_note(),
            end: self.tail.end,
            owed: self.tail.owed,
            bytes: self.tail.bytes,
            clock,
        })
    }

    /// What was noted last of how far it is accepted, and what there is now.
    pub(crate) fn mark_noted(&self, clock: RunningTime) -> QueueMark {
        let low = self.told.noted.min(self.low_to_note());
        QueueMark {
            low,
            end: self.tail.end,
            owed: self.tail.owed,
            bytes: self.tail.bytes,
            clock,
        }
    }

    /// How far it is accepted, as far as a kill would find something on disk: a spill under way has its chunks there long
    /// before they are safe.
    fn low_to_note(&self) -> Seq {
        self.low.min(self.tail.end.max(self.told.spill_end))
    }

    /// `low` or the chunks have moved on from what was told outside.
    pub(super) fn note_change(&mut self, now: RunningTime) {
        if self.tail.gone() > 0 || self.tail.stored.low < self.low.min(self.tail.end) {
            self.told.changed.get_or_insert(now);
        }
        if self.told.noted < self.low_to_note() {
            self.told.unnoted.get_or_insert(now);
        }
    }

    /// The store could be opened only now: what it holds is owed before all that came since the start.
    pub(crate) fn adopt(&mut self, stored: QueueMark, first: Option<Extent>) {
        if stored.low < stored.end {
            self.accepted.insert(stored.end, self.low);
            self.low = stored.low;
            self.tail.owe(stored, first);
        }
        self.tail.know_all(first);
        self.tail.end = stored.end;
        self.told.noted = stored.low;
        self.tail.stored = stored;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Fetch, Message};

    fn fetched(queue: &Queue) -> Vec<u64> {
        match queue.fetch(Seq(0), 9, 99_999) {
            Fetch::Ready(list) => list.iter().map(|stored| stored.seq.0).collect(),
            Fetch::Spilled => vec![u64::MAX],
            Fetch::Empty => Vec::new(),
        }
    }

    #[test]
    fn what_the_store_held_is_owed_before_what_came_since() {
        let mut queue = Queue::new(3, QueueMark::default(), None);
        let base = queue.low();
        for _ in 0..3 {
            queue.append(Message::default(), None, RunningTime(5));
        }
        queue.accept(base, base.plus(1), RunningTime(6), &mut Vec::new());
        let stored = QueueMark {
            low: Seq(7),
            end: Seq(9),
            owed: 2,
            bytes: 30,
            clock: RunningTime(1),
        };
        queue.adopt(
            stored,
            Some(Extent {
                first: Seq(6),
                end: Seq(9),
                bytes: 30,
                since: RunningTime(1),
            }),
        );
        assert_eq!(
            (queue.low(), queue.tally().on_disk, queue.tally().in_ram),
            (Seq(7), 2, 2)
        );
        assert_eq!(
            (fetched(&queue), queue.owed_on_disk(Seq(0))),
            (vec![u64::MAX], Some(Seq(7)))
        );
        queue.accept(Seq(7), Seq(9), RunningTime(8), &mut Vec::new());
        assert_eq!(
            (queue.low(), fetched(&queue)),
            (base.plus(1), vec![base.plus(1).0, base.plus(2).0])
        );
        assert_eq!(
            (
                queue.note_due(),
                queue.note(RunningTime(9)).map(|mark| mark.low)
            ),
            (Some(RunningTime(8 + NOTE_EVERY_US)), Some(Seq(9)))
        );
    }

    #[test]
    fn an_empty_store_changes_nothing_that_is_owed() {
        let mut queue = Queue::new(3, QueueMark::default(), None);
        queue.append(Message::default(), None, RunningTime(5));
        let before = fetched(&queue);
        queue.adopt(
            QueueMark {
                low: Seq(9),
                end: Seq(9),
                ..QueueMark::default()
            },
            None,
        );
        assert_eq!((fetched(&queue), queue.low()), (before, Seq::base_of(3)));
    }

    #[test]
    fn deletes_wait_a_second_and_many_of_them_do_not() {
        let mut queue = Queue::new(1, QueueMark::default(), None);
        let base = queue.low();
        let many = MANY_GONE as u64;
        for _ in 0..many {
            queue.append(Message::default(), None, RunningTime(5));
        }
        let chunk = |first: Seq| Extent {
            first,
            end: first.next(),
            bytes: 1,
            since: RunningTime(5),
        };
        let chunks: Vec<Extent> = base.up_to(base.plus(many)).map(chunk).collect();
        let (mark, _) = queue.plan(base.plus(many), many, RunningTime(5)).unwrap();
        queue.committed(&chunks, mark, RunningTime(5));
        queue.accept(base, base.plus(many - 1), RunningTime(6), &mut Vec::new());
        assert_eq!(queue.low_due(), Some(RunningTime(6 + LOW_EVERY_US)));
        queue.accept(base, base.plus(many), RunningTime(7), &mut Vec::new());
        assert_eq!(queue.low_due(), Some(RunningTime(6)));
    }

    #[test]
    fn what_a_commit_under_way_gives_up_is_not_noted_as_accepted_and_what_it_writes_may_be() {
        let mut queue = Queue::new(1, QueueMark::default(), None);
        let base = queue.low();
        (0..4).for_each(|_| queue.append(Message::default(), None, RunningTime(5)));
        let (first, end) = queue.cut();
        let (mark, _) = queue.plan(end, 7, RunningTime(5)).unwrap();
        queue.accept(base, base.plus(1), RunningTime(6), &mut Vec::new());
        assert_eq!(
            queue.note(RunningTime(7)).map(|mark| mark.low),
            Some(base.plus(1))
        );
        queue.committed(
            &[Extent {
                first,
                end,
                bytes: 7,
                since: RunningTime(5),
            }],
            mark,
            RunningTime(8),
        );
        queue.mark_for_drop(base.plus(2), base.plus(4));
        queue.accept(base.plus(1), base.plus(2), RunningTime(9), &mut Vec::new());
        assert_eq!(
            queue.note(RunningTime(9)).map(|mark| (mark.low, mark.owed)),
            Some((base.plus(2), 2))
        );
        assert_eq!(
            (
                queue.note(RunningTime(9)),
                queue.mark_now(RunningTime(9)).low
            ),
            (None, end)
        );
    }

    #[test]
    fn with_nothing_on_disk_there_is_nothing_to_note() {
        let mut queue = Queue::new(1, QueueMark::default(), None);
        for _ in 0..4 {
            queue.append(Message::default(), None, RunningTime(5));
        }
        queue.accept(Seq(0), Seq::END, RunningTime(9), &mut Vec::new());
        assert_eq!((queue.note_due(), queue.low_due()), (None, None));
    }
}
