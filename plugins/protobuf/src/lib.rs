//! Protocol Buffers to JSON, or JSON to Protocol Buffers, by the descriptors of their types.
//!
//! ```toml
//! settings = { message = "acme.Reading", descriptors = "CmAKC3NtYWxsLnByb3RvEgRhY21lIkMKB1JlYWRpbmcSFgoGZGV2aWNlGAEgASgJUgZkZXZpY2USIAoLdGVtcGVyYXR1cmUYAiABKAJSC3RlbXBlcmF0dXJlYgZwcm90bzM=" }
//! ```
//!
//! - `descriptors`: the types, as text in base64 of what `protoc --include_imports --descriptor_set_out=set.bin reading.proto` writes. Space and line breaks
//!   in it do not count, so `base64 set.bin` may stand between three quotes. Required.
//! - `message`: the type of a payload, by its full name. Required, unless `messages` has all topics.
//! - `messages`: types by topic: `[{ topic = "devices/+/status", message = "acme.Status" }]`, where `topic` is a filter; the first that fits counts, and
//!   `message` where none does. Default: none.
//! - `do`: `"decode"`: Protocol Buffers come and JSON goes on; `"encode"`: JSON comes and Protocol Buffers go on. Default: `"decode"`.
//! - `unknown`: what becomes of fields that the type has not. `"drop"`: they are left out, and counted in `unknown_fields` when decoding; `"reject"`.
//!   Default: `"drop"` for decoding, `"reject"` for encoding.
//!
//! For decoding:
//!
//! - `names`: `"proto"`: fields are called as in the `.proto` file, `"json"`: `lowerCamelCase`. Default: `"proto"`.
//! - `defaults`: whether what was not sent is written where it has a default: 0, `false`, `""`, an empty list. A reading of 0 is not sent. Not so what
//!   is `optional`, a message, or one of several (`oneof`). Default: `true`.
//! - `int64`: numbers of 64 bits: `"number"`, with all digits, or `"text"`, as other readers of JSON want them. Default: `"number"`.
//! - `enums`: `"name"` or `"number"`; a number without a name is itself. Default: `"name"`.
//! - `bytes`: what bytes become: `"base64"`, `"hex"`, or `"list"`, a list of numbers. Default: `"base64"`.
//! - `floats`: how numbers of single precision are written. `"exact"`: as the double that each is: `21.600000381469727`. `"short"`: by the
//!   fewest digits that read back as the same single: `21.6`. Default: `"exact"`.
//!
//! JSON is that of Protocol Buffers but for these settings: timestamps are `"2026-01-01T00:00:00Z"`, durations `"1.5s"`, `Struct` and `Value` are
//! what they hold, wrappers their value. What is no number or infinite is `null`. Fields stand by their numbers, those of maps by their names. For encoding,
//! fields may have either name, enums name or number, bytes are in base64, and numbers may be texts.
//!
//! What is no such message, is nested deeper than 100, has more than 256 KiB, or becomes more than 1 MiB of JSON rejects the message with the reason
//! in words, and so does JSON that does not fit the type. What deletes a retained reading (an empty payload) goes on; another empty payload
//! is a message without fields.

mod decode;
mod schema;

use tidegate_sdk::foreign::{Bytes, Singles};
use tidegate_sdk::json;
use tidegate_sdk::prelude::*;

use prost_reflect::prost::Message as _;
use prost_reflect::{DeserializeOptions, DynamicMessage, MessageDescriptor};

use decode::Forms;
use schema::Types;

settings! {
    /// The plugin's settings.
    pub struct Settings {
        /// The types, in base64.
        pub descriptors: String,
        /// The type of a payload.
        pub message: Option<String>,
        /// Types by topic.
        #[serde(default)]
        pub messages: Vec<ByTopic>,
        /// Which way it goes.
        #[serde(default, rename = "do")]
        pub way: Way,
        /// What becomes of fields that the type has not.
        pub unknown: Option<Unknown>,
        /// What fields are called.
        #[serde(default)]
        pub names: Names,
        /// Whether what was not sent is written.
        #[serde(default = "yes")]
        pub defaults: bool,
        /// What numbers of 64 bits become.
        #[serde(default)]
        pub int64: Int64,
        /// What values of enums become.
        #[serde(default)]
        pub enums: Enums,
        /// What bytes become.
        #[serde(default)]
        pub bytes: Bytes,
        /// How numbers of single precision are written.
        #[serde(default)]
        pub floats: Singles,
    }
}

fn yes() -> bool {
    true
}

settings! {
    /// The type of what comes under some topics.
    pub struct ByTopic {
        /// A topic filter.
        pub topic: String,
        /// The type's full name.
        pub message: String,
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
    /// What becomes of fields that the type has not.
    #[derive(Copy, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Unknown {
        /// They are left out.
        Drop,
        /// The message goes to the dead letters.
        Reject,
    }
}

settings! {
    /// What fields are called.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Names {
        /// As in the file.
        #[default]
        Proto,
        /// As in JSON.
        Json,
    }
}

settings! {
    /// What numbers of 64 bits become.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Int64 {
        /// Numbers.
        #[default]
        Number,
        /// Texts.
        Text,
    }
}

settings! {
    /// What values of enums become.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Enums {
        /// Their names.
        #[default]
        Name,
        /// Their numbers.
        Number,
    }
}

/// Bytes of a payload at most: a message of messages without fields takes fifty times its bytes in memory.
const MOST_BYTES: usize = 256 << 10;

/// The configured plugin.
#[derive(Debug)]
pub struct Protobuf {
    types: Types,
    way: Way,
    unknown: Unknown,
    forms: Forms,
}

impl Transform for Protobuf {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        let by_default = match settings.way {
            Way::Decode => Unknown::Drop,
            Way::Encode => Unknown::Reject,
        };
        Ok(Self {
            types: Types::new(
                &settings.descriptors,
                settings.message.as_deref(),
                &settings.messages,
            )?,
            way: settings.way,
            unknown: settings.unknown.unwrap_or(by_default),
            forms: Forms {
                names: settings.names,
                defaults: settings.defaults,
                int64: settings.int64,
                enums: settings.enums,
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
        if message.payload().len() > MOST_BYTES {
            return Err(format!("payload has more than {MOST_BYTES} bytes").into());
        }
        let kind = self.types.of(message.topic())?;
        match self.way {
            Way::Decode => self.decode(kind, message.payload(), out),
            Way::Encode => {
                let made = self.read(kind, message.payload())?;
                out.emit(&made.encode_to_vec());
                Ok(())
            }
        }
    }
}

impl Protobuf {
    fn decode(
        &self,
        kind: &MessageDescriptor,
        payload: &[u8],
        out: &mut Outputs<'_>,
    ) -> Result<()> {
        let made = DynamicMessage::decode(kind.clone(), payload)
            .map_err(|error| format!("payload is no `{}`: {error}", kind.full_name()))?;
        let unknown = decode::unknown_fields(&made);
        if unknown > 0 && self.unknown == Unknown::Reject {
            let name = kind.full_name();
            return Err(format!("payload has fields that `{name}` has not: {unknown}").into());
        }
        out.emit_with(|json| decode::write(&made, self.forms, json))?;
        if unknown > 0 {
            counter("unknown_fields", unknown);
        }
        Ok(())
    }

    fn read(&self, kind: &MessageDescriptor, payload: &[u8]) -> Result<DynamicMessage> {
        // In the words of all plugins, where it is no JSON at all.
        let value = json::value(payload)?;
        check_names(value)?;
        let options =
            DeserializeOptions::new().deny_unknown_fields(self.unknown == Unknown::Reject);
        let mut reader = tidegate_sdk::serde_json::Deserializer::from_slice(value.bytes());
        DynamicMessage::deserialize_with_options(kind.clone(), &mut reader, &options)
            .map_err(|error| format!("payload does not fit `{}`: {error}", kind.full_name()).into())
    }
}

/// An error where an object, however deep, has a name twice.
fn check_names(value: json::Value<'_>) -> Result<()> {
    for member in value.members()?.unwrap_or_default() {
        check_names(member.value)?;
    }
    for element in value.elements()?.unwrap_or_default() {
        check_names(element)?;
    }
    Ok(())
}

tidegate_sdk::export!(Protobuf);

#[cfg(test)]
mod tests;
