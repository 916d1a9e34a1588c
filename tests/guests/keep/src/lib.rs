//! The plainest filter there is, for the benchmark of a hop: keeps payloads of at least so many bytes.

use tidegate_sdk::prelude::*;

settings! {
    /// The guest and its settings.
    pub struct Keep {
        /// Shorter payloads are filtered.
        pub at_least_bytes: usize,
    }
}

impl Filter for Keep {
    fn keep(&mut self, message: &Message<'_>) -> Result<bool> {
        Ok(message.payload().len() >= self.at_least_bytes)
    }
}

tidegate_sdk::export!(Keep);
