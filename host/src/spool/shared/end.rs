//! The end of the spool: asked for once, and seen by every thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::spool::lock::locked;

/// How the writer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShutdownMode {
    Write,
    Abandon,
}

/// Whether the end has come.
#[derive(Debug, Default)]
pub(crate) struct Shutdown {
    how: Mutex<Option<ShutdownMode>>,
    come: Condvar,
    has_come: AtomicBool,
}

impl Shutdown {
    pub(crate) fn begin(&self, ending: ShutdownMode) {
        *locked(&self.how) = Some(ending);
        self.has_come.store(true, Ordering::Release);
        self.come.notify_all();
    }

    /// Whether it has come.
    pub(crate) fn has_come(&self) -> bool {
        self.has_come.load(Ordering::Acquire)
    }

    /// How, if it has come.
    pub(crate) fn how(&self) -> Option<ShutdownMode> {
        *locked(&self.how)
    }

    /// Waits, unless it comes first.
    pub(crate) fn pause(&self, delay: Duration) {
        let waited = self
            .come
            .wait_timeout_while(locked(&self.how), delay, |how| how.is_none());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}
