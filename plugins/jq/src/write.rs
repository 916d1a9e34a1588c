//! What the program gives, as a payload.

use std::io::Write;

use jaq_json::{Num, Val};
use tidegate_sdk::json;
use tidegate_sdk::prelude::*;
use tidegate_sdk::serde_json;

/// Objects and lists in one another; what other plugins take.
const MAX_DEPTH: u32 = 128;

/// As JSON.
pub fn json(value: &Val, payload: &mut Vec<u8>) -> Result<()> {
    any(value, payload, 0)
}

/// A text without quotes, everything else as JSON.
pub fn text(value: &Val, payload: &mut Vec<u8>) -> Result<()> {
    match value {
        Val::TStr(text) => {
            payload.extend_from_slice(String::from_utf8_lossy(text).as_bytes());
            Ok(())
        }
        other => json(other, payload),
    }
}

fn any(value: &Val, payload: &mut Vec<u8>, depth: u32) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(format!("the output is nested deeper than {MAX_DEPTH}").into());
    }
    match value {
        Val::Null => payload.extend_from_slice(b"null"),
        Val::Bool(truth) => payload.extend_from_slice(if *truth { b"true" } else { b"false" }),
        Val::Num(number) => self::number(number, payload)?,
        Val::TStr(text) => quoted(text, payload)?,
        Val::BStr(_) => {
            return Err("the output has bytes, which JSON has not: see `@base64`".into());
        }
        Val::Arr(values) => {
            payload.push(b'[');
            for (place, value) in values.iter().enumerate() {
                if place > 0 {
                    payload.push(b',');
                }
                any(value, payload, depth + 1)?;
            }
            payload.push(b']');
        }
        Val::Obj(members) => {
            payload.push(b'{');
            for (place, (name, value)) in members.iter().enumerate() {
                if place > 0 {
                    payload.push(b',');
                }
                let Val::TStr(name) = name else {
                    return Err("the output has an object with a key that is no text".into());
                };
                quoted(name, payload)?;
                payload.push(b':');
                any(value, payload, depth + 1)?;
            }
            payload.push(b'}');
        }
    }
    Ok(())
}

fn quoted(text: &[u8], payload: &mut Vec<u8>) -> Result<()> {
    Ok(serde_json::to_writer(
        payload,
        &String::from_utf8_lossy(text),
    )?)
}

/// With its digits; what JSON has not as jq writes it: no number as `null`, and what is infinite as the largest that there is.
fn number(number: &Num, payload: &mut Vec<u8>) -> Result<()> {
    /// Beyond, a double does not have all digits that it would be written with.
    const MOST_WHOLE: f64 = 1e17;
    let double = match number {
        Num::Int(_) | Num::BigInt(_) => return Ok(write!(payload, "{number}")?),
        Num::Dec(digits) if json::value(digits.as_bytes()).is_ok() => {
            payload.extend_from_slice(digits.as_bytes());
            return Ok(());
        }
        Num::Dec(digits) => digits.parse().unwrap_or(f64::NAN),
        Num::Float(double) => *double,
    };
    if double.is_nan() {
        payload.extend_from_slice(b"null");
    } else if double.fract() == 0.0 && double.abs() < MOST_WHOLE {
        write!(payload, "{double:.0}")?;
    } else {
        serde_json::to_writer(payload, &double.clamp(f64::MIN, f64::MAX))?;
    }
    Ok(())
}
