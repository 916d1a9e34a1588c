//! Threads that are to be there for as long as the process: a panic in one is said at once, and its work begins anew.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Pause before work begins anew, so that what panics at once does not take the processor: it doubles up to the longest,
/// which is also how long an end may wait for it.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Does `work` until it returns. `name` says what the thread is for.
pub fn keep(name: &str, mut work: impl FnMut()) {
    let mut pause = PAUSE;
    while catch_unwind(AssertUnwindSafe(&mut work)).is_err() {
        tracing::error!(
            thread = name,
            "a thread crashed, and its work begins anew; a fault in tidegate: please report the lines above"
        );
        std::thread::park_timeout(pause);
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn work_begins_anew_after_a_panic_and_ends_when_it_returns() {
        let mut rounds = 0;
        super::keep("test", || {
            rounds += 1;
            assert!(rounds > 2, "told to panic");
        });
        assert_eq!(rounds, 3);
    }
}
