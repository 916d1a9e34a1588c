//! One message with several readings becomes one for each.

use tidegate_sdk::Missing;
use tidegate_sdk::prelude::*;
use tidegate_sdk::serde_json::{Value, json};

struct Split;

impl Transform for Split {
    type Settings = NoSettings;

    fn new(_: NoSettings) -> Result<Self> {
        Ok(Self)
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        let Some(readings) = message.field("readings")? else {
            return Err(Box::new(Missing("field `readings` is missing".to_owned())));
        };
        let elements = readings
            .elements()?
            .ok_or("field `readings` is not a list")?;
        for element in elements {
            let reading: Value = tidegate_sdk::serde_json::from_slice(element.bytes())?;
            let name = reading["name"].as_str().ok_or("a reading has no name")?;
            let topic = format!("devices/{}/{name}", message.key());
            out.message()
                .topic(&topic)
                .json(&json!({ "value": reading["value"] }))?;
        }
        Ok(())
    }
}

export!(Split);
