use std::time::Duration;

use super::*;
use tidegate_sdk::serde_json::{Value, json};
use tidegate_sdk::test::{
    Input, Outcome, Plugin, START_US, hostile_names, hostile_payloads, in_flow, settings_shown,
};

fn plugin(rules: Value) -> Plugin<Rules> {
    Plugin::new(json!({ "rules": rules }))
}

fn refused(rules: Value) -> String {
    Plugin::<Rules>::try_new(json!({ "rules": rules })).unwrap_err()
}

fn hot() -> Value {
    json!([{ "name": "hot", "when": [{ "field": "t", "op": ">", "value": 30, "hysteresis": 2 }], "alarm": {} }])
}

fn read(plugin: &mut Plugin<Rules>, value: f64) -> Vec<String> {
    let outcome = plugin.feed(Input::json("d7", json!({ "t": value })));
    assert_eq!(outcome.rejected(), None);
    states(&outcome)
}

fn states(outcome: &Outcome) -> Vec<String> {
    let state = |alarm: Value| alarm["state"].as_str().unwrap().to_owned();
    let alarms = outcome.on("alarms").into_iter();
    alarms.map(|alarm| state(alarm.json())).collect()
}

#[test]
fn what_the_page_shows_works() {
    let shown = settings_shown(include_str!("lib.rs"));
    let mut plugin = Plugin::<Rules>::new(shown[0].clone());
    plugin.feed(Input::json("d7", json!({ "temperature": 31.5 })));
    let outcome = plugin.run_for(Duration::from_secs(75));
    let alarm = outcome.on("alarms")[0];
    let at = alarm.json::<Value>()["at"].as_u64().unwrap();
    assert_eq!(
        alarm.text(),
        format!(
            r#"{{"alarm":"hot","device":"d7","state":"raised","since":{START_US},"at":{at},"text":"d7: 31.5 °C"}}"#
        )
    );
    assert_eq!((&*alarm.topic, &*alarm.key), ("alarms/d7/hot", "d7"));
    let mut plugin = Plugin::<Rules>::new(shown[1].clone());
    let cold = r#"{"temperature":1.50,"site":"greenhouse"}"#;
    let cold = plugin.feed(Input::new("d7", cold));
    let reading = cold.on("out")[0];
    assert_eq!(
        reading.text(),
        r#"{"temperature":1.50,"site":"greenhouse","level":"cold"}"#
    );
    let message = cold.on("messages")[0];
    assert_eq!((&*message.topic, message.text()), ("heating/d7/set", "ON"));
    let warm = plugin.feed(Input::json(
        "d7",
        json!({ "temperature": 5, "site": "greenhouse" }),
    ));
    assert_eq!(warm.on("messages")[0].text(), "OFF");
    let test = Input::json("test-1", json!({ "temperature": 1 }));
    assert!(plugin.feed(test).filtered());
}

#[test]
fn an_alarm_is_told_once_and_cleared_inside_the_hysteresis() {
    let mut plugin = plugin(hot());
    assert!(read(&mut plugin, 30.0).is_empty());
    assert_eq!(read(&mut plugin, 30.1), ["raised"]);
    assert!(read(&mut plugin, 40.0).is_empty() && read(&mut plugin, 28.0).is_empty());
    assert_eq!(read(&mut plugin, 27.9), ["cleared"]);
    assert_eq!(plugin.counters()["alarms_raised"], 1);
    assert_eq!(plugin.counters()["alarms_cleared"], 1);
}

#[test]
fn a_change_must_last_and_a_timer_ends_the_wait() {
    let mut plugin = plugin(json!([{
        "name": "hot", "when": [{ "field": "t", "op": ">", "value": 30 }], "hold": "10s", "release": "20s", "alarm": {},
        "set": { "hot": true },
    }]));
    assert!(read(&mut plugin, 31.0).is_empty());
    plugin.advance(Duration::from_secs(6));
    assert!(
        read(&mut plugin, 29.0).is_empty(),
        "a dip starts the wait anew"
    );
    let waits = plugin.feed(Input::json("d7", json!({ "t": 31 })));
    assert!(waits.passed(), "nothing is done before it has lasted");
    assert!(states(&plugin.run_for(Duration::from_secs(9))).is_empty());
    assert_eq!(states(&plugin.run_for(Duration::from_secs(4))), ["raised"]);
    let held = plugin.feed(Input::json("d7", json!({ "t": 20 })));
    assert_eq!(
        held.on("out")[0].text(),
        r#"{"t":20,"hot":true}"#,
        "until its end has lasted"
    );
    assert!(states(&plugin.run_for(Duration::from_secs(15))).is_empty());
    assert_eq!(
        states(&plugin.run_for(Duration::from_secs(15))),
        ["cleared"]
    );
    assert!(plugin.plugin().state().is_empty());
}

#[test]
fn what_holds_and_what_waits_survives_a_swap() {
    let settings = json!({ "rules": [{
        "name": "hot", "when": [{ "field": "t", "op": ">", "value": 30 }], "hold": "10s",
        "alarm": { "topic": "a/{topic}", "text": "{payload.t} {payload.who} {state}" },
    }] });
    let mut plugin = Plugin::<Rules>::new(settings.clone());
    plugin.feed(Input::json("d7", json!({ "t": 31, "who": "b\"}" })));
    let mut plugin = plugin.swapped(settings.clone());
    let outcome = plugin.run_for(Duration::from_secs(13));
    let alarm = outcome.on("alarms")[0];
    assert_eq!(alarm.topic, "a/devices/d7/telemetry");
    assert_eq!(alarm.json::<Value>()["text"], "31 b\"} raised");
    let mut plugin = plugin.swapped(settings);
    assert!(states(&plugin.run_for(Duration::from_secs(60))).is_empty());
    read(&mut plugin, 3.0);
    assert_eq!(
        states(&plugin.run_for(Duration::from_secs(13))),
        ["cleared"]
    );
}

#[test]
fn a_clear_condition_ends_it_and_nothing_else() {
    let mut plugin = plugin(json!([{
        "name": "full", "alarm": {},
        "when": [{ "field": "t", "op": ">=", "value": 90 }],
        "clear": [{ "field": "t", "op": "<", "value": 20 }, { "field": "reset", "op": "==", "value": true }], "match": "any",
    }]));
    assert_eq!(read(&mut plugin, 95.0), ["raised"]);
    assert!(read(&mut plugin, 50.0).is_empty() && read(&mut plugin, 99.0).is_empty());
    assert_eq!(read(&mut plugin, 19.0), ["cleared"]);
    assert_eq!(read(&mut plugin, 90.0), ["raised"]);
    let reset = plugin.feed(Input::json("d7", json!({ "t": 70, "reset": true })));
    assert_eq!(states(&reset), ["cleared"]);
}

#[test]
fn a_reading_that_lacks_a_field_leaves_the_rule_as_it_is_or_is_rejected() {
    let mut plugin = plugin(hot());
    read(&mut plugin, 31.0);
    for payload in [r#"{"x":1}"#, r#"{"t":null}"#] {
        let outcome = plugin.feed(Input::new("d7", payload));
        assert!(outcome.passed(), "{payload}");
    }
    assert_eq!(read(&mut plugin, 1.0), ["cleared"]);
    let mut strict = Plugin::<Rules>::new(json!({ "rules": hot(), "missing": "reject" }));
    let outcome = strict.feed(Input::new("d7", "{}"));
    assert_eq!(outcome.rejected(), Some("field `t` is missing"));
    let outcome = strict.feed(Input::new("d7", r#"{"t":"warm"}"#));
    assert_eq!(
        outcome.rejected(),
        Some("field `t` is not a number: `\"warm\"`")
    );
}

#[test]
fn what_is_known_decides_where_something_is_not() {
    let rule = |need: &str| {
        json!([{ "name": "r", "match": need, "to": "there",
            "when": [{ "field": "a", "op": "==", "value": 1 }, { "field": "b", "op": "==", "value": 1 }] }])
    };
    let goes = |need: &str, payload: &str| {
        let outcome = plugin(rule(need)).feed(Input::new("d7", payload));
        outcome.passed_to("there")
    };
    assert!(goes("any", r#"{"a":1}"#) && !goes("any", r#"{"a":2}"#) && goes("any", r#"{"b":1}"#));
    assert!(!goes("all", r#"{"a":1}"#) && goes("all", r#"{"a":1,"b":1}"#));
}

#[test]
fn a_reading_that_is_rejected_changes_nothing() {
    let mut plugin = plugin(json!([
        { "name": "hot", "when": [{ "field": "t", "op": ">", "value": 30 }], "alarm": {} },
        { "name": "wet", "when": [{ "field": "h", "op": ">", "value": 90 }], "alarm": {} },
    ]));
    let outcome = plugin.feed(Input::json("d7", json!({ "t": 31, "h": "much" })));
    assert!(outcome.rejected().is_some() && outcome.on("alarms").is_empty());
    assert!(plugin.plugin().state().is_empty() && plugin.counters().is_empty());
    assert_eq!(read(&mut plugin, 31.0), ["raised"]);
}

#[test]
fn rules_are_looked_at_in_their_order() {
    in_flow("f", &["devices/{device}/{kind}"]);
    let mut plugin = plugin(json!([
        { "name": "all", "when": [{ "topic": "#" }], "set": { "a": "{kind}", "n": "{payload.n}", "m": "{payload.m}", "t": "n={payload.n} {{{name}}" } },
        { "name": "odd", "when": [{ "field": "n", "op": "in", "value": [1, 3] }], "set": { "a": 2 }, "to": "odd", "stop": true },
        { "name": "one", "when": [{ "field": "n", "op": "==", "value": 1 }], "drop": true },
        { "name": "two", "when": [{ "field": "n", "op": "==", "value": 2 }], "drop": true,
          "publish": [{ "on": "each", "topic": "seen/{device}", "fields": { "n": "{payload.n}", "x": [1] }, "retain": true }] },
    ]));
    let one = plugin.feed(Input::json("d7", json!({ "n": 1, "a": 9 })).retained());
    let routed = one.on("odd")[0];
    assert_eq!(routed.text(), r#"{"m":null,"n":1,"t":"n=1 {all}","a":2}"#);
    assert_eq!(
        (routed.retain, &*routed.topic),
        (true, "devices/d7/telemetry")
    );
    for _ in 0..2 {
        let two = plugin.feed(Input::json("d7", json!({ "n": 2 })));
        let message = two.on("messages")[0];
        assert_eq!(
            (message.text(), message.retain),
            (r#"{"n":2,"x":[1]}"#, true)
        );
        assert!(two.on("out").is_empty());
    }
    assert!(
        plugin.plugin().state().is_empty(),
        "what tells no edges keeps nothing"
    );
}

#[test]
fn a_text_cannot_break_out_of_fields() {
    let mut plugin = plugin(
        json!([{ "name": "r", "when": [{ "topic": "#" }], "drop": true,
        "publish": [{ "on": "each", "topic": "x", "fields": { "who": "by {payload.who}" } }] }]),
    );
    let outcome = plugin.feed(Input::json("d7", json!({ "who": "\",\"admin\":true,\"" })));
    let told = outcome.on("messages")[0].json::<Value>();
    assert_eq!(told, json!({ "who": "by \",\"admin\":true,\"" }));
}

#[test]
fn what_cannot_work_is_refused_in_words() {
    let when = json!([{ "field": "t", "op": ">", "value": 1 }]);
    for (rule, words) in [
        (json!({ "name": "r", "when": when }), "does nothing"),
        (
            json!({ "name": "", "when": when, "drop": true }),
            "`name` has 1 to",
        ),
        (
            json!({ "name": "r", "when": [], "drop": true }),
            "`when` is empty",
        ),
        (
            json!({ "name": "r", "when": [{ "op": ">" }], "drop": true }),
            "`when.0` compares no `field`",
        ),
        (
            json!({ "name": "r", "when": [{ "field": "t" }], "drop": true }),
            "`when.0.op` is missing",
        ),
        (
            json!({ "name": "r", "when": [{ "any": [{ "topic": "a/#/b" }] }], "drop": true }),
            "`when.0.any.0`: `topic` is no topic filter",
        ),
        (
            json!({ "name": "r", "when": [{ "field": "t", "op": "==", "value": 1, "hysteresis": 1 }], "drop": true }),
            "`when.0`: `hysteresis`",
        ),
        (
            json!({ "name": "r", "when": when, "drop": true, "to": "x" }),
            "`drop` ends a reading",
        ),
        (
            json!({ "name": "r", "when": when, "to": "a b" }),
            "not `a b`",
        ),
        (
            json!({ "name": "r", "when": when, "alarm": { "topic": "a/{room}" } }),
            "`alarm.topic`: `{room}` is not known",
        ),
        (
            json!({ "name": "r", "when": when, "alarm": { "text": "a {" } }),
            "`alarm.text`",
        ),
        (
            json!({ "name": "r", "when": when, "publish": [{ "topic": "a" }] }),
            "`publish.0`: it has `payload`",
        ),
        (
            json!({ "name": "r", "when": when, "set": { "x": "{payload.}" } }),
            "`set.x`",
        ),
    ] {
        let error = refused(json!([rule]));
        assert!(error.contains(words), "{error}");
    }
    assert!(refused(json!([])).contains("1 to 100"));
    let twice = json!({ "name": "r", "when": when, "drop": true });
    assert!(refused(json!([twice, twice])).contains("`rules.1.name`: `r` stands there twice"));
}

#[test]
fn whatever_comes_nothing_panics_and_state_is_bounded() {
    let mut plugin = plugin(json!([{
        "name": "hot", "when": [{ "field": "t", "op": ">", "value": 0 }], "hold": "1h",
        "alarm": { "topic": "a/{topic}", "text": "{payload.t} {payload.x.y}" }, "set": { "level": "{payload.t}" },
    }]));
    for payload in hostile_payloads("t") {
        plugin.feed(Input::new("d7", payload));
    }
    for name in hostile_names(20_000) {
        let long = "x".repeat(300);
        plugin.feed(Input::json(&name, json!({ "t": 1, "x": { "y": long } })));
    }
    let bytes: usize = plugin.save(false).iter().map(|page| page.data.len()).sum();
    assert!(bytes < 2 << 20, "{bytes}");
    assert!(plugin.counters()["keys_forgotten"] > 10_000);
}

#[test]
fn what_is_kept_weighs_no_more_than_is_counted() {
    let pending = Pending {
        since_us: u64::MAX,
        running_us: u64::MAX,
        topic: "x".repeat(300),
        values: vec!["1".to_owned(), "x".repeat(256)],
    };
    let standing = Standing {
        of: u32::MAX,
        holds: true,
        pending: Some(pending),
    };
    let quiet = Standing {
        pending: None,
        ..standing.clone()
    };
    for rules in [
        vec![],
        vec![quiet.clone()],
        vec![standing; 100],
        vec![quiet; 3],
    ] {
        let device = Device { rules };
        assert!(tidegate_sdk::weight(&device) <= device.weight());
    }
}
