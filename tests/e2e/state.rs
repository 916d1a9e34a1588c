//! What plugins remember, over stops and kills.

use std::fs;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::{Broker, Config, Gateway, Watch, cases, wait_until};

use crate::guest::component;
use crate::scene::{UP, plugin_file};

pub fn cases() -> Vec<Trial> {
    cases![
        a_stop_loses_nothing_and_the_lanes_may_change,
        counts_of_a_site_are_exact_on_any_number_of_lanes,
        a_kill_loses_what_came_after_the_last_checkpoint,
        an_alarm_raised_before_a_kill_is_not_raised_again,
        a_plugin_that_cannot_read_its_state,
    ]
}

const FILE: &str = "count.wasm";
const DEVICES: usize = 20;
const SITES: usize = 3;

fn counting(field: &Broker, cloud: &Broker, more: &str) -> Config {
    Config::forwarding()
        .between(&field.url(), &cloud.url())
        .step("all", &plugin_file("count", FILE))
        .put("flow.all.plugin.0", more)
}

/// Publishes one message of the device and waits for its count.
fn count(field: &Broker, cloud: &Broker, device: &str) -> Result<u64> {
    let watch = Watch::start(cloud.address(), &format!("up/devices/{device}/telemetry"))?;
    field.publish(&format!("devices/{device}/telemetry"), "probe")?;
    wait_until("the count arrives", || {
        watch
            .arrivals()
            .iter()
            .any(|arrival| arrival.json().is_ok_and(|json| json["of"] == "probe"))
    })?;
    let arrivals = watch.arrivals();
    arrivals.last().context("just arrived")?.json()?["count"]
        .as_u64()
        .context("no count")
}

/// A plugin that counts per device, in 3 lanes, then in 1, then in 5, with an ordinary stop in between.
/// Guarantee: every count goes on where it was.
fn a_stop_loses_nothing_and_the_lanes_may_change() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let config = counting(&field, &cloud, "checkpoint = \"1h\"");
    let mut setup = Gateway::with(&config);
    fs::write(setup.folder().join(FILE), component("count")?)?;
    let watch = Watch::start(cloud.address(), UP)?;
    for (run, lanes) in [3, 1, 5].into_iter().enumerate() {
        setup.rewrite(config.clone().change("flow.all.lanes", lanes))?;
        let gateway = setup.start()?;
        for device in 0..DEVICES {
            field.publish(
                &format!("devices/d{device}/telemetry"),
                format!("run {run}"),
            )?;
        }
        wait_until("all have arrived", || {
            watch.total() as usize >= DEVICES * (run + 1)
        })?;
        setup = gateway.stop()?.1;
    }
    for arrival in watch.arrivals() {
        let json = arrival.json()?;
        let run = json["of"]
            .as_str()
            .and_then(|of| of.strip_prefix("run ")?.parse::<u64>().ok())
            .context("no run")?;
        ensure!(json["count"] == run + 1, "{json} with {run} runs before");
    }
    Ok(())
}

/// A plugin that counts, in a flow whose key is the site, in 4 lanes, then in 2, then in 3: the devices of a site are many.
/// Guarantee: each site's counts have no gap and no double, over the restarts too.
fn counts_of_a_site_are_exact_on_any_number_of_lanes() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let config = counting(&field, &cloud, "checkpoint = \"1h\"").put(
        "flow.all",
        "topics = [\"{site}/{device}/telemetry\"]\nkey = \"{site}\"",
    );
    let mut setup = Gateway::with(&config);
    fs::write(setup.folder().join(FILE), component("count")?)?;
    let watch = Watch::start(cloud.address(), "up/#")?;
    for (run, lanes) in [4, 2, 3].into_iter().enumerate() {
        setup.rewrite(config.clone().change("flow.all.lanes", lanes))?;
        let gateway = setup.start()?;
        for number in 0..60 {
            field.publish(&format!("site{}/d{number}/telemetry", number % SITES), "x")?;
        }
        wait_until("all have arrived", || {
            watch.total() as usize >= 60 * (run + 1)
        })?;
        setup = gateway.stop()?.1;
    }
    for site in 0..SITES {
        let key = format!("site{site}");
        let jsons = watch
            .arrivals()
            .iter()
            .map(tidegate_tests::watch::Arrival::json)
            .collect::<Result<Vec<_>>>()?;
        let counts: Vec<u64> = jsons
            .iter()
            .filter(|json| json["key"] == *key)
            .filter_map(|json| json["count"].as_u64())
            .collect();
        ensure!(
            counts == (1..=3 * 60 / SITES as u64).collect::<Vec<_>>(),
            "{key}: {counts:?}"
        );
    }
    Ok(())
}

/// Changes are made until the store has begun and ended a checkpoint after this was called: the first two that end may
/// have begun before.
fn wait_for_checkpoint(gateway: &Gateway, mut change: impl FnMut() -> Result<()>) -> Result<()> {
    let checkpoints = || gateway.metric("tidegate_spool_checkpoints_total", &[]);
    let before = checkpoints();
    let mut failed = Ok(());
    wait_until("three more checkpoints are through", || {
        failed = change();
        failed.is_err() || checkpoints() >= before + 3.0
    })?;
    failed
}

/// A plugin that counts, with a checkpoint every 20 ms, is killed after one.
/// Guarantee: the count is at least what it was before that checkpoint began; bytes are counted apart.
fn a_kill_loses_what_came_after_the_last_checkpoint() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let setup = Gateway::with(counting(&field, &cloud, "checkpoint = \"20ms\""));
    fs::write(setup.folder().join(FILE), component("count")?)?;
    let mut gateway = setup.start()?;
    let mut expected = 0;
    for _ in 0..3 {
        let counted = count(&field, &cloud, "d1")?;
        ensure!(counted > expected, "{counted} after {expected}");
        expected = counted;
        wait_for_checkpoint(&gateway, || field.publish("devices/other/telemetry", "x"))?;
        ensure!(
            gateway.metric("tidegate_spool_state_written_bytes_total", &[]) > 0.0,
            "no bytes are counted"
        );
        gateway = gateway.kill()?.start()?;
    }
    let counted = count(&field, &cloud, "d1")?;
    ensure!(counted > expected, "{counted} after {expected}");
    Ok(())
}

/// The threshold plugin has raised an alarm; the gateway is killed, and the device is still above the threshold.
/// Guarantee: the alarm is not raised a second time, and it is cleared.
fn an_alarm_raised_before_a_kill_is_not_raised_again() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let plugin = "plugin = \"builtin:threshold\"\ncheckpoint = \"20ms\"\n\
                  settings = { field = \"temperature\", above = 30 }";
    let config = Config::forwarding()
        .between(&field.url(), &cloud.url())
        .set("flow.all.to.alarms", "cloud:alarm")
        .step("all", plugin);
    let alarms = Watch::start(cloud.address(), "alarms/d1/#")?;
    let readings = Watch::start(cloud.address(), "up/devices/d1/telemetry")?;
    let gateway = Gateway::with(config).start()?;
    field.publish("devices/d1/telemetry", r#"{"temperature":40}"#)?;
    wait_until("the alarm is raised", || alarms.total() == 1)?;
    let mut others = 0;
    wait_for_checkpoint(&gateway, || {
        others += 1;
        field.publish(
            &format!("devices/other{others}/telemetry"),
            r#"{"temperature":40}"#,
        )
    })?;
    let gateway = gateway.kill()?.start()?;
    let before = readings.total();
    field.publish("devices/d1/telemetry", r#"{"temperature":41}"#)?;
    wait_until("the reading arrives", || readings.total() > before)?;
    field.publish("devices/d1/telemetry", r#"{"temperature":20}"#)?;
    wait_until("the alarm is cleared", || alarms.total() >= 2)?;
    let states: Vec<String> = alarms
        .arrivals()
        .iter()
        .map(|alarm| Ok(alarm.json()?["state"].to_string()))
        .collect::<Result<_>>()?;
    ensure!(states == ["\"raised\"", "\"cleared\""], "{states:?}");
    drop(gateway);
    Ok(())
}

/// The plugin's file is replaced, while the gateway is stopped, by one that cannot read the state of the first; then
/// the plugin leaves the config.
/// Guarantee: with `refused_state = "required"` the last good version runs on its state, which the log says; else the new
/// one starts without, says so, and messages flow; state of a plugin that is gone is kept and named.
fn a_plugin_that_cannot_read_its_state() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let setup = Gateway::with(counting(&field, &cloud, ""));
    fs::write(setup.folder().join(FILE), component("count")?)?;
    let gateway = setup.start()?;
    count(&field, &cloud, "d1")?;
    let (_, setup) = gateway.stop()?;
    fs::write(setup.folder().join(FILE), component("other-state")?)?;
    setup.rewrite(counting(&field, &cloud, "refused_state = \"required\""))?;
    let gateway = setup.start()?;
    gateway
        .lines()
        .wait_for(&["count", "last good version", "cannot take over its state"])?;
    ensure!(
        count(&field, &cloud, "d1")? == 2,
        "the last good version has not its state"
    );
    let (_, setup) = gateway.stop()?;
    setup.rewrite(counting(&field, &cloud, ""))?;
    let gateway = setup.start()?;
    gateway
        .lines()
        .wait_for(&["count", "starts without state"])?;
    let (_, setup) = gateway.stop()?;
    fs::write(setup.folder().join(FILE), component("count")?)?;
    let gateway = setup.start()?;
    ensure!(
        count(&field, &cloud, "d1")? == 1,
        "the state is still there"
    );
    let (_, setup) = gateway.stop()?;
    setup.rewrite(Config::forwarding().between(&field.url(), &cloud.url()))?;
    let gateway = setup.start()?;
    gateway
        .lines()
        .wait_for(&["count", "the config does not have"])
}
