//! As `count`, with a state of version 2 that reads no older one: a swap from `count` to it must be refused.

use tidegate_sdk::prelude::*;

settings! {
    /// The guest's settings.
    pub struct Settings {
        /// Stands in every output, so that a swap can be seen.
        #[serde(default)]
        pub tag: String,
    }
}

record! {
    /// What is remembered of a device.
    #[derive(Default)]
    pub struct Seen {
        count: u64,
    }
}

#[derive(Serialize)]
#[serde(crate = "tidegate_sdk::serde")]
struct Counted<'a> {
    key: &'a str,
    count: u64,
    tag: &'a str,
    /// The message's payload as text.
    of: &'a str,
}

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
        Ok(Self { tag: settings.tag, seen: State::default() })
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        let of = message.text()?;
        let mut seen = self.seen.of(message.key());
        seen.count += 1;
        out.emit_json(&Counted { key: message.key(), count: seen.count, tag: &self.tag, of })
    }
}

impl Stateful for OtherState {
    type Value = Seen;

    fn state(&mut self) -> &mut State<Seen> {
        &mut self.seen
    }
}

tidegate_sdk::export!(OtherState: state);
