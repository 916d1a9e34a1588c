use std::time::Duration;

use super::*;
use tidegate_sdk::serde_json::{Value, json};
use tidegate_sdk::test::{Input, Plugin, hostile_names, hostile_payloads, settings_shown};

/// Topics and payloads of what is told.
fn told(plugin: &mut Plugin<HomeAssistant>, input: Input) -> Vec<(String, String)> {
    let outcome = plugin.feed(input);
    assert!(
        outcome.passed_to("out") || outcome.0.len() > 1,
        "readings go on"
    );
    let messages = outcome.on("discovery").into_iter();
    messages
        .map(|message| (message.topic.clone(), message.text().to_owned()))
        .collect()
}

fn reading(payload: &str) -> Input {
    Input::new("d7", payload)
}

#[test]
fn what_the_page_shows_works() {
    let page = include_str!("lib.rs");
    let shown = settings_shown(page);
    let mut plugin = Plugin::<HomeAssistant>::new(shown[0].clone());
    let (topic, config) = told(&mut plugin, reading(r#"{"temperature":21.5}"#)).remove(0);
    assert_eq!(topic, "homeassistant/sensor/d7/temperature/config");
    assert!(page.contains(&format!("//! {config}\n")), "{config}");
    let mut plugin = Plugin::<HomeAssistant>::new(shown[1].clone());
    let messages = told(
        &mut plugin,
        reading(r#"{"tank":{"level":7},"door":false,"temperature":1}"#),
    );
    assert_eq!(messages.len(), 2);
    let config: Value = tidegate_sdk::serde_json::from_str(&messages[0].1).unwrap();
    assert_eq!(messages[0].0, "homeassistant/sensor/d7/tank_level/config");
    assert_eq!(
        config["value_template"],
        "{{ value_json['tank']['level'] }}"
    );
    assert_eq!(
        (&config["unit_of_measurement"], &config["state_class"]),
        (&json!("L"), &json!("measurement"))
    );
    assert_eq!(config["device"]["model"], "T1000");
    let config: Value = tidegate_sdk::serde_json::from_str(&messages[1].1).unwrap();
    assert_eq!(messages[1].0, "homeassistant/binary_sensor/d7/door/config");
    assert_eq!(
        config["value_template"],
        "{{ 'ON' if value_json['door'] else 'OFF' }}"
    );
    assert_eq!(
        (&config["state_class"], &config["name"]),
        (&Value::Null, &json!("Door"))
    );
}

#[test]
fn a_field_is_told_once_a_day_and_after_a_change_of_settings() {
    let mut plugin = Plugin::<HomeAssistant>::new(json!({}));
    let count =
        |plugin: &mut Plugin<HomeAssistant>, payload: &str| told(plugin, reading(payload)).len();
    assert_eq!(
        count(
            &mut plugin,
            r#"{"temperature":1,"humidity":null,"other":2}"#
        ),
        1
    );
    assert_eq!(count(&mut plugin, r#"{"temperature":1,"humidity":40}"#), 1);
    assert_eq!(count(&mut plugin, r#"{"temperature":1,"humidity":40}"#), 0);
    let mut plugin = plugin.swapped(json!({}));
    assert_eq!(count(&mut plugin, r#"{"temperature":1}"#), 0);
    plugin.advance(Duration::from_secs(86_400));
    assert_eq!(count(&mut plugin, r#"{"temperature":1}"#), 1);
    let mut plugin = plugin.swapped(json!({ "model": "T2" }));
    assert_eq!(count(&mut plugin, r#"{"temperature":1}"#), 1);
}

#[test]
fn ids_have_only_the_letters_that_they_may_have() {
    let settings = json!({ "fields": [{ "field": "a\\.b'\\\\c" }, { "field": "list[1].Power" }], "device_name": "Device {device}" });
    let mut plugin = Plugin::<HomeAssistant>::new(settings);
    let input = Input::new("köln/1", r#"{"a.b'\\c":1,"list":[1,{"Power":2}]}"#);
    let messages = told(&mut plugin, input);
    assert_eq!(messages.len(), 2);
    for (topic, config) in &messages {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_/".contains(&byte);
        assert!(topic.bytes().all(fits), "{topic}");
        assert_eq!(topic.split('/').count(), 5);
        tidegate_sdk::serde_json::from_str::<Value>(config).unwrap();
    }
    assert!(
        messages[0].1.contains(r"value_json['a.b\\'\\\\c']"),
        "{}",
        messages[0].1
    );
    assert!(
        messages[1].1.contains("value_json['list'][1]['Power']"),
        "{}",
        messages[1].1
    );
}

#[test]
fn settings_that_make_no_sense_are_refused_in_words() {
    let refused = |settings| {
        Plugin::<HomeAssistant>::try_new(settings)
            .map(drop)
            .unwrap_err()
    };
    for (settings, words) in [
        (json!({ "fields": [] }), "`fields` has 1 to 64"),
        (
            json!({ "fields": [{ "field": "" }] }),
            "`fields.0`: `field`",
        ),
        (
            json!({ "fields": [{ "field": "a" }, { "field": "a" }] }),
            "`fields.1`: two have the id `a`",
        ),
        (
            json!({ "fields": [{ "field": "a", "kind": "binary_sensor", "unit": "m" }] }),
            "neither `unit`",
        ),
        (json!({ "prefix": "a/#" }), "`prefix` must be a topic"),
        (json!({ "state_topic": "{nobody}" }), "`state_topic`"),
        (json!({ "again": "0s" }), "`again`"),
        (json!({ "max_devices": 0 }), "max_devices"),
    ] {
        let refused = refused(settings);
        assert!(refused.contains(words), "{refused}");
    }
}

#[test]
fn whatever_comes_goes_on_and_state_is_bounded() {
    let mut plugin = Plugin::<HomeAssistant>::new(json!({ "max_devices": 50 }));
    for payload in hostile_payloads("temperature") {
        told(&mut plugin, Input::new("d7", payload));
    }
    assert!(plugin.feed(Input::new("d7", "").retained()).passed());
    for name in hostile_names(200) {
        told(&mut plugin, Input::new(&name, r#"{"temperature":1}"#));
    }
    assert_eq!(plugin.plugin().state().len(), 50);
    let saved: usize = plugin.save(false).iter().map(|page| page.data.len()).sum();
    assert!(saved <= 50 * (WEIGHT + 200), "{saved}");
}
