//! A reading in JSON and °C becomes a line of text in °F.

use tidegate_sdk::prelude::*;

struct Convert;

impl Transform for Convert {
    type Settings = NoSettings;

    fn new(_: NoSettings) -> Result<Self> {
        Ok(Self)
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        let fahrenheit = message.number("temperature")? * 1.8 + 32.0;
        let humidity = message.number("humidity")?;
        let line = format!("{};{fahrenheit:.1};{humidity:.1}", message.key());
        out.emit(line.as_bytes());
        Ok(())
    }
}

export!(Convert);
