//! What the version before has left behind: its data folder, its config and a plugin built with its SDK.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::binary::workspace;
use tidegate_tests::{Broker, Config, Gateway, Watch, cases, wait_until};

use crate::scene::UP;
use crate::tools::json;

pub fn cases() -> Vec<Trial> {
    cases![a_store_a_config_and_a_plugin_of_the_version_before_still_work]
}

/// It had taken so many readings of each device, and had not forwarded one of them.
const READINGS: u64 = 40;
const DEVICES: u64 = 5;
/// So many payloads were no text.
const REJECTED: usize = 3;

/// The folder was packed after an orderly stop with upstream away: 200 counted readings owed, three dead letters, the counts
/// of five devices as state of the plugin. Its component stands in it, too.
/// Guarantee: all that is owed arrives in the order of each device, the letters are there, and the counts go on.
fn a_store_a_config_and_a_plugin_of_the_version_before_still_work() -> Result<()> {
    let from = workspace().join("tests/compat");
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let config = fs::read_to_string(from.join("tidegate.toml"))?;
    let setup = Gateway::with(Config::read(&config).between(&field.url(), &cloud.url()));
    let unpacked = Command::new("tar")
        .arg("-xzf")
        .arg(from.join("data.tar.gz"))
        .arg("-C")
        .arg(setup.folder())
        .status()?;
    ensure!(unpacked.success(), "tar ended with {unpacked}");
    let kept = fs::read_dir(setup.folder().join("data/plugins"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            path.extension()
                .is_some_and(|extension| extension == "wasm")
        })
        .context("the folder has the component")?;
    fs::copy(kept, setup.folder().join("count.wasm"))?;
    let data = setup.folder().join("data");

    let watch = Watch::start(cloud.address(), UP)?;
    let gateway = setup.data_at(data).start()?;
    wait_until("what was owed has arrived", || {
        watch.arrivals().len() as u64 >= READINGS * DEVICES
    })?;
    field.publish("devices/d3/telemetry", "one more")?;
    wait_until("one more has arrived", || {
        watch
            .arrivals()
            .iter()
            .any(|arrival| arrival.json().is_ok_and(|json| json["of"] == "one more"))
    })?;

    for device in 0..DEVICES {
        let topic = format!("up/devices/d{device}/telemetry");
        let counts: Vec<u64> = watch
            .arrivals()
            .iter()
            .filter(|arrival| arrival.topic == topic)
            .map(|arrival| {
                arrival.json()?["count"]
                    .as_u64()
                    .context("a count is a number")
            })
            .collect::<Result<_>>()?;
        let most = READINGS + u64::from(device == 3);
        let expected: Vec<u64> = (1..=most).collect();
        ensure!(counts == expected, "{topic}: {counts:?}");
    }
    let letters = json(gateway.folder(), &["parked", "list"], 0)?;
    let listed = letters["letters"].as_array().map(Vec::len);
    ensure!(listed == Some(REJECTED), "{letters}");
    ensure!(gateway.stop()?.0.success());
    Ok(())
}
