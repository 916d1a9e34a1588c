//! Refuses every configuration, in words.

use tidegate_sdk::prelude::*;

/// The guest.
pub struct ConfigureError;

impl Transform for ConfigureError {
    type Settings = tidegate_sdk::serde_json::Value;

    fn new(_: Self::Settings) -> Result<Self> {
        Err("the calibration table is missing".into())
    }

    fn process(&mut self, _: &Message<'_>, _: &mut Outputs<'_>) -> Result<()> {
        Ok(())
    }
}

tidegate_sdk::export!(ConfigureError);
