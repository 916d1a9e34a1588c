//! Files of plugins that are replaced, broken or where nothing can be written.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate::trust;
use tidegate_tests::Config;
use tidegate_tests::cases;
use tidegate_tests::wait_until;

use super::{
    FILE, PLUGIN, SHORT, about, candidate, count, counting, plugin, runs, state, transitions,
};
use crate::guest::{component, marked};
use crate::scene::Scene;
use crate::tools::{json, told};

pub fn cases() -> Vec<Trial> {
    cases![
        a_file_that_cannot_be_used_does_not_stop_a_start,
        a_plugin_that_cannot_be_used_in_a_changed_config_stops_no_later_start,
        editors_and_copy_tools,
        a_folder_that_cannot_be_written_is_no_obstacle,
        what_changes_outside_the_window_waits_and_a_reload_takes_it,
    ]
}

/// A window that opens in six hours or so.
fn shut_now() -> Result<String> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let hour = seconds / 3_600 + 6;
    Ok(format!("{:02}:00-{:02}:00", hour % 24, (hour + 1) % 24))
}

/// The window for changes is shut: another version comes by command, then the component and the config change in their files.
/// Guarantee: the command's version runs at once; what is in the files does not, and `status` says what waits and until when; a reload
/// takes both.
fn what_changes_outside_the_window_waits_and_a_reload_takes_it() -> Result<()> {
    let window = format!("change_window = \"{}\"", shut_now()?);
    let config = Config::forwarding()
        .step("all", &plugin(SHORT))
        .add("gateway", &window);
    let original = component("count")?;
    let [by_command, by_file] = [1, 2].map(|mark| marked(&original, mark));
    let scene = Scene::with(&config, &[(FILE, original)])?;
    let folder = scene.gateway.folder().to_owned();
    let file = candidate(&folder, &by_command)?;
    told(&folder, &["swap", PLUGIN, &file], 0)?;
    ensure!(runs(&folder, &by_command)?, "{}", about(&folder)?);
    scene.gateway.replace(FILE, &by_file)?;
    let elsewhere = config.set("flow.all.topic", "up/elsewhere/{topic}");
    scene.gateway.rewrite_config(scene.here(&elsewhere))?;
    let held = || json(&folder, &["status"], 0).map(|status| status["config"]["held"].clone());
    wait_until("both wait", || {
        held().is_ok_and(|held| {
            held["files"]
                .as_array()
                .is_some_and(|files| files.len() == 2)
        })
    })?;
    let (until, text) = (held()?["until"].clone(), told(&folder, &["status"], 0)?.0);
    ensure!(
        until.is_string() && text.contains("changed files wait"),
        "{until}: {text}"
    );
    ensure!(runs(&folder, &by_command)?, "{}", about(&folder)?);
    told(&folder, &["reload"], 0)?;
    wait_until("what is in the file runs", || {
        runs(&folder, &by_file).unwrap_or_default()
    })?;
    ensure!(held()?.is_null(), "{}", held()?);
    let before = scene.watch.total();
    scene.field.publish("devices/d1/telemetry", "{}")?;
    wait_until("it arrives", || scene.watch.total() > before)?;
    let arrivals = scene.watch.arrivals();
    let last = arrivals.last().context("one has just arrived")?;
    ensure!(last.topic.starts_with("up/elsewhere/"), "{last:?}");
    Ok(())
}

/// The file is replaced by rubbish while the gateway is off; later there is a good one.
/// Guarantee: the last good version runs and an error says why; the file counts again once it can be used.
fn a_file_that_cannot_be_used_does_not_stop_a_start() -> Result<()> {
    let scene = counting(SHORT)?;
    let original = component("count")?;
    let folder = scene.gateway.folder().to_owned();
    ensure!(count(&scene.field, &scene.watch)? == 1, "it does not count");
    let (_, mut setup) = scene.gateway.stop()?;
    for rubbish in [
        &b"rubbish"[..],
        &original[..original.len() / 2],
        &component("configure-error")?,
    ] {
        fs::write(folder.join(FILE), rubbish)?;
        let gateway = setup.start()?;
        ensure!(runs(&folder, &original)?, "{}", about(&folder)?);
        gateway
            .lines()
            .wait_for(&["cannot be started", "last good version"])?;
        (_, setup) = gateway.stop()?;
    }
    fs::write(folder.join(FILE), marked(&original, 1))?;
    let gateway = setup.start()?;
    ensure!(runs(&folder, &marked(&original, 1))?, "{}", about(&folder)?);
    ensure!(count(&scene.field, &scene.watch)? == 2, "the count is lost");
    // A bit is flipped in the kept component of the version that an operator has brought back.
    told(&folder, &["rollback", PLUGIN], 0)?;
    let (_, setup) = gateway.stop()?;
    let kept = folder.join(format!("data/plugins/{}.wasm", trust::digest(&original)));
    let mut bytes = fs::read(&kept)?;
    let at = fastrand::usize(..bytes.len());
    bytes[at] ^= 1 << fastrand::u8(..8);
    fs::write(&kept, bytes)?;
    let gateway = setup.start()?;
    gateway.lines().wait_for(&["kept component is damaged"])?;
    ensure!(runs(&folder, &marked(&original, 1))?, "{}", about(&folder)?);
    Ok(())
}

/// A flow without plugins gets one whose settings are none, and is started again.
/// Guarantee: as before the start, all runs on as it did, and status says why.
fn a_plugin_that_cannot_be_used_in_a_changed_config_stops_no_later_start() -> Result<()> {
    let scene = Scene::with(&Config::forwarding(), &[])?;
    let folder = scene.gateway.folder().to_owned();
    let bad = Config::forwarding().step(
        "all",
        "plugin = \"builtin:decode-json\"\nsettings = { pikc = [] }",
    );
    scene.gateway.rewrite_config(scene.here(&bad))?;
    scene.gateway.lines().wait_for(&["pikc"])?;
    let (_, setup) = scene.gateway.stop()?;
    let gateway = setup.start()?;
    gateway
        .lines()
        .wait_for(&["cannot be used", "last one that worked"])?;
    scene.field.publish("devices/d1/telemetry", "{}")?;
    wait_until("it arrives", || scene.watch.total() == 1)?;
    let (status, _) = told(&folder, &["status"], 0)?;
    ensure!(status.contains("pikc"), "{status}");
    Ok(())
}

/// A plugin's file is written in place, renamed over, reached by a symlink that flips, touched, deleted and made again,
/// and changed a hundred times in a second.
/// Guarantee: each new content runs, the last of the hundred too; a touch and the same content again change nothing.
fn editors_and_copy_tools() -> Result<()> {
    let scene = counting(SHORT)?;
    let original = component("count")?;
    let folder = scene.gateway.folder().to_owned();
    let path = folder.join(FILE);
    let arrives = |what: &str, content: &[u8]| {
        wait_until(what, || {
            runs(&folder, content).unwrap_or(false) && state(&folder).is_empty()
        })
    };
    let version = |number: u32| marked(&original, number);
    fs::write(&path, version(1))?;
    arrives("written in place", &version(1))?;
    scene.gateway.replace(FILE, &version(2))?;
    arrives("renamed over", &version(2))?;
    for number in [3, 4] {
        fs::write(folder.join(format!("{number}.wasm")), version(number))?;
        symlink(format!("{number}.wasm"), folder.join("link"))?;
        fs::rename(folder.join("link"), &path)?;
        arrives("a symlink flipped", &version(number))?;
    }
    fs::remove_file(&path)?;
    wait_until("it is missed", || {
        scene.gateway.lines().has(&["gone", FILE])
    })?;
    let seen = transitions(&scene.gateway, "seen");
    fs::write(&path, version(4))?;
    fs::File::options()
        .write(true)
        .open(&path)?
        .set_modified(std::time::SystemTime::UNIX_EPOCH)?;
    fs::remove_file(&path)?;
    fs::write(&path, version(5))?;
    arrives("deleted and made again", &version(5))?;
    ensure!(
        transitions(&scene.gateway, "seen") == seen + 1.0,
        "the same content again was taken for a change"
    );
    for number in 100..200 {
        if number % 2 == 0 {
            fs::write(&path, version(number))?
        } else {
            scene.gateway.replace(FILE, &version(number))?
        }
    }
    arrives("the last of a hundred", &version(199))?;
    ensure!(
        transitions(&scene.gateway, "seen") < seen + 50.0,
        "each of the hundred was tried"
    );
    Ok(())
}

/// The folder of the versions cannot be made, since a file has its name; a version is swapped in.
/// Guarantee: the swap works, and a warning says what a restart will not know.
fn a_folder_that_cannot_be_written_is_no_obstacle() -> Result<()> {
    let original = component("count")?;
    let files = [
        (FILE, original.clone()),
        ("data/plugins", b"no folder".to_vec()),
    ];
    let scene = Scene::with(&Config::forwarding().step("all", &plugin(SHORT)), &files)?;
    let folder = scene.gateway.folder().to_owned();
    told(
        &folder,
        &["swap", PLUGIN, &candidate(&folder, &marked(&original, 1))?],
        0,
    )?;
    ensure!(runs(&folder, &marked(&original, 1))?, "{}", about(&folder)?);
    scene
        .gateway
        .lines()
        .wait_for(&["cannot be written down", "a restart falls back"])?;
    let (_, setup) = scene.gateway.stop()?;
    let gateway = setup.start()?;
    ensure!(count(&scene.field, &scene.watch)? > 0, "it does not count");
    drop(gateway);
    Ok(())
}
