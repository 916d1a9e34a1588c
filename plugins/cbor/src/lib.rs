//! CBOR (RFC 8949) to JSON, or JSON to CBOR.
//!
//! ```toml
//! settings = {}
//! settings = { floats = "short", bytes = "hex" }
//! settings = { do = "encode" }
//! ```
//!
//! - `do`: `"decode"`: CBOR comes and JSON goes on; `"encode"`: JSON of any kind comes and CBOR goes on. Default: `"decode"`.
//! - `bytes`: what bytes become, which JSON has not: `"base64"`, `"hex"`, or `"list"`, a list of numbers. Default: `"base64"`.
//! - `floats`: how numbers of single precision are written. `"exact"`: as the double that each is: `21.600000381469727`. `"short"`: by the
//!   fewest digits that read back as the same single: `21.6`. Default: `"exact"`.
//!
//! Decoded: whole numbers have all their digits, up to 128 bits, and so have decimal fractions (tag 4). Names of maps that are whole
//! numbers become text (`{1: 2}` is `{"1":2}`). What other tags say is left out, `undefined` is `null`, and so is what is no number or infinite.
//!
//! Encoded: whole numbers have all their digits, beyond 64 bits as big numbers (tags 2 and 3); numbers with a point or an exponent
//! become the nearest double, in the shortest form that holds it.
//!
//! What ends too early, goes on behind its end, has a name twice, is nested deeper than 128, or says what JSON cannot, rejects the message
//! with the reason and the byte in words. What deletes a retained reading (an empty payload) goes on.

mod decode;
mod encode;

use tidegate_sdk::foreign::{Bytes, Singles};
use tidegate_sdk::json;
use tidegate_sdk::prelude::*;

settings! {
    /// The plugin's settings.
    pub struct Settings {
        /// Which way it goes.
        #[serde(default, rename = "do")]
        pub way: Way,
        /// What bytes become.
        #[serde(default)]
        pub bytes: Bytes,
        /// How numbers of single precision are written.
        #[serde(default)]
        pub floats: Singles,
    }
}

settings! {
    /// Which way it goes.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Way {
        /// To JSON.
        #[default]
        Decode,
        /// From JSON.
        Encode,
    }
}

/// The configured plugin.
#[derive(Debug)]
pub struct Cbor {
    way: Way,
    forms: decode::Forms,
}

impl Transform for Cbor {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        Ok(Self {
            way: settings.way,
            forms: decode::Forms {
                bytes: settings.bytes,
                singles: settings.floats,
            },
        })
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        if message.is_delete() {
            out.pass();
            return Ok(());
        }
        match self.way {
            Way::Decode => {
                out.emit_with(|json| decode::decode(message.payload(), self.forms, json))
            }
            Way::Encode => {
                let value = json::value(message.payload())?;
                out.emit_with(|payload| encode::encode(value, payload))
            }
        }
    }
}

tidegate_sdk::export!(Cbor);

#[cfg(test)]
mod tests;
