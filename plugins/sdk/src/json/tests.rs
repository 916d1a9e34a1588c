use super::*;
use proptest::prelude::*;

fn one<'a>(payload: &'a str, path: &str) -> Result<Option<&'a str>> {
    Ok(find_one(payload.as_bytes(), path)?.map(Value::raw))
}

#[test]
fn values_keep_their_text() {
    let reading =
        r#" {"a":1.50,"b" : {"c":[1,{"x":"}"}],"d":"q\"\\"} ,"e":-0.0e+5,"f":null,"\u0067":true} "#;
    assert_eq!(one(reading, "a").unwrap(), Some("1.50"));
    assert_eq!(one(reading, "b.c").unwrap(), Some(r#"[1,{"x":"}"}]"#));
    assert_eq!(one(reading, "b.d").unwrap(), Some(r#""q\"\\""#));
    assert_eq!(one(reading, "e").unwrap(), Some("-0.0e+5"));
    assert_eq!(one(reading, "f").unwrap(), Some("null"));
    assert_eq!(one(reading, "g").unwrap(), Some("true"));
    assert_eq!(one(reading, "a.b").unwrap(), None);
    assert_eq!(one(reading, "z").unwrap(), None);
}

#[test]
fn an_object_and_a_field_in_it_are_both_found() {
    let mut paths = Paths::default();
    let (whole, part) = (paths.add("b").unwrap(), paths.add("b.c").unwrap());
    assert_eq!(paths.add("b").unwrap(), whole);
    let found = paths.find(br#"{"b":{"c":2}}"#).unwrap();
    assert_eq!(
        (
            found.get(whole).unwrap().raw(),
            found.get(part).unwrap().raw()
        ),
        (r#"{"c":2}"#, "2")
    );
}

#[test]
fn numbers_are_places_in_lists() {
    let reading =
        r#"{"ENERGY":{"Power":[10, 20.5,[1,{"x":2}]],"0":7},"l":[],"m":[1,2,3,4,5,6,7,8,9,10,11]}"#;
    for (path, found) in [
        ("ENERGY.Power[0]", Some("10")),
        ("ENERGY.Power.1", Some("20.5")),
        ("ENERGY.Power[2][1].x", Some("2")),
        ("ENERGY.Power[2]", Some(r#"[1,{"x":2}]"#)),
        ("ENERGY.Power[3]", None),
        ("ENERGY.0", Some("7")),
        ("l[0]", None),
        ("m[10]", Some("11")),
        ("m.01", None),
    ] {
        assert_eq!(one(reading, path).unwrap(), found, "{path}");
    }
    assert_eq!(one(r#"{"a[0]":1}"#, r"a\[0]").unwrap(), Some("1"));
    assert!(one(r#"{"m":[1,]}"#, "m[0]").is_err() && one(r#"{"m":[1 2]}"#, "m[0]").is_err());
    let mut paths = Paths::default();
    let names = ["ENERGY.Power[0]", "a[1][2]", "b.0", r"x\[0]"].map(|path| {
        let index = paths.add(path).unwrap();
        paths.last_name(index)
    });
    assert_eq!(names, ["Power_0", "a_1_2", "0", "x[0]"]);
}

#[test]
fn a_dot_can_be_part_of_a_name() {
    assert_eq!(one(r#"{"a.b":1}"#, r"a\.b").unwrap(), Some("1"));
    assert!(one("{}", "a..b").is_err() && one("{}", "").is_err() && one("{}", "a\\").is_err());
}

#[test]
fn brackets_hold_a_place_in_a_list_or_are_escaped() {
    for path in [
        "a[x]",
        "a[",
        "a[0",
        "a[-1]",
        "a[*]",
        "a[0]b",
        "a[00]",
        "a[]",
        "a[99999999999999999999]",
        "a[0][",
        "[0]",
    ] {
        assert!(one("{}", path).is_err(), "{path}");
    }
    assert_eq!(one(r#"{"a[x]":1}"#, r"a\[x]").unwrap(), Some("1"));
    assert_eq!(one(r#"{"a]":1}"#, "a]").unwrap(), Some("1"));
}

#[test]
fn bad_payloads_are_named_with_their_place() {
    let words = |payload: &str| one(payload, "a").unwrap_err().to_string();
    assert_eq!(
        words(""),
        "payload is not valid JSON: it ends too early, at byte 0"
    );
    assert_eq!(words("[1]"), "payload is not a JSON object, at byte 0");
    assert_eq!(
        words("{\"a\":1"),
        "payload is not valid JSON: it ends too early, at byte 6"
    );
    assert_eq!(
        words("{\"a\" 1}"),
        "payload is not valid JSON: expected `:`, at byte 5"
    );
    assert_eq!(
        words("{\"a\":NaN}"),
        "payload is not valid JSON: expected a value, at byte 5"
    );
    assert_eq!(
        words("{\"a\":1} x"),
        "payload is not valid JSON: something follows the object, at byte 8"
    );
    assert_eq!(
        words("{\"a\":1,\"a\":2}"),
        "payload has field `a` twice, at byte 11"
    );
    assert_eq!(
        words(&format!("{{\"z\":{}", "[".repeat(200))),
        "payload is nested deeper than 128, at byte 132"
    );
    assert!(
        find_one(b"{\"a\":\"\xff\"}", "a")
            .unwrap_err()
            .to_string()
            .contains("UTF-8")
    );
}

#[test]
fn numbers_that_are_none_are_none() {
    for (raw, number) in [
        ("1e999", None),
        ("\"1\"", None),
        ("true", None),
        ("12", Some(12.0)),
        ("-0.5", Some(-0.5)),
    ] {
        assert_eq!(Value(raw.as_bytes()).number(), number, "{raw}");
    }
}

fn mangled() -> impl Strategy<Value = String> {
    let pieces = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"a\"",
        "\"b\"",
        "\"\\u00e9\"",
        "\"\\x\"",
        "1",
        "-",
        "0",
        "01",
        "1.",
        "1.5e-3",
        "true",
        "nul",
        " ",
        "\"",
        "\\",
        "\u{1}",
        "é",
    ];
    proptest::collection::vec(proptest::sample::select(pieces.to_vec()), 0..14)
        .prop_map(|pieces| pieces.concat())
}

fn tree() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            proptest::collection::btree_map(".{0,3}", inner, 0..5)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn short_numbers_are_the_numbers_that_std_reads(text in "-?(0|[1-9][0-9]{0,17})(\\.[0-9]{1,16})?([eE][+-]?[0-9]{1,3})?") {
        let expected = text.parse::<f64>().ok().filter(|number| number.is_finite());
        let found = Value(text.as_bytes()).number();
        prop_assert_eq!(found.map(f64::to_bits), expected.map(f64::to_bits), "{}", text);
    }

    #[test]
    fn what_serde_refuses_is_refused_and_the_reverse(text in mangled()) {
        let text = format!("{{\"k\":{text}}}");
        let ours = find_one(text.as_bytes(), "not there").is_ok();
        prop_assert_eq!(ours, serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok(), "{}", text);
    }

    #[test]
    fn a_field_found_is_the_field_that_serde_reads(value in tree()) {
        let text = serde_json::json!({ "x": [value], "k": value, "l": value }).to_string();
        let found = find_one(text.as_bytes(), "k").unwrap().unwrap();
        prop_assert_eq!(found.raw(), value.to_string());
    }

    #[test]
    fn any_bytes_end_in_words_not_in_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = find_one(&bytes, "a.b");
    }
}
