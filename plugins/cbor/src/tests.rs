use super::*;
use tidegate_sdk::serde_json::{self, Value, json};
use tidegate_sdk::test::{Input, Outcome, Plugin, hostile_payloads, settings_shown};

/// Made by cbor2 (`vectors.py`): how it goes, bytes, JSON.
const VECTORS: &str = include_str!("tests/vectors.txt");

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(|letter| *letter != ' ').collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn fed(settings: Value, payload: impl Into<Vec<u8>>) -> Outcome {
    Plugin::<Cbor>::new(settings).feed(Input::new("d7", payload))
}

fn decoded(hex: &str) -> String {
    let outcome = fed(json!({}), bytes(hex));
    match outcome.rejected() {
        Some(reason) => format!("rejected: {reason}"),
        None => outcome.emitted().text().to_owned(),
    }
}

fn encoded(json: &str) -> Vec<u8> {
    let outcome = fed(json!({ "do": "encode" }), json);
    assert_eq!(outcome.rejected(), None, "{json}");
    outcome.emitted().payload.clone()
}

#[test]
fn what_another_implementation_writes_is_read_and_written_the_same() {
    let mut both = 0;
    for line in VECTORS.lines().filter(|line| !line.starts_with('#')) {
        let mut parts = line.splitn(3, ' ');
        let [way, hex, json] = [(); 3].map(|()| parts.next().unwrap());
        let value: Value = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&decoded(hex)).unwrap(), value);
        if way == "both" {
            assert_eq!(encoded(json), bytes(hex), "{json}");
            both += 1;
        }
    }
    assert!(both >= 120);
}

#[test]
fn what_the_page_shows_works() {
    let shown = settings_shown(include_str!("lib.rs"));
    let single = bytes("a2 61 74 fa41accccd 61 62 42 00ff");
    let outcome = fed(shown[0].clone(), single.clone());
    assert_eq!(
        outcome.emitted().text(),
        r#"{"t":21.600000381469727,"b":"AP8="}"#
    );
    let outcome = fed(shown[1].clone(), single);
    assert_eq!(outcome.emitted().text(), r#"{"t":21.6,"b":"00ff"}"#);
    let outcome = fed(shown[2].clone(), r#"{"t": 21.5}"#);
    assert_eq!(outcome.emitted().payload, bytes("a1 61 74 f9 4d60"));
    assert!(
        Plugin::<Cbor>::new(json!({}))
            .feed(Input::new("d7", "").retained())
            .passed()
    );
}

#[test]
fn whole_numbers_and_decimal_fractions_are_exact() {
    for (hex, json) in [
        ("1b ffffffffffffffff", "18446744073709551615"),
        ("3b ffffffffffffffff", "-18446744073709551616"),
        ("c2 49 010000000000000000", "18446744073709551616"),
        ("c3 49 010000000000000000", "-18446744073709551617"),
        (
            "c2 50 7fffffffffffffffffffffffffffffff",
            "170141183460469231731687303715884105727",
        ),
        ("3b 7fffffffffffffff", "-9223372036854775808"),
    ] {
        assert_eq!(decoded(hex), json);
        assert_eq!(encoded(json), bytes(hex), "{json}");
    }
    assert_eq!(decoded("c4 82 21 19 0867"), "21.51");
    assert_eq!(
        decoded("c4 82 21 c2 49 010000000000000000"),
        "184467440737095516.16"
    );
    assert_eq!(decoded("c4 82 02 03"), "300");
    assert_eq!(decoded("83 f97e00 f97c00 f7"), "[null,null,null]");
}

#[test]
fn what_is_malformed_is_rejected_with_the_place() {
    let deep = "81".repeat(129) + "01";
    let long = "c2 51".to_owned() + &"ff".repeat(17);
    for (hex, words) in [
        ("", "not CBOR: it ends too early, at byte 0"),
        ("1a 0000", "ends too early, at byte 3"),
        ("63 6161", "ends too early, at byte 3"),
        ("9b ffffffffffffffff", "not CBOR"),
        ("9a ffffffff", "ends too early, at byte 5"),
        ("5a ffffffff", "ends too early, at byte 5"),
        ("ba ffffffff 01", "ends too early, at byte 6"),
        ("9f 01", "ends too early, at byte 2"),
        ("a1 ff 01", "an end of nothing, at byte 1"),
        ("bf 6161 ff", "an end of nothing, at byte 3"),
        ("ff", "an end of nothing, at byte 0"),
        ("1c", "no item begins like this, at byte 0"),
        ("01 02", "something follows the item, at byte 1"),
        ("62 c328", "a text that is not UTF-8"),
        (
            "7f 41 61 ff",
            "no part of what it is in begins like this, at byte 1",
        ),
        (
            "7f 7f 6161 ff ff",
            "no part of what it is in begins like this, at byte 1",
        ),
        ("e0", "the simple value 0, at byte 0"),
        (
            "a1 80 01",
            "a name that is neither text nor a whole number, at byte 1",
        ),
        ("a2 6161 01 6161 02", "payload has field \"a\" twice"),
        ("a2 01 01 6131 02", "payload has field \"1\" twice"),
        ("c4 82 6161 01", "a decimal fraction that is none"),
        (
            "c4 82 1a ffffffff 01",
            "a decimal fraction that is too long",
        ),
        (&deep, "nested deeper than 128"),
        (&long, "a number of more than 128 bits"),
        (&"c1".repeat(10_000), "ends too early"),
    ] {
        let told = decoded(hex);
        assert!(
            told.starts_with("rejected: ") && told.contains(words),
            "{hex:.40}: {told}"
        );
    }
    for (json, words) in [
        ("", "payload is not valid JSON: it ends too early"),
        ("[1e999]", "a number that does not fit: `1e999`"),
        ("\"\\ud800\"", "half of an escape"),
        ("{\"a\":1,\"a\":2}", "field `a` twice"),
    ] {
        let outcome = fed(json!({ "do": "encode" }), json);
        assert!(outcome.rejected().unwrap().contains(words), "{json}");
    }
    let long = "9".repeat(40);
    assert!(fed(json!({ "do": "encode" }), long).rejected().is_some());
}

#[test]
fn whatever_comes_nothing_panics() {
    let vectors = VECTORS
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .skip(1);
    let whole: Vec<Vec<u8>> = vectors.filter(|hex| hex.len() < 200).map(bytes).collect();
    let mut decodes = Plugin::<Cbor>::new(json!({}));
    let mut draws = 0x2611_u32;
    for item in whole.iter().cycle().take(2_000) {
        let mut item = item.clone();
        for _ in 0..3 {
            draws = draws.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let place = draws as usize % item.len();
            item[place] = (draws >> 24) as u8;
        }
        let outcome = decodes.feed(Input::new("d7", item));
        assert_eq!(outcome.0.len(), 1);
        if outcome.rejected().is_none() {
            serde_json::from_slice::<Value>(&outcome.emitted().payload).unwrap();
        }
    }
    let mut encodes = Plugin::<Cbor>::new(json!({ "do": "encode" }));
    for payload in hostile_payloads("t") {
        let outcome = encodes.feed(Input::new("d7", payload.clone()));
        if outcome.rejected().is_none() {
            let back = decodes.feed(Input::new("d7", outcome.emitted().payload.clone()));
            assert_eq!(back.rejected(), None);
        }
        assert_eq!(decodes.feed(Input::new("d7", payload)).0.len(), 1);
    }
}
