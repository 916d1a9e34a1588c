use std::time::Duration;

use super::*;
use tidegate_sdk::serde_json::{Value, json};
use tidegate_sdk::test::{
    Input, Plugin, START_US, hostile_names, hostile_payloads, settings_shown,
};

fn plugin(settings: Value) -> Plugin<Rate> {
    Plugin::new(settings)
}

/// The rate that a reading gets, as it is written.
fn rate(plugin: &mut Plugin<Rate>, payload: &str) -> Option<String> {
    let outcome = plugin.feed(Input::new("d7", payload));
    assert_eq!(outcome.rejected(), None);
    let told = outcome.on("out").first()?.text().to_owned();
    let (_, rate) = told.trim_end_matches('}').rsplit_once("rate\":")?;
    Some(rate.to_owned())
}

fn after(plugin: &mut Plugin<Rate>, seconds: u64, payload: &str) -> Option<String> {
    plugin.advance(Duration::from_secs(seconds));
    rate(plugin, payload)
}

#[test]
fn what_the_page_shows_works() {
    let shown = settings_shown(include_str!("lib.rs"));
    let mut litres = plugin(shown[0].clone());
    litres.feed(Input::new("d7", r#"{"litres":100.50}"#));
    litres.advance(Duration::from_secs(30));
    let outcome = litres.feed(Input::new("d7", r#"{"litres":103.50}"#));
    assert_eq!(
        outcome.on("out")[0].text(),
        r#"{"litres":103.50,"litres_per_minute":6}"#
    );
    let mut energy = plugin(shown[1].clone());
    let ts = START_US / 1_000;
    energy.feed(Input::json(
        "d7",
        json!({ "ts": ts, "energy": 65530, "temperature": 20 }),
    ));
    let next = json!({ "ts": ts + 7_000, "energy": 4, "temperature": 19.3 });
    let outcome = energy.feed(Input::json("d7", next));
    let told = outcome.on("out")[0].json::<Value>();
    assert_eq!(
        (&told["energy_rate"], &told["temperature_rate"]),
        (&json!(5142.857), &json!(-0.1))
    );
}

#[test]
fn a_number_rises_and_falls_and_the_first_has_no_rate() {
    let mut plugin = plugin(json!({ "fields": ["t"] }));
    assert_eq!(rate(&mut plugin, r#"{"t":10}"#), None);
    assert_eq!(
        after(&mut plugin, 4, r#"{"t":11}"#).as_deref(),
        Some("0.25")
    );
    assert_eq!(
        after(&mut plugin, 1, r#"{"t":8.5}"#).as_deref(),
        Some("-2.5")
    );
    assert_eq!(rate(&mut plugin, r#"{"t":99}"#), None, "two at one time");
    assert_eq!(after(&mut plugin, 1, r#"{"t":null}"#), None);
    assert_eq!(
        after(&mut plugin, 1, r#"{"t":9.5}"#).as_deref(),
        Some("0.5")
    );
}

#[test]
fn a_counter_wraps_or_begins_anew() {
    let mut wraps = plugin(json!({ "fields": [{ "field": "n", "counter": true, "wrap": 100 }] }));
    rate(&mut wraps, r#"{"n":90}"#);
    assert_eq!(after(&mut wraps, 1, r#"{"n":5}"#).as_deref(), Some("15"));
    after(&mut wraps, 1, r#"{"n":60}"#);
    assert_eq!(
        after(&mut wraps, 1, r#"{"n":20}"#).as_deref(),
        Some("20"),
        "60 more is too far"
    );
    assert_eq!(after(&mut wraps, 1, r#"{"n":-1}"#), None);
    assert_eq!(
        wraps.counters(),
        [("resets".to_owned(), 1), ("wraps".to_owned(), 1)].into()
    );
    let mut large = plugin(json!({ "fields": [{ "field": "n", "counter": true }] }));
    rate(&mut large, r#"{"n":18446744073709551615}"#);
    assert_eq!(
        after(&mut large, 1, r#"{"n":18446744073709551618}"#).as_deref(),
        Some("3")
    );
}

#[test]
fn times_in_payloads_count_whatever_the_clock_says() {
    let settings =
        json!({ "fields": ["t"], "time": "event", "time_field": "at", "time_format": "iso" });
    let mut plugin = plugin(settings);
    let at =
        |second: u8, value: u8| format!(r#"{{"at":"2026-01-01T00:00:{second:02}Z","t":{value}}}"#);
    assert_eq!(rate(&mut plugin, &at(10, 1)), None);
    assert_eq!(after(&mut plugin, 900, &at(12, 2)).as_deref(), Some("0.5"));
    assert_eq!(rate(&mut plugin, &at(11, 9)), None, "it is older");
    assert_eq!(plugin.counters()["out_of_order"], 1);
    assert_eq!(rate(&mut plugin, &at(13, 4)).as_deref(), Some("2"));
    let outcome = plugin.feed(Input::new("d7", r#"{"at":"noon","t":1}"#));
    assert!(outcome.rejected().unwrap().contains("is no time"));
}

#[test]
fn a_clock_that_jumps_back_or_is_not_set_makes_no_rate_wrong() {
    let mut plugin = plugin(json!({ "fields": ["t"] }));
    rate(&mut plugin, r#"{"t":0}"#);
    plugin.advance(Duration::from_secs(10));
    plugin.set_clock(START_US - 86_400_000_000);
    assert_eq!(rate(&mut plugin, r#"{"t":5}"#).as_deref(), Some("0.5"));
    plugin.advance(Duration::from_secs(10));
    let outcome = plugin.feed(Input::new("d7", r#"{"t":6}"#).clock_unset());
    assert_eq!(outcome.on("out")[0].text(), r#"{"t":6,"t_rate":0.1}"#);
}

#[test]
fn gaps_and_bursts_tell_nothing() {
    let mut plugin = plugin(json!({ "fields": ["t"], "at_least": "10s", "max_gap": "1m" }));
    rate(&mut plugin, r#"{"t":0}"#);
    assert_eq!(after(&mut plugin, 5, r#"{"t":100}"#), None);
    assert_eq!(
        after(&mut plugin, 5, r#"{"t":10}"#).as_deref(),
        Some("1"),
        "since the first"
    );
    assert_eq!(after(&mut plugin, 61, r#"{"t":0}"#), None);
    assert_eq!(after(&mut plugin, 10, r#"{"t":1}"#).as_deref(), Some("0.1"));
}

#[test]
fn what_is_known_survives_a_swap_and_topics_are_apart() {
    let settings = json!({ "fields": ["t"] });
    let mut plugin = plugin(settings.clone());
    rate(&mut plugin, r#"{"t":0}"#);
    let mut plugin = plugin.swapped(settings);
    plugin.advance(Duration::from_secs(2));
    let other = plugin.feed(Input::new("d7", r#"{"t":9}"#).topic("devices/d7/other"));
    assert!(other.passed());
    assert_eq!(rate(&mut plugin, r#"{"t":1}"#).as_deref(), Some("0.5"));
    let mut plugin = plugin.swapped(json!({ "fields": ["t", "u"] }));
    assert_eq!(
        after(&mut plugin, 1, r#"{"t":1}"#),
        None,
        "other fields begin anew"
    );
}

#[test]
fn what_cannot_work_is_refused_in_words() {
    for (settings, words) in [
        (json!({ "fields": [] }), "1 to 32"),
        (json!({ "fields": ["t", "t"] }), "called `t_rate` already"),
        (
            json!({ "fields": [{ "field": "t", "wrap": 10 }] }),
            "for `counter = true`",
        ),
        (
            json!({ "fields": [{ "field": "t", "counter": true, "wrap": 0 }] }),
            "above 0",
        ),
        (
            json!({ "fields": [{ "field": "t", "per": "week" }] }),
            "a field is a path, or a table",
        ),
        (json!({ "fields": ["t"], "time": "event" }), "go together"),
        (
            json!({ "fields": ["t"], "time_format": "ms" }),
            "`time_format` is for",
        ),
        (
            json!({ "fields": ["t"], "at_least": "1m", "max_gap": "1m" }),
            "not longer",
        ),
        (
            json!({ "fields": ["t"], "max_devices": 0 }),
            "`max_devices` is 0",
        ),
    ] {
        let error = Plugin::<Rate>::try_new(settings).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn whatever_comes_nothing_panics_and_state_is_bounded() {
    let mut plugin = plugin(
        json!({ "fields": [{ "field": "t", "per": "d", "counter": true, "wrap": 65536 }, "u"] }),
    );
    for payload in hostile_payloads("t") {
        for _ in 0..2 {
            plugin.advance(Duration::from_micros(1));
            plugin.feed(Input::new("d7", payload.clone()));
        }
    }
    for name in hostile_names(20_000) {
        plugin.feed(Input::new(
            &name,
            r#"{"t":-17014118346046923173168730371588410572e-300,"u":1e300}"#,
        ));
    }
    let bytes: usize = plugin.save(false).iter().map(|page| page.data.len()).sum();
    assert!(bytes < 2 << 20, "{bytes}");
}

#[test]
fn what_is_kept_weighs_no_more_than_is_counted() {
    let value = json::Decimal::parse(b"-170141183460469231731687303715884105727e-361").unwrap();
    let point = Point {
        at_us: Some(i64::MIN),
        running_us: Some(u64::MAX),
        value,
    };
    for points in [vec![], vec![None; 5], vec![Some(point); 32]] {
        let last = Last {
            of: u32::MAX,
            points,
        };
        assert!(tidegate_sdk::weight(&last) <= last.weight());
    }
}
