//! All members of an object, or elements of a list, one level deep: for plugins that take payloads apart without knowing
//! what is in them.

use std::borrow::Cow;
use std::ops::Range;

use super::scan::{Kind, Scan, Step};
use super::{Value, check_not_empty};
use crate::plugin::Result;

/// A member of an object: its name and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// The name, without escapes.
    pub name: Cow<'a, str>,
    /// The value, as it stands in the payload.
    pub value: Value<'a>,
}

/// All members of a payload that is a JSON object, in their order. The whole payload is checked. A name that stands there
/// twice is a mistake, since readers would disagree on it.
///
/// ```
/// let members = tidegate_sdk::json::members(br#"{"t": 21.50, "on": true}"#)?;
/// assert_eq!((&*members[0].name, members[0].value.raw()), ("t", "21.50"));
/// # Ok::<(), tidegate_sdk::Error>(())
/// ```
pub fn members(payload: &[u8]) -> Result<Vec<Member<'_>>> {
    check_not_empty(payload)?;
    let mut spans = Vec::new();
    Scan::new(payload)
        .whole(b'{', |scan| scan.members(&mut spans))
        .map_err(|fault| fault.in_words())?;
    let mut members = Vec::with_capacity(spans.len());
    for (name, value) in spans {
        members.push(Member {
            name: Value(&payload[name])
                .text()
                .ok_or("payload is not valid JSON: a name has half of an escape")?,
            value: Value(&payload[value]),
        });
    }
    let mut names: Vec<&str> = members.iter().map(|member| &*member.name).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("payload has field `{}` twice", pair[0]).into());
    }
    Ok(members)
}

/// All elements of a payload that is a JSON array, in their order. The whole payload is checked.
pub fn elements(payload: &[u8]) -> Result<Vec<Value<'_>>> {
    check_not_empty(payload)?;
    let mut spans = Vec::new();
    Scan::new(payload)
        .whole(b'[', |scan| scan.elements(&mut spans))
        .map_err(|fault| fault.in_words())?;
    Ok(spans
        .into_iter()
        .map(|span| Value(&payload[span]))
        .collect())
}

/// The one value that a payload is, of whatever kind. The whole payload is checked.
///
/// ```
/// let value = tidegate_sdk::json::value(b" [1, 2.50] ")?;
/// assert_eq!(value.raw(), "[1, 2.50]");
/// # Ok::<(), tidegate_sdk::Error>(())
/// ```
pub fn value(payload: &[u8]) -> Result<Value<'_>> {
    check_not_empty(payload)?;
    let span = Scan::new(payload)
        .only()
        .map_err(|fault| fault.in_words())?;
    Ok(Value(&payload[span]))
}

impl<'a> Value<'a> {
    /// Its members, when it is an object; an error when a name stands there twice.
    pub fn members(self) -> Result<Option<Vec<Member<'a>>>> {
        (self.0.first() == Some(&b'{'))
            .then(|| members(self.0))
            .transpose()
    }

    /// Its elements, when it is a list.
    pub fn elements(self) -> Result<Option<Vec<Value<'a>>>> {
        (self.0.first() == Some(&b'['))
            .then(|| elements(self.0))
            .transpose()
    }
}

impl Scan<'_> {
    fn members(&mut self, spans: &mut Vec<(Range<usize>, Range<usize>)>) -> Step {
        self.at += 1;
        if self.after_space() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.after_space();
            let start = self.at;
            self.name(&Vec::new())?;
            // Up to the colon, which `name` has stepped over.
            let name = start..start + self.bytes[start..self.at - 1].trim_ascii_end().len();
            spans.push((name, self.one()?));
            match self.after_space() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(_) => return self.fail(Kind::Expected("`,` or `}`")),
                None => return self.fail(Kind::Ends),
            }
        }
    }

    fn elements(&mut self, spans: &mut Vec<Range<usize>>) -> Step {
        self.at += 1;
        if self.after_space() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            let value = self.one()?;
            spans.push(value);
            match self.after_space() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(_) => return self.fail(Kind::Expected("`,` or `]`")),
                None => return self.fail(Kind::Ends),
            }
        }
    }

    /// The place of one value.
    fn one(&mut self) -> Step<Range<usize>> {
        self.after_space();
        let start = self.at;
        self.skip(1)?;
        Ok(start..self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(payload: &str) -> Vec<(String, String)> {
        let members = members(payload.as_bytes()).unwrap();
        members
            .into_iter()
            .map(|member| (member.name.into_owned(), member.value.raw().to_owned()))
            .collect()
    }

    #[test]
    fn members_keep_their_order_and_their_text() {
        let found = shown(" { \"b\\u0041\" : 1.50 ,\"a\":{\"x\":[1,2]}, \"c\":null } ");
        let wanted = [("bA", "1.50"), ("a", "{\"x\":[1,2]}"), ("c", "null")];
        assert_eq!(
            found,
            wanted.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        assert!(shown("{}").is_empty() && elements(b"[]").unwrap().is_empty());
        let elements = elements(b"[1, {\"a\": 2} ,[]]").unwrap();
        assert_eq!(
            elements.iter().map(|value| value.raw()).collect::<Vec<_>>(),
            ["1", "{\"a\": 2}", "[]"]
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (payload, words) in [
            ("[1]", "payload is not a JSON object, at byte 0"),
            (
                "{\"a\":1",
                "payload is not valid JSON: it ends too early, at byte 6",
            ),
            (
                "{\"a\":1}x",
                "payload is not valid JSON: something follows the object, at byte 7",
            ),
            ("{\"a\":1,\"\\u0061\":2}", "payload has field `a` twice"),
        ] {
            assert_eq!(
                members(payload.as_bytes()).unwrap_err().to_string(),
                words,
                "{payload}"
            );
        }
        assert_eq!(
            elements(b"{}").unwrap_err().to_string(),
            "payload is not a JSON array, at byte 0"
        );
        assert!(members(b"{\"a\":\"\xff\"}").is_err() && members(b"{\"\\ud800\":1}").is_err());
    }

    #[test]
    fn one_value_of_any_kind_is_the_whole_payload() {
        for (payload, raw) in [
            (" 21.50 ", Some("21.50")),
            ("\"ä\"", Some("\"ä\"")),
            ("null", Some("null")),
            ("{\"a\":[1]}", Some("{\"a\":[1]}")),
            ("1 2", None),
            ("[1", None),
            ("nul", None),
            (" ", None),
        ] {
            let found = value(payload.as_bytes()).ok().map(Value::raw);
            assert_eq!(found, raw, "{payload}");
        }
        assert!(value(b"\"\xff\"").is_err());
        let deep = |deep: usize| [vec![b'['; deep], vec![b']'; deep]].concat();
        assert!(value(&deep(128)).is_ok() && value(&deep(129)).is_err());
    }

    #[test]
    fn many_members_and_deep_ones_take_no_more_than_one_pass() {
        let many: String = (0..40_000)
            .map(|number| format!("\"n{number}\":1,"))
            .collect();
        assert_eq!(shown(&format!("{{{many}\"z\":1}}")).len(), 40_001);
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(members(deep.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn whatever_the_payload_nothing_panics(payload in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = (members(&payload), elements(&payload));
        }

        #[test]
        fn what_serde_reads_is_read(number in any::<i64>(), text in ".*") {
            let payload = serde_json::json!({ "number": number, "text": text }).to_string();
            let members = members(payload.as_bytes()).unwrap();
            prop_assert_eq!(members[0].value.raw(), number.to_string());
            prop_assert_eq!(members[1].value.text().unwrap(), text);
        }
    }
}
