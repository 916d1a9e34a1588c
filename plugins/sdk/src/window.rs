//! What is gathered over windows of time, or of so many messages.
//!
//! A window is made of panes that lie side by side: one for windows that follow each other, several for windows that
//! overlap (the mean of an hour, every ten minutes). A pane is filled once, however many windows it lies in. Time is an
//! argument: whether it is the running clock, the time of day, a time in the payload or a count of messages is the
//! plugin's affair.
//!
//! ```
//! use tidegate_sdk::json::Decimal;
//! use tidegate_sdk::window::{Numbers, Panes, Windows};
//!
//! let minutes = Windows::new(60, 60)?;                        // a minute, in seconds
//! let mut panes = Panes::<Numbers>::default();
//! for (second, value) in [(5, 20), (50, 21), (61, 30)] {
//!     for ended in panes.end(minutes, second) {
//!         assert_eq!((ended.from, ended.to, ended.value.mean().unwrap().to_json()), (0, 60, "20.5".to_owned()));
//!     }
//!     panes.at(minutes, second, 0).expect("it is not over yet").add(Decimal::from(value));
//! }
//! # Ok::<(), tidegate_sdk::Error>(())
//! ```

use serde::{Deserialize, Serialize};

use crate::json::Decimal;
use crate::plugin::Result;

/// Panes of one window at most: each costs memory for each key.
const MOST_PANES: i64 = 100;

/// Something that is gathered pane by pane.
pub trait Gather: Default + Clone {
    /// Takes in what was gathered after it.
    fn follow(&mut self, later: &Self);
}

/// How long windows are, and how often one ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    size: i64,
    every: i64,
}

impl Windows {
    /// Windows of `size`, of which one ends at each multiple of `every`, both in whatever time is counted in.
    ///
    /// # Errors
    /// `size` is not a whole number of times `every`, or more than 100 times, or either is nothing.
    pub fn new(size: i64, every: i64) -> Result<Self> {
        if size <= 0 || every <= 0 {
            return Err("a window of no length holds nothing".into());
        }
        if size % every != 0 {
            return Err("a window has to be a whole number of steps".into());
        }
        if size / every > MOST_PANES {
            return Err(format!("a window can have {MOST_PANES} steps at most").into());
        }
        Ok(Self { size, every })
    }

    /// How often one ends.
    pub fn every(self) -> i64 {
        self.every
    }

    /// Where the pane begins that `at` lies in.
    fn pane(self, at: i64) -> i64 {
        at.div_euclid(self.every).saturating_mul(self.every)
    }
}

/// A window that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended<T> {
    /// Its beginning.
    pub from: i64,
    /// Its end, which is not in it.
    pub to: i64,
    /// What was gathered.
    pub value: T,
}

/// The panes of one key that are open or lie in windows that are: a value of a [`State`](crate::State).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Panes<T> {
    /// By their beginnings.
    panes: Vec<(i64, T)>,
    /// The end of the next window.
    next: i64,
}

impl<T> Default for Panes<T> {
    fn default() -> Self {
        Self {
            panes: Vec::new(),
            next: 0,
        }
    }
}

impl<T: Gather> Panes<T> {
    /// Whether nothing was gathered that a window has yet to tell.
    pub fn is_empty(&self) -> bool {
        self.panes.is_empty()
    }

    /// The beginning of the latest pane.
    pub fn latest(&self) -> Option<i64> {
        self.panes.last().map(|(start, _)| *start)
    }

    /// The end of the next window, where something was gathered.
    pub fn next_end(&self) -> i64 {
        self.next
    }

    /// What is gathered where `at` lies; `None` when a window has ended that it should have been in. The first one opens
    /// room for what comes late by `lateness` at most.
    pub fn at(&mut self, windows: Windows, at: i64, lateness: i64) -> Option<&mut T> {
        let start = windows.pane(at);
        if self.panes.is_empty() {
            self.next = windows
                .pane(at.saturating_sub(lateness))
                .saturating_add(windows.every);
        } else if start.saturating_add(windows.every) < self.next {
            return None;
        }
        let place = self.panes.partition_point(|(known, _)| *known < start);
        if self
            .panes
            .get(place)
            .is_none_or(|(known, _)| *known != start)
        {
            self.panes.insert(place, (start, T::default()));
        }
        self.panes.get_mut(place).map(|(_, value)| value)
    }

    /// The windows with something in them that have ended by `now`, in order.
    pub fn end(&mut self, windows: Windows, now: i64) -> Vec<Ended<T>> {
        let mut ended = Vec::new();
        while let Some((first, _)) = self.panes.first()
            && self.next <= now
        {
            if *first >= self.next {
                // Nothing lies in the windows in between.
                let skipped = (*first).min(windows.pane(now));
                self.next = skipped.saturating_add(windows.every);
                continue;
            }
            let from = self.next.saturating_sub(windows.size);
            let mut value: Option<T> = None;
            for (_, pane) in self
                .panes
                .iter()
                .take_while(|(start, _)| *start < self.next)
            {
                match &mut value {
                    Some(value) => value.follow(pane),
                    None => value = Some(pane.clone()),
                }
            }
            ended.extend(value.map(|value| Ended {
                from,
                to: self.next,
                value,
            }));
            let keep = from.saturating_add(windows.every);
            self.panes.retain(|(start, _)| *start >= keep);
            self.next = self.next.saturating_add(windows.every);
        }
        ended
    }

    /// Ends all windows that have something in them, before their time.
    pub fn end_all(&mut self, windows: Windows) -> Vec<Ended<T>> {
        self.end(windows, i64::MAX)
    }

    /// Bytes of all panes, where `each` says it of one; for [`State::at_most`](crate::State::at_most).
    pub fn weight(&self, each: impl Fn(&T) -> usize) -> usize {
        let panes = self.panes.iter();
        panes.fold(26, |bytes, (_, pane)| bytes + 10 + each(pane))
    }

    /// All that was gathered as one value, and forgets it.
    pub fn gather(&mut self) -> Option<T> {
        let mut panes = self.panes.drain(..).map(|(_, value)| value);
        let first = panes.next()?;
        Some(panes.fold(first, |mut value, pane| {
            value.follow(&pane);
            value
        }))
    }
}

/// Numbers that were gathered, with all their digits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Numbers {
    /// How many.
    pub count: u64,
    /// The smallest.
    pub min: Option<Decimal>,
    /// The largest.
    pub max: Option<Decimal>,
    /// The first.
    pub first: Option<Decimal>,
    /// The last.
    pub last: Option<Decimal>,
    /// `None` before the first, and once it has more than 38 digits.
    sum: Option<Decimal>,
    /// As a double, for then.
    rough: f64,
}

impl Numbers {
    /// Takes in one more.
    pub fn add(&mut self, number: Decimal) {
        self.follow(&Self {
            count: 1,
            min: Some(number),
            max: Some(number),
            first: Some(number),
            last: Some(number),
            sum: Some(number),
            rough: number.to_f64(),
        });
    }

    /// Bytes of them when they are saved, or a few more.
    pub fn weight(&self) -> usize {
        let numbers = [self.min, self.max, self.first, self.last, self.sum];
        let digits = |number: &Option<Decimal>| number.map_or(1, Decimal::weight);
        // The names, the count and the double.
        54 + numbers.iter().map(digits).sum::<usize>()
    }

    /// The sum; `None` when there is none, or it is beyond what a double can say: who reads it as one would have infinity.
    pub fn sum(&self) -> Option<Decimal> {
        self.whole_sum().filter(|sum| sum.to_f64().is_finite())
    }

    fn whole_sum(&self) -> Option<Decimal> {
        match self.sum {
            None if self.count > 0 => Decimal::parse(format!("{:e}", self.rough).as_bytes()),
            sum => sum,
        }
    }

    /// The mean: exact, or 15 digits of it.
    pub fn mean(&self) -> Option<Decimal> {
        self.whole_sum()?.over(Decimal::from(self.count))
    }
}

impl Gather for Numbers {
    fn follow(&mut self, later: &Self) {
        if later.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = later.clone();
            return;
        }
        let pick = |one: Option<Decimal>, other: Option<Decimal>, wanted| match (one, other) {
            (Some(one), Some(other)) if other.compare(one) == wanted => Some(other),
            (one, other) => one.or(other),
        };
        self.min = pick(self.min, later.min, std::cmp::Ordering::Less);
        self.max = pick(self.max, later.max, std::cmp::Ordering::Greater);
        self.last = later.last;
        self.count += later.count;
        self.rough += later.rough;
        self.sum = self
            .sum
            .zip(later.sum)
            .and_then(|(one, other)| one.plus(other));
    }
}

#[cfg(test)]
mod tests;
