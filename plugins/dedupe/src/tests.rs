use std::time::Duration;

use super::*;
use tidegate_sdk::serde_json::{Value, json};
use tidegate_sdk::test::{Input, Plugin, START_US, settings_shown};

fn passes(plugin: &mut Plugin<Dedupe>, device: &str, payload: Value) -> bool {
    let outcome = plugin.feed(Input::json(device, payload));
    assert_eq!(outcome.rejected(), None);
    outcome.passed()
}

#[test]
fn what_the_page_shows_works() {
    for settings in settings_shown(include_str!("lib.rs")) {
        let mut plugin = Plugin::<Dedupe>::new(settings);
        let reading = json!({ "deviceInfo": { "devEui": "70b3" }, "fCnt": 7 });
        assert!(passes(&mut plugin, "d7", reading.clone()) && !passes(&mut plugin, "d7", reading));
    }
}

#[test]
fn a_message_is_remembered_for_its_time() {
    let mut plugin = Plugin::<Dedupe>::new(json!({ "within": "1m" }));
    assert!(
        passes(&mut plugin, "d7", json!(1))
            && passes(&mut plugin, "d7", json!(2))
            && passes(&mut plugin, "d8", json!(1))
    );
    plugin.set_clock(START_US + 86_400_000_000);
    plugin.advance(Duration::from_secs(59));
    assert!(!passes(&mut plugin, "d7", json!(1)) && !passes(&mut plugin, "d7", json!(2)));
    plugin.advance(Duration::from_secs(1));
    assert!(passes(&mut plugin, "d7", json!(1)) && !passes(&mut plugin, "d7", json!(1)));
    assert_eq!(plugin.counters()["repeated"], 3);
}

#[test]
fn topics_are_apart_or_together() {
    let feed = |plugin: &mut Plugin<Dedupe>, topic: &str| {
        plugin.feed(Input::new("d7", "21").topic(topic)).passed()
    };
    let mut apart = Plugin::<Dedupe>::new(json!({}));
    assert!(feed(&mut apart, "a/d7") && feed(&mut apart, "b/d7") && !feed(&mut apart, "b/d7"));
    let mut together = Plugin::<Dedupe>::new(json!({ "topics": "together" }));
    assert!(feed(&mut together, "a/d7") && !feed(&mut together, "b/d7"));
}

#[test]
fn fields_tell_what_is_the_same() {
    let mut plugin = Plugin::<Dedupe>::new(json!({ "fields": ["a", "b"] }));
    assert!(passes(
        &mut plugin,
        "d7",
        json!({ "a": 1, "b": 23, "rssi": -60 })
    ));
    assert!(!passes(
        &mut plugin,
        "d7",
        json!({ "a": 1, "b": 23, "rssi": -70 })
    ));
    assert!(passes(&mut plugin, "d7", json!({ "a": 12, "b": 3 })));
    assert!(
        plugin
            .feed(Input::json("d7", json!({ "a": 1, "b": null })))
            .excused()
    );
    assert!(
        plugin
            .feed(Input::new("d7", "no JSON"))
            .rejected()
            .is_some()
    );
    assert!(plugin.feed(Input::new("d7", "").retained()).passed());
    let mut lenient = Plugin::<Dedupe>::new(json!({ "fields": ["a"], "missing": "pass" }));
    assert!(passes(&mut lenient, "d7", json!({})) && passes(&mut lenient, "d7", json!({})));
}

#[test]
fn what_is_remembered_survives_a_swap_and_is_bounded() {
    let settings = json!({ "max_messages": 3, "max_devices": 10_000, "within": "1d" });
    let mut plugin = Plugin::<Dedupe>::new(settings.clone());
    for device in 0..10_100 {
        for number in 0..4 {
            assert!(passes(&mut plugin, &format!("d{device}"), json!(number)));
        }
    }
    assert_eq!(plugin.counters()["keys_forgotten"], 100);
    let bytes: usize = plugin
        .save(false)
        .iter()
        .map(|page| page.data.len() + page.words.len() * 4)
        .sum();
    assert!(bytes < 2 << 20, "{bytes} bytes");
    let mut plugin = plugin.swapped(settings);
    assert!(
        !passes(&mut plugin, "d10099", json!(1)) && passes(&mut plugin, "d10099", json!(0)),
        "the oldest was forgotten"
    );
    plugin.save(true);
    assert!(!passes(&mut plugin, "d10098", json!(3)));
    assert!(
        plugin.save(true)[0].words.is_empty(),
        "a repeat changes nothing"
    );
}

#[test]
fn settings_that_make_no_sense_are_refused_in_words() {
    let refused = |settings| Plugin::<Dedupe>::try_new(settings).unwrap_err();
    assert!(refused(json!({ "within": "0s" })).starts_with("`within` is no time"));
    assert_eq!(
        refused(json!({ "max_messages": 0 })),
        "`max_messages` is 0; it may be 1 to 10000"
    );
    assert_eq!(
        refused(json!({ "fields": ["a."] })),
        "`fields`: path `a.` has an empty name"
    );
    assert_eq!(
        refused(json!({ "topics": "all" })),
        "`topics` cannot be `all`; it may be: `apart`, `together`"
    );
}

#[test]
fn devices_with_long_names_leave_what_is_remembered_of_others_alone() {
    let mut plugin = Plugin::<Dedupe>::new(json!({}));
    for number in 0..5_000 {
        assert!(passes(
            &mut plugin,
            &format!("{}-{number}", "n".repeat(800)),
            json!(1)
        ));
        assert_eq!(passes(&mut plugin, "good", json!(1)), number == 0);
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
    assert!(!passes(&mut plugin.swapped(json!({})), "good", json!(1)));
}

#[test]
fn a_number_is_known_by_what_it_says() {
    let mut plugin = Plugin::<Dedupe>::new(json!({ "fields": ["n"] }));
    let mut goes_on = |payload: &str| plugin.feed(Input::new("d7", payload)).passed();
    assert!(goes_on(r#"{"n":1}"#));
    for again in [r#"{"n":1.0}"#, r#"{"n":1e0}"#, r#"{"n":10E-1}"#] {
        assert!(!goes_on(again), "{again}");
    }
    for other in [r#"{"n":"1"}"#, r#"{"n":1.01}"#, r#"{"n":-1}"#] {
        assert!(goes_on(other), "{other}");
    }
}

#[test]
fn more_than_ever_fits_is_refused() {
    for settings in [
        json!({ "max_devices": 1_000_000 }),
        json!({ "max_messages": 100_000 }),
    ] {
        assert!(
            Plugin::<Dedupe>::try_new(settings.clone()).is_err(),
            "{settings}"
        );
    }
}
