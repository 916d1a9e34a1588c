use std::time::Duration;

use super::*;
use tidegate_sdk::serde_json::{self, Value, json};
use tidegate_sdk::test::{Input, Plugin, hostile_names, hostile_payloads, settings_shown};

fn told(plugin: &mut Plugin<Anomaly>, value: f64) -> Option<Value> {
    let outcome = plugin.feed(Input::json("d7", json!({ "t": value })));
    outcome
        .on("anomalies")
        .first()
        .map(|message| message.json())
}

/// A hundred readings that differ a little around this, a minute apart.
fn teach(plugin: &mut Plugin<Anomaly>, around: f64) {
    for number in 0..50 {
        let value = around + f64::from(number % 5 - 2) * 0.5;
        assert_eq!(told(plugin, value), None, "{value}");
        plugin.advance(Duration::from_secs(60));
    }
}

#[test]
fn what_is_far_from_the_mean_is_told_once_and_so_is_its_end() {
    for shown in settings_shown(include_str!("lib.rs")) {
        Plugin::<Anomaly>::new(shown);
    }
    let mut plugin = Plugin::<Anomaly>::new(json!({ "fields": ["t"], "season": "none" }));
    teach(&mut plugin, 21.5);
    let raised = told(&mut plugin, 35.0).unwrap();
    assert_eq!(
        (&raised["state"], &raised["anomaly"], &raised["device"]),
        (&json!("raised"), &json!("t"), &json!("d7"))
    );
    assert!((raised["mean"].as_f64().unwrap() - 21.5).abs() < 1e-9);
    assert!((raised["deviation"].as_f64().unwrap() - 0.5_f64.sqrt()).abs() < 1e-9);
    assert!((raised["score"].as_f64().unwrap() - 13.5 / 0.5_f64.sqrt()).abs() < 1e-6);
    assert_eq!(told(&mut plugin, 35.0), None, "it is known");
    let mut plugin = plugin.swapped(json!({ "fields": ["t"], "season": "none" }));
    assert_eq!(told(&mut plugin, 21.5).unwrap()["state"], "cleared");
    assert_eq!(told(&mut plugin, 22.5), None, "two spikes spoil nothing");
    assert_eq!(told(&mut plugin, 35.0).unwrap()["state"], "raised");
    let many = (0..200).filter_map(|_| told(&mut plugin, 35.0)).count();
    assert_eq!(many, 1, "a new level becomes the usual one");
}

#[test]
fn an_hour_has_a_mean_of_its_own() {
    let mut plugin = Plugin::<Anomaly>::new(json!({ "fields": ["t"] }));
    // Midnight is warm, one o'clock is cold; the clock goes on by 50 minutes each time.
    teach(&mut plugin, 20.0);
    plugin.advance(Duration::from_secs(600));
    teach(&mut plugin, 5.0);
    assert_eq!(told(&mut plugin, 20.0).unwrap()["state"], "raised");
    plugin.advance(Duration::from_secs(23 * 3_600));
    assert_eq!(told(&mut plugin, 20.0).unwrap()["state"], "cleared");
    let mut unset = Plugin::<Anomaly>::new(json!({ "fields": ["t"], "after": 2 }));
    for _ in 0..50 {
        assert!(
            unset
                .feed(Input::json("d7", json!({ "t": 1 })).clock_unset())
                .passed()
        );
    }
    assert_eq!(told(&mut unset, 50.0), None);
}

#[test]
fn what_was_always_the_same_may_differ_by_the_least() {
    let settings = json!({ "fields": ["t"], "season": "none", "least": 1, "after": 2 });
    let mut plugin = Plugin::<Anomaly>::new(settings);
    for _ in 0..5 {
        assert_eq!(told(&mut plugin, 7.0), None);
    }
    assert_eq!(told(&mut plugin, 8.0), None);
    assert_eq!(told(&mut plugin, 30.0).unwrap()["state"], "raised");
}

#[test]
fn what_lacks_a_field_says_nothing_or_is_rejected() {
    let mut plugin = Plugin::<Anomaly>::new(json!({ "fields": ["t"] }));
    assert!(plugin.feed(Input::new("d7", "{\"t\":null}")).passed());
    assert!(plugin.feed(Input::new("d7", "").retained()).passed());
    let outcome = plugin.feed(Input::new("d7", "{\"t\":\"x\"}"));
    assert_eq!(
        outcome.rejected(),
        Some("field `t` is not a number: `\"x\"`")
    );
    let mut plugin = Plugin::<Anomaly>::new(json!({ "fields": ["t"], "missing": "reject" }));
    assert_eq!(
        plugin.feed(Input::new("d7", "{}")).rejected(),
        Some("field `t` is missing")
    );
}

#[test]
fn settings_that_make_no_sense_are_refused_in_words() {
    let refused = |more: Value| {
        let mut settings = json!({ "fields": ["t"] });
        settings
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        Plugin::<Anomaly>::try_new(settings).map(drop).unwrap_err()
    };
    for (settings, words) in [
        (json!({ "fields": [] }), "`fields` has 1 to 20"),
        (
            json!({ "fields": ["t", "t"] }),
            "`fields.1`: `t` stands there twice",
        ),
        (json!({ "threshold": 0 }), "`threshold`"),
        (json!({ "least": -1 }), "`least`"),
        (json!({ "after": 1 }), "`after`"),
        (json!({ "memory": 10 }), "`memory`"),
        (json!({ "utc_offset": "Zürich" }), "`utc_offset`"),
        (json!({ "topic": "{nobody}" }), "`topic`"),
    ] {
        let refused = refused(settings);
        assert!(refused.contains(words), "{refused}");
    }
}

#[test]
fn whatever_comes_nothing_panics_and_state_is_bounded() {
    let mut plugin =
        Plugin::<Anomaly>::new(json!({ "fields": ["t"], "max_devices": 20, "after": 2 }));
    for value in ["1e308", "-1e308", "1e308", "0", "-1e308", "1e-308"] {
        for message in plugin
            .feed(Input::new("d7", format!("{{\"t\":{value}}}")))
            .on("anomalies")
        {
            serde_json::from_slice::<Value>(&message.payload).unwrap();
        }
    }
    for payload in hostile_payloads("t") {
        assert!(!plugin.feed(Input::new("d7", payload)).0.is_empty());
    }
    for name in hostile_names(50) {
        plugin.feed(Input::new(&name, r#"{"t":1.1}"#));
    }
    assert_eq!(plugin.plugin().state().len(), 20);
    let weight = plugin
        .plugin()
        .state()
        .iter()
        .map(|(_, device)| device.weight())
        .sum::<usize>();
    let saved: usize = plugin.save(false).iter().map(|page| page.data.len()).sum();
    assert!(saved <= weight + 20 * 210, "{saved} {weight}");
}
