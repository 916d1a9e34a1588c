//! The register of devices: who was seen, over kills and reloads, and what is told of it upstream.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use tidegate_tests::mosquitto::{heard, publish, subscribe};
use tidegate_tests::{Broker, Config, Gateway, cases, wait_until, with_mosquitto};

use crate::reload::reload;
use crate::tools::{json, told};

pub fn cases() -> Vec<Trial> {
    cases![with_mosquitto;
        a_device_is_known_over_a_kill_and_unknown_until_it_is_heard,
        what_becomes_of_a_device_is_told_upstream_once_and_late_words_are_not,
        a_register_comes_with_a_reload_and_asks_for_other_topics_with_the_next,
    ]
}

const REGISTER: &str = "events = \"cloud:state\"\ncheckpoint = \"100ms\"";

fn config(field: &Broker, cloud: &Broker) -> Config {
    Config::forwarding().between(&field.url(), &cloud.url())
}

fn there(topic: &str) -> String {
    format!("topics = [\"{topic}\"]\nversion = \"n\"")
}

/// What the register has of a device: nothing where it does not know it.
fn listed(gateway: &Gateway, device: &str) -> Result<Value> {
    let list = json(gateway.folder(), &["devices", device], 0)?;
    let all = list["devices"].as_array().context("no list")?;
    let found = all.iter().find(|one| one["device"] == device);
    Ok(found.cloned().unwrap_or_default())
}

fn wait_for(gateway: &Gateway, device: &str, state: &str, messages: u64) -> Result<()> {
    wait_until("the register has it", || {
        let found = listed(gateway, device).unwrap_or_default();
        found["state"] == state && found["messages"] == messages
    })
}

/// A device sends, the gateway is killed behind a checkpoint, starts again, and the device sends once more.
/// Guarantee: what was counted is there; the device is unknown until it is heard; a name is shown without what a terminal acts on.
fn a_device_is_known_over_a_kill_and_unknown_until_it_is_heard() -> Result<()> {
    let (field, cloud) = (Broker::mosquitto()?, Broker::mosquitto()?);
    let config = config(&field, &cloud).add("devices", REGISTER);
    let events = subscribe(&cloud, "tidegate/+/devices/+", "%p", &[])?;
    let gateway = Gateway::with(config).start()?;
    gateway.wait_online()?;
    let hostile = "d\u{202e}7";
    for device in ["d1", "d1", hostile] {
        publish(&field, &format!("devices/{device}/telemetry"), "{}", &[])?;
    }
    wait_for(&gateway, "d1", "online", 2)?;
    let written = gateway.metric("tidegate_spool_checkpoints_total", &[]);
    wait_until("a checkpoint is written behind it", || {
        publish(&field, "devices/d2/telemetry", "{}", &[]).is_ok()
            && gateway.metric("tidegate_spool_checkpoints_total", &[]) > written + 1.0
    })?;
    let gateway = gateway.kill()?.start()?;
    gateway.wait_online()?;
    let found = listed(&gateway, "d1")?;
    ensure!(
        found["state"] == "unknown" && found["messages"] == 2 && found["source"] == "field",
        "{found}"
    );
    let told_before = heard(&events).len();
    publish(&field, "devices/d1/telemetry", "{}", &[])?;
    wait_for(&gateway, "d1", "online", 3)?;
    wait_until("it is told once more", || {
        heard(&events).len() > told_before
    })?;
    let versions = versions(&events, "d1")?;
    ensure!(
        versions.is_sorted_by(|one, next| one < next),
        "{versions:?}"
    );
    let (table, _) = told(gateway.folder(), &["devices"], 0)?;
    ensure!(
        !table.contains('\u{202e}') && table.contains("d\u{fffd}7"),
        "{table}"
    );
    Ok(())
}

fn versions(events: &tidegate_tests::process::Process, device: &str) -> Result<Vec<u64>> {
    let mut versions = Vec::new();
    for line in heard(events) {
        let event: Value = serde_json::from_str(&line)?;
        if event["device"] == device {
            versions.push(event["version"].as_u64().context(line)?);
        }
    }
    Ok(versions)
}

/// A device speaks; its broker says that it is gone, says it again, and brings an older word late; then it speaks once more, and
/// is silent after that.
/// Guarantee: upstream hears of each change once, in order, and nothing of what was repeated or late.
fn what_becomes_of_a_device_is_told_upstream_once_and_late_words_are_not() -> Result<()> {
    let (field, cloud) = (Broker::mosquitto()?, Broker::mosquitto()?);
    let config = config(&field, &cloud)
        .add("devices", &format!("{REGISTER}\nheartbeat = \"2s\""))
        .add("devices.availability", &there("there/{device}"));
    let events = subscribe(&cloud, "tidegate/+/devices/d1", "%p", &[])?;
    let gateway = Gateway::with(config).start()?;
    gateway.wait_online()?;
    let speaks = || publish(&field, "devices/d1/telemetry", "{}", &[]);
    let is_there = |word: &str, version: u64| {
        let payload = format!("{{\"state\":\"{word}\",\"n\":{version}}}");
        publish(&field, "there/d1", &payload, &["-r"])
    };
    let count =
        |outcome: &str| gateway.metric("tidegate_device_statuses_total", &[("outcome", outcome)]);
    speaks()?;
    wait_for(&gateway, "d1", "online", 1)?;
    is_there("offline", 7)?;
    wait_until("it is gone", || count("taken") >= 1.0)?;
    is_there("offline", 7)?;
    wait_until("it was said before", || count("repeated") >= 1.0)?;
    is_there("online", 6)?;
    wait_until("it is late", || count("late") >= 1.0)?;
    speaks()?;
    let states = || -> Vec<String> {
        let events = heard(&events).into_iter();
        let events = events.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
        events
            .map(|event| format!("{} {}", event["state"], event["why"]))
            .collect()
    };
    let expected = [
        "\"online\" \"heard\"",
        "\"offline\" \"told\"",
        "\"online\" \"heard\"",
        "\"silent\" \"heartbeat\"",
    ];
    wait_until("all is told", || states().len() >= expected.len())?;
    ensure!(states() == expected, "{:?}", states());
    let list = json(gateway.folder(), &["devices", "--state", "silent"], 0)?;
    ensure!(
        list["devices"][0]["device"] == "d1" && list["counts"]["silent"] == 1,
        "{list}"
    );
    ensure!(gateway.metric("tidegate_devices", &[("state", "silent")]) == 1.0);
    Ok(())
}

/// A gateway without a register gets one by a reload, then another topic for availability, then none.
/// Guarantee: each is so without a restart, and the flows lose nothing of what comes meanwhile.
fn a_register_comes_with_a_reload_and_asks_for_other_topics_with_the_next() -> Result<()> {
    let (field, cloud) = (Broker::mosquitto()?, Broker::mosquitto()?);
    let plain = config(&field, &cloud);
    let readings = subscribe(&cloud, "up/#", "%t", &[])?;
    let gateway = Gateway::with(plain.clone()).start()?;
    gateway.wait_online()?;
    let (_, error) = told(gateway.folder(), &["devices"], 1)?;
    ensure!(error.contains("[devices]"), "{error}");
    let with = |topic: &str| {
        plain
            .clone()
            .add("devices", REGISTER)
            .add("devices.availability", &there(topic))
    };
    for (number, topic) in [(1, "one/{device}"), (2, "two/{device}")] {
        let out = reload(&gateway, &with(topic), 0)?;
        ensure!(
            out.contains("devices") && out.contains("source.field"),
            "{out}"
        );
        gateway.wait_online()?;
        let device = format!("d{number}");
        let topic = format!("{}/{device}", ["one", "two"][number - 1]);
        wait_until("its topic is asked for", || {
            publish(&field, &topic, "offline", &[]).is_ok()
                && listed(&gateway, &device).is_ok_and(|one| one["state"] == "offline")
        })?;
    }
    publish(&field, "devices/d3/telemetry", "{}", &[])?;
    wait_for(&gateway, "d3", "online", 1)?;
    reload(&gateway, &plain, 0)?;
    told(gateway.folder(), &["devices"], 1)?;
    wait_until("the reading came", || {
        heard(&readings) == ["up/devices/d3/telemetry"]
    })
}
