//! What was acknowledged to the sender against what arrived: lost, doubled, out of order per device.

use std::collections::BTreeMap;
use std::fmt;

/// What a load sent: message `i` is number `i / devices` of device `i % devices`.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Number of devices.
    pub devices: usize,
    /// Whether the broker acknowledged message `i`.
    pub acknowledged: Vec<bool>,
}

impl Sent {
    /// Number of messages the broker acknowledged.
    pub fn count(&self) -> usize {
        self.acknowledged.iter().filter(|acknowledged| **acknowledged).count()
    }

    /// Number of messages the broker acknowledged of one device.
    pub fn count_of(&self, device: usize) -> usize {
        self.acknowledged.iter().skip(device).step_by(self.devices).filter(|acknowledged| **acknowledged).count()
    }

    /// What became of them. `expected` says which messages should have come through, by device and number.
    pub fn against(&self, arrived: &Tally, expected: impl Fn(usize, u64) -> bool) -> Verdict {
        let mut verdict = Verdict { doubled: arrived.doubled, disordered: arrived.disordered, ..Verdict::default() };
        for (index, acknowledged) in self.acknowledged.iter().enumerate() {
            let (device, number) = (index % self.devices, (index / self.devices) as u64);
            let seen = arrived.has(&device_name(device), number);
            let wanted = expected(device, number);
            verdict.sent += usize::from(*acknowledged && wanted);
            verdict.lost += usize::from(*acknowledged && wanted && !seen);
            verdict.unexpected += usize::from(seen && !wanted);
        }
        verdict
    }
}

/// The name of device number `device`.
pub fn device_name(device: usize) -> String {
    format!("d{device}")
}

/// What arrived.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    devices: BTreeMap<String, Numbers>,
    count: u64,
    doubled: u64,
    disordered: u64,
}

#[derive(Clone, Debug, Default)]
struct Numbers {
    seen: Vec<bool>,
    highest: Option<u64>,
}

impl Tally {
    /// Message `number` of `device` arrived.
    pub fn note(&mut self, device: &str, number: u64) {
        let numbers = match self.devices.get_mut(device) {
            Some(numbers) => numbers,
            None => self.devices.entry(device.to_owned()).or_default(),
        };
        let place = usize::try_from(number).expect("numbers of the tests are small");
        if numbers.seen.len() <= place {
            numbers.seen.resize(place + 1, false);
        }
        if std::mem::replace(&mut numbers.seen[place], true) {
            self.doubled += 1;
            return;
        }
        self.count += 1;
        self.disordered += u64::from(numbers.highest.is_some_and(|highest| number < highest));
        numbers.highest = numbers.highest.max(Some(number));
    }

    /// Number of different messages that arrived.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Number of arrivals of a message that had arrived before.
    pub fn doubled(&self) -> u64 {
        self.doubled
    }

    /// Number of different messages that arrived of one device.
    pub fn count_of(&self, device: &str) -> usize {
        self.devices.get(device).map_or(0, |numbers| numbers.seen.iter().filter(|seen| **seen).count())
    }

    /// What arrived here or there; order is each place's own.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        let mut both = self.clone();
        for (device, numbers) in &other.devices {
            for (number, _) in (0..).zip(&numbers.seen).filter(|(_, seen)| **seen) {
                both.note(device, number);
            }
        }
        both.doubled += other.doubled;
        both.disordered = self.disordered + other.disordered;
        both
    }

    fn has(&self, device: &str, number: u64) -> bool {
        let seen = self.devices.get(device).map(|numbers| &numbers.seen);
        seen.and_then(|seen| seen.get(usize::try_from(number).ok()?)).is_some_and(|seen| *seen)
    }
}

/// The comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Acknowledged to the sender and to be expected upstream.
    pub sent: usize,
    /// Of these, never arrived.
    pub lost: usize,
    /// Arrivals of a message that had arrived before.
    pub doubled: u64,
    /// First arrivals after a later message of the same device.
    pub disordered: u64,
    /// Arrived although they should have been held back.
    pub unexpected: usize,
}

impl Verdict {
    /// At least once: nothing lost, first occurrences in order.
    pub fn is_at_least_once(&self) -> bool {
        self.sent > 0 && self.lost == 0 && self.disordered == 0 && self.unexpected == 0
    }

    /// The same, and nothing twice.
    pub fn is_exactly_once(&self) -> bool {
        self.is_at_least_once() && self.doubled == 0
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, lost, doubled, disordered, unexpected } = self;
        write!(f, "sent {sent}, lost {lost}, doubled {doubled}, out of order {disordered}, unexpected {unexpected}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_places_are_added_up_and_what_is_in_both_is_doubled() {
        let (mut here, mut there) = (Tally::default(), Tally::default());
        here.note("d0", 0);
        here.note("d0", 3);
        there.note("d0", 1);
        there.note("d0", 0);
        let both = here.with(&there);
        assert_eq!((both.count(), both.doubled, both.disordered), (3, 1, 1));
    }

    #[test]
    fn the_checker_sees_what_is_lost_doubled_and_out_of_order() {
        let mut tally = Tally::default();
        for (device, number) in [("d0", 0), ("d0", 2), ("d0", 1), ("d0", 2), ("d1", 0)] {
            tally.note(device, number);
        }
        let sent = Sent { devices: 2, acknowledged: vec![true; 6] };
        let verdict = sent.against(&tally, |_, _| true);
        assert_eq!(verdict, Verdict { sent: 6, lost: 2, doubled: 1, disordered: 1, unexpected: 0 });
    }
}
