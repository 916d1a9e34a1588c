//! How a chain tells the gateway that it cannot go on.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// Raised once, when a lane has ended although nobody stopped it.
#[derive(Debug, Default)]
pub struct Failure {
    why: Mutex<Option<String>>,
    raised: Notify,
}

impl Failure {
    /// The first reason stands.
    pub(super) fn raise(&self, why: String) {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        self.raised.notify_one();
    }

    /// Why, once it was raised.
    pub fn why(&self) -> Option<String> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Rings when it is raised; whoever waits looks at [`Failure::why`] before and after.
    pub fn bell(&self) -> &Notify {
        &self.raised
    }
}
