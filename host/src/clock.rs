//! The one place that reads the clocks, and the calendar for what people read. Stages take [`Now`] as an argument.

mod window;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use window::{ChangeWindow, WindowState};

/// Before this moment (2024-01-01) a wall clock has certainly not been set: small gateways have no battery clock.
const EARLIEST_PLAUSIBLE: WallTime = WallTime(1_704_067_200_000_000);

/// A moment by one of the three clocks, in microseconds; the arithmetic that one has, and none that mixes two.
macro_rules! moment {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone,
            Copy,
            Debug,
            Default,
            PartialEq,
            Eq,
            Hash,
            PartialOrd,
            Ord,
            serde::Serialize,
            serde::Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The moment so many microseconds later, or the last that there is.
            #[must_use]
            pub const fn plus_us(self, us: u64) -> Self {
                Self(self.0.saturating_add(us))
            }

            /// The moment so many microseconds earlier, or the first that there is.
            #[must_use]
            pub const fn minus_us(self, us: u64) -> Self {
                Self(self.0.saturating_sub(us))
            }

            /// Microseconds since `earlier`; 0 when it is not earlier.
            pub const fn us_since(self, earlier: Self) -> u64 {
                self.0.saturating_sub(earlier.0)
            }

            /// Microseconds since `earlier`; `None` when that is later, by another run of this clock.
            pub const fn checked_us_since(self, earlier: Self) -> Option<u64> {
                self.0.checked_sub(earlier.0)
            }

            /// Time since `earlier`; none when it is not earlier.
            pub const fn since(self, earlier: Self) -> Duration {
                Duration::from_micros(self.us_since(earlier))
            }
        }
    };
}

moment! {
    /// The wall clock, in microseconds since 1970. It jumps when it is set.
    WallTime
}

moment! {
    /// The monotonic clock, in microseconds since the machine booted, time asleep included.
    Uptime
}

moment! {
    /// Time that the gateway has run, over restarts, in microseconds: see [`RunningClock`].
    RunningTime
}

impl RunningTime {
    /// Nothing has run yet: what is due then is due at once.
    pub const START: Self = Self(0);
}

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    pub wall: WallTime,
    pub uptime: Uptime,
}

impl Now {
    pub fn read() -> Self {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let uptime = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let uptime_us =
            uptime.tv_sec.unsigned_abs() * 1_000_000 + uptime.tv_nsec.unsigned_abs() / 1_000;
        Self {
            wall: WallTime(u64::try_from(wall.as_micros()).unwrap_or(u64::MAX)),
            uptime: Uptime(uptime_us),
        }
    }

    /// Whether the wall clock can be believed.
    pub fn is_set(self) -> bool {
        self.wall >= EARLIEST_PLAUSIBLE
    }
}

/// Time a gateway has run, over restarts: it stands still while the gateway is off, and never jumps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunningClock {
    /// What it showed when the gateway started.
    pub base: RunningTime,
    /// Uptime of the machine when the gateway started.
    pub started: Uptime,
}

impl RunningClock {
    /// One that goes on from there as of now.
    pub fn going_on_from(base: RunningTime) -> Self {
        Self {
            base,
            started: Now::read().uptime,
        }
    }

    /// What it shows now.
    pub fn now(self) -> RunningTime {
        self.at(Now::read().uptime)
    }

    /// How long the gateway has run since its start when it shows `now`.
    pub fn ran(self, now: RunningTime) -> Duration {
        now.since(self.base)
    }

    /// What it shows at this uptime of the machine; before the start it stood still.
    pub fn at(self, uptime: Uptime) -> RunningTime {
        self.base.plus_us(uptime.us_since(self.started))
    }
}

/// The clocks that a stage is given: the machine's, or in a test one that stands still until it is moved.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    running: RunningClock,
    #[cfg(test)]
    by_hand: Option<by_hand::ByHand>,
}

impl Clock {
    /// The machine's clocks, and `running` for what must not jump over a restart.
    pub fn new(running: RunningClock) -> Self {
        Self {
            running,
            #[cfg(test)]
            by_hand: None,
        }
    }

    /// Both clocks, read together.
    pub fn now(&self) -> Now {
        #[cfg(test)]
        if let Some(by_hand) = &self.by_hand {
            return by_hand.now();
        }
        Now::read()
    }

    /// The moment that deadlines are held against.
    pub fn moment(&self) -> Instant {
        #[cfg(test)]
        if let Some(by_hand) = &self.by_hand {
            return by_hand.moment();
        }
        Instant::now()
    }

    /// How long ago `begun` was.
    pub fn since(&self, begun: Instant) -> Duration {
        self.moment().saturating_duration_since(begun)
    }

    /// Processor time that the calling thread has taken.
    pub fn thread_cpu(&self) -> Duration {
        thread_cpu()
    }

    /// Time the gateway has run, at this uptime of the machine.
    pub fn running(&self, uptime: Uptime) -> RunningTime {
        self.running.at(uptime)
    }
}

#[cfg(test)]
mod by_hand {
    use std::sync::{Arc, Mutex};

    use super::{Clock, Duration, Instant, Now};

    /// A clock that only its test moves.
    #[derive(Clone, Debug)]
    pub struct ByHand(Arc<Mutex<(Now, Instant)>>);

    impl ByHand {
        pub fn now(&self) -> Now {
            self.0.lock().unwrap().0
        }

        pub fn moment(&self) -> Instant {
            self.0.lock().unwrap().1
        }
    }

    impl Clock {
        /// One that shows the present moment until it is moved.
        pub fn by_hand() -> Self {
            let shown = Arc::new(Mutex::new((Now::read(), Instant::now())));
            Self {
                by_hand: Some(ByHand(shown)),
                ..Self::default()
            }
        }

        pub fn advance(&self, by: Duration) {
            let mut shown = self.by_hand.as_ref().unwrap().0.lock().unwrap();
            let by_us = by.as_micros() as u64;
            let now = Now {
                wall: shown.0.wall.plus_us(by_us),
                uptime: shown.0.uptime.plus_us(by_us),
            };
            *shown = (now, shown.1 + by);
        }
    }
}

/// Waits for a moment, where there is one; without one it never ends.
pub async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Processor time that the calling thread has taken: what others do on the machine does not count.
pub fn thread_cpu() -> Duration {
    let taken = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    // Below a second: fits.
    Duration::new(
        taken.tv_sec.unsigned_abs(),
        u32::try_from(taken.tv_nsec).unwrap_or_default(),
    )
}

/// A wall clock in microseconds as RFC 3339 has it, UTC, to the millisecond: `2026-11-21T06:26:11.123Z`.
pub fn utc(wall_us: u64) -> String {
    let (seconds, millis) = (wall_us / 1_000_000, wall_us / 1_000 % 1_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01, so that the leap day is the last one of a year; 400 years have 146,097 days.
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (
        day - (153 * month + 2) / 5 + 1,
        if month < 10 { month + 3 } else { month - 9 },
    );
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// The end of a day, `2027-06-30` in UTC, in microseconds since 1970; `None` when there is no such day.
pub fn day(text: &str) -> Option<u64> {
    let mut parts = text.splitn(3, '-').map(str::parse::<u64>);
    let (year, month, day) = (
        parts.next()?.ok()?,
        parts.next()?.ok()?,
        parts.next()?.ok()?,
    );
    if !(1970..=9_999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // As in [`utc`]: a year begins in March.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let end_us = (days - 719_468 + 1) * 86_400_000_000;
    // The 30th of February is another day's name.
    utc(end_us - 1).starts_with(text).then_some(end_us)
}

/// A moment, `2026-03-29T00:59:00Z` or with a fraction of the second, in microseconds since 1970; `None` when there is none.
pub fn moment(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let (second, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut parts = second
        .splitn(3, ':')
        .map(|part| part.parse::<u64>().ok().filter(|_| part.len() == 2));
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    let is_fraction = fraction.len() <= 6 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    if hour > 23 || minute > 59 || second > 59 || !is_fraction {
        return None;
    }
    let fraction_us: u64 = format!("{fraction:0<6}").parse().ok()?;
    let begins_us = day(date)? - 86_400_000_000;
    Some(begins_us + ((hour * 60 + minute) * 60 + second) * 1_000_000 + fraction_us)
}

#[cfg(test)]
mod tests {
    use super::{day, moment, utc};

    #[test]
    fn a_moment_is_read_as_it_is_shown() {
        for text in [
            "1970-01-01T00:00:00.000Z",
            "2026-03-29T00:59:07.125Z",
            "2024-02-29T23:59:59.999Z",
        ] {
            assert_eq!(utc(moment(text).unwrap()), text);
        }
        assert_eq!(
            moment("2026-03-29T00:59:00Z"),
            moment("2026-03-29T00:59:00.000Z")
        );
        for text in [
            "2026-03-29",
            "2026-03-29T24:00:00Z",
            "2026-03-29T00:59Z",
            "2026-03-29T00:59:00",
            "2026-13-29T00:59:00Z",
            "",
        ] {
            assert_eq!(moment(text), None, "{text}");
        }
    }

    #[test]
    fn a_day_ends_where_the_next_begins() {
        for (text, next) in [
            ("1970-01-01", "1970-01-02"),
            ("2024-02-29", "2024-03-01"),
            ("2026-12-31", "2027-01-01"),
        ] {
            assert_eq!(utc(day(text).unwrap()), format!("{next}T00:00:00.000Z"));
        }
        for text in [
            "2026-02-30",
            "2026-13-01",
            "2026-1-1",
            "1969-12-31",
            "2026-11",
            "soon",
            "",
        ] {
            assert_eq!(day(text), None, "{text}");
        }
    }

    #[test]
    fn the_calendar_knows_leap_years_and_the_turn_of_centuries() {
        for (seconds, shown) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_704_067_199, "2023-12-31T23:59:59.000Z"),
            (1_709_251_200, "2024-03-01T00:00:00.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(utc(seconds * 1_000_000), shown);
        }
        assert_eq!(utc(1_704_067_200_123_456), "2024-01-01T00:00:00.123Z");
    }
}
