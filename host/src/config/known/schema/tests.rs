use super::*;
use crate::config::tree::Table;

/// Whether a value is as a schema says: the part of the standard that ours uses.
fn fits(schema: &Value, value: &Value, path: &str) -> Result<(), String> {
    if let Some(any) = schema["anyOf"].as_array() {
        let tries: Vec<_> = any.iter().map(|one| fits(one, value, path)).collect();
        let why = || {
            tries
                .iter()
                .filter_map(|tried| tried.as_ref().err())
                .cloned()
                .collect::<Vec<_>>()
                .join(" | ")
        };
        return if tries.iter().any(Result::is_ok) {
            Ok(())
        } else {
            Err(why())
        };
    }
    if let Some(kind) = schema["type"].as_str() {
        let is_it = match kind {
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            _ => value.is_object(),
        };
        if !is_it {
            return Err(format!("{path}: {value} is no {kind}"));
        }
    }
    if let Some(words) = schema["enum"]
        .as_array()
        .filter(|words| !words.contains(value))
    {
        return Err(format!("{path}: {value} is none of {words:?}"));
    }
    for (number, item) in value.as_array().into_iter().flatten().enumerate() {
        if schema.get("items").is_some() {
            fits(&schema["items"], item, &format!("{path}.{number}"))?;
        }
    }
    for (key, inner) in value.as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        match (
            schema["properties"].get(key),
            &schema["additionalProperties"],
        ) {
            (Some(property), _) => fits(property, inner, &path)?,
            (None, Value::Bool(false)) => return Err(format!("{path} is not known")),
            (None, rest) if rest.is_object() => fits(rest, inner, &path)?,
            _ => {}
        }
    }
    Ok(())
}

#[track_caller]
fn good(text: &str) {
    let table = toml::de::DeTable::parse(text).unwrap();
    let tree = Table::from_toml(0, table.get_ref());
    let value = Node::Table(tree).to_json();
    if let Err(why) = fits(&schema(), &value, "") {
        panic!("{why}");
    }
}

/// Each key by itself: the manual has what only some ends know in one table.
#[test]
fn every_default_of_the_manual_is_as_the_schema_says() {
    let table = toml::de::DeTable::parse(crate::config::MANUAL).unwrap();
    let manual = Node::Table(Table::from_toml(0, table.get_ref())).to_json();
    let schema = schema();
    let mut checked = 0;
    for (kind, tables) in manual.as_object().unwrap() {
        let is_named = matches!(&**kind, "source" | "uplink" | "flow" | "class");
        if !is_named {
            fits(&schema, &json!({ (kind): tables }), "").unwrap();
            continue;
        }
        for (name, table) in tables.as_object().unwrap() {
            for (key, value) in table.as_object().unwrap() {
                fits(
                    &schema,
                    &json!({ (kind): { (name): { (key): value } } }),
                    "",
                )
                .unwrap();
                checked += 1;
            }
        }
    }
    assert!(checked > 80, "{checked}");
}

#[test]
fn the_examples_are_as_the_schema_says() {
    for text in [
        include_str!("../../../../../examples/tasks/tidegate.toml"),
        include_str!("../../../../../examples/convert/tidegate.toml"),
        include_str!("../../../../../examples/commands/tidegate.toml"),
        include_str!("../../../../../examples/meter/tidegate.toml"),
        "[flow.a]\nquarantine = \"off\"\nlanes = 3\nrecord = \"off\"\ntopics = \"x\"\ntopic = \"y\"\n[[flow.a.plugin]]\ncheckpoint = \"off\"\nprobation = { time = \"1s\" }\n",
        "[uplink.a]\nurl = \"file:///x\"\nfiles = { keep = \"1GiB\" }\n[class.a]\nqos = 2\n[spool]\nencrypt = { key = { file = \"x\" } }\n",
    ] {
        good(text);
    }
}

#[test]
fn a_key_that_nobody_asks_for_and_a_word_that_is_none_do_not_fit() {
    let schema = schema();
    for (value, why) in [
        (
            json!({ "spool": { "reserv": "1MiB" } }),
            ".spool.reserv is not known",
        ),
        (json!({ "log": { "level": "lod" } }), ".log.level"),
        (
            json!({ "source": { "a": { "url": "mqtt://x", "qso": 1 } } }),
            ".source.a.qso is not known",
        ),
        (
            json!({ "flow": { "a": { "plugin": [{ "limits": { "tim": "1s" } }] } } }),
            ".flow.a.plugin.0.limits.tim is not known",
        ),
        (
            json!({ "uplink": { "a": { "inflight": "many" } } }),
            "is no integer",
        ),
        (json!({ "buffer": {} }), ".buffer is not known"),
    ] {
        let error = fits(&schema, &value, "").unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}

/// What the code asks for, with its full name.
fn keys(path: &str, schema: &Value, found: &mut Vec<(String, bool)>) {
    for any in schema["anyOf"].as_array().into_iter().flatten() {
        keys(path, any, found);
    }
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        found.push((path.clone(), property["description"].is_string()));
        keys(&path, property, found);
    }
    for inner in ["items", "additionalProperties"] {
        // What a schema does not say is null, and null has everything inside of it.
        if schema[inner].is_object() {
            keys(path, &schema[inner], found);
        }
    }
}

#[test]
fn nearly_every_key_has_the_words_of_the_manual() {
    let mut found = Vec::new();
    keys("", &schema(), &mut found);
    found.sort();
    found.dedup();
    assert!(found.len() > 200, "{}", found.len());
    // Those inside of values, as `deadlines.dial`, are explained with the value.
    let bare: Vec<&String> = found
        .iter()
        .filter(|(path, is_told)| !is_told && path.matches('.').count() == 2)
        .map(|(path, _)| path)
        .filter(|path| !found.contains(&((*path).clone(), true)))
        .collect();
    assert!(bare.len() < 60, "{bare:#?}");
}
