//! What is sent and not yet told to the spool: who waits, who lies aside, who is accepted.

use std::time::Instant;

use super::{Flight, PublishState, Pull, ReadPath, Sending, join};
use crate::clock::Uptime;
use crate::message::{Message, Seq, Stored};

/// Flights from which on an answer that is missing at the front must not hold what is accepted behind it.
const SPLIT: usize = 4_096;

impl Pull {
    /// The token the next message is sent with; `index` is the place of this queue among those of the uplink.
    pub(in crate::uplink) fn token(&self, index: usize) -> u64 {
        join(index, self.first + self.flights.len() as u64)
    }

    /// The next `count` messages were sent, in one publish; or lie aside. Gives the number of the first.
    pub(in crate::uplink) fn launch(&mut self, count: usize, sent: Sending, is_aside: bool) -> u64 {
        let number = self.first + self.flights.len() as u64;
        let mut together = u32::try_from(count).unwrap_or(u32::MAX);
        let fate = if is_aside {
            PublishState::Aside
        } else {
            PublishState::Waiting
        };
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
    pub(in crate::uplink) fn pass_over(&mut self, number: u64) {
        for flight in self.publish(number, PublishState::Aside) {
            flight.fate = PublishState::Passed;
            flight.stored.message = Message::default();
        }
    }

    /// The publish of message `number` waits apart, to be sent again. Whether it was under way.
    pub(in crate::uplink) fn lay_aside(&mut self, number: u64) -> bool {
        let count = self
            .publish(number, PublishState::Waiting)
            .map(|flight| flight.fate = PublishState::Aside)
            .count();
        self.aside += count;
        self.waiting -= count;
        count > 0
    }

    /// What lies aside went out again.
    pub(in crate::uplink) fn relaunch(&mut self, number: u64, sent: Sending) {
        let again =
            |flight: &mut Flight| (flight.fate, flight.sent) = (PublishState::Waiting, sent);
        let count = self.publish(number, PublishState::Aside).map(again).count();
        self.aside -= count;
        self.waiting += count;
    }

    /// Upstream has the publish of message `number`: tells `seen` the arrival (uptime, microseconds), the path and the size
    /// of each message in it, once.
    pub(in crate::uplink) fn accepted(
        &mut self,
        number: u64,
        mut seen: impl FnMut(Uptime, ReadPath, usize),
    ) {
        let mut count = 0;
        for flight in self.publish(number, PublishState::Waiting) {
            flight.fate = PublishState::Accepted;
            count += 1;
            seen(
                flight.stored.message.uptime,
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
    pub(in crate::uplink) fn look(&mut self, due: Instant) {
        let is_late = self
            .flights
            .front()
            .is_some_and(|front| front.fate == PublishState::Waiting && front.sent.at < due);
        if !std::mem::replace(&mut self.is_late, is_late) && is_late {
            self.tell_accepted();
        }
    }

    /// The spool hears of all that is accepted, wherever it lies.
    pub(in crate::uplink) fn tell_accepted(&mut self) {
        let behind = (self.first..)
            .zip(&self.flights)
            .filter(|(_, flight)| flight.together > 0 && flight.fate == PublishState::Accepted);
        let accepted: Vec<u64> = behind.map(|(number, _)| number).collect();
        accepted.into_iter().for_each(|number| self.tell(number));
    }

    /// Whether the front stays for long: what lies aside, or has no answer, must not hold what was accepted behind it.
    pub(super) fn is_split(&self) -> bool {
        self.aside > 0 || self.is_late || self.flights.len() > SPLIT
    }

    /// The spool hears of these at once, and they are not kept.
    fn tell(&mut self, number: u64) {
        let mut told = 0;
        let mut runs = Vec::new();
        for flight in self.publish(number, PublishState::Accepted) {
            flight.fate = PublishState::Told;
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
    pub(in crate::uplink) fn refused(&mut self, number: u64, detail: &str) -> u64 {
        let mut parked = Vec::new();
        self.lay_aside(number);
        for flight in self.publish(number, PublishState::Aside) {
            flight.fate = PublishState::Told;
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
    pub(in crate::uplink) fn expire_aside(&mut self, number: u64) {
        let mut over = Vec::new();
        for flight in self.publish(number, PublishState::Aside) {
            flight.fate = PublishState::Told;
            over.push(flight.stored.clone());
        }
        self.aside -= over.len();
        self.backlog.expire(self.queue, &over);
    }

    /// Whether the disk is being read.
    pub(in crate::uplink) fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// The first publish that waits for an answer: its number, and when it was sent.
    pub(in crate::uplink) fn head(&self) -> Option<(u64, Sending)> {
        let mut flights = (self.first..).zip(&self.flights);
        flights
            .find(|(_, flight)| flight.fate == PublishState::Waiting)
            .map(|(number, flight)| (number, flight.sent))
    }

    /// The publishes that wait for an answer: their numbers, and when they were sent.
    pub(in crate::uplink) fn waiting_for_answers(&self) -> impl Iterator<Item = (u64, Sending)> {
        let flights = (self.first..).zip(&self.flights);
        let waits = flights
            .filter(|(_, flight)| flight.fate == PublishState::Waiting && flight.together > 0);
        waits.map(|(number, flight)| (number, flight.sent))
    }

    /// When the publish of message `number` was sent.
    pub(in crate::uplink) fn sent(&self, number: u64) -> Option<Instant> {
        self.flights
            .get(self.index(number))
            .map(|flight| flight.sent.at)
    }

    /// The message of a flight.
    pub(in crate::uplink) fn message(&self, number: u64) -> Option<&Stored> {
        self.flights
            .get(self.index(number))
            .map(|flight| &flight.stored)
    }

    /// The messages that lie aside and go out in one publish.
    pub(in crate::uplink) fn aside(&self, number: u64) -> impl Iterator<Item = &Stored> {
        let start = self.index(number);
        let together = self
            .flights
            .get(start)
            .map_or(0, |flight| flight.together as usize);
        let flights = self.flights.iter().skip(start).take(together);
        flights
            .filter(|flight| flight.fate == PublishState::Aside)
            .map(|flight| &flight.stored)
    }

    /// How many messages went out, or go out, in the publish that begins at this place, and their bytes.
    pub(in crate::uplink) fn load(&self, seq: Seq) -> (u64, u64) {
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
    pub(in crate::uplink) fn number(&self, seq: Seq) -> Option<u64> {
        let index = self
            .flights
            .binary_search_by_key(&seq, |flight| flight.stored.seq)
            .ok()?;
        Some(self.first + index as u64)
    }

    /// The numbers of all that wait: with QoS 0 they are accepted as soon as the socket has taken them.
    pub(in crate::uplink) fn waiting(&self) -> std::ops::Range<u64> {
        self.first..self.first + self.flights.len() as u64
    }

    fn index(&self, number: u64) -> usize {
        number
            .checked_sub(self.first)
            .and_then(|index| usize::try_from(index).ok())
            .unwrap_or(usize::MAX)
    }

    /// The flights of one publish that still wait, or lie aside; none when that is over.
    fn publish(&mut self, number: u64, fate: PublishState) -> impl Iterator<Item = &mut Flight> {
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
    pub(in crate::uplink) fn advance(&mut self) -> u64 {
        let mut accepted = std::mem::take(&mut self.told);
        let mut run: Option<(Seq, Seq)> = None;
        while let Some(flight) = self.flights.pop_front_if(|flight| {
            matches!(flight.fate, PublishState::Accepted | PublishState::Told)
        }) {
            self.first += 1;
            if flight.fate == PublishState::Told {
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
    pub(in crate::uplink) fn in_flight(&self) -> usize {
        if !self.is_split() {
            return self.flights.len();
        }
        self.waiting
    }

    /// Whether nothing of RAM is under way: what is on disk, read or not, is safe there.
    pub(in crate::uplink) fn is_drained(&self) -> bool {
        self.in_flight() == 0 && (self.ready.is_empty() || self.is_at_the_disks())
    }

    pub(super) fn is_at_the_disks(&self) -> bool {
        self.ready
            .front()
            .is_some_and(|(_, path)| *path == ReadPath::Backlog)
    }

    /// Whether nothing is under way.
    pub(in crate::uplink) fn is_idle(&self) -> bool {
        self.flights.is_empty() && self.ready.is_empty()
    }
}
