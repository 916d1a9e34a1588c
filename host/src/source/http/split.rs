//! From a body to its messages, each a slice of it. No sockets.

use bytes::Bytes;
use serde::de::IgnoredAny;

/// Messages in one body at most: each costs some hundred bytes beside its own.
const MOST: usize = 10_000;

/// How many messages a body holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodySplit {
    /// One: the body itself, whatever it is.
    #[default]
    None,
    /// One for each element of a JSON array, as it is written there.
    JsonArray,
    /// One for each line that is not empty; each has to be JSON.
    Ndjson,
}

/// Why a body is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It is not what it should be.
    Malformed(String),
    /// One message, or their number, is over a limit.
    TooLarge(String),
}

impl BodySplit {
    /// The messages of `body`, none of them over `most_bytes`.
    pub(super) fn parts(self, body: Bytes, most_bytes: usize) -> Result<Vec<Bytes>, Unfit> {
        let parts = match self {
            Self::None => vec![body],
            Self::JsonArray => elements(&body)?,
            Self::Ndjson => lines(&body)?,
        };
        // The parser reads texts that are none.
        let is_text = |part: &Bytes| self == Self::None || std::str::from_utf8(part).is_ok();
        if let Some(number) = parts.iter().position(|part| !is_text(part)) {
            return Err(Unfit::Malformed(format!(
                "message {number} is no JSON: it is not UTF-8"
            )));
        }
        if let Some(number) = parts.iter().position(|part| part.len() > most_bytes) {
            return Err(Unfit::TooLarge(format!(
                "message {number} has more than {most_bytes} bytes"
            )));
        }
        Ok(parts)
    }
}

fn too_many() -> Unfit {
    Unfit::TooLarge(format!("the body has more than {MOST} messages"))
}

fn elements(body: &Bytes) -> Result<Vec<Bytes>, Unfit> {
    let no_array = |why: &str| Unfit::Malformed(format!("the body is no JSON array: {why}"));
    let start = body.trim_ascii_start().strip_prefix(b"[");
    let mut rest = start.ok_or_else(|| no_array("it does not begin with ["))?;
    rest = rest.trim_ascii_start();
    let mut found = Vec::new();
    while !rest.starts_with(b"]") || !found.is_empty() {
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<IgnoredAny>();
        match values.next() {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(no_array(&error.to_string())),
            None => return Err(no_array("it ends too early")),
        }
        let (element, after) = rest.split_at(values.byte_offset());
        if found.len() == MOST {
            return Err(too_many());
        }
        found.push(body.slice_ref(element));
        rest = after.trim_ascii_start();
        match rest.split_first() {
            Some((b',', after)) => rest = after.trim_ascii_start(),
            Some((b']', _)) => break,
            _ => return Err(no_array("an element is followed by neither , nor ]")),
        }
    }
    match rest.get(1..).unwrap_or_default().trim_ascii() {
        [] => Ok(found),
        _ => Err(no_array("something follows it")),
    }
}

fn lines(body: &Bytes) -> Result<Vec<Bytes>, Unfit> {
    let mut found = Vec::new();
    for (number, line) in body.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        if found.len() == MOST {
            return Err(too_many());
        }
        serde_json::from_slice::<IgnoredAny>(line).map_err(|error| {
            Unfit::Malformed(format!(
                "line {} of the body is no JSON: {error}",
                number + 1
            ))
        })?;
        found.push(body.slice_ref(line));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(split: BodySplit, body: &str) -> Result<Vec<String>, Unfit> {
        let found = split.parts(Bytes::copy_from_slice(body.as_bytes()), 20)?;
        let text = |part: Bytes| String::from_utf8(part.to_vec()).unwrap();
        Ok(found.into_iter().map(text).collect())
    }

    #[test]
    fn a_body_is_one_message_or_several() {
        let texts = |texts: &[&str]| Ok(texts.iter().map(|text| (*text).to_owned()).collect());
        assert_eq!(parts(BodySplit::None, "[1, 2]"), texts(&["[1, 2]"]));
        assert_eq!(parts(BodySplit::None, ""), texts(&[""]));
        let array = " [ {\"t\": 1.50}, \"a,b\", 3 ] ";
        assert_eq!(
            parts(BodySplit::JsonArray, array),
            texts(&["{\"t\": 1.50}", "\"a,b\"", "3"])
        );
        assert_eq!(parts(BodySplit::JsonArray, "[]"), texts(&[]));
        assert_eq!(
            parts(BodySplit::Ndjson, "{\"t\":1}\r\n\n{\"t\":2}"),
            texts(&["{\"t\":1}", "{\"t\":2}"])
        );
    }

    #[test]
    fn one_that_is_wrong_refuses_all() {
        for (split, body) in [
            (BodySplit::JsonArray, "{}"),
            (BodySplit::JsonArray, "[1, 2"),
            (BodySplit::JsonArray, ""),
            (BodySplit::JsonArray, "["),
            (BodySplit::JsonArray, "[1,]"),
            (BodySplit::JsonArray, "[,1]"),
            (BodySplit::JsonArray, "[1 2]"),
            (BodySplit::JsonArray, "[1] 2"),
            (BodySplit::JsonArray, "[1, x]"),
            (BodySplit::Ndjson, "1\nx\n3"),
            (BodySplit::Ndjson, "{\"t\":1} {\"t\":2}"),
        ] {
            assert!(
                matches!(parts(split, body), Err(Unfit::Malformed(_))),
                "{body}"
            );
        }
        let long = format!("[1, \"{}\"]", "x".repeat(20));
        let many = format!("[{}1]", "1,".repeat(MOST));
        for body in [&long, &many] {
            assert!(matches!(
                parts(BodySplit::JsonArray, body),
                Err(Unfit::TooLarge(_))
            ));
        }
        assert!(matches!(
            parts(BodySplit::None, &long),
            Err(Unfit::TooLarge(_))
        ));
        assert!(matches!(
            parts(BodySplit::Ndjson, &"1\n".repeat(MOST + 1)),
            Err(Unfit::TooLarge(_))
        ));
    }

    #[test]
    fn what_is_not_utf_8_is_told_by_its_number() {
        for (split, body) in [
            (BodySplit::JsonArray, &b"[1, \"\xff\"]"[..]),
            (BodySplit::JsonArray, b"[1, {\"\xc3\": [\"\xc3\xa4\"]}]"),
            (BodySplit::Ndjson, b"1\n\"\xed\xa0\x80\""),
        ] {
            let found = split.parts(Bytes::from_static(body), 20);
            let Err(Unfit::Malformed(why)) = found else {
                panic!("{found:?}");
            };
            assert!(why.contains("message 1 is no JSON"), "{why}");
        }
        assert!(
            BodySplit::None
                .parts(Bytes::from_static(b"\xff"), 20)
                .is_ok()
        );
    }

    proptest! {
        #[test]
        fn an_array_comes_apart_into_what_it_was_made_of(values in proptest::collection::vec("-?[1-9][0-9]{0,5}|\"[a-z,\\]]{0,9}\"|\\[\\]|null", 0..20)) {
            let array = format!("[{}]", values.join(" ,\n"));
            prop_assert_eq!(parts(BodySplit::JsonArray, &array), Ok(values.clone()));
            prop_assert_eq!(parts(BodySplit::Ndjson, &values.join("\n")), Ok(values));
        }

        #[test]
        fn no_body_makes_it_panic(body in "[\\[\\]{}\",:0-9a\\\\\n ]{0,60}") {
            for split in [BodySplit::None, BodySplit::JsonArray, BodySplit::Ndjson] {
                let _ = parts(split, &body);
            }
        }
    }
}
