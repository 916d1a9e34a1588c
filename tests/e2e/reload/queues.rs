//! Queues that come with the config of a running gateway, and those that nothing leads to any more.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::{Broker, Config, Gateway, Load, Plan, Watch, cases, rounds, wait_until};

use super::other;
use crate::scene::{Scene, UP, compare, expect_at_least_once, expect_exactly_once};
use crate::tools::{json, told};

pub fn cases() -> Vec<Trial> {
    cases![
        queues_of_a_new_uplink_and_of_one_that_runs_come_under_load,
        killed_right_after_the_answer,
        one_that_goes_keeps_what_it_owes_and_has_it_when_it_comes_back,
        fresh_data_goes_first_without_a_restart,
        a_recording_begins_and_ends_without_a_restart,
        what_has_to_stay_is_in_the_answer_and_in_the_status,
    ]
}

const OTHER: Plan = Plan {
    devices: 20,
    rate: Some(1_500),
    total: Some(2_000),
    window: 1_000,
    topic: ("other/", "/telemetry"),
    temperature: tidegate_tests::load::temperature,
    padding: 0,
};

/// Both flows: the first to `cloud`, another one to `annex`.
fn both(annex: &Broker) -> Config {
    let to_annex = other("\"other/{device}/telemetry\"", "annex:telemetry", 2);
    Config::forwarding()
        .uplink("annex", &annex.url())
        .put(
            "uplink.annex",
            "backoff = { first = \"50ms\", cap = \"400ms\" }",
        )
        .add("flow.other", &to_annex)
}

/// Waits until what is published for the other flow arrives: before that nobody may have subscribed.
fn probe(field: &Broker, annex: &Broker) -> Result<()> {
    let probe = Watch::start(annex.address(), "up/other/probe/telemetry")?;
    wait_until("the other flow runs", || {
        field
            .publish("other/probe/telemetry", r#"{"probe":1}"#)
            .is_ok()
            && probe.total() > 0
    })
}

/// Under load an uplink comes with a flow, and the running one gets a class that no flow led to.
/// Guarantee: nothing asks for a restart; of what goes there none is lost, doubled or out of order, and of the first flow none is
/// lost or out of order; status and metrics show the queues.
fn queues_of_a_new_uplink_and_of_one_that_runs_come_under_load() -> Result<()> {
    let scene = Scene::with(&Config::forwarding(), &[])?;
    let annex = Broker::embedded()?;
    let there = Watch::start(annex.address(), UP)?;
    let load = scene.load(Plan {
        devices: 30,
        rate: Some(1_500),
        ..Plan::default()
    });
    wait_until("traffic flows", || scene.watch.count() > 300)?;
    let debug = "from = \"field\"\ntopics = [\"debug/{device}\"]\nto = \"cloud:debug\"\ntopic = \"up/{topic}\"\n";
    let out = scene.reload(&both(&annex).add("flow.debug", debug), 0)?;
    for part in [
        "changes live: uplink.annex",
        "changes live: uplink.cloud",
        "flow.other: added",
        "flow.debug: added",
    ] {
        ensure!(out.contains(part), "{part} is not in {out}");
    }
    ensure!(!out.contains("restart"), "{out}");
    probe(&scene.field, &annex)?;
    scene.arrives("debug/d1")?;
    let sent = Load::start(scene.field.address(), OTHER).wait()?;
    let status = json(scene.gateway.folder(), &["status"], 0)?["queues"].to_string();
    let metrics = scene.gateway.get("/metrics")?.1;
    for (uplink, class) in [("annex", "telemetry"), ("cloud", "debug")] {
        ensure!(status.contains(&format!("{uplink}:{class}")), "{status}");
        let labels = format!("tidegate_spool_messages{{class=\"{class}\",uplink=\"{uplink}\"}}");
        ensure!(metrics.contains(&labels), "{labels} is not in {metrics}");
    }
    let verdict = compare(&sent, there)?;
    ensure!(verdict.is_exactly_once(), "there: {verdict}");
    expect_at_least_once(&compare(&load.stop()?, scene.watch)?)
}

/// Again and again a queue comes, which all messages go into as well, and the gateway is killed as soon as the reload has
/// answered.
/// Guarantee: none is lost of what goes into any of these queues, nor of what goes where it always went, in order.
fn killed_right_after_the_answer() -> Result<()> {
    let Scene {
        field,
        cloud,
        watch,
        mut gateway,
    } = Scene::with(&Config::forwarding(), &[])?;
    let annex = Broker::embedded()?;
    let there = Watch::start(annex.address(), UP)?;
    let config = |round: usize| {
        let queues: Vec<_> = (0..=round)
            .map(|round| format!("\"annex:c{round}\""))
            .collect();
        // What is owed to those of the rounds before is still sent.
        let keep = format!(
            "from = \"field\"\ntopics = [\"never/{{device}}\"]\nto = [{}]",
            queues.join(", ")
        );
        let to = format!("to = [\"cloud:telemetry\", \"annex:c{round}\"]");
        let config = Config::forwarding()
            .between(&field.url(), &cloud.url())
            .uplink("annex", &annex.url())
            .put("flow.all", &to)
            .add("flow.keep", &keep);
        (0..=round).fold(config, |config, round| {
            config.add(&format!("class.c{round}"), "max = \"1GiB\"")
        })
    };
    let reload = |gateway: &Gateway, round: usize| -> Result<()> {
        let out = super::reload(gateway, &config(round), 0)?;
        ensure!(!out.contains("restart"), "{out}");
        Ok(())
    };
    reload(&gateway, 0)?;
    let load = Load::start(
        field.address(),
        Plan {
            devices: 30,
            rate: Some(1_500),
            ..Plan::default()
        },
    );
    for round in 1..=rounds(4, 40) {
        let before = there.count();
        wait_until("traffic flows", || there.count() > before + 200)?;
        reload(&gateway, round)?;
        gateway = gateway.kill()?.start()?;
    }
    let sent = load.stop()?;
    let verdict = compare(&sent, watch)?;
    expect_at_least_once(&verdict)?;
    let verdict = compare(&sent, there)?;
    ensure!(verdict.sent > 0 && verdict.lost == 0, "there: {verdict}");
    Ok(())
}

/// While its upstream is away, an uplink goes with its flow; the gateway is killed; then both come back.
/// Guarantee: what it owes is kept with its number, before and after the kill, and said; it is delivered when the uplink is
/// there again, each once and in order.
fn one_that_goes_keeps_what_it_owes_and_has_it_when_it_comes_back() -> Result<()> {
    let mut annex = Broker::embedded()?;
    let mut scene = Scene::with(&both(&annex), &[])?;
    probe(&scene.field, &annex)?;
    annex.go_dark()?;
    let sent = Load::start(scene.field.address(), OTHER).wait()?;
    let owed = |scene: &Scene| {
        let labels = [("uplink", "annex")];
        scene.gateway.metric("tidegate_spool_messages", &labels)
    };
    wait_until("all is owed", || owed(&scene) >= sent.count() as f64)?;
    let mut before = None;
    let out = scene.reload(&Config::forwarding(), 0)?;
    ensure!(out.contains("changes live: uplink.annex"), "{out}");
    for _ in 0..2 {
        let status = json(scene.gateway.folder(), &["status"], 0)?;
        let kept = status["store"]["strangers"]["annex:telemetry"].as_u64();
        ensure!(kept >= Some(sent.count() as u64), "{status}");
        ensure!(
            before.is_none() || kept == before,
            "{before:?} before {status}"
        );
        before = kept;
        let (_, ready) = scene.gateway.get("/readyz")?;
        ensure!(ready.contains("owed to `annex:telemetry`"), "{ready}");
        ensure!(!status["queues"].to_string().contains("annex"), "{status}");
        ensure!(owed(&scene) == 0.0, "it is still shown as a queue");
        let Scene {
            field,
            cloud,
            watch,
            gateway,
        } = scene;
        let gateway = gateway.kill()?.start()?;
        scene = Scene {
            field,
            cloud,
            watch,
            gateway,
        };
    }
    annex.back()?;
    let there = Watch::start(annex.address(), UP)?;
    let out = scene.reload(&both(&annex), 0)?;
    ensure!(out.contains("changes live: uplink.annex"), "{out}");
    let verdict = compare(&sent, there)?;
    ensure!(verdict.is_exactly_once(), "{verdict}");
    wait_until("nothing is owed", || owed(&scene) == 0.0)
}

/// A backlog waits behind a link with a rate when the config says that fresh data goes first.
/// Guarantee: what comes then arrives while most of the backlog is still owed, and all of that follows; no restart is asked for.
fn fresh_data_goes_first_without_a_restart() -> Result<()> {
    let mut scene = Scene::with(&Config::forwarding(), &[])?;
    scene.cloud.go_dark()?;
    let plan = Plan {
        total: Some(2_000),
        rate: None,
        ..Plan::default()
    };
    let sent = scene.load(plan).wait()?;
    let on_disk = || scene.gateway.metric("tidegate_spool_disk_messages", &[]);
    wait_until("all is on disk", || on_disk() == sent.count() as f64)?;
    let config = Config::forwarding()
        .set("uplink.cloud.rate", "100/s")
        .add("class.telemetry", "order = \"fresh-first\"");
    let out = scene.reload(&config, 0)?;
    ensure!(out.contains("changes live: class.telemetry"), "{out}");
    ensure!(!out.contains("restart"), "{out}");
    scene.cloud.back()?;
    let ahead = Watch::start(scene.cloud.address(), "up/devices/fresh/telemetry")?;
    scene
        .field
        .publish("devices/fresh/telemetry", r#"{"probe":1}"#)?;
    wait_until("what is fresh has arrived", || ahead.total() > 0)?;
    ensure!(on_disk() > 0.0, "it came behind the backlog");
    // Without the rate, and in order again.
    let out = scene.reload(&Config::forwarding(), 0)?;
    ensure!(!out.contains("restart"), "{out}");
    let verdict = compare(&sent, scene.watch)?;
    expect_at_least_once(&verdict)
}

/// A flow is recorded from one reload on, and not any more from another on, under load.
/// Guarantee: no restart is asked for; the recording is there, then gone; none is lost, doubled or out of order.
fn a_recording_begins_and_ends_without_a_restart() -> Result<()> {
    let scene = Scene::with(&Config::forwarding(), &[])?;
    let load = scene.load(Plan::default());
    wait_until("traffic flows", || scene.watch.count() > 200)?;
    let recorded = Config::forwarding().set("flow.all.record", "1MiB");
    let folder = scene.gateway.folder().to_owned();
    for (config, is_there) in [(recorded, true), (Config::forwarding(), false)] {
        let out = scene.reload(&config, 0)?;
        ensure!(out.contains("flow.all: replaced"), "{out}");
        let before = scene.watch.count();
        wait_until("it goes on", || scene.watch.count() > before + 200)?;
        let metrics = scene.gateway.get("/metrics")?.1;
        let is_shown = metrics.contains("tidegate_recording_bytes{flow=\"all\"}");
        ensure!(is_shown == is_there, "{metrics} {}", folder.display());
    }
    expect_exactly_once(&load.stop()?, scene.watch).map(drop)
}

/// The config has a source no more, and the flow that takes from it is another, which cannot be used.
/// Guarantee: the reload's answer says that the source stays and why, and so does the status until a config that can be used.
fn what_has_to_stay_is_in_the_answer_and_in_the_status() -> Result<()> {
    let annex = Broker::embedded()?;
    let taking = |from: &str| {
        let flow = other("\"other/{device}\"", "cloud:telemetry", 1);
        Config::forwarding()
            .add("flow.other", &flow)
            .change("flow.other.from", from)
    };
    let flows = taking("annex").source("annex", &annex.url());
    let scene = Scene::with(&flows, &[("rubbish.wasm", b"#!/bin/sh".to_vec())])?;
    let bad = "name = \"rubbish\"\nplugin = \"rubbish.wasm\"";
    let out = scene.reload(&taking("field").step("other", bad), 6)?;
    let why = "the flow `other` still takes from it";
    ensure!(
        out.contains(&format!("source.annex: stays\n  {why}")),
        "{out}"
    );
    let status = || told(scene.gateway.folder(), &["status"], 0);
    let (shown, _) = status()?;
    for part in [
        format!("source.annex is as before: {why}"),
        "flow.other is as before: ".to_owned(),
    ] {
        ensure!(shown.contains(&part), "{part} is not in {shown}");
    }
    let out = scene.reload(&taking("field"), 0)?;
    ensure!(!out.contains("stays"), "{out}");
    // What its broker may still hold for it is taken first.
    wait_until("it is gone", || {
        status().is_ok_and(|(shown, _)| !shown.contains("annex"))
    })
}
