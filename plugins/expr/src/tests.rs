use super::*;
use tidegate_sdk::serde_json::{self, Value, json};
use tidegate_sdk::test::{Input, Plugin, hostile_payloads, settings_shown};

fn fed(settings: Value, input: Input) -> Vec<String> {
    let outcome = Plugin::<Expr>::new(settings).feed(input);
    match outcome.rejected() {
        Some(reason) => vec![format!("rejected: {reason}")],
        None => outcome
            .on("out")
            .iter()
            .map(|message| message.text().to_owned())
            .collect(),
    }
}

/// What a field `x` gets for this payload.
fn gives(expression: &str, payload: &str) -> String {
    let outputs = fed(
        json!({ "set": { "x": expression } }),
        Input::new("d7", payload),
    );
    let output = outputs.first().unwrap();
    match serde_json::from_str::<Value>(output) {
        Ok(Value::Object(object)) => object["x"].to_string(),
        _ => output.clone(),
    }
}

fn refused(settings: Value) -> String {
    Plugin::<Expr>::try_new(settings).map(drop).unwrap_err()
}

#[test]
fn what_the_page_shows_works() {
    let shown = settings_shown(include_str!("lib.rs"));
    let barn = |payload: &str| Input::new("barn1", payload);
    assert!(fed(shown[0].clone(), barn(r#"{"temperature":30}"#)).is_empty());
    assert_eq!(
        fed(shown[1].clone(), barn(r#"{"temperature":21,"raw":1.50}"#)),
        [r#"{"temperature":21,"raw":1.50,"f":69.8,"hot":"no"}"#]
    );
    let list = Input::new("d7", r#"{"readings":[{"t":20.5},{"t":19}]}"#).header("site", b"barn");
    assert_eq!(
        fed(shown[2].clone(), list),
        [r#"{"readings":[{"t":20.5},{"t":19}],"n":2,"site":"barn"}"#]
    );
}

#[test]
fn numbers_count_as_those_of_json_do() {
    for (expression, payload, result) in [
        ("7 / 2", "{}", "3.5"),
        ("a / 2", r#"{"a":7}"#, "3.5"),
        ("9 / 5 * a", r#"{"a":10}"#, "18"),
        ("a + 1", r#"{"a":0.5}"#, "1.5"),
        ("-a", r#"{"a":2}"#, "-2"),
        ("a % 10 == 0", r#"{"a":20}"#, "true"),
        ("int(a) / 2", r#"{"a":7.9}"#, "3.5"),
        ("size(l) * 2", r#"{"l":[1,2,3]}"#, "6"),
        ("l[1] + l[0]", r#"{"l":[1,2.5]}"#, "3.5"),
        ("l.map(v, v * 2)", r#"{"l":[1,2.5]}"#, "[2.0,5.0]"),
        ("l.filter(v, v > 1).size()", r#"{"l":[1,2.5]}"#, "1"),
        ("2 in l", r#"{"l":[1,2]}"#, "true"),
        ("math.round(a)", r#"{"a":2.6}"#, "3"),
        ("a == b", r#"{"a":2,"b":2.0}"#, "true"),
        ("a", r#"{"a":9007199254740993}"#, "9007199254740993"),
        (
            "string(a) + '/' + unit",
            r#"{"a":7,"unit":"kWh"}"#,
            "\"7/kWh\"",
        ),
    ] {
        let is = gives(expression, payload);
        let same = |text: &str| {
            serde_json::from_str::<Value>(text)
                .ok()
                .map(|value| value.to_string().replace(".0", ""))
        };
        assert_eq!(same(&is), same(result), "{expression}: {is}");
    }
}

#[test]
fn names_stand_for_fields_and_for_what_is_beside_them() {
    let payload = r#"{"battery":{"volts":3},"topic":"mine","t":[null,true]}"#;
    for (expression, result) in [
        ("battery.volts < 3.3", "true"),
        ("topic", "\"devices/d7/telemetry\""),
        ("payload.topic", "\"mine\""),
        ("device", "\"d7\""),
        ("has(payload.gone)", "false"),
        ("payload.?gone.orValue(0)", "0"),
        ("size(headers)", "0"),
        ("received", "1767225600"),
        ("t", "[null,true]"),
        ("{'b': 1, 'a': [2]}", r#"{"a":[2],"b":1}"#),
    ] {
        assert_eq!(gives(expression, payload), result, "{expression}");
    }
}

#[test]
fn what_cannot_be_said_of_a_reading_rejects_it_in_words() {
    for (expression, payload, words) in [
        ("gone > 1", "{}", "field `gone` is missing"),
        ("payload.a.b", r#"{"a":{}}"#, "field `b` is missing"),
        (
            "a + 1",
            r#"{"a":"x"}"#,
            "`set.x`: Unsupported binary operator 'add'",
        ),
        ("1 / 0", "{}", "`set.x`: inf is no number of JSON"),
        (
            "b'x'",
            "{}",
            "`set.x`: a value of the kind `bytes` is none of JSON",
        ),
        ("1", "[1]", "payload is not a JSON object"),
    ] {
        let is = gives(expression, payload);
        assert!(
            is.starts_with(&format!("rejected: {words}")),
            "{expression}: {is}"
        );
    }
    let kept = fed(json!({ "keep": "1" }), Input::new("d7", "{}"));
    assert_eq!(
        kept,
        ["rejected: `keep`: it gives a value of the kind `int`, and a truth is needed"]
    );
}

#[test]
fn what_is_no_expression_is_refused_with_its_place() {
    for (expression, words) in [
        (
            "t >",
            "`keep`: mismatched input the end at line 1, column 4",
        ),
        ("", "`keep`: mismatched input the end at line 1, column 1"),
        (
            "a &&\n  (b",
            "`keep`: missing ')' at the end at line 2, column 5",
        ),
        ("t.matches('a')", "`keep`: there is no function `matches`"),
        ("foo(1) > 2", "`keep`: there is no function `foo`"),
    ] {
        assert_eq!(
            refused(json!({ "keep": expression })),
            words,
            "{expression}"
        );
    }
    assert!(refused(json!({})).contains("set `keep` or `set`"));
    assert!(refused(json!({ "set": { "a": "(" } })).starts_with("`set.a`: "));
    assert!(refused(json!({ "keep": "a".repeat(20_000) })).contains("10000 letters"));
}

#[test]
fn whatever_comes_nothing_panics() {
    for expression in [
        "t + 1 > 2",
        "payload.t[0] == 1",
        "size(t) > 0 || t == null",
        "string(t) != ''",
    ] {
        let mut plugin = Plugin::<Expr>::new(json!({ "keep": expression, "set": { "x": "t" } }));
        for payload in hostile_payloads("t") {
            assert!(plugin.feed(Input::new("d7", payload)).0.len() <= 1);
        }
        assert!(plugin.feed(Input::new("d7", "").retained()).passed());
    }
}
