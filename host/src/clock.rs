//! The one place that reads the clocks. Stages take [`Now`] as an argument.

use std::time::{SystemTime, UNIX_EPOCH};

/// Before this moment (2024-01-01) a wall clock has certainly not been set: small gateways have no battery clock.
const EARLIEST_PLAUSIBLE_US: u64 = 1_704_067_200_000_000;

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Wall clock, microseconds since 1970.
    pub wall_us: u64,
    /// Monotonic clock, microseconds since the machine booted, time asleep included.
    pub uptime_us: u64,
}

impl Now {
    /// Reads both clocks.
    pub fn read() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let uptime = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let uptime_us = uptime.tv_sec.unsigned_abs() * 1_000_000 + uptime.tv_nsec.unsigned_abs() / 1_000;
        Self { wall_us: u64::try_from(wall.as_micros()).unwrap_or(u64::MAX), uptime_us }
    }

    /// Whether the wall clock can be believed.
    pub fn is_set(self) -> bool {
        self.wall_us >= EARLIEST_PLAUSIBLE_US
    }
}
