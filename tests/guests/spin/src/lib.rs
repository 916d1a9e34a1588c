//! Never comes back from a payload that begins with `spin`; keeps all others.

use tidegate_sdk::prelude::*;

settings! {
    /// The guest; it has no settings.
    pub struct Spin {}
}

impl Filter for Spin {
    fn keep(&mut self, message: &Message<'_>) -> Result<bool> {
        while std::hint::black_box(message.payload()).starts_with(b"spin") {}
        Ok(true)
    }
}

tidegate_sdk::export!(Spin);
