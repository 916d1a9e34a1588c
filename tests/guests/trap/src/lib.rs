//! Panics on a payload that begins with `trap`; keeps all others.

use tidegate_sdk::prelude::*;

settings! {
    /// The guest; it has no settings.
    pub struct Trap {}
}

impl Filter for Trap {
    fn keep(&mut self, message: &Message<'_>) -> Result<bool> {
        assert!(
            !message.payload().starts_with(b"trap"),
            "asked to trap on `{}`",
            message.topic()
        );
        Ok(true)
    }
}

tidegate_sdk::export!(Trap);
