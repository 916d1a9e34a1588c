//! Fields of payloads in the Cayenne Low Power Payload, which many LoRaWAN devices send: `01 67 00 d7` becomes `{"temperature_1":21.5}`.
//!
//! ```toml
//! settings = {}
//! settings = { field = "data", keep = ["fPort"] }
//! settings = { input = "hex" }
//! ```
//!
//! - `field`: a field of a JSON payload that has the bytes as text, by its path: `"data"` for ChirpStack, `"uplink_message.frm_payload"` for The
//!   Things Network. Default: none; the payload is the bytes.
//! - `input`: how the bytes stand there: `"bytes"`, as they are (not in a field); `"base64"`, also that of URLs, or `"hex"`. Default: `"base64"` in a field,
//!   else `"bytes"`.
//! - `keep`: fields of a JSON payload, by their names, that stand behind the others. Default: none.
//!
//! A field is called by what it is and its channel: `digital_in_1`, `digital_out`, `analog_in`, `analog_out`, `generic`, `luminosity`, `presence`,
//! `temperature`, `relative_humidity`, `accelerometer` (`x`, `y`, `z`), `barometric_pressure`, `voltage`, `current`, `frequency`, `percentage`, `altitude`,
//! `concentration`, `power`, `distance`, `energy`, `direction`, `unixtime`, `gyrometer` (`x`, `y`, `z`), `colour` (`red`, `green`, `blue`), `gps` (`latitude`,
//! `longitude`, `altitude`) and `switch`: the types of the first page and those that were added later, in °C, %, hPa, V, A, Hz, m, W, kWh, lux, g and °/s.
//! Numbers have the digits of their type.
//!
//! A type that nobody knows, or a payload that ends within one, rejects the message with the byte in words: there is no telling how
//! long what is unknown is. What deletes a retained reading (an empty payload) goes on.

mod kinds;

use tidegate_sdk::foreign::{Bytes, check_names, text};
use tidegate_sdk::json::{self, Paths};
use tidegate_sdk::prelude::*;

settings! {
    /// The plugin's settings.
    pub struct Settings {
        /// The field that has the bytes.
        pub field: Option<String>,
        /// How they stand there.
        pub input: Option<Form>,
        /// Fields that stay.
        #[serde(default)]
        pub keep: Vec<String>,
    }
}

settings! {
    /// How bytes stand somewhere.
    #[derive(Copy, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Form {
        /// As they are.
        Bytes,
        /// In base64.
        Base64,
        /// By two digits each.
        Hex,
    }
}

/// The configured plugin.
#[derive(Debug)]
pub struct Cayenne {
    paths: Paths,
    has_field: bool,
    form: Form,
    keep: Vec<String>,
}

impl Transform for Cayenne {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        let mut paths = Paths::default();
        let has_field = settings.field.is_some();
        if let Some(field) = &settings.field {
            let added = paths.add(field);
            added.map_err(|error| format!("`field`: {error}"))?;
        }
        let form = match (settings.input, has_field) {
            (Some(Form::Bytes), true) => {
                return Err("`input` is \"bytes\", which a `field` of JSON cannot have".into());
            }
            (Some(form), _) => form,
            (None, true) => Form::Base64,
            (None, false) => Form::Bytes,
        };
        if !settings.keep.is_empty() && !has_field {
            return Err("`keep` names fields of JSON: set `field`, which has the bytes".into());
        }
        Ok(Self {
            paths,
            has_field,
            form,
            keep: settings.keep,
        })
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        if message.is_delete() {
            out.pass();
            return Ok(());
        }
        let payload = message.payload();
        let bytes = match (self.has_field, self.form) {
            (true, form) => {
                let found = self.paths.find(payload)?;
                let value = found.require(0)?;
                let text = value.text();
                let text = text.ok_or_else(|| format!("field `{}` is no text", found.name(0)))?;
                read(form, &text)?
            }
            (false, Form::Bytes) => payload.to_vec(),
            (false, form) => read(form, message.text()?.trim())?,
        };
        out.emit_with(|json| {
            json.push(b'{');
            let mut names = kinds::write(&bytes, json)?;
            self.write_kept(payload, json, &mut names)?;
            json.push(b'}');
            check_names(json, &mut names)
        })
    }
}

impl Cayenne {
    fn write_kept(
        &self,
        payload: &[u8],
        json: &mut Vec<u8>,
        names: &mut Vec<std::ops::Range<usize>>,
    ) -> Result<()> {
        if self.keep.is_empty() {
            return Ok(());
        }
        for member in json::members(payload)? {
            if !self.keep.iter().any(|name| *name == member.name) {
                continue;
            }
            if !names.is_empty() {
                json.push(b',');
            }
            let start = json.len();
            text(&member.name, json);
            names.push(start..json.len());
            json.push(b':');
            json.extend_from_slice(member.value.bytes());
        }
        Ok(())
    }
}

fn read(form: Form, text: &str) -> Result<Vec<u8>> {
    let (bytes, what) = match form {
        Form::Hex => (Bytes::Hex.read(text), "hexadecimal digits"),
        _ => (Bytes::Base64.read(text), "base64"),
    };
    bytes.ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        format!("payload has no bytes in {what}: `{shown}`").into()
    })
}

tidegate_sdk::export!(Cayenne);

#[cfg(test)]
mod tests;
