//! Writes 10,000 lines to the log and as many to stderr on a payload that begins with `noisy`, 500 where it goes on with
//! `-little`; keeps everything.

use tidegate_sdk::prelude::*;

settings! {
    /// The guest; it has no settings.
    pub struct Noisy {}
}

impl Filter for Noisy {
    fn keep(&mut self, message: &Message<'_>) -> Result<bool> {
        if message.payload().starts_with(b"noisy") {
            let lines = if message.payload().starts_with(b"noisy-little") {
                500
            } else {
                10_000
            };
            for line in 0..lines {
                host::warn(&format!(
                    "line {line} of a plugin that cannot stop talking, about `{}`",
                    message.topic()
                ));
                eprintln!(
                    "stderr line {line} of a plugin that cannot stop talking, about `{}`",
                    message.topic()
                );
            }
        }
        Ok(true)
    }
}

tidegate_sdk::export!(Noisy);
