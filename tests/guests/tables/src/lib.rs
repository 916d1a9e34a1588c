//! Asks for table elements without end on a payload that begins with `tables`; keeps all others. Rust has no word for
//! that: a `memory.grow` by [`MARK`] pages stands where a test writes `table.grow` into the finished component.

use tidegate_sdk::prelude::*;

settings! {
    /// The guest; it has no settings.
    pub struct Tables {}
}

/// More pages than there can be, and five bytes long in the code.
pub const MARK: usize = 0x7e57_ab1e;

impl Filter for Tables {
    fn keep(&mut self, message: &Message<'_>) -> Result<bool> {
        if message.payload().starts_with(b"tables") {
            while grow() != usize::MAX {}
            panic!("got no more");
        }
        Ok(true)
    }
}

#[cfg(target_arch = "wasm32")]
fn grow() -> usize {
    core::arch::wasm32::memory_grow::<0>(MARK)
}

#[cfg(not(target_arch = "wasm32"))]
fn grow() -> usize {
    usize::MAX
}

tidegate_sdk::export!(Tables);
