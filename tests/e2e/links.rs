//! How the link upstream is used: whose messages go first, how fast, over how many connections and under which ids.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::cut::Cuttable;
use tidegate_tests::{Broker, Gateway, Load, Mosquitto, Plan, Watch, case, rounds, wait_until, with_mosquitto};

use crate::scene::{UP, compare, config, expect_at_least_once, flow};
use crate::tools::json;

pub fn cases() -> Vec<Trial> {
    vec![
        with_mosquitto("links::an_alarm_overtakes_a_backlog", an_alarm_overtakes_a_backlog),
        with_mosquitto(
            "links::several_connections_keep_the_order_of_each_device",
            several_connections_keep_the_order_of_each_device,
        ),
        with_mosquitto("links::a_topic_that_upstream_refuses_is_parked_and_the_rest_goes_on", a_refused_topic_is_parked),
        case("links::ids_have_no_gap_and_tell_doubles", ids_have_no_gap_and_tell_doubles),
        case("links::a_packed_backlog_arrives_whole", a_packed_backlog_arrives_whole),
    ]
}

/// A flow of its own for alarms.
const ALARMS: &str = "[flow.alarms]\nfrom = \"field\"\ntopics = [\"devices/{device}/alarm\"]\nto = { out = \"cloud:alarm\" }\ntopic = \"alarms/{topic}\"\n";

/// The usual config with more settings for its uplink.
fn with_uplink(field: &Broker, cloud: &str, settings: &str, flows: &str) -> String {
    config(&field.url(), cloud, flows).replace("[uplink.cloud]\n", &format!("[uplink.cloud]\n{settings}\n"))
}

fn owed(gateway: &Gateway) -> f64 {
    gateway.metric("tidegate_spool_messages", &[("uplink", "cloud")])
}

/// Thousands of readings are owed to a dark upstream; while they drain, held to 500 a second, an alarm is sent. In the
/// long form a million drain as fast as they can.
/// Guarantee: the alarm does not wait for the backlog, and the backlog arrives whole.
fn an_alarm_overtakes_a_backlog() -> Result<()> {
    let (field, cloud) = (Broker::mosquitto()?, Broker::mosquitto()?);
    let link = Cuttable::to(cloud.address())?;
    link.go_dark();
    let (watch, alarms) = (Watch::start(cloud.address(), UP)?, Watch::start(cloud.address(), "alarms/#")?);
    let flows = format!("{}{ALARMS}", flow(""));
    let total = rounds(3_000, 1_000_000);
    let rate = if total > 3_000 { "" } else { "rate = \"500/s\"" };
    let gateway = Gateway::with(with_uplink(&field, &link.url(), rate, &flows)).start()?;
    let sent = Load::start(field.address(), Plan { rate: None, total: Some(total), ..Plan::default() }).wait()?;
    wait_until("all is owed", || owed(&gateway) == total as f64)?;
    link.back();
    wait_until("it drains", || watch.count() > 0)?;
    let raised = Instant::now();
    field.publish("devices/d1/alarm", "fire")?;
    wait_until("the alarm is there", || alarms.total() == 1)?;
    let (left, took) = (total - watch.count() as usize, raised.elapsed());
    println!("{left} of {total} readings were still owed when the alarm arrived after {took:?}");
    ensure!(left > total / 4, "the alarm waited: only {left} of {total} readings were still owed");
    expect_at_least_once(&compare(&sent, watch)?)
}

/// Four connections to a broker that grants each 20 messages, cut twice under load.
/// Guarantee: all four are used; nothing is lost and nothing overtakes within a device.
fn several_connections_keep_the_order_of_each_device() -> Result<()> {
    let (field, cloud) = (Broker::mosquitto()?, Mosquitto::new().inflight(20).start()?);
    let link = Cuttable::to(cloud.address())?;
    let watch = Watch::start(cloud.address(), UP)?;
    let gateway = Gateway::with(with_uplink(&field, &link.url(), "connections = 4", &flow(""))).start()?;
    let up = || gateway.metric("tidegate_uplink_up", &[("uplink", "cloud")]);
    let load = Load::start(field.address(), Plan { rate: Some(2_000), ..Plan::default() });
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
fn a_refused_topic_is_parked() -> Result<()> {
    let (field, cloud) = (Broker::mosquitto()?, Mosquitto::new().deny("up/devices/d3/#").start()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let gateway = Gateway::with(config(&field.url(), &cloud.url(), &flow(""))).start()?;
    let plan = Plan { devices: 10, total: Some(rounds(300, 3_000)), ..Plan::default() };
    let sent = Load::start(field.address(), plan).wait()?;
    let refused = sent.count_of(3) as f64;
    wait_until("the refused ones are parked", || gateway.metric("tidegate_dead_letters_kept", &[]) == refused)?;
    wait_until("nothing is owed", || owed(&gateway) == 0.0)?;
    let letter = json(gateway.folder(), &["parked", "list", "-n", "1"], 0)?.to_string();
    ensure!(letter.contains("0x87") && letter.contains("devices/d3/telemetry"), "{letter}");
    let verdict = sent.against(&watch.stop()?, |device, _| device != 3);
    println!("{refused} of {} refused and parked; {verdict}", sent.count());
    expect_at_least_once(&verdict)
}

/// Messages go out in envelopes over a link that is cut in between.
/// Guarantee: every number is there, and however often a message comes it has the same id and the same payload.
fn ids_have_no_gap_and_tell_doubles() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let link = Cuttable::to(cloud.address())?;
    let watch = Watch::start(cloud.address(), UP)?;
    let text = with_uplink(&field, &link.url(), "id = \"envelope\"", &flow(""));
    let _gateway = Gateway::with(text).start()?;
    let load = Load::start(field.address(), Plan { rate: Some(500), total: Some(900), ..Plan::default() });
    for part in 1..4 {
        wait_until("traffic flows", || watch.total() > part * 150)?;
        link.cut();
    }
    let count = load.wait()?.count() as u64;
    let numbers = || -> Result<BTreeSet<u64>> {
        let number = |arrival: &tidegate_tests::watch::Arrival| arrival.json()?["seq"].as_u64().context("no number");
        watch.arrivals().iter().map(number).collect()
    };
    wait_until("all have arrived", || numbers().is_ok_and(|numbers| numbers.len() as u64 >= count))?;
    ensure!(numbers()? == (0..count).collect(), "numbers with a gap: {:?}", numbers()?);
    let mut contents = std::collections::BTreeMap::new();
    for arrival in watch.arrivals() {
        let envelope = arrival.json()?;
        let id = envelope["id"].as_str().context("no id")?.to_owned();
        ensure!(id == format!("cloud/telemetry/{}/{}", envelope["boot"], envelope["seq"]), "{envelope}");
        ensure!(envelope["payload"]["device"] == envelope["device"], "{envelope}");
        let before = contents.insert(id, envelope["payload"].clone());
        ensure!(before.is_none_or(|before| before == envelope["payload"]), "two payloads under one id: {envelope}");
    }
    ensure!(contents.len() as u64 == count, "{} ids for {count} messages", contents.len());
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
    let flows = flow("").replace("up/{topic}", "up/all");
    let gateway = Gateway::with(with_uplink(&field, &link.url(), settings, &flows)).start()?;
    let count = Load::start(field.address(), Plan { rate: None, total: Some(2_000), ..Plan::default() }).wait()?.count();
    wait_until("all is owed", || owed(&gateway) == count as f64)?;
    link.back();
    wait_until("nothing is owed", || owed(&gateway) == 0.0)?;
    let mut numbers = BTreeSet::new();
    let arrivals = watch.arrivals();
    for arrival in &arrivals {
        for envelope in arrival.json()?.as_array().context("no array")? {
            numbers.insert(envelope["seq"].as_u64().context("no number")?);
        }
    }
    println!("{count} messages in {} publishes", arrivals.len());
    ensure!(numbers == (0..count as u64).collect(), "{} of {count} messages arrived", numbers.len());
    ensure!(arrivals.len() * 10 < count, "{} publishes for {count} messages", arrivals.len());
    Ok(())
}
