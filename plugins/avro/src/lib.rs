//! Avro to JSON, or JSON to Avro, by a schema: single values, not files of them.
//!
//! ```toml
//! settings = { schema = { type = "record", name = "Reading", fields = [{ name = "device", type = "string" }, { name = "temperature", type = ["null", "float"] }] } }
//! settings = { schema = ["null", "long"], header = "confluent", id = 7 }
//! settings = { do = "encode", header = "single-object", schema = "{\"type\":\"map\",\"values\":\"double\"}" }
//! ```
//!
//! - `schema`: as a table, or as a text, in which the JSON of an `.avsc` file may stand between three quotes. Required.
//! - `do`: `"decode"`: Avro comes and JSON goes on; `"encode"`: JSON comes and Avro goes on. Default: `"decode"`.
//! - `header`: what stands before the value. `"none"`; `"confluent"`: a zero and the four bytes of the schema's id in a registry; `"single-object"`: `c3 01`
//!   and the schema's fingerprint, which has to be that of `schema`. Default: `"none"`.
//! - `id`: the schema's id, with `header = "confluent"`: one with another is rejected, and it is written when encoding, where it is required. Default: none;
//!   any id comes in.
//! - `id_as`: a field that says the id that came in, where the schema is a record. Default: none.
//! - `bytes`: what bytes are in JSON: `"base64"`, `"hex"`, or, when decoding, `"list"`, a list of numbers. Default: `"base64"`.
//! - `floats`: how numbers of single precision are written. `"exact"`: as the double that each is: `21.600000381469727`. `"short"`: by the
//!   fewest digits that read back as the same single: `21.6`. Default: `"exact"`.
//! - `unknown`: what becomes of fields of JSON that a record has not, when encoding: `"reject"`, or `"drop"`: they are left out. Default: `"reject"`.
//!
//! A value of a union is the value itself; encoded, it is of the first type that fits, and a field that is missing has its default, or is `null` where it
//! may be. Decimals are numbers with all digits; other logical types are the numbers and texts that they are made of: a `timestamp-millis` is
//! milliseconds since 1970. What is no number, or infinite, is `null`. The schema is the writer's: what a reader's own would change is for `fields`.
//!
//! What does not fit the schema, ends too early, goes on behind its end, is nested deeper than 128, or becomes more than 1 MiB of JSON rejects the
//! message with the reason and the byte or the field in words. What deletes a retained reading (an empty payload) goes on.

mod decode;
mod encode;
mod header;
mod schema;

use tidegate_sdk::foreign::{Bytes, Singles};
use tidegate_sdk::json;
use tidegate_sdk::prelude::*;
use tidegate_sdk::serde_json::Value;

use header::Header;
use schema::Schema;

settings! {
    /// The plugin's settings.
    pub struct Settings {
        /// The schema, as a table, a list, or JSON in a text.
        pub schema: Value,
        /// Which way it goes.
        #[serde(default, rename = "do")]
        pub way: Way,
        /// What stands before the value.
        #[serde(default)]
        pub header: Header,
        /// The schema's id in a registry.
        pub id: Option<u32>,
        /// The field that says which id came in.
        pub id_as: Option<String>,
        /// What bytes are in JSON.
        #[serde(default)]
        pub bytes: Bytes,
        /// How numbers of single precision are written.
        #[serde(default)]
        pub floats: Singles,
        /// What becomes of fields that a record has not.
        #[serde(default)]
        pub unknown: Unknown,
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

settings! {
    /// What becomes of fields that a record has not.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Unknown {
        /// The message goes to the dead letters.
        #[default]
        Reject,
        /// They are left out.
        Drop,
    }
}

/// The configured plugin.
#[derive(Debug)]
pub struct Avro {
    schema: Schema,
    way: Way,
    header: Header,
    id: Option<u32>,
    id_as: Option<String>,
    bytes: Bytes,
    singles: Singles,
    unknown: Unknown,
}

impl Transform for Avro {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        let is_confluent = settings.header == Header::Confluent;
        if !is_confluent && (settings.id.is_some() || settings.id_as.is_some()) {
            return Err(
                "`id` and `id_as` are of the header of a registry: set `header = \"confluent\"`"
                    .into(),
            );
        }
        let schema = Schema::new(settings.schema)?;
        match settings.way {
            Way::Encode if is_confluent && settings.id.is_none() => {
                return Err("the setting `id` is missing, which is to stand in the header".into());
            }
            Way::Encode if settings.bytes == Bytes::List => {
                return Err("`bytes` cannot be \"list\" when encoding".into());
            }
            _ => {}
        }
        if let Some(name) = &settings.id_as {
            match schema.has_field(name) {
                None => return Err("`id_as` is a field, and the schema is no record".into()),
                Some(true) => {
                    return Err(format!("`id_as`: the record has a field `{name}`").into());
                }
                Some(false) => {}
            }
        }
        Ok(Self {
            schema,
            way: settings.way,
            header: settings.header,
            id: settings.id,
            id_as: settings.id_as,
            bytes: settings.bytes,
            singles: settings.floats,
            unknown: settings.unknown,
        })
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        if message.is_delete() {
            out.pass();
            return Ok(());
        }
        match self.way {
            Way::Decode => out.emit_with(|json| self.decode(message.payload(), json)),
            Way::Encode => {
                let value = json::value(message.payload())?;
                out.emit_with(|payload| {
                    let print = self.schema.fingerprint;
                    self.header.write(self.id, print, payload);
                    encode::encode(&self.schema, self.bytes, self.unknown, value, payload)
                })
            }
        }
    }
}

impl Avro {
    fn decode(&self, payload: &[u8], json: &mut Vec<u8>) -> Result<()> {
        let (id, start) = self
            .header
            .read(payload, self.id, self.schema.fingerprint)?;
        let forms = decode::Forms {
            bytes: self.bytes,
            singles: self.singles,
        };
        decode::decode(&self.schema, payload, start, forms, json)?;
        if let (Some(name), Some(id)) = (&self.id_as, id) {
            // The schema is a record, so that its last brace is the last byte.
            let is_empty = json.ends_with(b"{}");
            json.pop();
            if !is_empty {
                json.push(b',');
            }
            tidegate_sdk::foreign::text(name, json);
            json.extend_from_slice(format!(":{id}}}").as_bytes());
        }
        Ok(())
    }
}

tidegate_sdk::export!(Avro);

#[cfg(test)]
mod tests;
