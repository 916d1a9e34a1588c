//! How long an answer is waited for: as configured as long as upstream has answered nothing; then by what is usual, since everybody
//! else waits for it, and by less where it stood still before. No sockets, no clock.

use std::collections::VecDeque;
use std::time::Duration;

/// What is waited in any case, and by how much longer than an answer took lately. With what is waited once more for the message that is
/// meant, and with two dials, others wait for less than ten seconds.
const LEAST: Duration = Duration::from_secs(5);
const TIMES: u32 = 8;
/// What is waited in any case where upstream has stood still lately.
const LEAST_SHAKEN: Duration = Duration::from_millis(2_500);
/// Answers after which it has not.
const CALM: u32 = 100;
/// So often in a row without an answer, and twice as long is waited: all of it may have become slow.
const TRIES: u32 = 3;
/// Topics that are remembered: those of a request that had no answer.
const REMEMBERED: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct Patience {
    /// The longest of the last answers, about, if there was one.
    usual: Option<Duration>,
    /// Answers to come before it counts as calm.
    shaken: u32,
    /// How often there was no answer since the last one.
    in_a_row: u32,
    /// Hashes of topics of which a request had no answer, and none was answered since.
    doubted: VecDeque<u64>,
}

impl Patience {
    /// Upstream took these in so much time.
    pub(super) fn took(&mut self, time: Duration, topics: impl Iterator<Item = u64>) {
        let before = self.usual.unwrap_or_default();
        self.usual = Some(time.max(before - before / 8));
        self.told(topics);
    }

    /// There was an answer, whatever it was.
    pub(super) fn told(&mut self, topics: impl Iterator<Item = u64>) {
        self.in_a_row = 0;
        self.shaken = self.shaken.saturating_sub(1);
        if self.doubted.is_empty() {
            return;
        }
        for topic in topics {
            self.doubted.retain(|doubted| *doubted != topic);
        }
    }

    /// Upstream stood still over these, or one of them.
    pub(super) fn had_none(&mut self, topics: impl Iterator<Item = u64>) {
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.shaken = CALM;
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
    pub(super) fn is_doubted(&self, topic: u64) -> bool {
        self.doubted.contains(&topic)
    }

    /// How long the next answer is waited for, which may take `answer`.
    pub(super) fn left(&self, answer: Duration) -> Duration {
        let Some(usual) = self.usual else {
            return answer;
        };
        let least = if self.shaken > 0 { LEAST_SHAKEN } else { LEAST };
        let times = 1_u32.checked_shl(self.in_a_row / TRIES).unwrap_or(u32::MAX);
        let patience = usual.saturating_mul(TIMES).max(least);
        patience.saturating_mul(times).min(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn answered(patience: &mut Patience, times: u32) {
        for _ in 0..times {
            patience.took(SECOND / 100, [9].into_iter());
        }
    }

    #[test]
    fn an_answer_is_waited_for_by_what_is_usual_and_less_where_there_was_none() {
        let mut patience = Patience::default();
        assert_eq!(patience.left(30 * SECOND), 30 * SECOND);
        patience.took(SECOND / 100, [1].into_iter());
        assert_eq!(patience.left(30 * SECOND), LEAST);
        patience.had_none([1, 2, 3].into_iter());
        assert!(patience.is_doubted(2) && !patience.is_doubted(4));
        assert_eq!(patience.left(30 * SECOND), LEAST_SHAKEN);
        assert_eq!(patience.left(SECOND), SECOND);
        patience.took(2 * SECOND, [2].into_iter());
        assert_eq!(patience.left(30 * SECOND), 16 * SECOND);
        assert_eq!(patience.left(10 * SECOND), 10 * SECOND);
        assert!(!patience.is_doubted(2) && patience.is_doubted(3));
        // One slow answer is forgotten by and by, and that there was none, too.
        answered(&mut patience, CALM - 2);
        assert_eq!(patience.left(30 * SECOND), LEAST_SHAKEN);
        answered(&mut patience, 1);
        assert_eq!(patience.left(30 * SECOND), LEAST);
        patience.had_none(0..5_000);
        assert_eq!(patience.doubted.len(), REMEMBERED);
    }

    #[test]
    fn where_all_of_it_has_become_slow_an_answer_gets_its_whole_time_in_the_end() {
        let mut patience = Patience::default();
        answered(&mut patience, 1);
        for times in [1, 1, 2, 2, 2, 4, 4, 4, 8, 8, 8, 12, 12] {
            patience.had_none([1].into_iter());
            assert_eq!(patience.left(30 * SECOND), times * LEAST_SHAKEN);
        }
        (0..1_000).for_each(|_| patience.had_none([1].into_iter()));
        assert_eq!(patience.left(30 * SECOND), 30 * SECOND);
        answered(&mut patience, 1);
        assert_eq!(patience.left(30 * SECOND), LEAST_SHAKEN);
    }
}
