//! What gateways are asked for, with config alone: `examples/tasks` as it is shipped.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::binary::workspace;
use tidegate_tests::convert::example;
use tidegate_tests::watch::Arrival;
use tidegate_tests::{Broker, Config, Gateway, Watch, cases, wait_until};

pub fn cases() -> Vec<Trial> {
    cases![
        what_is_asked_for_most_wants_no_code,
        what_the_readme_shows_is_in_the_example
    ]
}

/// A task: what comes in, and what has to come out by then.
struct Task {
    inputs: &'static [(&'static str, &'static str)],
    outputs: &'static [(&'static str, &'static str)],
}

/// Before the gateway is stopped and started.
const BEFORE: &[Task] = &[
    Task {
        inputs: &[
            ("changes/d1", r#"{"temperature":21.2}"#),
            ("changes/d1", r#"{"temperature":21.4}"#),
            ("changes/d1", r#"{"temperature":21.5}"#),
        ],
        outputs: &[
            ("up/changes/d1", r#"{"temperature":21.2}"#),
            ("up/changes/d1", r#"{"temperature":21.5}"#),
        ],
    },
    Task {
        inputs: &[("units/d1", r#"{"temperature":21.5,"n":1}"#)],
        outputs: &[("up/units/d1", r#"{"temperature":70.7,"n":1}"#)],
    },
    Task {
        inputs: &[
            ("mean/kitchen/d1", r#"{"temperature":21.5}"#),
            ("mean/kitchen/d2", r#"{"temperature":22}"#),
        ],
        outputs: &[],
    },
    Task {
        // Half past eleven and half past midnight, an hour east.
        inputs: &[
            ("day/d1", r#"{"ts":1767220200}"#),
            ("day/d1", r#"{"ts":1767223800}"#),
        ],
        outputs: &[(
            "up/day/d1",
            r#"{"device":"d1","from":1767135600000000,"to":1767222000000000,"count":1}"#,
        )],
    },
    Task {
        inputs: &[(
            "fields/d1",
            r#"{"temperature":21.50,"battery":{"volts":3,"percent":80},"humidity":40,"rssi":-60}"#,
        )],
        outputs: &[(
            "up/fields/d1",
            r#"{"temperature":21.50,"battery":{"percent":80},"humidity":40}"#,
        )],
    },
    Task {
        inputs: &[
            ("number/d1/temperature", "12,5 °C"),
            ("number/d1/light", "ON"),
        ],
        outputs: &[
            (
                "up/number/d1/temperature",
                r#"{"temperature":12.5,"unit":"°C"}"#,
            ),
            ("up/number/d1/light", r#"{"light":true}"#),
        ],
    },
    Task {
        inputs: &[("csv/d1", "23.5;41;ok\r\n23.6;;\"a;b\"\r\n")],
        outputs: &[
            (
                "up/csv/d1",
                r#"{"temperature":23.5,"humidity":41,"state":"ok"}"#,
            ),
            ("up/csv/d1", r#"{"temperature":23.6,"state":"a;b"}"#),
        ],
    },
    Task {
        inputs: &[
            (
                "zigbee2mqtt/z1",
                r#"{"temperature":21.5,"battery":87,"voltage":2985}"#,
            ),
            (
                "tele/t1/SENSOR",
                r#"{"AM2301":{"Temperature":70.7,"Humidity":55.2},"TempUnit":"F"}"#,
            ),
            (
                "s1/status/switch:0",
                r#"{"id":0,"output":true,"apower":8.9,"aenergy":{"total":6532.11}}"#,
            ),
        ],
        outputs: &[
            (
                "up/home/z1",
                r#"{"temperature":21.5,"battery":87,"battery_voltage":2.985}"#,
            ),
            ("up/home/t1", r#"{"temperature":21.5,"humidity":55.2}"#),
            ("up/home/s1", r#"{"on":true,"power":8.9,"energy":6.53211}"#),
        ],
    },
    Task {
        inputs: &[
            ("once/north/d1", r#"{"fCnt":7,"rssi":-60}"#),
            ("once/south/d1", r#"{"fCnt":7,"rssi":-90}"#),
        ],
        outputs: &[("up/once/d1", r#"{"fCnt":7,"rssi":-60}"#)],
    },
    Task {
        inputs: &[(
            "split/d1",
            r#"{"site":"barn","readings":[{"t":1.50},{"t":2}]}"#,
        )],
        outputs: &[
            ("up/split/d1", r#"{"site":"barn","t":1.50}"#),
            ("up/split/d1", r#"{"site":"barn","t":2}"#),
        ],
    },
    Task {
        inputs: &[("join/d1/temperature", "21.5 °C")],
        outputs: &[],
    },
    Task {
        inputs: &[("rooms/d1", r#"{"t":21.5}"#)],
        outputs: &[("up/rooms/d1", r#"{"t":21.5,"floor":1,"room":"kitchen"}"#)],
    },
    Task {
        inputs: &[("rules/d1", r#"{"lux":9}"#)],
        outputs: &[
            ("up/rules/d1", r#"{"lux":9,"dark":true}"#),
            ("up/rules/d1/lamp", "ON"),
        ],
    },
    Task {
        inputs: &[(
            "mask/d1",
            r#"{"t":21.50,"plate":"ZH 1","owner":{"mail":"a@b.c"}}"#,
        )],
        outputs: &[("up/mask/d1", r#"{"t":21.50,"plate":"ZH","owner":{}}"#)],
    },
    Task {
        inputs: &[("rate/d1", r#"{"ts":1767225600,"litres":100}"#)],
        outputs: &[("up/rate/d1", r#"{"ts":1767225600,"litres":100}"#)],
    },
    Task {
        inputs: &[
            ("route/d1", r#"{"level":3}"#),
            ("route/d1", r#"{"level":0,"kind":"debug-2"}"#),
        ],
        outputs: &[("up/route/d1", r#"{"level":3}"#)],
    },
];

/// And after that: what was known before is known still.
const AFTER: &[Task] = &[
    Task {
        inputs: &[
            ("changes/d1", r#"{"temperature":21.6}"#),
            ("changes/d1", r#"{"temperature":21.9}"#),
        ],
        outputs: &[("up/changes/d1", r#"{"temperature":21.9}"#)],
    },
    Task {
        inputs: &[("mean/kitchen/d3", r#"{"temperature":22.2}"#)],
        outputs: &[("up/mean/kitchen", r#""count":3,"temperature_mean":21.9}"#)],
    },
    Task {
        inputs: &[
            ("day/d1", r#"{"ts":1767301200}"#),
            ("day/d1", r#"{"ts":1767308400}"#),
        ],
        outputs: &[(
            "up/day/d1",
            r#"{"device":"d1","from":1767222000000000,"to":1767308400000000,"count":2}"#,
        )],
    },
    Task {
        inputs: &[
            ("once/south/d1", r#"{"fCnt":7}"#),
            ("once/south/d1", r#"{"fCnt":8}"#),
        ],
        outputs: &[("up/once/d1", r#"{"fCnt":8}"#)],
    },
    Task {
        inputs: &[
            ("expr/d1", r#"{"temperature":20}"#),
            ("expr/d1", r#"{"temperature":21}"#),
        ],
        outputs: &[("up/expr/d1", r#"{"temperature":21,"f":69.8}"#)],
    },
    Task {
        inputs: &[("join/d1/humidity", "40")],
        outputs: &[("up/join/d1", r#"{"temperature":21.5,"humidity":40}"#)],
    },
    Task {
        inputs: &[("rules/d1", r#"{"lux":15}"#), ("rules/d1", r#"{"lux":16}"#)],
        outputs: &[
            ("up/rules/d1", r#"{"lux":15,"dark":true}"#),
            ("up/rules/d1", r#"{"lux":16}"#),
            ("up/rules/d1/lamp", "OFF"),
        ],
    },
    Task {
        inputs: &[("rate/d1", r#"{"ts":1767225630,"litres":103}"#)],
        outputs: &[(
            "up/rate/d1",
            r#"{"ts":1767225630,"litres":103,"litres_per_minute":6}"#,
        )],
    },
];

const EXAMPLE: &str = "tasks";

/// The example between these brokers, with times that a test can wait for.
fn config(field: &Broker, cloud: &Broker) -> Result<Config> {
    let settings = |flow: &str, key: &str| format!("flow.{flow}.plugin.0.settings.{key}");
    let config = example(EXAMPLE)?
        .change("source.field.url", field.url())
        .change("uplink.cloud.url", cloud.url())
        .change(&settings("alarm", "hold_seconds"), 0.3)
        .change(&settings("mean", "window"), 3)
        .change(&settings("day", "time"), "event")
        .set(&settings("day", "time_field"), "ts")
        .change(&settings("silence", "after"), "1s");
    Ok(config)
}

/// What arrived, by topic.
fn by_topic(arrivals: &[Arrival]) -> BTreeMap<&str, Vec<String>> {
    let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for arrival in arrivals {
        let payload = String::from_utf8_lossy(&arrival.payload).into_owned();
        found.entry(&arrival.topic).or_default().push(payload);
    }
    found
}

/// Sends all inputs, waits for as many messages as there have to be, and compares them topic by topic, in order.
fn perform(tasks: &[Task], field: &Broker, watch: &Watch) -> Result<()> {
    let before = watch.arrivals().len();
    for (topic, payload) in tasks.iter().flat_map(|task| task.inputs) {
        field.publish(topic, payload)?;
    }
    let wanted: Vec<&(&str, &str)> = tasks.iter().flat_map(|task| task.outputs).collect();
    wait_until("all results have arrived", || {
        watch.arrivals().len() >= before + wanted.len()
    })?;
    let arrivals = watch.arrivals();
    let found = by_topic(&arrivals[before..]);
    for topic in found.keys() {
        let of_topic = wanted.iter().filter(|(other, _)| other == topic);
        let payloads: Vec<&str> = of_topic.map(|(_, payload)| *payload).collect();
        let same = found[topic].len() == payloads.len()
            && found[topic]
                .iter()
                .zip(&payloads)
                .all(|(found, wanted)| found.ends_with(wanted));
        ensure!(same, "{topic}: {:?}, not {payloads:?}", found[topic]);
    }
    Ok(())
}

/// `state` of the alarms of one topic, in order.
fn states(watch: &Watch) -> Vec<String> {
    let state = |alarm: &Arrival| Some(alarm.json().ok()?["state"].as_str()?.to_owned());
    watch.arrivals().iter().filter_map(state).collect()
}

/// `examples/tasks` as it is shipped, but for its ports and times; inputs as devices send them, an ordinary stop and a start
/// in between.
/// Guarantee: changes only, other units, alarms that are held and cleared, means and counts over restarts, silence, fewer
/// fields, plain numbers, lines, foreign shapes, repeats, lists, parts, tables, rules, masks, rates and routes want settings
/// and no code.
fn what_is_asked_for_most_wants_no_code() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let watch = Watch::start(cloud.address(), "up/#")?;
    let gateway = Gateway::with(config(&field, &cloud)?).start()?;
    perform(BEFORE, &field, &watch)?;
    let gateway = gateway.stop()?.1.start()?;
    perform(AFTER, &field, &watch)?;
    let heat = Watch::start(cloud.address(), "up/alarm/d1/temperature")?;
    let hot = |value: f64| field.publish("alarm/d1", format!("{{\"temperature\":{value}}}"));
    hot(31.0)?;
    wait_until("the heat has lasted", || states(&heat) == ["raised"])?;
    hot(28.5)?;
    hot(27.0)?;
    wait_until("it is over", || states(&heat) == ["raised", "cleared"])?;
    let silence = Watch::start(cloud.address(), "up/silence/d1/silence")?;
    field.publish("silence/d1", "whatever")?;
    wait_until("silence is told", || states(&silence) == ["raised"])?;
    field.publish("silence/d1", "whatever")?;
    wait_until("and its end", || {
        states(&silence).starts_with(&["raised".to_owned(), "cleared".to_owned()])
    })?;
    let parked = gateway.metric("tidegate_dead_letters_total", &[]);
    ensure!(parked == 0.0, "{parked} dead letters");
    Ok(())
}

/// The table "Without code" of the README against the example.
/// Guarantee: what people copy out of it works.
fn what_the_readme_shows_is_in_the_example() -> Result<()> {
    let read = |file: &str| fs::read_to_string(workspace().join(file));
    let (readme, example) = (
        read("README.md")?,
        read(&format!("examples/{EXAMPLE}/tidegate.toml"))?,
    );
    let (_, section) = readme
        .split_once("## Without code")
        .context("the section is gone")?;
    let rows = section
        .lines()
        .skip_while(|line| !line.starts_with("| ---") && !line.starts_with("|---"));
    let rows: Vec<&str> = rows
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .collect();
    ensure!(rows.len() >= 10, "only {} tasks are shown", rows.len());
    for row in rows {
        let settings = row
            .split('`')
            .nth(3)
            .context("a row names a plugin and its settings")?;
        // The example names topics besides.
        let shown = settings.trim_end_matches([' ', '}']);
        ensure!(example.contains(shown), "not in the example: {settings}");
    }
    Ok(())
}
