//! How long an answer is waited for: as configured, and less for one message of a topic over which upstream stood still
//! before, since everybody else waits for it. No sockets, no clock.

use std::collections::VecDeque;
use std::time::Duration;

/// What is waited in any case, and by how much longer than an answer took lately.
const LEAST: Duration = Duration::from_secs(5);
const TIMES: u32 = 8;
/// Topics that are remembered: those of a request that had no answer.
const REMEMBERED: usize = 1_024;

#[derive(Debug, Default)]
pub(in crate::uplink) struct Patience {
    /// The longest of the last answers, about.
    usual: Duration,
    /// Hashes of topics of which a request had no answer, and none was answered since.
    doubted: VecDeque<u64>,
}

impl Patience {
    /// Upstream took these in so much time.
    pub(in crate::uplink) fn took(&mut self, time: Duration, topics: impl Iterator<Item = u64>) {
        self.usual = time.max(self.usual - self.usual / 8);
        if !self.doubted.is_empty() {
            self.told(topics);
        }
    }

    /// There was an answer, whatever it was.
    pub(in crate::uplink) fn told(&mut self, topics: impl Iterator<Item = u64>) {
        for topic in topics {
            self.doubted.retain(|doubted| *doubted != topic);
        }
    }

    /// Upstream stood still over these, or one of them.
    pub(in crate::uplink) fn had_none(&mut self, topics: impl Iterator<Item = u64>) {
        for topic in topics {
            if !self.is_doubted(topic) {
                self.doubted.push_back(topic);
            }
        }
        while self.doubted.len() > REMEMBERED {
            self.doubted.pop_front();
        }
    }

    /// Whether messages of this topic go alone.
    pub(in crate::uplink) fn is_doubted(&self, topic: u64) -> bool {
        self.doubted.contains(&topic)
    }

    /// How long the answer to a doubted one is waited for, where any other may take `answer`.
    pub(in crate::uplink) fn left(&self, answer: Duration) -> Duration {
        self.usual.saturating_mul(TIMES).max(LEAST).min(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn one_over_which_the_server_stood_still_is_waited_for_by_what_is_usual() {
        let mut patience = Patience::default();
        patience.took(SECOND / 100, [1].into_iter());
        patience.had_none([1, 2, 3].into_iter());
        assert!(patience.is_doubted(2) && !patience.is_doubted(4));
        assert_eq!(patience.left(30 * SECOND), LEAST);
        assert_eq!(patience.left(SECOND), SECOND);
        patience.took(2 * SECOND, [2].into_iter());
        assert_eq!(patience.left(30 * SECOND), 16 * SECOND);
        assert_eq!(patience.left(10 * SECOND), 10 * SECOND);
        assert!(!patience.is_doubted(2) && patience.is_doubted(3));
        // One slow answer is forgotten by and by.
        for _ in 0..100 {
            patience.took(SECOND / 100, [9].into_iter());
        }
        assert_eq!(patience.left(30 * SECOND), LEAST);
        patience.had_none(0..5_000);
        assert_eq!(patience.doubted.len(), REMEMBERED);
    }
}
