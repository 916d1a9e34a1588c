use super::*;
use tidegate_sdk::serde_json::json;
use tidegate_sdk::test::{Input, Outcome, Plugin};

const READING: &str = r#"{"device":"d7","seq":41,"ts":1700000000000000,"temperature":25.5,"humidity":40.5,"battery":3.71,"status":"ok","fw":"1.4.2"}"#;

fn plugin(settings: serde_json::Value) -> Plugin<DecodeJson> {
    Plugin::new(settings)
}

fn refused(settings: serde_json::Value) -> String {
    Plugin::<DecodeJson>::try_new(settings).unwrap_err()
}

fn feed(plugin: &mut Plugin<DecodeJson>, payload: &str) -> Outcome {
    plugin.feed(Input::new("d7", payload))
}

#[test]
fn the_example_reading_is_converted() {
    let fahrenheit =
        json!({ "from": "temperature", "to": "fahrenheit", "scale": 1.8, "offset": 32 });
    let mut plugin = plugin(json!({ "pick": ["device", "seq", "ts", fahrenheit, "humidity"] }));
    let outcome = feed(&mut plugin, READING);
    assert_eq!(
        outcome.emitted().text(),
        r#"{"device":"d7","seq":41,"ts":1700000000000000,"fahrenheit":77.9,"humidity":40.5}"#
    );
    assert_eq!(
        (&*outcome.emitted().topic, &*outcome.emitted().key),
        ("devices/d7/telemetry", "d7")
    );
}

#[test]
fn what_is_only_picked_keeps_its_text() {
    let mut plugin =
        plugin(json!({ "pick": ["n", "deep.er", "list", { "from": "text", "to": "a \"b\"" }] }));
    let payload = r#"{"n":123456789012345678901234567890.10e-2,"deep":{"er":{"x":1.0}}, "list" : [ 1, {} ],"text":"\u00e9\n"}"#;
    let expected = r#"{"n":123456789012345678901234567890.10e-2,"er":{"x":1.0},"list":[ 1, {} ],"a \"b\"":"\u00e9\n"}"#;
    assert_eq!(feed(&mut plugin, payload).emitted().text(), expected);
}

#[test]
fn integers_stay_integers_where_the_settings_are_whole() {
    let mut plugin = plugin(json!({ "pick": [
        { "from": "a", "scale": 2, "offset": -1 }, { "from": "b", "scale": 2.0 }, { "from": "c", "scale": 0.5 }, { "from": "d", "decimals": 1 }
    ] }));
    let outcome = feed(&mut plugin, r#"{"a":21,"b":1.0,"c":4,"d":2.25}"#);
    assert_eq!(
        outcome.emitted().text(),
        r#"{"a":41,"b":2.0,"c":2.0,"d":2.3}"#
    );
}

#[test]
fn large_integers_keep_every_digit_or_are_refused() {
    let convert = |field: serde_json::Value, payload: &str| {
        let outcome = feed(&mut plugin(json!({ "pick": [field] })), payload);
        outcome
            .rejected()
            .map_or_else(|| outcome.emitted().text().to_owned(), str::to_owned)
    };
    let a = |number: &str| format!(r#"{{"a":{number}}}"#);
    assert_eq!(
        convert(json!({ "from": "a", "offset": 1 }), &a("9007199254740993")),
        a("9007199254740994")
    );
    assert_eq!(
        convert(
            json!({ "from": "a", "offset": 9007199254740993_u64 }),
            &a("1")
        ),
        a("9007199254740994")
    );
    assert_eq!(
        convert(json!({ "from": "a", "scale": 1e6 }), &a("1700000000123")),
        a("1700000000123000000")
    );
    assert_eq!(
        convert(
            json!({ "from": "a", "scale": 1 }),
            &a("18446744073709551615")
        ),
        a("18446744073709551615")
    );
    assert_eq!(
        convert(
            json!({ "from": "a", "scale": -1 }),
            &a("-9223372036854775808")
        ),
        a("9223372036854775808")
    );
    assert_eq!(
        convert(
            json!({ "from": "a", "decimals": 2 }),
            &a("9007199254740993")
        ),
        a("9007199254740993")
    );
    assert_eq!(
        convert(json!({ "from": "a", "scale": 0.5 }), &a("9007199254740993")),
        a("4503599627370496.5")
    );
    assert_eq!(
        convert(
            json!({ "from": "a", "offset": 1 }),
            &a("9007199254740993.25")
        ),
        a("9007199254740994.25")
    );
    let long = "9".repeat(39);
    assert!(
        convert(json!({ "from": "a", "scale": 2 }), &a(&long))
            .contains("too large to be converted")
    );
}

#[test]
fn places_of_lists_can_be_picked() {
    let mut plugin = plugin(
        json!({ "pick": ["ENERGY.Power[0]", { "from": "ENERGY.Power.1", "to": "b", "scale": 2 }] }),
    );
    assert_eq!(
        feed(&mut plugin, r#"{"ENERGY":{"Power":[10,20]}}"#)
            .emitted()
            .text(),
        r#"{"Power_0":10,"b":40}"#
    );
    assert_eq!(
        feed(&mut plugin, r#"{"ENERGY":{"Power":[10]}}"#).rejected(),
        Some("field `ENERGY.Power.1` is missing")
    );
}

#[test]
fn one_field_can_be_picked_twice_under_two_names() {
    let mut plugin = plugin(json!({ "pick": ["t", { "from": "t", "to": "raw" }] }));
    assert_eq!(
        feed(&mut plugin, r#"{"t":1}"#).emitted().text(),
        r#"{"t":1,"raw":1}"#
    );
}

#[test]
fn a_missing_field_rejects_or_is_left_out_or_is_null() {
    let reading = r#"{"a":1,"c":3}"#;
    let with = |missing: &str| {
        plugin(json!({ "pick": ["a", { "from": "b", "scale": 2 }, "c"], "missing": missing }))
    };
    assert_eq!(
        feed(&mut with("reject"), reading).rejected(),
        Some("field `b` is missing")
    );
    assert_eq!(
        feed(&mut with("skip"), reading).emitted().text(),
        r#"{"a":1,"c":3}"#
    );
    assert_eq!(
        feed(&mut with("null"), reading).emitted().text(),
        r#"{"a":1,"b":null,"c":3}"#
    );
    let reading = r#"{"a":null,"b":null,"c":3}"#;
    let rejected = feed(&mut with("reject"), reading);
    assert_eq!(
        (rejected.rejected(), rejected.excused()),
        (Some("field `b` is missing"), true)
    );
    assert_eq!(
        feed(&mut with("skip"), reading).emitted().text(),
        r#"{"c":3}"#
    );
    assert_eq!(
        feed(&mut with("null"), reading).emitted().text(),
        r#"{"a":null,"b":null,"c":3}"#
    );
    let mut plain = plugin(json!({ "pick": ["a", "c"] }));
    assert_eq!(
        feed(&mut plain, reading).emitted().text(),
        r#"{"a":null,"c":3}"#
    );
    assert!(
        plain.feed(Input::new("d7", "").retained()).passed(),
        "a delete of a retained reading"
    );
}

#[test]
fn bad_payloads_are_rejected_with_reason_and_place() {
    let mut plugin = plugin(json!({ "pick": ["a", { "from": "t", "scale": 1e300 }] }));
    let mut reason = |payload: &str| feed(&mut plugin, payload).rejected().unwrap().to_owned();
    assert_eq!(
        reason(""),
        "payload is not valid JSON: it ends too early, at byte 0"
    );
    assert_eq!(reason("21.5"), "payload is not a JSON object, at byte 0");
    assert_eq!(
        reason(r#"{"a":1,"t":2"#),
        "payload is not valid JSON: it ends too early, at byte 12"
    );
    assert_eq!(
        reason(r#"{"a":1,"t":NaN}"#),
        "payload is not valid JSON: expected a value, at byte 11"
    );
    assert_eq!(
        reason(r#"{"a":1,"t":1e999}"#),
        "field `t` is not a number: `1e999`"
    );
    assert_eq!(
        reason(r#"{"a":1,"t":1e300}"#),
        "`1e300` is too large to be converted"
    );
    assert_eq!(
        reason(r#"{"a":1,"t":"2"}"#),
        "field `t` is not a number: `\"2\"`"
    );
    assert_eq!(
        reason(r#"{"a":1,"t":2,"a":3}"#),
        "payload has field `a` twice, at byte 17"
    );
    assert!(
        reason(&format!(r#"{{"a":{}"#, "[".repeat(100_000)))
            .starts_with("payload is nested deeper")
    );
}

#[test]
fn settings_that_make_no_sense_are_refused_in_words() {
    assert_eq!(refused(json!({})), "the setting `pick` is missing");
    assert_eq!(
        refused(json!({ "pick": ["a"], "pik": [] })),
        "there is no setting `pik`; there are: `pick`, `missing`"
    );
    assert!(refused(json!({ "pick": [] })).contains("`pick` is empty"));
    assert!(
        refused(json!({ "pick": [{ "form": "a" }] }))
            .contains(": a `pick` is a path, or a table of `from`")
    );
    assert_eq!(
        refused(json!({ "pick": ["a", { "from": "b", "to": "a" }] })),
        "`pick` gives field \"a\" twice"
    );
    assert_eq!(
        refused(json!({ "pick": ["a..b"] })),
        "path `a..b` has an empty name"
    );
    assert!(
        refused(json!({ "pick": ["a"], "missing": "ignore" }))
            .starts_with("`missing` cannot be `ignore`; it may be: `reject`")
    );
}

#[test]
fn what_the_page_shows_works() {
    let shown = tidegate_sdk::test::settings_shown(include_str!("lib.rs"));
    assert!(!shown.is_empty());
    for settings in shown {
        Plugin::<DecodeJson>::new(settings);
    }
}
