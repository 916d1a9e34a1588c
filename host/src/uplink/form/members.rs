//! The members of a JSON object, with its numbers as they are written: read as a number, one of 17 digits would change its last.

use super::json::is_json;

/// A member's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::uplink) enum Leaf<'a> {
    Number(&'a str),
    Flag(bool),
    Text(String),
}

/// Those of members under the names of both, `outer_inner`; lists and `null` are left out. `None` where it is not an object.
pub(in crate::uplink) fn members(payload: &[u8]) -> Option<Vec<(String, Leaf<'_>)>> {
    let text = std::str::from_utf8(payload).ok()?;
    if !is_json(payload) || !text.trim_start().starts_with('{') {
        return None;
    }
    let mut found = Vec::new();
    // The names of the objects that the reader is in, each with the `_` behind it.
    let mut names: Vec<String> = Vec::new();
    let mut name = None;
    let mut rest = text.trim_start();
    while let Some(first) = rest.bytes().next() {
        let length = match first {
            b'{' => {
                let outer = name.take().map(|name: String| name + "_");
                names.push(outer.unwrap_or_default());
                1
            }
            b'}' => {
                names.pop();
                1
            }
            b'[' => {
                name = None;
                list_length(rest)
            }
            b'"' => {
                let length = text_length(rest);
                let text: String = serde_json::from_str(&rest[..length]).ok()?;
                match name.take() {
                    None => name = Some(names.last()?.clone() + &text),
                    Some(name) => found.push((name, Leaf::Text(text))),
                }
                length
            }
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                let length = rest
                    .find([',', '}', ' ', '\t', '\n', '\r'])
                    .unwrap_or(rest.len());
                let (word, name) = (&rest[..length], name.take()?);
                match first {
                    b't' | b'f' => found.push((name, Leaf::Flag(first == b't'))),
                    b'n' => {}
                    _ => found.push((name, Leaf::Number(word))),
                }
                length
            }
            // Between two of them.
            _ => 1,
        };
        rest = &rest[length..];
    }
    Some(found)
}

/// Bytes of the text that `rest` begins with, its quotes included.
fn text_length(rest: &str) -> usize {
    let mut is_escaped = false;
    let closes = |(_, byte): &(usize, u8)| {
        let is_end = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        is_end
    };
    let end = rest.bytes().enumerate().skip(1).find(closes);
    end.map_or(rest.len(), |(at, _)| at + 1)
}

/// Bytes of the list that `rest` begins with.
fn list_length(rest: &str) -> usize {
    let (mut at, mut levels) = (0, 0_usize);
    while let Some(byte) = rest.as_bytes().get(at) {
        match byte {
            b'[' => levels += 1,
            b']' => levels -= 1,
            b'"' => at += text_length(&rest[at..]) - 1,
            _ => {}
        }
        at += 1;
        if levels == 0 {
            return at;
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn members_of_members_have_both_names_and_numbers_stay_as_they_are() {
        let payload = r#" { "a" : 21.50 , "b":{"c":-1e-3,"d":{"e":"x\"}\\"}}, "l":[1,"]",{"y":[2]}], "n":null ,"t":true,"f":false}"#;
        let number = |text| Leaf::Number(text);
        let expected = [
            ("a", number("21.50")),
            ("b_c", number("-1e-3")),
            ("b_d_e", Leaf::Text("x\"}\\".to_owned())),
            ("t", Leaf::Flag(true)),
            ("f", Leaf::Flag(false)),
        ];
        let expected: Vec<_> = expected.map(|(name, leaf)| (name.to_owned(), leaf)).into();
        assert_eq!(members(payload.as_bytes()), Some(expected));
        assert_eq!(members(b"{}"), Some(Vec::new()));
        for none in [
            &b"[]"[..],
            b"21",
            b"",
            b"{",
            b"{\"a\":\xff}",
            b"{\"a\":1e400}",
            b"\"{\"",
        ] {
            assert_eq!(members(none), None);
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-z\"\\\\\\]\\}\\[\\{,: é]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-c\"\\\\é]{0,3}", inner, 0..4)
                    .prop_map(|members| json!(members)),
            ]
        })
    }

    fn flatten(prefix: &str, value: &Value, flat: &mut Vec<(String, String)>) {
        for (name, value) in value.as_object().into_iter().flatten() {
            let name = format!("{prefix}{name}");
            match value {
                Value::Object(_) => flatten(&format!("{name}_"), value, flat),
                Value::Array(_) | Value::Null => {}
                Value::String(text) => flat.push((name, text.clone())),
                value => flat.push((name, value.to_string())),
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_serde_reads(
            members_of in proptest::collection::btree_map("[a-c\"\\\\]{0,3}", value(), 0..5), pretty in any::<bool>(),
        ) {
            let value = json!(members_of);
            let text = if pretty { format!("{value:#}") } else { value.to_string() };
            let found = members(text.as_bytes()).unwrap();
            let shown: Vec<_> = found.into_iter().map(|(name, leaf)| match leaf {
                Leaf::Number(text) => (name, text.to_owned()),
                Leaf::Flag(flag) => (name, flag.to_string()),
                Leaf::Text(text) => (name, text),
            }).collect();
            let mut expected = Vec::new();
            flatten("", &value, &mut expected);
            prop_assert_eq!(
                shown.iter().cloned().collect::<BTreeMap<_, _>>(),
                expected.into_iter().collect::<BTreeMap<_, _>>()
            );
        }
    }
}
