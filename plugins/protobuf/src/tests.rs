use super::*;
use tidegate_sdk::serde_json::{self, Value, json};
use tidegate_sdk::test::{Input, Outcome, Plugin, hostile_payloads, settings_shown};

/// Made by Google's protobuf (`vectors.py`): descriptors of two files, and then messages and their JSON.
const VECTORS: &str = include_str!("tests/vectors.txt");

fn descriptors(line: usize) -> &'static str {
    VECTORS.lines().nth(line).unwrap()
}

fn vectors() -> impl Iterator<Item = (Vec<u8>, Value)> {
    VECTORS.lines().skip(2).map(|line| {
        let (hex, json) = line.split_once(' ').unwrap();
        (bytes(hex), serde_json::from_str(json).unwrap())
    })
}

fn bytes(hex: &str) -> Vec<u8> {
    Bytes::Hex.read(hex).unwrap()
}

fn settings(more: Value) -> Value {
    let mut settings = json!({ "descriptors": descriptors(0), "message": "acme.Reading" });
    for (name, value) in more.as_object().unwrap() {
        settings[name] = value.clone();
    }
    settings
}

fn fed(more: Value, payload: impl Into<Vec<u8>>) -> Outcome {
    Plugin::<Protobuf>::new(settings(more)).feed(Input::new("d7", payload))
}

fn told(more: Value, payload: impl Into<Vec<u8>>) -> String {
    let outcome = fed(more, payload);
    match outcome.rejected() {
        Some(reason) => format!("rejected: {reason}"),
        None => outcome.emitted().text().to_owned(),
    }
}

/// Whole doubles have no point in one and one in the other.
fn same(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Number(ours), Value::Number(theirs)) => ours.as_f64() == theirs.as_f64(),
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| same(a, b))
        }
        (Value::Object(ours), Value::Object(theirs)) => {
            let equal = |(name, value)| ours.get(name).is_some_and(|own| same(own, value));
            ours.len() == theirs.len() && theirs.iter().all(equal)
        }
        _ => ours == theirs,
    }
}

#[test]
fn what_another_implementation_writes_is_read_and_written_the_same() {
    let mut decodes =
        Plugin::<Protobuf>::new(settings(json!({ "int64": "text", "floats": "short" })));
    let mut encodes = Plugin::<Protobuf>::new(settings(json!({ "do": "encode" })));
    let mut seen = 0;
    for (payload, wanted) in vectors() {
        let outcome = decodes.feed(Input::new("d7", payload));
        assert_eq!(outcome.rejected(), None, "{wanted}");
        let found: Value = outcome.emitted().json();
        assert!(same(&found, &wanted), "{found}\n{wanted}");
        // What is written has what is read again: maps may stand there in any order.
        let outcome = encodes.feed(Input::json("d7", wanted.clone()));
        assert_eq!(outcome.rejected(), None, "{wanted}");
        let again = decodes.feed(Input::new("d7", outcome.emitted().payload.clone()));
        assert!(same(&again.emitted().json(), &wanted), "{wanted}");
        seen += 1;
    }
    assert_eq!(seen, 30);
}

/// Whether a map has entries, which may stand in any order, and leave out what is 0.
fn has_entries(reading: &Value) -> bool {
    let maps = ["by_name", "by_number", "more"].map(|name| &reading[name]);
    let is_filled = |map: &&Value| map.as_object().is_some_and(|map| !map.is_empty());
    maps.iter().any(is_filled) || !reading["inner"].is_null() && has_entries(&reading["inner"])
}

#[test]
fn without_maps_the_bytes_are_the_same() {
    let mut encodes = Plugin::<Protobuf>::new(settings(json!({ "do": "encode" })));
    let mut seen = 0;
    for (payload, wanted) in vectors() {
        if has_entries(&wanted) {
            continue;
        }
        let text = wanted.to_string();
        let outcome = encodes.feed(Input::json("d7", wanted));
        assert_eq!(outcome.emitted().payload, payload, "{text}");
        seen += 1;
    }
    assert!(seen >= 3, "{seen}");
}

#[test]
fn what_the_page_shows_works() {
    let shown = settings_shown(include_str!("lib.rs"));
    assert_eq!(shown[0]["descriptors"], descriptors(1));
    let mut plugin = Plugin::<Protobuf>::new(shown[0].clone());
    let outcome = plugin.feed(Input::new("d7", bytes("0a026437150000ac41")));
    assert_eq!(
        outcome.emitted().text(),
        r#"{"device":"d7","temperature":21.5}"#
    );
    let outcome = plugin.feed(Input::new("d7", ""));
    assert_eq!(
        outcome.emitted().text(),
        r#"{"device":"","temperature":0.0}"#
    );
    assert!(plugin.feed(Input::new("d7", "").retained()).passed());
}

#[test]
fn settings_say_how_things_are_written() {
    let reading = bytes(
        "15cdccac41 28ffffffffffffffffff01 7a0200ff 800101 a20102"
            .replace(' ', "")
            .trim_end_matches("a20102"),
    );
    let bare = json!({ "defaults": false });
    assert_eq!(
        told(bare, reading.clone()),
        r#"{"temperature":21.600000381469727,"i64":-1,"raw":"AP8=","state":"BUSY"}"#
    );
    let other = json!({ "defaults": false, "int64": "text", "enums": "number", "bytes": "hex", "floats": "short" });
    assert_eq!(
        told(other, reading),
        r#"{"temperature":21.6,"i64":"-1","raw":"00ff","state":1}"#
    );
    let maps = bytes("aa010c0a0162110000000000000000aa010c0a016111000000000000f03f");
    for (names, wanted) in [
        ("proto", r#"{"by_name":{"a":1.0,"b":0.0}}"#),
        ("json", r#"{"byName":{"a":1.0,"b":0.0}}"#),
    ] {
        let settings = json!({ "defaults": false, "names": names });
        assert_eq!(told(settings, maps.clone()), wanted);
    }
    let infinite = bytes("150000807f19000000000000f87f");
    assert_eq!(
        told(json!({ "defaults": false }), infinite),
        r#"{"temperature":null,"pressure":null}"#
    );
}

#[test]
fn types_go_by_topic() {
    let by_topic = json!({
        "descriptors": descriptors(0),
        "messages": [{ "topic": "a/+", "message": "acme.Place" }, { "topic": "b/#", "message": "acme.Reading" }],
        "defaults": false,
    });
    let mut plugin = Plugin::<Protobuf>::new(by_topic);
    let mut fed = |topic: &str| {
        let outcome = plugin.feed(Input::new("d7", bytes("190000000000004840")).topic(topic));
        match outcome.rejected() {
            Some(reason) => reason.to_owned(),
            None => outcome.emitted().text().to_owned(),
        }
    };
    assert_eq!(fed("b/c"), r#"{"pressure":48.0}"#);
    assert_eq!(fed("a/b"), "{}");
    assert_eq!(fed("c"), "no type in `messages` is for the topic `c`");
}

#[test]
fn fields_that_a_type_has_not_are_counted_or_rejected() {
    // Field 200, and the same within `place`.
    let payload = bytes("8a0103c00c01c00c02");
    let mut plugin = Plugin::<Protobuf>::new(settings(json!({ "defaults": false })));
    let outcome = plugin.feed(Input::new("d7", payload.clone()));
    assert_eq!(outcome.emitted().text(), r#"{"place":{}}"#);
    assert_eq!(plugin.counters()["unknown_fields"], 2);
    assert_eq!(
        told(json!({ "unknown": "reject" }), payload),
        "rejected: payload has fields that `acme.Reading` has not: 2"
    );
    let more = r#"{"device":"d7","humidity":1}"#;
    assert!(
        told(json!({ "do": "encode" }), more)
            .starts_with("rejected: payload does not fit `acme.Reading`: ")
    );
    let outcome = fed(json!({ "do": "encode", "unknown": "drop" }), more);
    assert_eq!(outcome.emitted().payload, bytes("0a026437"));
}

#[test]
fn what_does_not_fit_is_rejected_in_words() {
    for (hex, words) in [
        ("0a05", "payload is no `acme.Reading`: "),
        ("0a02c328", "payload is no `acme.Reading`: "),
        ("ff", "payload is no `acme.Reading`: "),
        ("0801", "payload is no `acme.Reading`: "),
        ("15cdccac", "payload is no `acme.Reading`: "),
        // A timestamp of the year 292 billion.
        (
            "d2010a08ffffffffffffffff7f",
            "`google.protobuf.Timestamp` cannot be said in JSON: ",
        ),
    ] {
        let told = told(json!({}), bytes(hex));
        assert!(told.starts_with(&format!("rejected: {words}")), "{told}");
    }
    let long = fed(json!({}), vec![0; MOST_BYTES + 1]);
    assert_eq!(long.rejected(), Some("payload has more than 262144 bytes"));
    // Each of these is a message with two numbers.
    let many = bytes("a20100").repeat(80_000);
    assert_eq!(
        told(json!({}), many),
        "rejected: payload becomes more than 1048576 bytes of JSON"
    );
    for (json, words) in [
        ("", "payload is not valid JSON: it ends too early"),
        ("[]", "payload does not fit `acme.Reading`: "),
        (r#"{"i32":1.5}"#, "payload does not fit `acme.Reading`: "),
        (r#"{"u32":-1}"#, "payload does not fit `acme.Reading`: "),
        (r#"{"state":"X"}"#, "payload does not fit `acme.Reading`: "),
        (r#"{"raw":"%"}"#, "payload does not fit `acme.Reading`: "),
        (
            r#"{"device":"a","device":"b"}"#,
            "payload has field `device` twice",
        ),
        (
            r#"{"way":[{},{"latitude":1,"latitude":2}]}"#,
            "payload has field `latitude` twice",
        ),
        (
            r#"{"text":"a","number":1}"#,
            "payload does not fit `acme.Reading`: ",
        ),
    ] {
        let told = told(json!({ "do": "encode" }), json);
        assert!(
            told.starts_with(&format!("rejected: {words}")),
            "{json}: {told}"
        );
    }
}

#[test]
fn settings_that_make_no_sense_are_refused_in_words() {
    for (settings, words) in [
        (
            json!({ "descriptors": "%", "message": "a" }),
            "`descriptors` is not base64",
        ),
        (
            json!({ "descriptors": "", "message": "a" }),
            "`descriptors` is not base64",
        ),
        (
            json!({ "descriptors": "AAAA", "message": "a" }),
            "`descriptors` is no set of descriptors: ",
        ),
        (
            json!({ "descriptors": descriptors(0), "message": "Reading" }),
            "`message`: no type is called `Reading`; there are: `acme.Place`, `acme.Reading`",
        ),
        (
            json!({ "descriptors": descriptors(0) }),
            "the setting `message` is missing; there are: `acme.Place`",
        ),
        (
            json!({ "descriptors": descriptors(0), "messages": [{ "topic": "a+", "message": "acme.Place" }] }),
            "`messages.0`: `topic` is no topic filter",
        ),
    ] {
        let refused = Plugin::<Protobuf>::try_new(settings).map(drop).unwrap_err();
        assert!(refused.starts_with(words), "{refused}");
    }
    // As `base64` prints it.
    let lines = descriptors(1).split_at(70);
    let spaced = format!("\n  {}\n  {}\n", lines.0, lines.1);
    Plugin::<Protobuf>::new(json!({ "descriptors": spaced, "message": "acme.Reading" }));
}

#[test]
fn whatever_comes_nothing_panics() {
    let mut decodes = Plugin::<Protobuf>::new(settings(json!({})));
    let mut encodes = Plugin::<Protobuf>::new(settings(json!({ "do": "encode" })));
    for payload in hostile_payloads("device") {
        assert_eq!(decodes.feed(Input::new("d7", payload.clone())).0.len(), 1);
        assert_eq!(encodes.feed(Input::new("d7", payload)).0.len(), 1);
    }
    // Messages within messages without end.
    let mut deep = Vec::new();
    for _ in 0..200 {
        let mut outer = vec![0xf2, 0x01];
        let mut length = deep.len();
        while length > 127 {
            outer.push(length as u8 | 0x80);
            length >>= 7;
        }
        outer.push(length as u8);
        outer.append(&mut deep);
        deep = outer;
    }
    let outcome = decodes.feed(Input::new("d7", deep));
    assert!(outcome.rejected().unwrap().contains("recursion"));
    let mut draws = 0x2611_u32;
    let good: Vec<Vec<u8>> = vectors().map(|(payload, _)| payload).collect();
    for payload in good.iter().cycle().take(4_000) {
        let mut payload = payload.clone();
        for _ in 0..2 {
            draws = draws.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let place = (draws >> 8) as usize % payload.len();
            payload[place] = draws as u8 ^ (draws >> 24) as u8;
        }
        let outcome = decodes.feed(Input::new("d7", payload));
        for message in outcome.on("out") {
            serde_json::from_slice::<Value>(&message.payload).unwrap();
        }
    }
}
