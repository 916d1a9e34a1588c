//! The rule: when a device is silent. Time is an argument.

use std::ops::DerefMut;
use std::time::Duration;

use tidegate_sdk::prelude::*;

record! {
    /// A moment by both clocks, microseconds.
    #[derive(Copy, Default, PartialEq, Eq)]
    pub struct Seen {
        /// What durations are told by.
        pub running_us: u64,
        /// Since 1970, for people; 0 for one that never was.
        pub wall_us: u64,
    }
}

record! {
    /// What is remembered of a device.
    #[derive(PartialEq, Eq)]
    pub struct Device {
        /// When it was last heard of.
        pub seen: Seen,
        /// Whether the alarm is raised.
        #[serde(default)]
        pub is_silent: bool,
        /// Its last topic, where the alarm's says more of it than the device.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        pub topic: String,
    }
}

impl Device {
    /// One that has to be heard of from now on.
    pub fn expected(running_us: u64) -> Self {
        let seen = Seen {
            running_us,
            wall_us: 0,
        };
        Self::heard(seen, "")
    }

    /// Bytes of it when it is saved, or a few more.
    pub fn weight(&self) -> usize {
        match self.topic.len() {
            0 => 56,
            length => 65 + length,
        }
    }

    /// One that was just heard of.
    pub fn heard(seen: Seen, topic: &str) -> Self {
        Self {
            seen,
            is_silent: false,
            topic: topic.to_owned(),
        }
    }
}

/// How long silence lasts.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    after: Period,
    forget_us: u64,
}

impl Rule {
    pub fn new(after: Period, forget: Option<Period>) -> Self {
        let forget = forget.unwrap_or(Period::seconds(30 * 86_400));
        Self {
            after,
            forget_us: forget.micros().max(after.micros() * 2),
        }
    }

    pub fn after_seconds(&self) -> f64 {
        self.after.get().as_secs_f64()
    }

    /// A sixteenth: with how late a sign of life is written, an alarm is late by an eighth at most.
    pub fn tick_every(&self) -> Duration {
        self.after.tick(16)
    }

    /// How old what is written of a device may be, so that not every reading is a change of the state.
    fn grain_us(&self) -> u64 {
        self.after.micros() / 16
    }

    /// A sign of life; tells whether the device was silent.
    pub fn hear(
        &self,
        device: &mut impl DerefMut<Target = Device>,
        seen: Seen,
        topic: &str,
    ) -> bool {
        let is_recent = device.seen.wall_us != 0
            && device.seen.running_us <= seen.running_us
            && seen.running_us - device.seen.running_us < self.grain_us();
        let was_silent = device.is_silent;
        if was_silent || !is_recent {
            **device = Device::heard(seen, topic);
        }
        was_silent
    }

    /// Time went by; tells whether the device is silent as of now.
    pub fn wait(&self, device: &mut impl DerefMut<Target = Device>, now_us: u64) -> bool {
        if device.seen.running_us > now_us {
            // The running clock of a store that was lost went further.
            device.seen.running_us = now_us;
        }
        let silence_us = now_us - device.seen.running_us;
        // It may have been heard of a grain later than is written.
        if device.is_silent || silence_us < self.after.micros() + self.grain_us() {
            return false;
        }
        device.is_silent = true;
        true
    }

    pub fn is_forgotten(&self, device: &Device, now_us: u64) -> bool {
        device.is_silent && now_us.saturating_sub(device.seen.running_us) >= self.forget_us
    }
}
