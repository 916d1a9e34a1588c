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
    /// The first so many of each device were acknowledged, and nothing more was sent.
    pub fn first_of_each(counts: &[usize]) -> Self {
        let devices = counts.len();
        let most = counts.iter().max().copied().unwrap_or_default();
        let acknowledged =
            (0..most * devices).map(|index| index / devices < counts[index % devices]);
        Self {
            devices,
            acknowledged: acknowledged.collect(),
        }
    }

    /// Number of messages the broker acknowledged.
    pub fn count(&self) -> usize {
        self.acknowledged
            .iter()
            .filter(|acknowledged| **acknowledged)
            .count()
    }

    /// Number of messages the broker acknowledged of one device.
    pub fn count_of(&self, device: usize) -> usize {
        self.acknowledged
            .iter()
            .skip(device)
            .step_by(self.devices)
            .filter(|acknowledged| **acknowledged)
            .count()
    }

    /// What became of them. `expected` says which messages should have come through, by device and number.
    pub fn against(&self, arrived: &Tally, expected: impl Fn(usize, u64) -> bool) -> Verdict {
        let mut verdict = Verdict {
            doubled: arrived.doubled,
            disordered: arrived.disordered,
            ..Verdict::default()
        };
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
    /// Of messages in envelopes: the numbers that arrived, by boot.
    ids: BTreeMap<u64, Vec<bool>>,
    count: u64,
    doubled: u64,
    again: u64,
    disordered: u64,
}

#[derive(Clone, Debug, Default)]
struct Numbers {
    seen: Vec<bool>,
    highest: Option<u64>,
}

impl Tally {
    /// Message `number` of `device` arrived in an envelope with this id.
    pub fn note_as(&mut self, device: &str, number: u64, (boot, place): (u64, u64)) {
        self.again += u64::from(see(self.ids.entry(boot).or_default(), place));
        self.note(device, number);
    }

    /// Message `number` of `device` arrived.
    pub fn note(&mut self, device: &str, number: u64) {
        let numbers = match self.devices.get_mut(device) {
            Some(numbers) => numbers,
            None => self.devices.entry(device.to_owned()).or_default(),
        };
        if see(&mut numbers.seen, number) {
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

    /// Of these in envelopes, number of those whose id had arrived before: the uplink sent them again. The others were taken
    /// from the field broker again.
    pub fn again(&self) -> u64 {
        self.again
    }

    /// Number of different messages that arrived of one device.
    pub fn count_of(&self, device: &str) -> usize {
        self.devices.get(device).map_or(0, |numbers| {
            numbers.seen.iter().filter(|seen| **seen).count()
        })
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
        seen.and_then(|seen| seen.get(usize::try_from(number).ok()?))
            .is_some_and(|seen| *seen)
    }
}

/// Notes `number`; answers whether it was there.
fn see(seen: &mut Vec<bool>, number: u64) -> bool {
    let place = usize::try_from(number).expect("numbers of the tests are small");
    if seen.len() <= place {
        seen.resize(place + 1, false);
    }
    std::mem::replace(&mut seen[place], true)
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
        let Self {
            sent,
            lost,
            doubled,
            disordered,
            unexpected,
        } = self;
        write!(
            f,
            "sent {sent}, lost {lost}, doubled {doubled}, out of order {disordered}, unexpected {unexpected}"
        )
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
    fn a_double_with_a_new_id_was_taken_again_and_one_with_its_own_was_sent_again() {
        let mut tally = Tally::default();
        for id in [(1, 0), (2, 0), (1, 0), (2, 1)] {
            tally.note_as("d0", 7, id);
        }
        assert_eq!((tally.count(), tally.doubled(), tally.again()), (1, 3, 1));
    }

    #[test]
    fn the_checker_sees_what_is_lost_doubled_and_out_of_order() {
        let mut tally = Tally::default();
        for (device, number) in [("d0", 0), ("d0", 2), ("d0", 1), ("d0", 2), ("d1", 0)] {
            tally.note(device, number);
        }
        let sent = Sent {
            devices: 2,
            acknowledged: vec![true; 6],
        };
        let verdict = sent.against(&tally, |_, _| true);
        assert_eq!(
            verdict,
            Verdict {
                sent: 6,
                lost: 2,
                doubled: 1,
                disordered: 1,
                unexpected: 0
            }
        );
    }
}
