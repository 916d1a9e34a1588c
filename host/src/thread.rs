//! Threads that are to be there for as long as the process: a panic in one is said at once, and its work begins anew.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use rustix::process::{getpid, getpriority_process, setpriority_process};

/// Pause before work begins anew, so that what panics at once does not take the processor: it doubles up to the longest,
/// which is also how long an end may wait for it.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How far threads that work stand behind those of network and store, which only hand over what they bring.
const BEHIND: i32 = 5;

/// The last place that the kernel has.
const LAST: i32 = 19;

/// Has the calling thread stand behind the process, wherever that was placed.
///
/// # Errors
/// It may not.
pub fn step_back() -> std::io::Result<()> {
    let own = getpriority_process(Some(getpid()))?;
    setpriority_process(None, behind(own))?;
    Ok(())
}

fn behind(own: i32) -> i32 {
    (own + BEHIND).min(LAST)
}

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
    use super::*;

    #[test]
    fn who_steps_back_stands_behind_the_process_and_stays_there_if_he_does_it_again() {
        assert_eq!([-10, 0, 10, 17].map(behind), [-5, 5, 15, 19]);
        let own = getpriority_process(Some(getpid())).unwrap();
        std::thread::spawn(move || {
            for _ in 0..2 {
                step_back().unwrap();
                assert_eq!(getpriority_process(None).unwrap(), behind(own));
            }
        })
        .join()
        .unwrap();
    }

    #[test]
    fn work_begins_anew_after_a_panic_and_ends_when_it_returns() {
        let mut rounds = 0;
        keep("test", || {
            rounds += 1;
            assert!(rounds > 2, "told to panic");
        });
        assert_eq!(rounds, 3);
    }
}
