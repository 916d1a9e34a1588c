//! How fast an uplink may send: token buckets for messages and for bytes. The caller brings the time.

use std::time::{Duration, Instant};

/// What may be sent at once after a quiet time, as a share of a second's worth: short bursts do not flood a link.
const BURST_SECONDS: f64 = 0.1;

/// The shortest wait: a timer for every message would cost more than it evens out.
const STEP: Duration = Duration::from_millis(5);

/// The limits of an uplink; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    pub messages: Option<u64>,
    /// Bytes of packets a second.
    pub bytes: Option<u64>,
}

/// Runs into debt rather than wait for a full price, so that any message can be paid for.
#[derive(Debug)]
struct Bucket {
    per_second: f64,
    level: f64,
    filled: Instant,
}

impl Bucket {
    fn new(per_second: u64, now: Instant) -> Self {
        let per_second = per_second as f64;
        Self {
            per_second,
            level: per_second * BURST_SECONDS,
            filled: now,
        }
    }

    /// How long until something may be sent; zero for now.
    fn wait(&mut self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.level = (self.level + passed * self.per_second).min(self.per_second * BURST_SECONDS);
        self.filled = now.max(self.filled);
        if self.level >= 0.0 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(-self.level / self.per_second)
            .unwrap_or(Duration::MAX)
            .max(STEP)
    }
}

/// The limits at work.
#[derive(Debug)]
pub(super) struct Throttle {
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
}

impl Throttle {
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        let bucket = |limit: Option<u64>| limit.map(|limit| Bucket::new(limit, now));
        Self {
            messages: bucket(rate.messages),
            bytes: bucket(rate.bytes),
        }
    }

    /// How long until something may be sent; zero for now.
    pub(super) fn wait(&mut self, now: Instant) -> Duration {
        let buckets = [&mut self.messages, &mut self.bytes];
        buckets
            .into_iter()
            .flatten()
            .map(|bucket| bucket.wait(now))
            .max()
            .unwrap_or_default()
    }

    /// So much was sent.
    pub(super) fn charge(&mut self, messages: usize, bytes: usize) {
        for (bucket, cost) in [(&mut self.messages, messages), (&mut self.bytes, bytes)] {
            if let Some(bucket) = bucket {
                bucket.level -= cost as f64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn without_a_limit_nothing_waits() {
        let now = Instant::now();
        let mut throttle = Throttle::new(Rate::default(), now);
        throttle.charge(1_000_000, 1 << 40);
        assert_eq!(throttle.wait(now), Duration::ZERO);
    }

    #[test]
    fn a_message_larger_than_a_second_is_sent_and_paid_for_afterwards() {
        let now = Instant::now();
        let mut throttle = Throttle::new(
            Rate {
                bytes: Some(1_000),
                ..Rate::default()
            },
            now,
        );
        assert_eq!(throttle.wait(now), Duration::ZERO);
        throttle.charge(1, 10_100);
        assert_eq!(throttle.wait(now), Duration::from_secs(10));
        assert_eq!(throttle.wait(now + Duration::from_secs(10)), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn the_rate_is_kept_and_used(
            messages in proptest::option::of(1_u64..5_000), bytes in proptest::option::of(100_u64..1_000_000),
            sizes in proptest::collection::vec(1_usize..2_000, 1..20), idle in 0_u64..5_000,
        ) {
            let start = Instant::now();
            let mut throttle = Throttle::new(Rate { messages, bytes }, start);
            let begin = start + Duration::from_millis(idle);
            let (mut now, end) = (begin, begin + Duration::from_secs(30));
            let (mut count, mut sum) = (0, 0);
            for size in sizes.iter().cycle().take(200_000) {
                loop {
                    let wait = throttle.wait(now);
                    if wait.is_zero() {
                        break;
                    }
                    now += wait;
                }
                if now >= end {
                    break;
                }
                throttle.charge(1, *size);
                (count, sum) = (count + 1, sum + size);
            }
            let most = |rate: u64, unit: usize| (rate as f64 * (30.0 + BURST_SECONDS)) as usize + unit + 1;
            let largest = sizes.iter().max().unwrap();
            prop_assert!(messages.is_none_or(|rate| count <= most(rate, 1)));
            prop_assert!(bytes.is_none_or(|rate| sum <= most(rate, *largest)));
            if now >= end {
                let full = |rate: u64, sent: usize, unit: usize| sent + 2 * unit >= rate as usize * 29;
                prop_assert!(messages.is_some_and(|rate| full(rate, count, 1)) || bytes.is_some_and(|rate| full(rate, sum, *largest)));
            }
        }
    }
}
