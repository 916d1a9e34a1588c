//! Values of expressions: made of JSON, and made into it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cel::Value;
use cel::objects::{Key, Map};
use tidegate_sdk::json;
use tidegate_sdk::prelude::*;
use tidegate_sdk::serde_json;

/// Below it every whole number is a double of its own.
const WHOLE_DOUBLES: f64 = 9_007_199_254_740_992.0;

/// Deepest list or object that is written.
const DEEPEST: usize = 128;

/// What stands in a payload.
pub fn of_json(value: json::Value<'_>) -> Result<Value> {
    if let Some(members) = value.members()? {
        let mut map = HashMap::with_capacity(members.len());
        for member in members {
            let name = Key::String(Arc::new(member.name.into_owned()));
            map.insert(name, of_json(member.value)?);
        }
        return Ok(Value::Map(Map { map: Arc::new(map) }));
    }
    if let Some(elements) = value.elements()? {
        let list = elements
            .into_iter()
            .map(of_json)
            .collect::<Result<Vec<_>>>()?;
        return Ok(Value::List(Arc::new(list)));
    }
    if let Some(text) = value.text() {
        return Ok(Value::String(Arc::new(text.into_owned())));
    }
    if let Some(truth) = value.truth() {
        return Ok(Value::Bool(truth));
    }
    if value.is_null() {
        return Ok(Value::Null);
    }
    let number = value.number();
    let number =
        number.ok_or_else(|| format!("`{}` is more than a double holds", value.excerpt()))?;
    if number.abs() >= WHOLE_DOUBLES
        && let Ok(whole) = value.raw().parse()
    {
        return Ok(Value::Int(whole));
    }
    Ok(Value::Float(number))
}

/// What an expression gave, as JSON, or why it is none.
pub fn to_json(value: &Value) -> Result<String, String> {
    let mut text = String::new();
    write(value, 0, &mut text)?;
    Ok(text)
}

fn write(value: &Value, depth: usize, text: &mut String) -> Result<(), String> {
    if depth > DEEPEST {
        return Err(format!("it is nested deeper than {DEEPEST}"));
    }
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(truth) => text.push_str(&truth.to_string()),
        Value::Int(whole) => text.push_str(&whole.to_string()),
        Value::UInt(whole) => text.push_str(&whole.to_string()),
        Value::Float(number) if !number.is_finite() => {
            return Err(format!("{number} is no number of JSON"));
        }
        Value::Float(number) if number.fract() == 0.0 && number.abs() < WHOLE_DOUBLES => {
            text.push_str(&(*number as i64).to_string());
        }
        Value::Float(number) => text.push_str(&serde_json::Value::from(*number).to_string()),
        Value::String(own) => text.push_str(&serde_json::Value::from(own.as_str()).to_string()),
        Value::List(list) => {
            text.push('[');
            for (index, element) in list.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write(element, depth + 1, text)?;
            }
            text.push(']');
        }
        Value::Map(map) => {
            // By name: the map has no order of its own.
            let entries: BTreeMap<String, &Value> = map
                .map
                .iter()
                .map(|(key, value)| (named(key), value))
                .collect();
            text.push('{');
            for (index, (name, value)) in entries.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(&serde_json::Value::from(name).to_string());
                text.push(':');
                write(value, depth + 1, text)?;
            }
            text.push('}');
        }
        other => {
            return Err(format!(
                "a value of the kind `{}` is none of JSON",
                other.type_of()
            ));
        }
    }
    Ok(())
}

fn named(key: &Key) -> String {
    match key {
        Key::Int(whole) => whole.to_string(),
        Key::Uint(whole) => whole.to_string(),
        Key::Bool(truth) => truth.to_string(),
        Key::String(text) => text.as_str().to_owned(),
    }
}
