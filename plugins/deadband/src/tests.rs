use std::time::Duration;

use super::*;
use tidegate_sdk::serde_json::{Value, json};
use tidegate_sdk::test::{Input, Plugin, START_US, settings_shown};

fn passes(plugin: &mut Plugin<Deadband>, device: &str, payload: Value) -> bool {
    let outcome = plugin.feed(Input::json(device, payload));
    assert_eq!(outcome.rejected(), None);
    outcome.passed()
}

fn series(settings: Value, values: &[&str]) -> Vec<bool> {
    let mut plugin = Plugin::<Deadband>::new(settings);
    let feed = |value: &&str| {
        plugin
            .feed(Input::new("d7", format!("{{\"t\":{value}}}")))
            .passed()
    };
    values.iter().map(feed).collect()
}

#[test]
fn what_the_page_shows_works() {
    for settings in settings_shown(include_str!("lib.rs")) {
        let mut plugin = Plugin::<Deadband>::new(settings);
        let reading = json!({ "temperature": 21.5, "power": 100, "state": "ON", "contact": true });
        assert!(passes(&mut plugin, "d7", reading.clone()) && !passes(&mut plugin, "d7", reading));
    }
}

#[test]
fn what_is_not_further_than_the_band_stays_behind() {
    let settings = json!({ "fields": [{ "field": "t", "absolute": 0.2 }] });
    let values = ["21.2", "21.4", "21.0", "21.41", "21.40", "21.22", "21.2"];
    assert_eq!(
        series(settings, &values),
        [true, false, false, true, false, false, true],
        "0.2 is not more than 0.2, and small steps add up"
    );
    let percent = json!({ "fields": [{ "field": "t", "percent": 10 }] });
    assert_eq!(
        series(percent, &["-100", "-110", "-110.1", "0", "0", "1e-9"]),
        [true, false, true, true, false, true]
    );
    let any = json!({ "fields": ["t"] });
    assert_eq!(
        series(any, &["\"ON\"", "\"ON\"", "[1]", "[1]", "1", "1.0"]),
        [true, false, true, false, true, false]
    );
    let long = format!("\"{}\"", "x".repeat(5_000));
    assert_eq!(
        series(json!({ "fields": ["t"] }), &[&long, &long, "\"x\""]),
        [true, false, true]
    );
    let both = json!({ "fields": [{ "field": "t", "absolute": 10, "percent": 1 }] });
    assert_eq!(series(both, &["100", "101", "102"]), [true, false, true]);
}

#[test]
fn huge_numbers_are_compared_with_all_their_digits() {
    let settings = json!({ "fields": [{ "field": "t", "absolute": 1 }] });
    let values = [
        "9007199254740992",
        "9007199254740993",
        "9007199254740994",
        "1e300",
        "1e300",
        "-1e-300",
        "0",
    ];
    assert_eq!(series(settings, &values)[..3], [true, false, true]);
}

#[test]
fn a_heartbeat_goes_by_the_time_the_gateway_runs() {
    let mut plugin = Plugin::<Deadband>::new(json!({ "fields": ["t"], "heartbeat": "15m" }));
    assert!(passes(&mut plugin, "d7", json!({ "t": 1 })));
    plugin.set_clock(START_US + 86_400_000_000);
    plugin.advance(Duration::from_secs(899));
    assert!(!passes(&mut plugin, "d7", json!({ "t": 1 })));
    plugin.set_clock(0);
    plugin.advance(Duration::from_secs(1));
    assert!(
        passes(&mut plugin, "d7", json!({ "t": 1 }))
            && !passes(&mut plugin, "d7", json!({ "t": 1 }))
    );
}

#[test]
fn devices_and_their_topics_are_apart() {
    let mut plugin = Plugin::<Deadband>::new(json!({ "fields": ["value"] }));
    let mut feed = |device: &str, topic: &str| {
        plugin
            .feed(Input::json(device, json!({ "value": 5 })).topic(topic))
            .passed()
    };
    assert!(feed("d7", "d7/t") && feed("d7", "d7/h") && feed("d8", "d8/t"));
    assert!(!feed("d7", "d7/t") && !feed("d7", "d7/h") && !feed("d8", "d8/t"));
}

#[test]
fn fields_that_come_and_go_are_a_change() {
    let mut plugin =
        Plugin::<Deadband>::new(json!({ "fields": [{ "field": "a", "absolute": 1 }, "b"] }));
    assert!(
        passes(&mut plugin, "d7", json!({ "a": 1 }))
            && !passes(&mut plugin, "d7", json!({ "a": 1, "b": null, "c": 1 }))
    );
    assert!(
        passes(&mut plugin, "d7", json!({ "a": 1, "b": 2 }))
            && passes(&mut plugin, "d7", json!({ "b": 2 }))
    );
    assert!(
        passes(&mut plugin, "d7", json!({ "c": 2 }))
            && passes(&mut plugin, "d7", json!({ "c": 2 })),
        "nothing to compare"
    );
    assert!(!passes(&mut plugin, "d7", json!({ "b": 2 })));
    let mut strict = Plugin::<Deadband>::new(json!({ "fields": ["a"], "missing": "reject" }));
    assert!(strict.feed(Input::json("d7", json!({}))).excused());
    assert!(strict.feed(Input::new("d7", "").retained()).passed());
    let outcome = plugin.feed(Input::json("d7", json!({ "a": "NaN" })));
    assert_eq!(
        outcome.rejected(),
        Some("field `a` is not a number: `\"NaN\"`")
    );
}

#[test]
fn what_went_on_survives_a_swap_and_other_fields_begin_anew() {
    let settings = json!({ "fields": [{ "field": "t", "absolute": 1 }] });
    let mut plugin = Plugin::<Deadband>::new(settings);
    passes(&mut plugin, "d7", json!({ "t": 21.5, "h": 1 }));
    let mut plugin = plugin.swapped(json!({ "fields": [{ "field": "t", "absolute": 2 }] }));
    assert!(!passes(&mut plugin, "d7", json!({ "t": 23.5, "h": 1 })));
    let mut plugin = plugin.swapped(json!({ "fields": ["h"] }));
    assert!(passes(&mut plugin, "d7", json!({ "t": 23.5, "h": 1 })));
}

#[test]
fn unchanged_readings_change_no_state_and_devices_are_bounded() {
    let mut plugin = Plugin::<Deadband>::new(json!({ "fields": ["t"], "max_devices": 10_000 }));
    for device in 0..10_050 {
        passes(&mut plugin, &format!("d{device}"), json!({ "t": 1 }));
    }
    assert_eq!(
        (
            plugin.plugin().devices.len(),
            plugin.counters()["keys_forgotten"]
        ),
        (10_000, 50)
    );
    let bytes: usize = plugin
        .save(false)
        .iter()
        .map(|page| page.data.len() + page.words.len() * 4)
        .sum();
    assert!(bytes < 2 << 20, "{bytes} bytes");
    plugin.save(true);
    assert!(!passes(&mut plugin, "d10049", json!({ "t": 1 })));
    assert!(plugin.save(true)[0].words.is_empty());
    assert_eq!(plugin.counters()["unchanged"], 1);
}

#[test]
fn settings_that_make_no_sense_are_refused_in_words() {
    let refused = |settings| Plugin::<Deadband>::try_new(settings).unwrap_err();
    assert!(refused(json!({ "fields": [] })).starts_with("`fields` is empty"));
    assert_eq!(
        refused(json!({ "fields": ["a", "a"] })),
        "`fields.1`: `a` stands there twice"
    );
    assert_eq!(
        refused(json!({ "fields": [{ "field": "a", "absolute": -1 }] })),
        "`fields.0`: `absolute` is negative"
    );
    assert!(
        refused(json!({ "fields": ["a"], "heartbeat": "0s" }))
            .starts_with("`heartbeat` is no time")
    );
    assert_eq!(
        refused(json!({ "fields": ["a"], "max_devices": 0 })),
        "`max_devices` is 0"
    );
    assert!(
        refused(json!({ "fields": [{ "field": "a", "absolut": 1 }] }))
            .contains("a field is a path, or a table")
    );
}

#[test]
fn devices_with_long_names_leave_what_went_on_last_of_others_alone() {
    let settings = json!({ "fields": ["t", "u"], "heartbeat": "1d" });
    let mut plugin = Plugin::<Deadband>::new(settings.clone());
    for number in 0..6_000 {
        passes(
            &mut plugin,
            &format!("{}-{number}", "n".repeat(800)),
            json!({ "t": 1.25, "u": "x".repeat(number % 60) }),
        );
        let is_first = number == 0;
        assert_eq!(passes(&mut plugin, "good", json!({ "t": 1 })), is_first);
    }
    assert!(plugin.counters()["keys_forgotten"] > 3_000);
    let bytes: usize = plugin
        .save(false)
        .iter()
        .map(|page| page.data.len() + page.words.len() * 4)
        .sum();
    assert!(bytes < 2 << 20, "{bytes} bytes");
    for (_, topics) in plugin.plugin().devices.iter() {
        assert!(topics.weight(Sent::weight) >= tidegate_sdk::weight(topics));
    }
    assert!(!passes(
        &mut plugin.swapped(settings),
        "good",
        json!({ "t": 1 })
    ));
}

#[test]
fn more_devices_than_ever_fit_are_refused() {
    let settings = json!({ "fields": ["t"], "max_devices": 10_000_000 });
    let refused = Plugin::<Deadband>::try_new(settings).unwrap_err();
    assert!(
        refused.starts_with("`max_devices` is 10000000"),
        "{refused}"
    );
}
