//! Days, jumps of the clock, and times in payloads.

use super::*;

const DAY_US: u64 = 86_400_000_000;
const HOUR_US: u64 = 3_600_000_000;

fn days() -> Value {
    json!({ "window": "1d", "time": "arrival", "utc_offset": "+01:00" })
}

/// What a plugin knows while the clock is not set.
fn unset(device: &str) -> Input {
    Input::json(device, json!({ "t": 1 })).clock_unset()
}

#[test]
fn a_day_is_counted_from_midnight_on_over_restarts() {
    let mut plugin = plugin(days());
    plugin.set_clock(START_US + 10 * HOUR_US);
    read(&mut plugin, "d7", json!(1));
    let mut plugin = plugin.swapped(days());
    plugin.set_clock(START_US + 20 * HOUR_US);
    read(&mut plugin, "d7", json!(1));
    plugin.set_clock(START_US + 22 * HOUR_US + HOUR_US / 2);
    read(&mut plugin, "d7", json!(1));
    let result = &told(&plugin.run_for(MINUTE * 31))[0];
    assert_eq!(result["count"], 3);
    let from = START_US - HOUR_US;
    assert_eq!(
        (&result["from"], &result["to"]),
        (&json!(from), &json!(from + DAY_US)),
        "midnight an hour east"
    );
}

#[test]
fn what_arrives_before_the_clock_is_set_counts_in_the_day_that_is_open() {
    let mut plugin = plugin(days());
    plugin.set_clock(START_US + 10 * HOUR_US);
    read(&mut plugin, "d7", json!(1));
    let mut plugin = plugin.swapped(days());
    plugin.set_clock(0);
    assert!(plugin.feed(unset("d7")).absorbed() && plugin.feed(unset("d7")).absorbed());
    assert!(told(&plugin.run_for(MINUTE * 60)).is_empty());
    plugin.set_clock(START_US + 12 * HOUR_US);
    read(&mut plugin, "d7", json!(1));
    let results = told(&plugin.run_for(MINUTE * 60 * 12));
    assert_eq!(
        (results.len(), &results[0]["count"], &results[0]["clock"]),
        (1, &json!(4), &json!("unset"))
    );
}

#[test]
fn where_none_is_open_it_counts_in_the_day_that_it_turns_out_to_be() {
    let mut plugin = plugin(days());
    plugin.set_clock(5 * DAY_US);
    plugin.feed(unset("d7"));
    plugin.feed(unset("d7"));
    plugin.set_clock(START_US + 12 * HOUR_US);
    assert!(read(&mut plugin, "d7", json!(1)).is_empty());
    let results = told(&plugin.run_for(MINUTE * 60 * 12));
    assert_eq!(
        (&results[0]["count"], &results[0]["from"]),
        (&json!(3), &json!(START_US - HOUR_US))
    );
}

#[test]
fn a_clock_that_jumps_parts_windows_and_loses_nothing() {
    let mut plugin = plugin(days());
    plugin.set_clock(START_US + 10 * HOUR_US);
    read(&mut plugin, "d7", json!(1));
    plugin.set_clock(START_US + 3_650 * DAY_US);
    assert_eq!(
        read(&mut plugin, "d7", json!(1))[0]["count"],
        1,
        "years ahead"
    );
    plugin.set_clock(START_US + 11 * HOUR_US);
    let early = read(&mut plugin, "d7", json!(1));
    assert_eq!(
        (early.len(), &early[0]["count"]),
        (1, &json!(1)),
        "and back"
    );
    assert_eq!(told(&plugin.run_for(MINUTE * 60 * 13))[0]["count"], 1);
    assert!(plugin.plugin().groups.is_empty());
}

#[test]
fn windows_by_the_running_clock_do_not_know_of_jumps() {
    for jump in [0, START_US + 3_650 * DAY_US, START_US - DAY_US] {
        let mut plugin = plugin(json!({ "window": "10m" }));
        read(&mut plugin, "d7", json!(1));
        plugin.set_clock(jump);
        assert!(read(&mut plugin, "d7", json!(1)).is_empty());
        assert!(told(&plugin.run_for(MINUTE * 9)).is_empty());
        assert_eq!(told(&plugin.run_for(MINUTE * 2))[0]["count"], 2, "{jump}");
    }
}

fn events() -> Value {
    json!({ "window": "1m", "time": "event", "time_field": "ts", "lateness": "30s", "fields": ["t"], "functions": ["sum"] })
}

fn at(plugin: &mut Plugin<Aggregate>, second: f64, value: i64) -> Outcome {
    let ts = START_US as f64 / 1e6 + second;
    plugin.feed(Input::json("d7", json!({ "ts": ts, "t": value })))
}

#[test]
fn times_in_payloads_may_be_out_of_order_by_the_lateness() {
    let mut plugin = plugin(events());
    for (second, value) in [(50.0, 1), (70.0, 2), (59.5, 4), (45.0, 8)] {
        assert!(at(&mut plugin, second, value).absorbed(), "{second}");
    }
    let outcome = at(&mut plugin, 90.0, 16);
    let wanted = json!({ "device": "d7", "from": START_US, "to": START_US + 60_000_000, "count": 3, "t_sum": 13 });
    assert_eq!(told(&outcome), [wanted]);
    let late = at(&mut plugin, 59.9, 32);
    assert_eq!(
        late.rejected(),
        Some("it comes too late: the window of its time has ended")
    );
    assert_eq!(
        told(&plugin.run_for(MINUTE * 2))[0]["t_sum"],
        18,
        "nothing more comes"
    );
    let mut lenient = super::plugin(
        json!({ "window": "1m", "time": "event", "time_field": "ts", "late": "drop" }),
    );
    at(&mut lenient, 50.0, 1);
    at(&mut lenient, 61.0, 1);
    assert!(at(&mut lenient, 59.0, 1).filtered());
    assert_eq!(lenient.counters()["late"], 1);
}

#[test]
fn a_time_in_the_far_future_ends_no_window() {
    let mut plugin = plugin(events());
    at(&mut plugin, 1.0, 1);
    for second in [2.0 * 86_400.0, 1e10] {
        let words = at(&mut plugin, second, 1);
        assert!(
            words
                .rejected()
                .unwrap()
                .contains("ahead of the gateway's clock"),
            "{second}"
        );
    }
    for ts in [
        "1e300",
        "-1e300",
        "99999999999999999999",
        "\"2026-01-01\"",
        "true",
    ] {
        let outcome = plugin.feed(Input::new("d7", format!("{{\"ts\":{ts},\"t\":1}}")));
        assert!(outcome.rejected().is_some(), "{ts}");
    }
    assert!(at(&mut plugin, 2.0, 1).absorbed());
    // Without a clock nothing is known of the future; a device that errs has its windows back after a quiet time.
    let ahead = json!({ "ts": 9e9, "t": 1 });
    assert_eq!(
        told(&plugin.feed(Input::json("d7", ahead).clock_unset()))[0]["count"],
        2
    );
    assert!(at(&mut plugin, 3.0, 1).rejected().is_some());
    plugin.run_for(MINUTE * 3);
    assert!(at(&mut plugin, 4.0, 1).absorbed());
}

#[test]
fn times_are_read_as_their_format_says() {
    for (format, ts) in [
        ("s", json!(1_767_225_600.25)),
        ("ms", json!(1_767_225_600_250_u64)),
        ("us", json!(1_767_225_600_250_000_u64)),
        ("iso", json!("2026-01-01T01:00:00.25+01:00")),
    ] {
        let mut plugin = plugin(
            json!({ "window": "1s", "time": "event", "time_field": "ts", "time_format": format }),
        );
        plugin.feed(Input::json("d7", json!({ "ts": ts })));
        assert_eq!(
            told(&plugin.run_for(MINUTE))[0]["from"],
            START_US,
            "{format}"
        );
    }
}
