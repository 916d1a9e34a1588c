//! The rule: when a device's alarm is raised and when it is cleared. Time is an argument.

use std::time::Duration;

use tidegate_sdk::prelude::*;

use crate::Settings;

record! {
    /// What is remembered of a device.
    #[derive(Default, PartialEq)]
    pub struct Device {
        /// The alarm that is raised.
        #[serde(default)]
        pub raised: Option<Side>,
        /// The change that has yet to last.
        #[serde(default)]
        pub pending: Option<Pending>,
    }
}

record! {
    /// A change that has yet to last.
    #[derive(Copy, PartialEq)]
    pub struct Pending {
        /// What will be raised.
        pub to: Option<Side>,
        /// The first reading that asked for it, microseconds since 1970.
        pub since_us: u64,
        /// The last reading.
        pub value: f64,
    }
}

record! {
    /// Which bound was left.
    #[derive(Copy, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Side {
        /// The upper one.
        Above,
        /// The lower one.
        Below,
    }
}

/// A change of a device's alarm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    pub from: Option<Side>,
    pub to: Option<Side>,
    pub value: f64,
    pub since_us: u64,
    pub at_us: u64,
}

/// The bounds; one that is not set is infinitely far.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    above: f64,
    below: f64,
    hysteresis: f64,
    hold_us: u64,
}

impl Rule {
    pub fn new(settings: &Settings) -> Result<Self> {
        let (above, below) = (settings.above.unwrap_or(f64::INFINITY), settings.below.unwrap_or(f64::NEG_INFINITY));
        if settings.above.is_none() && settings.below.is_none() {
            return Err("set `above`, `below` or both".into());
        }
        if below > above {
            return Err("`below` is above `above`: every reading would raise an alarm".into());
        }
        for (name, number) in [("hysteresis", settings.hysteresis), ("hold_seconds", settings.hold_seconds)] {
            if number < 0.0 {
                return Err(format!("`{name}` is negative").into());
            }
        }
        // Saturates far beyond any useful time.
        Ok(Self { above, below, hysteresis: settings.hysteresis, hold_us: (settings.hold_seconds * 1e6) as u64 })
    }

    /// Often enough for a wait to end within a quarter of its length.
    pub fn tick_every(&self) -> Duration {
        match self.hold_us {
            0 => Duration::ZERO,
            hold_us => Duration::from_micros(hold_us / 4).clamp(Duration::from_millis(250), Duration::from_secs(10)),
        }
    }

    pub fn limit(&self, side: Side) -> f64 {
        match side {
            Side::Above => self.above,
            Side::Below => self.below,
        }
    }

    /// A reading. Writes to the device only where something changes, so that quiet devices cost no saving.
    pub fn read(&self, device: &mut impl std::ops::DerefMut<Target = Device>, value: f64, at_us: u64) -> Option<Change> {
        let to = self.wanted(value, device.raised);
        if to == device.raised {
            if device.pending.is_some() {
                device.pending = None;
            }
            return None;
        }
        let since_us = device.pending.filter(|pending| pending.to == to).map_or(at_us, |pending| pending.since_us);
        if at_us.saturating_sub(since_us) < self.hold_us {
            device.pending = Some(Pending { to, since_us, value });
            return None;
        }
        let change = Change { from: device.raised, to, value, since_us, at_us };
        **device = Device { raised: to, pending: None };
        Some(change)
    }

    /// No reading, but time went by.
    pub fn wait(&self, device: &mut impl std::ops::DerefMut<Target = Device>, now_us: u64) -> Option<Change> {
        let Pending { to, since_us, value } = device.pending?;
        if now_us.saturating_sub(since_us) < self.hold_us {
            return None;
        }
        let change = Change { from: device.raised, to, value, since_us, at_us: now_us };
        **device = Device { raised: to, pending: None };
        Some(change)
    }

    /// The alarm that this value wants, given the one that is raised.
    fn wanted(&self, value: f64, raised: Option<Side>) -> Option<Side> {
        match raised {
            Some(Side::Above) if value >= self.above - self.hysteresis => Some(Side::Above),
            Some(Side::Below) if value <= self.below + self.hysteresis => Some(Side::Below),
            _ if value > self.above => Some(Side::Above),
            _ if value < self.below => Some(Side::Below),
            _ => None,
        }
    }
}
