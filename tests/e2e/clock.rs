//! A clock that jumps: a gateway has no battery behind it, and learns the time once it is online.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::cut::Cuttable;
use tidegate_tests::{Broker, Config, Gateway, Load, Plan, Watch, cases, needs, wait_until};

use crate::scene::{UP, compare, expect_at_least_once};

pub fn cases() -> Vec<Trial> {
    let timed = |name: &str, run| needs(name, "libfaketime", library().is_some(), run);
    cases![timed; jumps_of_the_clock_lose_and_expire_nothing]
}

/// Where distributions put it.
pub fn library() -> Option<PathBuf> {
    let libraries = fs::read_dir("/usr/lib")
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()));
    let beside = libraries
        .chain([PathBuf::from("/usr/lib")])
        .map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    beside.into_iter().find(|path| path.exists())
}

/// The year in which a line of the log was written.
fn year(line: &str) -> Option<String> {
    Some(line.split_once("\"timestamp\":\"")?.1.get(..4)?.to_owned())
}

/// Under 1,000 msg/s the clock jumps ten years ahead and back, then twenty back and ahead: forth with the link up, which then
/// goes dark, and home again over a kill. What is
/// owed may be kept for a day.
/// Guarantee: nothing is lost, nothing expires, and links and commits go on.
fn jumps_of_the_clock_lose_and_expire_nothing() -> Result<()> {
    let library = library().context("no libfaketime")?;
    let (field, cloud, folder) = (
        Broker::embedded()?,
        Broker::embedded()?,
        tempfile::tempdir()?,
    );
    let jump = |offset: &str| fs::write(folder.path().join("offset"), format!("{offset}\n"));
    let link = Cuttable::to(cloud.address())?;
    let watch = Watch::start(cloud.address(), UP)?;
    jump("+0")?;
    let config = Config::forwarding()
        .between(&field.url(), &link.url())
        .add("class.telemetry", "max_age = \"1d\"");
    let file = folder.path().join("offset");
    let setup = Gateway::with(config)
        .env("LD_PRELOAD", &library.display().to_string())
        .env("FAKETIME_TIMESTAMP_FILE", &file.display().to_string())
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let mut gateway = setup.start()?;
    let load = Load::start(field.address(), Plan::default());
    let today = gateway
        .lines()
        .find(|line| year(line))
        .context("no line with a time")?;
    for offset in ["+10y", "-20y"] {
        jump(offset)?;
        let arrived = watch.count();
        wait_until("it forwards", || watch.count() > arrived + 500)?;
        link.go_dark();
        let on_disk = gateway.metric("tidegate_spool_commits_total", &[]);
        wait_until("its log tells the new time", || {
            gateway
                .lines()
                .find(|line| year(line).filter(|year| *year != today))
                .is_some()
        })?;
        wait_until("it commits", || {
            gateway.metric("tidegate_spool_commits_total", &[]) > on_disk
        })?;
        let setup = gateway.kill()?;
        jump("+0")?;
        gateway = setup.start()?;
        link.back();
        wait_until("the backlog drains", || {
            gateway.metric("tidegate_spool_disk_messages", &[]) == 0.0
        })?;
    }
    let sent = load.stop()?;
    let verdict = compare(&sent, watch)?;
    eprintln!(
        "{verdict}; ledger {}",
        gateway.metric("tidegate_ledger_messages", &[])
    );
    ensure!(
        gateway.metric("tidegate_ledger_messages", &[]) == 0.0,
        "something was given up"
    );
    expect_at_least_once(&verdict)
}
