//! JSON to bytes, by a schema.

use std::cell::Cell;

use tidegate_sdk::foreign::Bytes;
use tidegate_sdk::json::{self, Decimal, Member, Value};
use tidegate_sdk::prelude::*;

use crate::Unknown;
use crate::schema::{Field, Kind, Schema};

/// Records, lists and maps of unions that may turn out not to fit: within one another each doubles the next.
const MOST_TRIES: u32 = 100_000;

/// Defaults within one another: a record may have itself in it.
const DEEPEST: u32 = 64;

/// Writes values of a schema.
#[derive(Clone, Copy, Debug)]
struct Encoder<'s> {
    schema: &'s Schema,
    bytes: Bytes,
    unknown: Unknown,
    /// Tries that are left.
    tries: &'s Cell<u32>,
    /// How many defaults this lies in.
    depth: u32,
}

/// Appends a value.
///
/// # Errors
/// It is none of the schema: the words say where.
pub fn encode(
    schema: &Schema,
    bytes: Bytes,
    unknown: Unknown,
    value: Value<'_>,
    payload: &mut Vec<u8>,
) -> Result<()> {
    let encoder = Encoder {
        schema,
        bytes,
        unknown,
        tries: &Cell::new(MOST_TRIES),
        depth: 0,
    };
    encoder
        .value(&schema.root, value, payload)
        .map_err(|error| format!("payload does not fit the schema: {error}").into())
}

impl Encoder<'_> {
    fn value(self, kind: &Kind, value: Value<'_>, payload: &mut Vec<u8>) -> Result<()> {
        match self.schema.resolve(kind) {
            Kind::Bytes => {
                let bytes = self.read_bytes(value);
                sized(&bytes.ok_or_else(|| unfit(value, "bytes"))?, payload);
            }
            Kind::Fixed(size) => {
                let bytes = self.read_bytes(value);
                let bytes = bytes.filter(|bytes| bytes.len() == *size);
                let bytes = bytes.ok_or_else(|| unfit(value, &format!("{size} bytes")))?;
                payload.extend_from_slice(&bytes);
            }
            Kind::Decimal(scale, size) => decimal(value, *scale, *size, payload)?,
            Kind::String => {
                let words = value.text().ok_or_else(|| unfit(value, "text"))?;
                sized(words.as_bytes(), payload);
            }
            Kind::Enum(symbols) => {
                let word = value.text();
                let place = symbols
                    .iter()
                    .position(|symbol| word.as_ref().is_some_and(|word| word == symbol));
                let place = place.ok_or_else(|| unfit(value, "one of its words"))?;
                long(place as i64, payload);
            }
            Kind::Array(kind) => {
                let elements = value.elements()?.ok_or_else(|| unfit(value, "a list"))?;
                if !elements.is_empty() {
                    long(elements.len() as i64, payload);
                }
                for (place, element) in elements.into_iter().enumerate() {
                    let written = self.value(kind, element, payload);
                    written.map_err(|error| format!("{place}: {error}"))?;
                }
                payload.push(0);
            }
            Kind::Map(kind) => self.map(kind, value, payload)?,
            Kind::Union(kinds) => self.union(kinds, value, payload)?,
            Kind::Record(fields) => self.record(fields, value, payload)?,
            kind => plain(kind, value, payload)?,
        }
        Ok(())
    }

    fn read_bytes(self, value: Value<'_>) -> Option<Vec<u8>> {
        self.bytes.read(&value.text()?)
    }

    fn map(self, kind: &Kind, value: Value<'_>, payload: &mut Vec<u8>) -> Result<()> {
        let members = value.members()?.ok_or_else(|| unfit(value, "an object"))?;
        if !members.is_empty() {
            long(members.len() as i64, payload);
        }
        for member in &members {
            sized(member.name.as_bytes(), payload);
            let written = self.value(kind, member.value, payload);
            written.map_err(|error| format!("{}: {error}", member.name))?;
        }
        payload.push(0);
        Ok(())
    }

    /// As the first type that the value fits.
    fn union(self, kinds: &[Kind], value: Value<'_>, payload: &mut Vec<u8>) -> Result<()> {
        let start = payload.len();
        let mut first = None;
        for (place, kind) in kinds.iter().enumerate() {
            long(place as i64, payload);
            match self.value(kind, value, payload) {
                Ok(()) => return Ok(()),
                // What is wrong with the one type beside `null` says more than that none fits.
                Err(error) if !matches!(kind, Kind::Null) => {
                    first.get_or_insert(error);
                }
                Err(_) => {}
            }
            payload.truncate(start);
            if is_composed(self.schema.resolve(kind)) {
                let left = self.tries.get().checked_sub(1);
                self.tries
                    .set(left.ok_or("its unions are tried too often")?);
            }
        }
        match first {
            Some(error) if kinds.len() <= 2 => Err(error),
            _ => Err(unfit(value, "of one of its types")),
        }
    }

    fn record(self, fields: &[Field], value: Value<'_>, payload: &mut Vec<u8>) -> Result<()> {
        let members = value.members()?.ok_or_else(|| unfit(value, "an object"))?;
        let of_none = |member: &&Member<'_>| !fields.iter().any(|field| field.name == member.name);
        if self.unknown == Unknown::Reject
            && let Some(member) = members.iter().find(of_none)
        {
            return Err(format!("it has no field `{}`", member.name).into());
        }
        for field in fields {
            let found = members.iter().find(|member| member.name == field.name);
            let written = match (found, &field.default) {
                (Some(member), _) => self.value(&field.kind, member.value, payload),
                // Bytes are not in base64 there.
                (None, Some(default)) if !is_binary(self.schema.resolve(&field.kind)) => {
                    let inside = Self {
                        depth: self.depth + 1,
                        ..self
                    };
                    if inside.depth > DEEPEST {
                        return Err("its defaults have no end".into());
                    }
                    inside.value(&field.kind, json::value(default.as_bytes())?, payload)
                }
                (None, _) => self
                    .value(&field.kind, json::value(b"null")?, payload)
                    .map_err(|_| "it is missing".into()),
            };
            written.map_err(|error| format!("{}: {error}", field.name))?;
        }
        Ok(())
    }
}

/// Nothing, truths and numbers.
fn plain(kind: &Kind, value: Value<'_>, payload: &mut Vec<u8>) -> Result<()> {
    match kind {
        Kind::Null if value.is_null() => {}
        Kind::Boolean => payload.push(u8::from(
            value.truth().ok_or_else(|| unfit(value, "true or false"))?,
        )),
        Kind::Int => {
            let number = whole(value).filter(|number| i32::try_from(*number).is_ok());
            long(
                number.ok_or_else(|| unfit(value, "a whole number of 32 bits"))?,
                payload,
            );
        }
        Kind::Long => long(
            whole(value).ok_or_else(|| unfit(value, "a whole number of 64 bits"))?,
            payload,
        ),
        Kind::Float => {
            let number = value.number().map(|number| number as f32);
            let number = number.filter(|number| number.is_finite());
            let number = number.ok_or_else(|| unfit(value, "a number of single precision"))?;
            payload.extend_from_slice(&number.to_le_bytes());
        }
        Kind::Double => {
            let number = value.number().ok_or_else(|| unfit(value, "a number"))?;
            payload.extend_from_slice(&number.to_le_bytes());
        }
        _ => return Err(unfit(value, "`null`")),
    }
    Ok(())
}

fn is_composed(kind: &Kind) -> bool {
    matches!(kind, Kind::Record(_) | Kind::Array(_) | Kind::Map(_))
}

fn is_binary(kind: &Kind) -> bool {
    matches!(kind, Kind::Bytes | Kind::Fixed(_) | Kind::Decimal(..))
}

fn unfit(value: Value<'_>, wanted: &str) -> Error {
    format!("`{}` is not {wanted}", value.excerpt()).into()
}

fn whole(value: Value<'_>) -> Option<i64> {
    i64::try_from(value.decimal()?.whole()?).ok()
}

fn long(number: i64, payload: &mut Vec<u8>) {
    let mut bits = (number << 1 ^ number >> 63) as u64;
    while bits > 0x7f {
        payload.push(bits as u8 | 0x80);
        bits >>= 7;
    }
    payload.push(bits as u8);
}

fn sized(bytes: &[u8], payload: &mut Vec<u8>) {
    long(bytes.len() as i64, payload);
    payload.extend_from_slice(bytes);
}

/// Exactly, or not at all.
fn decimal(value: Value<'_>, scale: u32, size: Option<usize>, payload: &mut Vec<u8>) -> Result<()> {
    let wanted = format!("a number of {scale} digits behind the point");
    let power = 10_i128.checked_pow(scale);
    let power = power.and_then(|power| Decimal::parse(power.to_string().as_bytes()));
    let number = value
        .decimal()
        .zip(power)
        .and_then(|(number, power)| number.times(power)?.whole())
        .ok_or_else(|| unfit(value, &wanted))?;
    let bytes = number.to_be_bytes();
    let sign = if number < 0 { 0xff } else { 0 };
    match size {
        None => {
            // As few bytes as tell the sign as well.
            let is_surplus = |pair: &[u8]| pair[0] == sign && (pair[1] ^ sign) & 0x80 == 0;
            let start = bytes.windows(2).take_while(|pair| is_surplus(pair)).count();
            sized(&bytes[start..], payload);
        }
        Some(size) => {
            let start = bytes.len().saturating_sub(size);
            let fits = bytes[..start].iter().all(|byte| *byte == sign)
                && bytes
                    .get(start)
                    .is_some_and(|byte| (byte ^ sign) & 0x80 == 0);
            if !fits {
                return Err(unfit(value, &format!("{wanted} in {size} bytes")));
            }
            payload.extend(std::iter::repeat_n(sign, size.saturating_sub(bytes.len())));
            payload.extend_from_slice(&bytes[start..]);
        }
    }
    Ok(())
}
