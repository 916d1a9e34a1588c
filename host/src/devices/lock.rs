//! Locks of the register, which a panic of another thread does not spoil: each entry is whole by itself.

use std::sync::{Mutex, MutexGuard, PoisonError};

pub(super) fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
