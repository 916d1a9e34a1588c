//! The time of day: what devices write into payloads, and where a day begins.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Unexpected, Visitor};

/// Microseconds of a second.
const SECOND: i64 = 1_000_000;

/// What is added to UTC for the time on the wall: `"+01:00"` in settings. It does not change in summer: a gateway knows no
/// time zones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UtcOffset(i64);

impl UtcOffset {
    /// Reads `+01:00`, `-05:30` or `Z`.
    pub fn parse(text: &str) -> Option<Self> {
        offset(text.as_bytes()).map(Self)
    }

    /// In microseconds.
    pub const fn micros(self) -> i64 {
        self.0
    }
}

impl<'de> Deserialize<'de> for UtcOffset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = UtcOffset;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an offset from UTC, such as \"+01:00\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<UtcOffset, E> {
                UtcOffset::parse(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Reads a time of day as ISO 8601 and RFC 3339 write it (`2026-11-29T12:30:00.5+01:00`), in microseconds since 1970; one
/// without an offset is UTC. `None` for what is none, and for days that the calendar does not have.
///
/// ```
/// # use tidegate_sdk::calendar;
/// assert_eq!(calendar::parse("1970-01-02T00:00:00Z"), Some(86_400_000_000));
/// assert_eq!(calendar::parse("2026-02-29T00:00:00Z"), None);
/// ```
pub fn parse(text: &str) -> Option<i64> {
    let bytes = text.trim().as_bytes();
    let at = |start: usize, length: usize| number(bytes.get(start..start + length)?);
    let is = |place: usize, letters: &[u8]| {
        bytes
            .get(place)
            .is_some_and(|found| letters.contains(found))
    };
    if !(is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":")) {
        return None;
    }
    let (year, month, day) = (at(0, 4)?, at(5, 2)?, at(8, 2)?);
    let (hour, minute, second) = (at(11, 2)?, at(14, 2)?, at(17, 2)?);
    // A leap second is the one that follows.
    if hour > 23 || minute > 59 || second > 60 || !(1..=days_of(year, month)?).contains(&day) {
        return None;
    }
    let mut rest = bytes.get(19..)?;
    let mut micros = 0;
    if let [b'.' | b',', behind @ ..] = rest {
        let digits = behind
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let six = behind[..digits]
            .iter()
            .copied()
            .chain(std::iter::repeat(b'0'))
            .take(6);
        micros = number(&six.collect::<Vec<_>>()).filter(|_| digits > 0)?;
        rest = &behind[digits..];
    }
    let offset = if rest.is_empty() { 0 } else { offset(rest)? };
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(seconds * SECOND + micros - offset)
}

/// An offset from UTC in microseconds.
fn offset(text: &[u8]) -> Option<i64> {
    let (sign, digits) = match text {
        b"Z" | b"z" => return Some(0),
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = match digits {
        [_, _] => (number(digits)?, 0),
        [_, _, b':', minutes @ ..] | [_, _, minutes @ ..] if minutes.len() == 2 => {
            (number(&digits[..2])?, number(minutes)?)
        }
        _ => return None,
    };
    (hours <= 18 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60) * SECOND)
}

fn number(digits: &[u8]) -> Option<i64> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| {
        digits
            .iter()
            .fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'))
    })
}

fn days_of(year: i64, month: i64) -> Option<i64> {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => Some(if is_leap { 29 } else { 28 }),
        4 | 6 | 9 | 11 => Some(30),
        1..=12 => Some(31),
        _ => None,
    }
}

/// Years begin in March here, so that the leap day is their last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        for (text, seconds) in [
            ("2026-01-01T00:00:00Z", 1_767_225_600),
            ("2026-01-01T01:00:00+01:00", 1_767_225_600),
            ("2025-12-31 19:00:00-0500", 1_767_225_600),
            ("2024-02-29T12:00:00", 1_709_208_000),
            ("1969-12-31T23:59:59Z", -1),
            ("2000-03-01T00:00:00+00", 951_868_800),
        ] {
            assert_eq!(parse(text), Some(seconds * SECOND), "{text}");
        }
        assert_eq!(parse("1970-01-01T00:00:00.1234567Z"), Some(123_456));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "now",
            "2026-13-01T00:00:00Z",
            "2026-02-30T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01",
            "2026-01-01T00:00:00+99:00",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00Zx",
            "２０２６-01-01T00:00:00Z",
            "+026-01-01T00:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(
            UtcOffset::parse("+05:45").unwrap().micros(),
            20_700 * SECOND
        );
        assert_eq!(UtcOffset::parse("Europe/Berlin"), None);
    }
}
