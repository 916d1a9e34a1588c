//! How often a dead letter is kept of what is no frame: noise on a line must not push out the letters that matter. Pure.

use std::time::{Duration, Instant};

/// Kept at once after a quiet time.
const AT_ONCE: u32 = 20;
/// And one more for each of these.
const EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct LetterRate {
    left: u32,
    counted_from: Instant,
}

impl LetterRate {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            left: AT_ONCE,
            counted_from: now,
        }
    }

    /// Whether one more may be kept.
    pub(super) fn allows(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.counted_from);
        let more = u32::try_from(passed.as_secs() / EVERY.as_secs()).unwrap_or(u32::MAX);
        if more > 0 {
            self.left = self.left.saturating_add(more).min(AT_ONCE);
            self.counted_from += EVERY * more;
        }
        let allows = self.left > 0;
        self.left -= u32::from(allows);
        allows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_kept_at_first_and_then_once_a_second() {
        let start = Instant::now();
        let mut rate = LetterRate::new(start);
        let mut kept = |millis: u64| rate.allows(start + Duration::from_millis(millis));
        assert_eq!((0..50).filter(|_| kept(0)).count(), 20);
        assert_eq!((0..10_000).filter(|at| kept(*at)).count(), 9);
        assert_eq!((0..50).filter(|_| kept(3_600_000)).count(), 20);
    }
}
