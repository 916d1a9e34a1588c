//! What is usual: mean and variance of each hour.

use tidegate_sdk::prelude::*;

record! {
    /// Readings of an hour, their mean and their variance.
    #[derive(Copy, Default, PartialEq)]
    pub struct Hour(u32, f64, f64);
}

record! {
    /// What is usual for a field of a device.
    #[derive(Default, PartialEq)]
    pub struct Usual {
        /// Hours of the day, or one.
        pub hours: Vec<Hour>,
        /// Whether it is unusual now.
        pub is_out: bool,
    }
}

/// What is unusual.
#[derive(Clone, Copy, Debug)]
pub struct Judge {
    pub threshold: f64,
    pub least: f64,
    pub after: u32,
    pub memory: u32,
}

/// What became of a number.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Whether it begins or ends to be unusual.
    pub change: Option<&'static str>,
    /// What was usual before it.
    pub hour: Hour,
}

impl Hour {
    pub fn mean(self) -> f64 {
        self.1
    }

    pub fn deviation(self) -> f64 {
        self.2.max(0.0).sqrt()
    }

    /// Deviations from the mean; a large number where there is no deviation.
    pub fn score(self, value: f64) -> f64 {
        /// Beyond, it makes no difference.
        const MOST: f64 = 1e6;
        let away = (value - self.1).abs();
        match away == 0.0 {
            true => 0.0,
            false => (away / self.deviation()).min(MOST),
        }
    }

    /// Counts a number, by its weight among those that count.
    fn learn(&mut self, value: f64, memory: u32) {
        self.0 = self.0.saturating_add(1).min(memory);
        let part = 1.0 / f64::from(self.0);
        let away = value - self.1;
        let (mean, variance) = (
            self.1 + part * away,
            (1.0 - part) * (self.2 + part * away * away),
        );
        // Numbers at the end of what a double holds are not learnt.
        if mean.is_finite() && variance.is_finite() {
            (self.1, self.2) = (mean, variance);
        }
    }
}

impl Usual {
    /// Bytes of it when it is saved, or a few more.
    pub fn weight(&self) -> usize {
        24 + 24 * self.hours.len()
    }

    /// Judges a number, and learns it.
    pub fn see(&mut self, value: f64, at: usize, hours: usize, judge: Judge) -> Seen {
        if self.hours.len() != hours {
            *self = Self {
                hours: vec![Hour::default(); hours],
                is_out: false,
            };
        }
        let hour = &mut self.hours[at];
        let before = *hour;
        let away = (value - before.1).abs();
        let is_judged = before.0 >= judge.after;
        let is_out = is_judged && away > judge.least && before.score(value) > judge.threshold;
        let learnt = match is_out {
            false => value,
            // Pulled in to where it would just be usual, or by nine tenths where all was the same until now.
            true => {
                let reach = (judge.threshold * before.deviation()).max(away / 10.0);
                before.1 + (value - before.1).clamp(-reach, reach)
            }
        };
        hour.learn(learnt, judge.memory);
        let change = match (self.is_out, is_out) {
            (false, true) => Some("raised"),
            (true, false) if is_judged => Some("cleared"),
            _ => None,
        };
        if change.is_some() {
            self.is_out = is_out;
        }
        Seen {
            change,
            hour: before,
        }
    }
}
