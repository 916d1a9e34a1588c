//! How a chain tells the gateway that it cannot go on.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Raised once, when a lane has ended although nobody stopped it.
#[derive(Debug, Default)]
pub struct LaneFailure {
    why: Mutex<Option<String>>,
    bell: Arc<Notify>,
}

impl LaneFailure {
    pub(super) fn new(bell: Arc<Notify>) -> Self {
        Self {
            why: Mutex::default(),
            bell,
        }
    }

    /// The first reason stands.
    pub(super) fn raise(&self, why: String) {
        self.why
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(why);
        self.bell.notify_one();
    }

    /// Why, once it was raised.
    pub fn why(&self) -> Option<String> {
        self.why
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
