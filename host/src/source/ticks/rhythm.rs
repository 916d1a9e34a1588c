//! At which moments there is a tick. Pure, but for the machine's own zone, which somebody may change.

use std::fmt;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

/// A clock that was set by more than this shows another time of day; what it jumped over then is nobody's.
const OTHER_DAY: Duration = Duration::from_secs(3_600);

/// Where a clock stands.
#[derive(Clone, Debug)]
pub enum TickZone {
    /// In the machine's own zone, whichever that is at the time.
    Local,
    /// In that one, whichever the machine is in.
    Named(TimeZone),
}

impl TickZone {
    /// Finds one by its name: `local`, `utc`, or as in `Europe/Berlin`.
    ///
    /// # Errors
    /// The machine knows none of that name, in words.
    pub fn find(name: &str) -> Result<Self, String> {
        match name.to_ascii_lowercase().as_str() {
            "local" => Ok(Self::Local),
            "utc" => Ok(Self::Named(TimeZone::UTC)),
            _ => TimeZone::get(name)
                .map(Self::Named)
                .map_err(|_| "this machine knows no such time zone".to_owned()),
        }
    }

    fn zone(&self) -> TimeZone {
        match self {
            Self::Local => TimeZone::system(),
            Self::Named(zone) => zone.clone(),
        }
    }

    /// That moment there, if there is a calendar for it.
    pub(super) fn at(&self, wall_us: u64) -> Option<Zoned> {
        let at = Timestamp::from_microsecond(i64::try_from(wall_us).ok()?).ok()?;
        Some(at.to_zoned(self.zone()))
    }
}

impl fmt::Display for TickZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Named(zone) => f.write_str(zone.iana_name().unwrap_or("utc")),
        }
    }
}

/// A time of day, to the minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DayTime {
    hour: i8,
    minute: i8,
}

impl DayTime {
    /// Reads `06:30`; `None` where it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (hour, minute) = text.split_once(':')?;
        let two = |part: &str| -> Option<i8> {
            let is_two = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
            is_two.then(|| part.parse().ok()).flatten()
        };
        let (hour, minute) = (two(hour)?, two(minute)?);
        (hour < 24 && minute < 60).then_some(Self { hour, minute })
    }
}

/// At which moments, in microseconds: of the wall clock where that is set, else since the machine booted.
#[derive(Clone, Debug)]
pub enum Rhythm {
    /// At each whole multiple of it.
    Every(Duration),
    /// At these times of day; at least one.
    At(Vec<DayTime>, TickZone),
}

impl Rhythm {
    /// Whether it needs to know what time it is.
    pub(super) fn is_of_day(&self) -> bool {
        matches!(self, Self::At(..))
    }

    /// A clock that jumps by more counts as another one.
    pub(super) fn jump_us(&self) -> u64 {
        match self {
            Self::Every(period) => micros(*period) / 2,
            Self::At(..) => micros(OTHER_DAY),
        }
    }

    /// The first moment after that one.
    pub(super) fn next(&self, after: u64) -> Option<u64> {
        match self {
            Self::Every(period) => {
                let period = micros(*period);
                (after / period).checked_add(1)?.checked_mul(period)
            }
            Self::At(times, zone) => next_of_day(times, zone, after),
        }
    }

    /// The last moment up to `at`, and how many there are from `first`, which is one, to it.
    pub(super) fn last(&self, first: u64, at: u64) -> (u64, u64) {
        /// A machine that slept for longer than a year is told a round number.
        const MOST: u64 = 10_000;
        match self {
            Self::Every(period) => {
                let period = micros(*period);
                let last = at / period * period;
                (last.max(first), last.saturating_sub(first) / period + 1)
            }
            Self::At(..) => {
                let (mut last, mut count) = (first, 1);
                while let Some(next) = self.next(last).filter(|next| *next <= at) {
                    if count == MOST {
                        return (at, count);
                    }
                    (last, count) = (next, count + 1);
                }
                (last, count)
            }
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1)
}

/// A time that a day does not have, as its clocks go forward, is as much later; of one that it has twice the first counts.
fn next_of_day(times: &[DayTime], zone: &TickZone, after: u64) -> Option<u64> {
    let today = zone.at(after)?.date();
    let zone = zone.zone();
    let days = [
        today.checked_sub(1.day()).ok(),
        Some(today),
        today.checked_add(1.day()).ok(),
    ];
    let moment = |(day, time): (Date, &DayTime)| {
        let at = day.at(time.hour, time.minute, 0, 0).to_zoned(zone.clone());
        u64::try_from(at.ok()?.timestamp().as_microsecond()).ok()
    };
    let all = days
        .into_iter()
        .flatten()
        .flat_map(|day| times.iter().map(move |time| (day, time)));
    all.filter_map(moment).filter(|at| *at > after).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn next(times: &[&str], zone: &str, after: &str) -> String {
        let times = times.iter().map(|time| DayTime::parse(time).unwrap());
        let rhythm = Rhythm::At(times.collect(), TickZone::find(zone).unwrap());
        clock::utc(rhythm.next(clock::moment(after).unwrap()).unwrap())
    }

    #[test]
    fn a_time_of_day_is_that_of_its_zone_in_summer_and_winter() {
        let berlin = |after| next(&["06:00", "18:30"], "Europe/Berlin", after);
        assert_eq!(berlin("2026-01-10T04:59:59Z"), "2026-01-10T05:00:00.000Z");
        assert_eq!(berlin("2026-01-10T05:00:00Z"), "2026-01-10T17:30:00.000Z");
        assert_eq!(berlin("2026-07-10T17:00:00Z"), "2026-07-11T04:00:00.000Z");
        assert_eq!(
            next(&["00:00"], "utc", "2026-12-31T12:00:00Z"),
            "2027-01-01T00:00:00.000Z"
        );
    }

    #[test]
    fn a_time_that_a_day_has_not_is_later_and_one_that_it_has_twice_comes_once() {
        let berlin = |after| next(&["02:30"], "Europe/Berlin", after);
        // Clocks go from 2 to 3 in March, and from 3 to 2 in October.
        assert_eq!(berlin("2026-03-28T12:00:00Z"), "2026-03-29T01:30:00.000Z");
        assert_eq!(berlin("2026-10-24T12:00:00Z"), "2026-10-25T00:30:00.000Z");
        assert_eq!(berlin("2026-10-25T00:30:00Z"), "2026-10-26T01:30:00.000Z");
    }

    #[test]
    fn what_is_no_time_or_no_zone_is_told() {
        for text in ["6:00", "24:00", "06:60", "0600", "", "06:00:00", "+6:00"] {
            assert_eq!(DayTime::parse(text), None, "{text}");
        }
        assert!(TickZone::find("Europe/Atlantis").is_err());
    }

    #[test]
    fn the_last_one_up_to_a_moment_is_found_with_their_number() {
        let every = Rhythm::Every(Duration::from_micros(10));
        assert_eq!(
            (every.next(0), every.next(9), every.next(10)),
            (Some(10), Some(10), Some(20))
        );
        assert_eq!(every.last(20, 20), (20, 1));
        assert_eq!(every.last(20, 59), (50, 4));
        let daily = Rhythm::At(
            vec![DayTime::parse("06:00").unwrap()],
            TickZone::find("utc").unwrap(),
        );
        let at = |text: &str| clock::moment(text).unwrap();
        assert_eq!(
            daily.last(at("2026-01-10T06:00:00Z"), at("2026-01-13T05:00:00Z")),
            (at("2026-01-12T06:00:00Z"), 3)
        );
        assert_eq!(
            daily
                .last(at("1980-01-10T06:00:00Z"), at("2026-01-13T05:00:00Z"))
                .1,
            10_000
        );
    }
}
