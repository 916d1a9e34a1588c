//! Whether a payload is JSON that whoever reads what we wrap around it can read: by the strictest of the common readers, since
//! one payload that theirs refuses takes the whole array, with all its neighbours, with it.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

/// Levels of arrays and objects: .NET reads 64, of which we put two around it.
pub(super) const MOST_LEVELS: u8 = 62;

/// Whether it can stand in our JSON as it is: UTF-8, no half of a surrogate pair, no NUL (which databases refuse), every
/// number within a 64-bit float, at most 62 levels.
pub(in crate::uplink) fn is_json(payload: &[u8]) -> bool {
    let mut reader = serde_json::Deserializer::from_slice(payload);
    StrictJson {
        levels: MOST_LEVELS,
    }
    .deserialize(&mut reader)
    .is_ok()
        && reader.end().is_ok()
}

/// The payload where it is JSON (`is_known`: nobody needs to look), else an object that has it in base64.
pub(in crate::uplink) fn as_json(payload: Bytes, is_known: bool) -> Bytes {
    if is_known || is_json(&payload) {
        return payload;
    }
    let mut object = BytesMut::new();
    object.put_u8(b'{');
    put_json_payload(&mut object, &payload);
    object.freeze()
}

/// JSON with spaces for its line ends, which stand between its parts only.
pub(in crate::uplink) fn on_one_line(json: Bytes) -> Bytes {
    let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
    if !json.iter().any(is_end) {
        return json;
    }
    json.iter()
        .map(|byte| if is_end(byte) { b' ' } else { *byte })
        .collect()
}

/// The last member: the payload itself if it is JSON, else in base64 under a name that says so.
pub(in crate::uplink) fn put_json_payload(out: &mut BytesMut, payload: &[u8]) {
    if is_json(payload) {
        out.extend_from_slice(b"\"payload\":");
        out.extend_from_slice(payload);
    } else {
        out.extend_from_slice(b"\"payload_base64\":\"");
        out.extend_from_slice(STANDARD.encode(payload).as_bytes());
        out.put_u8(b'"');
    }
    out.put_u8(b'}');
}

/// Reads a value and keeps nothing of it.
#[derive(Clone, Copy)]
struct StrictJson {
    levels: u8,
}

impl StrictJson {
    fn inside<E: Error>(self) -> Result<Self, E> {
        let levels = self
            .levels
            .checked_sub(1)
            .ok_or_else(|| E::custom("too many levels"))?;
        Ok(Self { levels })
    }
}

impl<'de> DeserializeSeed<'de> for StrictJson {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        // Unlike skipping, this reads texts and numbers to the end.
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictJson {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        if value.is_finite() {
            Ok(())
        } else {
            Err(E::custom("a number out of range"))
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        if text.contains('\0') {
            Err(E::custom("NUL in a text"))
        } else {
            Ok(())
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let inside = self.inside()?;
        while list.next_element_seed(inside)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let inside = self.inside()?;
        while members.next_key_seed(inside)?.is_some() {
            members.next_value_seed(inside)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nested(levels: usize) -> Vec<u8> {
        [vec![b'['; levels], vec![b']'; levels]].concat()
    }

    #[test]
    fn what_some_common_reader_refuses_is_not_json() {
        for good in [
            "{}",
            " [1, -2.5e3, true, null] ",
            r#""\ud83c\udf0a""#,
            "18446744073709551616",
            r#"{"a":{"b":["\u00e9"]}}"#,
        ] {
            assert!(is_json(good.as_bytes()), "{good}");
        }
        let bad: [&[u8]; 14] = [
            b"",
            b"{",
            b"{}{}",
            b"NaN",
            b"01",
            b"\xef\xbb\xbf{}",
            b"{\"t\":\"\xff\"}",
            br#"{"t":"\ud800"}"#,
            br#"{"\udc00":1}"#,
            br#"{"t":"\u0000"}"#,
            b"1e400",
            b"[-1e400]",
            b"\"a\nb\"",
            b"'a'",
        ];
        for payload in bad {
            assert!(!is_json(payload), "{}", payload.escape_ascii());
        }
        assert!(
            is_json(&nested(62))
                && !is_json(&nested(63))
                && !is_json(&nested(5_000))
                && !is_json(&vec![b'['; 1 << 20])
        );
    }

    proptest! {
        #[test]
        fn an_array_of_what_passes_is_read_by_another_reader(payloads in proptest::collection::vec(proptest::collection::vec(prop_oneof![
            Just(b'['), Just(b']'), Just(b'{'), Just(b'}'), Just(b'"'), Just(b':'), Just(b','), Just(b'1'), Just(b'e'), Just(b'\\'), any::<u8>()
        ], 1..8), 1..20)) {
            let passing: Vec<_> = payloads.iter().filter(|payload| is_json(payload)).map(Vec::as_slice).collect();
            let array = [b"[".as_slice(), &passing.join(&b','), b"]"].concat();
            let read: Vec<serde_json::Value> = serde_json::from_slice(&array).unwrap();
            prop_assert_eq!(read.len(), passing.len());
        }
    }
}
