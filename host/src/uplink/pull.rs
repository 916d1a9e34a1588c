//! One queue on its way upstream: what is read ahead, what is in flight, what is accepted. No sockets, no clock.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::task::{JoinError, JoinHandle};

use crate::message::{Backlog, Fetch, Message, QueueId, Seq, Stored};

/// Messages of one fetch from RAM: large enough that its lock is shared by many, small enough to keep turns short.
const FETCH_MESSAGES: usize = 256;

/// Bytes of one fetch, and what may be read ahead from disk: one chunk goes out while the next one is read.
const FETCH_BYTES: usize = 256 << 10;

/// Low bits of a token: number of the flight. Above them the index of the queue.
const NUMBER_BITS: u32 = 48;

/// How a message came from the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// It never left RAM.
    Online,
    /// It was read from disk.
    Backlog,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Waiting,
    Accepted,
    Refused,
}

#[derive(Debug)]
struct Flight {
    stored: Stored,
    path: Path,
    fate: Fate,
}

#[derive(Debug)]
struct Reading {
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
    (usize::try_from(token >> NUMBER_BITS).unwrap_or(usize::MAX), token & ((1 << NUMBER_BITS) - 1))
}

/// A queue and how far it is sent.
pub(super) struct Pull {
    queue: QueueId,
    backlog: Arc<dyn Backlog>,
    /// Of the first message that is not yet fetched.
    cursor: Seq,
    /// Of the first message owed, when last looked at; it goes down only when a store is opened late.
    low: Seq,
    ready: VecDeque<(Stored, Path)>,
    ready_bytes: usize,
    /// What was fetched last came from disk, and probably the next too.
    from_disk: bool,
    reading: Option<Reading>,
    /// The disk had nothing where it should have had something.
    stuck: bool,
    flights: VecDeque<Flight>,
    /// Number of the first flight. Never goes down, so a token of an earlier connection finds nothing.
    first: u64,
}

impl Pull {
    pub(super) fn new(queue: QueueId, backlog: Arc<dyn Backlog>) -> Self {
        let cursor = backlog.low(queue);
        Self {
            queue,
            backlog,
            cursor,
            low: cursor,
            ready: VecDeque::new(),
            ready_bytes: 0,
            from_disk: false,
            reading: None,
            stuck: false,
            flights: VecDeque::new(),
            first: 0,
        }
    }

    /// Forgets what is under way: sending starts over at the first message that is not accepted.
    pub(super) fn rewind(&mut self) {
        self.first += self.flights.len() as u64;
        self.flights.clear();
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

    /// Gets more from RAM, or starts a read from disk if `may_read`.
    pub(super) fn refill(&mut self, may_read: bool) {
        let wanted = self.ready.is_empty() || (self.from_disk && self.ready_bytes < FETCH_BYTES);
        if !wanted || self.reading.is_some() || self.stuck {
            return;
        }
        match self.backlog.fetch(self.queue, self.cursor, FETCH_MESSAGES, FETCH_BYTES) {
            Fetch::Ready(messages) => {
                self.from_disk = false;
                self.queue_up(messages, Path::Online);
            }
            Fetch::Spilled if may_read => {
                self.from_disk = true;
                let (backlog, queue, from) = (Arc::clone(&self.backlog), self.queue, self.cursor);
                let task = tokio::task::spawn_blocking(move || backlog.read(queue, from));
                self.reading = Some(Reading { task, void: false });
            }
            Fetch::Spilled => {}
            Fetch::Empty => self.look_back(may_read),
        }
    }

    /// Nothing lies ahead and nothing is under way. Where the first owed message lies before the one it was, there is
    /// something behind: a store that could be opened only now.
    fn look_back(&mut self, may_read: bool) {
        if !self.is_idle() {
            return;
        }
        let low = self.backlog.low(self.queue);
        if low < std::mem::replace(&mut self.low, low) {
            self.cursor = low;
            self.refill(may_read);
        }
    }

    fn queue_up(&mut self, messages: Vec<Stored>, path: Path) {
        let from = self.cursor;
        for stored in messages.into_iter().filter(|stored| stored.seq >= from) {
            self.cursor = stored.seq.next();
            self.ready_bytes += stored.message.weight();
            self.ready.push_back((stored, path));
        }
    }

    /// Looks whether a read has ended.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), JoinError>> {
        let Some(reading) = &mut self.reading else { return Poll::Pending };
        let Poll::Ready(read) = Pin::new(&mut reading.task).poll(cx) else { return Poll::Pending };
        let void = reading.void;
        self.reading = None;
        Poll::Ready(read.map(|messages| {
            if void {
                return;
            }
            let before = self.cursor;
            self.queue_up(messages, Path::Backlog);
            self.stuck = self.cursor == before;
        }))
    }

    /// Whether the disk had nothing where it should have had something; [`Self::retry`] tries again.
    pub(super) fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// Ends a wait after an empty read.
    pub(super) fn retry(&mut self) {
        self.stuck = false;
    }

    /// The next message to send.
    pub(super) fn next(&self) -> Option<&Message> {
        self.ready.front().map(|(stored, _)| &stored.message)
    }

    /// The token the next message is sent with; `index` is the place of this queue among those of the uplink.
    pub(super) fn token(&self, index: usize) -> u64 {
        join(index, self.first + self.flights.len() as u64)
    }

    /// The next message was sent.
    pub(super) fn launch(&mut self) {
        if let Some((stored, path)) = self.ready.pop_front() {
            self.ready_bytes -= stored.message.weight();
            self.flights.push_back(Flight { stored, path, fate: Fate::Waiting });
        }
    }

    /// Upstream has message `number`: gives its arrival (uptime, microseconds) and its path, once.
    pub(super) fn accepted(&mut self, number: u64) -> Option<(u64, Path)> {
        let flight = self.flight(number)?;
        flight.fate = Fate::Accepted;
        Some((flight.stored.message.uptime_us, flight.path))
    }

    /// Upstream will never have message `number`: it goes to the dead letters. False when it was done before.
    pub(super) fn refused(&mut self, number: u64, detail: String) -> bool {
        let Some(flight) = self.flight(number) else { return false };
        flight.fate = Fate::Refused;
        let stored = flight.stored.clone();
        self.backlog.refuse(self.queue, stored, detail);
        true
    }

    /// The numbers of all that wait: with QoS 0 they are accepted as soon as the socket has taken them.
    pub(super) fn waiting(&self) -> std::ops::Range<u64> {
        self.first..self.first + self.flights.len() as u64
    }

    fn flight(&mut self, number: u64) -> Option<&mut Flight> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.flights.get_mut(index).filter(|flight| flight.fate == Fate::Waiting)
    }

    /// Tells the spool of the accepted front, in runs without a gap: what was refused lies between two runs and is
    /// the spool's, until its letter is committed. Gives the number of accepted messages.
    pub(super) fn advance(&mut self) -> u64 {
        let mut accepted = 0;
        let mut run: Option<(Seq, Seq)> = None;
        while let Some(flight) = self.flights.pop_front_if(|flight| flight.fate != Fate::Waiting) {
            self.first += 1;
            if flight.fate == Fate::Refused {
                continue;
            }
            accepted += 1;
            let seq = flight.stored.seq;
            run = match run {
                Some((from, to)) if to == seq => Some((from, seq.next())),
                Some((from, to)) => {
                    self.backlog.accept(self.queue, from, to);
                    Some((seq, seq.next()))
                }
                None => Some((seq, seq.next())),
            };
        }
        if let Some((from, to)) = run {
            self.backlog.accept(self.queue, from, to);
        }
        accepted
    }

    /// Messages sent and neither accepted nor refused, or behind such a one.
    pub(super) fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.flights.is_empty() && self.ready.is_empty()
    }
}
