//! What stands between a failing plugin and the messages: its breaker, the quarantine of devices.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::binary::tidegate;
use tidegate_tests::cases;
use tidegate_tests::{Broker, Config, Gateway, Watch, wait_until};

use super::{flows, install};

pub fn cases() -> Vec<Trial> {
    cases![
        the_breaker_spares_a_failing_plugin_and_closes_again,
        what_a_failing_plugin_drops_is_in_the_ledger,
        a_bad_device_is_quarantined_and_comes_back,
    ]
}

/// The flow of a guest in one lane with these settings of the plugin.
pub(super) fn guarded(guest: &str, settings: &str) -> Config {
    flows(guest)
        .put(
            "flow.bad",
            "lanes = 1\nquarantine = { after = 5, retry = \"2s\" }",
        )
        .put("flow.bad.plugin.0", settings)
}

/// A field broker, a gateway with that flow, and a watch on what comes of it.
pub(super) fn guarded_scene(
    guest: &str,
    settings: &str,
) -> Result<(Broker, Broker, Gateway, Watch)> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let setup = Gateway::with(guarded(guest, settings).between(&field.url(), &cloud.url()));
    install(guest, &setup)?;
    let watch = Watch::start(cloud.address(), "bad/#")?;
    Ok((field, cloud, setup.start()?, watch))
}

/// A plugin that traps on all it gets, of many devices, and then gets harmless messages.
/// Guarantee: its breaker opens, which metrics, readiness and log say; what comes then is parked without asking it; it
/// closes by itself, and messages go through again.
fn the_breaker_spares_a_failing_plugin_and_closes_again() -> Result<()> {
    let (field, _cloud, gateway, watch) = guarded_scene(
        "trap",
        "breaker = { after = 5, retry = \"300ms\", close_after = 2 }",
    )?;
    for device in 0..12 {
        field.publish(&format!("bad/d{device}"), "trap")?;
    }
    wait_until("all are dead letters", || {
        gateway.metric("tidegate_dead_letters_total", &[("reason", "poison")]) >= 12.0
    })?;
    gateway.lines().wait_for(&["trap", "its breaker is open"])?;
    let traps = gateway.metric("tidegate_plugin_errors_total", &[("plugin", "trap")]);
    let mut sent = 0;
    wait_until("the breaker closes", || {
        sent += 1;
        let published = field.publish(&format!("bad/good{sent}"), "harmless");
        published.is_ok() && gateway.lines().has(&["trap", "its breaker is closed"])
    })?;
    ensure!(
        gateway.metric(OPEN.0, OPEN.1) == 0.0,
        "the metric says open"
    );
    let before = watch.total();
    field.publish("bad/last", "harmless")?;
    wait_until("messages go through", || watch.total() > before)?;
    ensure!(
        gateway.metric("tidegate_plugin_errors_total", &[("plugin", "trap")]) <= traps + 4.0,
        "it was asked meanwhile"
    );
    Ok(())
}

/// The same plugin with `on_error = "drop"` and a breaker that stays open.
/// Guarantee: readiness says so and is ready; every message is counted in the ledger as `plugin-failed`, none is a dead
/// letter, and the field broker gets its acknowledgements.
fn what_a_failing_plugin_drops_is_in_the_ledger() -> Result<()> {
    let (field, _cloud, gateway, _watch) = guarded_scene(
        "trap",
        "on_error = \"drop\"\nbreaker = { after = 5, retry = \"1h\" }",
    )?;
    for device in 0..20 {
        field.publish(&format!("bad/d{device}"), "trap")?;
    }
    wait_until("all are dropped", || {
        gateway.metric("tidegate_chain_messages_total", &[("fate", "dropped")]) >= 20.0
    })?;
    ensure!(
        gateway.metric(OPEN.0, OPEN.1) == 1.0,
        "the breaker is not open"
    );
    wait_until("all are acknowledged", || {
        gateway.metric("tidegate_source_unsettled_messages", &[]) == 0.0
    })?;
    let (status, text) = gateway.get("/readyz?verbose")?;
    ensure!(
        status == 200 && text.contains("[~] flow bad plugin `trap` fails on so many messages"),
        "{status}: {text}"
    );
    let (_, setup) = gateway.stop()?;
    let output = std::process::Command::new(tidegate()?)
        .args(["ledger", "-o", "json", "--data-dir"])
        .arg(setup.data())
        .arg("--config")
        .arg(setup.config_file())
        .output()?;
    let entries: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let failed = entries
        .as_array()
        .into_iter()
        .flatten()
        .filter(|entry| entry["reason"] == "plugin-failed");
    let count: u64 = failed.filter_map(|entry| entry["count"].as_u64()).sum();
    ensure!(count == 20, "the ledger counts {count}: {entries}");
    Ok(())
}

/// One device sends what makes the plugin trap, then harmless messages; another one sends harmless ones all the time.
/// Guarantee: the bad device is quarantined, its messages are dead letters that say so, the other one's go through; it
/// comes back by itself.
fn a_bad_device_is_quarantined_and_comes_back() -> Result<()> {
    // However slowly they come: it is not the plugin that is given up.
    let (field, _cloud, gateway, watch) = guarded_scene("trap", "breaker = { after = 1000 }")?;
    let mut good = 0;
    wait_until("the device is quarantined", || {
        good += 1;
        let published = field
            .publish("bad/mad", "trap")
            .and_then(|()| field.publish("bad/sane", "harmless"));
        published.is_ok()
            && gateway.metric("tidegate_dead_letters_total", &[("reason", "quarantined")]) >= 1.0
    })?;
    gateway
        .lines()
        .wait_for(&["mad", "device is quarantined"])?;
    wait_until("the other device's messages go through", || {
        watch.total() >= good
    })?;
    wait_until("the device is back", || {
        field.publish("bad/mad", "harmless").is_ok()
            && gateway.lines().has(&["mad", "out of quarantine"])
    })?;
    ensure!(
        gateway.metric("tidegate_quarantined_devices", &[]) == 0.0,
        "the metric still counts it"
    );
    Ok(())
}

pub(super) const OPEN: (&str, &[(&str, &str)]) = (
    "tidegate_plugin_breaker_lanes",
    &[("plugin", "trap"), ("state", "open")],
);
