use super::*;
use tidegate_sdk::serde_json::json;
use tidegate_sdk::test::{Input, Plugin, in_flow, settings_shown};

fn told(settings: Value, payload: &str) -> String {
    let outcome = Plugin::<Enrich>::new(settings).feed(Input::new("d7", payload));
    match outcome.rejected() {
        Some(reason) => format!("rejected: {reason}"),
        None if outcome.passed() => "passed".to_owned(),
        None if outcome.filtered() => "filtered".to_owned(),
        None => outcome.emitted().text().to_owned(),
    }
}

#[test]
fn what_the_page_shows_works() {
    let shown = settings_shown(include_str!("lib.rs"));
    assert_eq!(
        told(shown[0].clone(), r#"{"t":21.50}"#),
        r#"{"t":21.50,"floor":1,"room":"kitchen"}"#
    );
    for (state, text) in [
        ("1", "busy"),
        ("\"0\"", "idle"),
        ("1.0", "unknown"),
        ("null", "unknown"),
    ] {
        let told = told(shown[1].clone(), &format!("{{\"state\":{state}}}"));
        assert_eq!(told, format!("{{\"state\":{state},\"text\":\"{text}\"}}"));
    }
}

#[test]
fn what_is_there_stays_or_is_replaced() {
    let table = json!({ "d7": { "room": "kitchen", "tags": ["a", { "b": null }] } });
    assert_eq!(
        told(json!({ "table": table }), r#"{"room":"attic"}"#),
        r#"{"room":"attic","tags":["a",{"b":null}]}"#
    );
    let replace = json!({ "table": table, "existing": "replace" });
    assert_eq!(
        told(replace, r#"{"room":"attic","t":1}"#),
        r#"{"t":1,"room":"kitchen","tags":["a",{"b":null}]}"#
    );
}

#[test]
fn the_unknown_are_dealt_with_as_the_settings_say() {
    let with = |unknown: &str| json!({ "table": { "d8": { "a": 1 } }, "unknown": unknown });
    assert_eq!(told(with("pass"), "{}"), "passed");
    assert_eq!(told(with("drop"), "{}"), "filtered");
    assert_eq!(told(with("reject"), "{}"), "rejected: `table` has no `d7`");
    assert!(told(with("pass"), "21.5").starts_with("rejected: payload is not a JSON object"));
    assert_eq!(
        told(with("pass"), r#"{"a":1,"a":2}"#),
        "rejected: payload has field `a` twice"
    );
    assert!(
        Plugin::<Enrich>::new(with("reject"))
            .feed(Input::new("d7", "").retained())
            .passed()
    );
}

#[test]
fn parts_of_the_topic_are_looked_up() {
    in_flow("climate", &["{site}/{device}/t"]);
    let mut plugin = Plugin::<Enrich>::new(
        json!({ "by": "{site}/{device}", "table": { "barn/d7": { "a": 1 } } }),
    );
    let outcome = plugin.feed(Input::new("d7", "{}").topic("barn/d7/t"));
    assert_eq!(outcome.emitted().text(), r#"{"a":1}"#);
}

#[test]
fn settings_that_make_no_sense_are_refused_in_words() {
    let refused = |settings| Plugin::<Enrich>::try_new(settings).unwrap_err();
    assert!(refused(json!({ "table": {} })).starts_with("`table` is empty"));
    assert_eq!(
        refused(json!({ "table": { "a": {} }, "by": "{key}", "by_field": "x" })),
        "`by` and `by_field` do not go together"
    );
    assert_eq!(
        refused(json!({ "table": { "a": 5 } })),
        "`table.a` must be a table, not 5"
    );
    assert!(
        refused(json!({ "table": { "a": {} }, "by": "{room}" })).contains("`{room}` is not known")
    );
}

#[test]
fn what_is_the_same_for_every_message_is_refused() {
    let refused = |settings| Plugin::<Enrich>::try_new(settings).unwrap_err();
    assert_eq!(
        refused(json!({ "table": { "d": { "a": 1 } }, "by": "x" })),
        "`by` is `x` for every message: it wants a name in braces, such as \"{device}\""
    );
}
