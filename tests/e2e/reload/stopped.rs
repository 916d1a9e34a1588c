//! A gateway that is killed or stopped in the middle of a reload.

use std::fs;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::cases;
use tidegate_tests::cut::Cuttable;
use tidegate_tests::watch::Arrival;
use tidegate_tests::{Broker, Gateway, Load, Plan, Setup, Watch, rounds, wait_until};

use super::topics::with_more;
use super::{Ended, FILE, counting, sieved, with_count};
use crate::compile::{bomb, freeze_compiler};
use crate::guest::{component, marked};
use crate::scene::{Scene, UP, compare, expect_at_least_once};
use crate::swap::expect_exact_counts;
use crate::tools::json;

pub fn cases() -> Vec<Trial> {
    cases![
        killed_in_the_middle,
        stopped_in_the_middle,
        stopped_while_a_plugin_is_compiled,
        stopped_while_the_source_leaves,
    ]
}

/// The config gets other lanes and another plugin under load, and the gateway is killed at a random moment of that.
/// Guarantee: after the start the new config runs; none lost, first occurrences in order.
fn killed_in_the_middle() -> Result<()> {
    let Ended {
        sent,
        watch,
        field: _field,
        cloud: _cloud,
        gateway: _gateway,
    } = ended_in_the_middle(4, 60, Gateway::kill)?;
    expect_at_least_once(&compare(&sent, watch)?)
}

/// The same with SIGTERM.
/// Guarantee: it ends in order each time, and after the start the new config runs; none lost, first occurrences in order,
/// and each device's count is exactly its number of messages.
fn stopped_in_the_middle() -> Result<()> {
    let Ended {
        sent,
        field,
        cloud,
        watch,
        gateway: _gateway,
    } = ended_in_the_middle(6, 60, stop)?;
    wait_until("all has arrived", || watch.count() as usize >= sent.count())?;
    expect_exact_counts(&field, &cloud, &sent)?;
    let verdict = sent.against(&watch.stop()?, |_, _| true);
    println!("{verdict}");
    expect_at_least_once(&verdict)
}

/// SIGTERM, which it heeds in order.
pub(super) fn stop(gateway: Gateway) -> Result<Setup> {
    let (status, setup) = gateway.stop()?;
    ensure!(status.code() == Some(0), "the gateway ended with {status}");
    Ok(setup)
}

/// Rewrites the config under load again and again, and ends the gateway at a random moment of that.
pub(super) fn ended_in_the_middle(
    short: usize,
    long: usize,
    end: impl Fn(Gateway) -> Result<Setup>,
) -> Result<Ended> {
    let Scene {
        field,
        cloud,
        watch,
        mut gateway,
    } = counting(&with_count())?;
    let load = Load::start(
        field.address(),
        Plan {
            devices: 30,
            rate: Some(2_000),
            ..Plan::default()
        },
    );
    for round in 0..rounds(short, long) {
        let before = watch.count();
        wait_until("traffic flows", || watch.count() > before + 200)?;
        let config = sieved(round % 2 == 0)
            .between(&field.url(), &cloud.url())
            .change("flow.all.lanes", [1, 2, 3, 4][round % 4]);
        gateway.rewrite_config(config)?;
        let (now, more) = (load.acknowledged(), fastrand::u64(..800));
        wait_until("any moment has come", || load.acknowledged() >= now + more)?;
        gateway = end(gateway)?.start()?;
        let shown = json(gateway.folder(), &["plugins"], 0)?;
        ensure!(
            shown.as_array().map(Vec::len) == Some(2 - round % 2),
            "{shown}"
        );
    }
    Ok(Ended {
        sent: load.stop()?,
        field,
        cloud,
        watch,
        gateway,
    })
}

/// The config gets other lanes and another component under load, and SIGTERM comes while the compiler works on that, which
/// it would do for ever.
/// Guarantee: the gateway does not wait for it and ends in order; with a component that can be compiled the new config runs
/// after the start, none is lost, and each device's count is exactly its number of messages.
fn stopped_while_a_plugin_is_compiled() -> Result<()> {
    let scene = counting(&with_count())?;
    scene.gateway.replace("other.wasm", &bomb())?;
    let load = scene.load(Plan {
        devices: 30,
        rate: Some(2_000),
        ..Plan::default()
    });
    wait_until("traffic flows", || scene.watch.count() > 200)?;
    let other = with_count()
        .change("flow.all.plugin.0.plugin", "other.wasm")
        .put("flow.all.plugin.0", "settings = { tag = \"other\" }")
        .change("flow.all.lanes", 5);
    scene.gateway.rewrite_config(scene.here(&other))?;
    freeze_compiler(scene.gateway.pid())?;
    let Scene {
        field,
        cloud,
        watch,
        gateway,
    } = scene;
    let setup = stop(gateway)?;
    fs::write(
        setup.folder().join("other.wasm"),
        marked(&component("count")?, 1),
    )?;
    let gateway = setup.start()?;
    let sent = load.stop()?;
    wait_until("all has arrived", || watch.count() as usize >= sent.count())?;
    let probe = Watch::start(cloud.address(), UP)?;
    expect_exact_counts(&field, &cloud, &sent)?;
    let is_of_new = |arrival: &Arrival| arrival.json().is_ok_and(|json| json["tag"] == "other");
    ensure!(
        probe.arrivals().iter().all(is_of_new),
        "{}: {:?}",
        json(gateway.folder(), &["plugins"], 0)?,
        probe.arrivals()
    );
    expect_at_least_once(&sent.against(&watch.stop()?, |_, _| true))
}

/// A flow loses one of its topics and gets other lanes while upstream is dark, and SIGTERM comes while its source still
/// waits for the last acknowledgements of what it took before.
/// Guarantee: the gateway ends in order; after the start the new config runs, the topic that is gone does not come any
/// more, of the other none is lost, and each device's count is exactly its number of messages.
fn stopped_while_the_source_leaves() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let link = Cuttable::to(cloud.address())?;
    let first = with_count().between(&field.url(), &link.url());
    let setup = Gateway::with(with_more(&first));
    fs::write(setup.folder().join(FILE), component("count")?)?;
    let watch = Watch::start(cloud.address(), UP)?;
    let gateway = setup.start()?;
    let load = Load::start(
        field.address(),
        Plan {
            devices: 30,
            rate: Some(2_000),
            ..Plan::default()
        },
    );
    wait_until("traffic flows", || watch.count() > 200)?;
    link.go_dark();
    wait_until("something is owed", || {
        gateway.metric("tidegate_spool_messages", &[]) > 200.0
    })?;
    gateway.rewrite_config(first.change("flow.all.lanes", 1))?;
    wait_until("the source leaves", || {
        gateway
            .lines()
            .has(&["the source begins anew with other routes"])
    })?;
    let setup = stop(gateway)?;
    link.back();
    let gateway = setup.start()?;
    let sent = load.stop()?;
    wait_until("all has arrived", || watch.count() as usize >= sent.count())?;
    field.publish("more/x1", "{}")?;
    expect_exact_counts(&field, &cloud, &sent)?;
    ensure!(
        gateway.metric("tidegate_source_unrouted_messages_total", &[]) == 0.0,
        "the topic still comes"
    );
    expect_at_least_once(&sent.against(&watch.stop()?, |_, _| true))
}
