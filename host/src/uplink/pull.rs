//! One queue on its way upstream: what is read ahead, what is in flight, what is accepted. No sockets, no clock.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::task::{JoinError, JoinHandle};

use super::part::{Part, Way};
use crate::clock::Now;
use crate::message::{Backlog, Fetch, Life, Message, QueueId, Seq, Stored};

/// Messages of one fetch from RAM: large enough that its lock is shared by many, small enough to keep turns short.
const FETCH_MESSAGES: usize = 256;

/// Bytes of one fetch, and what may be read ahead from disk: one chunk goes out while the next one is read.
const FETCH_BYTES: usize = 256 << 10;

/// How many places one of several connections may be ahead of the slowest: the spool keeps account of what is accepted
/// out of order, and that account has to have an end.
const AHEAD: u64 = 1 << 16;

/// Flights from which on an answer that is missing at the front must not hold what is accepted behind it.
const SPLIT: usize = 4_096;

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
    path: Path,
    fate: Fate,
    /// How many flights share its publish, itself included; 0 for those behind the first.
    together: u32,
    sent: Sending,
}

/// When something was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sending {
    /// Rises with every publish of the uplink, over all its queues.
    pub(super) number: u64,
    pub(super) at: Instant,
    /// The place behind it in what its connection sends.
    pub(super) end: u64,
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
    (
        usize::try_from(token >> NUMBER_BITS).unwrap_or(usize::MAX),
        token & ((1 << NUMBER_BITS) - 1),
    )
}

/// A queue and how far it is sent.
pub(super) struct Pull {
    queue: QueueId,
    backlog: Arc<dyn Backlog>,
    /// Number of this run.
    boot: u32,
    part: Part,
    way: Way,
    /// Of the first message that is not yet fetched.
    cursor: Seq,
    /// Of the first message owed, when last looked at; it goes down only when a store is opened late.
    low: Seq,
    ready: VecDeque<(Stored, Path)>,
    ready_bytes: usize,
    /// What was fetched last came from disk, and probably the next too.
    from_disk: bool,
    reading: Option<Reading>,
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
    pub(super) fn new(queue: QueueId, backlog: Arc<dyn Backlog>, part: Part, way: Way) -> Self {
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
    pub(super) fn rewind(&mut self) {
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
    pub(super) fn low(&self) -> Seq {
        self.low
    }

    /// Gets more from RAM, or starts a read from disk if `may_read`.
    pub(super) fn refill(&mut self, may_read: bool) {
        while self.wants_more() {
            match self.fetch() {
                Fetch::Ready(messages) => {
                    self.from_disk = false;
                    self.queue_up(messages, Path::Online);
                    self.stuck = self.is_far_ahead();
                }
                Fetch::Spilled if may_read => {
                    self.from_disk = true;
                    let (backlog, queue, from) =
                        (Arc::clone(&self.backlog), self.queue, self.cursor);
                    let task = tokio::task::spawn_blocking(move || backlog.read(queue, from));
                    self.reading = Some(Reading { task, void: false });
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
            Way::Fresh => backlog.fetch_fresh(*queue, *cursor, FETCH_MESSAGES, FETCH_BYTES),
            Way::Whole | Way::Replay => backlog.fetch(*queue, *cursor, FETCH_MESSAGES, FETCH_BYTES),
        }
    }

    /// The next message to send and what is left of its life; gets more where that is needed. What has expired on the way
    /// is given up. Unless it `may_read`, what is on disk stays there, what was read of it already too.
    pub(super) fn next(&mut self, may_read: bool, now: Now) -> Option<(&Message, Life)> {
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
    pub(super) fn front(&self, now: Now) -> Option<(&Message, Life)> {
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
        if !self.is_idle() || self.way == Way::Fresh {
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
        if self.part == Part::WHOLE && !self.is_split() {
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

    fn queue_up(&mut self, messages: Vec<Stored>, path: Path) {
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
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), JoinError>> {
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
            self.queue_up(messages, Path::Backlog);
            self.stuck = self.cursor == before || self.is_far_ahead();
        }))
    }

    /// Whether it waits for the disk or for other connections; [`Self::retry`] tries again.
    pub(super) fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// Ends such a wait.
    pub(super) fn retry(&mut self) {
        self.stuck = false;
    }

    /// What is to be sent, in order.
    pub(super) fn ready(&self) -> impl Iterator<Item = &Stored> {
        self.ready.iter().map(|(stored, _)| stored)
    }

    /// The token the next message is sent with; `index` is the place of this queue among those of the uplink.
    pub(super) fn token(&self, index: usize) -> u64 {
        join(index, self.first + self.flights.len() as u64)
    }

    /// The next `count` messages were sent, in one publish; or lie aside. Gives the number of the first.
    pub(super) fn launch(&mut self, count: usize, sent: Sending, is_aside: bool) -> u64 {
        let number = self.first + self.flights.len() as u64;
        let mut together = u32::try_from(count).unwrap_or(u32::MAX);
        let fate = if is_aside { Fate::Aside } else { Fate::Waiting };
        for (stored, path) in self.ready.drain(..count.min(self.ready.len())) {
            self.ready_bytes -= stored.message.weight();
            self.flights.push_back(Flight {
                stored,
                path,
                fate,
                together,
                sent,
            });
            self.aside += usize::from(is_aside);
            self.waiting += usize::from(!is_aside);
            together = 0;
        }
        number
    }

    /// What lies aside stays in the queue until sending starts over.
    pub(super) fn pass_over(&mut self, number: u64) {
        for flight in self.publish(number, Fate::Aside) {
            flight.fate = Fate::Passed;
            flight.stored.message = Message::default();
        }
    }

    /// The publish of message `number` waits apart, to be sent again. Whether it was under way.
    pub(super) fn lay_aside(&mut self, number: u64) -> bool {
        let count = self
            .publish(number, Fate::Waiting)
            .map(|flight| flight.fate = Fate::Aside)
            .count();
        self.aside += count;
        self.waiting -= count;
        count > 0
    }

    /// What lies aside went out again.
    pub(super) fn relaunch(&mut self, number: u64, sent: Sending) {
        let again = |flight: &mut Flight| (flight.fate, flight.sent) = (Fate::Waiting, sent);
        let count = self.publish(number, Fate::Aside).map(again).count();
        self.aside -= count;
        self.waiting += count;
    }

    /// Upstream has the publish of message `number`: tells `seen` the arrival (uptime, microseconds), the path and the size
    /// of each message in it, once.
    pub(super) fn accepted(&mut self, number: u64, mut seen: impl FnMut(u64, Path, usize)) {
        let mut count = 0;
        for flight in self.publish(number, Fate::Waiting) {
            flight.fate = Fate::Accepted;
            count += 1;
            seen(
                flight.stored.message.uptime_us,
                flight.path,
                flight.stored.message.weight(),
            );
        }
        self.waiting -= count;
        if self.is_split() {
            self.tell(number);
        }
    }

    /// Where the first one without an answer was sent before `due`, the spool hears at once of what is accepted behind it: it
    /// need not be sent again, should the connection end.
    pub(super) fn look(&mut self, due: Instant) {
        let is_late = self
            .flights
            .front()
            .is_some_and(|front| front.fate == Fate::Waiting && front.sent.at < due);
        if !std::mem::replace(&mut self.is_late, is_late) && is_late {
            self.tell_accepted();
        }
    }

    /// The spool hears of all that is accepted, wherever it lies.
    pub(super) fn tell_accepted(&mut self) {
        let behind = (self.first..)
            .zip(&self.flights)
            .filter(|(_, flight)| flight.together > 0 && flight.fate == Fate::Accepted);
        let accepted: Vec<u64> = behind.map(|(number, _)| number).collect();
        accepted.into_iter().for_each(|number| self.tell(number));
    }

    /// Whether the front stays for long: what lies aside, or has no answer, must not hold what was accepted behind it.
    fn is_split(&self) -> bool {
        self.aside > 0 || self.is_late || self.flights.len() > SPLIT
    }

    /// The spool hears of these at once, and they are not kept.
    fn tell(&mut self, number: u64) {
        let mut told = 0;
        let mut runs = Vec::new();
        for flight in self.publish(number, Fate::Accepted) {
            flight.fate = Fate::Told;
            flight.stored.message = Message::default();
            runs.push(flight.stored.seq);
            told += 1;
        }
        runs.into_iter()
            .for_each(|seq| self.backlog.accept(self.queue, seq, seq.next()));
        self.told += told;
    }

    /// Upstream refused the publish of message `number` for good: its messages go to the dead letters. Gives their
    /// number, once.
    pub(super) fn refused(&mut self, number: u64, detail: &str) -> u64 {
        let mut parked = Vec::new();
        self.lay_aside(number);
        for flight in self.publish(number, Fate::Aside) {
            flight.fate = Fate::Told;
            parked.push(std::mem::take(&mut flight.stored.message));
        }
        self.aside -= parked.len();
        let count = parked.len();
        let start = self.index(number);
        for (index, message) in parked.into_iter().enumerate() {
            let detail = if count > 1 {
                format!("{detail} (one of {count} messages in one publish)")
            } else {
                detail.to_owned()
            };
            let Some(flight) = self.flights.get(start + index) else {
                continue;
            };
            self.backlog.refuse(
                self.queue,
                Stored {
                    seq: flight.stored.seq,
                    message,
                },
                detail,
            );
        }
        count as u64
    }

    /// The time of what lies aside is over: it is given up.
    pub(super) fn expire_aside(&mut self, number: u64) {
        let mut over = Vec::new();
        for flight in self.publish(number, Fate::Aside) {
            flight.fate = Fate::Told;
            over.push(flight.stored.clone());
        }
        self.aside -= over.len();
        self.backlog.expire(self.queue, &over);
    }

    /// Whether the disk is being read.
    pub(super) fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// The first publish that waits for an answer: its number, and when it was sent.
    pub(super) fn head(&self) -> Option<(u64, Sending)> {
        let mut flights = (self.first..).zip(&self.flights);
        flights
            .find(|(_, flight)| flight.fate == Fate::Waiting)
            .map(|(number, flight)| (number, flight.sent))
    }

    /// The publishes that wait for an answer: their numbers, and when they were sent.
    pub(super) fn waiting_for_answers(&self) -> impl Iterator<Item = (u64, Sending)> {
        let flights = (self.first..).zip(&self.flights);
        let waits =
            flights.filter(|(_, flight)| flight.fate == Fate::Waiting && flight.together > 0);
        waits.map(|(number, flight)| (number, flight.sent))
    }

    /// When the publish of message `number` was sent.
    pub(super) fn sent(&self, number: u64) -> Option<Instant> {
        self.flights
            .get(self.index(number))
            .map(|flight| flight.sent.at)
    }

    /// The message of a flight.
    pub(super) fn message(&self, number: u64) -> Option<&Stored> {
        self.flights
            .get(self.index(number))
            .map(|flight| &flight.stored)
    }

    /// The messages that lie aside and go out in one publish.
    pub(super) fn aside(&self, number: u64) -> impl Iterator<Item = &Stored> {
        let start = self.index(number);
        let together = self
            .flights
            .get(start)
            .map_or(0, |flight| flight.together as usize);
        let flights = self.flights.iter().skip(start).take(together);
        flights
            .filter(|flight| flight.fate == Fate::Aside)
            .map(|flight| &flight.stored)
    }

    /// How many messages went out, or go out, in the publish that begins at this place, and their bytes.
    pub(super) fn load(&self, seq: Seq) -> (u64, u64) {
        let start = self
            .number(seq)
            .map_or(usize::MAX, |number| self.index(number));
        let together = self
            .flights
            .get(start)
            .map_or(0, |flight| flight.together as usize);
        let flights = self.flights.iter().skip(start).take(together);
        flights.fold((0, 0), |(count, bytes), flight| {
            (count + 1, bytes + flight.stored.message.weight() as u64)
        })
    }

    /// The number of the flight of this message.
    pub(super) fn number(&self, seq: Seq) -> Option<u64> {
        let index = self
            .flights
            .binary_search_by_key(&seq, |flight| flight.stored.seq)
            .ok()?;
        Some(self.first + index as u64)
    }

    /// The numbers of all that wait: with QoS 0 they are accepted as soon as the socket has taken them.
    pub(super) fn waiting(&self) -> std::ops::Range<u64> {
        self.first..self.first + self.flights.len() as u64
    }

    fn index(&self, number: u64) -> usize {
        number
            .checked_sub(self.first)
            .and_then(|index| usize::try_from(index).ok())
            .unwrap_or(usize::MAX)
    }

    /// The flights of one publish that still wait, or lie aside; none when that is over.
    fn publish(&mut self, number: u64, fate: Fate) -> impl Iterator<Item = &mut Flight> {
        let start = self.index(number);
        let together = self
            .flights
            .get(start)
            .map_or(0, |flight| flight.together as usize);
        self.flights
            .iter_mut()
            .skip(start)
            .take(together)
            .filter(move |flight| flight.fate == fate)
    }

    /// Tells the spool of the accepted front, in runs without a gap: what was refused lies between two runs and is
    /// the spool's, until its letter is committed. Gives the number of accepted messages.
    pub(super) fn advance(&mut self) -> u64 {
        let mut accepted = std::mem::take(&mut self.told);
        let mut run: Option<(Seq, Seq)> = None;
        while let Some(flight) = self
            .flights
            .pop_front_if(|flight| matches!(flight.fate, Fate::Accepted | Fate::Told))
        {
            self.first += 1;
            if flight.fate == Fate::Told {
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

    /// Messages sent and neither accepted nor refused, or behind such a one; without those that lie aside.
    pub(super) fn in_flight(&self) -> usize {
        if !self.is_split() {
            return self.flights.len();
        }
        self.waiting
    }

    /// Whether nothing of RAM is under way: what is on disk, read or not, is safe there.
    pub(super) fn is_drained(&self) -> bool {
        self.in_flight() == 0 && (self.ready.is_empty() || self.is_at_the_disks())
    }

    fn is_at_the_disks(&self) -> bool {
        self.ready
            .front()
            .is_some_and(|(_, path)| *path == Path::Backlog)
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.flights.is_empty() && self.ready.is_empty()
    }
}
