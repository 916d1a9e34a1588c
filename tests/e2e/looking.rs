//! `tidegate tap` and `tidegate top`: looking on at a gateway while messages pass, and nothing waits for it.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use rustix::process::Signal;
use serde_json::Value;
use tidegate_tests::binary::tidegate;
use tidegate_tests::process::Process;
use tidegate_tests::{Config, Plan, cases, wait_until};

use crate::scene::{Scene, expect_at_least_once};
use crate::tools::{command, json, told};

pub fn cases() -> Vec<Trial> {
    cases![
        a_tap_shows_a_message_at_each_step_and_a_reload_does_not_end_it,
        what_a_tap_misses_is_counted_and_no_message_waits_for_it,
        top_shows_what_passes_and_gives_the_terminal_back,
    ]
}

const PICK: &str = "plugin = \"builtin:decode-json\"\nsettings = { pick = [\"device\", \"seq\"] }";
const KEEP: &str =
    "plugin = \"builtin:filter\"\nsettings = { where = [{ field = \"seq\", op = \"exists\" }] }";

fn picking() -> Config {
    Config::forwarding().step("all", PICK)
}

fn seen(out: &str) -> Result<Vec<Value>> {
    out.lines()
        .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
        .collect()
}

/// Ten devices send; one of them is looked at while the flow becomes another one.
/// Guarantee: each of its messages is seen on its way into the plugin, out of it and to its queue, as it is there; nothing of
/// other devices is; the tap shows the plugin that a reload has put in.
fn a_tap_shows_a_message_at_each_step_and_a_reload_does_not_end_it() -> Result<()> {
    let scene = Scene::with(&picking(), &[])?;
    let load = scene.load(Plan::default());
    let folder = scene.gateway.folder();
    let look = ["tap", "all", "--device", "d3", "-n", "6", "-o", "json"];
    let (out, _) = told(folder, &look, 0)?;
    let all = seen(&out)?;
    ensure!(
        all.len() == 6 && all.iter().all(|seen| seen["flow"] == "all"),
        "{out}"
    );
    let of = |at: &str| {
        all.iter()
            .find(|seen| seen["at"] == at)
            .with_context(|| format!("nothing {at}: {out}"))
    };
    let (into, out_of, leaves) = (of("into")?, of("out-of")?, of("leaves")?);
    ensure!(
        into["topic"] == "devices/d3/telemetry" && into["of"] == "decode-json",
        "{into}"
    );
    ensure!(
        into["text"]
            .as_str()
            .is_some_and(|text| text.contains("temperature")),
        "what goes in is whole: {into}"
    );
    ensure!(
        out_of["text"]
            .as_str()
            .is_some_and(|text| !text.contains("temperature")),
        "what comes out is what was picked: {out_of}"
    );
    ensure!(
        leaves["of"] == "cloud:telemetry" && leaves["topic"] == "up/devices/d3/telemetry",
        "{leaves}"
    );
    // One that began before the flow was replaced sees the one that takes its place.
    let look = &mut command(folder, &["tap", "all", "--device", "d3"])?;
    let tap = Process::start("tap", look)?;
    tap.lines().wait_for(&["> decode-json"])?;
    let with_filter = scene.here(&picking().step("all", KEEP));
    scene.gateway.rewrite_for(&with_filter, || ())?;
    tap.lines().wait_for(&["> filter"])?;
    drop(tap);
    let sent = load.stop()?;
    expect_at_least_once(&crate::scene::compare(&sent, scene.watch)?)
}

/// A tap is frozen while two thousand messages pass at full speed.
/// Guarantee: every message arrives meanwhile; the tap says afterwards how many passed unseen.
fn what_a_tap_misses_is_counted_and_no_message_waits_for_it() -> Result<()> {
    let scene = Scene::with(&picking(), &[])?;
    let plan = |total| Plan {
        rate: None,
        total: Some(total),
        ..Plan::default()
    };
    let tap = Process::start(
        "tap",
        &mut command(scene.gateway.folder(), &["tap", "all"])?,
    )?;
    // Whatever comes before it looks on is not seen.
    wait_until("it looks on", || {
        scene.load(plan(1)).wait().is_ok() && tap.lines().has(&["> decode-json"])
    })?;
    tap.signal(Signal::STOP)?;
    scene.load(plan(2_000)).wait()?;
    // The first of them has the number of those before it.
    wait_until("all have arrived", || scene.watch.count() == 2_000)?;
    tap.signal(Signal::CONT)?;
    tap.lines().wait_for(&["messages passed unseen"])
}

/// `top` beside a load: once as JSON, and twice on a terminal.
/// Guarantee: the rates are those of what passes; the terminal is as it was when it ends.
fn top_shows_what_passes_and_gives_the_terminal_back() -> Result<()> {
    let scene = Scene::with(&picking(), &[])?;
    let load = scene.load(Plan::default());
    let folder = scene.gateway.folder();
    let pace = json(folder, &["top", "--times", "1"], 0)?;
    let rate = |value: &Value| value.as_f64().unwrap_or_default();
    ensure!(
        rate(&pace["sources"][0]["in_per_s"]) > 0.0
            && rate(&pace["flows"][0]["out_per_s"]) > 0.0
            && rate(&pace["flows"][0]["plugins"][0]["cpu"]) > 0.0
            && rate(&pace["uplinks"][0]["out_per_s"]) > 0.0,
        "{pace:#}"
    );
    let (text, _) = told(folder, &["top", "--times", "2", "--every", "200ms"], 0)?;
    ensure!(
        text.matches("queue    cloud:telemetry").count() == 2,
        "{text}"
    );
    // `script` gives it a terminal of its own.
    let command = format!(
        "{} top --times 2 --every 200ms --data-dir {}; stty -a",
        tidegate()?.display(),
        folder.join("data").display()
    );
    let mut shown = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    // The end of its input is a key that ends `top`.
    let keys = shown.stdin.take();
    let shown = shown.wait_with_output()?;
    drop(keys);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let (enter, leave) = (shown.find("\u{1b}[?1049h"), shown.rfind("\u{1b}[?1049l"));
    ensure!(enter.is_some() && leave > enter, "{shown:?}");
    ensure!(
        shown.contains("decode-json") && shown.contains(" icanon") && shown.contains(" echo "),
        "{shown:?}"
    );
    drop(load.stop()?);
    Ok(())
}
