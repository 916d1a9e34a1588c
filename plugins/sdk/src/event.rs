//! The time that a payload says it is of.

use crate::calendar;
use crate::json::{Decimal, Found, Paths};
use crate::message::Message;
use crate::plugin::Result;
use crate::settings;

/// How far a payload's time may be ahead of the clock, where that was set: further is no time but a mistake, and would make all
/// that follows late.
const AHEAD_US: i64 = 86_400_000_000;

/// Times beyond this are none: seventy thousand years.
const MOST_US: i64 = i64::MAX / 4;

settings! {
    /// How a payload writes its time.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum TimeFormat {
        /// Seconds since 1970.
        #[default]
        S,
        /// Milliseconds.
        Ms,
        /// Microseconds.
        Us,
        /// As text.
        Iso,
    }
}

/// Where a payload has its time, and how it is written.
#[derive(Clone, Copy, Debug)]
pub struct EventTime {
    path: usize,
    format: TimeFormat,
}

impl EventTime {
    /// Adds the field to `paths`.
    ///
    /// # Errors
    /// The path is none, in words for a setting called `time_field`.
    pub fn new(field: &str, format: TimeFormat, paths: &mut Paths) -> Result<Self> {
        let path = paths
            .add(field)
            .map_err(|error| format!("`time_field`: {error}"))?;
        Ok(Self { path, format })
    }

    /// The time in a payload, microseconds since 1970.
    ///
    /// # Errors
    /// It is not there, none, or more than a day ahead of a clock that was set.
    pub fn read(&self, message: &Message<'_>, found: &Found<'_, '_>) -> Result<i64> {
        let value = found.require(self.path)?;
        let us = match self.format {
            TimeFormat::Iso => value.text().and_then(|text| calendar::parse(&text)),
            TimeFormat::S => micros(found.decimal(self.path)?, 1_000_000),
            TimeFormat::Ms => micros(found.decimal(self.path)?, 1_000),
            TimeFormat::Us => micros(found.decimal(self.path)?, 1),
        };
        let name = found.name(self.path);
        let us = us.filter(|us| us.abs() < MOST_US).ok_or_else(|| {
            let excerpt = value.excerpt();
            format!("field `{name}` is no time as `time_format` has it: `{excerpt}`")
        })?;
        let ahead_us = us.saturating_sub(message.received_us() as i64);
        if ahead_us > AHEAD_US && !message.clock_unset() {
            let hours = ahead_us / 3_600_000_000;
            return Err(
                format!("field `{name}` is {hours} hours ahead of the gateway's clock").into(),
            );
        }
        Ok(us)
    }
}

/// A number of something since 1970 in whole microseconds.
fn micros(number: Decimal, each: u64) -> Option<i64> {
    let us = number.times(Decimal::from(each))?;
    i64::try_from(us.rounded(0).whole()?).ok()
}
