//! A folder in which others have a hand: whoever takes files away, and other lanes of the same gateway.

use std::fs;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::{Broker, Gateway, cases, wait_until};

use super::{changed, expect_all, gateway, says, standing_in};
use crate::scene::send_all;

pub fn cases() -> Vec<Trial> {
    cases![
        what_is_taken_away_takes_nothing_with_it,
        lanes_of_one_gateway_share_a_folder_over_kills,
        a_fallback_that_does_not_work_is_told,
    ]
}

const KEYS: &str = "batch = { wait = \"50ms\" }\n";

/// Waits until so many messages were accepted since the start.
fn expect_forwarded(gateway: &Gateway, count: usize) -> Result<()> {
    wait_until("all are accepted", || {
        gateway.metric("tidegate_messages_forwarded_total", &[]) >= count as f64
    })
}

/// The folder is moved away while it is written to, and another one stands in its place; then it goes for a while.
/// Guarantee: what came before is where it was moved to, what comes later is in the folder of that name.
fn what_is_taken_away_takes_nothing_with_it() -> Result<()> {
    let field = Broker::embedded()?;
    let setup = gateway(&field, KEYS);
    let folder = setup.folder().join("history");
    let moved = setup.folder().join("moved");
    fs::create_dir(&folder)?;
    let gateway = setup.start()?;
    let before = send_all(&field, 200)?;
    expect_forwarded(&gateway, 200)?;
    fs::rename(&folder, &moved)?;
    fs::create_dir(&folder)?;
    let later = send_all(&field, 300)?;
    expect_all(&later, &folder)?;
    expect_forwarded(&gateway, 500)?;
    expect_all(&before, &moved)?;
    fs::remove_dir_all(&folder)?;
    let last = send_all(&field, 300)?;
    wait_until("it is said", || says(&gateway, "mount the disk"))?;
    ensure!(!folder.exists(), "the folder was made");
    fs::create_dir(&folder)?;
    expect_all(&last, &folder)?;
    ensure!(gateway.metric("tidegate_dead_letters_kept", &[]) == 0.0);
    Ok(())
}

/// A flow with priority beside one without, both into one folder, and kills while both have a file there.
/// Guarantee: neither lane waits for the other's files, in whatever order they come back.
fn lanes_of_one_gateway_share_a_folder_over_kills() -> Result<()> {
    let field = Broker::embedded()?;
    let urgent = "from = \"field\"\ntopics = [\"devices/{device}/telemetry\"]\nto = \"cloud:alarm\"\npriority = true";
    let setup = changed(&field, |config| {
        config.put("uplink.cloud", KEYS).add("flow.urgent", urgent)
    });
    fs::create_dir(setup.folder().join("history"))?;
    let mut gateway = setup.start()?;
    for _ in 0..3 {
        send_all(&field, 100)?;
        expect_forwarded(&gateway, 200)?;
        gateway = gateway.kill()?.start()?;
    }
    let (status, setup) = gateway.stop()?;
    ensure!(status.success());
    for entry in fs::read_dir(setup.folder().join("history"))? {
        let path = entry?.path();
        let is_whole = path.extension().is_some_and(|ending| ending == "ndjson");
        ensure!(is_whole, "{} was left behind", path.display());
    }
    Ok(())
}

/// A broker is away, and the folder that is to stand in for it is not there; it has a flow of its own, too.
/// Guarantee: `tidegate health` says of the broker that its fallback does not work, and why; once the folder is there both have all.
fn a_fallback_that_does_not_work_is_told() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let setup = standing_in(&field, &cloud, |config| {
        config.put("flow.all", "to = [\"cloud:telemetry\", \"disk:telemetry\"]")
    });
    drop(cloud);
    let mut gateway = setup.start()?;
    send_all(&field, 100)?;
    wait_until("it is said", || {
        says(&gateway, "the fallback does not work: cannot look into")
    })?;
    fs::create_dir(gateway.folder().join("history"))?;
    expect_forwarded(&gateway, 200)?;
    // Now each of them has a file there.
    gateway = gateway.kill()?.start()?;
    send_all(&field, 100)?;
    expect_forwarded(&gateway, 200)
}
