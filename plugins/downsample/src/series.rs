//! Readings of a window, and which of them are chosen.

use tidegate_sdk::prelude::*;

/// Readings that are held of a window at most.
const MOST_HELD: usize = 500;

/// Bytes that are held of a device at most: whoever sends may invent topics, and long payloads.
const MOST_BYTES: usize = 256 << 10;

record! {
    /// A reading that may be chosen.
    #[derive(PartialEq)]
    pub struct Held {
        /// By the running clock.
        pub at_us: u64,
        pub value: f64,
        pub payload: String,
    }
}

record! {
    /// The window of a topic.
    #[derive(PartialEq)]
    pub struct Series {
        pub topic: String,
        pub since_us: u64,
        pub held: Vec<Held>,
    }
}

record! {
    /// All windows of a device.
    #[derive(Default, PartialEq)]
    pub struct Device {
        pub series: Vec<Series>,
    }
}

/// How readings are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    MinMax,
    Lttb(usize),
}

impl Device {
    /// Bytes of it when it is saved, or a few more.
    pub fn weight(&self) -> usize {
        let of_series = |series: &Series| {
            let held = series.held.iter().map(|held| held.payload.len() + 48);
            series.topic.len() + 40 + held.sum::<usize>()
        };
        16 + self.series.iter().map(of_series).sum::<usize>()
    }

    /// Takes a reading in; gives the windows that are over by it.
    pub fn take(&mut self, topic: &str, held: Held, choice: Choice, window_us: u64) -> Vec<Series> {
        let mut over = Vec::new();
        let mut known = self.series.iter().position(|series| series.topic == topic);
        if let Some(place) = known
            && self.series[place].is_over(held.at_us, window_us)
        {
            over.push(self.series.remove(place));
            known = None;
        }
        let place = known.unwrap_or_else(|| {
            self.series.push(Series {
                topic: topic.to_owned(),
                since_us: held.at_us,
                held: Vec::new(),
            });
            self.series.len() - 1
        });
        let series = &mut self.series[place];
        series.take(held, choice);
        if series.held.len() >= MOST_HELD {
            over.push(self.series.remove(place));
        }
        while self.weight() > MOST_BYTES {
            over.push(self.series.remove(0));
        }
        over
    }

    /// Takes out what is over.
    pub fn end(&mut self, now_us: u64, window_us: u64) -> Vec<Series> {
        let (over, rest) = std::mem::take(&mut self.series)
            .into_iter()
            .partition(|series| series.is_over(now_us, window_us));
        self.series = rest;
        over
    }
}

impl Series {
    pub fn is_over(&self, now_us: u64, window_us: u64) -> bool {
        host::elapsed(self.since_us, now_us).as_micros() >= u128::from(window_us)
    }

    /// Of the lowest and the highest no others have to be held.
    fn take(&mut self, held: Held, choice: Choice) {
        self.held.push(held);
        if choice == Choice::MinMax && self.held.len() > 2 {
            let (low, high) = self.ends();
            let mut place = 0;
            self.held.retain(|_| {
                place += 1;
                place - 1 == low || place - 1 == high
            });
        }
    }

    /// Places of the first that is the lowest, and of the first that is the highest.
    fn ends(&self) -> (usize, usize) {
        let (mut low, mut high) = (0, 0);
        for (place, held) in self.held.iter().enumerate() {
            if held.value < self.held[low].value {
                low = place;
            }
            if held.value > self.held[high].value {
                high = place;
            }
        }
        (low, high)
    }

    /// Those that go on, in their order.
    pub fn chosen(&self, choice: Choice) -> Vec<&Held> {
        let points = match choice {
            Choice::MinMax => {
                let (low, high) = self.ends();
                let both = low.min(high)..=low.max(high);
                let ends = [*both.start(), *both.end()];
                let count = if low == high { 1 } else { 2 };
                return ends
                    .into_iter()
                    .take(count)
                    .filter_map(|place| self.held.get(place))
                    .collect();
            }
            Choice::Lttb(points) => points,
        };
        if self.held.len() <= points {
            return self.held.iter().collect();
        }
        let mut chosen = vec![&self.held[0]];
        let inner = self.held.len() - 2;
        let edge = |bucket: usize| 1 + bucket * inner / (points - 2);
        for bucket in 0..points - 2 {
            let next = &self.held[edge(bucket + 1)..edge(bucket + 2).min(self.held.len())];
            let count = next.len() as f64;
            let begun_us = self.held[0].at_us;
            let x = |held: &Held| held.at_us.saturating_sub(begun_us) as f64;
            let mean_x = next.iter().map(x).sum::<f64>() / count;
            let mean_y = next.iter().map(|held| held.value / count).sum::<f64>();
            let last = chosen[chosen.len() - 1];
            let area = |held: &Held| {
                let one = (x(last) - mean_x) * (held.value - last.value);
                let other = (x(last) - x(held)) * (mean_y - last.value);
                (one - other).abs()
            };
            let of_bucket = &self.held[edge(bucket)..edge(bucket + 1)];
            let mut best = &of_bucket[0];
            for held in of_bucket {
                if area(held) > area(best) {
                    best = held;
                }
            }
            chosen.push(best);
        }
        chosen.push(&self.held[inner + 1]);
        chosen
    }
}
