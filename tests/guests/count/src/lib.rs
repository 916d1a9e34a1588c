//! Counts the messages of each key: `{"key":"d7","count":3,"tag":"a","of":"<payload>"}`. The counts are its state.

mod counted;

use tidegate_sdk::prelude::*;

use counted::{Counted, Seen, Settings};

/// The guest.
#[derive(Debug)]
pub struct Count {
    tag: String,
    seen: State<Seen>,
}

impl Transform for Count {
    type Settings = Settings;

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

impl Stateful for Count {
    type Value = Seen;

    fn state(&mut self) -> &mut State<Seen> {
        &mut self.seen
    }
}

tidegate_sdk::export!(Count: state);
