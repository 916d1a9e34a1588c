//! When a tick is due, and which were missed. Pure: the clocks are arguments.

use std::time::Duration;

use super::rhythm::Rhythm;
use crate::clock::{Now, WallTime};

/// So often is looked whether the clock was set, or the machine has slept.
const LOOK: Duration = Duration::from_secs(5);

/// A tick that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DueTick {
    /// When it was due; `None` while the clock is not set.
    pub(super) due: Option<WallTime>,
    /// How many before it were due and never told.
    pub(super) missed: u64,
}

#[derive(Debug)]
pub(super) struct TickSchedule {
    rhythm: Rhythm,
    /// The place of the last one that was told, or from which on they are.
    told: u64,
    seen: Now,
}

impl TickSchedule {
    pub(super) fn new(rhythm: Rhythm, now: Now) -> Self {
        Self {
            rhythm,
            told: place(now),
            seen: now,
        }
    }

    /// The tick that is due, if one is; to be asked again at once.
    pub(super) fn look(&mut self, now: Now) -> Option<DueTick> {
        self.follow(now);
        let at = place(now);
        let first = self.next(now).filter(|first| *first <= at)?;
        let (last, count) = self.rhythm.last(first, at);
        self.told = last;
        Some(DueTick {
            due: now.is_set().then_some(WallTime(last)),
            missed: count - 1,
        })
    }

    /// How long until the next one; `None` while the time of day is not known.
    pub(super) fn due_in(&self, now: Now) -> Option<Duration> {
        let left_us = self.next(now)?.saturating_sub(place(now));
        Some(Duration::from_micros(left_us))
    }

    /// How long until the next [`Self::look`].
    pub(super) fn look_in(&self, now: Now) -> Duration {
        self.due_in(now).unwrap_or(LOOK).min(LOOK)
    }

    fn next(&self, now: Now) -> Option<u64> {
        let is_known = now.is_set() || !self.rhythm.is_of_day();
        is_known.then(|| self.rhythm.next(self.told)).flatten()
    }

    /// Goes on from the present where the clock has become another one.
    fn follow(&mut self, now: Now) {
        let seen = std::mem::replace(&mut self.seen, now);
        let at = place(now);
        let passed_us = now.uptime.us_since(seen.uptime);
        let is_another = seen.is_set() != now.is_set();
        let expected = place(seen).saturating_add(passed_us);
        let jump_us = self.rhythm.jump_us();
        let is_ahead = self.told > at.saturating_add(jump_us);
        if is_another || expected.abs_diff(at) > jump_us || is_ahead {
            self.told = at;
        }
    }
}

/// Where on its line a moment stands.
fn place(now: Now) -> u64 {
    match now.is_set() {
        true => now.wall.0,
        false => now.uptime.0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::rhythm::{DayTime, TickZone};
    use super::*;
    use crate::clock::{self, Uptime};

    const SECOND: u64 = 1_000_000;

    fn at(wall: &str, uptime_s: u64) -> Now {
        Now {
            wall: WallTime(clock::moment(wall).unwrap()),
            uptime: Uptime(uptime_s * SECOND),
        }
    }

    fn minutely(now: Now) -> TickSchedule {
        TickSchedule::new(Rhythm::Every(Duration::from_secs(60)), now)
    }

    fn daily(time: &str, now: Now) -> TickSchedule {
        let times = vec![DayTime::parse(time).unwrap()];
        TickSchedule::new(Rhythm::At(times, TickZone::find("utc").unwrap()), now)
    }

    fn told(schedule: &mut TickSchedule, now: Now) -> Option<(String, u64)> {
        let found = schedule.look(now)?;
        assert_eq!(schedule.look(now), None, "it is told once");
        Some((clock::utc(found.due?.0), found.missed))
    }

    #[test]
    fn ticks_stand_at_whole_multiples_and_what_was_slept_through_is_one() {
        let mut schedule = minutely(at("2026-01-10T12:00:10Z", 100));
        assert_eq!(told(&mut schedule, at("2026-01-10T12:00:59Z", 149)), None);
        let due = schedule.due_in(at("2026-01-10T12:00:59Z", 149));
        assert_eq!(due, Some(Duration::from_secs(1)));
        let first = told(&mut schedule, at("2026-01-10T12:01:00Z", 150));
        assert_eq!(first, Some(("2026-01-10T12:01:00.000Z".to_owned(), 0)));
        let late = told(&mut schedule, at("2026-01-10T12:05:30Z", 420));
        assert_eq!(late, Some(("2026-01-10T12:05:00.000Z".to_owned(), 3)));
        assert_eq!(told(&mut schedule, at("2026-01-10T12:05:59Z", 449)), None);
    }

    #[test]
    fn a_clock_that_is_set_a_little_loses_no_tick_and_tells_none_twice() {
        let mut schedule = minutely(at("2026-01-10T12:00:10Z", 100));
        assert!(told(&mut schedule, at("2026-01-10T12:01:00Z", 150)).is_some());
        // Back by 2 s.
        assert_eq!(told(&mut schedule, at("2026-01-10T12:00:59Z", 151)), None);
        assert_eq!(told(&mut schedule, at("2026-01-10T12:01:00Z", 152)), None);
        // Forward by 20 s, over the next one.
        let next = told(&mut schedule, at("2026-01-10T12:02:10Z", 202));
        assert_eq!(next, Some(("2026-01-10T12:02:00.000Z".to_owned(), 0)));
    }

    #[test]
    fn a_clock_that_jumps_goes_on_from_there_and_nothing_was_missed() {
        for jumped in ["2026-01-10T18:00:11Z", "2026-01-09T03:00:11Z"] {
            let mut schedule = minutely(at("2026-01-10T12:00:10Z", 100));
            assert_eq!(told(&mut schedule, at(jumped, 101)), None);
            let at_49_s = clock::moment(jumped).unwrap() + 49 * SECOND;
            let now = Now {
                wall: WallTime(at_49_s),
                uptime: Uptime(150 * SECOND),
            };
            assert_eq!(told(&mut schedule, now).map(|(_, missed)| missed), Some(0));
        }
    }

    #[test]
    fn while_the_clock_is_not_set_the_period_counts_from_the_boot_and_the_tick_says_so() {
        let unset = |uptime_s| at("1970-01-01T00:00:30Z", uptime_s);
        let mut schedule = minutely(unset(30));
        assert_eq!(schedule.look(unset(59)), None);
        let none = DueTick {
            due: None,
            missed: 0,
        };
        assert_eq!(schedule.look(unset(60)), Some(none));
        // It is set: on it goes at the next whole minute, and nothing was missed.
        assert_eq!(told(&mut schedule, at("2026-01-10T12:00:10Z", 61)), None);
        let set = told(&mut schedule, at("2026-01-10T12:01:00Z", 111));
        assert_eq!(set, Some(("2026-01-10T12:01:00.000Z".to_owned(), 0)));
    }

    #[test]
    fn a_time_of_day_waits_for_the_clock_and_survives_a_night_asleep() {
        let mut schedule = daily("06:00", at("1970-01-01T00:00:30Z", 30));
        let unset = at("1970-01-03T00:00:30Z", 172_830);
        assert_eq!((schedule.look(unset), schedule.due_in(unset)), (None, None));
        assert_eq!(
            told(&mut schedule, at("2026-01-10T05:00:00Z", 172_831)),
            None
        );
        let due = schedule.due_in(at("2026-01-10T05:00:00Z", 172_831));
        assert_eq!(due, Some(Duration::from_secs(3_600)));
        // Asleep until the afternoon of the next day.
        let late = told(
            &mut schedule,
            at("2026-01-11T15:00:00Z", 172_831 + 34 * 3_600),
        );
        assert_eq!(late, Some(("2026-01-11T06:00:00.000Z".to_owned(), 1)));
        // Back by a day: its time comes again.
        let back = 172_832 + 34 * 3_600;
        assert_eq!(told(&mut schedule, at("2026-01-10T05:59:00Z", back)), None);
        assert!(told(&mut schedule, at("2026-01-10T06:00:00Z", back + 60)).is_some());
    }
}
