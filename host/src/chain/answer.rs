//! Waiting for an answer for as long as it is wanted.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Pause between two looks whether the answer is still wanted.
const LOOK: Duration = Duration::from_millis(20);

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// Whoever was to give it is gone.
    Gone,
    /// Its time is up.
    Late,
    /// Nobody wants it any more.
    Unwanted,
}

/// Takes what comes out of `answers` until `deadline`, while it is wanted.
pub(super) fn wait_for_answer<T>(
    answers: &Receiver<T>,
    deadline: Instant,
    is_wanted: impl Fn() -> bool,
) -> Result<T, NoAnswer> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match answers.recv_timeout(left.min(LOOK)) {
            Ok(answer) => return Ok(answer),
            Err(RecvTimeoutError::Disconnected) => return Err(NoAnswer::Gone),
            Err(RecvTimeoutError::Timeout) if !is_wanted() => return Err(NoAnswer::Unwanted),
            Err(RecvTimeoutError::Timeout) if left.is_zero() => return Err(NoAnswer::Late),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn an_answer_is_waited_for_until_it_comes_its_time_is_up_or_nobody_wants_it() {
        let (answer, answers) = sync_channel(1);
        let far = Instant::now() + Duration::from_secs(3_600);
        assert_eq!(
            wait_for_answer(&answers, far, || false),
            Err(NoAnswer::Unwanted)
        );
        assert_eq!(
            wait_for_answer(&answers, Instant::now(), || true),
            Err(NoAnswer::Late)
        );
        answer.send(7).unwrap();
        assert_eq!(
            wait_for_answer(&answers, Instant::now(), || false),
            Ok(7),
            "what is there counts"
        );
        drop(answer);
        assert_eq!(wait_for_answer(&answers, far, || true), Err(NoAnswer::Gone));
    }
}
