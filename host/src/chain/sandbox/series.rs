//! One bound for calls that belong together: the pages of a save or of a restore, the inputs that are run again after a
//! fault. Each call has its own bound, and any number of them would have none.

use std::time::{Duration, Instant};

use crate::clock;

/// Processor time of the thread that makes the calls.
const CPU: Duration = Duration::from_secs(2);

/// Time by the clock, for a machine that is busy with something else.
const WALL: Duration = Duration::from_secs(10);

/// Calls that have begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallSeries {
    cpu: Duration,
    begun: Instant,
}

impl CallSeries {
    /// On the thread that makes them.
    pub(crate) fn begin() -> Self {
        Self {
            cpu: clock::thread_cpu(),
            begun: Instant::now(),
        }
    }

    /// Why there is no further call, if there is none.
    pub(crate) fn over(&self) -> Option<String> {
        let is_over =
            clock::thread_cpu().saturating_sub(self.cpu) >= CPU || self.begun.elapsed() >= WALL;
        is_over
            .then(|| format!("longer than {CPU:?} of processor time, or {WALL:?}, for all of it"))
    }
}
