//! Where a source puts messages for one lane: a queue under a short lock, and a bell.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use prometheus::IntGauge;

use super::Returned;
use super::handover::Leave;
use super::live::Live;
use super::state::Snapshot;
use super::trial::Trial;
use crate::message::Delivery;
use crate::message::sync::{Condvar, Mutex, MutexGuard};

/// What the driver of a swap asks of a lane; done between two batches.
pub(super) enum Command {
    /// A copy of a plugin's state.
    Save { plugin: usize, reply: SyncSender<Result<Snapshot, String>> },
    /// Put a candidate beside the running version; the answer is how long messages waited for it.
    Join { plugin: usize, candidate: Box<Live>, origin: Origin, trial: Arc<Trial>, reply: SyncSender<Result<Duration, String>> },
    /// Run dead letters again, from plugin number `first` on.
    Rerun { first: usize, letters: Vec<Returned> },
    /// The verdict of a trial is there.
    Heed,
}

/// What a candidate begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A copy of the running version's state.
    Copy,
    /// Nothing.
    Empty,
}

#[derive(Default)]
struct Waiting {
    deliveries: VecDeque<Delivery>,
    commands: VecDeque<Command>,
    leave: Option<Leave>,
    stopping: bool,
    closed: bool,
    sleeping: bool,
}

/// Messages and commands for one lane.
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    bell: Condvar,
    depth: IntGauge,
}

/// What a lane is to do next, beside the batch.
pub(super) struct Taken {
    pub(super) commands: VecDeque<Command>,
    /// Another chain is to follow, and nothing is left to be done before it does.
    pub(super) leave: Option<Leave>,
    /// Nothing more will come: end when this is done.
    pub(super) last: bool,
}

impl Inbox {
    pub(super) fn new(depth: IntGauge) -> Self {
        Self { waiting: Mutex::new(Waiting::default()), bell: Condvar::new(), depth }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds messages in their order; a closed inbox forgets them, and the broker sends them again.
    pub(super) fn put(&self, deliveries: impl IntoIterator<Item = Delivery>) {
        let mut waiting = self.lock();
        if waiting.closed {
            return;
        }
        let before = waiting.deliveries.len();
        waiting.deliveries.extend(deliveries);
        self.depth.add(signed(waiting.deliveries.len() - before));
        self.ring(&mut waiting);
    }

    /// Adds a command; a closed inbox drops it, which its sender sees by the reply never coming.
    pub(super) fn command(&self, command: Command) {
        let mut waiting = self.lock();
        if !waiting.closed {
            waiting.commands.push_back(command);
            self.ring(&mut waiting);
        }
    }

    /// Has the lane leave once the queue is empty; a closed inbox forgets that, which its sender sees by the reply never
    /// coming.
    pub(super) fn leave(&self, leave: Leave) {
        let mut waiting = self.lock();
        if !waiting.closed {
            waiting.leave = Some(leave);
            self.ring(&mut waiting);
        }
    }

    /// The lane shall end once the queue is empty.
    pub(super) fn stop(&self) {
        let mut waiting = self.lock();
        waiting.stopping = true;
        self.ring(&mut waiting);
    }

    /// Nothing is taken any more, and what waits is forgotten: the answer is how much. The lane ends.
    pub(super) fn close(&self) -> usize {
        let mut waiting = self.lock();
        (waiting.closed, waiting.stopping) = (true, true);
        waiting.commands.clear();
        waiting.leave = None;
        let left = waiting.deliveries.len();
        waiting.deliveries.clear();
        self.depth.sub(signed(left));
        self.ring(&mut waiting);
        left
    }

    fn ring(&self, waiting: &mut Waiting) {
        if std::mem::take(&mut waiting.sleeping) {
            self.bell.notify_one();
        }
    }

    /// Moves what waits, up to `max`, into `batch`; sleeps until there is something to do or `wake` has come. With a
    /// `max` of 0 the messages go on waiting, and do not hold up an end, nor who wants the lane to leave.
    pub(super) fn take(&self, batch: &mut Vec<Delivery>, max: usize, wake: Option<Instant>) -> Taken {
        let mut waiting = self.lock();
        loop {
            let count = waiting.deliveries.len().min(max);
            if count > 0 || !waiting.commands.is_empty() || waiting.leave.is_some() || waiting.stopping {
                batch.extend(waiting.deliveries.drain(..count));
                self.depth.sub(signed(count));
                let is_empty = waiting.deliveries.is_empty();
                let last = waiting.stopping && (max == 0 || is_empty);
                waiting.closed |= last;
                let leave = if is_empty || max == 0 { waiting.leave.take() } else { None };
                return Taken { commands: std::mem::take(&mut waiting.commands), leave, last };
            }
            let left = wake.map(|wake| wake.saturating_duration_since(Instant::now()));
            waiting.sleeping = true;
            waiting = match left {
                Some(left) if left.is_zero() => {
                    waiting.sleeping = false;
                    return Taken { commands: VecDeque::new(), leave: None, last: false };
                }
                Some(left) => self.bell.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.bell.wait(waiting).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Message, MessageId};

    fn deliveries(range: std::ops::Range<u64>) -> Vec<Delivery> {
        let delivery =
            |seq| Delivery { message: Message { id: MessageId { boot: 1, seq }, ..Message::default() }, receipt: None };
        range.map(delivery).collect()
    }

    fn inbox() -> Inbox {
        Inbox::new(IntGauge::new("depth", "test").unwrap())
    }

    #[test]
    fn it_gives_what_waits_up_to_the_limit_in_order() {
        let inbox = inbox();
        inbox.put(deliveries(0..3));
        inbox.put(deliveries(3..5));
        assert_eq!(inbox.depth.get(), 5);
        let mut batch = Vec::new();
        assert!(!inbox.take(&mut batch, 4, None).last);
        inbox.take(&mut batch, 4, None);
        assert_eq!(batch.iter().map(|delivery| delivery.message.id.seq).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert_eq!(inbox.depth.get(), 0);
        assert!(!inbox.take(&mut batch, 4, Some(Instant::now())).last, "a tick is due");
    }

    #[test]
    fn a_stopped_inbox_is_emptied_first_and_takes_no_more() {
        let inbox = inbox();
        inbox.put(deliveries(0..3));
        inbox.stop();
        let mut batch = Vec::new();
        assert!(!inbox.take(&mut batch, 2, None).last);
        assert!(inbox.take(&mut batch, 2, None).last);
        inbox.put(deliveries(3..4));
        assert_eq!((batch.len(), inbox.depth.get(), inbox.close()), (3, 0, 0));
    }

    #[test]
    fn a_sleeping_lane_is_woken() {
        let inbox = inbox();
        std::thread::scope(|scope| {
            let lane = scope.spawn(|| {
                let mut batch = Vec::new();
                inbox.take(&mut batch, 10, None);
                batch.len()
            });
            inbox.put(deliveries(0..2));
            assert_eq!(lane.join().unwrap(), 2);
        });
    }
}
