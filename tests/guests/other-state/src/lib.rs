//! As `count`, with a state of version 2 that reads no older one: a swap from `count` to it must be refused.

#[path = "../../count/src/counted.rs"]
mod counted;

use tidegate_sdk::prelude::*;

use counted::{Counted, Seen, Settings};

/// The guest.
#[derive(Debug)]
pub struct OtherState {
    tag: String,
    seen: State<Seen>,
}

impl Transform for OtherState {
    type Settings = Settings;

    const STATE_VERSION: u32 = 2;

    fn new(settings: Settings) -> Result<Self> {
        Ok(Self {
            tag: settings.tag,
            seen: State::default(),
        })
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        let of = message.text()?;
        let mut seen = self.seen.of(message.key());
        seen.count += 1;
        out.emit_json(&Counted {
            key: message.key(),
            count: seen.count,
            tag: &self.tag,
            of,
        })
    }
}

impl Stateful for OtherState {
    type Value = Seen;

    fn state(&mut self) -> &mut State<Seen> {
        &mut self.seen
    }
}

tidegate_sdk::export!(OtherState: state);
