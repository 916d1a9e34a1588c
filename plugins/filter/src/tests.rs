use super::*;
use tidegate_sdk::serde_json::{Value, json};
use tidegate_sdk::test::{Input, Outcome, Plugin};

fn plugin(settings: Value) -> Plugin<FilterFields> {
    Plugin::new(settings)
}

fn refused(settings: Value) -> String {
    Plugin::<FilterFields>::try_new(settings).unwrap_err()
}

fn outcome(settings: Value, payload: &str) -> Outcome {
    plugin(settings).feed(Input::new("d7", payload))
}

fn keeps(field: &str, op: &str, value: Value, payload: &str) -> bool {
    let outcome = outcome(
        json!({ "where": [{ "field": field, "op": op, "value": value }] }),
        payload,
    );
    assert_eq!(outcome.rejected(), None);
    outcome.passed()
}

#[test]
fn the_example_keeps_what_is_warm() {
    let mut plugin =
        plugin(json!({ "where": [{ "field": "fahrenheit", "op": ">", "value": 68 }] }));
    let outcomes = plugin.feed_all(
        [68.5, 68.0, 67.5]
            .map(|value| Input::json("d7", json!({ "device": "d7", "fahrenheit": value }))),
    );
    assert_eq!(
        outcomes.iter().map(Outcome::passed).collect::<Vec<_>>(),
        [true, false, false]
    );
    assert!(outcomes[1].filtered());
}

#[test]
fn numbers_compare_by_value() {
    let reading = r#"{"a":5.0,"b":{"c":-3e0}}"#;
    for (op, value, holds) in [
        (">", 5, false),
        (">=", 5, true),
        ("<", 5, false),
        ("<=", 5, true),
        ("==", 5, true),
        ("!=", 5, false),
    ] {
        assert_eq!(keeps("a", op, json!(value), reading), holds, "{op}");
    }
    assert!(keeps("b.c", "<", json!(-2.5), reading));
    assert!(
        !keeps(
            "a",
            "==",
            json!(9007199254740993_u64),
            r#"{"a":9007199254740992}"#
        ),
        "digits count where doubles end"
    );
    assert!(keeps(
        "a",
        ">",
        json!(9007199254740992_u64),
        r#"{"a":9007199254740993}"#
    ));
    assert!(!keeps(
        "a",
        "<=",
        json!(9007199254740992_u64),
        r#"{"a":9007199254740993}"#
    ));
    assert!(keeps(
        "a",
        "==",
        json!(9007199254740993_u64),
        r#"{"a":9007199254740993.0}"#
    ));
    assert!(keeps(
        "a",
        "<",
        json!(0.5),
        r#"{"a":0.49999999999999999999}"#
    ));
    assert!(
        keeps("a", ">", json!(5), r#"{"a":1e300}"#)
            && keeps("l[1]", ">", json!(5), r#"{"l":[1,6]}"#)
    );
}

#[test]
fn texts_truths_and_null_compare_with_lists() {
    let reading = r#"{"s":"w\u0061rm","t":true,"n":null,"x":[1]}"#;
    assert!(
        keeps("s", "in", json!(["ok", "warm"]), reading)
            && keeps("s", "==", json!("warm"), reading)
    );
    assert!(
        keeps("s", "not in", json!(["cold", 1, null]), reading)
            && !keeps("s", "!=", json!("warm"), reading)
    );
    assert!(keeps("t", "==", json!(true), reading) && keeps("n", "in", json!([null]), reading));
    assert!(!keeps("x", "in", json!([1]), reading));
}

#[test]
fn presence_can_be_asked_for() {
    let ask = |op: &str, payload: &str| {
        outcome(json!({ "where": [{ "field": "a", "op": op }] }), payload).passed()
    };
    assert!(
        ask("exists", r#"{"a":null}"#)
            && !ask("exists", "{}")
            && ask("absent", "{}")
            && !ask("absent", r#"{"a":0}"#)
    );
}

#[test]
fn any_needs_one_and_all_needs_each() {
    let with = |need: &str| {
        let wheres = json!([{ "field": "a", "op": ">", "value": 1 }, { "field": "b", "op": ">", "value": 1 }]);
        outcome(
            json!({ "where": wheres, "match": need }),
            r#"{"a":2,"b":0}"#,
        )
        .passed()
    };
    assert!(with("any") && !with("all"));
}

#[test]
fn a_missing_field_rejects_or_does_not_hold() {
    let with = |missing: &str| json!({ "where": [{ "field": "a", "op": "!=", "value": 1 }], "missing": missing });
    assert_eq!(
        outcome(with("reject"), "{}").rejected(),
        Some("field `a` is missing")
    );
    assert!(outcome(with("drop"), "{}").filtered());
}

#[test]
fn bad_payloads_are_rejected() {
    let above = json!({ "where": [{ "field": "a", "op": ">", "value": 1 }] });
    for (payload, reason) in [
        ("no json", "payload is not a JSON object, at byte 0"),
        (r#"{"a":"9"}"#, "field `a` is not a number: `\"9\"`"),
        (r#"{"a":1e400}"#, "field `a` is not a number: `1e400`"),
        (
            r#"{"a":2,"a":3}"#,
            "payload has field `a` twice, at byte 11",
        ),
        (
            r#"{"a":2}}"#,
            "payload is not valid JSON: something follows the object, at byte 7",
        ),
    ] {
        assert_eq!(
            outcome(above.clone(), payload).rejected(),
            Some(reason),
            "{payload}"
        );
    }
}

#[test]
fn topics_match_as_in_mqtt() {
    for (filter, topic, matches) in [
        ("devices/+/telemetry", "devices/d7/telemetry", true),
        ("devices/+/telemetry", "devices/d7/x/telemetry", false),
        ("devices/#", "devices", true),
        ("devices/#", "devices/d7/a/b", true),
        ("+", "a/b", false),
        ("a//b", "a//b", true),
        ("#", "anything", true),
    ] {
        assert_eq!(
            TopicFilter::new(filter).unwrap().matches(topic.as_bytes()),
            matches,
            "{filter} {topic}"
        );
    }
    let mut plugin = plugin(json!({ "topic": "devices/+/telemetry" }));
    assert!(
        plugin
            .feed(Input::new("d7", "not json, nor need it be"))
            .passed()
    );
    assert!(
        plugin
            .feed(Input::new("d7", "").topic("devices/d7/state"))
            .filtered()
    );
}

#[test]
fn each_device_has_its_rate() {
    use std::time::Duration;
    let mut plugin = plugin(json!({ "rate": { "messages": 2, "seconds": 10 } }));
    let mut burst = |device: &str| {
        plugin
            .feed_all((0..4).map(|_| Input::new(device, "")))
            .iter()
            .filter(|outcome| outcome.passed())
            .count()
    };
    assert_eq!((burst("d7"), burst("d8"), burst("d7")), (2, 2, 0));
    assert_eq!(plugin.counters()["rate_limited"], 8);
    plugin.advance(Duration::from_secs(5));
    let again = plugin.feed_all((0..4).map(|_| Input::new("d7", "")));
    assert_eq!(
        again.iter().filter(|outcome| outcome.passed()).count(),
        1,
        "half of the time brings half of the messages"
    );
}

#[test]
fn a_clock_set_back_filters_nothing() {
    use std::time::Duration;
    let mut plugin = plugin(json!({ "rate": { "messages": 1, "seconds": 10 } }));
    assert!(plugin.feed(Input::new("d7", "")).passed());
    for jump in [-3_600_i64, 86_400, -200_000] {
        plugin.set_clock(plugin.now_us().saturating_add_signed(jump * 1_000_000));
        assert!(
            plugin.feed(Input::new("d7", "")).filtered(),
            "a jump of {jump} s brings no message"
        );
        plugin.advance(Duration::from_secs(10));
        assert!(
            plugin.feed(Input::new("d7", "")).passed(),
            "a jump of {jump} s costs none"
        );
    }
}

#[test]
fn made_up_devices_cost_no_more_than_a_bounded_table() {
    let mut plugin = plugin(json!({ "rate": { "messages": 1, "seconds": 1e9 } }));
    for device in 0..100 {
        plugin.feed_all(
            (0..1_000).map(|number| Input::new(&format!("d{}", device * 1_000 + number), "")),
        );
    }
    assert_eq!(plugin.counters()["keys_forgotten"], 80_000);
    assert!(
        plugin.feed(Input::new("d99999", "")).filtered()
            && plugin.feed(Input::new("d1", "")).passed()
    );
}

#[test]
fn what_deletes_a_retained_reading_goes_on() {
    let mut plugin = plugin(
        json!({ "where": [{ "field": "a", "op": ">", "value": 1 }], "rate": { "messages": 1, "seconds": 60 }, "topic": "devices/#" }),
    );
    for _ in 0..3 {
        assert!(plugin.feed(Input::new("d7", "").retained()).passed());
    }
    assert!(
        plugin
            .feed(Input::new("d7", "").retained().topic("other"))
            .filtered()
    );
    assert!(plugin.feed(Input::new("d7", "")).rejected().is_some());
}

#[test]
fn null_is_no_value_unless_it_is_asked_for() {
    let with = |op: &str, value: Value, missing: &str| {
        let payload = r#"{"a":null}"#;
        outcome(
            json!({ "where": [{ "field": "a", "op": op, "value": value }], "missing": missing }),
            payload,
        )
    };
    for (op, value) in [
        (">", json!(1)),
        ("==", json!(1)),
        ("!=", json!(1)),
        ("in", json!([1, 2])),
        ("not in", json!([1])),
    ] {
        assert!(with(op, value.clone(), "drop").filtered(), "{op}");
        let rejected = with(op, value, "reject");
        assert_eq!(
            (rejected.rejected(), rejected.excused()),
            (Some("field `a` is missing"), true),
            "{op}"
        );
    }
    assert!(
        with("==", json!(null), "reject").passed()
            && with("in", json!([1, null]), "reject").passed()
    );
    assert!(
        with("!=", json!(null), "reject").filtered()
            && with("not in", json!([null]), "drop").filtered()
    );
}

#[test]
fn settings_that_make_no_sense_are_refused_in_words() {
    let with =
        |op: &str, value: Value| json!({ "where": [{ "field": "a", "op": op, "value": value }] });
    assert!(refused(json!({})).starts_with("nothing to filter by"));
    assert!(
        refused(json!({ "were": [] }))
            .starts_with("there is no setting `were`; there are: `where`")
    );
    assert_eq!(
        refused(with(">", json!("9"))),
        "`where.0`: `>` with field `a` wants a number as `value`, not `\"9\"`"
    );
    assert_eq!(
        refused(with("in", json!(1))),
        "`where.0`: `in` with field `a` wants a list as `value`, not `1`"
    );
    assert_eq!(
        refused(with("exists", json!(1))),
        "`where.0`: `exists` with field `a` wants no `value`, not `1`"
    );
    assert!(
        refused(with("=~", json!(1))).starts_with("`where.0.op` cannot be `=~`; it may be: `>`")
    );
    assert_eq!(
        refused(with("==", json!([1]))),
        "`where.0`: `==` with field `a` wants a number, text, truth or null as `value`, not `[1]`"
    );
    assert_eq!(
        refused(json!({ "where": [{ "field": "a", "op": ">" }] })),
        "`where.0`: `>` with field `a` wants a number as `value`"
    );
    assert!(refused(json!({ "topic": "a/#/b" })).contains("`topic` is no topic filter"));
    assert_eq!(
        refused(json!({ "rate": { "messages": 0, "seconds": 1 } })),
        "`rate` wants `messages` and `seconds` above 0"
    );
}

#[test]
fn what_the_page_shows_works() {
    let shown = tidegate_sdk::test::settings_shown(include_str!("lib.rs"));
    assert!(!shown.is_empty());
    for settings in shown {
        Plugin::<FilterFields>::new(settings);
    }
}

#[test]
fn a_comparison_with_nothing_is_refused() {
    let refused = |settings| Plugin::<FilterFields>::try_new(settings).unwrap_err();
    for (op, word) in [("in", "never"), ("not in", "always")] {
        let settings = json!({ "where": [{ "field": "t", "op": op, "value": [] }] });
        assert_eq!(
            refused(settings),
            format!(
                "`where.0`: `value` is an empty list, so this {word} holds: name the values that are meant"
            )
        );
    }
}
