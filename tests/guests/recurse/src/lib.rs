//! Calls itself without end on a payload that begins with `recurse`; keeps all others.

use tidegate_sdk::prelude::*;

settings! {
    /// The guest; it has no settings.
    pub struct Recurse {}
}

impl Filter for Recurse {
    fn keep(&mut self, message: &Message<'_>) -> Result<bool> {
        Ok(!message.payload().starts_with(b"recurse") || deeper(1) > 0)
    }
}

/// The sum after the call keeps it from being turned into a loop.
fn deeper(depth: u64) -> u64 {
    if depth == u64::MAX {
        0
    } else {
        1 + deeper(std::hint::black_box(depth + 1))
    }
}

tidegate_sdk::export!(Recurse);
