//! What the version before has left behind: its data folder, its config and a plugin built with its SDK.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::binary::{tidegate, workspace};
use tidegate_tests::{Broker, Config, Gateway, Watch, cases, wait_until};

use crate::scene::UP;
use crate::tools::json;

pub fn cases() -> Vec<Trial> {
    cases![
        a_store_a_config_and_a_plugin_of_the_version_before_still_work,
        components_of_the_frozen_contract_do_what_their_cases_say,
        the_contract_keeps_what_was_frozen,
    ]
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

/// `wit/0.1.0`: rules with state, timer and a port, as they were built when the contract was frozen, in Rust and in C, with their
/// cases of that day.
/// Guarantee: a plugin that was built then does today what it did.
fn components_of_the_frozen_contract_do_what_their_cases_say() -> Result<()> {
    let folder = workspace().join("wit/0.1.0");
    for language in ["rust", "c"] {
        let [component, cases] = ["wasm", "cases"].map(|end| format!("silence.{language}.{end}"));
        let ended = Command::new(tidegate()?)
            .args(["plugin", "test", &component, &cases])
            .current_dir(&folder)
            .output()?;
        let said = String::from_utf8_lossy(&ended.stdout);
        ensure!(
            ended.status.success() && said.contains(" passed, 0 failed"),
            "{component}:\n{said}\n{}",
            String::from_utf8_lossy(&ended.stderr)
        );
    }
    Ok(())
}

/// The lines of `wit/0.1.0/tidegate.wit` that are no documentation, in those of `wit/tidegate.wit`.
/// Guarantee: what has been frozen stays as it was; what comes is beside it.
fn the_contract_keeps_what_was_frozen() -> Result<()> {
    let lines = |path: &str| -> Result<Vec<String>> {
        let text = fs::read_to_string(workspace().join(path))?;
        let lines = text.lines().map(str::trim);
        Ok(lines
            .filter(|line| !line.is_empty() && !line.starts_with("//"))
            .map(str::to_owned)
            .collect())
    };
    let today = lines("wit/tidegate.wit")?;
    let mut at = today.iter();
    for line in lines("wit/0.1.0/tidegate.wit")? {
        ensure!(
            at.any(|today| *today == line),
            "`{line}` was frozen, and is gone or elsewhere"
        );
    }
    Ok(())
}
