//! Which devices are traced, and how many messages beside theirs. Pure but for two numbers that change while messages come.

use std::sync::atomic::{AtomicU64, Ordering};

use super::span::mixed;
use crate::clock::Uptime;
use crate::message::key_hash;

/// Messages a second that are traced since their sender keeps their trace, and how many may come at once: a sender that marks
/// all of them costs no more than that.
const FOREIGN_PER_SECOND: u64 = 10;
const FOREIGN_AT_ONCE: u64 = 20;
const FOREIGN_EVERY_US: u64 = 1_000_000 / FOREIGN_PER_SECOND;

/// The share of the devices that are traced: those whose hash is below a limit, so that a larger share has all that a
/// smaller one had.
#[derive(Debug, Default)]
pub(super) struct Share {
    /// 0: none. The largest number: all.
    below: AtomicU64,
    /// As it was given, the bits of a float.
    given: AtomicU64,
}

impl Share {
    /// From now on it is `share`, 0 to 1.
    pub(super) fn put(&self, share: f64) {
        let below = if share >= 1.0 {
            u64::MAX
        } else {
            // What does not fit is cut off: below 0 and no number are 0.
            (share * u64::MAX as f64) as u64
        };
        self.below.store(below, Ordering::Relaxed);
        self.given.store(share.to_bits(), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> f64 {
        f64::from_bits(self.given.load(Ordering::Relaxed))
    }

    pub(super) fn is_on(&self) -> bool {
        self.below.load(Ordering::Relaxed) > 0
    }

    pub(super) fn takes(&self, device: &[u8]) -> bool {
        let below = self.below.load(Ordering::Relaxed);
        // What picks the lane is not spread well enough over all numbers: names of devices differ in their last letters.
        below == u64::MAX || mixed(key_hash(device)) < below
    }
}

/// How many more may be traced: one more every tenth of a second.
#[derive(Debug)]
pub(super) struct ForeignRate {
    left: u64,
    counted: Uptime,
}

impl Default for ForeignRate {
    fn default() -> Self {
        Self {
            left: FOREIGN_AT_ONCE,
            counted: Uptime(0),
        }
    }
}

impl ForeignRate {
    pub(super) fn takes(&mut self, now: Uptime) -> bool {
        let more = now.us_since(self.counted) / FOREIGN_EVERY_US;
        if more > 0 {
            self.left = self.left.saturating_add(more).min(FOREIGN_AT_ONCE);
            self.counted = if self.left == FOREIGN_AT_ONCE {
                now
            } else {
                self.counted.plus_us(more * FOREIGN_EVERY_US)
            };
        }
        let takes = self.left > 0;
        self.left -= u64::from(takes);
        takes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(share: f64, devices: u32) -> Vec<u32> {
        let sampling = Share::default();
        sampling.put(share);
        (0..devices)
            .filter(|number| sampling.takes(format!("device-{number:05}").as_bytes()))
            .collect()
    }

    #[test]
    fn a_share_is_met_and_a_larger_one_has_all_of_a_smaller_one() {
        let (one, five) = (taken(0.01, 50_000), taken(0.05, 50_000));
        assert!((400..600).contains(&one.len()), "{}", one.len());
        assert!((2_300..2_700).contains(&five.len()), "{}", five.len());
        assert!(one.iter().all(|device| five.contains(device)));
        assert_eq!(taken(0.01, 50_000), one, "a device is seen whole");
        assert_eq!(taken(1.0, 500).len(), 500);
        for none in [0.0, -1.0, f64::NAN] {
            assert_eq!(taken(none, 500).len(), 0);
        }
    }

    #[test]
    fn what_others_keep_is_traced_so_often_a_second_and_no_more() {
        let mut rate = ForeignRate::default();
        let at = |ms: u64| Uptime(60_000_000 + ms * 1_000);
        let takes =
            |rate: &mut ForeignRate, ms| (0..1_000).filter(|_| rate.takes(at(ms))).count() as u64;
        assert_eq!(takes(&mut rate, 0), FOREIGN_AT_ONCE);
        assert_eq!(takes(&mut rate, 50), 0);
        assert_eq!(takes(&mut rate, 150), 1);
        assert_eq!(takes(&mut rate, 200), 1, "halves count");
        assert_eq!(takes(&mut rate, 1_200), FOREIGN_PER_SECOND);
        assert_eq!(takes(&mut rate, 600_000), FOREIGN_AT_ONCE);
        assert_eq!(takes(&mut rate, 0), 0, "a clock that goes back gives none");
    }
}
