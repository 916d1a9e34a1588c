//! How far a field may go, and what went on last.

use std::borrow::Cow;
use std::cmp::Ordering;

use tidegate_sdk::json::{Decimal, Paths, Value};
use tidegate_sdk::prelude::*;

settings! {
    /// A field that is compared.
    #[serde(untagged, expecting = "a field is a path, or a table of `field` and perhaps `absolute`, `percent`")]
    pub enum Field {
        /// Any other value is a change.
        Path(String),
        /// How far it may go.
        Within(Within),
    }
}

settings! {
    /// How far a field may go.
    pub struct Within {
        /// Its path.
        pub field: String,
        /// In its own unit.
        pub absolute: Option<Decimal>,
        /// In percent of what went on last.
        pub percent: Option<Decimal>,
    }
}

record! {
    /// The reading that went on last.
    pub struct Sent {
        /// Of which fields these values are.
        pub of: u32,
        /// When it went on, by the running clock, microseconds.
        pub at_us: u64,
        /// Its values as JSON, or a hash of them.
        pub values: Vec<Option<String>>,
    }
}

impl Sent {
    /// Bytes of it when it is saved, or a few more.
    pub fn weight(&self) -> usize {
        let length = |value: &Option<String>| value.as_ref().map_or(1, |value| value.len() + 3);
        self.values
            .iter()
            .fold(35, |bytes, value| bytes + length(value))
    }
}

/// A field and its band.
#[derive(Clone, Copy, Debug)]
pub struct Band {
    /// Its path.
    pub path: usize,
    absolute: Option<Decimal>,
    percent: Option<Decimal>,
}

impl Band {
    /// Checks the settings.
    pub fn new(field: Field, paths: &mut Paths) -> Result<Self> {
        let Within {
            field,
            absolute,
            percent,
        } = match field {
            Field::Path(field) => Within {
                field,
                absolute: None,
                percent: None,
            },
            Field::Within(within) => within,
        };
        for (name, number) in [("absolute", absolute), ("percent", percent)] {
            if number.is_some_and(|number| number.compare(0.into()) == Ordering::Less) {
                return Err(format!("`{name}` is negative").into());
            }
        }
        Ok(Self {
            path: paths.add(&field)?,
            absolute,
            percent,
        })
    }

    /// Whether any other value is a change.
    pub fn is_exact(&self) -> bool {
        self.absolute.is_none() && self.percent.is_none()
    }

    /// Whether `number` is too far from the one that went on last. What cannot be told is a change.
    pub fn is_left(&self, last: &str, number: Decimal) -> bool {
        let Some(last) = Decimal::parse(last.as_bytes()) else {
            return true;
        };
        let is_beyond = |distance: Option<Decimal>, bound: Option<Decimal>| match (distance, bound)
        {
            (Some(distance), Some(bound)) => distance.compare(bound) == Ordering::Greater,
            _ => true,
        };
        let distance = number.minus(last).and_then(Decimal::magnitude);
        let by_absolute = self
            .absolute
            .is_some_and(|absolute| is_beyond(distance, Some(absolute)));
        let by_percent = self.percent.is_some_and(|percent| {
            let hundredfold = distance.and_then(|distance| distance.times(100.into()));
            is_beyond(
                hundredfold,
                last.magnitude().and_then(|last| last.times(percent)),
            )
        });
        by_absolute || by_percent
    }
}

/// Bytes of a value beyond which its hash is kept.
const LONGEST: usize = 40;

/// A value as it is kept: itself, a number by what it says, or a hash where it is long.
pub fn text_of(value: Value<'_>) -> Cow<'_, str> {
    let text = value.canonical();
    if text.len() <= LONGEST {
        return text;
    }
    Cow::Owned(format!("#{:016x}", tidegate_sdk::hash(text.as_bytes())))
}

/// A number for a list of fields.
pub fn of(names: &[&str]) -> u32 {
    tidegate_sdk::hash(names.join("\n").as_bytes()) as u32
}
