//! The rule: how fast a number has changed between two readings. Time is an argument.

use std::cmp::Ordering;

use tidegate_sdk::json::{Decimal, Paths};
use tidegate_sdk::prelude::*;

/// Digits behind the point beyond which a double has none.
const MOST_DECIMALS: u8 = 15;

settings! {
    /// A number: its path, or a table that says more.
    #[serde(untagged, expecting = "a field is a path, or a table of `field`, `as`, `per`, `counter`, `wrap` and `decimals`")]
    pub enum Named {
        /// As it is by default.
        Path(String),
        /// With more.
        Table(Field),
    }
}

settings! {
    /// A number, and how its rate is told.
    pub struct Field {
        /// Its path.
        pub field: String,
        /// The name of the rate.
        #[serde(rename = "as")]
        pub name: Option<String>,
        /// In which time.
        #[serde(default)]
        pub per: Per,
        /// It only counts up.
        #[serde(default)]
        pub counter: bool,
        /// Where it goes back to 0 by itself.
        pub wrap: Option<Decimal>,
        /// Digits behind the point that remain.
        pub decimals: Option<u8>,
    }
}

settings! {
    /// A time that rates are told in.
    #[derive(Copy, Default, PartialEq, Eq)]
    pub enum Per {
        /// A second.
        #[default]
        #[serde(rename = "s")]
        Second,
        /// A minute.
        #[serde(rename = "m")]
        Minute,
        /// An hour.
        #[serde(rename = "h")]
        Hour,
        /// A day.
        #[serde(rename = "d")]
        Day,
    }
}

record! {
    /// What was last heard of one topic of a device.
    #[derive(PartialEq)]
    pub struct Last {
        /// Of these settings.
        pub of: u32,
        /// The last reading of each field.
        pub points: Vec<Option<Point>>,
    }
}

record! {
    /// A number and when it was read.
    #[derive(Copy, PartialEq)]
    pub struct Point {
        /// By the clock that rates are told by, microseconds since 1970; `None` where that was not set.
        pub at_us: Option<i64>,
        /// By the running clock; `None` where only the other counts.
        pub running_us: Option<u64>,
        /// The number.
        pub value: Decimal,
    }
}

impl Last {
    /// Bytes of it when it is saved, or a few more.
    pub fn weight(&self) -> usize {
        let of = |point: &Option<Point>| point.map_or(1, |point| 44 + point.value.weight());
        24 + self.points.iter().map(of).sum::<usize>()
    }
}

impl Point {
    /// Microseconds from one before it to this one; `None` where this one is older. Of readings that came the longer of the two
    /// times counts: a clock that went back or stood still has lost some, and the other stands still while the gateway is off.
    pub fn since(&self, before: &Self) -> Option<u64> {
        let by_clock = self
            .at_us
            .zip(before.at_us)
            .map(|(at, since)| u64::try_from(at.saturating_sub(since)).ok());
        let running = self.running_us.zip(before.running_us);
        match (by_clock, running) {
            (Some(by_clock), None) => by_clock,
            (by_clock, Some((at, since))) => Some(
                at.saturating_sub(since)
                    .max(by_clock.flatten().unwrap_or(0)),
            ),
            (None, None) => Some(0),
        }
    }
}

/// A rate, and what is counted of it.
#[derive(Debug)]
pub struct Told {
    /// As JSON.
    pub rate: String,
    /// The counter that it counts in.
    pub counter: Option<&'static str>,
}

/// A number whose rate is told.
#[derive(Debug)]
pub struct Pace {
    /// Its place in the paths.
    pub path: usize,
    /// The name of the rate.
    pub name: String,
    per_us: u64,
    counter: bool,
    wrap: Option<Decimal>,
    decimals: Option<u8>,
}

impl Pace {
    /// Checks what goes together.
    pub fn new(named: Named, paths: &mut Paths) -> Result<Self> {
        let field = match named {
            Named::Table(field) => field,
            Named::Path(field) => Field {
                field,
                name: None,
                per: Per::Second,
                counter: false,
                wrap: None,
                decimals: None,
            },
        };
        let is_above = |wrap: Decimal| wrap.compare(Decimal::from(0)) == Ordering::Greater;
        if field
            .wrap
            .is_some_and(|wrap| !field.counter || !is_above(wrap))
        {
            return Err("`wrap` is a number above 0, and for `counter = true`".into());
        }
        if field
            .decimals
            .is_some_and(|decimals| decimals > MOST_DECIMALS)
        {
            return Err(format!("`decimals` is more than {MOST_DECIMALS}").into());
        }
        if field.name.as_deref() == Some("") {
            return Err("`as` is empty".into());
        }
        let path = paths.add(&field.field)?;
        let seconds = match field.per {
            Per::Second => 1,
            Per::Minute => 60,
            Per::Hour => 3_600,
            Per::Day => 86_400,
        };
        Ok(Self {
            path,
            name: field
                .name
                .unwrap_or_else(|| format!("{}_rate", paths.last_name(path))),
            per_us: seconds * 1_000_000,
            counter: field.counter,
            wrap: field.wrap,
            decimals: field.decimals,
        })
    }

    /// The rate from one value to the next; `None` where no number can say it.
    pub fn rate(&self, before: Decimal, value: Decimal, gap_us: u64) -> Option<Told> {
        let (change, counter) = self.change(before, value)?;
        let rate = change
            .times(Decimal::from(self.per_us))?
            .over(Decimal::from(gap_us))?;
        let rate = self
            .decimals
            .map_or(rate, |decimals| rate.rounded(decimals));
        rate.to_f64().is_finite().then(|| Told {
            rate: rate.to_json(),
            counter,
        })
    }

    fn change(&self, before: Decimal, value: Decimal) -> Option<(Decimal, Option<&'static str>)> {
        let change = value.minus(before)?;
        let nothing = Decimal::from(0);
        if !self.counter || change.compare(nothing) != Ordering::Less {
            return Some((change, None));
        }
        if value.compare(nothing) == Ordering::Less {
            // A counter does not go below where it begins.
            return None;
        }
        let wrapped = self.wrap.and_then(|wrap| {
            let change = change.plus(wrap)?;
            let is_short = change.plus(change)?.compare(wrap) != Ordering::Greater;
            let is_within =
                before.compare(wrap) == Ordering::Less && value.compare(wrap) == Ordering::Less;
            (is_short && is_within).then_some(change)
        });
        Some(match wrapped {
            Some(change) => (change, Some("wraps")),
            None => (value, Some("resets")),
        })
    }
}
