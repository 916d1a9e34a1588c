use super::*;
use tidegate_sdk::serde_json::{self, json};
use tidegate_sdk::test::{Input, Outcome, Plugin, hostile_payloads, settings_shown};

/// Made by fastavro (`vectors.py`): a schema, its fingerprint, a value in Avro, the value in JSON.
const VECTORS: &str = include_str!("tests/vectors.txt");

fn vectors() -> impl Clone + Iterator<Item = [&'static str; 4]> {
    VECTORS.lines().map(|line| {
        let mut parts = line.split('\t');
        [(); 4].map(|()| parts.next().unwrap())
    })
}

fn bytes(hex: &str) -> Vec<u8> {
    Bytes::Hex.read(&hex.replace(' ', "")).unwrap()
}

fn fed(settings: Value, payload: impl Into<Vec<u8>>) -> Outcome {
    Plugin::<Avro>::new(settings).feed(Input::new("d7", payload))
}

fn decoded(schema: Value, hex: &str) -> String {
    let outcome = fed(json!({ "schema": schema }), bytes(hex));
    match outcome.rejected() {
        Some(reason) => format!("rejected: {reason}"),
        None => outcome.emitted().text().to_owned(),
    }
}

fn encoded(schema: Value, json: &str) -> Result<Vec<u8>, String> {
    let outcome = fed(json!({ "schema": schema, "do": "encode" }), json);
    match outcome.rejected() {
        Some(reason) => Err(reason.to_owned()),
        None => Ok(outcome.emitted().payload.clone()),
    }
}

#[test]
fn what_another_implementation_writes_is_read_and_written_the_same() {
    let mut seen = 0;
    for [schema, print, hex, wanted] in vectors() {
        let payload = bytes(&format!("c301{print}{hex}"));
        let settings = json!({ "schema": schema.trim_matches('"'), "header": "single-object" });
        let outcome = fed(settings.clone(), payload.clone());
        assert_eq!(outcome.rejected(), None, "{schema} {hex}");
        let wanted: Value = serde_json::from_str(wanted).unwrap();
        let found: Value = outcome.emitted().json();
        assert_eq!(found, wanted, "{schema} {hex}");
        let mut settings = settings;
        settings["do"] = "encode".into();
        let outcome = fed(settings, outcome.emitted().payload.clone());
        assert_eq!(outcome.rejected(), None, "{schema} {wanted}");
        assert_eq!(outcome.emitted().payload, payload, "{schema} {wanted}");
        seen += 1;
    }
    assert_eq!(seen, 65);
}

#[test]
fn what_the_page_shows_works() {
    let shown = settings_shown(include_str!("lib.rs"));
    let mut plugin = Plugin::<Avro>::new(shown[0].clone());
    let outcome = plugin.feed(Input::new("d7", bytes("04 6437 02 0000ac41")));
    assert_eq!(
        outcome.emitted().text(),
        r#"{"device":"d7","temperature":21.5}"#
    );
    assert!(plugin.feed(Input::new("d7", "").retained()).passed());
    let outcome = fed(shown[1].clone(), bytes("00 00000007 02 0a"));
    assert_eq!(outcome.emitted().text(), "5");
    let outcome = fed(shown[2].clone(), r#"{"a": 1.5}"#);
    assert_eq!(
        outcome.emitted().payload,
        bytes("c301 17ce2b30e1922157 02 0261 000000000000f83f 00")
    );
}

#[test]
fn a_header_says_the_schema() {
    let record = |fields: Value| json!({ "type": "record", "name": "R", "fields": fields });
    let count = record(json!([{ "name": "n", "type": "int" }]));
    let confluent = |more: Value| {
        let mut settings = json!({ "schema": count, "header": "confluent" });
        for (name, value) in more.as_object().unwrap() {
            settings[name] = value.clone();
        }
        settings
    };
    let payload = bytes("00 00000107 0a");
    let told = |settings: Value, payload: Vec<u8>| {
        let outcome = fed(settings, payload);
        outcome.rejected().map_or_else(
            || outcome.emitted().text().to_owned(),
            |reason| format!("rejected: {reason}"),
        )
    };
    assert_eq!(told(confluent(json!({})), payload.clone()), r#"{"n":5}"#);
    assert_eq!(
        told(confluent(json!({ "id_as": "schema_id" })), payload.clone()),
        r#"{"n":5,"schema_id":263}"#
    );
    let empty = json!({ "schema": record(json!([])), "header": "confluent", "id_as": "id" });
    assert_eq!(told(empty, bytes("0000000007")), r#"{"id":7}"#);
    assert_eq!(
        told(confluent(json!({ "id": 7 })), payload.clone()),
        "rejected: payload has the schema 263, not 7"
    );
    for hex in ["", "00000001", "0a"] {
        assert_eq!(
            told(confluent(json!({})), bytes(hex)),
            "rejected: payload does not begin with a zero and the schema's id"
        );
    }
    let outcome = fed(
        confluent(json!({ "do": "encode", "id": 263 })),
        r#"{"n":5}"#,
    );
    assert_eq!(outcome.emitted().payload, payload);
    let single = json!({ "schema": "int", "header": "single-object" });
    assert_eq!(
        told(single.clone(), bytes("c301 8f5c393f1ad57573 0a")),
        "rejected: payload has a schema of the fingerprint 7375d51a3f395c8f, `schema` has 7275d51a3f395c8f"
    );
    assert_eq!(
        told(single, bytes("c3018f5c393f1ad575")),
        "rejected: payload does not begin with c3 01 and the schema's fingerprint"
    );
}

#[test]
fn blocks_may_have_their_bytes_before_them() {
    let list = json!({ "type": "array", "items": "int" });
    assert_eq!(decoded(list.clone(), "03 04 02 04 02 06 00"), "[1,2,3]");
    assert_eq!(decoded(list, "00"), "[]");
    let map = json!({ "type": "map", "values": "int" });
    assert_eq!(
        decoded(map.clone(), "02 0261 02 01 06 0262 04 00"),
        r#"{"a":1,"b":2}"#
    );
    assert_eq!(
        decoded(map, "02 0261 02 02 0261 04 00"),
        "rejected: payload has field \"a\" twice"
    );
}

#[test]
fn what_is_not_of_the_schema_is_rejected_with_the_byte() {
    let list = json!({ "type": "array", "items": "null" });
    let endless =
        json!({ "type": "record", "name": "R", "fields": [{ "name": "r", "type": "R" }] });
    let word = json!({ "type": "enum", "name": "E", "symbols": ["A"] });
    let price = json!({ "type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2 });
    for (schema, hex, words) in [
        (json!("int"), "", "it ends too early, at byte 0"),
        (
            json!("int"),
            "02 02",
            "something follows the value, at byte 1",
        ),
        (
            json!("int"),
            "8080808010",
            "a number of more than 32 bits, at byte 0",
        ),
        (
            json!("long"),
            "ffffffffffffffffff02",
            "a number of more than 64 bits, at byte 0",
        ),
        (
            json!("long"),
            "ffffffffffffffffffff01",
            "a number of more than 64 bits, at byte 0",
        ),
        (json!("boolean"), "02", "neither true nor false, at byte 0"),
        (json!("double"), "00", "it ends too early, at byte 1"),
        (json!("string"), "05", "a length below 0, at byte 0"),
        (
            json!("string"),
            "feffffffffffffffff01",
            "it ends too early, at byte 10",
        ),
        (
            json!("string"),
            "04 c328",
            "a text that is not UTF-8, at byte 0",
        ),
        (json!(["null", "int"]), "04", "no such type of 2, at byte 0"),
        (json!(["null", "int"]), "01", "a length below 0, at byte 0"),
        (word, "02", "no such word of 1, at byte 0"),
        (list.clone(), "02", "it ends too early, at byte 1"),
        (list, "01 01", "a length below 0, at byte 1"),
        (endless, "", "it is nested deeper than 128, at byte 0"),
        (
            price,
            "22 0100000000000000000000000000000000",
            "a decimal of more than 128 bits, at byte 0",
        ),
    ] {
        assert_eq!(
            decoded(schema.clone(), hex),
            format!("rejected: payload is not of the schema: {words}"),
            "{schema} {hex}"
        );
    }
}

#[test]
fn what_takes_no_byte_is_not_told_without_end() {
    let list = json!({ "type": "array", "items": "null" });
    // Four thousand billion values that take no byte.
    assert_eq!(
        decoded(list, "feffffffffff7f 00"),
        "rejected: payload becomes more than 1048576 bytes of JSON"
    );
}

#[test]
fn what_does_not_fit_is_rejected_with_the_field() {
    let schema = json!({ "type": "record", "name": "R", "fields": [
        { "name": "n", "type": "int" },
        { "name": "list", "type": { "type": "array", "items": "long" }, "default": [7] },
        { "name": "maybe", "type": ["null", "boolean"] },
        { "name": "raw", "type": "bytes", "default": "\u{ff}" },
    ] });
    for (json, words) in [
        (r#"{"n":1}"#, "raw: it is missing"),
        (r#"{"raw":""}"#, "n: it is missing"),
        (
            r#"{"n":1.5,"raw":""}"#,
            "n: `1.5` is not a whole number of 32 bits",
        ),
        (
            r#"{"n":2147483648,"raw":""}"#,
            "n: `2147483648` is not a whole number of 32 bits",
        ),
        (
            r#"{"n":1,"list":[1,"x"],"raw":""}"#,
            "list: 1: `\"x\"` is not a whole number of 64 bits",
        ),
        (
            r#"{"n":1,"maybe":0,"raw":""}"#,
            "maybe: `0` is not true or false",
        ),
        (r#"{"n":1,"raw":"%"}"#, "raw: `\"%\"` is not bytes"),
        (r#"{"n":1,"raw":"","x":1}"#, "it has no field `x`"),
        (r#"{"n":1,"n":1}"#, "payload has field `n` twice"),
        ("[]", "`[]` is not an object"),
    ] {
        assert_eq!(
            encoded(schema.clone(), json),
            Err(format!("payload does not fit the schema: {words}"))
        );
    }
    assert_eq!(
        encoded(schema.clone(), r#"{"n":1.0,"raw":"/w=="}"#),
        Ok(bytes("02 020e00 00 02ff"))
    );
    let dropped = json!({ "schema": schema, "do": "encode", "unknown": "drop" });
    let outcome = fed(dropped, r#"{"n":1,"raw":"","x":1}"#);
    assert_eq!(outcome.emitted().payload, bytes("02 020e00 00 00"));
}

#[test]
fn what_is_of_another_type_is_rejected() {
    for (schema, json, words) in [
        (json!("null"), "0", "`0` is not `null`"),
        (json!("string"), "1", "`1` is not text"),
        (
            json!("float"),
            "1e300",
            "`1e300` is not a number of single precision",
        ),
        (
            json!(["int", "string", "null"]),
            "true",
            "`true` is not of one of its types",
        ),
        (
            json!({ "type": "fixed", "name": "F", "size": 2 }),
            "\"AA==\"",
            "`\"AA==\"` is not 2 bytes",
        ),
        (
            json!({ "type": "enum", "name": "E", "symbols": ["A"] }),
            "\"B\"",
            "`\"B\"` is not one of its words",
        ),
        (
            json!({ "type": "fixed", "name": "P", "size": 1, "logicalType": "decimal", "precision": 2, "scale": 1 }),
            "12.8",
            "`12.8` is not a number of 1 digits behind the point in 1 bytes",
        ),
        (
            json!({ "type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2 }),
            "0.001",
            "`0.001` is not a number of 2 digits behind the point",
        ),
    ] {
        assert_eq!(
            encoded(schema, json),
            Err(format!("payload does not fit the schema: {words}"))
        );
    }
}

#[test]
fn what_has_no_end_ends() {
    let own = json!({ "type": "record", "name": "R", "fields": [{ "name": "r", "type": "R", "default": {} }] });
    let told = encoded(own, "{}").unwrap_err();
    assert!(told.ends_with("its defaults have no end"), "{told:.200}");
    // Each level may be one or the other, and the last is neither.
    let next = |of: &str| json!([{ "name": "next", "type": ["null", "A", of] }]);
    let either = json!([
        { "type": "record", "name": "A", "fields": [{ "name": "next", "type": ["null", "A", { "type": "record", "name": "B", "fields": next("B") }] }] },
        "B",
    ]);
    let deep = "{\"next\":".repeat(100) + "1" + &"}".repeat(100);
    let told = encoded(either, &deep).unwrap_err();
    assert!(told.contains("tried too often"), "{told:.200}");
}

fn refuse(settings: Value, words: &str) {
    let refused = Plugin::<Avro>::try_new(settings).map(drop).unwrap_err();
    assert!(refused.starts_with(words), "{refused}");
}

#[test]
fn schemas_that_make_no_sense_are_refused_in_words() {
    let schema = |schema: Value| json!({ "schema": schema });
    let record = |fields: Value| schema(json!({ "type": "record", "name": "R", "fields": fields }));
    let deep = (0..70).fold(
        json!("int"),
        |inside, _| json!({ "type": "array", "items": inside }),
    );
    for (settings, words) in [
        (
            schema(json!("integer")),
            "`schema`: no type is called `integer`",
        ),
        (schema(json!("{")), "`schema` is not valid JSON: "),
        (schema(json!(1)), "`schema`: `1` is no type"),
        (schema(json!([])), "`schema`: a union is empty"),
        (
            schema(json!([["int"]])),
            "`schema`: a union has another one in it",
        ),
        (
            schema(json!({ "items": "int" })),
            "`schema`: a type is without `type`",
        ),
        (
            schema(json!({ "type": "array" })),
            "`schema`: `array` is without `items`",
        ),
        (
            schema(json!({ "type": "record" })),
            "`schema`: `record` is without `name`",
        ),
        (
            schema(json!({ "type": "enum", "name": "a\"b", "symbols": [] })),
            "`schema`: `a\"b` is no name",
        ),
        (
            record(json!([{ "type": "int" }])),
            "`schema`: `R` has a field without `name`",
        ),
        (
            record(json!([{ "name": "a", "type": "int" }, { "name": "a", "type": "int" }])),
            "`schema`: `R` has two fields `a`",
        ),
        (
            record(json!([{ "name": "a", "type": "x" }])),
            "`schema`: `R.a`: no type is called `x`",
        ),
        (schema(deep), "`schema`: types are nested deeper than 64"),
    ] {
        refuse(settings, words);
    }
}

#[test]
fn settings_that_make_no_sense_are_refused_in_words() {
    for (settings, words) in [
        (
            json!({ "schema": "int", "header": "confluent", "id_as": "id" }),
            "`id_as` is a field, and the schema is no record",
        ),
        (
            json!({ "schema": "int", "id": 7 }),
            "`id` and `id_as` are of the header",
        ),
        (
            json!({ "schema": "int", "header": "confluent", "do": "encode" }),
            "the setting `id` is missing",
        ),
        (
            json!({ "schema": "int", "bytes": "list", "do": "encode" }),
            "`bytes` cannot be \"list\"",
        ),
        (
            json!({ "schema": "int", "header": "registry" }),
            "`header` cannot be `registry`; it may be: `none`, `confluent`, `single-object`",
        ),
    ] {
        refuse(settings, words);
    }
}

#[test]
fn whatever_comes_nothing_panics() {
    let [schema, ..] = vectors().next().unwrap();
    let mut decodes = Plugin::<Avro>::new(json!({ "schema": schema }));
    let mut encodes = Plugin::<Avro>::new(json!({ "schema": schema, "do": "encode" }));
    for payload in hostile_payloads("device") {
        assert_eq!(decodes.feed(Input::new("d7", payload.clone())).0.len(), 1);
        assert_eq!(encodes.feed(Input::new("d7", payload)).0.len(), 1);
    }
    let mut draws = 0x2611_u32;
    for [.., hex, _] in vectors().take(20).cycle().take(4_000) {
        let mut payload = bytes(hex);
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
