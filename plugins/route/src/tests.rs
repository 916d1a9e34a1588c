use super::*;
use tidegate_sdk::serde_json::{Value, json};
use tidegate_sdk::test::{Input, Output, Plugin, hostile_payloads, settings_shown};

fn led(settings: &Value, input: Input) -> String {
    let outcome = Plugin::<Router>::new(settings.clone()).feed(input);
    match outcome.0.first() {
        Some(Output::Pass { port }) => port.clone(),
        Some(Output::Reject { reason, .. }) => format!("rejected: {reason}"),
        _ => "drop".to_owned(),
    }
}

#[test]
fn what_the_page_shows_works() {
    let shown = &settings_shown(include_str!("lib.rs"))[0];
    for (payload, port) in [
        (r#"{"level":3,"kind":"temp1"}"#, "alarms"),
        (r#"{"level":2,"kind":"temp1"}"#, "climate"),
        (r#"{"kind":"door"}"#, "out"),
        (r#"{"level":null}"#, "out"),
    ] {
        assert_eq!(led(shown, Input::new("d7", payload)), port, "{payload}");
    }
    assert_eq!(led(shown, Input::new("test-1", "{}")), "drop");
}

#[test]
fn what_is_lacking_does_not_fit_or_is_rejected() {
    let mut settings = json!({ "routes": [{ "field": "a", "op": "==", "value": 1, "to": "a" }], "otherwise": "drop" });
    assert_eq!(led(&settings, Input::new("d7", "{}")), "drop");
    settings["missing"] = json!("reject");
    assert_eq!(
        led(&settings, Input::new("d7", "{}")),
        "rejected: field `a` is missing"
    );
}

#[test]
fn topics_alone_want_no_json_and_a_delete_goes_by_its_topic() {
    let topics = json!({ "routes": [{ "topic": "devices/d7/#", "to": "mine" }] });
    assert_eq!(led(&topics, Input::new("d7", vec![0xff])), "mine");
    assert_eq!(led(&topics, Input::new("d8", vec![0xff])), "out");
    let both = json!({ "routes": [{ "field": "a", "op": "absent", "to": "a" }, { "topic": "devices/d7/#", "to": "mine" }], "otherwise": "rest" });
    assert_eq!(led(&both, Input::new("d7", "").retained()), "mine");
    assert_eq!(led(&both, Input::new("d8", "").retained()), "rest");
    assert!(led(&both, Input::new("d7", "")).starts_with("rejected"));
}

#[test]
fn ports_are_what_the_settings_name() {
    let settings = json!({ "routes": [{ "topic": "a", "to": "x" }, { "topic": "b", "to": "drop" }, { "topic": "c", "to": "x" }], "otherwise": "y" });
    let mut plugin = Plugin::<Router>::new(settings);
    assert_eq!(plugin.plugin().ports(), ["x", "y"]);
}

#[test]
fn what_cannot_work_is_refused_in_words() {
    for (settings, words) in [
        (json!({ "routes": [] }), "1 to 100"),
        (
            json!({ "routes": [{ "to": "x" }] }),
            "`routes.0`: it has neither",
        ),
        (
            json!({ "routes": [{ "field": "a", "to": "x" }] }),
            "`op` is missing",
        ),
        (
            json!({ "routes": [{ "op": "==", "value": 1, "to": "x" }] }),
            "compares no `field`",
        ),
        (
            json!({ "routes": [{ "topic": "a+", "to": "x" }] }),
            "no topic filter",
        ),
        (
            json!({ "routes": [{ "topic": "a", "to": "x/y" }] }),
            "not `x/y`",
        ),
        (
            json!({ "routes": [{ "topic": "a", "to": "x" }], "otherwise": "" }),
            "`otherwise`",
        ),
        (
            json!({ "routes": [{ "field": "a", "op": "like", "value": 1, "to": "x" }] }),
            "`like` with field `a` wants a pattern",
        ),
    ] {
        let error = Plugin::<Router>::try_new(settings).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn whatever_comes_nothing_panics() {
    let settings = json!({ "routes": [{ "field": "t", "op": ">", "value": 1, "to": "a" }, { "field": "t", "op": "like", "value": "*x*x*", "to": "b" }] });
    let mut plugin = Plugin::<Router>::new(settings);
    for payload in hostile_payloads("t") {
        assert_eq!(plugin.feed(Input::new("d7", payload)).0.len(), 1);
    }
}
