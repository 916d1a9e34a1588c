use super::*;
use tidegate_sdk::serde_json::{Value, json};
use tidegate_sdk::test::{Input, Outcome, Plugin, START_US, in_flow, settings_shown};

mod clocks;
mod refused;

const MINUTE: Duration = Duration::from_secs(60);

fn plugin(settings: Value) -> Plugin<Aggregate> {
    Plugin::new(settings)
}

fn told(outcome: &Outcome) -> Vec<Value> {
    outcome
        .on("out")
        .into_iter()
        .map(|result| result.json())
        .collect()
}

/// Feeds `{"t": value}` of a device; gives the results it brought.
fn read(plugin: &mut Plugin<Aggregate>, device: &str, value: Value) -> Vec<Value> {
    let outcome = plugin.feed(Input::json(device, json!({ "t": value })));
    assert_eq!(outcome.rejected(), None);
    told(&outcome)
}

#[test]
fn what_the_page_shows_works() {
    in_flow("home", &["home/{room}/{device}"]);
    let shown = settings_shown(include_str!("lib.rs"));
    assert_eq!(shown.len(), 5);
    for settings in shown {
        let mut plugin = plugin(settings);
        let payload = json!({ "temperature": 21, "ENERGY": { "Power": 5 }, "volts": 3, "ts": START_US / 1_000, "x": 1 });
        assert!(
            plugin
                .feed(Input::json("d7", payload).topic("home/kitchen/d7"))
                .absorbed()
        );
    }
}

#[test]
fn the_mean_of_ten_minutes_for_each_room() {
    in_flow("home", &["home/{room}/{device}"]);
    let mut plugin = plugin(
        json!({ "window": "10m", "fields": ["t"], "functions": ["mean", "max"], "by": "{room}", "topic": "means/{room}" }),
    );
    assert!(plugin.setup().one_lane);
    for (device, value) in [("d1", 21.3), ("d2", 21.8), ("d1", 21.5)] {
        let input =
            Input::json(device, json!({ "t": value })).topic(&format!("home/kitchen/{device}"));
        assert!(plugin.feed(input).absorbed());
    }
    plugin.feed(Input::json("d3", json!({ "t": 5 })).topic("home/cellar/d3"));
    assert!(told(&plugin.run_for(MINUTE * 9)).is_empty());
    let outcome = plugin.run_for(MINUTE * 2);
    let result = outcome.on("out")[0];
    assert_eq!((&*result.topic, &*result.key), ("means/kitchen", "kitchen"));
    let wanted = format!(
        r#"{{"group":"kitchen","from":{START_US},"to":{START_US},"count":3,"t_mean":21.5333333333333,"t_max":21.8}}"#
    );
    assert_eq!((result.text(), outcome.on("out").len()), (&*wanted, 2));
    assert!(plugin.plugin().groups.is_empty());
}

#[test]
fn every_function_tells_all_digits_or_those_that_were_asked_for() {
    let functions = json!(["min", "max", "mean", "sum", "count", "first", "last"]);
    let mut plugin = plugin(
        json!({ "window": 3, "fields": [{ "field": "t", "as": "x" }], "functions": functions }),
    );
    read(&mut plugin, "d7", json!(0.1));
    read(&mut plugin, "d7", json!(9_007_199_254_740_993_u64));
    let results = read(&mut plugin, "d7", json!(0.2));
    let wanted = json!({ "device": "d7", "from": START_US, "to": START_US, "count": 3, "x_min": 0.1, "x_max": 9_007_199_254_740_993_u64,
        "x_mean": 3002399751580331.1, "x_sum": 9007199254740993.3, "x_count": 3, "x_first": 0.1, "x_last": 0.2 });
    assert_eq!(results, [wanted]);
    let mut rounded = super::tests::plugin(json!({ "window": 3, "fields": ["t"], "decimals": 1 }));
    read(&mut rounded, "d7", json!(1));
    read(&mut rounded, "d7", json!(1));
    assert_eq!(read(&mut rounded, "d7", json!(3))[0]["t_mean"], json!(1.7));
}

#[test]
fn windows_of_messages_may_overlap() {
    let mut plugin =
        plugin(json!({ "window": 4, "every": 2, "fields": ["t"], "functions": ["sum"] }));
    let sums: Vec<Value> = (1..=8)
        .flat_map(|value| read(&mut plugin, "d7", json!(value)))
        .map(|result| result["t_sum"].clone())
        .collect();
    assert_eq!(sums, [3, 10, 18, 26]);
}

#[test]
fn windows_of_time_may_overlap() {
    let mut plugin = plugin(json!({ "window": "30m", "every": "10m" }));
    read(&mut plugin, "d7", json!(1));
    let counts = |outcome: &Outcome| {
        told(outcome)
            .iter()
            .map(|result| result["count"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(counts(&plugin.run_for(MINUTE * 11)), [1]);
    read(&mut plugin, "d7", json!(1));
    assert_eq!(counts(&plugin.run_for(MINUTE * 60)), [2, 2, 1]);
}

#[test]
fn without_fields_whatever_comes_is_counted() {
    let mut plugin = plugin(json!({ "window": 2 }));
    assert!(plugin.feed(Input::new("d7", "no JSON")).absorbed());
    let outcome = plugin.feed(Input::new("d7", b"\xff".to_vec()));
    assert_eq!(told(&outcome)[0]["count"], 2);
    assert_eq!(outcome.on("out")[0].topic, "aggregates/d7");
    assert!(plugin.feed(Input::new("d7", "").retained()).passed());
}

#[test]
fn what_is_open_survives_a_swap_and_is_told_early_when_it_means_something_else() {
    let settings = json!({ "window": "10m", "fields": ["t"] });
    let mut plugin = plugin(settings.clone());
    read(&mut plugin, "d7", json!(1));
    let mut plugin = plugin.swapped(settings);
    read(&mut plugin, "d7", json!(2));
    assert_eq!(told(&plugin.run_for(MINUTE * 11))[0]["t_mean"], json!(1.5));
    read(&mut plugin, "d7", json!(1));
    read(&mut plugin, "d8", json!(1));
    let mut plugin = plugin.swapped(json!({ "window": "20m", "fields": ["t"] }));
    assert_eq!(read(&mut plugin, "d7", json!(5))[0]["t_mean"], 1);
    assert_eq!(told(&plugin.run_for(MINUTE))[0]["device"], "d8");
    let mut plugin =
        plugin.swapped(json!({ "window": "20m", "fields": ["t", "h"], "missing": "skip" }));
    let early = read(&mut plugin, "d7", json!(7));
    assert_eq!(
        (&early[0]["count"], early[0].get("t_mean")),
        (&json!(1), None)
    );
}

#[test]
fn groups_may_be_named_by_a_field_that_a_topic_can_hold() {
    let mut plugin = plugin(json!({ "window": 1, "by_field": "room" }));
    assert!(plugin.setup().one_lane);
    for (room, name) in [
        (json!("attic"), "attic"),
        (json!(7), "7"),
        (json!("a/b"), "a/b"),
        (json!("Küche"), "Küche"),
    ] {
        let outcome = plugin.feed(Input::json("d7", json!({ "room": room })));
        assert_eq!(
            (&told(&outcome)[0]["group"], &*outcome.on("out")[0].key),
            (&json!(name), name)
        );
    }
    for room in [
        json!("a/#"),
        json!("+"),
        json!(""),
        json!("a\u{0}"),
        json!("x".repeat(129)),
        json!([1]),
        json!({}),
    ] {
        let outcome = plugin.feed(Input::json("d7", json!({ "room": room })));
        assert!(
            outcome.rejected().unwrap().contains("names no group"),
            "{room}"
        );
    }
    assert!(
        plugin
            .feed(Input::json("d7", json!({ "room": null })))
            .excused()
    );
}

#[test]
fn bad_numbers_are_rejected_and_missing_ones_may_be_skipped() {
    let mut strict = plugin(json!({ "window": 2, "fields": ["t"] }));
    for value in ["\"NaN\"", "1e999", "true", "[1]"] {
        let outcome = strict.feed(Input::new("d7", format!("{{\"t\":{value}}}")));
        assert!(
            outcome.rejected().unwrap().contains("is not a number"),
            "{value}"
        );
    }
    assert!(strict.feed(Input::json("d7", json!({}))).excused());
    assert!(strict.plugin().groups.is_empty());
    let mut lenient = plugin(json!({ "window": 2, "fields": ["t"], "missing": "skip" }));
    lenient.feed(Input::json("d7", json!({ "t": null })));
    assert_eq!(
        told(&lenient.feed(Input::json("d7", json!({}))))[0]["t_mean"],
        Value::Null
    );
    read(&mut lenient, "d7", json!(1.7e308));
    let mean = read(&mut lenient, "d7", json!(1.7e308))[0]["t_mean"]
        .as_f64()
        .unwrap();
    assert!((mean / 1.7e308 - 1.0).abs() < 1e-9, "{mean}");
}

#[test]
fn groups_are_bounded_and_those_that_make_room_are_told() {
    let mut plugin = plugin(json!({ "window": "1d", "fields": ["t"], "max_groups": 5_000 }));
    let mut early = 0;
    for device in 0..6_000 {
        early += read(&mut plugin, &format!("d{device}"), json!(21.5)).len();
    }
    assert_eq!(
        (
            early,
            plugin.plugin().groups.len(),
            plugin.counters()["windows_cut"]
        ),
        (1_000, 5_000, 1_000)
    );
    let bytes: usize = plugin
        .save(false)
        .iter()
        .map(|page| page.data.len() + page.words.len() * 4)
        .sum();
    assert!(bytes < 2 << 20, "{bytes} bytes");
    plugin.run_for(MINUTE * (60 * 23 - 1));
    plugin.run_for(Duration::from_secs(55));
    let mut all = 0;
    for _ in 0..6 {
        let results = told(&plugin.run_for(Duration::from_secs(10))).len();
        assert!(results <= 2_000);
        all += results;
    }
    assert_eq!(all, 5_000);
}

#[test]
fn groups_with_long_names_leave_the_sums_of_others_alone() {
    let settings =
        json!({ "window": "1h", "fields": ["t"], "functions": ["sum"], "topic": "sums/{topic}" });
    let mut plugin = plugin(settings.clone());
    let (mut good, mut early) = (0, 0.0);
    for number in 0..6_000 {
        let name = format!("{}-{number}", "n".repeat(800));
        for result in read(&mut plugin, &name, json!(1.25)) {
            early += result["t_sum"].as_f64().unwrap();
        }
        if number % 100 == 0 {
            good += 1;
            assert!(read(&mut plugin, "good", json!(1)).is_empty());
        }
    }
    let cut = plugin.counters()["windows_cut"];
    assert!(
        cut > 3_000 && early == cut as f64 * 1.25,
        "{cut} told early"
    );
    let bytes: usize = plugin
        .save(false)
        .iter()
        .map(|page| page.data.len() + page.words.len() * 4)
        .sum();
    assert!(bytes < 2 << 20, "{bytes} bytes");
    for (_, value) in plugin.plugin().groups.iter() {
        assert!(value.weight() >= tidegate_sdk::weight(value));
    }
    let mut plugin = plugin.swapped(settings);
    let mut told_all = Vec::new();
    for _ in 0..400 {
        told_all.extend(told(&plugin.run_for(Duration::from_secs(10))));
    }
    let sum = |result: &Value| result["t_sum"].as_f64().unwrap();
    let of_good = told_all
        .iter()
        .find(|result| result["device"] == "good")
        .unwrap();
    assert_eq!(sum(of_good), f64::from(good));
    let strangers: f64 = told_all.iter().map(sum).sum::<f64>() - sum(of_good);
    assert_eq!(
        early + strangers,
        6_000.0 * 1.25,
        "each reading is told once"
    );
}

#[test]
fn more_groups_than_ever_fit_are_refused() {
    let settings = json!({ "window": "10m", "fields": ["t"], "max_groups": 100_000_000 });
    let refused = Plugin::<Aggregate>::try_new(settings).unwrap_err();
    assert!(
        refused.starts_with("`max_groups` is 100000000"),
        "{refused}"
    );
}
