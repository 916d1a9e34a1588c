use std::time::Duration;

use super::*;
use tidegate_sdk::serde_json::{Value, json};
use tidegate_sdk::test::{Input, Plugin, settings_shown};

fn told(plugin: &mut Plugin<Join>, device: &str, payload: &str) -> Vec<String> {
    let outcome = plugin.feed(Input::new(device, payload));
    assert_eq!(outcome.rejected(), None);
    outcome
        .on("out")
        .iter()
        .map(|message| message.text().to_owned())
        .collect()
}

fn plugin(settings: Value) -> Plugin<Join> {
    Plugin::new(settings)
}

#[test]
fn what_the_page_shows_works() {
    let shown = settings_shown(include_str!("lib.rs"));
    let mut complete = plugin(shown[0].clone());
    assert!(told(&mut complete, "d7", r#"{"temperature":21.50}"#).is_empty());
    assert!(told(&mut complete, "d8", r#"{"humidity":1}"#).is_empty());
    let outcome = complete.feed(Input::new("d7", r#"{"humidity":40,"x":1}"#));
    let joined = outcome.on("out")[0];
    assert_eq!(
        (joined.text(), &*joined.topic, &*joined.key),
        (r#"{"temperature":21.50,"humidity":40}"#, "joined/d7", "d7")
    );
    assert!(
        told(&mut complete, "d7", r#"{"humidity":41}"#).is_empty(),
        "it begins anew"
    );
    let mut each = plugin(shown[1].clone());
    assert_eq!(told(&mut each, "d7", r#"{"power":5}"#), [r#"{"power":5}"#]);
    assert_eq!(
        told(&mut each, "d7", r#"{"AM2301":{"Temperature":21}}"#),
        [r#"{"temperature":21,"power":5}"#]
    );
}

#[test]
fn values_grow_old_by_the_time_the_gateway_runs() {
    let mut plugin = plugin(json!({ "fields": ["a", "b"], "within": "1m" }));
    told(&mut plugin, "d7", r#"{"a":1}"#);
    plugin.set_clock(0);
    plugin.advance(Duration::from_secs(61));
    assert!(told(&mut plugin, "d7", r#"{"b":2}"#).is_empty());
    assert_eq!(told(&mut plugin, "d7", r#"{"a":3}"#), [r#"{"a":3,"b":2}"#]);
}

#[test]
fn what_is_missing_or_too_long_is_dealt_with() {
    let mut lenient = plugin(json!({ "fields": ["a"] }));
    assert!(lenient.feed(Input::new("d7", r#"{"a":null}"#)).filtered());
    assert_eq!(
        lenient.feed(Input::new("d7", "21")).rejected(),
        Some("payload is not a JSON object, at byte 0")
    );
    let long = json!({ "a": "x".repeat(2_000) });
    assert_eq!(
        lenient.feed(Input::json("d7", long)).rejected(),
        Some("a value is longer than 128 bytes")
    );
    let mut strict = plugin(json!({ "fields": ["a"], "missing": "reject" }));
    assert!(strict.feed(Input::new("d7", "{}")).excused());
    assert!(strict.feed(Input::new("d7", "").retained()).passed());
}

#[test]
fn what_is_known_survives_a_swap_and_is_bounded() {
    let settings = json!({ "fields": ["a", "b"] });
    let mut plugin = plugin(settings.clone());
    for device in 0..10_100 {
        told(&mut plugin, &format!("d{device}"), r#"{"a":1}"#);
    }
    assert_eq!(plugin.counters()["keys_forgotten"], 100);
    let mut plugin = plugin.swapped(settings);
    assert_eq!(
        told(&mut plugin, "d10099", r#"{"b":2}"#),
        [r#"{"a":1,"b":2}"#]
    );
    let mut plugin = plugin.swapped(json!({ "fields": ["b", "a"] }));
    assert!(
        told(&mut plugin, "d10098", r#"{"b":2}"#).is_empty(),
        "other fields begin anew"
    );
}

#[test]
fn settings_that_make_no_sense_are_refused_in_words() {
    let refused = |settings| Plugin::<Join>::try_new(settings).unwrap_err();
    assert!(refused(json!({ "fields": [] })).starts_with("`fields` is empty"));
    assert_eq!(
        refused(json!({ "fields": ["a.t", "b.t"] })),
        "`fields`: two are called `t`: set `as`"
    );
    assert!(
        refused(json!({ "fields": ["a"], "topic": "a/#" }))
            .starts_with("`topic`: `a/#` is no topic")
    );
    assert_eq!(
        refused(json!({ "fields": ["a"], "send": "all" })),
        "`send` cannot be `all`; it may be: `complete`, `each`"
    );
}

#[test]
fn devices_with_long_names_leave_what_is_known_of_others_alone() {
    let settings = json!({ "fields": ["a", "b"] });
    let mut plugin = Plugin::<Join>::new(settings.clone());
    for number in 0..5_000 {
        let payload = json!({ "a": "x".repeat(number % 120) });
        assert!(
            plugin
                .feed(Input::json(
                    &format!("{}-{number}", "n".repeat(800)),
                    payload
                ))
                .absorbed()
        );
        assert!(
            plugin
                .feed(Input::json("good", json!({ "a": number })))
                .absorbed()
        );
    }
    assert!(plugin.counters()["keys_forgotten"] > 2_000);
    let bytes: usize = plugin
        .save(false)
        .iter()
        .map(|page| page.data.len() + page.words.len() * 4)
        .sum();
    assert!(bytes < 2 << 20, "{bytes} bytes");
    for (_, value) in plugin.plugin().devices.iter() {
        assert!(value.weight() >= tidegate_sdk::weight(value));
    }
    let outcome = plugin
        .swapped(settings)
        .feed(Input::json("good", json!({ "b": 1 })));
    assert_eq!(outcome.emitted().text(), r#"{"a":4999,"b":1}"#);
}

#[test]
fn what_cannot_join_anything_is_refused() {
    let refused = |settings| Plugin::<Join>::try_new(settings).unwrap_err();
    assert!(
        refused(json!({ "fields": ["a", "b"], "within": "0s" }))
            .starts_with("`within` is no time at all")
    );
    assert!(
        refused(json!({ "fields": ["a", "b"], "max_devices": 99_999_999 }))
            .starts_with("`max_devices` is 99999999")
    );
}
