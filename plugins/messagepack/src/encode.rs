//! JSON as MessagePack, in the shortest form that each value has.

use rmp::encode;
use tidegate_sdk::json::Value;
use tidegate_sdk::prelude::*;

/// Appends a value.
pub fn encode(value: Value<'_>, payload: &mut Vec<u8>) -> Result<()> {
    if let Some(members) = value.members()? {
        encode::write_map_len(payload, length(members.len())?)?;
        for member in members {
            text(&member.name, payload)?;
            encode(member.value, payload)?;
        }
        return Ok(());
    }
    if let Some(elements) = value.elements()? {
        encode::write_array_len(payload, length(elements.len())?)?;
        for element in elements {
            encode(element, payload)?;
        }
        return Ok(());
    }
    match value.raw() {
        "null" => encode::write_nil(payload)?,
        "true" => encode::write_bool(payload, true)?,
        "false" => encode::write_bool(payload, false)?,
        raw if raw.starts_with('"') => {
            let read = value
                .text()
                .ok_or("payload has a text with half of an escape")?;
            text(&read, payload)?;
        }
        raw if raw.contains(['.', 'e', 'E']) => {
            let number = value.number().ok_or_else(|| too_large(value))?;
            encode::write_f64(payload, number)?;
        }
        raw => match (raw.parse::<u64>(), raw.parse::<i64>()) {
            (Ok(number), _) => drop(encode::write_uint(payload, number)?),
            (Err(_), Ok(number)) => drop(encode::write_sint(payload, number)?),
            (Err(_), Err(_)) => return Err(too_large(value)),
        },
    }
    Ok(())
}

fn text(text: &str, payload: &mut Vec<u8>) -> Result<()> {
    length(text.len())?;
    Ok(encode::write_str(payload, text)?)
}

fn length(length: usize) -> Result<u32> {
    Ok(u32::try_from(length)?)
}

fn too_large(value: Value<'_>) -> tidegate_sdk::Error {
    let shown = value.excerpt();
    format!("payload has a number that 64 bits do not hold: `{shown}`").into()
}
