//! How far the peer's TCP has taken what is sent, and when: from then on an answer can be expected. On a thin link a large
//! message is on its way for longer than its answer may take, and so is what lies behind it. No sockets; time is an argument.

use std::collections::VecDeque;
use std::time::Instant;

/// Steps that are remembered; beyond them every other one is forgotten.
const MOST: usize = 64;

/// What one connection has got through. Places are bytes since its begin.
#[derive(Debug, Default)]
pub struct TcpProgress {
    /// Up to where, and when that was seen; both rise.
    steps: VecDeque<(u64, Instant)>,
}

impl TcpProgress {
    /// The peer is seen to have everything before place `end`.
    pub fn took(&mut self, end: u64, now: Instant) {
        if self.has(end) {
            return;
        }
        self.steps.push_back((end, now));
        if self.steps.len() > MOST {
            let mut index = 0;
            self.steps.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
    }

    /// Whether the peer has everything before place `end`.
    pub fn has(&self, end: u64) -> bool {
        self.steps.back().is_some_and(|(taken, _)| end <= *taken)
    }

    /// When the peer had everything before place `end`; until it has, when it last took something, if ever.
    pub fn since(&self, end: u64) -> Option<Instant> {
        let step = self.steps.partition_point(|(taken, _)| *taken < end);
        self.steps
            .get(step)
            .or(self.steps.back())
            .map(|(_, at)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn time_counts_from_the_last_byte_and_before_that_from_what_moved_last() {
        let (start, mut progress) = (Instant::now(), TcpProgress::default());
        assert_eq!((progress.has(1), progress.since(1)), (false, None));
        for (seconds, end) in [(1, 100), (2, 100), (3, 250), (4, 200), (5, 400)] {
            progress.took(end, start + seconds * SECOND);
        }
        let since = |end| progress.since(end).map(|at| (at - start).as_secs());
        assert_eq!(
            [since(100), since(101), since(250), since(400)],
            [Some(1), Some(3), Some(3), Some(5)]
        );
        assert_eq!(
            (progress.has(400), progress.has(401), since(401)),
            (true, false, Some(5))
        );
    }

    #[test]
    fn however_long_it_takes_little_is_remembered_and_what_was_taken_long_ago_stays_so() {
        let (start, mut progress) = (Instant::now(), TcpProgress::default());
        for second in 1..=10_000 {
            progress.took(u64::from(second) * 600, start + second * SECOND);
        }
        assert!(progress.steps.len() <= MOST);
        let waited = |end| start + 10_000 * SECOND - progress.since(end).unwrap();
        assert_eq!(
            (waited(6_000_000), progress.has(6_000_000)),
            (Duration::ZERO, true)
        );
        assert!(
            waited(600) > 1_000 * SECOND && waited(5_900_000) >= 100 * SECOND,
            "{:?} {:?}",
            waited(600),
            waited(5_900_000)
        );
    }
}
