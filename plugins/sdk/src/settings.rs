//! What is wrong with settings, in the operator's words: which setting it is, and what it may be.

use serde::de::DeserializeOwned;

/// Reads a plugin's settings; the error names the setting by its path, `where.0.value`, in the first backticks.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| {
        let said = error.to_string();
        let what = said
            .rsplit_once(" at line ")
            .map_or(said.as_str(), |(what, _)| what);
        in_words(what, &path_at(text, error.column()))
    })
}

/// An object or list that is open.
enum Open {
    Object { name: String, is_name_next: bool },
    List(usize),
}

/// Where in a JSON text of one line a column is: names and places, with dots between them.
fn path_at(text: &str, column: usize) -> String {
    let bytes = &text.as_bytes()[..column.min(text.len())];
    // A list that stands where none is wanted is at fault as a whole.
    let bytes = bytes.strip_suffix(b"[").unwrap_or(bytes);
    let mut open: Vec<Open> = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match (byte, open.last_mut()) {
            (b'{', _) => open.push(Open::Object {
                name: String::new(),
                is_name_next: true,
            }),
            (b'[', _) => open.push(Open::List(0)),
            (b'}' | b']', _) => drop(open.pop()),
            (b',', Some(Open::List(place))) => *place += 1,
            (b',', Some(Open::Object { is_name_next, .. })) => *is_name_next = true,
            (b'"', level) => {
                let start = at + 1;
                at = start;
                while !matches!(bytes.get(at), None | Some(b'"')) {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                if let Some(Open::Object { name, is_name_next }) = level
                    && std::mem::take(is_name_next)
                {
                    *name = String::from_utf8_lossy(bytes.get(start..at).unwrap_or_default())
                        .into_owned();
                }
            }
            _ => {}
        }
        at += 1;
    }
    let level = |open: &Open| match open {
        Open::Object { name, .. } => name.clone(),
        Open::List(place) => place.to_string(),
    };
    open.iter()
        .map(level)
        .filter(|level| !level.is_empty())
        .collect::<Vec<_>>()
        .join(".")
}

/// What serde says, for people who write TOML.
fn in_words(what: &str, path: &str) -> String {
    let quoted = |prefix: &str| {
        what.strip_prefix(prefix)
            .and_then(|rest| rest.split_once('`'))
    };
    let alternatives = |rest: &str| {
        let rest = rest
            .trim_start_matches(", ")
            .trim_start_matches("expected ")
            .trim_start_matches("one of ");
        rest.replace("` or `", "`, `")
    };
    if let Some((_, rest)) = quoted("unknown field `") {
        let known = alternatives(rest);
        let known = if known.starts_with('`') {
            format!("; there are: {known}")
        } else {
            String::new()
        };
        return format!("there is no setting `{path}`{known}");
    }
    if let Some((name, _)) = quoted("missing field `") {
        let full = if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        };
        return format!("the setting `{full}` is missing");
    }
    if let Some((name, rest)) = quoted("unknown variant `") {
        return format!(
            "`{path}` cannot be `{name}`; it may be: {}",
            alternatives(rest)
        );
    }
    let unfit = ["invalid type: ", "invalid value: "]
        .into_iter()
        .find_map(|prefix| what.strip_prefix(prefix)?.split_once(", expected "));
    match unfit {
        Some((found, expected)) if path.is_empty() => format!(
            "the settings must be {}, not {}",
            kind(expected),
            value(found)
        ),
        Some((found, expected)) => {
            format!("`{path}` must be {}, not {}", kind(expected), value(found))
        }
        None if path.is_empty() => what.to_owned(),
        None => format!("`{path}`: {what}"),
    }
}

fn kind(expected: &str) -> &str {
    match expected {
        "f64" | "f32" | "a number" | "a JSON number" => "a number",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number from 0 on",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "a string" | "string" | "str" => "text",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        other if other.starts_with("struct ") || other == "a map" => "a table",
        other => other,
    }
}

fn value(found: &str) -> String {
    let inside = |prefix: &str, end: char| found.strip_prefix(prefix)?.strip_suffix(end);
    if let Some(text) = inside("string \"", '"') {
        return format!("the text \"{text}\"");
    }
    let number = ["integer `", "floating point `", "boolean `"]
        .into_iter()
        .find_map(|prefix| inside(prefix, '`'));
    match (number, found) {
        (Some(number), _) => number.to_owned(),
        (None, "map") => "a table".to_owned(),
        (None, "sequence") => "a list".to_owned(),
        (None, other) => other.to_owned(),
    }
}

#[cfg(test)]
#[expect(dead_code, reason = "of settings only the reading is looked at")]
mod tests {
    use super::*;
    use serde_json::json;

    crate::settings! {
        struct Rate { messages: f64 }
    }

    crate::settings! {
        #[serde(rename_all = "lowercase")]
        enum Missing { Reject, Drop }
    }

    crate::settings! {
        struct Settings { list: Vec<Rate>, rate: Option<Rate>, missing: Option<Missing>, name: Option<String>, count: Option<u8>, on: Option<bool> }
    }

    fn refused(settings: &serde_json::Value) -> String {
        read::<Settings>(&settings.to_string())
            .map(drop)
            .unwrap_err()
    }

    #[test]
    fn mistakes_are_named_by_their_place_and_in_words() {
        let known = "there are: `list`, `rate`, `missing`, `name`, `count`, `on`";
        for (settings, words) in [
            (
                json!({ "lost": [] }),
                format!("there is no setting `lost`; {known}"),
            ),
            (json!({}), "the setting `list` is missing".to_owned()),
            (
                json!({ "list": [{ "messages": 1 }, {}] }),
                "the setting `list.1.messages` is missing".to_owned(),
            ),
            (
                json!({ "list": [{ "messages": 1 }, { "messages": "2" }] }),
                "`list.1.messages` must be a number, not the text \"2\"".to_owned(),
            ),
            (
                json!({ "list": [], "rate": { "message": 1 } }),
                "there is no setting `rate.message`; there are: `messages`".to_owned(),
            ),
            (
                json!({ "list": [], "missing": "ignore" }),
                "`missing` cannot be `ignore`; it may be: `reject`, `drop`".to_owned(),
            ),
            (
                json!({ "list": {} }),
                "`list` must be a list, not a table".to_owned(),
            ),
            (
                json!({ "list": [], "rate": 5 }),
                "`rate` must be a table, not 5".to_owned(),
            ),
            (
                json!({ "list": [], "name": ["a,\"b\\", 1] }),
                "`name` must be text, not a list".to_owned(),
            ),
            (
                json!({ "list": [], "count": -1 }),
                "`count` must be a whole number from 0 on, not -1".to_owned(),
            ),
            (
                json!({ "list": [], "name": "x\"}{", "on": 1.5 }),
                "`on` must be true or false, not 1.5".to_owned(),
            ),
            (json!([1]), String::new()),
        ] {
            let refused = refused(&settings);
            assert!(
                words.is_empty() || refused == words,
                "{settings}: {refused}"
            );
        }
    }
}
