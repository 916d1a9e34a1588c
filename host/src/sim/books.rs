//! What both ends write down while it runs.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::crowd::gathering::Gathering;
use super::tally::SentLedger;
use super::watcher::WatchLog;

/// What both ends have written down so far.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) ledger: Mutex<SentLedger>,
    pub(super) seen: Mutex<WatchLog>,
    pub(super) gathering: Mutex<Gathering>,
}

impl Books {
    /// A panic while a book is open leaves it readable: each entry is complete in itself.
    pub(super) fn ledger(&self) -> MutexGuard<'_, SentLedger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, WatchLog> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn gathering(&self) -> MutexGuard<'_, Gathering> {
        self.gathering
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
