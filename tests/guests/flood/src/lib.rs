//! Makes far too much out of one message: 10,000 messages of a payload that begins with `flood`, 8 MiB in eight
//! messages of one that begins with `flood-bytes`. Passes all others on.

use tidegate_sdk::prelude::*;

/// The guest.
pub struct Flood;

impl Transform for Flood {
    type Settings = NoSettings;

    fn new(_: NoSettings) -> Result<Self> {
        Ok(Self)
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        if message.payload().starts_with(b"flood-bytes") {
            let large = vec![b'x'; 1 << 20];
            (0..8).for_each(|_| out.emit(&large));
        } else if message.payload().starts_with(b"flood") {
            (0..10_000).for_each(|_| out.emit(b"drop in the flood"));
        } else {
            out.pass();
        }
        Ok(())
    }
}

tidegate_sdk::export!(Flood);
