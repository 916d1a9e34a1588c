//! A message as JSON, field by field in the order of their numbers.

use std::borrow::Cow;
use std::collections::HashMap;

use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage as _, SerializeOptions, Value,
};
use tidegate_sdk::foreign::{Bytes, Singles, double, single, text, whole};
use tidegate_sdk::prelude::*;
use tidegate_sdk::serde_json;

use crate::{Enums, Int64, Names};

/// Bytes of JSON that one payload may become: two bytes are a message, and that may have a hundred fields with defaults.
const MOST_JSON: usize = 1 << 20;

/// How things are written.
#[derive(Clone, Copy, Debug)]
pub struct Forms {
    /// What fields are called.
    pub names: Names,
    /// Whether what was not sent is written.
    pub defaults: bool,
    /// What numbers of 64 bits become.
    pub int64: Int64,
    /// What values of enums become.
    pub enums: Enums,
    /// What bytes become.
    pub bytes: Bytes,
    /// How numbers of single precision are written.
    pub singles: Singles,
}

/// Appends a message as JSON.
///
/// # Errors
/// It is too much, or a timestamp or the like in it is none.
pub fn write(message: &DynamicMessage, forms: Forms, json: &mut Vec<u8>) -> Result<()> {
    let most = json.len() + MOST_JSON;
    Writer { forms, json, most }.message(message)
}

/// Fields that types have not, in a message and those within it.
pub fn unknown_fields(message: &DynamicMessage) -> u64 {
    let own = message.unknown_fields().count() as u64;
    let inside = message.fields().map(|(_, value)| unknown_in(value));
    own + inside.sum::<u64>()
}

fn unknown_in(value: &Value) -> u64 {
    match value {
        Value::Message(message) => unknown_fields(message),
        Value::List(values) => values.iter().map(unknown_in).sum(),
        Value::Map(values) => values.values().map(unknown_in).sum(),
        _ => 0,
    }
}

struct Writer<'j> {
    forms: Forms,
    json: &'j mut Vec<u8>,
    /// How long the buffer may get.
    most: usize,
}

impl Writer<'_> {
    fn message(&mut self, message: &DynamicMessage) -> Result<()> {
        let kind = message.descriptor();
        if let Some(name) = kind.full_name().strip_prefix("google.protobuf.") {
            match name {
                "Struct" => return self.field_of(message, "fields"),
                "ListValue" => return self.field_of(message, "values"),
                "Value" => return self.held(message),
                _ if is_said_otherwise(name) => return self.by_its_type(message),
                _ => {}
            }
        }
        self.json.push(b'{');
        let mut is_empty = true;
        for field in kind.fields() {
            let is_written =
                message.has_field(&field) || self.forms.defaults && !field.supports_presence();
            if !is_written {
                continue;
            }
            self.comma(&mut is_empty)?;
            text(
                match self.forms.names {
                    Names::Proto => field.name(),
                    Names::Json => field.json_name(),
                },
                self.json,
            );
            self.json.push(b':');
            self.field(&field, &message.get_field(&field))?;
        }
        self.json.push(b'}');
        Ok(())
    }

    /// A comma but before the first, as long as there is room.
    fn comma(&mut self, is_empty: &mut bool) -> Result<()> {
        if self.json.len() > self.most {
            return Err(format!("payload becomes more than {MOST_JSON} bytes of JSON").into());
        }
        if !std::mem::take(is_empty) {
            self.json.push(b',');
        }
        Ok(())
    }

    fn field(&mut self, field: &FieldDescriptor, value: &Value) -> Result<()> {
        match value {
            Value::List(values) => self.list(&field.kind(), values),
            Value::Map(values) => match field.kind() {
                Kind::Message(entry) => self.map(&entry.map_entry_value_field().kind(), values),
                _ => Err(format!("`{}` is a map without entries", field.full_name()).into()),
            },
            value => self.value(&field.kind(), value),
        }
    }

    fn list(&mut self, kind: &Kind, values: &[Value]) -> Result<()> {
        self.json.push(b'[');
        let mut is_empty = true;
        for value in values {
            self.comma(&mut is_empty)?;
            self.value(kind, value)?;
        }
        self.json.push(b']');
        Ok(())
    }

    /// By the names, so that the same message is the same JSON.
    fn map(&mut self, kind: &Kind, values: &HashMap<MapKey, Value>) -> Result<()> {
        let mut sorted: Vec<(&MapKey, &Value)> = values.iter().collect();
        sorted.sort_unstable_by(|(one, _), (other, _)| {
            one.partial_cmp(other)
                .unwrap_or_else(|| shown(one).cmp(&shown(other)))
        });
        self.json.push(b'{');
        let mut is_empty = true;
        for (key, value) in sorted {
            self.comma(&mut is_empty)?;
            text(&shown(key), self.json);
            self.json.push(b':');
            self.value(kind, value)?;
        }
        self.json.push(b'}');
        Ok(())
    }

    fn value(&mut self, kind: &Kind, value: &Value) -> Result<()> {
        match value {
            Value::Bool(truth) => {
                self.json
                    .extend_from_slice(if *truth { b"true" } else { b"false" });
            }
            Value::I32(number) => whole(i128::from(*number), self.json),
            Value::U32(number) => whole(i128::from(*number), self.json),
            Value::I64(number) => self.long(i128::from(*number)),
            Value::U64(number) => self.long(i128::from(*number)),
            Value::F32(number) => single(*number, self.forms.singles, self.json),
            Value::F64(number) => double(*number, self.json),
            Value::String(words) => text(words, self.json),
            Value::Bytes(bytes) => self.forms.bytes.write(bytes, self.json),
            Value::EnumNumber(number) => self.enumerated(kind, *number),
            Value::Message(message) => self.message(message)?,
            // Neither stands within a list or a map.
            Value::List(_) | Value::Map(_) => self.json.extend_from_slice(b"null"),
        }
        Ok(())
    }

    fn long(&mut self, number: i128) {
        let quote = match self.forms.int64 {
            Int64::Number => "",
            Int64::Text => "\"",
        };
        self.json.extend_from_slice(quote.as_bytes());
        whole(number, self.json);
        self.json.extend_from_slice(quote.as_bytes());
    }

    fn enumerated(&mut self, kind: &Kind, number: i32) {
        let named = match kind {
            Kind::Enum(kind) if kind.full_name() == "google.protobuf.NullValue" => {
                return self.json.extend_from_slice(b"null");
            }
            Kind::Enum(kind) if self.forms.enums == Enums::Name => kind.get_value(number),
            _ => None,
        };
        match named {
            Some(named) => text(named.name(), self.json),
            None => whole(i128::from(number), self.json),
        }
    }

    /// A message that is what one field of it is.
    fn field_of(&mut self, message: &DynamicMessage, name: &str) -> Result<()> {
        let kind = message.descriptor();
        let field = kind.get_field_by_name(name);
        let field = field.ok_or_else(|| format!("`{}` has no `{name}`", kind.full_name()))?;
        self.field(&field, &message.get_field(&field))
    }

    /// What a `Value` holds.
    fn held(&mut self, message: &DynamicMessage) -> Result<()> {
        match message.fields().next() {
            Some((field, value)) => self.field(&field, value),
            None => {
                self.json.extend_from_slice(b"null");
                Ok(())
            }
        }
    }

    /// Timestamps, durations, wrappers and the like.
    fn by_its_type(&mut self, message: &DynamicMessage) -> Result<()> {
        if message.descriptor().full_name().ends_with("Value") {
            return self.field_of(message, "value");
        }
        let options = SerializeOptions::new()
            .stringify_64_bit_integers(self.forms.int64 == Int64::Text)
            .use_enum_numbers(self.forms.enums == Enums::Number)
            .use_proto_field_name(self.forms.names == Names::Proto)
            .skip_default_fields(!self.forms.defaults);
        let start = self.json.len();
        let mut writer = serde_json::Serializer::new(&mut *self.json);
        let written = message.serialize_with_options(&mut writer, &options);
        written.map_err(|error| {
            self.json.truncate(start);
            format!(
                "`{}` cannot be said in JSON: {error}",
                message.descriptor().full_name()
            )
            .into()
        })
    }
}

/// Whether a type of the format's own is not written as an object of its fields.
fn is_said_otherwise(name: &str) -> bool {
    matches!(
        name,
        "Any" | "Timestamp" | "Duration" | "FieldMask" | "Empty"
    ) || matches!(
        name,
        "DoubleValue"
            | "FloatValue"
            | "Int64Value"
            | "UInt64Value"
            | "Int32Value"
            | "UInt32Value"
            | "BoolValue"
            | "StringValue"
            | "BytesValue"
    )
}

fn shown(key: &MapKey) -> Cow<'_, str> {
    match key {
        MapKey::Bool(key) => Cow::Owned(key.to_string()),
        MapKey::I32(key) => Cow::Owned(key.to_string()),
        MapKey::I64(key) => Cow::Owned(key.to_string()),
        MapKey::U32(key) => Cow::Owned(key.to_string()),
        MapKey::U64(key) => Cow::Owned(key.to_string()),
        MapKey::String(key) => Cow::Borrowed(key),
    }
}
