//! Panics on every message.

use tidegate_sdk::prelude::*;

settings! {
    /// The guest; it has no settings.
    pub struct TrapAlways {}
}

impl Filter for TrapAlways {
    fn keep(&mut self, message: &Message<'_>) -> Result<bool> {
        panic!("traps on every message, on `{}` too", message.topic());
    }
}

tidegate_sdk::export!(TrapAlways);
