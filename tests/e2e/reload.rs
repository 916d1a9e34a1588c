//! Flows that become others in the config of a running gateway.

mod ends;
mod queues;
mod left;
mod sessions;
mod stopped;
mod topics;

use std::fs;

use anyhow::ensure;
use anyhow::{Context, Result};
use libtest_mimic::Trial;
use serde_json::Value;
use tidegate_tests::Broker;
use tidegate_tests::Config;
use tidegate_tests::Gateway;
use tidegate_tests::Load;
use tidegate_tests::Plan;
use tidegate_tests::Watch;
use tidegate_tests::cases;
use tidegate_tests::rounds;
use tidegate_tests::tally::Sent;
use tidegate_tests::wait_until;

use crate::guest::{component, marked};
use crate::scene::UP;
use crate::scene::{Scene, expect_exactly_once};
use crate::swap::{expect_counted_once, expect_exact_counts, pauses};
use crate::tools::{json, told};

pub fn cases() -> Vec<Trial> {
    let mut cases = cases![
        other_lanes_and_batches_under_load,
        a_plugin_put_in_and_taken_out_under_load,
        a_port_that_leads_elsewhere,
        a_flow_comes_and_goes,
        a_bad_flow_is_refused_and_another_is_changed,
        a_version_put_in_place_by_command_stays,
        a_probation_holds_up_no_other_change,
    ];
    cases.extend(ends::cases());
    cases.extend(queues::cases());
    cases.extend(left::cases());
    cases.extend(sessions::cases());
    cases.extend(stopped::cases());
    cases.extend(topics::cases());
    cases
}

const FILE: &str = "count.wasm";
const COUNT: &str = "name = \"count\"\nplugin = \"count.wasm\"\nprobation = { time = \"300ms\" }\nlimits = { time = \"5s\" }\n";
/// Lets everything through that the counting plugin makes.
const SIEVE: &str = "name = \"sieve\"\nplugin = \"builtin:filter\"\nsettings = { where = [{ field = \"count\", op = \">\", value = 0 }] }\n";

/// Another flow, which the cases see beside the first.
fn other(topics: &str, to: &str, lanes: usize) -> String {
    format!(
        "from = \"field\"\ntopics = [{topics}]\nto = \"{to}\"\ntopic = \"up/{{topic}}\"\nlanes = {lanes}\n"
    )
}

/// The usual flow with a plugin that counts.
fn with_count() -> Config {
    Config::forwarding().step("all", COUNT)
}

/// The same, with another plugin behind it or without.
fn sieved(has_sieve: bool) -> Config {
    if has_sieve {
        with_count().step("all", SIEVE)
    } else {
        with_count()
    }
}

fn counting(config: &Config) -> Result<Scene> {
    Scene::with(config, &[(FILE, component("count")?)])
}

/// Writes this config and has the gateway read it; what was said.
pub fn reload(gateway: &Gateway, config: &Config, code: i32) -> Result<String> {
    let folder = gateway.folder();
    let (out, _) = gateway.rewrite_for(config, || told(folder, &["reload"], code))??;
    Ok(out)
}

impl Scene {
    /// Writes this config and has it read; what was said.
    pub fn reload(&self, config: &Config, code: i32) -> Result<String> {
        reload(&self.gateway, &self.here(config), code)
    }

    /// The same while the watch may have been first.
    fn rewrite(&self, config: &Config, told: &[&str]) -> Result<()> {
        let mark = self.gateway.lines().count();
        self.gateway.rewrite_config(self.here(config))?;
        wait_until("the flow is another one", || {
            self.gateway.lines().has_since(mark, told)
        })
    }

    /// Publishes until something has arrived: a new subscription takes its time.
    fn arrives(&self, topic: &str) -> Result<()> {
        let before = self.watch.total();
        let mut sent = Ok(());
        wait_until(&format!("something comes of `{topic}`"), || {
            sent = self.field.publish(topic, r#"{"probe":1}"#);
            sent.is_err() || self.watch.total() > before
        })?;
        sent
    }
}

const REPLACED: [&str; 3] = ["a flow is as the config says now", "all", "replaced"];

/// A plugin that counts per device gets another number of lanes and other batches again and again, under load; its
/// state is on disk, then in memory only.
/// Guarantee: none lost, doubled or out of order per device, and each device's count is exactly its number of messages;
/// how long messages waited is printed.
fn other_lanes_and_batches_under_load() -> Result<()> {
    let changes = rounds(8, 200);
    let text = |round: usize| {
        let checkpoint = if round % 4 < 2 { "1h" } else { "off" };
        with_count()
            .set("flow.all.plugin.0.checkpoint", checkpoint)
            .set("flow.all.lanes", [3, 1, 5, 2][round % 4])
            .set("flow.all.batch", [1024, 7][round % 2])
    };
    let scene = counting(&text(0))?;
    let load = scene.load(Plan {
        devices: 30,
        rate: Some(2_000),
        ..Plan::default()
    });
    for round in 1..=changes {
        let before = scene.watch.count();
        wait_until("traffic flows", || scene.watch.count() > before + 200)?;
        scene.rewrite(&text(round), &REPLACED)?;
    }
    let sent = load.stop()?;
    wait_until("all has arrived", || {
        scene.watch.count() as usize >= sent.count()
    })?;
    expect_exact_counts(&scene.field, &scene.cloud, &sent)?;
    let verdict = sent.against(&scene.watch.stop()?, |_, _| true);
    ensure!(
        verdict.is_exactly_once(),
        "after {changes} changes: {verdict}"
    );
    println!(
        "{changes} replaced chains, {verdict}; messages waited {}",
        pauses(&scene.gateway)
    );
    Ok(())
}

/// A second plugin is put behind a counting one, taken out and put in again, under load.
/// Guarantee: none lost, doubled or out of order, the counts are exact, and nothing is shown of a plugin that is gone.
fn a_plugin_put_in_and_taken_out_under_load() -> Result<()> {
    let scene = counting(&with_count())?;
    let load = scene.load(Plan {
        devices: 30,
        rate: Some(2_000),
        ..Plan::default()
    });
    for has_sieve in [true, false, true] {
        let before = scene.watch.count();
        wait_until("traffic flows", || scene.watch.count() > before + 200)?;
        scene.rewrite(&sieved(has_sieve), &REPLACED)?;
        let (_, metrics) = scene.gateway.get("/metrics")?;
        ensure!(
            metrics.contains("plugin=\"sieve\"") == has_sieve,
            "what is shown is not what runs"
        );
    }
    let sent = load.stop()?;
    expect_counted_once(&scene.field, &scene.cloud, &sent, scene.watch).map(drop)
}

/// The only port of a flow is led to another uplink under load, then to a queue that no flow had.
/// Guarantee: what came before goes where it was to go, what comes later to the other, none lost or doubled.
fn a_port_that_leads_elsewhere() -> Result<()> {
    let (field, cloud, annex) = (
        Broker::embedded()?,
        Broker::embedded()?,
        Broker::embedded()?,
    );
    let config = |to: &str| {
        with_count()
            .between(&field.url(), &cloud.url())
            .uplink("annex", &annex.url())
            .change("flow.all.to.out", to)
            .add(
                "flow.other",
                &other("\"other/{device}\"", "annex:telemetry", 1),
            )
    };
    let setup = Gateway::with(config("cloud:telemetry"));
    fs::write(setup.folder().join(FILE), component("count")?)?;
    let (here, there) = (
        Watch::start(cloud.address(), UP)?,
        Watch::start(annex.address(), UP)?,
    );
    let gateway = setup.start()?;
    let load = Load::start(field.address(), Plan::default());
    wait_until("traffic flows", || here.count() > 300)?;
    gateway.rewrite_config(config("annex:telemetry"))?;
    wait_until("traffic flows there", || there.count() > 300)?;
    // No flow led to that class before.
    let out = reload(&gateway, &config("annex:debug"), 0)?;
    ensure!(out.contains("changes live: uplink.annex"), "{out}");
    ensure!(!out.contains("restart"), "{out}");
    let before = there.count();
    wait_until("it goes on", || there.count() > before + 300)?;
    let sent = load.stop()?;
    wait_until("all has arrived", || {
        (here.count() + there.count()) as usize >= sent.count()
    })?;
    let verdict = sent.against(&here.stop()?.with(&there.stop()?), |_, _| true);
    ensure!(
        verdict.sent > 0 && verdict.lost == 0 && verdict.doubled == 0,
        "{verdict}"
    );
    Ok(())
}

/// A second flow is added to the config, taken out, and added again, under load on the first.
/// Guarantee: it runs, it is gone with its metrics and its state is kept; of the first none is lost, doubled or out of
/// order.
fn a_flow_comes_and_goes() -> Result<()> {
    let first = with_count();
    let both = first
        .clone()
        .add(
            "flow.other",
            &other("\"other/{device}\"", "cloud:telemetry", 2),
        )
        .step("other", COUNT);
    let scene = counting(&first)?;
    let folder = scene.gateway.folder().to_owned();
    let load = scene.load(Plan {
        devices: 30,
        rate: Some(2_000),
        ..Plan::default()
    });
    wait_until("traffic flows", || scene.watch.count() > 200)?;
    let probe = Watch::start(scene.cloud.address(), "up/other/+")?;
    let mut counted = 0;
    for _ in 0..2 {
        let out = scene.reload(&both, 0)?;
        ensure!(out.contains("flow.other: added"), "{out}");
        ensure!(
            json(&folder, &["plugins"], 0)?
                .as_array()
                .is_some_and(|plugins| plugins.len() == 2),
            "it is not shown"
        );
        let before = probe.total();
        wait_until("it runs", || {
            scene.field.publish("other/x1", r#"{"probe":1}"#).is_ok() && probe.total() > before
        })?;
        // What was published while nobody had subscribed yet is nowhere.
        let arrivals = probe.arrivals();
        let count = arrivals.last().context("one has arrived")?.json()?["count"]
            .as_u64()
            .context("no count")?;
        ensure!(
            count > counted,
            "{count} after {counted}: the state is not there"
        );
        counted = count;
        ensure!(
            scene
                .gateway
                .get("/readyz?verbose")?
                .1
                .contains("flow other"),
            "it is not looked at"
        );
        let out = scene.reload(&first, 0)?;
        ensure!(out.contains("flow.other: removed"), "{out}");
        let (_, metrics) = scene.gateway.get("/metrics")?;
        ensure!(
            !metrics.contains("flow=\"other\""),
            "something is still shown of it"
        );
    }
    let history = told(&folder, &["history"], 0)?.0;
    ensure!(
        history.contains("flow-added") && history.contains("flow-removed"),
        "{history}"
    );
    let sent = load.stop()?;
    expect_exactly_once(&sent, scene.watch).map(drop)
}

/// In one config, a flow gets a plugin that is none, one that does not take its settings and one that does not read the
/// state of its name; another flow gets more lanes.
/// Guarantee: the first is refused with the reason and exit code 6, and nothing of it is touched; the other is changed.
fn a_bad_flow_is_refused_and_another_is_changed() -> Result<()> {
    let with_other = |lanes| {
        let other = other("\"other/{device}\"", "cloud:telemetry", lanes);
        with_count().add("flow.other", &other)
    };
    let scene = counting(&with_other(1))?;
    let folder = scene.gateway.folder().to_owned();
    fs::write(folder.join("rubbish.wasm"), "#!/bin/sh")?;
    for guest in ["configure-error", "other-state"] {
        fs::write(folder.join(format!("{guest}.wasm")), component(guest)?)?;
    }
    let load = scene.load(Plan {
        devices: 30,
        rate: Some(2_000),
        ..Plan::default()
    });
    wait_until("traffic flows", || scene.watch.count() > 200)?;
    for (number, (file, reason)) in [
        ("rubbish", "does not begin with"),
        ("configure-error", "refuses its settings"),
        ("other-state", "cannot take over its state"),
    ]
    .into_iter()
    .enumerate()
    {
        let bad = with_other(number + 5)
            .change("flow.all.plugin.0.plugin", format!("{file}.wasm"))
            .change("flow.all.lanes", 2);
        let out = scene.reload(&bad, 6)?;
        for part in [
            "flow.all: refused, and it runs on as before",
            reason,
            "flow.other: replaced",
        ] {
            ensure!(out.contains(part), "`{part}` is not in\n{out}");
        }
    }
    let (lines, _) = told(&folder, &["reload", "-o", "json"], 6)?;
    let lines: Vec<Value> = lines
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    ensure!(
        lines.iter().any(|line| line["line"] == "flow"
            && line["verdict"] == "refused"
            && line["flow"] == "all"),
        "{lines:?}"
    );
    let out = scene.reload(&with_other(7), 0)?;
    ensure!(out.contains("unchanged"), "the first is as it was: {out}");
    scene.arrives("other/x1")?;
    let sent = load.stop()?;
    expect_counted_once(&scene.field, &scene.cloud, &sent, scene.watch).map(drop)
}

/// A plugin gets other settings and is on probation for an hour; meanwhile another flow comes, gets other lanes and goes.
/// Guarantee: each reload returns when what it brings is in place, and says what is on probation; nothing waits for that.
fn a_probation_holds_up_no_other_change() -> Result<()> {
    let count = |tag: &str| {
        with_count()
            .change("flow.all.plugin.0.probation.time", "1h")
            .put(
                "flow.all.plugin.0",
                &format!("settings = {{ tag = \"{tag}\" }}"),
            )
    };
    let scene = counting(&count("one"))?;
    let (out, folder) = (
        scene.reload(&count("two"), 0)?,
        scene.gateway.folder().to_owned(),
    );
    ensure!(
        out.contains("all/count") && out.contains("on probation; follow: tidegate swap all/count"),
        "{out}"
    );
    let with_other = |lanes| {
        let other = other("\"other/{device}\"", "cloud:telemetry", lanes);
        count("two").add("flow.other", &other)
    };
    let out = scene.reload(&with_other(1), 0)?;
    ensure!(out.contains("flow.other: added"), "{out}");
    scene.arrives("other/x1")?;
    ensure!(
        scene
            .reload(&with_other(3), 0)?
            .contains("flow.other: replaced"),
        "the other flow is not another one"
    );
    let change = |all: &serde_json::Value| all[0]["candidate"]["state"] == "on-probation";
    ensure!(
        change(&json(&folder, &["plugins"], 0)?),
        "the probation is over: {}",
        json(&folder, &["plugins"], 0)?
    );
    let out = scene.reload(&with_other(3).change("flow.all.lanes", 2), 0)?;
    ensure!(
        out.contains("waits: a plugin of flow `all` is being changed"),
        "{out}"
    );
    told(&folder, &["rollback", "count"], 6)?;
    scene.gateway.lines().wait_for(&REPLACED)?;
    let (status, _) = scene.gateway.stop()?;
    ensure!(status.success(), "{status}");
    Ok(())
}

/// A version was put in place of the config's by command; then the flow gets other lanes.
/// Guarantee: that version runs on.
fn a_version_put_in_place_by_command_stays() -> Result<()> {
    let scene = counting(&with_count())?;
    let folder = scene.gateway.folder().to_owned();
    let new = marked(&component("count")?, 1);
    let file = folder.join("candidate.wasm");
    fs::write(&file, &new)?;
    told(
        &folder,
        &[
            "swap",
            "all/count",
            file.to_str().context("a path of plain letters")?,
        ],
        0,
    )?;
    let about = || json(&folder, &["plugins"], 0);
    let before = about()?;
    let out = scene.reload(&with_count().change("flow.all.lanes", 1), 0)?;
    ensure!(out.contains("flow.all: replaced"), "{out}");
    let after = about()?;
    ensure!(
        after == before && after[0]["digest"] == *tidegate::trust::digest(&new),
        "{before} before, {after} after"
    );
    Ok(())
}

struct Ended {
    sent: Sent,
    field: Broker,
    cloud: Broker,
    watch: Watch,
    gateway: Gateway,
}
