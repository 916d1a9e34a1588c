//! Wakes the writer, and only when it would sleep past what is due.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use crate::clock::RunningTime;

const NEVER: u64 = u64::MAX;
const AWAKE: u64 = 0;

/// A wake-up with a time: threads that append compare their deadline with the sleeper's, so that a busy gateway wakes
/// the writer once per `spill_after` and not once per batch.
#[derive(Debug)]
pub(super) struct WakeUp {
    /// When the sleeper wakes by itself (running clock); 0 while it is awake or was woken for.
    wakes_at: AtomicU64,
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Default for WakeUp {
    fn default() -> Self {
        Self {
            wakes_at: AtomicU64::new(NEVER),
            woken: Mutex::new(false),
            changed: Condvar::new(),
        }
    }
}

impl WakeUp {
    /// Something is due at `at`.
    pub(super) fn due(&self, at: RunningTime) {
        // 0 is "awake" to the sleeper, so what is due at once is as early as 0 gets.
        if at.0 < self.wakes_at.load(Ordering::SeqCst) {
            let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
            self.wakes_at.store(AWAKE, Ordering::SeqCst);
            *woken = true;
            self.changed.notify_one();
        }
    }

    /// The writer looks at what is due; whatever comes from now on wakes it.
    pub(super) fn look(&self) {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        *woken = false;
        self.wakes_at.store(NEVER, Ordering::SeqCst);
    }

    /// The writer is at work and will look again: nobody need wake it.
    pub(super) fn busy(&self) {
        self.wakes_at.store(AWAKE, Ordering::SeqCst);
    }

    /// Sleeps until `due` (for ever without one) or until woken.
    pub(super) fn sleep(&self, now: RunningTime, due: Option<RunningTime>) {
        let woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        if *woken {
            return;
        }
        self.wakes_at
            .store(due.map_or(NEVER, |due| due.0), Ordering::SeqCst);
        match due {
            Some(due) => drop(
                self.changed
                    .wait_timeout_while(woken, due.since(now), |woken| !*woken),
            ),
            None => drop(self.changed.wait_while(woken, |woken| !*woken)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_before_the_sleepers_rings_and_a_later_one_does_not() {
        let wake_up = WakeUp::default();
        wake_up.look();
        wake_up.sleep(RunningTime::START, Some(RunningTime::START));
        wake_up.wakes_at.store(500, Ordering::SeqCst);
        wake_up.due(RunningTime(600));
        assert!(!*wake_up.woken.lock().unwrap());
        wake_up.due(RunningTime(400));
        assert!(*wake_up.woken.lock().unwrap());
        wake_up.sleep(RunningTime::START, None);
        wake_up.look();
        wake_up.busy();
        wake_up.due(RunningTime::START);
        assert!(!*wake_up.woken.lock().unwrap());
    }

    #[test]
    fn what_comes_between_the_look_and_the_sleep_is_not_slept_over() {
        let wake_up = WakeUp::default();
        wake_up.look();
        wake_up.due(RunningTime(1 << 50));
        wake_up.sleep(RunningTime::START, None);
    }

    #[test]
    fn a_sleeper_is_woken() {
        let wake_up = std::sync::Arc::new(WakeUp::default());
        wake_up.look();
        let sleeper = std::thread::spawn({
            let wake_up = std::sync::Arc::clone(&wake_up);
            move || wake_up.sleep(RunningTime::START, None)
        });
        wake_up.due(RunningTime(7));
        sleeper.join().unwrap();
    }
}
