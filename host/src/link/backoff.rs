//! Delay arithmetic between attempts to connect: pure.

use std::time::Duration;

use super::Backoff;

/// Delay before attempt number `attempt` to reconnect (0 is the first after a loss), moved by `random` (0 to 1).
///
/// Doubles from `first` up to `cap`, each moved by up to ±`jitter`; never longer than `cap`.
pub fn delay(backoff: &Backoff, attempt: u32, random: f64) -> Duration {
    let jitter = if backoff.jitter.is_finite() {
        backoff.jitter.clamp(0.0, 1.0)
    } else {
        0.0
    };
    let random = if random.is_finite() {
        random.clamp(0.0, 1.0)
    } else {
        0.5
    };
    // The highest base leaves room for the jitter above it, so that gateways at the cap do not fall into step.
    let highest = backoff.cap.as_secs_f64() / (1.0 + jitter);
    let exponent = i32::try_from(attempt.min(64)).unwrap_or(64);
    let base = (backoff.first.as_secs_f64() * 2f64.powi(exponent)).min(highest);
    let moved = base * (1.0 + jitter * (2.0 * random - 1.0));
    Duration::try_from_secs_f64(moved)
        .unwrap_or(backoff.cap)
        .min(backoff.cap)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(first_ms: u64, cap_ms: u64, jitter: f64) -> Backoff {
        Backoff {
            first: Duration::from_millis(first_ms),
            cap: Duration::from_millis(cap_ms),
            jitter,
        }
    }

    #[test]
    fn without_jitter_it_doubles_up_to_the_cap() {
        let seconds: Vec<_> = (0..8)
            .map(|attempt| delay(&plain(1000, 60_000, 0.0), attempt, 0.9).as_secs())
            .collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn the_jitter_moves_it_both_ways_and_at_the_cap_too() {
        let moved =
            |attempt, random| delay(&plain(1_000, 60_000, 0.2), attempt, random).as_millis();
        assert_eq!(
            [0.0, 0.25, 0.5, 1.0].map(|random| moved(0, random)),
            [800, 900, 1_000, 1_200]
        );
        // 50 s at most, so that a fifth more is the cap.
        assert_eq!(
            [0.0, 0.5, 1.0].map(|random| moved(20, random)),
            [40_000, 50_000, 60_000]
        );
    }

    proptest! {
        #[test]
        fn no_delay_is_above_the_cap_or_outside_the_jitter(first in 1u64..5_000, cap in 1u64..100_000, jitter in 0.0f64..=1.0, attempt: u32, random in 0.0f64..=1.0) {
            let backoff = plain(first, cap, jitter);
            let with = delay(&backoff, attempt, random);
            prop_assert!(with <= backoff.cap);
            let middle = delay(&backoff, attempt, 0.5).as_secs_f64();
            prop_assert!((with.as_secs_f64() - middle).abs() <= middle * jitter + 1e-6);
        }

        #[test]
        fn a_later_attempt_never_waits_less(first in 1u64..5_000, cap in 1u64..100_000, attempt in 0u32..100) {
            let backoff = plain(first, cap, 0.2);
            prop_assert!(delay(&backoff, attempt + 1, 0.5) >= delay(&backoff, attempt, 0.5));
        }

        #[test]
        fn odd_numbers_do_not_panic(jitter: f64, random: f64, attempt: u32) {
            let _ = delay(&plain(1_000, u64::MAX / 1_000, jitter), attempt, random);
        }
    }
}
