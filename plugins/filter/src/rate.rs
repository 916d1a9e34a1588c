//! The most that a device may send: a bucket per device that fills up again with time. Not saved: after a swap
//! every device starts with a full one.

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

/// Devices whose bucket is known. Beyond, the one that was quiet for longest starts with a full one again.
const MOST_DEVICES: usize = 20_000;

/// The buckets.
#[derive(Debug)]
pub struct Limiter {
    messages: f64,
    per_us: f64,
    buckets: State<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    left: f64,
    /// When it held that much, by the running clock.
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
        Ok(Self {
            messages: rate.messages.max(1.0),
            per_us,
            buckets: State::at_most(MOST_DEVICES, |_| 24),
        })
    }

    /// Whether the device may send one more at `now_us` of the running clock.
    pub fn admits(&mut self, device: &str, now_us: u64) -> bool {
        let Some(mut bucket) = self.buckets.get_mut(device) else {
            self.buckets.set(
                device,
                Bucket {
                    left: self.messages - 1.0,
                    at_us: now_us,
                },
            );
            return true;
        };
        let left = bucket.left + now_us.saturating_sub(bucket.at_us) as f64 * self.per_us;
        let left = left.min(self.messages);
        let admitted = left >= 1.0;
        *bucket = Bucket {
            left: if admitted { left - 1.0 } else { left },
            at_us: bucket.at_us.max(now_us),
        };
        admitted
    }
}
