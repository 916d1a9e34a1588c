//! How much the log says while the gateway runs, and what is kept of its own crashes.

use std::fs;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::{Config, cases, wait_until};

use crate::scene::Scene;
use crate::tools::{json, told};

pub fn cases() -> Vec<Trial> {
    cases![
        the_log_says_more_for_a_while_and_stops_by_itself,
        a_crash_of_an_earlier_run_stands_in_status,
    ]
}

/// A module, then all of the gateway, is asked to say more; the config is read again meanwhile.
/// Guarantee: `tidegate log` shows it, the log says so, a reload ends nothing of it, it ends by itself, and `config` ends it
/// at once; what is no level or module is refused.
fn the_log_says_more_for_a_while_and_stops_by_itself() -> Result<()> {
    let scene = Scene::with(&Config::forwarding(), &[])?;
    let gateway = &scene.gateway;
    let folder = gateway.folder();
    let changes = || -> Result<usize> {
        let shown = json(folder, &["log"], 0)?;
        ensure!(shown["level"] == "info", "{shown}");
        Ok(shown["changes"].as_array().context("no changes")?.len())
    };
    ensure!(changes()? == 0, "changed from the start");
    let shown = json(
        folder,
        &["log", "debug", "--for", "10m", "--module", "spool::writer"],
        0,
    )?;
    ensure!(
        shown["changes"][0]["module"] == "spool::writer" && shown["changes"][0]["level"] == "debug",
        "{shown}"
    );
    gateway
        .lines()
        .wait_for(&["level is changed for a while", "spool::writer"])?;
    told(folder, &["reload"], 0)?;
    ensure!(changes()? == 1, "a reload ended it");
    told(folder, &["log", "error", "--for", "2s"], 0)?;
    gateway
        .lines()
        .wait_for(&["level is changed for a while", "all"])?;
    wait_until("it has ended by itself", || {
        changes().is_ok_and(|left| left == 1)
    })?;
    gateway
        .lines()
        .wait_for(&["is the config's again", "all"])?;
    told(folder, &["log", "config"], 0)?;
    ensure!(changes()? == 0, "`config` ended nothing");
    for wrong in [
        &["log", "debug", "--module", "rustls"][..],
        &["log", "debug", "--for", "2d"],
    ] {
        told(folder, wrong, 1)?;
    }
    Ok(())
}

/// A run has left a record of a panic behind, and somebody something else.
/// Guarantee: `status` tells of it, running and stopped, cleaned; health speaks of this run only.
fn a_crash_of_an_earlier_run_stands_in_status() -> Result<()> {
    let scene = Scene::with(&Config::forwarding(), &[])?;
    let setup = scene.gateway.stop()?.1;
    let crashes = setup.data().join("crashes");
    fs::create_dir_all(&crashes)?;
    let record = r#"{"at":"2026-11-22T01:02:03.004Z","version":"0.1.0","thread":"writer","place":"host/src/x.rs:7:9","what":"told \u001b[2J to","stack":["a","b"]}"#;
    fs::write(crashes.join("00000000000000000001.json"), record)?;
    fs::write(crashes.join("00000000000000000002.json"), "nonsense")?;
    let shows = |folder: &std::path::Path| -> Result<()> {
        let (text, _) = told(folder, &["status"], 0)?;
        ensure!(
            text.contains("1 panic")
                && text.contains("thread `writer`")
                && !text.contains('\u{1b}'),
            "{text}"
        );
        let status = json(folder, &["status"], 0)?;
        ensure!(status["crashes"][0]["stack"][1] == "b", "{status}");
        Ok(())
    };
    shows(setup.folder())?;
    let gateway = setup.start()?;
    gateway.wait_online()?;
    shows(gateway.folder())?;
    let (_, health) = gateway.get("/healthz?verbose")?;
    ensure!(health.contains("[+] crashes ok"), "{health}");
    Ok(())
}
