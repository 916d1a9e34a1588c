//! Where a source puts messages for one lane: a queue under a short lock, and the lane is called when it rests.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use prometheus::IntGauge;

use super::item::ReturnedLetter;
use super::leave::Leave;
use super::live::Live;
use super::trial::Trial;
use crate::chain::pool::Seat;
use crate::chain::sandbox::state::Snapshot;
use crate::message::Delivery;
use crate::message::sync::{Mutex, MutexGuard};

/// Bytes that wait in one inbox, beyond which no other flow brings more.
pub const ROOM_BYTES: usize = 1 << 20;

/// What the driver of a swap asks of a lane; done between two batches.
pub(crate) enum LaneRequest {
    /// A copy of a plugin's state.
    Save {
        plugin: usize,
        reply: SyncSender<Result<Snapshot, String>>,
    },
    /// Put a candidate beside the running version; the answer is how long messages waited for it.
    Join {
        plugin: usize,
        candidate: Box<Live>,
        origin: InitialState,
        trial: Arc<Trial>,
        reply: SyncSender<Result<Duration, String>>,
    },
    /// Run dead letters again, from plugin number `first` on.
    Rerun {
        first: usize,
        letters: Vec<ReturnedLetter>,
    },
    /// The verdict of a trial is there.
    Heed,
}

/// What a candidate begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InitialState {
    /// A copy of the running version's state.
    Copy,
    Empty,
}

#[derive(Default)]
struct InboxState {
    deliveries: VecDeque<Delivery>,
    /// What the deliveries weigh together: bytes of RAM.
    bytes: usize,
    commands: VecDeque<LaneRequest>,
    leave: Option<Leave>,
    /// The lane has given its state away, and does nothing until it is told whether another one has it.
    away: bool,
    stopping: bool,
    closed: bool,
    resting: bool,
}

/// Messages and commands for one lane.
pub(crate) struct Inbox {
    waiting: Mutex<InboxState>,
    seat: Arc<Seat>,
    depth: IntGauge,
}

/// What a lane takes of what waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Appetite {
    UpTo(usize),
    /// Nothing now, since a plugin or memory holds it up. An end is not held up.
    Nothing,
    /// Nothing before the flow behind has room, which works on that: an end waits for it.
    NothingYet,
}

/// What a look brought.
pub(crate) enum InboxPoll {
    /// There is something to do.
    Found(Taken),
    /// There is nothing until the lane is called; so many messages wait that it does not take now.
    Nothing { waiting: usize },
    /// The lane is away: there is nothing until it is called, whatever is due.
    Away,
}

/// What a lane is to do next, beside the batch.
pub(crate) struct Taken {
    pub(super) commands: VecDeque<LaneRequest>,
    /// Another chain is to follow, and nothing is left to be done before it does. From now on nothing is taken.
    pub(crate) leave: Option<Leave>,
    /// Nothing more will come: end when this is done.
    pub(crate) last: bool,
}

impl Inbox {
    /// Of the lane on this seat.
    pub(crate) fn new(seat: Arc<Seat>, depth: IntGauge) -> Self {
        Self {
            waiting: Mutex::new(InboxState::default()),
            seat,
            depth,
        }
    }

    /// Where its lane sits.
    pub(crate) fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }

    fn lock(&self) -> MutexGuard<'_, InboxState> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds messages in their order; a closed inbox forgets them, and the broker sends them again.
    pub(crate) fn put(&self, deliveries: impl IntoIterator<Item = Delivery>) {
        let mut waiting = self.lock();
        if waiting.closed {
            return;
        }
        let before = waiting.deliveries.len();
        let mut bytes = 0;
        let weighed = |delivery: &Delivery| bytes += delivery.weight();
        waiting
            .deliveries
            .extend(deliveries.into_iter().inspect(weighed));
        waiting.bytes += bytes;
        self.depth.add(signed(waiting.deliveries.len() - before));
        self.call(waiting);
    }

    /// Whether another flow may bring more.
    pub(crate) fn has_room(&self) -> bool {
        self.lock().bytes < ROOM_BYTES
    }

    /// Adds a command; a closed inbox drops it, which its sender sees by the reply never coming.
    pub(crate) fn command(&self, command: LaneRequest) {
        let mut waiting = self.lock();
        if !waiting.closed {
            waiting.commands.push_back(command);
            self.call(waiting);
        }
    }

    /// Has the lane leave once the queue is empty; a closed inbox forgets that, which its sender sees by the reply never
    /// coming.
    pub(crate) fn leave(&self, leave: Leave) {
        let mut waiting = self.lock();
        if !waiting.closed {
            waiting.leave = Some(leave);
            self.call(waiting);
        }
    }

    /// A lane that is away, or was to leave, goes on: no other one has its state.
    pub(crate) fn come_back(&self) {
        let mut waiting = self.lock();
        (waiting.away, waiting.leave) = (false, None);
        self.call(waiting);
    }

    /// The lane shall end once the queue is empty.
    pub(crate) fn stop(&self) {
        let mut waiting = self.lock();
        waiting.stopping = true;
        self.call(waiting);
    }

    /// Nothing is taken any more, and what waits is forgotten: the answer is how much. The lane ends.
    pub(crate) fn close(&self) -> usize {
        self.empty().len()
    }

    /// The same, and what waits goes to whoever asks.
    pub(crate) fn empty(&self) -> VecDeque<Delivery> {
        let mut waiting = self.lock();
        (waiting.closed, waiting.stopping, waiting.away) = (true, true, false);
        waiting.commands.clear();
        waiting.leave = None;
        let left = std::mem::take(&mut waiting.deliveries);
        waiting.bytes = 0;
        self.depth.sub(signed(left.len()));
        self.call(waiting);
        left
    }

    fn call(&self, mut waiting: MutexGuard<'_, InboxState>) {
        let rests = std::mem::take(&mut waiting.resting);
        drop(waiting);
        if rests {
            self.seat.call();
        }
    }

    /// Moves what waits, as far as it is taken, into `batch`. Where there is nothing to do, and nothing `is_due` either, the lane is
    /// called when that changes. Messages that are not taken go on waiting, and do not hold up who wants the lane to
    /// leave, since they go to the lane that follows.
    pub(crate) fn take(
        &self,
        batch: &mut Vec<Delivery>,
        appetite: Appetite,
        is_due: bool,
    ) -> InboxPoll {
        let mut waiting = self.lock();
        let max = match appetite {
            Appetite::UpTo(max) => max,
            Appetite::Nothing | Appetite::NothingYet => 0,
        };
        let count = waiting.deliveries.len().min(max);
        let ends = waiting.stopping
            && (count == waiting.deliveries.len() || appetite == Appetite::Nothing);
        let is_wanted = !waiting.commands.is_empty() || waiting.leave.is_some() || ends;
        waiting.resting = waiting.away || (count == 0 && !is_wanted && !is_due);
        if waiting.resting {
            return if waiting.away {
                InboxPoll::Away
            } else {
                InboxPoll::Nothing {
                    waiting: waiting.deliveries.len(),
                }
            };
        }
        let mut bytes = 0;
        let weighed = |delivery: &Delivery| bytes += delivery.weight();
        batch.extend(waiting.deliveries.drain(..count).inspect(weighed));
        waiting.bytes -= bytes;
        self.depth.sub(signed(count));
        waiting.closed |= ends;
        let leave = if waiting.deliveries.is_empty() || max == 0 {
            waiting.leave.take()
        } else {
            None
        };
        waiting.away = leave.is_some();
        InboxPoll::Found(Taken {
            commands: std::mem::take(&mut waiting.commands),
            leave,
            last: ends,
        })
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::pool::{AfterTurn, Pool, Task};
    use crate::message::{Message, MessageId};

    fn deliveries(range: std::ops::Range<u64>) -> Vec<Delivery> {
        let delivery = |seq| Delivery {
            message: Message {
                id: MessageId { boot: 1, seq },
                ..Message::default()
            },
            receipt: None,
        };
        range.map(delivery).collect()
    }

    fn taken(inbox: &Inbox, batch: &mut Vec<Delivery>, max: usize, is_due: bool) -> Option<Taken> {
        match inbox.take(batch, Appetite::UpTo(max), is_due) {
            InboxPoll::Found(taken) => Some(taken),
            InboxPoll::Nothing { .. } | InboxPoll::Away => None,
        }
    }

    fn inbox(pool: &Pool) -> Inbox {
        Inbox::new(
            pool.seat().unwrap(),
            IntGauge::new("depth", "test").unwrap(),
        )
    }

    #[test]
    fn it_gives_what_waits_up_to_the_limit_in_order() {
        let pool = Pool::new(1, 256 << 10);
        let inbox = inbox(&pool);
        inbox.put(deliveries(0..3));
        inbox.put(deliveries(3..5));
        assert_eq!(inbox.depth.get(), 5);
        let mut batch = Vec::new();
        assert!(!taken(&inbox, &mut batch, 4, false).unwrap().last);
        taken(&inbox, &mut batch, 4, false).unwrap();
        assert_eq!(
            batch
                .iter()
                .map(|delivery| delivery.message.id.seq)
                .collect::<Vec<_>>(),
            [0, 1, 2, 3, 4]
        );
        assert_eq!(inbox.depth.get(), 0);
        assert!(
            !taken(&inbox, &mut batch, 4, true).unwrap().last,
            "a tick is due"
        );
        assert!(taken(&inbox, &mut batch, 4, false).is_none());
    }

    #[test]
    fn a_stopped_inbox_is_emptied_first_and_takes_no_more() {
        let pool = Pool::new(1, 256 << 10);
        let inbox = inbox(&pool);
        inbox.put(deliveries(0..3));
        inbox.stop();
        let mut batch = Vec::new();
        assert!(!taken(&inbox, &mut batch, 2, false).unwrap().last);
        assert!(taken(&inbox, &mut batch, 2, false).unwrap().last);
        inbox.put(deliveries(3..4));
        assert_eq!((batch.len(), inbox.depth.get(), inbox.close()), (3, 0, 0));
    }

    #[test]
    fn a_lane_that_is_away_takes_nothing_until_it_is_back_or_ends() {
        let pool = Pool::new(1, 256 << 10);
        let inbox = inbox(&pool);
        let mut batch = Vec::new();
        let (state, given) = std::sync::mpsc::sync_channel(1);
        inbox.leave(Leave::new(state));
        assert!(taken(&inbox, &mut batch, 4, false).unwrap().leave.is_some());
        inbox.put(deliveries(0..2));
        assert!(taken(&inbox, &mut batch, 4, true).is_none());
        inbox.come_back();
        assert!(taken(&inbox, &mut batch, 1, false).is_some());
        inbox.close();
        assert!(taken(&inbox, &mut batch, 4, false).unwrap().last);
        assert_eq!(batch.len(), 1);
        drop(given);
    }

    /// Takes all there is, and says how much.
    struct Taker(Arc<Inbox>, std::sync::mpsc::SyncSender<usize>);

    impl Task for Taker {
        fn turn(&mut self) -> AfterTurn {
            let mut batch = Vec::new();
            match self.0.take(&mut batch, Appetite::UpTo(10), false) {
                InboxPoll::Found(taken) => {
                    self.1.send(batch.len()).unwrap();
                    if taken.last {
                        AfterTurn::Done
                    } else {
                        AfterTurn::Again
                    }
                }
                InboxPoll::Nothing { .. } | InboxPoll::Away => AfterTurn::Rest(None),
            }
        }
    }

    #[test]
    fn a_lane_that_rests_is_called() {
        let pool = Pool::new(1, 256 << 10);
        let inbox = Arc::new(inbox(&pool));
        let (took, taken) = std::sync::mpsc::sync_channel(100);
        inbox.seat().take(Box::new(Taker(Arc::clone(&inbox), took)));
        for count in 1..50 {
            inbox.put(deliveries(0..count));
            let mut left = count;
            while left > 0 {
                left -= taken.recv().unwrap() as u64;
            }
        }
        inbox.stop();
        assert_eq!(taken.recv().unwrap(), 0);
        assert!(taken.recv().is_err(), "it is dropped when it is done");
    }
}
