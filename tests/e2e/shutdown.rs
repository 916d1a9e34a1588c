//! SIGTERM.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::{Config, Plan, cases, wait_until};

use crate::scene::{Scene, compare, expect_at_least_once, expect_exactly_once, send_all};

pub fn cases() -> Vec<Trial> {
    cases![a_stop_under_load_drains_and_exits_0, a_stop_at_rest_exits_0,]
}

/// SIGTERM under load, then a start.
/// Guarantee: exit code 0, what had been taken is delivered or owed, and the rest comes with the next start.
fn a_stop_under_load_drains_and_exits_0() -> Result<()> {
    let scene = Scene::with(&Config::forwarding(), &[])?;
    let load = scene.load(Plan {
        rate: Some(2_000),
        ..Plan::default()
    });
    wait_until("traffic flows", || scene.watch.count() > 1_000)?;
    let (status, setup) = scene.gateway.stop()?;
    ensure!(status.code() == Some(0), "the gateway ended with {status}");
    let _gateway = setup.start()?;
    let sent = load.stop()?;
    expect_at_least_once(&compare(&sent, scene.watch)?)
}

/// SIGTERM with nothing under way.
/// Guarantee: nothing is sent twice over an orderly stop and start.
fn a_stop_at_rest_exits_0() -> Result<()> {
    let scene = Scene::with(&Config::forwarding(), &[])?;
    let first = send_all(&scene.field, 500)?;
    wait_until("all has arrived", || {
        scene.watch.count() == first.count() as u64
    })?;
    let (status, setup) = scene.gateway.stop()?;
    ensure!(status.code() == Some(0), "the gateway ended with {status}");
    let gateway = setup.start()?;
    ensure!(
        gateway.metric("tidegate_spool_messages", &[]) == 0.0,
        "something is still owed"
    );
    expect_exactly_once(&first, scene.watch).map(drop)
}
