//! Takes memory without end on a payload that begins with `grow`; keeps all others.

use tidegate_sdk::prelude::*;

settings! {
    /// The guest; it has no settings.
    pub struct Grow {}
}

impl Filter for Grow {
    fn keep(&mut self, message: &Message<'_>) -> Result<bool> {
        let mut taken = Vec::new();
        while std::hint::black_box(message.payload()).starts_with(b"grow") {
            taken.push(vec![1_u8; 1 << 20]);
            std::hint::black_box(&taken);
        }
        Ok(true)
    }
}

tidegate_sdk::export!(Grow);
