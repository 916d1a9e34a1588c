//! Candidates that are good enough to run and do worse than what they are to replace.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::watch::Arrival;
use tidegate_tests::{Config, Plan, cases, wait_until};

use crate::guest::component;
use crate::live::transitions;
use crate::scene::Scene;
use crate::swap::expect_counted_once;
use crate::tools::{json, told};

pub fn cases() -> Vec<Trial> {
    cases![
        one_that_fails_on_probation_is_taken_back,
        the_last_good_version_takes_over_from_one_that_keeps_failing,
        what_is_held_goes_on_with_the_last_good_version,
        a_shadow_shows_what_would_be_different,
        a_canary_speaks_for_its_share_of_the_devices,
    ]
}

const FILE: &str = "count.wasm";

/// Counting, with a probation that no case outlives. A call takes a second only where that is what it does wrong, and a
/// batch is small, so that what leaks or floods is seen before it meets the limit of memory, however many messages wait.
fn counting() -> Result<Scene> {
    let probation = "probation = { time = \"1h\", messages = 1000000000 }";
    let plugin =
        format!("name = \"count\"\nplugin = \"{FILE}\"\n{probation}\nlimits = {{ time = \"1s\" }}");
    let config = Config::forwarding()
        .set("flow.all.batch", 8)
        .step("all", &plugin);
    Scene::with(&config, &[(FILE, component("count")?)])
}

/// The guest `worse`, told what to do wrong.
fn worse(how: &str) -> Result<Vec<u8>> {
    let mut component = component("worse")?;
    let blank = b"how:nothing-yet-";
    let at = component
        .windows(blank.len())
        .position(|bytes| bytes == blank)
        .context("the guest is told elsewhere")?;
    let told = format!("how:{how:-<12}");
    component[at..at + blank.len()].copy_from_slice(told.as_bytes());
    Ok(component)
}

/// Candidates that work at first, and whose outputs count; then one traps, one spins, one leaks, one floods, under load.
/// Guarantee: each is taken back by itself, with the reason in plain words; nothing is lost, doubled, parked or out of
/// order, and each device's count is exactly its number of messages.
fn one_that_fails_on_probation_is_taken_back() -> Result<()> {
    let scene = counting()?;
    let candidates = [
        ("trap", "it fails on live messages: trap"),
        (
            "spin",
            "it fails on live messages: timeout: a call took longer than 1s",
        ),
        ("leak", "KiB of memory where the running version takes"),
        ("flood", "it fails on live messages: output"),
    ];
    let load = scene.load(Plan {
        devices: 30,
        rate: Some(3_000),
        ..Plan::default()
    });
    for (number, (how, why)) in candidates.iter().enumerate() {
        let mark = scene.gateway.lines().count();
        scene.gateway.replace(FILE, &worse(how)?)?;
        wait_until(&format!("it is taken back: {how}"), || {
            transitions(&scene.gateway, "rolled-back") > number as f64
        })?;
        wait_until("a line says why", || {
            scene
                .gateway
                .lines()
                .has_since(mark, &["count", "the running version stays", why])
        })?;
        let before = scene.watch.count();
        wait_until("the old one goes on", || scene.watch.count() > before + 200)?;
    }
    ensure!(
        transitions(&scene.gateway, "swapped") == candidates.len() as f64,
        "the outputs of one never counted"
    );
    let sent = load.stop()?;
    expect_counted_once(&scene.field, &scene.cloud, &sent, scene.watch)?;
    ensure!(
        scene.gateway.metric("tidegate_dead_letters_total", &[]) == 0.0,
        "something was parked"
    );
    Ok(())
}

/// A gateway whose plugin was good and has been replaced, while nothing came, by one that traps on every message; and
/// the digest of the good one.
fn about_to_fail(on_error: &str) -> Result<(Scene, String)> {
    let settings = format!("on_error = \"{on_error}\"\nprobation = {{ time = \"50ms\" }}");
    let plugin = format!("name = \"count\"\nplugin = \"{FILE}\"\n{settings}");
    let good = component("count")?;
    let scene = Scene::with(
        &Config::forwarding().step("all", &plugin),
        &[(FILE, good.clone())],
    )?;
    let file = scene.gateway.folder().join("fails.wasm");
    std::fs::write(&file, component("trap-always")?)?;
    let file = file.to_str().context("a path of plain letters")?;
    told(
        scene.gateway.folder(),
        &["swap", "count", file, "--fresh-state"],
        0,
    )?;
    Ok((scene, tidegate::trust::digest(&good)))
}

/// A version that traps on every message was confirmed while nothing came; then load sets in.
/// Guarantee: its breaker opens, the version before takes over by itself and stays over a restart, and every message is
/// delivered once or a dead letter.
fn the_last_good_version_takes_over_from_one_that_keeps_failing() -> Result<()> {
    let (scene, good) = about_to_fail("park")?;
    let folder = scene.gateway.folder().to_owned();
    let load = scene.load(Plan {
        devices: 30,
        rate: Some(500),
        ..Plan::default()
    });
    wait_until("the version before runs", || {
        json(&folder, &["plugins"], 0).is_ok_and(|all| all[0]["digest"] == *good)
    })?;
    let before = scene.watch.count();
    wait_until("it delivers", || scene.watch.count() > before + 500)?;
    let (history, _) = told(&folder, &["history"], 0)?;
    ensure!(
        history.contains("breaker"),
        "the history does not say who did it: {history}"
    );
    let sent = load.stop()?;
    let parked = || scene.gateway.metric("tidegate_dead_letters_total", &[]) as usize;
    wait_until("all are accounted for", || {
        scene.watch.count() as usize + parked() >= sent.count()
    })?;
    ensure!(
        scene.watch.count() as usize + parked() == sent.count() && parked() >= 10,
        "{} parked",
        parked()
    );
    let (_, setup) = scene.gateway.stop()?;
    let gateway = setup.start()?;
    ensure!(
        json(&folder, &["plugins"], 0)?[0]["digest"] == *good,
        "another version runs: {:#?}",
        gateway.lines().all()
    );
    Ok(())
}

/// The same with `on_error = "hold"`.
/// Guarantee: not one message is a dead letter, lost, doubled or out of order, and every count is exact.
fn what_is_held_goes_on_with_the_last_good_version() -> Result<()> {
    let (scene, _) = about_to_fail("hold")?;
    let load = scene.load(Plan {
        devices: 30,
        rate: Some(500),
        ..Plan::default()
    });
    wait_until("it delivers", || scene.watch.count() > 1_000)?;
    let sent = load.stop()?;
    ensure!(
        scene.gateway.metric("tidegate_lane_restarts_total", &[]) == 0.0,
        "the host's own code failed"
    );
    expect_counted_once(&scene.field, &scene.cloud, &sent, scene.watch)?;
    ensure!(
        scene.gateway.metric("tidegate_dead_letters_total", &[]) == 0.0,
        "something was parked"
    );
    Ok(())
}

/// A candidate with wrong outputs, then one that rejects a fourth of all, are put into a shadow by command, under load; only
/// for the first one there is a limit to what may differ.
/// Guarantee: both are refused, each for its own reason, with exit code 6, and none of their outputs leaves.
fn a_shadow_shows_what_would_be_different() -> Result<()> {
    let scene = counting()?;
    let folder = scene.gateway.folder().to_owned();
    let file = folder.join("candidate.wasm");
    let path = file.to_str().context("a path of plain letters")?;
    let load = scene.load(Plan {
        devices: 30,
        rate: Some(1_000),
        ..Plan::default()
    });
    for (how, why, limit) in [
        (
            "wrong",
            "its outputs differ for 100 %",
            &["--max-differing", "1%"][..],
        ),
        (
            "reject",
            "of what the running version accepts, the limit is 5 %",
            &[],
        ),
    ] {
        std::fs::write(&file, worse(how)?)?;
        let arguments = [
            &[
                "swap",
                "count",
                path,
                "--messages",
                "500",
                "--sample",
                "50%",
            ],
            limit,
        ]
        .concat();
        let (out, error) = told(&folder, &arguments, 6)?;
        ensure!(format!("{out}{error}").contains(why), "{how}: {out}{error}");
    }
    ensure!(
        transitions(&scene.gateway, "shadowing") == 2.0
            && transitions(&scene.gateway, "swapped") == 0.0,
        "not a shadow"
    );
    let sent = load.stop()?;
    expect_counted_once(&scene.field, &scene.cloud, &sent, scene.watch).map(drop)
}

/// A candidate whose counts are one too high is put in as a canary for a third of the devices, each device sends a message,
/// the change is taken back, and each sends another.
/// Guarantee: the candidate's outputs leave for some devices and the running version's for the others; after it, every count
/// is exact, also of those the canary spoke for.
fn a_canary_speaks_for_its_share_of_the_devices() -> Result<()> {
    let scene = counting()?;
    let folder = scene.gateway.folder().to_owned();
    let file = folder.join("candidate.wasm");
    std::fs::write(&file, worse("wrong")?)?;
    let path = file.to_str().context("a path of plain letters")?;
    told(
        &folder,
        &[
            "swap",
            "count",
            path,
            "--canary",
            "33%",
            "--canary-time",
            "1h",
            "--detach",
        ],
        0,
    )?;
    wait_until("the canary sings", || {
        transitions(&scene.gateway, "canary") == 1.0
    })?;
    let first = counts(&scene)?;
    let astray = first.iter().filter(|count| **count == 2).count();
    ensure!(
        (1..DEVICES).contains(&astray),
        "{astray} of {DEVICES} devices are the canary's: {first:?}"
    );
    ensure!(
        first.iter().all(|count| [1, 2].contains(count)),
        "{first:?}"
    );
    told(&folder, &["rollback", "count"], 6)?;
    let second = counts(&scene)?;
    ensure!(
        second.iter().all(|count| *count == 2),
        "after the canary: {second:?}"
    );
    Ok(())
}

/// How many devices [`counts`] asks.
const DEVICES: usize = 30;

/// Sends a message of each device, and the counts they come back with.
fn counts(scene: &Scene) -> Result<Vec<u64>> {
    let before = scene.watch.total() as usize;
    (0..DEVICES).try_for_each(|device| {
        scene
            .field
            .publish(&format!("devices/d{device}/telemetry"), "{}")
    })?;
    wait_until("all have come back", || {
        scene.watch.total() as usize >= before + DEVICES
    })?;
    let count = |arrival: &Arrival| {
        arrival.json()?["count"]
            .as_u64()
            .context("an output without a count")
    };
    scene.watch.arrivals()[before..].iter().map(count).collect()
}
