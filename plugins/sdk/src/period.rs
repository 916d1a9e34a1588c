//! Durations in settings, written as everywhere in the config.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Unexpected, Visitor};

/// A duration in a plugin's settings: text with a unit, as in the rest of the config.
///
/// ```
/// # use tidegate_sdk::Period;
/// # use std::time::Duration;
/// assert_eq!(Period::parse("90s").unwrap().get(), Duration::from_secs(90));
/// assert_eq!(Period::parse("1d").unwrap().micros(), 86_400_000_000);
/// assert!(Period::parse("90").is_none() && Period::parse("-1s").is_none());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(Duration);

/// Ten years: more is a slip of the pen.
const LONGEST_SECONDS: u64 = 3_653 * 86_400;

const UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

impl Period {
    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Reads a whole number and its unit, `ms`, `s`, `m`, `h` or `d`; `None` for all else and for more than ten years.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let millis = number.parse::<u64>().ok()?.checked_mul(*millis)?;
        (millis <= LONGEST_SECONDS * 1_000).then(|| Self(Duration::from_millis(millis)))
    }

    /// As a duration.
    pub const fn get(self) -> Duration {
        self.0
    }

    /// In microseconds, as the clocks count.
    pub const fn micros(self) -> u64 {
        // Ten years are far below what fits.
        self.0.as_micros() as u64
    }

    /// Whether it is no time at all.
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// How often a timer has to tick for something that takes this long to end within a `part` of it: not more often than
    /// four times a second and at least every ten seconds.
    pub fn tick(self, part: u32) -> Duration {
        (self.0 / part.max(1)).clamp(Duration::from_millis(250), Duration::from_secs(10))
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Period;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a time with its unit (ms, s, m, h, d), such as \"10m\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Period, E> {
                Period::parse(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
#[expect(dead_code, reason = "of settings only the reading is looked at")]
mod tests {
    use super::*;

    crate::settings! { struct Settings { window: Period } }

    #[test]
    fn what_is_no_duration_is_said_by_its_name() {
        for (given, shown) in [
            ("\"10\"", "the text \"10\""),
            ("600", "600"),
            ("\"9e9d\"", "the text \"9e9d\""),
        ] {
            let refused =
                crate::settings::read::<Settings>(&format!("{{\"window\":{given}}}")).unwrap_err();
            assert_eq!(
                refused,
                format!(
                    "`window` must be a time with its unit (ms, s, m, h, d), such as \"10m\", not {shown}"
                )
            );
        }
        for text in [
            "",
            "s",
            "1",
            "1.5h",
            "-1s",
            "99999999999999999999s",
            "4000d",
            "1 h",
            "1H",
        ] {
            assert_eq!(Period::parse(text), None, "{text}");
        }
        assert_eq!(Period::parse("200ms").unwrap().micros(), 200_000);
        assert_eq!(Period::seconds(3_600).tick(60), Duration::from_secs(10));
    }
}
