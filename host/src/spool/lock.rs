//! How the locks of the spool are taken.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A lock whose holders only do memory work; a panic among them is caught elsewhere.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
