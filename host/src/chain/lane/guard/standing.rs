//! Whose fault a fault is: the plugin's, or the device's whose message it was.
//!
//! A fault speaks against the plugin when it comes from a device that it has served well, or when it serves nobody well at
//! the time. What a stranger, or a device that is known to be bad, makes it fail on costs that message only: the device
//! goes into quarantine for itself. Each lane has a table of its own, for each plugin; a device is known by the hash of its
//! key, and one that finds its place taken is a stranger again, which only makes the plugin's breaker slower.

use crate::clock::Uptime;
use std::time::Duration;

/// Devices that are known at a time, in a lane.
const KNOWN: usize = 512;

/// A table begins with so many places, and doubles where two devices want the same one: most lanes of many flows have few.
const FEW: usize = 8;

/// While nothing fails, the devices of one batch in so many are learnt.
const LEARNS: u32 = 8;

/// What is known of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeviceStanding {
    Stranger,
    /// The plugin did well on its last message.
    Good,
    /// The plugin failed on its last message.
    Bad,
}

/// What a fault says about the plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// Nothing: it is the device's.
    None,
    Counts,
    /// That it does not do its work: one device fails for as long as the window, and nobody else is served.
    Proves,
}

#[derive(Debug)]
pub(crate) struct Standings {
    /// The hash of a device's key, its lowest bit saying whether it is a good one; 0 is a free place.
    places: Vec<u64>,
    window_us: u64,
    /// The device that failed first since somebody was served well, since when, and whether another one has since.
    first: Option<(u64, Uptime)>,
    are_several: bool,
    /// Until then every batch is learnt.
    wary_until: Uptime,
    batches: u32,
}

impl Standings {
    pub(crate) fn new(window: Duration) -> Self {
        let window_us = u64::try_from(window.as_micros()).unwrap_or(u64::MAX);
        Self {
            places: Vec::new(),
            window_us,
            first: None,
            are_several: false,
            wary_until: Uptime::default(),
            batches: 0,
        }
    }

    pub(crate) fn of(&self, device: u64) -> DeviceStanding {
        match self.places.get(place(device, self.places.len())) {
            Some(known) if *known == good(device) => DeviceStanding::Good,
            Some(known) if *known == bad(device) => DeviceStanding::Bad,
            _ => DeviceStanding::Stranger,
        }
    }

    /// Whether the devices of a batch that goes well now are to be told by [`Standings::serve`].
    pub(crate) fn learns(&mut self, now: Uptime) -> bool {
        self.batches = self.batches.wrapping_add(1);
        now < self.wary_until || self.batches % LEARNS == 1
    }

    /// The plugin did well on a message of each of these.
    pub(crate) fn serve(&mut self, devices: &[u64]) {
        for device in devices {
            *self.room(*device) = good(*device);
        }
        (self.first, self.are_several) = (None, false);
    }

    /// The plugin failed on a message of this one; `serves` says whether it did well on any within the window.
    pub(crate) fn fail(&mut self, device: u64, serves: bool, now: Uptime) -> Evidence {
        self.wary_until = now.plus_us(self.window_us);
        let standing = self.of(device);
        self.mark_bad(device);
        if serves {
            return if standing == DeviceStanding::Good {
                Evidence::Counts
            } else {
                Evidence::None
            };
        }
        match self.first {
            None => self.first = Some((device, now)),
            Some((first, _)) if first != device => self.are_several = true,
            Some(_) => {}
        }
        match self.first {
            _ if self.are_several => Evidence::Counts,
            Some((_, since)) if now.us_since(since) >= self.window_us => Evidence::Proves,
            _ => Evidence::None,
        }
    }

    /// A bad one never takes a good one's place: names that are made up push nobody out.
    fn mark_bad(&mut self, device: u64) {
        let known = self.room(device);
        if *known == 0 || *known & 1 == 0 || *known == good(device) {
            *known = bad(device);
        }
    }

    /// The place of a device, its own or a free one unless the table is as large as it may be.
    fn room(&mut self, device: u64) -> &mut u64 {
        loop {
            let place = place(device, self.places.len());
            let is_its = |known: &u64| *known == 0 || [good(device), bad(device)].contains(known);
            if self.places.len() == KNOWN || self.places.get(place).is_some_and(is_its) {
                return &mut self.places[place];
            }
            self.grow();
        }
    }

    /// What had a place of its own has one again.
    fn grow(&mut self) {
        let places = (self.places.len() * 2).clamp(FEW, KNOWN);
        for known in std::mem::replace(&mut self.places, vec![0; places]) {
            if known != 0 {
                self.places[place(known, places)] = known;
            }
        }
    }
}

fn good(device: u64) -> u64 {
    device | 1
}

/// Never 0, which is a free place.
fn bad(device: u64) -> u64 {
    (device & !1).max(2)
}

/// FNV's low bits are weak for short keys, so the high half is folded in. The lowest bit has no part in it.
fn place(device: u64, places: usize) -> usize {
    ((device ^ device >> 32) >> 1) as usize % places.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::key_hash;

    const SECOND: u64 = 1_000_000;

    fn standings() -> Standings {
        Standings::new(Duration::from_secs(30))
    }

    fn device(name: &str) -> u64 {
        key_hash(name.as_bytes())
    }

    #[test]
    fn a_device_that_was_served_well_counts_once_and_strangers_do_not() {
        let mut table = standings();
        table.serve(&[device("a"), device("b")]);
        assert_eq!(table.fail(device("a"), true, Uptime(0)), Evidence::Counts);
        assert_eq!(
            table.fail(device("a"), true, Uptime(0)),
            Evidence::None,
            "it is known to be bad"
        );
        for number in 0..1_000 {
            assert_eq!(
                table.fail(device(&format!("rogue{number}")), true, Uptime(0)),
                Evidence::None
            );
        }
        assert_eq!(
            table.of(device("b")),
            DeviceStanding::Good,
            "names that are made up push no good one out"
        );
        table.serve(&[device("a")]);
        assert_eq!(
            table.fail(device("a"), true, Uptime(0)),
            Evidence::Counts,
            "it was good again"
        );
    }

    #[test]
    fn a_table_is_as_large_as_its_devices_want_it_and_forgets_none_for_that() {
        let mut table = standings();
        table.serve(&[device("a")]);
        assert_eq!(table.places.len(), FEW);
        let devices: Vec<u64> = (0..100)
            .map(|number| device(&format!("d{number}")))
            .collect();
        devices.iter().for_each(|device| table.serve(&[*device]));
        assert!(table.places.len() <= KNOWN);
        // Only who has the same place in the largest table loses it to a later one.
        let is_last = |index: usize| {
            devices[index + 1..]
                .iter()
                .all(|later| place(*later, KNOWN) != place(devices[index], KNOWN))
        };
        for index in (0..devices.len()).filter(|index| is_last(*index)) {
            assert_eq!(table.of(devices[index]), DeviceStanding::Good, "{index}");
        }
    }

    #[test]
    fn where_nobody_is_served_well_several_devices_count_and_one_after_a_window() {
        let mut table = standings();
        assert_eq!(table.fail(device("a"), false, Uptime(0)), Evidence::None);
        assert_eq!(
            table.fail(device("a"), false, Uptime(29 * SECOND)),
            Evidence::None
        );
        assert_eq!(
            table.fail(device("a"), false, Uptime(30 * SECOND)),
            Evidence::Proves
        );
        assert_eq!(
            table.fail(device("b"), false, Uptime(31 * SECOND)),
            Evidence::Counts
        );
        assert_eq!(
            table.fail(device("a"), false, Uptime(31 * SECOND)),
            Evidence::Counts
        );
        table.serve(&[device("c")]);
        assert_eq!(
            table.fail(device("a"), false, Uptime(40 * SECOND)),
            Evidence::None,
            "somebody was served well meanwhile"
        );
    }

    #[test]
    fn one_batch_in_eight_is_learnt_and_every_one_after_a_fault() {
        let mut table = standings();
        let learnt = |table: &mut Standings, now| (0..16).filter(|_| table.learns(now)).count();
        assert_eq!(learnt(&mut table, Uptime(0)), 2);
        table.fail(device("a"), true, Uptime(0));
        assert_eq!(
            (
                learnt(&mut table, Uptime(29 * SECOND)),
                learnt(&mut table, Uptime(30 * SECOND))
            ),
            (16, 2)
        );
    }
}
