use super::*;
use tidegate_sdk::serde_json::{self, json};
use tidegate_sdk::test::{Input, Plugin, in_flow, settings_shown};

fn told(settings: Value, payload: &str) -> String {
    let outcome = Plugin::<PlainNumber>::new(settings).feed(Input::new("d7", payload));
    match outcome.rejected() {
        Some(reason) => format!("rejected: {reason}"),
        None => outcome.emitted().text().to_owned(),
    }
}

#[test]
fn what_the_page_shows_works() {
    in_flow("home", &["home/{device}/{metric}"]);
    for settings in settings_shown(include_str!("lib.rs")) {
        let mut plugin = Plugin::<PlainNumber>::new(settings);
        assert!(
            plugin
                .feed(Input::new("d7", "12,5 °C").topic("home/d7/t"))
                .rejected()
                .is_none()
        );
    }
}

#[test]
fn numbers_are_read_as_they_are_written() {
    for (payload, json) in [
        ("21.5", r#"{"value":21.5}"#),
        (" 21.50\r\n", r#"{"value":21.50}"#),
        ("12,5 °C", r#"{"value":12.5,"unit":"°C"}"#),
        ("12,5°C", r#"{"value":12.5,"unit":"°C"}"#),
        ("\"17 %\"", r#"{"value":17,"unit":"%"}"#),
        ("-0.5e3", r#"{"value":-0.5e3}"#),
        ("+007", r#"{"value":7}"#),
        (".5", r#"{"value":0.5}"#),
        ("5.", r#"{"value":5}"#),
        ("\u{2212}4", r#"{"value":-4}"#),
        ("1.234,56 kWh", r#"{"value":1234.56,"unit":"kWh"}"#),
        ("1,234.56", r#"{"value":1234.56}"#),
        ("0,125", r#"{"value":0.125}"#),
        ("3 eV", r#"{"value":3,"unit":"eV"}"#),
        ("2 m3/h", r#"{"value":2,"unit":"m3/h"}"#),
        (
            "12345678901234567890.5",
            r#"{"value":12345678901234567890.5}"#,
        ),
    ] {
        assert_eq!(told(json!({}), payload), json, "{payload}");
        assert!(serde_json::from_str::<Value>(json).is_ok());
    }
}

#[test]
fn words_mean_what_the_settings_say() {
    for (payload, json) in [
        ("ON", r#"{"value":true}"#),
        ("false", r#"{"value":false}"#),
        ("Open", r#"{"value":1}"#),
        ("no", r#"{"value":"never"}"#),
    ] {
        assert_eq!(
            told(json!({ "words": { "OPEN": 1, "no": "never" } }), payload),
            json
        );
    }
    assert_eq!(
        told(json!({ "text": "keep" }), "he said \"hi\""),
        r#"{"value":"he said \"hi\""}"#
    );
}

#[test]
fn what_is_no_number_is_rejected_in_words() {
    for payload in [
        "abc",
        "12:30",
        "1/2",
        "12 e3",
        "1e3e3",
        "1 E-3",
        "2026-11-29",
        "192.168.1.5",
        "0x10",
        "1.2.3",
        "1,2,3",
        "--5",
        "+-5",
        "1e",
        "{\"a\":1}",
        "5 \u{7}",
        "١٢",
        "12 345",
        "infinity",
        "1_000",
        ",",
        ".",
        "-",
        "5 degrees of something very long",
    ] {
        let told = told(json!({}), payload);
        assert!(
            told.starts_with("rejected: ") || payload == "1e",
            "{payload}: {told}"
        );
    }
    assert_eq!(
        told(json!({}), "1,234"),
        "rejected: `1,234` may be a fraction or thousands: set `decimal` to \"comma\" or \"point\""
    );
    assert_eq!(
        told(json!({ "decimal": "comma" }), "1,234"),
        r#"{"value":1.234}"#
    );
    assert_eq!(
        told(json!({ "decimal": "point" }), "1,234"),
        r#"{"value":1234}"#
    );
    for huge in ["1e999", "1e99999999999", &"9".repeat(400)] {
        assert!(told(json!({}), huge).contains("is too large"), "{huge}");
    }
    assert!(told(json!({}), &"1".repeat(2_000)).contains("no plain value"));
}

#[test]
fn what_has_no_value_does_not_count_against_its_device() {
    let mut plugin = Plugin::<PlainNumber>::new(json!({}));
    for payload in ["", "NaN", "null", " - ", "unavailable"] {
        assert!(
            plugin.feed(Input::new("d7", payload)).excused(),
            "{payload}"
        );
    }
    assert!(plugin.feed(Input::new("d7", "").retained()).passed());
    assert!(!plugin.feed(Input::new("d7", "x")).excused());
}

#[test]
fn no_value_may_be_dropped_or_said() {
    let mut drop = Plugin::<PlainNumber>::new(json!({ "missing": "drop" }));
    assert!(drop.feed(Input::new("d7", "unavailable")).filtered());
    assert_eq!(
        told(json!({ "missing": "null" }), "NaN"),
        r#"{"value":null}"#
    );
}

#[test]
fn the_field_is_called_as_the_topic_says() {
    in_flow("home", &["home/{device}/{metric}"]);
    let mut plugin = Plugin::<PlainNumber>::new(json!({ "field": "{metric}", "unit": "" }));
    let outcome = plugin.feed(Input::new("d7", "5 V").topic("home/d7/volt\"s"));
    assert_eq!(outcome.emitted().text(), r#"{"volt\"s":5}"#);
}

#[test]
fn settings_that_make_no_sense_are_refused_in_words() {
    let refused = |settings| Plugin::<PlainNumber>::try_new(settings).unwrap_err();
    assert_eq!(
        refused(json!({ "field": "unit" })),
        "`field` and `unit` have the same name"
    );
    assert_eq!(
        refused(json!({ "words": { "a": [] } })),
        "`words.a` must be a number, text or truth"
    );
    assert!(refused(json!({ "field": "{room}" })).starts_with("`field`: `{room}` is not known"));
    assert_eq!(
        refused(json!({ "decimal": "dot" })),
        "`decimal` cannot be `dot`; it may be: `auto`, `point`, `comma`"
    );
}

#[test]
fn a_word_that_stands_there_twice_or_is_none_is_refused() {
    let refused = |settings| Plugin::<PlainNumber>::try_new(settings).unwrap_err();
    let twice = refused(json!({ "words": { "on": 5, "ON": 6 } }));
    assert_eq!(
        twice,
        "`words.on`: `on` stands there twice, since upper and lower case are one"
    );
    assert!(refused(json!({ "words": { " ": 5 } })).starts_with("`words` has an empty word"));
}
