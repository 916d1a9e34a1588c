//! Counts the messages of each device.

use tidegate_sdk::prelude::*;

record! {
    struct Counted<'a> { device: &'a str, count: u64 }
}

struct Count {
    counts: State<u64>,
}

impl Transform for Count {
    type Settings = NoSettings;

    fn new(_: NoSettings) -> Result<Self> {
        Ok(Self {
            counts: State::at_most(20_000, tidegate_sdk::weight),
        })
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        let device = message.key();
        let mut count = self.counts.of(device);
        *count += 1;
        out.emit_json(&Counted {
            device,
            count: *count,
        })
    }
}

impl Stateful for Count {
    type Value = u64;

    fn state(&mut self) -> &mut State<u64> {
        &mut self.counts
    }
}

export!(Count: state);
