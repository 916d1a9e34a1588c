//! Keeps readings whose temperature is above `limit`.

use tidegate_sdk::prelude::*;

settings! { pub struct Rule { limit: f64 } }

impl Filter for Rule {
    fn keep(&mut self, message: &Message) -> Result<bool> {
        Ok(message.number("temperature")? > self.limit)
    }
}
export!(Rule);
