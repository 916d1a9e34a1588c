//! Versions of plugins by command, over restarts and over kills.

mod files;
mod killed;
mod settings;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use tidegate::trust;
use tidegate_tests::cut::Cuttable;
use tidegate_tests::{Broker, Config, Gateway, Watch, cases, wait_until};

use crate::guest::{component, marked};
use crate::scene::Scene;
use crate::tools::{command, json, told};

pub fn cases() -> Vec<Trial> {
    let mut cases = cases![
        a_version_swapped_in_by_command_runs_over_restarts,
        a_roll_back_keeps_the_state,
        a_refused_version_ends_the_command_with_6,
        what_was_rolled_back_is_not_tried_again_by_itself,
        commands_do_not_wait_for_the_uplink,
        upstream_is_told_who_changed_what,
    ];
    cases.extend(killed::cases());
    cases.extend(files::cases());
    cases.extend(settings::cases());
    cases
}

pub const FILE: &str = "count.wasm";
const PLUGIN: &str = "all/count";
/// Ends soon, with messages or without.
pub const SHORT: &str = "probation = { time = \"300ms\" }";
/// Does not end before the case does.
const LONG: &str = "probation = { time = \"1h\", messages = 1000000000 }";

pub fn plugin(probation: &str) -> String {
    format!("name = \"count\"\nplugin = \"{FILE}\"\n{probation}\nlimits = {{ time = \"5s\" }}")
}

fn counting(probation: &str) -> Result<Scene> {
    Scene::with(
        &Config::forwarding().step("all", &plugin(probation)),
        &[(FILE, component("count")?)],
    )
}

/// A file for a command, beside the config and not named there.
fn candidate(folder: &Path, content: &[u8]) -> Result<String> {
    let path = folder.join("candidate.wasm");
    fs::write(&path, content)?;
    Ok(path.to_str().context("a path of plain letters")?.to_owned())
}

/// `tidegate plugins` about the only one.
fn about(folder: &Path) -> Result<Value> {
    Ok(json(folder, &["plugins"], 0)?[0].clone())
}

pub fn runs(folder: &Path, content: &[u8]) -> Result<bool> {
    Ok(about(folder)?["digest"] == *trust::digest(content))
}

pub fn state(folder: &Path) -> String {
    let about = about(folder).unwrap_or_default();
    about["candidate"]["state"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// Sends a message of one device and returns the count it comes back with.
fn count(field: &Broker, watch: &Watch) -> Result<u64> {
    let before = watch.total();
    field.publish("devices/d1/telemetry", r#"{"probe":true}"#)?;
    wait_until("the message has arrived", || watch.total() > before)?;
    let arrivals = watch.arrivals();
    let last = arrivals.last().context("one has just arrived")?;
    last.json()?["count"]
        .as_u64()
        .with_context(|| format!("no count in {last:?}"))
}

/// How often a change of a plugin, of which there is one, came to this state.
pub fn transitions(gateway: &Gateway, state: &str) -> f64 {
    gateway.metric("tidegate_swap_transitions_total", &[("state", state)])
}

/// A version is brought in by command; the gateway is stopped and started, killed and started; then its file changes.
/// Guarantee: the version runs over both, its component kept by the gateway, and the newest instruction wins.
fn a_version_swapped_in_by_command_runs_over_restarts() -> Result<()> {
    let scene = counting(SHORT)?;
    let original = component("count")?;
    let (new, newer) = (marked(&original, 1), marked(&original, 2));
    let folder = scene.gateway.folder().to_owned();
    let file = candidate(&folder, &new)?;
    let (out, _) = told(&folder, &["swap", PLUGIN, &file], 0)?;
    for part in [
        "seen",
        "compiled",
        "on-probation",
        "confirmed",
        "back: tidegate rollback all/count --to ",
    ] {
        ensure!(out.contains(part), "`{part}` is not in\n{out}");
    }
    fs::remove_file(file)?;
    let (_, setup) = scene.gateway.stop()?;
    ensure!(
        runs(&folder, &new)?,
        "the files of the stopped one say something else"
    );
    let gateway = setup.start()?;
    ensure!(
        runs(&folder, &new)? && about(&folder)?["differs_from_config"] == true,
        "{}",
        about(&folder)?
    );
    let gateway = gateway.kill()?.start()?;
    ensure!(runs(&folder, &new)?, "{}", about(&folder)?);
    let (_, setup) = gateway.stop()?;
    fs::write(folder.join(FILE), &newer)?;
    let _gateway = setup.start()?;
    ensure!(
        runs(&folder, &newer)? && about(&folder)?["differs_from_config"] == false,
        "{}",
        about(&folder)?
    );
    let history = told(&folder, &["history"], 0)?.0;
    ensure!(
        history.contains("confirmed all/count") && history.contains("start: started all/count"),
        "{history}"
    );
    Ok(())
}

/// A counting plugin is swapped by command and rolled back by the command that the swap printed.
/// Guarantee: the count goes on over both; a later start runs the version that was rolled back to.
fn a_roll_back_keeps_the_state() -> Result<()> {
    let scene = counting(SHORT)?;
    let original = component("count")?;
    let folder = scene.gateway.folder().to_owned();
    ensure!(
        count(&scene.field, &scene.watch)? == 1 && count(&scene.field, &scene.watch)? == 2,
        "it does not count"
    );
    let file = candidate(&folder, &marked(&original, 1))?;
    let (out, _) = told(&folder, &["swap", "count", &file], 0)?;
    ensure!(
        count(&scene.field, &scene.watch)? == 3,
        "the swap has lost the count"
    );
    let (_, undo) = out
        .split_once("back: tidegate ")
        .context("no way back is shown")?;
    told(&folder, &undo.split_whitespace().collect::<Vec<_>>(), 0)?;
    ensure!(runs(&folder, &original)?, "{}", about(&folder)?);
    ensure!(
        count(&scene.field, &scene.watch)? == 4,
        "the roll-back has lost the count"
    );
    let (_, said) = told(&folder, &["rollback", "count"], 6).map(|(out, said)| (said, out))?;
    ensure!(
        said.contains("no version before is kept"),
        "back is not forth: {said}"
    );
    let (_, setup) = scene.gateway.stop()?;
    let _gateway = setup.start()?;
    ensure!(runs(&folder, &original)?, "{}", about(&folder)?);
    ensure!(
        count(&scene.field, &scene.watch)? == 5,
        "the restart has lost the count"
    );
    Ok(())
}

/// What is no component, a component of another world, one that does not read the state and one that traps at once;
/// then a plugin that does not exist, and two orders at a time.
/// Guarantee: exit code 6 with the reason in plain words, and what ran runs on with its count; clear errors otherwise.
fn a_refused_version_ends_the_command_with_6() -> Result<()> {
    let scene = counting("probation = { time = \"1h\", messages = 2 }")?;
    let original = component("count")?;
    let folder = scene.gateway.folder().to_owned();
    let mut counted = count(&scene.field, &scene.watch)?;
    for (bytes, reason) in [
        (b"#!/bin/sh".to_vec(), "does not begin with"),
        (original[..original.len() / 2].to_vec(), "compile"),
        (component("wrong-world")?, "does not export"),
        (component("other-state")?, "restore"),
    ] {
        let file = candidate(&folder, &bytes)?;
        let (out, _) = told(&folder, &["swap", PLUGIN, &file], 6)?;
        ensure!(
            out.contains("refused") && out.contains(reason) && out.contains("runs on"),
            "{out}"
        );
        counted += 1;
        ensure!(
            count(&scene.field, &scene.watch)? == counted,
            "the running version was touched"
        );
    }
    let lines = json_lines(&folder, &["swap", PLUGIN, &candidate(&folder, b"x")?], 6)?;
    let last = lines.last().context("nothing is said")?;
    ensure!(
        last["line"] == "verdict"
            && last["verdict"] == "refused"
            && last["running"] == *trust::digest(&original),
        "{last}"
    );
    let (_, said) = told(&folder, &["swap", "nothing", &candidate(&folder, b"x")?], 1)?;
    ensure!(said.contains("there are: all/count"), "{said}");
    told(
        &folder,
        &[
            "swap",
            PLUGIN,
            &candidate(&folder, &marked(&original, 1))?,
            "--detach",
        ],
        0,
    )?;
    let (_, said) = told(
        &folder,
        &["swap", PLUGIN, &candidate(&folder, &marked(&original, 2))?],
        1,
    )?;
    ensure!(
        said.contains("under way already")
            && said.contains("--follow")
            && said.contains("--replace"),
        "{said}"
    );
    let (out, _) = told(&folder, &["rollback", PLUGIN], 6)?;
    ensure!(
        out.contains("rolled it back") && runs(&folder, &original)?,
        "{out}"
    );
    Ok(())
}

/// The lines of an answer of which each is JSON.
fn json_lines(folder: &Path, arguments: &[&str], code: i32) -> Result<Vec<Value>> {
    let (out, _) = told(folder, &[arguments, &["-o", "json"]].concat(), code)?;
    out.lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}")))
        .collect()
}

/// A file that traps at once is put in place and rolled back; the gateway is started again, the file is touched, and
/// put in place again; then an operator asks for it.
/// Guarantee: it runs neither after the restart nor by itself, it is said why, and asked for it is tried.
fn what_was_rolled_back_is_not_tried_again_by_itself() -> Result<()> {
    let scene = counting("probation = { time = \"1h\", messages = 100 }")?;
    let (original, bad) = (component("count")?, component("trap-always")?);
    let folder = scene.gateway.folder().to_owned();
    scene.gateway.replace(FILE, &bad)?;
    wait_until("it is on probation", || {
        transitions(&scene.gateway, "on-probation") >= 1.0
    })?;
    scene.field.publish("devices/d1/telemetry", "{}")?;
    wait_until("it is rolled back", || {
        transitions(&scene.gateway, "rolled-back") >= 1.0
    })?;
    wait_until("the verdict is written down", || {
        about(&folder).is_ok_and(|about| about["refused"][0]["rolled_back"] == true)
    })?;
    let (_, setup) = scene.gateway.stop()?;
    let gateway = setup.start()?;
    ensure!(
        runs(&folder, &original)? && transitions(&gateway, "seen") == 0.0,
        "{}",
        about(&folder)?
    );
    gateway
        .lines()
        .wait_for(&["count", "what the config says is not run", "rolled back"])?;
    ensure!(count(&scene.field, &scene.watch)? > 0, "it does not count");
    gateway.replace(FILE, &original)?;
    gateway.replace(FILE, &marked(&original, 1))?;
    wait_until("another one is tried", || {
        transitions(&gateway, "seen") >= 1.0
    })?;
    told(&folder, &["rollback", PLUGIN], 6)?;
    let seen = transitions(&gateway, "seen");
    gateway.replace(FILE, &bad)?;
    wait_until("it is said that it is not tried", || {
        gateway
            .lines()
            .has(&["not tried", "tidegate swap all/count"])
    })?;
    ensure!(
        transitions(&gateway, "seen") == seen && runs(&folder, &original)?,
        "{}",
        about(&folder)?
    );
    // That it is not tried is said before it is written down, and until then it counts as a change under way.
    wait_until("the order is taken", || {
        told(&folder, &["swap", PLUGIN, "--detach"], 0).is_ok()
    })?;
    wait_until("it is tried when asked for", || {
        transitions(&gateway, "seen") > seen
    })?;
    Ok(())
}

/// The uplink is dark, and an operator swaps, looks and rolls back.
/// Guarantee: each command is answered while it stays dark, and the verdicts come without the uplink.
fn commands_do_not_wait_for_the_uplink() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let link = Cuttable::to(cloud.address())?;
    let setup = Gateway::with(
        Config::forwarding()
            .step("all", &plugin(SHORT))
            .between(&field.url(), &link.url()),
    );
    let original = component("count")?;
    fs::write(setup.folder().join(FILE), &original)?;
    let folder = setup.folder().to_owned();
    let gateway = setup.start()?;
    link.go_dark();
    (0..200).try_for_each(|_| field.publish("devices/d1/telemetry", "{}"))?;
    wait_until("something is owed", || {
        gateway.metric("tidegate_spool_messages", &[]) >= 200.0
    })?;
    let file = candidate(&folder, &marked(&original, 1))?;
    let mut slowest = Duration::ZERO;
    for arguments in [
        &["swap", PLUGIN, &file, "--detach"][..],
        &["plugins"],
        &["history"],
        &["status"],
    ] {
        let begun = Instant::now();
        // Status ends with 7 while the uplink is dark.
        let code = command(&folder, arguments)?.output()?.status.code();
        ensure!(
            code == Some(if arguments == ["status"] { 7 } else { 0 }),
            "{arguments:?}: {code:?}"
        );
        slowest = slowest.max(begun.elapsed());
    }
    eprintln!("slowest answer with the uplink down: {slowest:?}");
    wait_until("it is confirmed", || {
        runs(&folder, &marked(&original, 1)).unwrap_or(false) && state(&folder).is_empty()
    })?;
    // Ends with the change, whether that goes on still or not.
    command(&folder, &["swap", PLUGIN, "--follow"])?.output()?;
    told(&folder, &["rollback", PLUGIN], 0)?;
    ensure!(runs(&folder, &original)?, "{}", about(&folder)?);
    link.back();
    Ok(())
}

/// A config with `audit_topic`; a version is swapped in by command and rolled back.
/// Guarantee: each event of the history arrives upstream too, with the user who asked.
fn upstream_is_told_who_changed_what() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let config = Config::forwarding()
        .step("all", &plugin(SHORT))
        .between(&field.url(), &cloud.url())
        .add(
            "gateway",
            "name = \"barn\"\naudit_topic = \"to/{gateway}/changes\"",
        );
    let setup = Gateway::with(config);
    fs::write(setup.folder().join(FILE), component("count")?)?;
    let watch = Watch::start(cloud.address(), "to/barn/changes")?;
    let gateway = setup.start()?;
    let folder = gateway.folder().to_owned();
    told(
        &folder,
        &[
            "swap",
            PLUGIN,
            &candidate(&folder, &marked(&component("count")?, 1))?,
        ],
        0,
    )?;
    wait_until("upstream is told", || watch.total() >= 3)?;
    let told: Vec<Value> = watch
        .arrivals()
        .iter()
        .map(|arrival| arrival.json())
        .collect::<Result<_>>()?;
    let what: Vec<_> = told
        .iter()
        .map(|event| event["what"].as_str().unwrap_or_default())
        .collect();
    ensure!(what == ["started", "begun", "confirmed"], "{what:?}");
    ensure!(
        told[2]["by"] == "operator" && told[2]["uid"] == rustix::process::geteuid().as_raw(),
        "{}",
        told[2]
    );
    ensure!(
        json_lines(&folder, &["history"], 0)? == told,
        "the history says something else"
    );
    Ok(())
}
