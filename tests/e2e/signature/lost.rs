//! What a start does when newer versions are lost, or nothing is left of a flow.

use std::fs;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::binary::tidegate;
use tidegate_tests::cases;
use tidegate_tests::fake::FakeBroker;
use tidegate_tests::{Broker, Config, Gateway, Watch, wait_until};

use super::{FILE, keys, order, sign, strict, told, wait_running};
use crate::guest::{component, marked};
use crate::scene::plugin_file;
use crate::tools::json;

pub fn cases() -> Vec<Trial> {
    cases![
        whatever_is_lost_of_newer_versions_a_start_is_good_for_what_check_is_good_for,
        a_flow_of_which_nothing_is_left_stays_down_and_the_others_run,
    ]
}

/// A newer version than the config's is put in place by `swap`. While the gateway is off the kept components are lost, or
/// damaged, or the key is exchanged and the config's version signed anew.
/// Guarantee: the start says why and runs what the config says, as `check` does; and so does the next one.
fn whatever_is_lost_of_newer_versions_a_start_is_good_for_what_check_is_good_for() -> Result<()> {
    for damage in ["lost", "damaged", "another key"] {
        let fake = FakeBroker::start(Vec::new())?;
        let setup = strict(&fake.url(), &fake.url())?;
        let (folder, low) = (setup.folder().to_owned(), component("count")?);
        sign(&folder, "1.0.0", &[])?;
        fs::write(folder.join("next.wasm"), marked(&low, 1))?;
        let arguments = [
            "plugin",
            "sign",
            "next.wasm",
            "--name",
            "count",
            "--key",
            "ops.key",
            "--version",
            "2.0.0",
        ];
        told(&folder, tidegate()?, &arguments, 0)?;
        let gateway = setup.launch()?;
        let next = folder.join("next.wasm");
        order(
            &folder,
            &[
                "swap",
                "count",
                next.to_str().context("the folder's name is no text")?,
            ],
            0,
        )?;
        wait_running(&folder, &marked(&low, 1))?;
        let (_, setup) = gateway.stop()?;
        let kept = || {
            fs::read_dir(setup.data().join("plugins"))
                .map(|files| files.flatten().map(|file| file.path()))
        };
        for path in kept()?.filter(|path| path.extension().is_some_and(|end| end == "wasm")) {
            match damage {
                "lost" => fs::remove_file(path)?,
                "damaged" => fs::write(path, b"rotten")?,
                _ => {}
            }
        }
        if damage == "another key" {
            ["ops.key", "ops.pub"]
                .iter()
                .try_for_each(|file| fs::remove_file(folder.join(file)))?;
            keys(&folder)?;
            sign(&folder, "1.0.0", &[])?;
        }
        let file = setup.config_file();
        told(
            &folder,
            tidegate()?,
            &[
                "check",
                "-c",
                file.to_str().context("the folder's name is no text")?,
            ],
            0,
        )?;
        let gateway = setup.launch()?;
        let why = [
            "what the config says",
            "it is version 1.0.0, and 2.0.0 was confirmed here",
        ];
        wait_until(&format!("{damage}: the start says why"), || {
            gateway.lines().has(&why)
        })?;
        wait_running(&folder, &low)?;
        let (_, setup) = gateway.stop()?;
        let _gateway = setup.launch()?;
        wait_running(&folder, &low)?;
    }
    Ok(())
}

/// Of one flow the component is damaged, and the one that was kept is lost; the other needs none. Then the file is mended.
/// Guarantee: the other flow runs, it is said which one does not and why, its messages wait, and go on with the file.
fn a_flow_of_which_nothing_is_left_stays_down_and_the_others_run() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let watch = Watch::start(cloud.address(), "#")?;
    let other = "from = \"other\"\ntopics = [\"other/{device}\"]\nto = \"cloud:telemetry\"";
    let config = Config::forwarding()
        .step("all", &plugin_file("count", FILE))
        .between(&field.url(), &cloud.url())
        .source("other", &field.url())
        .add("flow.other", other);
    let setup = Gateway::with(config);
    let (folder, good) = (setup.folder().to_owned(), component("count")?);
    fs::write(folder.join(FILE), &good)?;
    let (_, setup) = setup.start()?.stop()?;
    fs::write(folder.join(FILE), b"rotten")?;
    for file in fs::read_dir(setup.data().join("plugins"))?
        .flatten()
        .map(|file| file.path())
    {
        if file.extension().is_some_and(|end| end == "wasm") {
            fs::remove_file(file)?;
        }
    }
    let gateway = setup.start()?;
    field.publish("devices/d1/telemetry", r#"{"n":1}"#)?;
    field.publish("other/d1", "two")?;
    wait_until("the other flow runs", || {
        watch
            .arrivals()
            .iter()
            .any(|arrival| arrival.payload == b"two")
    })?;
    ensure!(
        watch.total() == 1,
        "the flow that is down has sent something"
    );
    let (code, ready) = gateway.get("/readyz?verbose")?;
    ensure!(
        code == 503 && ready.contains("flow all") && ready.contains("down, its messages wait"),
        "{code}: {ready}"
    );
    let status = json(&folder, &["status"], 0)?.to_string();
    ensure!(
        status.contains("its messages wait") || status.contains("\"down\":\"plugin `count`"),
        "{status}"
    );
    gateway.replace(FILE, &good)?;
    wait_until("what waited has gone through it", || watch.total() == 2)?;
    wait_until("all is well", || {
        gateway.get("/readyz").is_ok_and(|(code, _)| code == 200)
    })
}
