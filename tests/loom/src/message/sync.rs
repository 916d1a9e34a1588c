//! What `host/src/message/sync.rs` has, under loom's control.

pub use std::sync::Arc;

pub use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
pub use loom::sync::{Mutex, MutexGuard};

/// As tokio's: a ring before the wait is not lost.
#[derive(Debug, Default)]
pub struct Notify {
    permit: loom::sync::Mutex<bool>,
    bell: loom::sync::Condvar,
}

impl Notify {
    pub fn notify_one(&self) {
        *self.permit.lock().unwrap() = true;
        self.bell.notify_one();
    }

    /// Blocks, as loom's threads have no executor.
    pub async fn notified(&self) {
        let mut permit = self.permit.lock().unwrap();
        while !std::mem::take(&mut *permit) {
            permit = self.bell.wait(permit).unwrap();
        }
    }
}
