//! Latencies in buckets that are 3 % wide: any number of them in 16 kB.

/// Buckets of one power of two.
const STEPS: u64 = 32;
const STEP_BITS: u32 = 5;
const BUCKETS: usize = 64 * 32;

#[derive(Clone, Debug)]
pub struct Latencies {
    buckets: Box<[u64]>,
    count: u64,
    largest: u64,
}

/// The figures people quote, microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Quantiles {
    /// Half are no slower.
    pub p50: u64,
    /// 95 of 100 are no slower.
    pub p95: u64,
    /// 99 of 100 are no slower.
    pub p99: u64,
    /// 999 of 1,000 are no slower.
    pub p999: u64,
    pub max: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            buckets: vec![0; BUCKETS].into_boxed_slice(),
            count: 0,
            largest: 0,
        }
    }
}

impl Latencies {
    pub fn record(&mut self, micros: u64) {
        self.buckets[bucket(micros)] += 1;
        self.count += 1;
        self.largest = self.largest.max(micros);
    }

    /// How many were added.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The value that `per_mille` of 1,000 do not exceed, rounded up to its bucket's end; 0 when there is none.
    pub fn quantile(&self, per_mille: u64) -> u64 {
        let wanted = (self.count * per_mille).div_ceil(1_000).max(1);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper_end(index).min(self.largest);
            }
        }
        self.largest
    }

    /// P50, P95, P99, P99.9 and the largest.
    pub fn quantiles(&self) -> Quantiles {
        Quantiles {
            p50: self.quantile(500),
            p95: self.quantile(950),
            p99: self.quantile(990),
            p999: self.quantile(999),
            max: self.largest,
        }
    }
}

/// Up to 31 one bucket a value, then 32 for each power of two.
fn bucket(value: u64) -> usize {
    if value < STEPS {
        return value as usize;
    }
    let shift = value.ilog2() - STEP_BITS;
    (u64::from(shift) * STEPS + (value >> shift)) as usize
}

/// The largest value of a bucket.
fn upper_end(index: usize) -> u64 {
    let index = index as u64;
    if index < 2 * STEPS {
        return index;
    }
    let shift = index / STEPS - 1;
    let first = STEPS + index % STEPS;
    (((u128::from(first) + 1) << shift) - 1).min(u128::from(u64::MAX)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn none_recorded_reads_as_zero() {
        assert_eq!(Latencies::default().quantiles(), Quantiles::default());
    }

    proptest! {
        #[test]
        fn every_value_lies_in_its_bucket(value in any::<u64>()) {
            let index = bucket(value);
            prop_assert!(index < BUCKETS);
            prop_assert!(upper_end(index) >= value);
            prop_assert!(index == 0 || upper_end(index - 1) < value);
        }

        #[test]
        fn a_quantile_is_at_most_4_percent_above_the_exact_one(mut values in proptest::collection::vec(0_u64..10_000_000, 1..300), per_mille in 1_u64..1_000) {
            let mut latencies = Latencies::default();
            for value in &values {
                latencies.record(*value);
            }
            values.sort_unstable();
            let rank = (values.len() as u64 * per_mille).div_ceil(1_000).max(1) as usize;
            let exact = values[rank - 1];
            let found = latencies.quantile(per_mille);
            prop_assert!(found >= exact && found <= exact + exact / 25);
        }
    }
}
