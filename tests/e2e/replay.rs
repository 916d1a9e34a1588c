//! What came in, recorded, and run again through a changed plugin.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use tidegate_tests::binary::tidegate;
use tidegate_tests::{Broker, Config, Gateway, Load, Plan, Setup, Watch, cases, wait_until};

use crate::guest::component;
use crate::scene::{UP, plugin_file};
use crate::tools::{json, told};

pub fn cases() -> Vec<Trial> {
    cases![
        a_broken_and_a_fixed_rule_over_what_a_gateway_recorded,
        a_part_of_a_recording_and_in_several_lanes,
        a_recording_on_disk_outlives_a_kill,
        nothing_is_recorded_unless_the_config_says_so,
    ]
}

const SETTINGS: &str = r#"{ "where": [{ "field": "temperature", "op": ">", "value": 13 }] }"#;

/// As [`warm`] has them.
const WARM: &str = r#"{ "where": [{ "field": "temperature", "op": ">", "value": 10 }] }"#;

fn warm(field: &Broker, cloud: &Broker) -> Setup {
    let settings = r#"settings = { where = [{ field = "temperature", op = ">", value = 10 }] }"#;
    let step = format!("plugin = \"builtin:filter\"\n{settings}");
    let config = Config::forwarding().between(&field.url(), &cloud.url());
    Gateway::with(config.step("all", &step))
}

/// Temperatures from 1 to 40 of five devices.
fn publish(field: &Broker) -> Result<()> {
    (1..=40).try_for_each(|number| {
        field.publish(
            &format!("devices/d{}/telemetry", number % 5),
            format!(r#"{{"temperature":{number}}}"#),
        )
    })
}

/// Payloads of the inputs that were named, with the kind of difference, sorted: two lanes record at once, so devices have no
/// order among each other.
fn named(report: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let samples = report["comparison"]["samples"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let name = |sample: &Value| {
        (
            text(&sample["kind"]),
            text(&sample["input"]["payload"]["text"]),
        )
    };
    let mut named: Vec<_> = samples.iter().map(name).collect();
    named.sort();
    named
}

/// A gateway records a flow in memory; what it has is exported, it goes away, and the recording is run through the rule as
/// it is, with other settings, and with a component that traps.
/// Guarantee: the same twice to the last byte; of a changed rule exactly the messages it changes are named; `--expect-same`
/// tells by the exit code.
fn a_broken_and_a_fixed_rule_over_what_a_gateway_recorded() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let gateway = warm(&field, &cloud)
        .env("TIDEGATE_FLOW__ALL__RECORD", "4MiB")
        .start()?;
    publish(&field)?;
    wait_until("30 of 40 have passed the filter", || watch.total() == 30)?;
    let folder = gateway.folder().to_owned();
    let live = json(&folder, &["replay", "--flow", "all"], 0)?;
    let file = folder.join("all.tgrec");
    let file = file.to_str().context("a path of text")?;
    told(
        &folder,
        &["recording", "export", "--flow", "all", "--to", file],
        0,
    )?;
    let text = String::from_utf8_lossy(&fs::read(file)?).into_owned();
    ensure!(
        text.starts_with("TGREC") && text.contains("\"flow\":\"all\"") && !text.contains("where"),
        "{text}"
    );
    let (_, setup) = gateway.stop()?;

    let again = json(&folder, &["replay", "--from", file], 0)?;
    ensure!(
        live["old"] == again["old"] && again["old"]["repeatable"] == true,
        "{live} {again}"
    );
    ensure!(
        again["old"]["fates"]["forwarded"] == 30 && again["recording"]["messages"] == 40,
        "{again}"
    );
    let fixed = json(
        &folder,
        &["replay", "--from", file, "--settings", SETTINGS, "--full"],
        0,
    )?;
    let missing = |number: u32| {
        (
            "missing".to_owned(),
            format!(r#"{{"temperature":{number}}}"#),
        )
    };
    ensure!(
        named(&fixed) == [missing(11), missing(12), missing(13)],
        "{fixed}"
    );
    fs::write(folder.join("broken.wasm"), component("trap-always")?)?;
    let broken = folder.join("broken.wasm");
    let broken = broken.to_str().context("a path of text")?;
    let (_, error) = told(&folder, &["replay", "--from", file, "--with", broken], 4)?;
    ensure!(
        error.contains("plugin `filter` refuses its settings"),
        "{error}"
    );
    let arguments = [
        "replay",
        "--from",
        file,
        "--with",
        broken,
        "--settings",
        "{}",
        "--expect-same",
    ];
    let report = json(&folder, &arguments, 6)?;
    ensure!(
        report["comparison"]["inputs"]["missing"] == 30 && named(&report).len() == 10,
        "{report}"
    );
    let (out, _) = told(
        &folder,
        &[
            "replay",
            "--from",
            file,
            "--settings",
            SETTINGS,
            "--expect-same",
        ],
        6,
    )?;
    ensure!(
        out.contains("37 same, 3 missing, 0 extra, 0 changed")
            && out.contains(r#"in   {"temperature":11}"#),
        "{out}"
    );
    print!("{out}");
    told(
        &folder,
        &[
            "replay",
            "--from",
            file,
            "--with",
            broken,
            "--settings",
            "{}",
        ],
        0,
    )?;
    told(
        &folder,
        &[
            "replay",
            "--from",
            file,
            "--settings",
            WARM,
            "--expect-same",
        ],
        0,
    )?;
    without_a_gateway(&folder, file)?;
    drop(setup);
    Ok(())
}

/// What a gateway with a counting plugin has recorded is run from its middle on, all of it, and in one and in three
/// lanes.
/// Guarantee: `--since` runs what came in that time and no more, counted from an empty state; in three lanes each device is
/// counted as in one, the same twice; a span or number of lanes that makes no sense is a mistake in the command line.
fn a_part_of_a_recording_and_in_several_lanes() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let setup = Gateway::with(
        Config::forwarding()
            .step("all", &plugin_file("count", "count.wasm"))
            .between(&field.url(), &cloud.url()),
    );
    fs::write(setup.folder().join("count.wasm"), component("count")?)?;
    let gateway = setup.env("TIDEGATE_FLOW__ALL__RECORD", "4MiB").start()?;
    publish(&field)?;
    wait_until("the first have passed", || watch.total() == 40)?;
    // A machine that stood still may hand over all of them within a millisecond, and that has no half.
    let passed = Instant::now();
    wait_until("some time is between them and the others", || {
        passed.elapsed() > Duration::from_millis(20)
    })?;
    publish(&field)?;
    wait_until("all have passed", || watch.total() == 80)?;
    let folder = gateway.folder().to_owned();
    let replay = |more: &[&str]| json(&folder, &[&["replay"][..], more].concat(), 0);
    let all = replay(&[])?;
    let number = |report: &Value, name: &str| {
        report["recording"][name]
            .as_u64()
            .with_context(|| format!("no {name}: {report}"))
    };
    let (begins, ends) = (number(&all, "begins_us")?, number(&all, "ends_us")?);
    let half_ms = (ends - begins).div_ceil(2_000);
    let part = replay(&["--since", &format!("{half_ms}ms")])?;
    let messages = number(&part, "messages")?;
    ensure!(
        (1..80).contains(&messages) && number(&part, "ends_us")? == ends,
        "{part}"
    );
    ensure!(
        number(&part, "begins_us")? >= ends - half_ms * 1_000,
        "{part}"
    );
    ensure!(part["old"]["fates"]["forwarded"] == messages, "{part}");
    ensure!(
        replay(&["--since", "1h"])?["old"] == all["old"],
        "an hour is not all of it"
    );
    let three = replay(&["--lanes", "3"])?;
    ensure!(
        three["old"]["fates"] == all["old"]["fates"] && three["old"]["outputs"] == 80,
        "{three}"
    );
    ensure!(
        three["old"] == replay(&["--lanes", "3"])?["old"],
        "three lanes are not the same twice"
    );
    let same = fs::canonicalize(folder.join("count.wasm"))?;
    let same = same.to_str().context("a path of text")?;
    told(
        &folder,
        &["replay", "--lanes", "3", "--with", same, "--expect-same"],
        0,
    )?;
    told(&folder, &["replay", "--lanes", "0"], 2)?;
    told(&folder, &["replay", "--since", "soon"], 2)?;
    Ok(())
}

/// On the author's machine: no config, no gateway, only the file and a component.
fn without_a_gateway(folder: &Path, file: &str) -> Result<()> {
    let rule = folder.join("rule.wasm");
    fs::write(&rule, component("count")?)?;
    let mut command = Command::new(tidegate()?);
    command
        .args([
            "replay",
            "--config",
            "/nowhere/tidegate.toml",
            "-o",
            "json",
            "--from",
            file,
            "--with",
        ])
        .arg(rule);
    let output = command.args(["--settings", r#"{"tag":"mine"}"#]).output()?;
    let report: Value = serde_json::from_slice(&output.stdout).with_context(|| {
        format!(
            "no JSON: {} {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    ensure!(
        report["old"]["fates"]["forwarded"] == 40 && report["new"].is_null(),
        "{report}"
    );
    Ok(())
}

/// A gateway records to disk under load, is killed, and half a frame stands at the end of its last file.
/// Guarantee: what was recorded a second before is there, in order and without the torn end, which is told; the next life
/// goes on behind it.
fn a_recording_on_disk_outlives_a_kill() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let setup = Gateway::with(
        Config::forwarding()
            .step("all", &plugin_file("count", "count.wasm"))
            .between(&field.url(), &cloud.url()),
    )
    .env("TIDEGATE_FLOW__ALL__RECORD", "16MiB")
    .env("TIDEGATE_FLOW__ALL__RECORD_TO", "disk");
    fs::write(setup.folder().join("count.wasm"), component("count")?)?;
    let gateway = setup.start()?;
    let load = Load::start(
        field.address(),
        Plan {
            devices: 10,
            rate: Some(2_000),
            ..Plan::default()
        },
    );
    wait_until("traffic flows", || watch.count() > 4_000)?;
    let folder = gateway.folder().to_owned();
    let before = json(&folder, &["replay", "--flow", "all"], 0)?["recording"]["messages"]
        .as_u64()
        .context("a number")?;
    ensure!(before >= 4_000, "only {before} were recorded");
    let setup = gateway.kill()?;
    load.stop()?;
    let recording = setup.data().join("recordings/all");
    let mut files: Vec<_> = fs::read_dir(&recording)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .collect();
    files.sort();
    let last = files.last().context("there is a file")?;
    fs::OpenOptions::new()
        .append(true)
        .open(last)?
        .write_all(&[200, 1, 0, 0, 7, 7])?;
    let after = json(&folder, &["replay", "--flow", "all"], 0)?;
    ensure!(
        after["recording"]["messages"].as_u64() >= Some(before),
        "{after}"
    );
    ensure!(
        after["recording"]["torn"]
            .as_array()
            .is_some_and(|torn| torn.len() == 1),
        "{after}"
    );
    let gateway = setup.start()?;
    let then = json(&folder, &["recording", "list"], 0)?;
    ensure!(
        then[0]["flow"] == "all" && then[0]["bytes"].as_u64() > Some(0),
        "{then}"
    );
    let told = |report: &Value| report["recording"]["messages"].as_u64();
    // What was owed to upstream goes there without being recorded again.
    field.publish("devices/marker/telemetry", r#"{"device":"marker","seq":0}"#)?;
    wait_until("one more is through", || {
        watch.tally().count_of("marker") == 1
    })?;
    let last = json(&folder, &["replay", "--flow", "all"], 0)?;
    ensure!(told(&last) > told(&after), "{last}");
    drop(gateway);
    Ok(())
}

/// A config that does not ask for a recording.
/// Guarantee: nothing is kept, and the command says what to do.
fn nothing_is_recorded_unless_the_config_says_so() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let gateway = warm(&field, &cloud).start()?;
    publish(&field)?;
    let folder = gateway.folder().to_owned();
    ensure!(json(&folder, &["recording", "list"], 0)? == Value::Array(Vec::new()));
    let (_, error) = told(&folder, &["replay"], 1)?;
    ensure!(error.contains("record = \"16MiB\""), "{error}");
    let (_, error) = told(&folder, &["recording", "clear", "--flow", "all"], 1)?;
    ensure!(error.contains("flow `all` is not recorded"), "{error}");
    ensure!(!folder.join("data/recordings").exists());
    Ok(())
}
