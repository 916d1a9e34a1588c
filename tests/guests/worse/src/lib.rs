//! Counts as the guest `count` does, and does something wrong once it is at work: which, stands in [`HOW`], where a test
//! writes it into the finished component.

#[path = "../../count/src/counted.rs"]
mod counted;

use tidegate_sdk::prelude::*;

use counted::{Counted, Seen, Settings};

/// What it does wrong.
pub static HOW: [u8; 16] = *b"how:nothing-yet-";

/// Messages of one instance after which it begins.
const GOOD: u64 = 100;

/// The guest.
#[derive(Debug)]
pub struct Worse {
    tag: String,
    seen: State<Seen>,
    messages: u64,
    hoard: Vec<Vec<u8>>,
}

impl Worse {
    fn misbehave(&mut self, out: &mut Outputs<'_>) {
        match std::hint::black_box(&HOW) {
            b"how:trap--------" => panic!("traps after {GOOD} messages"),
            b"how:spin--------" => while std::hint::black_box(self.messages) > GOOD {},
            b"how:leak--------" => self.hoard.push(vec![1; 16 << 10]),
            b"how:flood-------" => (0..10_000).for_each(|_| out.emit(b"drop in the flood")),
            _ => {}
        }
    }
}

impl Transform for Worse {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        Ok(Self {
            tag: settings.tag,
            seen: State::default(),
            messages: 0,
            hoard: Vec::new(),
        })
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        self.messages += 1;
        if self.messages > GOOD {
            self.misbehave(out);
        }
        let of = message.text()?;
        let mut seen = self.seen.of(message.key());
        seen.count += 1;
        match std::hint::black_box(&HOW) {
            b"how:reject------" if seen.count.is_multiple_of(4) => {
                out.reject("every fourth is one too many")
            }
            b"how:wrong-------" => out.emit_json(&Counted {
                key: message.key(),
                count: seen.count + 1,
                tag: &self.tag,
                of,
            })?,
            _ => out.emit_json(&Counted {
                key: message.key(),
                count: seen.count,
                tag: &self.tag,
                of,
            })?,
        }
        Ok(())
    }
}

impl Stateful for Worse {
    type Value = Seen;

    fn state(&mut self) -> &mut State<Seen> {
        &mut self.seen
    }
}

tidegate_sdk::export!(Worse: state);
