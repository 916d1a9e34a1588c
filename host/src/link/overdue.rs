//! Whether what was asked for is late, where one answer is waited for at a time. Its time counts from when the peer's TCP has all that was
//! asked; until then something has to move. No sockets; time is an argument.

use std::time::{Duration, Instant};

use super::{Deadlines, TcpProgress};

/// One question under way.
#[derive(Debug)]
pub struct Question {
    asked_at: Instant,
    /// When it was asked, or something of it was last seen to move.
    moved_at: Instant,
    /// What was taken of the stream then.
    taken: u64,
    /// All of it was through then.
    is_through: bool,
    /// How long it was seen not to be.
    sending: Duration,
    progress: TcpProgress,
    /// How long the answer may take, where that is less than any may.
    patience: Option<Duration>,
}

/// What did not come in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// The peer took nothing for so long.
    Stalled(Duration),
    /// It did not answer for so long.
    Answer(Duration),
    /// The same, which is less than any answer may take.
    Unusual(Duration),
}

impl Question {
    pub fn new(patience: Option<Duration>, now: Instant) -> Self {
        Self {
            asked_at: now,
            moved_at: now,
            taken: 0,
            is_through: false,
            sending: Duration::ZERO,
            progress: TcpProgress::default(),
            patience,
        }
    }

    /// An answer has begun: the rest of it has its time.
    pub fn moved(&mut self, now: Instant) {
        self.moved_at = now;
    }

    /// How long it was on its way; nothing below the time between two looks.
    pub fn sending(&self) -> Duration {
        self.sending
    }

    /// How long it took so far.
    pub fn took(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.asked_at)
    }

    /// When to look again how far it is: after `every`, and when the patience is over.
    pub fn look_at(&self, every: Duration, now: Instant) -> Instant {
        let over = self.patience.map(|patience| self.moved_at + patience);
        let over = over.filter(|over| *over > now);
        over.map_or(now + every, |over| over.min(now + every))
    }

    /// Looks how far it is: of `total` bytes of the stream the peer's TCP has `taken`.
    pub fn overdue(
        &mut self,
        (taken, total): (u64, u64),
        deadlines: &Deadlines,
        now: Instant,
    ) -> Option<Overdue> {
        self.progress.took(taken, now);
        let is_through = self.progress.has(total);
        if taken > self.taken || (is_through && !self.is_through) {
            (self.taken, self.moved_at) = (taken, now);
        }
        self.is_through = is_through;
        if !is_through {
            self.sending = self.took(now);
        }
        let waited = now.saturating_duration_since(self.moved_at);
        let Deadlines { write, answer, .. } = *deadlines;
        let (is_late, late) = match (is_through, self.patience) {
            (false, _) => (waited >= write, Overdue::Stalled(write)),
            (true, Some(patience)) if patience < answer => {
                (waited >= patience, Overdue::Unusual(patience))
            }
            (true, _) => (waited >= answer, Overdue::Answer(answer)),
        };
        is_late.then_some(late)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_is_looked_at_when_the_patience_is_over() {
        let start = Instant::now();
        let question = Question::new(Some(5 * SECOND / 2), start);
        let looks = [0, 1, 2, 3].map(|second| question.look_at(SECOND, start + second * SECOND));
        let after = |tenths: u32| start + tenths * SECOND / 10;
        assert_eq!(looks, [after(10), after(20), after(25), after(40)]);
        let endless = Question::new(None, start);
        assert_eq!(endless.look_at(SECOND, start), after(10));
    }

    #[test]
    fn an_answer_has_its_time_from_when_the_question_is_through_and_a_question_that_moves_is_not_late()
     {
        let deadlines = Deadlines::default();
        let start = Instant::now();
        let mut question = Question::new(None, start);
        for second in 1..40 {
            let taken = u64::from(second) * 10;
            assert_eq!(
                question.overdue((taken, 1_000), &deadlines, start + second * SECOND),
                None
            );
        }
        assert_eq!(question.sending(), 39 * SECOND);
        assert_eq!(
            question.overdue((1_000, 1_000), &deadlines, start + 40 * SECOND),
            None
        );
        assert_eq!(
            question.overdue((1_000, 1_000), &deadlines, start + 69 * SECOND),
            None
        );
        let late = question.overdue((1_000, 1_000), &deadlines, start + 70 * SECOND);
        assert_eq!(late, Some(Overdue::Answer(30 * SECOND)));
        let mut question = Question::new(None, start);
        assert_eq!(
            question.overdue((0, 9), &deadlines, start + 9 * SECOND),
            None
        );
        let late = question.overdue((0, 9), &deadlines, start + 10 * SECOND);
        assert_eq!(late, Some(Overdue::Stalled(10 * SECOND)));
        let mut question = Question::new(Some(5 * SECOND), start);
        assert_eq!(question.overdue((9, 9), &deadlines, start + SECOND), None);
        let late = question.overdue((9, 9), &deadlines, start + 6 * SECOND);
        assert_eq!(late, Some(Overdue::Unusual(5 * SECOND)));
    }
}
