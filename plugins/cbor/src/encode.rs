//! JSON as CBOR, in the shortest form that each value has.

use std::io::Write as _;

use ciborium_ll::{Encoder, Header};
use tidegate_sdk::json::Value;
use tidegate_sdk::prelude::*;

/// Appends a value.
pub fn encode(value: Value<'_>, payload: &mut Vec<u8>) -> Result<()> {
    if let Some(members) = value.members()? {
        push(Header::Map(Some(members.len())), payload)?;
        for member in members {
            text(&member.name, payload)?;
            encode(member.value, payload)?;
        }
        return Ok(());
    }
    if let Some(elements) = value.elements()? {
        push(Header::Array(Some(elements.len())), payload)?;
        for element in elements {
            encode(element, payload)?;
        }
        return Ok(());
    }
    match value.raw() {
        "null" => push(Header::Simple(22), payload),
        "true" => push(Header::Simple(21), payload),
        "false" => push(Header::Simple(20), payload),
        raw if raw.starts_with('"') => {
            let read = value
                .text()
                .ok_or("payload has a text with half of an escape")?;
            text(&read, payload)
        }
        _ => number(value, payload),
    }
}

/// A number that is written without point and exponent is whole, and has all its digits.
fn number(value: Value<'_>, payload: &mut Vec<u8>) -> Result<()> {
    let raw = value.raw();
    if raw.contains(['.', 'e', 'E']) {
        let number = value.number().ok_or_else(|| too_large(value))?;
        return push(Header::Float(number), payload);
    }
    let number: i128 = raw.parse().map_err(|_| too_large(value))?;
    if let Ok(number) = u64::try_from(number) {
        return push(Header::Positive(number), payload);
    }
    if let Ok(number) = u64::try_from(-1 - number) {
        return push(Header::Negative(number), payload);
    }
    let (tag, number) = match number < 0 {
        true => (3, (-1 - number).unsigned_abs()),
        false => (2, number.unsigned_abs()),
    };
    let bytes = number.to_be_bytes();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    push(Header::Tag(tag), payload)?;
    push(Header::Bytes(Some(bytes.len() - zeros)), payload)?;
    Ok(payload.write_all(&bytes[zeros..])?)
}

fn too_large(value: Value<'_>) -> tidegate_sdk::Error {
    format!(
        "payload has a number that does not fit: `{}`",
        value.excerpt()
    )
    .into()
}

fn text(text: &str, payload: &mut Vec<u8>) -> Result<()> {
    push(Header::Text(Some(text.len())), payload)?;
    Ok(payload.write_all(text.as_bytes())?)
}

fn push(header: Header, payload: &mut Vec<u8>) -> Result<()> {
    Ok(Encoder::from(payload).push(header)?)
}
