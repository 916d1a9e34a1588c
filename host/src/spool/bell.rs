//! Wakes the store thread, and only when it would sleep past what is due.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

const NEVER: u64 = u64::MAX;
const AWAKE: u64 = 0;

/// A wake-up with a time: threads that append compare their deadline with the sleeper's, so that a busy gateway wakes
/// the store thread once per `spill_after` and not once per batch.
#[derive(Debug)]
pub(super) struct Bell {
    /// When the sleeper wakes by itself (running clock); 0 while it is awake or was rung for.
    wakes_at: AtomicU64,
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Default for Bell {
    fn default() -> Self {
        Self {
            wakes_at: AtomicU64::new(NEVER),
            rung: Mutex::new(false),
            changed: Condvar::new(),
        }
    }
}

impl Bell {
    /// Something is due at `at_us`.
    pub(super) fn due(&self, at_us: u64) {
        // 0 is "awake" to the sleeper, so what is due at once is as early as 0 gets.
        if at_us < self.wakes_at.load(Ordering::SeqCst) {
            let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
            self.wakes_at.store(AWAKE, Ordering::SeqCst);
            *rung = true;
            self.changed.notify_one();
        }
    }

    /// The store thread looks at what is due; whatever comes from now on rings.
    pub(super) fn look(&self) {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        *rung = false;
        self.wakes_at.store(NEVER, Ordering::SeqCst);
    }

    /// The store thread is at work and will look again: nobody need ring.
    pub(super) fn busy(&self) {
        self.wakes_at.store(AWAKE, Ordering::SeqCst);
    }

    /// Sleeps until `due_us` (for ever without one) or until rung.
    pub(super) fn sleep(&self, now_us: u64, due_us: Option<u64>) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        if *rung {
            return;
        }
        self.wakes_at
            .store(due_us.unwrap_or(NEVER), Ordering::SeqCst);
        match due_us {
            Some(due) => drop(self.changed.wait_timeout_while(
                rung,
                Duration::from_micros(due.saturating_sub(now_us)),
                |rung| !*rung,
            )),
            None => drop(self.changed.wait_while(rung, |rung| !*rung)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_before_the_sleepers_rings_and_a_later_one_does_not() {
        let bell = Bell::default();
        bell.look();
        bell.sleep(0, Some(0));
        bell.wakes_at.store(500, Ordering::SeqCst);
        bell.due(600);
        assert!(!*bell.rung.lock().unwrap());
        bell.due(400);
        assert!(*bell.rung.lock().unwrap());
        bell.sleep(0, None);
        bell.look();
        bell.busy();
        bell.due(0);
        assert!(!*bell.rung.lock().unwrap());
    }

    #[test]
    fn what_comes_between_the_look_and_the_sleep_is_not_slept_over() {
        let bell = Bell::default();
        bell.look();
        bell.due(1 << 50);
        bell.sleep(0, None);
    }

    #[test]
    fn a_sleeper_is_woken() {
        let bell = std::sync::Arc::new(Bell::default());
        bell.look();
        let sleeper = std::thread::spawn({
            let bell = std::sync::Arc::clone(&bell);
            move || bell.sleep(0, None)
        });
        bell.due(7);
        sleeper.join().unwrap();
    }
}
