use std::time::Duration;

use super::*;
use tidegate_sdk::serde_json::{Value, json};
use tidegate_sdk::test::{Input, Outcome, Plugin, hostile_names, hostile_payloads, settings_shown};

fn feed(plugin: &mut Plugin<Downsample>, value: f64) -> Outcome {
    plugin.feed(Input::json("d7", json!({ "t": value })))
}

fn told(outcome: &Outcome) -> Vec<f64> {
    let messages = outcome.on("out").into_iter();
    messages
        .map(|message| message.json::<Value>()["t"].as_f64().unwrap())
        .collect()
}

#[test]
fn the_lowest_and_the_highest_go_on_in_their_order() {
    for shown in settings_shown(include_str!("lib.rs")) {
        Plugin::<Downsample>::new(shown);
    }
    let settings = json!({ "field": "t", "window": "1m" });
    let mut plugin = Plugin::<Downsample>::new(settings.clone());
    for value in [5.0, 9.0, 7.0, 9.0, 3.0, 4.0] {
        assert!(feed(&mut plugin, value).absorbed());
    }
    let mut plugin = plugin.swapped(settings);
    let outcome = plugin.run_for(Duration::from_secs(90));
    assert_eq!(told(&outcome), [9.0, 3.0]);
    assert_eq!(outcome.on("out")[0].topic, "devices/d7/telemetry");
    assert_eq!(outcome.on("out")[0].key, "d7");
    assert!(plugin.plugin().state().is_empty());
    feed(&mut plugin, 1.0);
    plugin.advance(Duration::from_secs(60));
    assert_eq!(
        told(&feed(&mut plugin, 2.0)),
        [1.0],
        "the next reading ends a window as well"
    );
}

#[test]
fn largest_triangles_keep_first_last_and_peaks() {
    let settings = json!({ "field": "t", "window": "10m", "method": "lttb", "points": 5 });
    let mut plugin = Plugin::<Downsample>::new(settings);
    for number in 0..100 {
        let value = match number {
            30 => 50.0,
            70 => -50.0,
            number => f64::from(number % 2),
        };
        feed(&mut plugin, value);
        plugin.advance(Duration::from_secs(1));
    }
    let chosen = told(&plugin.run_for(Duration::from_secs(700)));
    assert_eq!(chosen.len(), 5);
    assert_eq!((chosen[0], chosen[4]), (0.0, 1.0));
    assert!(
        chosen.contains(&50.0) && chosen.contains(&-50.0),
        "{chosen:?}"
    );
    let mut few =
        Plugin::<Downsample>::new(json!({ "field": "t", "window": "1m", "method": "lttb" }));
    feed(&mut few, 1.0);
    feed(&mut few, 2.0);
    assert_eq!(told(&few.run_for(Duration::from_secs(90))), [1.0, 2.0]);
    let mut many = Plugin::<Downsample>::new(
        json!({ "field": "t", "window": "1h", "method": "lttb", "points": 100 }),
    );
    let told: usize = (0..500)
        .map(|number| told(&feed(&mut many, f64::from(number))).len())
        .sum();
    assert_eq!(told, 100);
}

#[test]
fn what_lacks_the_field_goes_on_or_is_rejected() {
    let mut plugin = Plugin::<Downsample>::new(json!({ "field": "t", "window": "1m" }));
    assert!(plugin.feed(Input::new("d7", "{}")).passed());
    assert!(plugin.feed(Input::new("d7", "").retained()).passed());
    assert!(
        plugin
            .feed(Input::new("d7", "{\"t\":\"x\"}"))
            .rejected()
            .is_some()
    );
    let mut plugin =
        Plugin::<Downsample>::new(json!({ "field": "t", "window": "1m", "missing": "reject" }));
    assert_eq!(
        plugin.feed(Input::new("d7", "{}")).rejected(),
        Some("field `t` is missing")
    );
    let refused = |settings| {
        Plugin::<Downsample>::try_new(settings)
            .map(drop)
            .unwrap_err()
    };
    assert!(refused(json!({ "field": "t", "window": "0s" })).contains("`window`"));
    assert!(refused(json!({ "field": "t", "window": "1m", "points": 2 })).contains("`points`"));
    assert!(refused(json!({ "field": "", "window": "1m" })).contains("`field`"));
}

#[test]
fn what_is_held_is_bounded_and_nothing_is_lost_by_it() {
    let settings = json!({ "field": "t", "window": "1h", "method": "lttb", "max_devices": 10 });
    let mut plugin = Plugin::<Downsample>::new(settings);
    for payload in hostile_payloads("t") {
        assert!(!plugin.feed(Input::new("d7", payload)).0.is_empty());
    }
    let mut left = 0;
    for name in hostile_names(50) {
        left += plugin.feed(Input::new(&name, "{\"t\":1}")).on("out").len();
    }
    assert!(left >= 40, "{left}");
    assert_eq!(plugin.plugin().state().len(), 10);
    let long = format!("{{\"t\":1,\"x\":\"{}\"}}", "x".repeat(60_000));
    let mut plugin = Plugin::<Downsample>::new(json!({ "field": "t", "window": "1h" }));
    let left: usize = (0..100)
        .map(|number| {
            let input = Input::new("d7", long.clone()).topic(&format!("devices/d7/{number}"));
            plugin.feed(input).on("out").len()
        })
        .sum();
    assert_eq!(left, 96);
    let saved: usize = plugin.save(false).iter().map(|page| page.data.len()).sum();
    assert!(saved <= 256 << 10, "{saved}");
}
