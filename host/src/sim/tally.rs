//! The checker: what was sent, what came out, and the difference. Pure: no clock, no socket.
//!
//! A message is (device, seq); each device counts up from 0 and sends in that order. [`SentLedger`] is the sender's
//! side, [`Tally`] the receiver's.

use super::bits::Bits;

/// Which of the readings that were sent have to come out at the other end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Expect {
    #[default]
    All,
    /// Those above 20 °C, as in `examples/convert`.
    #[value(name = "above-20")]
    Above20,
}

/// What a message is, for the one who decides whether it has to arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// A reading; above 20 °C or not.
    Reading {
        /// Temperature over 20 °C.
        above_20: bool,
    },
    /// A payload broken on purpose: it must never come out.
    Broken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SimulatedId {
    /// Index of the device.
    pub device: u32,
    /// Its place in what the device sent, from 0 on.
    pub seq: u64,
}

#[derive(Clone, Debug, Default)]
struct Sender {
    expected: Bits,
    accepted: Bits,
}

/// What was sent and what the broker took.
#[derive(Clone, Debug)]
pub struct SentLedger {
    expect: Expect,
    devices: Vec<Sender>,
    sent: u64,
    broken: u64,
    accepted: u64,
    broken_accepted: u64,
    refused: u64,
    resent: u64,
}

impl SentLedger {
    /// Nothing sent yet by `devices` devices.
    pub fn new(devices: u32, expect: Expect) -> Self {
        let devices = vec![Sender::default(); usize::try_from(devices).unwrap_or_default()];
        Self {
            expect,
            devices,
            sent: 0,
            broken: 0,
            accepted: 0,
            broken_accepted: 0,
            refused: 0,
            resent: 0,
        }
    }

    /// A message was handed to the connection for the first time.
    pub fn send(&mut self, name: SimulatedId, kind: MessageKind) {
        self.sent += 1;
        let expected = match (kind, self.expect) {
            (MessageKind::Broken, _) => {
                self.broken += 1;
                false
            }
            (MessageKind::Reading { .. }, Expect::All) => true,
            (MessageKind::Reading { above_20 }, Expect::Above20) => above_20,
        };
        if expected && let Some(sender) = self.devices.get_mut(name.device as usize) {
            sender.expected.insert(name.seq);
        }
    }

    /// The broker acknowledged it, or its level has no acknowledgement and it was written.
    pub fn accept(&mut self, name: SimulatedId, kind: MessageKind) {
        let Some(sender) = self.devices.get_mut(name.device as usize) else {
            return;
        };
        if sender.accepted.insert(name.seq) {
            self.accepted += 1;
            self.broken_accepted += u64::from(kind == MessageKind::Broken);
        }
    }

    /// The broker refused it: it is not expected any more.
    pub fn refuse(&mut self) {
        self.refused += 1;
    }

    /// It was sent once more after a reconnect.
    pub fn resend(&mut self) {
        self.resent += 1;
    }

    /// Messages handed to the connection, each counted once.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Messages the broker has acknowledged.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Of [`SentLedger::sent`], those broken on purpose.
    pub fn broken(&self) -> u64 {
        self.broken
    }

    /// Of [`SentLedger::accepted`], those broken on purpose.
    pub fn broken_accepted(&self) -> u64 {
        self.broken_accepted
    }

    /// Messages the broker refused.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Sent again after a reconnect: each may come out twice through no fault of the gateway.
    pub fn resent(&self) -> u64 {
        self.resent
    }

    /// Messages that have to come out: expected by content and acknowledged by the broker.
    pub fn expected(&self) -> u64 {
        self.devices
            .iter()
            .map(|sender| sender.expected.and(&sender.accepted).count())
            .sum()
    }

    /// Expected, acknowledged, and not seen at the other end.
    pub fn lost(&self, tally: &Tally) -> u64 {
        let unseen = Bits::default();
        let pairs = self.devices.iter().enumerate();
        pairs
            .map(|(device, sender)| {
                let seen = tally
                    .devices
                    .get(device)
                    .map_or(&unseen, |receiver| &receiver.seen);
                sender.expected.and(&sender.accepted).missing_from(seen)
            })
            .sum()
    }

    /// Seen at the other end and not expected there: filtered ones that passed, broken ones that got through.
    pub fn unexpected(&self, tally: &Tally) -> u64 {
        let none = Sender::default();
        let pairs = tally.devices.iter().enumerate();
        pairs
            .map(|(device, receiver)| {
                receiver
                    .seen
                    .missing_from(&self.devices.get(device).unwrap_or(&none).expected)
            })
            .sum()
    }
}

#[derive(Clone, Debug, Default)]
struct Receiver {
    seen: Bits,
    highest: Option<u64>,
}

/// What one arrival was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArrivalKind {
    /// Seen for the first time, later than all before it of its device.
    InOrder,
    /// Seen for the first time, after a later one of its device.
    Overtaken,
    Again,
    /// No device of this run sends it.
    Foreign,
}

#[derive(Clone, Debug)]
pub struct Tally {
    devices: Vec<Receiver>,
    received: u64,
    delivered: u64,
    doubled: u64,
    out_of_order: u64,
    foreign: u64,
}

impl Tally {
    /// Nothing received yet from `devices` devices.
    pub fn new(devices: u32) -> Self {
        let devices = vec![Receiver::default(); usize::try_from(devices).unwrap_or_default()];
        Self {
            devices,
            received: 0,
            delivered: 0,
            doubled: 0,
            out_of_order: 0,
            foreign: 0,
        }
    }

    pub fn receive(&mut self, name: SimulatedId) -> ArrivalKind {
        self.received += 1;
        // A sequence number nobody can have reached would grow the set without bound.
        const BEYOND_ANY_RUN: u64 = 1 << 40;
        let Some(receiver) = self
            .devices
            .get_mut(name.device as usize)
            .filter(|_| name.seq < BEYOND_ANY_RUN)
        else {
            self.foreign += 1;
            return ArrivalKind::Foreign;
        };
        if !receiver.seen.insert(name.seq) {
            self.doubled += 1;
            return ArrivalKind::Again;
        }
        self.delivered += 1;
        if receiver.highest.is_some_and(|highest| name.seq < highest) {
            self.out_of_order += 1;
            return ArrivalKind::Overtaken;
        }
        receiver.highest = Some(name.seq);
        ArrivalKind::InOrder
    }

    /// Something arrived that no device of this run sends.
    pub fn receive_foreign(&mut self) {
        self.received += 1;
        self.foreign += 1;
    }

    pub fn received(&self) -> u64 {
        self.received
    }

    /// Different messages that arrived.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Arrivals of what had arrived before.
    pub fn doubled(&self) -> u64 {
        self.doubled
    }

    /// First arrivals after a later message of the same device.
    pub fn out_of_order(&self) -> u64 {
        self.out_of_order
    }

    /// Arrivals that are of no device of this run.
    pub fn foreign(&self) -> u64 {
        self.foreign
    }
}

#[cfg(test)]
mod tests;
