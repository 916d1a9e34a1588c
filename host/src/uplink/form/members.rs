//! The members of a JSON object, with its numbers as they are written: read as a number, one of 17 digits would change its last.

use std::collections::HashMap;

use serde::de::IgnoredAny;
use serde_bytes::ByteBuf;

use super::json::MOST_LEVELS;

/// What a member of an object in a payload is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::uplink) enum Leaf<'a> {
    Number(&'a str),
    Flag(bool),
    Text(String),
}

/// An object that the reader is in.
struct Object {
    /// What the names of its members begin with.
    prefix: String,
    /// Where what was found in each member begins, and the last one of each name.
    starts: Vec<usize>,
    last: HashMap<String, usize>,
}

impl Object {
    fn within(prefix: String) -> Self {
        Self {
            prefix,
            starts: Vec::new(),
            last: HashMap::new(),
        }
    }

    /// A member begins. Where it stands twice the last one counts, as with most readers: what the one before had is no more.
    fn begin(&mut self, name: String, found: &mut [Option<(String, Leaf<'_>)>]) {
        let number = self.starts.len();
        self.starts.push(found.len());
        if let Some(before) = self.last.insert(name, number) {
            let end = self.starts[before + 1];
            found[self.starts[before]..end].fill_with(|| None);
        }
    }
}

/// Bytes that the names of all members may have together beside four times the payload: each holds those of what it lies in,
/// so that one long name with thousands of members in it would be gigabytes.
const NAMES: usize = 64 << 10;

/// Those of members under the names of both, `outer_inner`; lists and `null` are left out. Half a
/// surrogate pair in a text is U+FFFD. `None` where it is not an object, has too many levels of them, or names that are too long
/// for what they name. Two of different members may have one name.
pub(in crate::uplink) fn members(payload: &[u8]) -> Option<Vec<(String, Leaf<'_>)>> {
    let text = std::str::from_utf8(payload).ok()?.trim_start();
    if !text.starts_with('{') || serde_json::from_str::<IgnoredAny>(text).is_err() {
        return None;
    }
    let mut found = Vec::new();
    let mut objects: Vec<Object> = Vec::new();
    let mut name = None;
    let mut room = payload.len() * 4 + NAMES;
    let mut rest = text;
    while let Some(first) = rest.bytes().next() {
        let length = match first {
            // The names would grow with each.
            b'{' if objects.len() == usize::from(MOST_LEVELS) => return None,
            b'{' => {
                let outer = name.take().map(|name: String| name + "_");
                objects.push(Object::within(outer.unwrap_or_default()));
                1
            }
            b'}' => {
                objects.pop();
                1
            }
            b'[' => {
                name = None;
                list_length(rest)
            }
            b'"' => {
                let length = text_length(rest);
                let text = unquoted(&rest[..length])?;
                match name.take() {
                    None => {
                        let object = objects.last_mut()?;
                        room = room.checked_sub(object.prefix.len() + text.len())?;
                        name = Some(object.prefix.clone() + &text);
                        object.begin(text, &mut found);
                    }
                    Some(name) => found.push(Some((name, Leaf::Text(text)))),
                }
                length
            }
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                let length = rest
                    .find([',', '}', ' ', '\t', '\n', '\r'])
                    .unwrap_or(rest.len());
                let (word, name) = (&rest[..length], name.take()?);
                let leaf = match first {
                    b't' | b'f' => Some(Leaf::Flag(first == b't')),
                    b'n' => None,
                    _ => Some(Leaf::Number(word)),
                };
                found.extend(leaf.map(|leaf| Some((name, leaf))));
                length
            }
            // Between two of them.
            _ => 1,
        };
        rest = &rest[length..];
    }
    Some(found.into_iter().flatten().collect())
}

/// What a text of JSON says.
fn unquoted(text: &str) -> Option<String> {
    if let Ok(text) = serde_json::from_str(text) {
        return Some(text);
    }
    // Half a pair: only bytes can be read of it.
    let bytes: ByteBuf = serde_json::from_str(text).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
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
        for none in [&b"[]"[..], b"21", b"", b"{", b"{\"a\":\xff}", b"\"{\""] {
            assert_eq!(members(none), None);
        }
    }

    fn shown(payload: &str) -> Vec<String> {
        let found = members(payload.as_bytes()).unwrap();
        let shown = |(name, leaf): (String, Leaf<'_>)| match leaf {
            Leaf::Number(text) => format!("{name}={text}"),
            Leaf::Flag(flag) => format!("{name}={flag}"),
            Leaf::Text(text) => format!("{name}={text:?}"),
        };
        found.into_iter().map(shown).collect()
    }

    #[test]
    fn what_stands_twice_is_there_once_and_the_last_one() {
        for (payload, expected) in [
            (r#"{"a":1,"a":2}"#, &["a=2"][..]),
            (r#"{"a":1,"b":2,"\u0061":3,"a":4}"#, &["b=2", "a=4"]),
            (r#"{"a":1,"a":null}"#, &[]),
            (r#"{"a":1,"a":[1]}"#, &[]),
            (r#"{"a":1,"a":1e400}"#, &["a=1e400"]),
            (r#"{"a":1,"a":{"b":2}}"#, &["a_b=2"]),
            (
                r#"{"a":{"b":1,"c":2},"x":3,"a":{"c":4}}"#,
                &["x=3", "a_c=4"],
            ),
            (r#"{"o":{"a":1,"a":2},"p":{"a":3}}"#, &["o_a=2", "p_a=3"]),
        ] {
            assert_eq!(shown(payload), expected, "{payload}");
        }
    }

    #[test]
    fn levels_have_an_end() {
        let nested = |levels: usize| "{\"a\":".repeat(levels) + "1" + &"}".repeat(levels);
        assert!(members(nested(62).as_bytes()).is_some_and(|found| found.len() == 1));
        assert_eq!(members(nested(63).as_bytes()), None);
        assert_eq!(members(nested(100_000).as_bytes()), None);
    }

    #[test]
    fn names_are_no_more_than_a_few_times_what_the_payload_is() {
        let inner: Vec<String> = (0..20_000)
            .map(|number| format!("\"{number}\":1"))
            .collect();
        let of = |outer: usize| format!("{{\"{}\":{{{}}}}}", "a".repeat(outer), inner.join(","));
        assert!(members(of(10).as_bytes()).is_some_and(|found| found.len() == 20_000));
        assert_eq!(
            members(of(100_000).as_bytes()),
            None,
            "these would be 2 GB of names"
        );
        let long = format!("{{\"{}\":1}}", "a".repeat(200_000));
        assert!(members(long.as_bytes()).is_some_and(|found| found.len() == 1));
    }

    #[test]
    fn what_some_readers_refuse_costs_no_more_than_itself() {
        for (payload, expected) in [
            (r#"{"a":1e400,"b":2}"#, &["a=1e400", "b=2"][..]),
            (r#"{"a":[1e400],"b":-1e400,"c":3}"#, &["b=-1e400", "c=3"]),
            (r#"{"a\u0000b":1,"t":"\u0000"}"#, &["a\0b=1", r#"t="\0""#]),
            (r#"{"a\ud800":1}"#, &["a\u{fffd}\u{fffd}\u{fffd}=1"]),
            (
                r#"{"a":"\udc00\u00e9","l":["\ud800"]}"#,
                &["a=\"\u{fffd}\u{fffd}\u{fffd}\u{e9}\""],
            ),
        ] {
            assert_eq!(shown(payload), expected, "{payload}");
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
