//! As the host's module of this name, as far as receipts and inboxes need it.

#[expect(dead_code, reason = "a part of it is for others")]
#[path = "../../../host/src/message/receipt.rs"]
mod receipt;
pub mod sync;

pub use receipt::{Burst, Receipt, Settled};

/// With a number in the place of the message.
pub struct Delivery {
    pub number: u32,
    pub receipt: Option<Receipt>,
}

impl Delivery {
    pub fn weight(&self) -> usize {
        1
    }
}
