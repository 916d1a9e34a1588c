//! What a start does when newer versions are lost, or nothing is left of a flow.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::binary::tidegate;
use tidegate_tests::cases;
use tidegate_tests::fake::FakeBroker;
use tidegate_tests::{Broker, Config, Gateway, Setup, Watch, wait_until};

use super::{FILE, keys, order, sign, strict, told, wait_running};
use crate::guest::{component, marked};
use crate::scene::plugin_file;
use crate::tools::json;

pub fn cases() -> Vec<Trial> {
    cases![
        whatever_is_lost_of_newer_versions_a_start_is_good_for_what_check_is_good_for,
        a_flow_of_which_nothing_is_left_stays_down_and_the_others_run,
        a_component_that_is_gone_at_a_start_runs_as_it_is_kept_and_is_told,
        a_key_that_is_gone_at_a_start_costs_its_flow_until_it_is_back,
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

/// Two flows, of which the one called `all` runs the component in `FILE`.
fn two_flows(field: &Broker, cloud: &Broker) -> Result<Setup> {
    let other = "from = \"other\"\ntopics = [\"other/{device}\"]\nto = \"cloud:telemetry\"";
    let config = Config::forwarding()
        .step("all", &plugin_file("count", FILE))
        .between(&field.url(), &cloud.url())
        .source("other", &field.url())
        .add("flow.other", other);
    let setup = Gateway::with(config);
    fs::write(setup.folder().join(FILE), component("count")?)?;
    Ok(setup)
}

/// Removes what is kept of components.
fn lose_kept(setup: &Setup) -> Result<()> {
    let kept = fs::read_dir(setup.data().join("plugins"))?;
    kept.flatten()
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|end| end == "wasm"))
        .try_for_each(|path| Ok(fs::remove_file(path)?))
}

/// Of one flow the component is damaged, or gone, and the one that was kept is lost; the other needs none. Then the file is
/// mended.
/// Guarantee: the other flow runs, it is said which one does not and why, its messages wait, and go on with the file.
fn a_flow_of_which_nothing_is_left_stays_down_and_the_others_run() -> Result<()> {
    stays_down(&|path| Ok(fs::write(path, b"rotten")?))?;
    stays_down(&|path| Ok(fs::remove_file(path)?))
}

fn stays_down(damage: &dyn Fn(&Path) -> Result<()>) -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let watch = Watch::start(cloud.address(), "#")?;
    let setup = two_flows(&field, &cloud)?;
    let (folder, good) = (setup.folder().to_owned(), component("count")?);
    let (_, setup) = setup.start()?.stop()?;
    damage(&folder.join(FILE))?;
    lose_kept(&setup)?;
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

/// The file of a component is gone at a start, and what is kept of it is there. Then the file is back.
/// Guarantee: what is kept runs, `/readyz` says that it is as before and `status` why, and no more once the file is back.
fn a_component_that_is_gone_at_a_start_runs_as_it_is_kept_and_is_told() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let watch = Watch::start(cloud.address(), "#")?;
    let setup = two_flows(&field, &cloud)?;
    let (folder, good) = (setup.folder().to_owned(), component("count")?);
    let (_, setup) = setup.start()?.stop()?;
    fs::remove_file(folder.join(FILE))?;
    let gateway = setup.start()?;
    field.publish("devices/d1/telemetry", r#"{"n":1}"#)?;
    wait_until("what is kept runs", || watch.total() == 1)?;
    let (code, ready) = gateway.get("/readyz?verbose")?;
    ensure!(
        code == 200 && ready.contains("flow.all.count is as before"),
        "{code}: {ready}"
    );
    let status = json(&folder, &["status"], 0)?.to_string();
    ensure!(status.contains("its file cannot be read"), "{status}");
    gateway.replace(FILE, &good)?;
    wait_until("nothing is told any more", || {
        let ready = gateway.get("/readyz?verbose");
        ready.is_ok_and(|(_, ready)| !ready.contains("is as before"))
    })?;
    // What ran before is what the file says, so nothing has changed.
    wait_running(&folder, &good)
}

/// The file of the key that a component is signed with is gone at a start, or damaged; another flow needs none. Then it is back.
/// Guarantee: the other flow runs, nothing that is signed is let in unseen, it is said which file is missing, and the flow runs
/// once that is back.
fn a_key_that_is_gone_at_a_start_costs_its_flow_until_it_is_back() -> Result<()> {
    for required in [true, false] {
        let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
        let watch = Watch::start(cloud.address(), "#")?;
        let setup = two_flows(&field, &cloud)?;
        let text = fs::read_to_string(setup.config_file())?;
        let text = format!(
            "[gateway]\nplugin_keys = [\"ops.pub\"]\nrequire_signature = {required}\n{text}"
        );
        fs::write(setup.config_file(), text)?;
        let folder = setup.folder().to_owned();
        keys(&folder)?;
        sign(&folder, "1.0.0", &[])?;
        let (_, setup) = setup.start()?.stop()?;
        let key = fs::read(folder.join("ops.pub"))?;
        if required {
            fs::remove_file(folder.join("ops.pub"))?;
        } else {
            fs::write(folder.join("ops.pub"), "")?;
        }
        let gateway = setup.start()?;
        field.publish("devices/d1/telemetry", r#"{"n":1}"#)?;
        field.publish("other/d1", "two")?;
        wait_until("the other flow runs", || watch.total() == 1)?;
        let (code, ready) = gateway.get("/readyz?verbose")?;
        let says = ["flow all", "down, its messages wait"];
        ensure!(
            code == 503 && says.iter().all(|part| ready.contains(part)),
            "{code}: {ready}"
        );
        gateway.lines().wait_for(&["ops.pub", "put it back"])?;
        gateway.replace("ops.pub", &key)?;
        wait_until("what waited has gone through it", || watch.total() == 2)?;
        wait_until("all is well", || {
            gateway.get("/readyz").is_ok_and(|(code, _)| code == 200)
        })?;
    }
    Ok(())
}
