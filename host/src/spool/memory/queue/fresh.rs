//! Fresh data first: what is in RAM is handed out ahead of what is on disk, which follows side by side.
//!
//! Disk and RAM part the queue, so a message is handed out on one of the two ways only: ahead from RAM, or, once it was
//! spilled before that, from disk. What went ahead and is spilled before upstream has it is remembered until the connection
//! is over, and left out of what is read.

use crate::message::{Fetch, Seq};
use crate::spool::disk::chunk::Extent;
use crate::spool::memory::queue::Queue;
use crate::spool::memory::queue::in_flight::InFlight;

impl Queue {
    /// The same queue, in this order.
    pub(crate) fn with_fresh_first(self, is_so: bool) -> Self {
        Self {
            in_flight: InFlight::new(is_so),
            ..self
        }
    }

    /// Whether fresh data goes first.
    pub(crate) fn is_fresh_first(&self) -> bool {
        self.in_flight.is_fresh_first()
    }

    /// Whether it does from now on. For a queue of which nothing is in the uplink's hand.
    pub(crate) fn set_fresh_first(&mut self, is_so: bool) {
        if self.is_fresh_first() != is_so {
            self.in_flight = InFlight::new(is_so);
        }
    }

    /// See [`crate::message::Backlog::fetch_fresh`]; on a connection that `stands` it is in the uplink's hand from now on.
    pub(crate) fn fetch_fresh(
        &mut self,
        from: Seq,
        max: usize,
        max_bytes: usize,
        stands: bool,
    ) -> Fetch {
        let fetched = self.fetch_from_ram(self.owed_from(from.max(self.tail.end)), max, max_bytes);
        if let (Fetch::Ready(list), true) = (&fetched, stands)
            && let [first, .., last] | [first @ last] = list.as_slice()
        {
            self.in_flight.mark_ahead(first.seq, last.seq.next());
        }
        fetched
    }

    /// The first owed place on disk at or after `from` that has not gone ahead.
    pub(crate) fn to_replay(&self, from: Seq) -> Option<Seq> {
        let mut place = from;
        loop {
            place = self.owed_on_disk(place)?;
            match self.in_flight.skip_ahead(place) {
                next if next > place => place = next,
                _ => return Some(place),
            }
        }
    }

    /// Whether `place` has gone ahead on this connection.
    pub(crate) fn is_ahead(&self, place: Seq) -> bool {
        self.in_flight.skip_ahead(place) > place
    }

    /// Whether the uplink has some of these places in hand.
    pub(crate) fn holds(&self, extent: Extent) -> bool {
        let owes =
            |(from, to): (Seq, Seq)| self.owed_from(from.max(extent.first)) < to.min(extent.end);
        extent.first < self.in_flight.in_order_end() || self.in_flight.ahead().any(owes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::RunningTime;
    use crate::message::{Message, Receipt};
    use crate::spool::disk::mark::QueueMark;

    fn queue() -> Queue {
        Queue::new(0, QueueMark::default(), None).with_fresh_first(true)
    }

    fn append(queue: &mut Queue, count: usize) {
        (0..count).for_each(|_| queue.append(Message::default(), None, RunningTime(5)));
    }

    fn spill(queue: &mut Queue) {
        let (first, end) = queue.cut();
        let (mark, _) = queue.plan(end, 10, RunningTime::START).unwrap();
        let _ = queue.committed(
            &[Extent {
                first,
                end,
                bytes: 10,
                since: RunningTime(5),
            }],
            mark,
            RunningTime(9),
        );
    }

    fn fresh(queue: &mut Queue, from: u64, max: usize) -> Vec<u64> {
        match queue.fetch_fresh(Seq(from), max, 99_999, true) {
            Fetch::Ready(list) => list.iter().map(|stored| stored.seq.0).collect(),
            Fetch::Spilled | Fetch::Empty => Vec::new(),
        }
    }

    #[test]
    fn what_went_ahead_is_not_read_from_disk_until_the_connection_is_over() {
        let mut queue = queue();
        append(&mut queue, 3);
        spill(&mut queue);
        append(&mut queue, 4);
        assert_eq!(fresh(&mut queue, 0, 2), [3, 4]);
        assert!(matches!(queue.fetch(Seq(0), 9, 99_999), Fetch::Spilled));
        spill(&mut queue);
        assert!(fresh(&mut queue, 5, 9).is_empty());
        assert_eq!(
            (
                queue.to_replay(Seq(0)),
                queue.to_replay(Seq(3)),
                queue.is_ahead(Seq(4))
            ),
            (Some(Seq(0)), Some(Seq(5)), true)
        );
        let extent = |first, end| Extent {
            first: Seq(first),
            end: Seq(end),
            bytes: 10,
            since: RunningTime(5),
        };
        assert!(
            queue.holds(extent(3, 7)) && !queue.holds(extent(0, 3)) && !queue.holds(extent(5, 7))
        );
        queue.accept(Seq(3), Seq(5), RunningTime(9), &mut Vec::<Receipt>::new());
        assert!(!queue.holds(extent(3, 7)));
        queue.accept(Seq(0), Seq(3), RunningTime(9), &mut Vec::new());
        assert_eq!((queue.low().0, queue.to_replay(Seq(0))), (5, Some(Seq(5))));
        append(&mut queue, 2);
        assert_eq!(fresh(&mut queue, 0, 9), [7, 8]);
        spill(&mut queue);
        assert_eq!(queue.to_replay(Seq(6)), Some(Seq(6)));
        assert_eq!(queue.to_replay(Seq(7)), None);
        queue.take_back();
        assert_eq!(queue.to_replay(Seq(7)), Some(Seq(7)));
    }

    #[test]
    fn accepted_ahead_of_a_long_backlog_it_takes_no_memory() {
        let mut queue = queue();
        append(&mut queue, 3);
        spill(&mut queue);
        for place in 3..5_003 {
            append(&mut queue, 1);
            assert_eq!(fresh(&mut queue, place, 9), [place]);
            queue.accept(Seq(place), Seq(place + 1), RunningTime(9), &mut Vec::new());
        }
        assert!(queue.head.start() == queue.next() && queue.head.capacity() < 64);
        assert_eq!(
            (queue.next().0, queue.low().0, queue.accepted.iter().count()),
            (5_003, 0, 1)
        );
        append(&mut queue, 1);
        spill(&mut queue);
        assert_eq!(
            (queue.tally().on_disk, queue.to_replay(Seq(3))),
            (4, Some(Seq(5_003)))
        );
    }
}
