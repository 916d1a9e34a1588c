//! The most that a device may send: a bucket per device that fills up again with time. Not saved: after a swap
//! every device starts with a full one.

use std::collections::HashMap;

use tidegate_sdk::prelude::*;

settings! {
    /// So many messages of a device in so many seconds; after quiet they may come at once.
    #[derive(Copy)]
    pub struct Rate {
        /// Messages.
        pub messages: f64,
        /// Seconds.
        pub seconds: f64,
    }
}

/// Buckets of this many devices are kept without looking for full ones.
const TIDY_FROM: usize = 10_000;

/// The buckets.
#[derive(Debug)]
pub struct Limiter {
    messages: f64,
    per_us: f64,
    buckets: HashMap<Box<str>, Bucket>,
    tidy_at: usize,
}

#[derive(Debug)]
struct Bucket {
    left: f64,
    at_us: u64,
}

impl Limiter {
    /// Checks the settings.
    pub fn new(rate: Rate) -> Result<Self> {
        let sound = |number: f64| number.is_finite() && number > 0.0;
        if !sound(rate.messages) || !sound(rate.seconds) {
            return Err("`rate` wants `messages` and `seconds` above 0".into());
        }
        let per_us = rate.messages / (rate.seconds * 1e6);
        // A bucket that holds less than one message would let none through.
        Ok(Self { messages: rate.messages.max(1.0), per_us, buckets: HashMap::new(), tidy_at: TIDY_FROM })
    }

    /// Whether the device may send one more at `now_us`.
    pub fn admits(&mut self, device: &str, now_us: u64) -> bool {
        if !self.buckets.contains_key(device) {
            self.tidy(now_us);
            self.buckets.insert(device.into(), Bucket { left: self.messages, at_us: now_us });
        }
        let bucket = self.buckets.get_mut(device).expect("it was put in above");
        bucket.left = bucket.left_at(now_us, self.per_us).min(self.messages);
        bucket.at_us = bucket.at_us.max(now_us);
        let admitted = bucket.left >= 1.0;
        if admitted {
            bucket.left -= 1.0;
        }
        admitted
    }

    /// Forgets devices whose bucket is full again: a new one would be the same.
    fn tidy(&mut self, now_us: u64) {
        if self.buckets.len() >= self.tidy_at {
            self.buckets.retain(|_, bucket| bucket.left_at(now_us, self.per_us) < self.messages);
            self.tidy_at = TIDY_FROM.max(self.buckets.len() * 2);
        }
    }
}

impl Bucket {
    fn left_at(&self, now_us: u64, per_us: f64) -> f64 {
        self.left + now_us.saturating_sub(self.at_us) as f64 * per_us
    }
}
