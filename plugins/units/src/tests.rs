use super::*;
use tidegate_sdk::serde_json::{Value, json};
use tidegate_sdk::test::{Input, Plugin, settings_shown};

fn told(field: Value, payload: &str) -> String {
    let outcome =
        Plugin::<Units>::new(json!({ "fields": [field] })).feed(Input::new("d7", payload));
    match outcome.rejected() {
        Some(reason) => format!("rejected: {reason}"),
        None if outcome.passed() => "passed".to_owned(),
        None => outcome.emitted().text().to_owned(),
    }
}

fn converted(from: &str, to: &str, value: &str) -> String {
    let told = told(
        json!({ "field": "v", "from": from, "to": to }),
        &format!("{{\"v\":{value}}}"),
    );
    told.trim_start_matches("{\"v\":")
        .trim_end_matches('}')
        .to_owned()
}

#[test]
fn what_the_page_shows_works() {
    let shown = settings_shown(include_str!("lib.rs"));
    let mut plugin = Plugin::<Units>::new(shown[0].clone());
    let outcome = plugin.feed(Input::new("d7", r#"{"temperature":21.5, "wind":36,"x":1}"#));
    assert_eq!(
        outcome.emitted().text(),
        r#"{"temperature":70.7, "wind":10,"x":1}"#
    );
    let mut plugin = Plugin::<Units>::new(shown[1].clone());
    assert_eq!(
        plugin
            .feed(Input::new("d7", r#"{"raw":612} "#))
            .emitted()
            .text(),
        r#"{"raw":612,"celsius":21.2}"#
    );
}

#[test]
fn digits_are_exact_where_they_have_an_end() {
    for (from, to, value, result) in [
        ("°C", "°F", "0.1", "32.18"),
        ("C", "F", "-40", "-40"),
        ("°F", "°C", "70", "21.1111111111111"),
        ("°F", "°C", "212", "100"),
        ("K", "°C", "300", "26.85"),
        ("Pa", "hPa", "101325", "1013.25"),
        ("hPa", "Pa", "1013.2", "101320"),
        ("km/h", "m/s", "36", "10"),
        ("kn", "km/h", "1", "1.852"),
        ("in", "mm", "1", "25.4"),
        ("mi", "km", "1", "1.609344"),
        ("Wh", "kWh", "6532.11", "6.53211"),
        ("J", "kWh", "3600000", "1"),
        ("lb", "kg", "1", "0.45359237"),
        ("%", "1", "45.5", "0.455"),
        ("mV", "V", "3012", "3.012"),
        ("kWh", "Wh", "9007199254740993.123", "9007199254740993123"),
        ("m", "m", "1.50", "1.5"),
    ] {
        assert_eq!(converted(from, to, value), result, "{value} {from} in {to}");
    }
}

#[test]
fn results_may_be_rounded_and_go_to_a_field_of_their_own() {
    let field = json!({ "field": "a.t", "from": "°F", "to": "°C", "decimals": 1, "as": "t.c" });
    assert_eq!(
        told(field.clone(), r#"{"a":{"t":70}}"#),
        r#"{"a":{"t":70},"t.c":21.1}"#
    );
    assert_eq!(
        told(field, r#"{"t.c":"old","a":{"t":70}}"#),
        r#"{"t.c":21.1,"a":{"t":70}}"#
    );
    let factor = json!({ "field": "p[1]", "factor": 0.1 });
    assert_eq!(told(factor, r#"{"p":[1,3,5]}"#), r#"{"p":[1,0.3,5]}"#);
}

#[test]
fn what_is_no_number_is_rejected_and_what_is_not_there_is_left() {
    let field = json!({ "field": "v", "from": "m", "to": "mm" });
    assert_eq!(
        told(field.clone(), r#"{"v":"21"}"#),
        "rejected: field `v` is not a number: `\"21\"`"
    );
    assert_eq!(
        told(field.clone(), r#"{"v":1e999}"#),
        "rejected: field `v` is not a number: `1e999`"
    );
    assert_eq!(
        told(field.clone(), r#"{"v":1.7e308}"#),
        "rejected: field `v` is too large to be converted"
    );
    assert_eq!(
        told(field.clone(), r#"{"v":{"v":1}}"#),
        "rejected: field `v` is not a number: `{\"v\":1}`"
    );
    assert_eq!(told(field.clone(), r#"{"w":1}"#), "passed");
    assert_eq!(told(field.clone(), r#"{"v":null}"#), "passed");
    assert!(told(field.clone(), "21.5").starts_with("rejected: payload is not a JSON object"));
    let long = "1".repeat(60);
    assert!(told(field, &format!("{{\"v\":{long}}}")).starts_with("{\"v\":1111111111111111"));
    let strict = json!({ "fields": [{ "field": "v", "factor": 2 }], "missing": "reject" });
    let mut plugin = Plugin::<Units>::new(strict);
    assert!(plugin.feed(Input::new("d7", "{}")).excused());
    assert!(plugin.feed(Input::new("d7", "").retained()).passed());
}

#[test]
fn settings_that_make_no_sense_are_refused_in_words() {
    let refused =
        |fields: Value| Plugin::<Units>::try_new(json!({ "fields": fields })).unwrap_err();
    assert!(refused(json!([])).starts_with("`fields` is empty"));
    for (field, words) in [
        (
            json!({ "field": "v" }),
            "set `from` and `to`, or `factor`, `offset` or both",
        ),
        (
            json!({ "field": "v", "from": "m" }),
            "`from` and `to` go together",
        ),
        (
            json!({ "field": "v", "from": "m", "to": "mm", "factor": 2 }),
            "units do not go with `factor` or `offset`",
        ),
        (
            json!({ "field": "v", "from": "m", "to": "V" }),
            "`m` is a length, and `V` is a voltage",
        ),
        (
            json!({ "field": "v", "factor": 1, "as": "" }),
            "`as` is empty",
        ),
        (
            json!({ "field": "v", "factor": 1, "decimals": 16 }),
            "`decimals` is more than 15",
        ),
    ] {
        assert_eq!(refused(json!([field])), format!("`fields.0`: {words}"));
    }
    assert!(
        refused(json!([{ "field": "v", "from": "furlong", "to": "m" }]))
            .starts_with("`fields.0`: `from` is no unit known here: `furlong`; there are: K, °C")
    );
    let twice = json!([{ "field": "v", "factor": 1 }, { "field": "w", "factor": 1, "as": "v" }]);
    assert_eq!(
        refused(twice),
        "`fields.1`: another result goes to `v`, too"
    );
    assert_eq!(
        refused(json!([{ "field": "v", "factor": "x" }])),
        "`fields.0.factor` must be a number, not the text \"x\""
    );
}
