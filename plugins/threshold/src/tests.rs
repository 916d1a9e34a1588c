use super::*;
use tidegate_sdk::serde_json::{Value, json};
use tidegate_sdk::test::{Input, Outcome, Plugin, START_US};

fn plugin(settings: Value) -> Plugin<Threshold> {
    Plugin::new(settings)
}

fn read(plugin: &mut Plugin<Threshold>, device: &str, value: f64) -> Vec<String> {
    let outcome = plugin.feed(Input::json(device, json!({ "f": value })));
    assert_eq!(outcome.rejected(), None);
    assert!(
        matches!(outcome.0.first(), Some(tidegate_sdk::test::Output::Pass { port }) if port == "out"),
        "the reading goes on"
    );
    told(&outcome)
}

fn told(outcome: &Outcome) -> Vec<String> {
    let alarms = outcome
        .on("alarms")
        .into_iter()
        .map(|alarm| alarm.json::<Value>());
    alarms
        .map(|alarm| {
            format!(
                "{} {} {}",
                alarm["device"].as_str().unwrap(),
                alarm["side"].as_str().unwrap(),
                alarm["state"].as_str().unwrap()
            )
        })
        .collect()
}

#[test]
fn an_alarm_is_raised_once_and_cleared_below_the_hysteresis() {
    let mut plugin = plugin(json!({ "field": "f", "above": 86, "hysteresis": 2 }));
    assert!(read(&mut plugin, "d7", 86.0).is_empty());
    assert_eq!(read(&mut plugin, "d7", 86.5), ["d7 above raised"]);
    assert!(read(&mut plugin, "d7", 90.0).is_empty() && read(&mut plugin, "d8", 80.0).is_empty());
    assert!(read(&mut plugin, "d7", 84.0).is_empty());
    assert_eq!(read(&mut plugin, "d7", 83.9), ["d7 above cleared"]);
    assert_eq!(
        plugin.counters(),
        [
            ("alarms_cleared".to_owned(), 1),
            ("alarms_raised".to_owned(), 1)
        ]
        .into()
    );
}

#[test]
fn the_alarm_says_what_who_and_since_when() {
    let mut plugin =
        plugin(json!({ "field": "t.f", "above": 86, "name": "heat", "topic": "x/{name}/{key}" }));
    let outcome = plugin.feed(Input::json("d7", json!({ "t": { "f": 90.5 } })).retained());
    let alarm = outcome.on("alarms")[0];
    let expected = format!(
        r#"{{"alarm":"heat","device":"d7","state":"raised","side":"above","limit":86.0,"value":90.5,"since":{START_US},"at":{START_US}}}"#
    );
    assert_eq!(
        (alarm.text(), &*alarm.topic, &*alarm.key, alarm.retain),
        (&*expected, "x/heat/d7", "d7", false)
    );
}

#[test]
fn a_leap_from_side_to_side_clears_and_raises() {
    let mut plugin = plugin(json!({ "field": "f", "above": 10, "below": 0 }));
    assert_eq!(read(&mut plugin, "d7", 11.0), ["d7 above raised"]);
    assert_eq!(
        read(&mut plugin, "d7", -1.0),
        ["d7 above cleared", "d7 below raised"]
    );
}

#[test]
fn a_change_must_last() {
    let mut plugin = plugin(json!({ "field": "f", "above": 10, "hold_seconds": 10 }));
    assert!(read(&mut plugin, "d7", 11.0).is_empty());
    plugin.advance(Duration::from_secs(6));
    assert!(
        read(&mut plugin, "d7", 9.0).is_empty(),
        "a dip starts the wait anew"
    );
    assert!(read(&mut plugin, "d7", 11.0).is_empty());
    plugin.advance(Duration::from_secs(9));
    assert!(read(&mut plugin, "d7", 12.0).is_empty());
    plugin.advance(Duration::from_secs(1));
    assert_eq!(read(&mut plugin, "d7", 13.0), ["d7 above raised"]);
}

#[test]
fn the_timer_ends_the_wait_of_a_device_that_went_quiet() {
    let mut plugin = plugin(json!({ "field": "f", "above": 10, "hold_seconds": 10 }));
    read(&mut plugin, "d7", 11.0);
    assert_eq!(told(&plugin.run_for(Duration::from_secs(9))), [""; 0]);
    let outcome = plugin.run_for(Duration::from_secs(4));
    assert_eq!(told(&outcome), ["d7 above raised"]);
    assert_eq!(outcome.on("alarms")[0].key, "d7");
    assert_eq!(told(&plugin.run_for(Duration::from_secs(60))), [""; 0]);
}

#[test]
fn what_is_raised_and_what_waits_survives_a_swap() {
    let settings = json!({ "field": "f", "above": 10, "hold_seconds": 10 });
    let mut plugin = plugin(settings.clone());
    read(&mut plugin, "d7", 11.0);
    plugin.run_for(Duration::from_secs(15));
    read(&mut plugin, "d8", 12.0);
    let mut plugin = plugin.swapped(settings);
    assert_eq!(
        told(&plugin.run_for(Duration::from_secs(15))),
        ["d8 above raised"]
    );
    read(&mut plugin, "d7", 0.0);
    assert_eq!(
        told(&plugin.run_for(Duration::from_secs(15))),
        ["d7 above cleared"]
    );
}

#[test]
fn readings_inside_the_bounds_change_no_state() {
    let mut plugin = plugin(json!({ "field": "f", "above": 10, "hold_seconds": 1 }));
    for value in 0..5 {
        read(&mut plugin, "d7", f64::from(value));
    }
    assert!(plugin.save(true)[0].words.is_empty());
}

#[test]
fn bad_payloads_are_rejected_and_missing_fields_may_pass() {
    let mut plugin = plugin(json!({ "field": "f", "above": 10 }));
    let mut reason = |payload: &str| {
        plugin
            .feed(Input::new("d7", payload))
            .rejected()
            .unwrap()
            .to_owned()
    };
    assert_eq!(reason("{}"), "field `f` is missing");
    assert_eq!(reason(r#"{"f":null}"#), "field `f` is missing");
    assert_eq!(
        reason(r#"{"f":1,"f":2}"#),
        "payload has field `f` twice, at byte 11"
    );
    assert_eq!(
        reason(r#"{"f":1"#),
        "payload is not valid JSON: it ends too early, at byte 6"
    );
    let mut lenient = super::tests::plugin(json!({ "field": "f", "above": 10, "missing": "pass" }));
    assert!(lenient.feed(Input::new("d7", "{}")).passed());
    assert!(lenient.feed(Input::new("d7", r#"{"f":null}"#)).passed());
    let mut strict = super::tests::plugin(json!({ "field": "f", "above": 10 }));
    assert!(
        strict.feed(Input::new("d7", r#"{"f":null}"#)).excused(),
        "no value is no reason for a quarantine"
    );
    assert!(!strict.feed(Input::new("d7", r#"{"f":"x"}"#)).excused());
    assert!(
        strict.feed(Input::new("d7", "").retained()).passed(),
        "a delete of a retained reading"
    );
}

#[test]
fn a_clock_set_back_or_ahead_changes_no_wait() {
    for jump in [START_US - 3_600_000_000, START_US + 86_400_000_000, 0] {
        let mut plugin = plugin(json!({ "field": "f", "above": 10, "hold_seconds": 10 }));
        read(&mut plugin, "d7", 11.0);
        plugin.set_clock(jump);
        plugin.advance(Duration::from_secs(9));
        assert!(
            read(&mut plugin, "d7", 11.0).is_empty(),
            "too early after {jump}"
        );
        plugin.advance(Duration::from_secs(1));
        assert_eq!(
            read(&mut plugin, "d7", 11.0),
            ["d7 above raised"],
            "too late after {jump}"
        );
        read(&mut plugin, "d8", 11.0);
        plugin.set_clock(jump + 1);
        assert_eq!(
            told(&plugin.run_for(Duration::from_secs(13))),
            ["d8 above raised"],
            "by the timer after {jump}"
        );
    }
}

#[test]
fn an_alarm_is_not_the_reading_that_raised_it() {
    let mut plugin = plugin(json!({ "field": "f", "above": 10, "topic": "alarms/all" }));
    let cause = Input::json("d7", json!({ "f": 11 }))
        .qos(0)
        .retained()
        .header(":message-expiry", b"2");
    let outcome = plugin.feed(cause);
    let alarm = outcome.on("alarms")[0];
    assert_eq!(
        (alarm.headers.len(), alarm.retain, alarm.qos, &*alarm.key),
        (0, false, 1, "d7")
    );
}

#[test]
fn made_up_devices_are_forgotten_before_they_fill_the_state() {
    let mut plugin = plugin(json!({ "field": "f", "above": 10 }));
    for device in 0..60_000 {
        read(&mut plugin, &format!("quiet-{device}"), 5.0);
    }
    assert_eq!(
        plugin.plugin().devices.len(),
        0,
        "of who is within the bounds nothing need be known"
    );
    for device in 0..(default_devices() + 500) {
        read(&mut plugin, &format!("loud-{device}"), 11.0);
    }
    assert_eq!(
        (
            plugin.plugin().devices.len(),
            plugin.counters()["keys_forgotten"]
        ),
        (default_devices(), 500)
    );
    let bytes: usize = plugin
        .save(false)
        .iter()
        .map(|page| page.data.len() + page.words.len() * 4)
        .sum();
    assert!(bytes < 4 << 20, "{bytes} bytes");
}

#[test]
fn what_the_page_shows_works() {
    let shown = tidegate_sdk::test::settings_shown(include_str!("lib.rs"));
    assert_eq!(shown.len(), 1);
    plugin(shown[0].clone());
}

#[test]
fn ten_thousand_waits_that_end_at_once_are_told_in_bounded_ticks() {
    let mut plugin =
        plugin(json!({ "field": "f", "above": 10, "hold_seconds": 1, "max_devices": 10_000 }));
    for device in 0..10_000 {
        read(&mut plugin, &format!("d{device}"), 11.0);
    }
    plugin.run_for(Duration::from_millis(900));
    let mut all = 0;
    for _ in 0..12 {
        let alarms = told(&plugin.run_for(Duration::from_millis(250))).len();
        assert!(alarms <= 2_000, "{alarms} in one tick");
        all += alarms;
    }
    assert_eq!(all, 10_000);
}

#[test]
fn settings_that_make_no_sense_are_refused_in_words() {
    let refused = |settings: Value| Plugin::<Threshold>::try_new(settings).unwrap_err();
    assert_eq!(
        refused(json!({ "field": "f" })),
        "set `above`, `below` or both"
    );
    assert_eq!(
        refused(json!({ "field": "f", "above": 1, "below": 2 })),
        "`below` is above `above`: every reading would raise an alarm"
    );
    assert_eq!(
        refused(json!({ "field": "f", "above": 1, "hysteresis": -1 })),
        "`hysteresis` is negative"
    );
    assert_eq!(
        refused(json!({ "field": "f", "above": 1, "hold_seconds": -1 })),
        "`hold_seconds` is negative"
    );
    assert!(
        refused(json!({ "field": "f", "abov": 1 }))
            .starts_with("there is no setting `abov`; there are: `field`")
    );
    assert!(
        refused(json!({ "field": "f", "above": 1, "topic": "a/#" }))
            .starts_with("`topic`: `a/#` is no topic")
    );
    let named = json!({ "field": "f", "above": 1, "name": "boiler #1" });
    assert!(refused(named).contains("makes a topic like `alarms/x/boiler #1`"));
    assert!(
        refused(json!({ "field": "f", "above": 1, "topic": "a/{room}" }))
            .starts_with("`topic`: `{room}` is not known")
    );
    assert!(
        refused(json!({ "field": "f", "above": 9007199254740993_u64 }))
            .contains("can no longer be told apart")
    );
}

#[test]
fn the_alarms_topic_speaks_the_language_of_the_flows() {
    tidegate_sdk::test::in_flow("climate", &["{site}/{device}/t"]);
    let settings = json!({ "field": "f", "above": 10, "hold_seconds": 1, "topic": "{flow}/{site}/{device}/{name}" });
    let mut plugin = plugin(settings);
    let reading = || Input::json("{name}", json!({ "f": 11 })).topic("barn/{name}/t");
    plugin.feed(reading());
    let by_timer = plugin.run_for(Duration::from_secs(3));
    assert_eq!(
        (
            &*by_timer.on("alarms")[0].topic,
            &*by_timer.on("alarms")[0].key
        ),
        ("climate/barn/{name}/f", "{name}")
    );
    plugin.feed(Input::json("{name}", json!({ "f": 1 })).topic("barn/{name}/t"));
    plugin.advance(Duration::from_secs(2));
    let by_reading = plugin.feed(Input::json("{name}", json!({ "f": 1 })).topic("barn/{name}/t"));
    assert_eq!(by_reading.on("alarms")[0].topic, "climate/barn/{name}/f");
}

#[test]
fn devices_with_long_names_leave_the_alarms_of_others_alone() {
    let settings =
        json!({ "field": "f", "above": 10, "hold_seconds": 5, "topic": "alarms/{topic}" });
    let mut plugin = plugin(settings.clone());
    read(&mut plugin, "good", 20.0);
    for number in 0..3_000 {
        read(&mut plugin, &format!("{}-{number}", "n".repeat(800)), 20.0);
        read(&mut plugin, "good", 20.0);
    }
    assert!(plugin.counters()["keys_forgotten"] > 1_000);
    let bytes: usize = plugin
        .save(false)
        .iter()
        .map(|page| page.data.len() + page.words.len() * 4)
        .sum();
    assert!(bytes < 2 << 20, "{bytes} bytes");
    for (_, value) in plugin.plugin().devices.iter() {
        assert!(value.weight() >= tidegate_sdk::weight(value));
    }
    let alarms = told(&plugin.swapped(settings).run_for(Duration::from_secs(8)));
    assert_eq!(
        alarms
            .iter()
            .filter(|alarm| *alarm == "good above raised")
            .count(),
        1
    );
}

#[test]
fn settings_that_cannot_work_are_refused_in_words() {
    let refused = |settings| Plugin::<Threshold>::try_new(settings).unwrap_err();
    assert_eq!(
        refused(json!({ "field": "f", "above": 5, "below": 4, "hysteresis": 100 })),
        "`hysteresis` is 100, and `below` and `above` are 1 apart: no reading could clear the alarm; set it to less"
    );
    assert!(
        refused(json!({ "field": "f", "above": 5, "hold_seconds": 1e300 }))
            .starts_with("`hold_seconds` is more than a year")
    );
    assert!(
        refused(json!({ "field": "f", "above": 5, "max_devices": 10_000_000 }))
            .starts_with("`max_devices` is 10000000")
    );
}
