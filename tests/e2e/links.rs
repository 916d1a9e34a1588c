//! How the link upstream is used: whose messages go first, how fast, over how many connections and under which ids.

mod held;

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::ensure;
use anyhow::{Context, Result};
use libtest_mimic::Trial;
use tidegate_tests::cut::Cuttable;
use tidegate_tests::watch::Arrival;
use tidegate_tests::{
    Broker, Config, Gateway, Load, Mosquitto, Plan, Watch, cases, rounds, wait_until,
    with_mosquitto,
};

use crate::scene::{UP, compare, expect_at_least_once, send_all};
use crate::tools::json;

pub fn cases() -> Vec<Trial> {
    let mut cases = cases![
        fresh_data_goes_ahead_of_a_backlog_that_says_so,
        one_of_two_uplinks_is_enough_and_the_other_gets_it_too,
        ids_have_no_gap_and_tell_doubles,
        a_packed_backlog_arrives_whole,
    ];
    cases.extend(cases![with_mosquitto;
        an_alarm_overtakes_a_backlog,
        several_connections_keep_the_order_of_each_device,
        a_topic_that_upstream_refuses_is_parked_and_the_rest_goes_on,
    ]);
    cases.extend(held::cases());
    cases
}

/// A flow of its own for alarms.
pub const ALARMS: &str = "from = \"field\"\ntopics = [\"devices/{device}/alarm\"]\nto = { out = \"cloud:alarm\" }\ntopic = \"alarms/{topic}\"";

/// The usual config with more settings for its uplink.
fn with_uplink(field: &Broker, cloud: &str, settings: &str) -> Config {
    Config::forwarding()
        .between(&field.url(), cloud)
        .put("uplink.cloud", settings)
}

fn owed(gateway: &Gateway) -> f64 {
    gateway.metric("tidegate_spool_messages", &[("uplink", "cloud")])
}

/// Thousands of readings are owed to a dark upstream; while they drain, held to 100 a second until it is there, an alarm is
/// sent. In the long form a million drain as fast as they can.
/// Guarantee: the alarm does not wait for the backlog, and the backlog arrives whole.
fn an_alarm_overtakes_a_backlog() -> Result<()> {
    let (field, cloud) = (Broker::mosquitto()?, Broker::mosquitto()?);
    let link = Cuttable::to(cloud.address())?;
    link.go_dark();
    let (watch, alarms) = (
        Watch::start(cloud.address(), UP)?,
        Watch::start(cloud.address(), "alarms/#")?,
    );
    let total = rounds(3_000, 1_000_000);
    let rate = if total > 3_000 {
        ""
    } else {
        "rate = \"100/s\""
    };
    let config = |rate| with_uplink(&field, &link.url(), rate).add("flow.alarms", ALARMS);
    let gateway = Gateway::with(config(rate)).start()?;
    let sent = send_all(&field, total)?;
    wait_until("all is owed", || owed(&gateway) == total as f64)?;
    link.back();
    wait_until("it drains", || watch.count() > 0)?;
    let raised = Instant::now();
    field.publish("devices/d1/alarm", "fire")?;
    wait_until("the alarm is there", || alarms.total() == 1)?;
    let (left, took) = (total - watch.count() as usize, raised.elapsed());
    println!("{left} of {total} readings were still owed when the alarm arrived after {took:?}");
    ensure!(
        left > total / 4,
        "the alarm waited: only {left} of {total} readings were still owed"
    );
    let _gateway = without_a_rate(gateway, config(""))?;
    expect_at_least_once(&compare(&sent, watch)?)
}

/// The gateway with another config, in which the rest drains as fast as it can.
fn without_a_rate(gateway: Gateway, config: Config) -> Result<Gateway> {
    let (status, setup) = gateway.stop()?;
    ensure!(status.success(), "the gateway ended with {status}");
    setup.rewrite(config)?;
    setup.start()
}

/// Four connections to a broker that grants each 20 messages, cut twice under load.
/// Guarantee: all four are used; nothing is lost and nothing overtakes within a device.
fn several_connections_keep_the_order_of_each_device() -> Result<()> {
    let (field, cloud) = (Broker::mosquitto()?, Mosquitto::new().inflight(20).start()?);
    let link = Cuttable::to(cloud.address())?;
    let watch = Watch::start(cloud.address(), UP)?;
    let config = with_uplink(&field, &link.url(), "connections = 4");
    let gateway = Gateway::with(config).start()?;
    let up = || gateway.metric("tidegate_uplink_up", &[("uplink", "cloud")]);
    let load = Load::start(
        field.address(),
        Plan {
            rate: Some(2_000),
            ..Plan::default()
        },
    );
    for _ in 0..rounds(2, 20) {
        let before = watch.count();
        wait_until("all connections stand", || up() == 4.0)?;
        wait_until("traffic flows", || watch.count() > before + 1_000)?;
        link.cut();
    }
    let sent = load.stop()?;
    let verdict = compare(&sent, watch)?;
    expect_at_least_once(&verdict)?;
    wait_until("nothing is owed", || owed(&gateway) == 0.0)
}

/// An upstream that lets nobody publish the readings of one device in ten. mosquitto 2.0.11 hangs up after each of its
/// refusals, too, unless it logs at level debug.
/// Guarantee: those become dead letters with upstream's reason, all others arrive, and what is owed comes to nothing.
fn a_topic_that_upstream_refuses_is_parked_and_the_rest_goes_on() -> Result<()> {
    let (field, cloud) = (
        Broker::mosquitto()?,
        Mosquitto::new().deny("up/devices/d3/#").start()?,
    );
    let watch = Watch::start(cloud.address(), UP)?;
    let gateway =
        Gateway::with(Config::forwarding().between(&field.url(), &cloud.url())).start()?;
    let plan = Plan {
        devices: 10,
        total: Some(rounds(300, 3_000)),
        ..Plan::default()
    };
    let sent = Load::start(field.address(), plan).wait()?;
    let refused = sent.count_of(3) as f64;
    wait_until("the refused ones are parked", || {
        gateway.metric("tidegate_dead_letters_kept", &[]) == refused
    })?;
    wait_until("nothing is owed", || owed(&gateway) == 0.0)?;
    let letter = json(gateway.folder(), &["parked", "list", "-n", "1"], 0)?.to_string();
    ensure!(
        letter.contains("0x87") && letter.contains("devices/d3/telemetry"),
        "{letter}"
    );
    let verdict = sent.against(&watch.stop()?, |device, _| device != 3);
    println!(
        "{refused} of {} refused and parked; {verdict}",
        sent.count()
    );
    expect_at_least_once(&verdict)
}

/// Messages go out in envelopes over a link that is cut in between.
/// Guarantee: every number is there, and however often a message comes it has the same id and the same payload.
fn ids_have_no_gap_and_tell_doubles() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let link = Cuttable::to(cloud.address())?;
    let watch = Watch::start(cloud.address(), UP)?;
    let config = with_uplink(&field, &link.url(), "id = \"envelope\"");
    let _gateway = Gateway::with(config).start()?;
    let load = Load::start(
        field.address(),
        Plan {
            rate: Some(500),
            total: Some(900),
            ..Plan::default()
        },
    );
    for part in 1..4 {
        wait_until("traffic flows", || watch.total() > part * 150)?;
        link.cut();
    }
    let count = load.wait()?.count() as u64;
    let numbers = || -> Result<BTreeSet<u64>> {
        let number = |arrival: &tidegate_tests::watch::Arrival| {
            arrival.json()?["seq"].as_u64().context("no number")
        };
        watch.arrivals().iter().map(number).collect()
    };
    wait_until("all have arrived", || {
        numbers().is_ok_and(|numbers| numbers.len() as u64 >= count)
    })?;
    ensure!(
        numbers()? == (0..count).collect(),
        "numbers with a gap: {:?}",
        numbers()?
    );
    let mut contents = std::collections::BTreeMap::new();
    for arrival in watch.arrivals() {
        let envelope = arrival.json()?;
        let id = envelope["id"].as_str().context("no id")?.to_owned();
        let place = format!("/cloud/telemetry/{}/{}", envelope["boot"], envelope["seq"]);
        ensure!(
            id.ends_with(&place) && id.split('/').count() == 6,
            "{envelope}"
        );
        ensure!(
            envelope["payload"]["device"] == envelope["device"],
            "{envelope}"
        );
        let before = contents.insert(id, envelope["payload"].clone());
        ensure!(
            before.is_none_or(|before| before == envelope["payload"]),
            "two payloads under one id: {envelope}"
        );
    }
    ensure!(
        contents.len() as u64 == count,
        "{} ids for {count} messages",
        contents.len()
    );
    Ok(())
}

/// A backlog goes out as JSON arrays, all devices on one topic.
/// Guarantee: every message is in one of far fewer publishes.
fn a_packed_backlog_arrives_whole() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let link = Cuttable::to(cloud.address())?;
    link.go_dark();
    let watch = Watch::start(cloud.address(), UP)?;
    let settings = "pack = \"json-array\"\nid = \"envelope\"";
    let config = with_uplink(&field, &link.url(), settings).change("flow.all.topic", "up/all");
    let gateway = Gateway::with(config).start()?;
    let count = send_all(&field, 2_000)?.count();
    wait_until("all is owed", || owed(&gateway) == count as f64)?;
    link.back();
    wait_until("nothing is owed", || owed(&gateway) == 0.0)?;
    let numbers = || -> Result<BTreeSet<u64>> {
        let mut numbers = BTreeSet::new();
        for arrival in watch.arrivals() {
            for envelope in arrival.json()?.as_array().context("no array")? {
                numbers.insert(envelope["seq"].as_u64().context("no number")?);
            }
        }
        Ok(numbers)
    };
    // What the broker has accepted is a moment later with its subscriber.
    wait_until("all have arrived", || {
        numbers().is_ok_and(|numbers| numbers.len() >= count)
    })?;
    let (numbers, arrivals) = (numbers()?, watch.arrivals());
    println!("{count} messages in {} publishes", arrivals.len());
    ensure!(
        numbers == (0..count as u64).collect(),
        "{} of {count} messages arrived",
        numbers.len()
    );
    ensure!(
        arrivals.len() * 10 < count,
        "{} publishes for {count} messages",
        arrivals.len()
    );
    Ok(())
}

/// Thousands are owed when the link comes back at 200 msg/s, and devices go on sending.
/// Guarantee: what devices send then arrives long before the backlog is through, what is replayed says so by its topic,
/// nothing is lost or comes twice, and each of the two is in order.
fn fresh_data_goes_ahead_of_a_backlog_that_says_so() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let link = Cuttable::to(cloud.address())?;
    link.go_dark();
    let watch = Watch::start(cloud.address(), UP)?;
    let settings = "rate = \"200/s\"\nreplay_mark = \"topic\"";
    let config = with_uplink(&field, &link.url(), settings)
        .add("class.telemetry", "order = \"fresh-first\"");
    let gateway = Gateway::with(config).start()?;
    let total = rounds(2_000, 20_000);
    let old = send_all(&field, total)?;
    wait_until("all is on disk", || {
        gateway.metric("tidegate_spool_disk_messages", &[]) == total as f64
    })?;
    link.back();
    wait_until("the backlog is on its way", || watch.total() > 50)?;
    for number in 0..20 {
        field.publish(
            "devices/fresh/telemetry",
            format!("{{\"device\":\"fresh\",\"seq\":{number}}}"),
        )?;
    }
    wait_until("fresh data has arrived", || {
        watch.tally().count_of("fresh") == 20
    })?;
    let before = watch.total();
    ensure!(
        before < total as u64 / 2,
        "{before} of {total} went ahead of fresh data"
    );
    wait_until("the backlog has arrived", || {
        watch.total() >= total as u64 + 20
    })?;
    let is_right = |arrival: &Arrival| {
        arrival.topic.ends_with("/replayed") != arrival.topic.contains("/fresh/")
    };
    ensure!(
        watch.arrivals().iter().all(is_right),
        "what is replayed says so, and nothing else"
    );
    let tally = watch.stop()?;
    let verdict = old.against(&tally, |_, _| true);
    eprintln!("fresh data was through after {before} of {total} old messages: {verdict}");
    ensure!(
        verdict.lost == 0 && verdict.doubled == 0 && verdict.disordered == 0,
        "{verdict}"
    );
    Ok(())
}

/// A flow goes to two uplinks, one of them dark, with `settle = "any"`, and nothing is written to disk before the gateway is
/// stopped in order.
/// Guarantee: devices are acknowledged by the one; the other gets all of it once it is back.
fn one_of_two_uplinks_is_enough_and_the_other_gets_it_too() -> Result<()> {
    let (field, cloud, other) = (
        Broker::embedded()?,
        Broker::embedded()?,
        Broker::embedded()?,
    );
    let link = Cuttable::to(other.address())?;
    link.go_dark();
    let (watch, second) = (
        Watch::start(cloud.address(), UP)?,
        Watch::start(other.address(), UP)?,
    );
    // Nothing is written for an hour: what is acknowledged is so because one uplink has it.
    let config = Config::forwarding()
        .between(&field.url(), &cloud.url())
        .uplink("other", &link.url())
        .put(
            "flow.all",
            "settle = \"any\"\nto = [\"cloud:telemetry\", \"other:telemetry\"]",
        )
        .add("spool", "spill_after = \"1h\"\ncommit_every = \"1h\"");
    let gateway = Gateway::with(config).start()?;
    let sent = send_all(&field, 2_000)?;
    wait_until("the one has all of it", || watch.count() == 2_000)?;
    wait_until("devices' side is settled", || {
        gateway.metric("tidegate_source_unsettled_messages", &[]) == 0.0
    })?;
    ensure!(
        gateway.metric("tidegate_spool_messages", &[("uplink", "other")]) == 2_000.0,
        "the other is not owed it"
    );
    let (status, setup) = gateway.stop()?;
    ensure!(status.success(), "the gateway ended with {status}");
    link.back();
    let _gateway = setup.start()?;
    expect_at_least_once(&compare(&sent, second)?)
}
