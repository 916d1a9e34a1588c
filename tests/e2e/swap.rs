//! Plugins replaced while traffic flows.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::change::pauses_us;
use tidegate_tests::cut::Cuttable;
use tidegate_tests::process::Process;
use tidegate_tests::tally::{Sent, Verdict, device_name};
use tidegate_tests::usage::{self, percentile_ms};
use tidegate_tests::watch::Arrival;
use tidegate_tests::{
    Broker, Config, Gateway, Load, Mosquitto, Plan, Watch, cases, rounds, wait_until,
};

use crate::guest::{component, marked};
use crate::scene::{Scene, UP, compare, expect_at_least_once, expect_exactly_once, plugin_file};
use crate::tools::{command, json, told};

pub fn cases() -> Vec<Trial> {
    cases![
        swapped_under_load,
        swapped_while_the_uplink_is_up_flaps_and_is_down,
        a_bad_candidate_leaves_the_old_one_running,
        a_swap_ends_while_the_uplink_is_down,
        stopped_in_the_middle_of_a_shadow,
        new_settings_in_the_config_are_a_swap,
        other_changes_of_the_config_ask_for_a_restart,
    ]
}

const FILE: &str = "count.wasm";

fn counting() -> Result<Scene> {
    Scene::with(
        &Config::forwarding().step("all", &plugin_file("count", FILE)),
        &[(FILE, component("count")?)],
    )
}

fn changes(gateway: &Gateway, state: &str) -> f64 {
    gateway.metric(
        "tidegate_swap_transitions_total",
        &[("plugin", "count"), ("state", state)],
    )
}

/// Candidates that were not taken, or taken back after their first messages.
fn turned_down(gateway: &Gateway) -> f64 {
    changes(gateway, "refused") + changes(gateway, "rolled-back")
}

/// A plugin that counts per device is replaced again and again under load in three lanes; each version has another
/// digest.
/// Guarantee: none lost, doubled or out of order per device, and each device's count is exactly its number of messages.
fn swapped_under_load() -> Result<()> {
    let swaps = rounds(20, 100);
    let scene = counting()?;
    let original = component("count")?;
    let rate = if swaps > 20 { 5_000 } else { 2_000 };
    let load = scene.load(Plan {
        devices: 30,
        rate: Some(rate),
        ..Plan::default()
    });
    for swap in 1..=swaps {
        let before = scene.watch.count();
        wait_until("traffic flows", || {
            scene.watch.count() > before + u64::from(rate) / 10
        })?;
        scene
            .gateway
            .replace(FILE, &marked(&original, swap as u32))?;
        wait_until("the swap is done", || {
            changes(&scene.gateway, "confirmed") >= swap as f64
        })?;
    }
    let sent = load.stop()?;
    expect_counted_once(&scene.field, &scene.cloud, &sent, scene.watch).map(drop)
}

/// Waits until all has arrived; each once and in order, and each device's count is its number of messages.
pub fn expect_counted_once(
    field: &Broker,
    cloud: &Broker,
    sent: &Sent,
    watch: Watch,
) -> Result<Verdict> {
    wait_until("all has arrived", || watch.count() as usize >= sent.count())?;
    expect_exact_counts(field, cloud, sent)?;
    expect_exactly_once(sent, watch)
}

/// Sends one more message of each device and compares the counts they come back with.
pub fn expect_exact_counts(field: &Broker, cloud: &Broker, sent: &Sent) -> Result<()> {
    const PROBE: &str = r#"{"probe":true}"#;
    let probe = Watch::start(cloud.address(), UP)?;
    for device in 0..sent.devices {
        field.publish(&format!("devices/{}/telemetry", device_name(device)), PROBE)?;
    }
    // What a link had in flight when it was cut may come once more, ahead of the probes.
    let is_probe = |arrival: &Arrival| arrival.json().is_ok_and(|json| json["of"] == PROBE);
    let arrived = || {
        probe
            .arrivals()
            .into_iter()
            .filter(is_probe)
            .collect::<Vec<_>>()
    };
    wait_until("the probes have arrived", || {
        arrived().len() >= sent.devices
    })?;
    let arrivals = arrived();
    for device in 0..sent.devices {
        let topic = format!("up/devices/{}/telemetry", device_name(device));
        let arrival = arrivals
            .iter()
            .find(|arrival| arrival.topic == topic)
            .context("a probe is missing")?;
        let count = arrival.json()?["count"]
            .as_u64()
            .with_context(|| format!("no count in {arrival:?}"))?;
        let expected = sent.count_of(device) as u64 + 1;
        ensure!(
            count == expected,
            "{}: counted {count} of {expected}",
            device_name(device)
        );
    }
    Ok(())
}

/// Swaps under load, a third each with the uplink up, flapping and dark; in the long form between two mosquittos.
/// Guarantee: none lost or out of order per device, doubled by the links alone, and each device's count is exactly its
/// number of messages; how long messages waited is printed.
fn swapped_while_the_uplink_is_up_flaps_and_is_down() -> Result<()> {
    let swaps = rounds(12, 1_000);
    let (rate, broker): (u32, fn() -> Result<Broker>) = if swaps > 12 {
        (10_000, || Mosquitto::new().forgetful().start())
    } else {
        (2_000, Broker::embedded)
    };
    let (field, cloud) = (broker()?, broker()?);
    let link = Cuttable::to(cloud.address())?;
    let setup = Gateway::with(
        Config::forwarding()
            .step("all", &plugin_file("count", FILE))
            .between(&field.url(), &link.url()),
    );
    let original = component("count")?;
    std::fs::write(setup.folder().join(FILE), &original)?;
    let watch = Watch::start(cloud.address(), UP)?;
    let gateway = setup.start()?;
    let plan = Plan {
        devices: 30,
        rate: Some(rate),
        window: 2_000,
        ..Plan::default()
    };
    let (load, begun) = (Load::start(field.address(), plan), Instant::now());
    for swap in 1..=swaps {
        let before = load.acknowledged();
        wait_until("traffic flows", || {
            load.acknowledged() > before + u64::from(rate) / 10
        })?;
        if swap == swaps / 3 {
            ensure!(
                watch.tally().doubled() == 0,
                "{} doubled while the link was up",
                watch.tally().doubled()
            );
        }
        trouble(&link, swap, swaps);
        // Of twenty in turns the code is in the cache after the first round.
        gateway.replace(FILE, &marked(&original, swap as u32 % 20))?;
        wait_until("the swap is done", || {
            changes(&gateway, "confirmed") >= swap as f64
        })?;
    }
    let took = begun.elapsed().as_secs_f64();
    link.back();
    let sent = load.stop()?;
    let verdict = compare(&sent, watch)?;
    ensure!(verdict.is_at_least_once(), "after {swaps} swaps: {verdict}");
    expect_exact_counts(&field, &cloud, &sent)?;
    let reached = sent.count() as f64 / took;
    println!("{swaps} swaps in {took:.0} s at {reached:.0} messages a second: {verdict}");
    let (now, peak) = usage::memory(gateway.pid())?;
    println!(
        "pauses {}; RSS {} MB, {} at its highest",
        pauses(&gateway),
        now >> 20,
        peak >> 20
    );
    Ok(())
}

/// A third of the swaps with the link up, one with a link that is cut each time, one with a link that is there now and
/// then.
fn trouble(link: &Cuttable, swap: usize, swaps: usize) {
    match swap * 3 / swaps {
        0 => {}
        1 => link.cut(),
        _ if swap % 10 == 9 => link.back(),
        _ => link.go_dark(),
    }
}

/// How long messages waited for the swaps so far.
pub fn pauses(gateway: &Gateway) -> String {
    let pauses = pauses_us(gateway.lines());
    let at = |share| percentile_ms(&pauses, share);
    format!(
        "p50 {:.2} ms, p99 {:.2}, p99.9 {:.2}, most {:.2}",
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    )
}

/// Half-written, no component, wrong world, denied import, a `configure` that fails, state that is not read, a trap on
/// the first batch: each put in
/// place of a running plugin, under load.
/// Guarantee: each is refused with a line that names it, and the old version goes on without losing a message.
fn a_bad_candidate_leaves_the_old_one_running() -> Result<()> {
    let scene = counting()?;
    let good = component("count")?;
    let candidates: [(&str, Vec<u8>); 7] = [
        ("half-written", good[..good.len() / 2].to_vec()),
        ("no component", b"#!/bin/sh\necho hello\n".to_vec()),
        ("wrong world", component("wrong-world")?),
        ("denied import", component("denied-import")?),
        ("configure fails", component("configure-error")?),
        ("does not read the state", component("other-state")?),
        ("traps on its first batch", component("trap-always")?),
    ];
    let load = scene.load(Plan::default());
    for (number, (what, bytes)) in candidates.iter().enumerate() {
        let mark = scene.gateway.lines().count();
        scene.gateway.replace(FILE, bytes)?;
        wait_until(&format!("the candidate is refused: {what}"), || {
            turned_down(&scene.gateway) > number as f64
        })?;
        wait_until("a line says so", || {
            scene
                .gateway
                .lines()
                .has_since(mark, &["count", "the running version stays"])
        })?;
        let before = scene.watch.count();
        wait_until("the old one goes on", || scene.watch.count() > before + 200)?;
    }
    scene.gateway.replace(FILE, &marked(&good, 1))?;
    wait_until("a good one is taken after all", || {
        changes(&scene.gateway, "swapped") >= 1.0
    })?;
    let sent = load.stop()?;
    expect_exactly_once(&sent, scene.watch).map(drop)
}

/// The uplink is dark, devices go on, and the plugin is replaced.
/// Guarantee: the swap ends without the uplink; when the link is back everything arrives, old version's and new one's.
fn a_swap_ends_while_the_uplink_is_down() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let link = Cuttable::to(cloud.address())?;
    let setup = Gateway::with(
        Config::forwarding()
            .step("all", &plugin_file("count", FILE))
            .between(&field.url(), &link.url()),
    );
    let original = component("count")?;
    std::fs::write(setup.folder().join(FILE), &original)?;
    let watch = Watch::start(cloud.address(), UP)?;
    let gateway = setup.start()?;
    let load = Load::start(field.address(), Plan::default());
    wait_until("traffic flows", || watch.count() > 200)?;
    link.go_dark();
    wait_until("something is owed", || {
        gateway.metric("tidegate_spool_messages", &[]) > 200.0
    })?;
    gateway.replace(FILE, &marked(&original, 1))?;
    wait_until("the swap is done", || changes(&gateway, "swapped") >= 1.0)?;
    let before = load.acknowledged();
    wait_until("devices go on", || load.acknowledged() > before + 500)?;
    link.back();
    let sent = load.stop()?;
    let verdict = compare(&sent, watch)?;
    ensure!(verdict.is_at_least_once(), "{verdict}");
    Ok(())
}

/// A command puts a version into a shadow under load, and SIGTERM comes in the middle of that.
/// Guarantee: the gateway ends in order and the command with it; after the start the version before runs, alone, none is
/// lost, and each device's count is exactly its number of messages.
fn stopped_in_the_middle_of_a_shadow() -> Result<()> {
    let scene = counting()?;
    let original = component("count")?;
    let folder = scene.gateway.folder().to_owned();
    std::fs::write(folder.join("candidate.wasm"), marked(&original, 1))?;
    let load = scene.load(Plan {
        devices: 30,
        rate: Some(2_000),
        ..Plan::default()
    });
    let file = folder.join("candidate.wasm");
    let arguments = [
        "swap",
        "count",
        file.to_str().context("a path of plain letters")?,
        "--shadow",
        "1h",
    ];
    let mut command = Process::start("tidegate swap", &mut command(&folder, &arguments)?)?;
    wait_until("both work beside each other", || {
        changes(&scene.gateway, "shadowing") == 1.0
    })?;
    let before = scene.watch.count();
    wait_until("traffic flows", || scene.watch.count() > before + 200)?;
    let Scene {
        field,
        cloud,
        watch,
        gateway,
    } = scene;
    let (status, setup) = gateway.stop()?;
    ensure!(status.code() == Some(0), "the gateway ended with {status}");
    let status = command.wait()?;
    ensure!(
        matches!(status.code(), Some(5 | 6)),
        "the command ended with {status}"
    );
    let gateway = setup.start()?;
    let shown = json(&folder, &["plugins"], 0)?;
    ensure!(
        shown[0]["digest"] == *tidegate::trust::digest(&original),
        "another version runs: {shown}"
    );
    ensure!(
        told(&folder, &["history"], 0)?.0.contains("suspended"),
        "the history does not know of it"
    );
    ensure!(
        changes(&gateway, "shadowing") == 0.0,
        "it is tried again: {:#?}",
        gateway.lines().all()
    );
    let sent = load.stop()?;
    wait_until("all has arrived", || watch.count() as usize >= sent.count())?;
    expect_exact_counts(&field, &cloud, &sent)?;
    expect_at_least_once(&sent.against(&watch.stop()?, |_, _| true))
}

/// The usual flow with a filter for temperatures above this.
pub fn filter_above(limit: i64) -> Config {
    let settings = format!(
        "settings = {{ where = [{{ field = \"temperature\", op = \">\", value = {limit} }}] }}"
    );
    Config::forwarding().step("all", &format!("plugin = \"builtin:filter\"\n{settings}"))
}

/// A built-in filter gets another limit in the config of the running gateway.
/// Guarantee: it takes effect without a restart.
fn new_settings_in_the_config_are_a_swap() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let config = |limit| filter_above(limit).between(&field.url(), &cloud.url());
    let gateway = Gateway::with(config(20)).start()?;
    field.publish("devices/d1/telemetry", r#"{"temperature":25}"#)?;
    wait_until("25 passes the limit of 20", || watch.total() == 1)?;
    gateway.rewrite_config(config(30))?;
    wait_until("the new settings are in", || {
        gateway.metric(
            "tidegate_swap_transitions_total",
            &[("plugin", "filter"), ("state", "swapped")],
        ) >= 1.0
    })?;
    field.publish("devices/d1/telemetry", r#"{"temperature":25}"#)?;
    field.publish("devices/d1/telemetry", r#"{"temperature":35}"#)?;
    wait_until("35 passes the limit of 30", || watch.total() == 2)?;
    ensure!(
        watch.arrivals()[1].payload.ends_with(b"35}"),
        "{:?}",
        watch.arrivals()
    );
    Ok(())
}

/// The level of the log changes in the config of the running gateway; then the config is broken altogether.
/// Guarantee: both are said in the log, and what runs goes on as before.
fn other_changes_of_the_config_ask_for_a_restart() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let config = filter_above(20).between(&field.url(), &cloud.url());
    let gateway = Gateway::with(&config).start()?;
    gateway.rewrite_config(config.add("log", "level = \"debug\""))?;
    wait_until("the log asks for a restart", || {
        gateway.lines().has(&["restart"])
    })?;
    let mark = gateway.lines().count();
    gateway.rewrite_text("[source.field\n")?;
    wait_until("the log says what is wrong", || {
        gateway.lines().has_since(mark, &["config"])
    })?;
    field.publish("devices/d1/telemetry", r#"{"temperature":25}"#)?;
    wait_until("traffic goes on as before", || watch.total() == 1)
}
