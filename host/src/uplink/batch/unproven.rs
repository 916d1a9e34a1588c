//! Whether upstream turned away what it was sent last, whatever it was: remembered over connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Clone, Debug, Default)]
pub(in crate::uplink) struct Unproven(Arc<AtomicBool>);

impl Unproven {
    pub(in crate::uplink) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets it, and says what it was.
    pub(in crate::uplink) fn set(&self, is_unproven: bool) -> bool {
        self.0.swap(is_unproven, Ordering::Relaxed)
    }
}
