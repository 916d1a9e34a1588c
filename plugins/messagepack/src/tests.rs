use super::*;
use tidegate_sdk::serde_json::{self, Value, json};
use tidegate_sdk::test::{Input, Outcome, Plugin, hostile_payloads, settings_shown};

/// Made by msgpack for Python (`vectors.py`): how it goes, bytes, JSON.
const VECTORS: &str = include_str!("tests/vectors.txt");

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(|letter| *letter != ' ').collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn fed(settings: Value, payload: impl Into<Vec<u8>>) -> Outcome {
    Plugin::<MessagePack>::new(settings).feed(Input::new("d7", payload))
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
    let single = bytes("82 a174 ca41accccd a162 c402 00ff");
    let outcome = fed(shown[0].clone(), single.clone());
    assert_eq!(
        outcome.emitted().text(),
        r#"{"t":21.600000381469727,"b":"AP8="}"#
    );
    let outcome = fed(shown[1].clone(), single);
    assert_eq!(outcome.emitted().text(), r#"{"t":21.6,"b":"00ff"}"#);
    let outcome = fed(shown[2].clone(), r#"{"t": 21.5}"#);
    assert_eq!(
        outcome.emitted().payload,
        bytes("81 a174 cb 4035800000000000")
    );
    let mut plugin = Plugin::<MessagePack>::new(json!({}));
    assert!(plugin.feed(Input::new("d7", "").retained()).passed());
}

#[test]
fn whole_numbers_of_64_bits_are_exact() {
    for (hex, json) in [
        ("cf ffffffffffffffff", "18446744073709551615"),
        ("d3 8000000000000000", "-9223372036854775808"),
        ("cf 0020000000000001", "9007199254740993"),
    ] {
        assert_eq!(decoded(hex), json);
        assert_eq!(encoded(json), bytes(hex), "{json}");
    }
    assert_eq!(decoded("92 cb7ff8000000000000 ca7f800000"), "[null,null]");
}

#[test]
fn what_is_malformed_is_rejected_with_the_place() {
    let deep = "91".repeat(129) + "01";
    for (hex, words) in [
        ("", "ends too early, at byte 0"),
        ("ce 0000", "ends too early, at byte 3"),
        ("a3 6161", "ends too early, at byte 3"),
        ("dd ffffffff", "ends too early, at byte 5"),
        ("df ffffffff 01", "ends too early, at byte 6"),
        ("c6 ffffffff", "ends too early, at byte 5"),
        ("c1", "no value begins like this, at byte 0"),
        ("01 02", "something follows the value, at byte 1"),
        ("a2 c328", "a text that is not UTF-8, at byte 1"),
        (
            "81 90 01",
            "a name that is neither text nor a whole number, at byte 1",
        ),
        ("82 a161 01 a161 02", "payload has field \"a\" twice"),
        ("d7ff ffffffffffffffff", "a time that is none, at byte 0"),
        ("d4ff 00", "a time that is none"),
        (&deep, "nested deeper than 128"),
    ] {
        let told = decoded(hex);
        assert!(
            told.starts_with("rejected: ") && told.contains(words),
            "{hex:.40}: {told}"
        );
    }
    for (json, words) in [
        ("", "payload is not valid JSON: it ends too early"),
        ("[1e999]", "64 bits do not hold: `1e999`"),
        ("18446744073709551616", "64 bits do not hold"),
        ("-9223372036854775809", "64 bits do not hold"),
        ("\"\\ud800\"", "half of an escape"),
    ] {
        let outcome = fed(json!({ "do": "encode" }), json);
        assert!(outcome.rejected().unwrap().contains(words), "{json}");
    }
}

#[test]
fn whatever_comes_nothing_panics() {
    let vectors = VECTORS
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .skip(1);
    let whole: Vec<Vec<u8>> = vectors.filter(|hex| hex.len() < 200).map(bytes).collect();
    let mut decodes = Plugin::<MessagePack>::new(json!({}));
    let mut draws = 0x2611_u32;
    for value in whole.iter().cycle().take(2_000) {
        let mut value = value.clone();
        for _ in 0..3 {
            draws = draws.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let place = draws as usize % value.len();
            value[place] = (draws >> 24) as u8;
        }
        let outcome = decodes.feed(Input::new("d7", value));
        assert_eq!(outcome.0.len(), 1);
        if outcome.rejected().is_none() {
            serde_json::from_slice::<Value>(&outcome.emitted().payload).unwrap();
        }
    }
    let mut encodes = Plugin::<MessagePack>::new(json!({ "do": "encode" }));
    for payload in hostile_payloads("t") {
        let outcome = encodes.feed(Input::new("d7", payload.clone()));
        if outcome.rejected().is_none() {
            let back = decodes.feed(Input::new("d7", outcome.emitted().payload.clone()));
            assert_eq!(back.rejected(), None);
        }
        assert_eq!(decodes.feed(Input::new("d7", payload)).0.len(), 1);
    }
}
