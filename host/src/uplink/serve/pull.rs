//! One queue on its way upstream: what is read ahead, what is in flight, what is accepted. No sockets, no clock.

mod flights;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::task::{JoinError, JoinHandle};

use crate::clock::Now;
use crate::message::{Backlog, Fetch, Life, Message, QueueId, Seq, Stored};
use crate::uplink::part::{PullMode, Shard};

/// Messages of one fetch from RAM: large enough that its lock is shared by many, small enough to keep turns short.
const FETCH_MESSAGES: usize = 256;

/// Bytes of one fetch, and what may be read ahead from disk: one chunk goes out while the next one is read.
const FETCH_BYTES: usize = 256 << 10;

/// How many places one of several connections may be ahead of the slowest: the spool keeps account of what is accepted
/// out of order, and that account has to have an end.
const AHEAD: u64 = 1 << 16;

/// Low bits of a token: number of the flight. Above them the index of the queue.
const NUMBER_BITS: u32 = 48;

/// How a message came from the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::uplink) enum ReadPath {
    /// It never left RAM.
    Online,
    /// It was read from disk.
    Backlog,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PublishState {
    /// Sent, and not answered.
    Waiting,
    /// To be sent again, apart from the others.
    Aside,
    /// Not to be sent before sending starts over; it is not kept.
    Passed,
    Accepted,
    /// The spool knows what became of it.
    Told,
}

#[derive(Debug)]
struct Flight {
    stored: Stored,
    path: ReadPath,
    fate: PublishState,
    /// How many flights share its publish, itself included; 0 for those behind the first.
    together: u32,
    sent: Sending,
}

/// When something was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::uplink) struct Sending {
    /// Rises with every publish of the uplink, over all its queues.
    pub(in crate::uplink) number: u64,
    pub(in crate::uplink) at: Instant,
    /// The place behind it in what its connection sends.
    pub(in crate::uplink) end: u64,
}

#[derive(Debug)]
struct ReadAhead {
    task: JoinHandle<Vec<Stored>>,
    /// The cursor has been set back meanwhile: what comes is not what is wanted.
    void: bool,
}

/// The token of flight `number` of the queue at `index`.
pub(super) fn join(index: usize, number: u64) -> u64 {
    ((index as u64) << NUMBER_BITS) | number
}

/// Splits a token into the index of the queue and the number of the flight.
pub(super) fn split(token: u64) -> (usize, u64) {
    (
        usize::try_from(token >> NUMBER_BITS).unwrap_or(usize::MAX),
        token & ((1 << NUMBER_BITS) - 1),
    )
}

/// A queue and how far it is sent.
pub(in crate::uplink) struct Pull {
    queue: QueueId,
    backlog: Arc<dyn Backlog>,
    /// Number of this run.
    boot: u32,
    part: Shard,
    way: PullMode,
    /// Of the first message that is not yet fetched.
    cursor: Seq,
    /// Of the first message owed, when last looked at; it goes down only when a store is opened late.
    low: Seq,
    ready: VecDeque<(Stored, ReadPath)>,
    ready_bytes: usize,
    /// What was fetched last came from disk, and probably the next too.
    from_disk: bool,
    reading: Option<ReadAhead>,
    /// The disk had nothing where it should have had something, or the other connections are far behind.
    stuck: bool,
    flights: VecDeque<Flight>,
    /// How many of them lie aside, and how many are sent and not answered.
    aside: usize,
    waiting: usize,
    /// The first one without an answer has waited for long.
    is_late: bool,
    /// Accepted ones that the spool knows of, and the caller does not.
    told: u64,
    /// Number of the first flight. Never goes down, so a token of an earlier connection finds nothing.
    first: u64,
}

impl Pull {
    pub(in crate::uplink) fn new(
        queue: QueueId,
        backlog: Arc<dyn Backlog>,
        part: Shard,
        way: PullMode,
    ) -> Self {
        let cursor = backlog.low(queue);
        Self {
            queue,
            boot: backlog.boot(),
            backlog,
            part,
            way,
            cursor,
            low: cursor,
            ready: VecDeque::new(),
            ready_bytes: 0,
            from_disk: false,
            reading: None,
            stuck: false,
            flights: VecDeque::new(),
            aside: 0,
            waiting: 0,
            is_late: false,
            told: 0,
            first: 0,
        }
    }

    /// Forgets what is under way: sending starts over at the first message that is not accepted.
    pub(in crate::uplink) fn rewind(&mut self) {
        self.first += self.flights.len() as u64;
        self.flights.clear();
        (self.aside, self.waiting, self.is_late) = (0, 0, false);
        self.ready.clear();
        self.ready_bytes = 0;
        self.from_disk = false;
        self.stuck = false;
        if let Some(reading) = &mut self.reading {
            reading.void = true;
        }
        self.cursor = self.backlog.low(self.queue);
        self.low = self.cursor;
    }

    /// The first message that was owed when sending last started over.
    pub(in crate::uplink) fn low(&self) -> Seq {
        self.low
    }

    /// Gets more from RAM, or starts a read from disk if `may_read`.
    pub(in crate::uplink) fn refill(&mut self, may_read: bool) {
        while self.wants_more() {
            match self.fetch() {
                Fetch::Ready(messages) => {
                    self.from_disk = false;
                    self.queue_up(messages, ReadPath::Online);
                    self.stuck = self.is_far_ahead();
                }
                Fetch::Spilled if may_read => {
                    self.from_disk = true;
                    let (backlog, queue, from) =
                        (Arc::clone(&self.backlog), self.queue, self.cursor);
                    let task = tokio::task::spawn_blocking(move || backlog.read(queue, from));
                    self.reading = Some(ReadAhead { task, void: false });
                }
                Fetch::Spilled => return,
                Fetch::Empty => return self.look_back(may_read),
            }
        }
    }

    fn fetch(&self) -> Fetch {
        let Self {
            backlog,
            queue,
            cursor,
            ..
        } = self;
        match self.way {
            PullMode::Fresh => backlog.fetch_fresh(*queue, *cursor, FETCH_MESSAGES, FETCH_BYTES),
            PullMode::Whole | PullMode::Replay => {
                backlog.fetch(*queue, *cursor, FETCH_MESSAGES, FETCH_BYTES)
            }
        }
    }

    /// The next message to send and what is left of its life; gets more where that is needed. What has expired on the way
    /// is given up. Unless it `may_read`, what is on disk stays there, what was read of it already too.
    pub(in crate::uplink) fn next(&mut self, may_read: bool, now: Now) -> Option<(&Message, Life)> {
        loop {
            self.refill(may_read);
            if !may_read && self.is_at_the_disks() {
                return None;
            }
            if self.front(now)?.1 != Life::Over {
                break;
            }
            self.expire(now);
        }
        self.front(now)
    }

    /// The first of what is ready, and what is left of its life.
    pub(in crate::uplink) fn front(&self, now: Now) -> Option<(&Message, Life)> {
        self.ready
            .front()
            .map(|(stored, _)| (&stored.message, stored.message.life(now, self.boot)))
    }

    /// Gives up what has expired at the front.
    fn expire(&mut self, now: Now) {
        let mut over = Vec::new();
        let boot = self.boot;
        while let Some((stored, _)) = self
            .ready
            .pop_front_if(|(stored, _)| stored.message.life(now, boot) == Life::Over)
        {
            self.ready_bytes -= stored.message.weight();
            over.push(stored);
        }
        self.backlog.expire(self.queue, &over);
    }

    /// Nothing lies ahead and nothing is under way. Where the first owed message lies before the one it was, there is
    /// something behind: a store that could be opened only now.
    fn look_back(&mut self, may_read: bool) {
        if !self.is_idle() || self.way == PullMode::Fresh {
            return;
        }
        let low = self.backlog.low(self.queue);
        if low < std::mem::replace(&mut self.low, low) {
            self.cursor = low;
            self.refill(may_read);
        }
    }

    fn wants_more(&self) -> bool {
        let short = self.ready.is_empty() || (self.from_disk && self.ready_bytes < FETCH_BYTES);
        short && self.reading.is_none() && !self.stuck
    }

    /// Whether the other connections, or messages that lie aside, have so much to catch up with that this one has to wait.
    fn is_far_ahead(&self) -> bool {
        if self.part == Shard::WHOLE && !self.is_split() {
            return false;
        }
        let low = self.backlog.low(self.queue);
        let cursor = self.cursor;
        let start = if low.boot() == cursor.boot() {
            low.number()
        } else {
            0
        };
        cursor.number().saturating_sub(start) > AHEAD
    }

    fn queue_up(&mut self, messages: Vec<Stored>, path: ReadPath) {
        let from = self.cursor;
        for stored in messages.into_iter().filter(|stored| stored.seq >= from) {
            self.cursor = stored.seq.next();
            if self.part.has(&stored.message) {
                self.ready_bytes += stored.message.weight();
                self.ready.push_back((stored, path));
            }
        }
    }

    /// Looks whether a read has ended.
    pub(in crate::uplink) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), JoinError>> {
        let Some(reading) = &mut self.reading else {
            return Poll::Pending;
        };
        let Poll::Ready(read) = Pin::new(&mut reading.task).poll(cx) else {
            return Poll::Pending;
        };
        let void = reading.void;
        self.reading = None;
        Poll::Ready(read.map(|messages| {
            if void {
                return;
            }
            let before = self.cursor;
            self.queue_up(messages, ReadPath::Backlog);
            self.stuck = self.cursor == before || self.is_far_ahead();
        }))
    }

    /// Whether it waits for the disk or for other connections; [`Self::retry`] tries again.
    pub(in crate::uplink) fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// Ends such a wait.
    pub(in crate::uplink) fn retry(&mut self) {
        self.stuck = false;
    }

    /// What is to be sent, in order.
    pub(in crate::uplink) fn ready(&self) -> impl Iterator<Item = &Stored> {
        self.ready.iter().map(|(stored, _)| stored)
    }
}
