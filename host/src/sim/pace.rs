//! When the next message is due. Pure: the time since the start is an argument.

use std::time::Duration;

use super::crowd::portion::SimPortion;

const SECOND_NS: u128 = 1_000_000_000;

/// A steady rate, or a connection's portion of it. After a stall it goes on from there instead of flooding the broker with
/// what was missed.
#[derive(Clone, Copy, Debug)]
pub struct SteadyRate {
    per_second: u32,
    portion: SimPortion,
    made: u64,
    /// Messages that were due during a stall and never made.
    skipped: u64,
}

impl SteadyRate {
    /// `per_second` messages a second; 0: always due.
    pub fn new(per_second: u32) -> Self {
        Self::of(SimPortion::WHOLE, per_second)
    }

    /// A portion of `per_second` messages a second: all connections together keep that rate, each in its turn.
    pub fn of(portion: SimPortion, per_second: u32) -> Self {
        Self {
            per_second,
            portion,
            made: 0,
            skipped: 0,
        }
    }

    /// How many are due `elapsed` after the start. More than a second's worth is a stall: the rest is skipped.
    pub fn due(&mut self, elapsed: Duration) -> u64 {
        if self.per_second == 0 {
            return u64::MAX;
        }
        let planned = u64::try_from(elapsed.as_nanos() * u128::from(self.per_second) / SECOND_NS)
            .unwrap_or(u64::MAX);
        let planned = self.portion.of_count(planned);
        let due = planned.saturating_sub(self.made + self.skipped);
        let a_second = self.portion.of_count(u64::from(self.per_second)).max(1);
        let excess = due.saturating_sub(a_second);
        self.skipped += excess;
        due - excess
    }

    pub fn made(&mut self) {
        self.made += 1;
    }

    /// How long after the start the next one is due.
    pub fn next_at(&self) -> Duration {
        if self.per_second == 0 {
            return Duration::ZERO;
        }
        let number = u128::from(self.portion.number(self.made + self.skipped)) + 1;
        let nanos = (number * SECOND_NS).div_ceil(u128::from(self.per_second));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn without_a_rate_it_is_always_due() {
        let mut pace = SteadyRate::new(0);
        assert_eq!(
            (pace.due(Duration::ZERO), pace.next_at()),
            (u64::MAX, Duration::ZERO)
        );
    }

    #[test]
    fn what_a_stall_missed_is_skipped_but_for_a_second() {
        let mut pace = SteadyRate::new(100);
        assert_eq!(pace.due(Duration::from_secs(60)), 100);
        assert_eq!(pace.due(Duration::from_secs(60)), 100);
        for _ in 0..100 {
            pace.made();
        }
        assert_eq!(pace.due(Duration::from_secs(60)), 0);
        assert_eq!(pace.due(Duration::from_millis(60_050)), 5);
    }

    proptest! {
        #[test]
        fn the_next_is_due_exactly_when_it_says(rate in 1_u32..100_000, made in 0_u64..1_000, of in 1_u32..20_000, index in any::<u32>()) {
            let mut pace = SteadyRate::of(SimPortion { index: index % of, of }, rate);
            for _ in 0..made {
                pace.made();
            }
            let at = pace.next_at();
            prop_assert_eq!(pace.due(at), 1);
            prop_assert_eq!(pace.due(at - Duration::from_nanos(1)), 0);
        }
    }
}
