use super::*;
use tidegate_sdk::serde_json::{Value, json};
use tidegate_sdk::test::{Input, Outcome, Plugin, START_US, in_flow, settings_shown};

const HOUR: Duration = Duration::from_secs(3_600);

fn plugin(settings: Value) -> Plugin<Silence> {
    Plugin::new(settings)
}

fn told(outcome: &Outcome) -> Vec<String> {
    let alarms = outcome
        .on("alarms")
        .into_iter()
        .map(|alarm| alarm.json::<Value>());
    alarms
        .map(|alarm| {
            format!(
                "{} {}",
                alarm["device"].as_str().unwrap(),
                alarm["state"].as_str().unwrap()
            )
        })
        .collect()
}

fn hear(plugin: &mut Plugin<Silence>, device: &str) -> Vec<String> {
    let outcome = plugin.feed(Input::new(device, "whatever"));
    assert_eq!(outcome.rejected(), None);
    told(&outcome)
}

#[test]
fn what_the_page_shows_works() {
    let shown = settings_shown(include_str!("lib.rs"));
    let mut plugin = plugin(shown[0].clone());
    hear(&mut plugin, "d7");
    let outcome = plugin.run_for(HOUR * 9 / 8);
    let alarm = outcome.on("alarms")[0];
    let at = alarm.json::<Value>()["at"].as_u64().unwrap();
    assert_eq!(
        alarm.text(),
        format!(
            r#"{{"alarm":"silence","device":"d7","state":"raised","after":3600.0,"last":{START_US},"at":{at}}}"#
        )
    );
    assert_eq!((&*alarm.topic, &*alarm.key), ("alarms/d7/silence", "d7"));
}

#[test]
fn silence_is_told_once_and_so_is_its_end() {
    let mut plugin = plugin(json!({ "after": "1h" }));
    hear(&mut plugin, "d7");
    for _ in 0..20 {
        assert!(told(&plugin.run_for(HOUR / 2)).is_empty() && hear(&mut plugin, "d7").is_empty());
    }
    assert!(
        told(&plugin.run_for(HOUR)).is_empty(),
        "not before its time, however rarely it is written"
    );
    assert_eq!(told(&plugin.run_for(HOUR / 8)), ["d7 raised"]);
    assert!(told(&plugin.run_for(HOUR * 48)).is_empty());
    assert_eq!(hear(&mut plugin, "d7"), ["d7 cleared"]);
    assert!(hear(&mut plugin, "d7").is_empty());
    assert_eq!(told(&plugin.run_for(HOUR * 2)), ["d7 raised"]);
}

#[test]
fn a_reading_right_after_the_last_that_was_written_still_counts() {
    let mut plugin = plugin(json!({ "after": "1h" }));
    hear(&mut plugin, "d7");
    plugin.run_for(HOUR / 17);
    hear(&mut plugin, "d7");
    assert!(told(&plugin.run_for(HOUR)).is_empty());
    assert_eq!(told(&plugin.run_for(HOUR / 8)), ["d7 raised"]);
}

#[test]
fn neither_a_jump_of_the_clock_nor_a_lost_store_raises_anything() {
    for jump in [0, START_US + 86_400_000_000, START_US - 86_400_000_000] {
        let mut plugin = plugin(json!({ "after": "1h" }));
        hear(&mut plugin, "d7");
        plugin.set_clock(jump);
        assert!(told(&plugin.run_for(HOUR / 2)).is_empty(), "{jump}");
        assert_eq!(told(&plugin.run_for(HOUR)), ["d7 raised"]);
    }
    let rule = Rule::new(Period::seconds(60), Some(Period::seconds(600)));
    let mut device = Device::expected(1_000_000_000);
    assert!(!rule.wait(&mut &mut device, 5) && device.seen.running_us == 5);
    assert!(rule.wait(&mut &mut device, 70_000_000));
}

#[test]
fn expected_devices_are_missed_from_the_start() {
    let mut plugin = plugin(json!({ "after": "1h", "expected": ["d1", "d2"] }));
    assert!(plugin.setup().one_lane);
    hear(&mut plugin, "d2");
    plugin.run_for(HOUR / 2);
    hear(&mut plugin, "d2");
    let outcome = plugin.run_for(HOUR * 3 / 4);
    assert_eq!(told(&outcome), ["d1 raised"]);
    assert_eq!(outcome.on("alarms")[0].json::<Value>()["last"], 0);
    let mut plugin = plugin.swapped(json!({ "after": "1h", "expected": ["d1", "d2"] }));
    assert!(
        !told(&plugin.run_for(HOUR / 8)).contains(&"d1 raised".to_owned()),
        "it was told before the swap"
    );
    plugin.run_for(HOUR * 24 * 60);
    assert_eq!(plugin.plugin().devices.len(), 2, "they are never forgotten");
}

#[test]
fn what_is_known_survives_a_swap() {
    let settings = json!({ "after": "1h" });
    let mut plugin = plugin(settings.clone());
    hear(&mut plugin, "d7");
    plugin.run_for(HOUR * 2);
    hear(&mut plugin, "d8");
    let mut plugin = plugin.swapped(settings);
    assert_eq!(hear(&mut plugin, "d7"), ["d7 cleared"]);
    assert_eq!(told(&plugin.run_for(HOUR * 2)).len(), 2);
}

#[test]
fn a_chatty_device_is_not_written_with_every_reading() {
    let mut plugin = plugin(json!({ "after": "1h" }));
    hear(&mut plugin, "d7");
    plugin.save(true);
    for _ in 0..100 {
        plugin.advance(Duration::from_secs(2));
        hear(&mut plugin, "d7");
    }
    assert!(plugin.save(true)[0].words.is_empty());
}

#[test]
fn ten_thousand_devices_are_told_in_bounded_ticks_and_new_ones_do_not_push_them_out() {
    let mut plugin = plugin(json!({ "after": "1h", "max_devices": 10_000, "forget_after": "3h" }));
    for device in 0..10_100 {
        hear(&mut plugin, &format!("d{device}"));
    }
    assert_eq!(plugin.plugin().devices.len(), 10_000);
    assert_eq!(plugin.counters()["devices_unwatched"], 100);
    assert_eq!(plugin.log().len(), 1, "{:?}", plugin.log());
    let mut all = 0;
    for _ in 0..500 {
        let alarms = told(&plugin.run_for(Duration::from_secs(10))).len();
        assert!(alarms <= 2_000);
        all += alarms;
    }
    assert_eq!(all, 10_000);
    plugin.run_for(HOUR * 3);
    assert!(plugin.plugin().devices.is_empty());
}

#[test]
fn one_that_is_forgotten_while_its_alarm_is_raised_ends_it() {
    let mut plugin = plugin(json!({ "after": "1h", "forget_after": "3h" }));
    hear(&mut plugin, "d7");
    assert_eq!(told(&plugin.run_for(HOUR * 2)), ["d7 raised"]);
    assert_eq!(told(&plugin.run_for(HOUR * 2)), ["d7 forgotten"]);
    assert!(hear(&mut plugin, "d7").is_empty());
}

#[test]
fn no_name_of_a_device_ends_the_alarms_of_others() {
    let mut plugin = plugin(json!({ "after": "1h", "expected": ["#", "d7"] }));
    let outcome = plugin.run_for(HOUR * 2);
    let topics: Vec<&str> = outcome
        .on("alarms")
        .iter()
        .map(|alarm| &*alarm.topic)
        .collect();
    assert_eq!(topics, ["alarms/_/silence", "alarms/d7/silence"]);
}

#[test]
fn retained_messages_may_be_no_sign_of_life() {
    let mut plugin = plugin(json!({ "after": "1h", "retained": "ignore" }));
    plugin.feed(Input::new("d7", "x").retained());
    assert!(plugin.plugin().devices.is_empty());
}

#[test]
fn the_topic_speaks_the_language_of_the_flows() {
    in_flow("climate", &["{site}/{device}/t"]);
    let mut plugin =
        plugin(json!({ "after": "1h", "topic": "{site}/{device}/{name}", "name": "lost" }));
    plugin.feed(Input::new("d7", "x").topic("barn/d7/t"));
    assert_eq!(
        plugin.run_for(HOUR * 2).on("alarms")[0].topic,
        "barn/d7/lost"
    );
    assert_eq!(
        plugin
            .feed(Input::new("d7", "x").topic("shed/d7/t"))
            .on("alarms")[0]
            .topic,
        "shed/d7/lost"
    );
}

#[test]
fn settings_that_make_no_sense_are_refused_in_words() {
    let refused = |settings| Plugin::<Silence>::try_new(settings).unwrap_err();
    assert_eq!(refused(json!({})), "the setting `after` is missing");
    assert!(refused(json!({ "after": "0s" })).starts_with("`after` is no time"));
    assert!(refused(json!({ "after": 60 })).starts_with("`after` must be a time with its unit"));
    assert!(
        refused(json!({ "after": "1h", "expected": ["a", "b"], "max_devices": 1 }))
            .starts_with("`max_devices` is less")
    );
    assert!(
        refused(json!({ "after": "1h", "expected": ["a"], "topic": "x/{topic}" }))
            .contains("use {device}")
    );
}

#[test]
fn devices_with_long_names_take_nobodys_place() {
    let settings = json!({ "after": "1h", "expected": ["never"] });
    let mut plugin = plugin(settings.clone());
    hear(&mut plugin, "good");
    for number in 0..5_000 {
        hear(&mut plugin, &format!("{}-{number}", "n".repeat(800)));
    }
    assert!(plugin.counters()["devices_unwatched"] > 2_000);
    assert!(!plugin.counters().contains_key("keys_forgotten"));
    let bytes: usize = plugin
        .save(false)
        .iter()
        .map(|page| page.data.len() + page.words.len() * 4)
        .sum();
    assert!(bytes < 2 << 20, "{bytes} bytes");
    for (_, value) in plugin.plugin().devices.iter() {
        assert!(value.weight() >= tidegate_sdk::weight(value));
    }
    let alarms = told(&plugin.swapped(settings).run_for(HOUR * 9 / 8));
    assert!(
        alarms.contains(&"good raised".to_owned()) && alarms.contains(&"never raised".to_owned())
    );
}

#[test]
fn settings_that_cannot_work_are_refused_in_words() {
    let refused = |settings| Plugin::<Silence>::try_new(settings).unwrap_err();
    assert!(
        refused(json!({ "after": "1h", "forget_after": "10m" }))
            .starts_with("`forget_after` is not longer than `after`")
    );
    assert_eq!(
        refused(json!({ "after": "1h", "expected": ["a", ""] })),
        "`expected.1` is empty: no device has that name"
    );
    assert_eq!(
        refused(json!({ "after": "1h", "expected": ["a", "a"] })),
        "`expected.1`: `a` stands there twice"
    );
    assert!(
        refused(json!({ "after": "1h", "max_devices": 1_000_000 }))
            .starts_with("`max_devices` is 1000000")
    );
    assert!(
        Plugin::<Silence>::try_new(json!({ "after": "60d" })).is_ok(),
        "which is longer than the default of `forget_after`"
    );
}
