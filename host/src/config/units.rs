//! Durations and sizes: a number and its unit, as in `"5s"` and `"64MiB"`.

use std::time::Duration;

/// Name and weight of each unit, smallest first; a duration's weight is in nanoseconds, a size's in bytes.
type Units = &'static [(&'static str, u128)];

const DURATIONS: Units = &[
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

const SIZES: Units = &[
    ("B", 1),
    ("KB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
];

/// What people write for a unit, and the unit.
const OTHER_WORDS: &[(&str, &str)] = &[
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("min", "m"),
    ("mins", "m"),
    ("minute", "m"),
    ("minutes", "m"),
    ("hour", "h"),
    ("hours", "h"),
    ("day", "d"),
    ("days", "d"),
    ("byte", "B"),
    ("bytes", "B"),
    ("k", "KiB"),
    ("g", "GiB"),
];

/// Text that is not a duration or size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UnitError {
    #[error("has no unit")]
    NoUnit,
    /// The unit is not known; perhaps this one was meant.
    #[error("has an unknown unit")]
    UnknownUnit(Option<&'static str>),
    /// It does not begin with a number.
    #[error("is not a number with a unit")]
    NotANumber,
    /// It fits no 64-bit number.
    #[error("is too large")]
    TooLarge,
}

/// Which of the two is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quantity {
    Duration,
    Size,
}

impl Quantity {
    fn units(self) -> Units {
        match self {
            Self::Duration => DURATIONS,
            Self::Size => SIZES,
        }
    }

    /// The units, for a hint.
    pub(super) fn names(self) -> String {
        self.units()
            .iter()
            .map(|(name, _)| *name)
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// Nanoseconds or bytes of `text`.
    pub(super) fn parse(self, text: &str) -> Result<u64, UnitError> {
        let text = text.trim();
        let end = text
            .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
            .unwrap_or(text.len());
        let number = &text[..end];
        let unit = text[end..].trim_start();
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || fraction.contains('.') || fraction.len() > 9 {
            return Err(UnitError::NotANumber);
        }
        if unit.is_empty() {
            return Err(UnitError::NoUnit);
        }
        let weight = self
            .units()
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, weight)| *weight);
        let weight = weight.ok_or_else(|| UnitError::UnknownUnit(self.nearest(unit)))?;
        let whole: u64 = whole.parse().map_err(|_| UnitError::TooLarge)?;
        let part: u128 = if fraction.is_empty() {
            0
        } else {
            fraction.parse().map_err(|_| UnitError::NotANumber)?
        };
        let scale = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(9));
        u64::try_from(u128::from(whole) * weight + part * weight / scale)
            .map_err(|_| UnitError::TooLarge)
    }

    fn nearest(self, unit: &str) -> Option<&'static str> {
        let units = self.units();
        let lower = unit.to_ascii_lowercase();
        let word = OTHER_WORDS
            .iter()
            .find(|(word, _)| *word == lower)
            .map_or(unit, |(_, meant)| *meant);
        let word = if self == Self::Size && lower == "m" {
            "MiB"
        } else {
            word
        };
        units
            .iter()
            .map(|(name, _)| *name)
            .find(|name| name.eq_ignore_ascii_case(word))
    }

    /// The shortest text that means exactly `value`.
    pub(super) fn show(self, value: u64) -> String {
        let value = u128::from(value);
        let exact = self
            .units()
            .iter()
            .filter(|(_, weight)| value >= *weight && value.is_multiple_of(*weight));
        let shortest = exact
            .map(|(name, weight)| format!("{}{name}", value / weight))
            .min_by_key(String::len);
        shortest.unwrap_or_else(|| match self {
            Self::Duration => format!("{value}ns"),
            Self::Size => format!("{value}B"),
        })
    }

    /// How the bare number `number` should have been written: a size of 4096 and more was surely meant in bytes,
    /// else the unit of the default is the likely one.
    pub(super) fn with_unit(self, number: &str, default: Option<&str>) -> String {
        if let (Self::Size, Ok(bytes @ 4096..)) = (self, number.parse::<u64>()) {
            return self.show(bytes);
        }
        let unit = default.map(|text| {
            text.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.')
        });
        format!(
            "{number}{}",
            unit.filter(|unit| !unit.is_empty())
                .unwrap_or(if self == Self::Size { "MiB" } else { "s" })
        )
    }
}

/// A duration of `nanoseconds`.
pub(super) fn duration(nanoseconds: u64) -> Duration {
    Duration::from_nanos(nanoseconds)
}

/// A duration given on the command line; the error is for whoever typed it.
pub(crate) fn read_duration(text: &str) -> Result<Duration, String> {
    let read = Quantity::Duration.parse(text).map(duration);
    read.map_err(|error| format!("it {error}; write 500ms, 10s, 5m or 1h"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_and_sizes_have_units() {
        assert_eq!(Quantity::Duration.parse("5s"), Ok(5_000_000_000));
        assert_eq!(Quantity::Duration.parse("1.5s"), Ok(1_500_000_000));
        assert_eq!(Quantity::Duration.parse("2 m"), Ok(120_000_000_000));
        assert_eq!(Quantity::Size.parse("64MiB"), Ok(64 << 20));
        assert_eq!(Quantity::Size.parse("64MB"), Ok(64_000_000));
        assert_eq!(Quantity::Size.parse("0.5KiB"), Ok(512));
    }

    #[test]
    fn what_is_wrong_with_a_unit_is_told_apart() {
        assert_eq!(Quantity::Duration.parse("5"), Err(UnitError::NoUnit));
        assert_eq!(
            Quantity::Duration.parse("5sec"),
            Err(UnitError::UnknownUnit(Some("s")))
        );
        assert_eq!(
            Quantity::Duration.parse("5MS"),
            Err(UnitError::UnknownUnit(Some("ms")))
        );
        assert_eq!(
            Quantity::Size.parse("64mib"),
            Err(UnitError::UnknownUnit(Some("MiB")))
        );
        assert_eq!(
            Quantity::Size.parse("64M"),
            Err(UnitError::UnknownUnit(Some("MiB")))
        );
        assert_eq!(
            Quantity::Size.parse("64 parsecs"),
            Err(UnitError::UnknownUnit(None))
        );
        assert_eq!(Quantity::Size.parse("soon"), Err(UnitError::NotANumber));
        assert_eq!(Quantity::Size.parse("-1B"), Err(UnitError::NotANumber));
        assert_eq!(Quantity::Size.parse(""), Err(UnitError::NotANumber));
        assert_eq!(
            Quantity::Size.parse("99999999999999999999GiB"),
            Err(UnitError::TooLarge)
        );
        assert_eq!(
            Quantity::Duration.parse("999999999d"),
            Err(UnitError::TooLarge)
        );
    }

    #[test]
    fn a_duration_on_the_command_line_is_read_as_in_the_config() {
        assert_eq!(read_duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(
            read_duration("10"),
            Err("it has no unit; write 500ms, 10s, 5m or 1h".to_owned())
        );
    }

    #[test]
    fn a_bare_number_gets_the_unit_that_was_meant() {
        assert_eq!(Quantity::Duration.with_unit("30", Some("10s")), "30s");
        assert_eq!(Quantity::Duration.with_unit("200", Some("200ms")), "200ms");
        assert_eq!(Quantity::Size.with_unit("64", Some("512MiB")), "64MiB");
        assert_eq!(
            Quantity::Size.with_unit("67108864", Some("512MiB")),
            "64MiB"
        );
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(value in 1_000_u64..) {
            prop_assert_eq!(Quantity::Size.parse(&Quantity::Size.show(value)), Ok(value));
            let whole = value / 1_000 * 1_000;
            prop_assert_eq!(Quantity::Duration.parse(&Quantity::Duration.show(whole)), Ok(whole));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,12}") {
            let _ = Quantity::Size.parse(&text);
            let _ = Quantity::Duration.parse(&text);
        }
    }
}
