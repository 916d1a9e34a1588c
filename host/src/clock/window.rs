//! A window of time that comes again each day, or on some days of the week, in UTC.

use std::time::Duration;

use super::{Now, WallTime};

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const DAY_S: u64 = 86_400;
const WEEK_S: u64 = 7 * DAY_S;
/// 1970 began on a Thursday.
const FIRST_DAY: u64 = 3;

/// From one time of a day to another, in UTC, on some days of the week. One that ends before it begins ends on the next day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeWindow {
    /// By day of the week from Monday on: whether it begins on that day.
    days: [bool; 7],
    /// Seconds of the day at which it begins.
    begins_s: u64,
    lasts_s: u64,
    written: String,
}

/// What a window is at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowState {
    Open,
    /// It is shut, and opens then.
    Shut {
        opens: WallTime,
    },
    /// Nobody knows: the clock has not been set.
    Unknown,
}

impl ChangeWindow {
    /// Reads `02:00-04:00`, `Sat Sun 22:30-05:00` or `Mon-Fri 02:00-04:00`.
    ///
    /// # Errors
    /// In words: what of it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words: Vec<&str> = text.split_whitespace().collect();
        let times = words.pop().unwrap_or_default();
        let (begin, end) = times
            .split_once('-')
            .ok_or_else(|| format!("`{times}` is no time from and to"))?;
        let (begin, end) = (second(begin)?, second(end)?);
        if begin == end || begin == DAY_S {
            return Err("it never opens".to_owned());
        }
        let mut days = [words.is_empty(); 7];
        for word in words {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            let (first, last) = (day(first)?, day(last)?);
            let count = (last + 7 - first) % 7;
            (0..=count).for_each(|more| days[(first + more) % 7] = true);
        }
        let lasts_s = if end > begin {
            end - begin
        } else {
            end + DAY_S - begin
        };
        Ok(Self {
            days,
            begins_s: begin,
            lasts_s,
            written: text.to_owned(),
        })
    }

    /// As it was written.
    pub fn written(&self) -> &str {
        &self.written
    }

    /// What it is now.
    pub fn at(&self, now: Now) -> WindowState {
        if !now.is_set() {
            return WindowState::Unknown;
        }
        let second = now.wall.0 / 1_000_000;
        let of_week = (second + FIRST_DAY * DAY_S) % WEEK_S;
        let begins = (0_u64..).zip(self.days).filter(|(_, begins)| *begins);
        let mut next_s = WEEK_S;
        for (day, _) in begins {
            let since_s = (of_week + WEEK_S - day * DAY_S - self.begins_s) % WEEK_S;
            if since_s < self.lasts_s {
                return WindowState::Open;
            }
            next_s = next_s.min(WEEK_S - since_s);
        }
        WindowState::Shut {
            opens: WallTime(second * 1_000_000).plus_us(micros(next_s)),
        }
    }
}

fn micros(seconds: u64) -> u64 {
    u64::try_from(Duration::from_secs(seconds).as_micros()).unwrap_or(u64::MAX)
}

/// Seconds since midnight; `24:00` is the end of the day.
fn second(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no time of a day");
    let number = |part: &str| {
        let is_number = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| part.parse::<u64>().ok()).flatten()
    };
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    let (hour, minute) = (
        number(hour).ok_or_else(wrong)?,
        number(minute).ok_or_else(wrong)?,
    );
    let is_time = hour < 24 && minute < 60 || (hour, minute) == (24, 0);
    is_time
        .then_some(hour * 3_600 + minute * 60)
        .ok_or_else(wrong)
}

fn day(text: &str) -> Result<usize, String> {
    let is_it = |day: &str| day.eq_ignore_ascii_case(text);
    DAYS.iter()
        .position(|day| is_it(day))
        .ok_or_else(|| format!("`{text}` is no day: {} are", DAYS.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Uptime, moment, utc};

    fn now(text: &str) -> Now {
        Now {
            wall: WallTime(moment(text).unwrap()),
            uptime: Uptime(0),
        }
    }

    /// `open`, or when it opens.
    fn state(window: &str, at: &str) -> String {
        match ChangeWindow::parse(window).unwrap().at(now(at)) {
            WindowState::Open => "open".to_owned(),
            WindowState::Shut { opens } => utc(opens.0)[..16].to_owned(),
            WindowState::Unknown => "unknown".to_owned(),
        }
    }

    #[test]
    fn it_opens_and_shuts_at_its_times() {
        // 30 November 2026 is a Monday.
        for (window, at, expected) in [
            ("02:00-04:00", "2026-11-30T01:59:59Z", "2026-11-30T02:00"),
            ("02:00-04:00", "2026-11-30T02:00:00Z", "open"),
            ("02:00-04:00", "2026-11-30T03:59:59Z", "open"),
            ("02:00-04:00", "2026-11-30T04:00:00Z", "2026-12-01T02:00"),
            ("00:00-24:00", "2026-11-30T23:59:59Z", "open"),
            // Over midnight it belongs to the day on which it begins.
            ("Sun 22:30-05:00", "2026-11-30T04:59:00Z", "open"),
            (
                "Sun 22:30-05:00",
                "2026-11-30T05:00:00Z",
                "2026-12-06T22:30",
            ),
            (
                "Mon 22:30-05:00",
                "2026-11-30T04:59:00Z",
                "2026-11-30T22:30",
            ),
            (
                "Mon-Fri 02:00-04:00",
                "2026-12-04T12:00:00Z",
                "2026-12-07T02:00",
            ),
            (
                "sat sun 02:00-04:00",
                "2026-12-04T12:00:00Z",
                "2026-12-05T02:00",
            ),
            ("Sat-Mon 02:00-04:00", "2026-11-30T02:30:00Z", "open"),
            (
                "Sat-Mon 02:00-04:00",
                "2026-12-01T02:30:00Z",
                "2026-12-05T02:00",
            ),
            ("02:00-04:00", "1970-01-01T02:30:00Z", "unknown"),
        ] {
            assert_eq!(state(window, at), expected, "{window} at {at}");
        }
    }

    #[test]
    fn what_is_no_window_is_told() {
        for (text, words) in [
            ("", "no time from and to"),
            ("02:00", "no time from and to"),
            ("02:00-02:00", "never opens"),
            ("24:00-02:00", "never opens"),
            ("2:00-04:00", "`2:00` is no time"),
            ("02:60-04:00", "`02:60` is no time"),
            ("02:00-24:01", "`24:01` is no time"),
            ("+2:00-04:00", "`+2:00` is no time"),
            ("Mon Moon 02:00-04:00", "`Moon` is no day"),
            ("02:00-04:00 Mon", "`Mon` is no time from and to"),
        ] {
            let told = ChangeWindow::parse(text).unwrap_err();
            assert!(told.contains(words), "{text}: {told}");
        }
    }
}
