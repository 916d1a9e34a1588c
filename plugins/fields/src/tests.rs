use super::*;
use tidegate_sdk::serde_json::json;
use tidegate_sdk::test::{Input, Plugin, in_flow, settings_shown};

fn told(settings: Value, payload: &str) -> String {
    let input = Input::new("d7", payload).topic("barn/d7/t");
    in_flow("climate", &["{site}/{device}/t"]);
    let outcome = Plugin::<Fields>::new(settings).feed(input);
    match outcome.rejected() {
        Some(reason) => format!("rejected: {reason}"),
        None if outcome.filtered() => "filtered".to_owned(),
        None => outcome.emitted().text().to_owned(),
    }
}

#[test]
fn what_the_page_shows_works() {
    let shown = settings_shown(include_str!("lib.rs"));
    let payload = r#"{"temperature":21.50,"x":1,"battery":{"volts":3,"percent":80},"humidity":40,"linkquality":1}"#;
    assert_eq!(
        told(shown[0].clone(), payload),
        r#"{"temperature":21.50,"battery":{"percent":80},"humidity":40}"#
    );
    assert_eq!(
        told(shown[1].clone(), r#"{"temp":1,"update":{},"floor":9}"#),
        r#"{"temperature":1,"floor":2,"site":"barn"}"#
    );
}

#[test]
fn fields_in_objects_are_kept_dropped_and_renamed() {
    for (settings, payload, wanted) in [
        (
            json!({ "drop": ["a.b", "c"] }),
            r#"{"a":{"b":1,"d":2},"c":3}"#,
            r#"{"a":{"d":2}}"#,
        ),
        (json!({ "drop": ["a.b"] }), r#"{"a":5}"#, r#"{"a":5}"#),
        (json!({ "keep": ["a.b"] }), r#"{"a":5,"c":1}"#, "filtered"),
        (
            json!({ "keep": ["a", "a.b"] }),
            r#"{"a":{"b":1,"c":2}}"#,
            r#"{"a":{"b":1,"c":2}}"#,
        ),
        (
            json!({ "keep": ["a"], "drop": ["a.b"] }),
            r#"{"a":{"b":1,"c":2},"d":0}"#,
            r#"{"a":{"c":2}}"#,
        ),
        (
            json!({ "rename": { "a.b": "c", "d": "e" } }),
            r#"{"a":{"b":1,"c":2},"d":3,"e":4}"#,
            r#"{"a":{"c":1},"e":3}"#,
        ),
        (
            json!({ "rename": { "a": "b", "b": "a" } }),
            r#"{"a":1,"b":2}"#,
            r#"{"b":1,"a":2}"#,
        ),
        (
            json!({ "keep": ["a\\.b"] }),
            r#"{"a.b":1,"a":{"b":2}}"#,
            r#"{"a.b":1}"#,
        ),
        (
            json!({ "keep": ["\u{e4}"] }),
            r#"{"\u00e4":1,"b":2}"#,
            "{\"\u{e4}\":1}",
        ),
    ] {
        assert_eq!(told(settings.clone(), payload), wanted, "{settings}");
    }
}

#[test]
fn values_are_set_and_names_filled_in() {
    let settings =
        json!({ "set": { "who": "{device}@{site} {{x}", "list": [1, { "a": null }], "t": 1.5 } });
    assert_eq!(
        told(settings, r#"{"t":"old","u":2}"#),
        r#"{"u":2,"list":[1,{"a":null}],"t":1.5,"who":"d7@barn {x}"}"#
    );
    assert_eq!(told(json!({ "set": { "a": 1 } }), "{}"), r#"{"a":1}"#);
}

#[test]
fn what_is_missing_or_left_over_is_dealt_with_as_the_settings_say() {
    let strict = json!({ "keep": ["a", "b.c"], "missing": "reject" });
    assert_eq!(
        told(strict.clone(), r#"{"a":1}"#),
        "rejected: field `b.c` is missing"
    );
    assert_eq!(
        told(strict.clone(), r#"{"a":null,"b":{"c":1}}"#),
        "rejected: field `a` is missing"
    );
    assert_eq!(
        told(strict.clone(), r#"{"a":1,"b":{"c":2},"d":3}"#),
        r#"{"a":1,"b":{"c":2}}"#
    );
    assert!(
        Plugin::<Fields>::new(strict)
            .feed(Input::new("d7", "{}"))
            .excused()
    );
    assert_eq!(told(json!({ "keep": ["a"] }), "{\"b\":1}"), "filtered");
    assert_eq!(
        told(json!({ "keep": ["a"], "empty": "send" }), "{\"b\":1}"),
        "{}"
    );
}

#[test]
fn payloads_that_are_no_objects_are_rejected() {
    let drop = json!({ "drop": ["a"] });
    assert!(told(drop.clone(), "21.5").starts_with("rejected: payload is not a JSON object"));
    assert_eq!(
        told(drop.clone(), r#"{"b":1,"b":2}"#),
        "rejected: payload has field `b` twice"
    );
    assert!(
        Plugin::<Fields>::new(drop)
            .feed(Input::new("d7", "").retained())
            .passed()
    );
}

#[test]
fn settings_that_make_no_sense_are_refused_in_words() {
    let refused = |settings| Plugin::<Fields>::try_new(settings).unwrap_err();
    assert_eq!(
        refused(json!({})),
        "nothing to do: set `keep`, `drop`, `rename` or `set`"
    );
    assert_eq!(
        refused(json!({ "keep": ["a..b"] })),
        "`keep`: path `a..b` has an empty name"
    );
    assert_eq!(
        refused(json!({ "drop": ["a", "a"] })),
        "`drop`: `a` stands there twice"
    );
    assert_eq!(
        refused(json!({ "keep": ["a"], "drop": ["b", "a"] })),
        "`keep` and `drop` both have `a`: leave it out of one"
    );
    assert_eq!(
        refused(json!({ "rename": { "a": "b" }, "drop": ["a"] })),
        "`rename.a`: `drop` takes `a` away before: leave it out of one"
    );
    assert_eq!(
        refused(json!({ "rename": { "a": "c", "b": "c" } })),
        "`rename.b`: `a` is called `c` already: give each a name of its own"
    );
    assert!(
        refused(json!({ "rename": { "o.a": "c", "o.b": "c" } })).contains("`o.a` is called `c`")
    );
    assert_eq!(
        told(
            json!({ "rename": { "o.a": "c", "b": "c" } }),
            r#"{"o":{"a":1},"b":2}"#
        ),
        r#"{"o":{"c":1},"c":2}"#,
        "in two objects there is room for both"
    );
    assert!(refused(json!({ "drop": ["a[0]"] })).contains("leads into a list"));
    assert_eq!(
        refused(json!({ "rename": { "a": "" } })),
        "`rename.a` is empty"
    );
    assert!(
        refused(json!({ "set": { "a": "{room" } }))
            .starts_with("`set.a`: it has a `{` without `}`")
    );
    assert!(refused(json!({ "set": { "a": "{room}" } })).contains("`{room}` is not known"));
    assert_eq!(
        refused(json!({ "keep": "a" })),
        "`keep` must be a list, not the text \"a\""
    );
}
