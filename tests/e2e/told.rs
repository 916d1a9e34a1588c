//! What stateful plugins have told while a version of them is on probation, over a stop and a roll-back there.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::{Config, Gateway, Watch, cases, wait_until};

use crate::scene::Scene;
use crate::tools::told;

pub fn cases() -> Vec<Trial> {
    cases![
        windows_are_told_once_over_a_stop_on_probation,
        windows_are_told_once_over_a_roll_back,
        an_alarm_raised_on_probation_is_cleared_after_a_stop,
        an_alarm_raised_on_probation_is_cleared_after_a_roll_back,
    ]
}

const DEVICES: usize = 5;

/// A plugin with a probation that no case outlives.
fn plugin(builtin: &str, settings: &str) -> Config {
    let step = format!(
        "name = \"it\"\nplugin = \"builtin:{builtin}\"\ncheckpoint = \"1h\"\n\
         probation = {{ time = \"1h\", messages = 1000000 }}\nsettings = {{ {settings} }}"
    );
    Config::forwarding().step("all", &step)
}

fn windows_of(messages: usize) -> Config {
    plugin(
        "aggregate",
        &format!("window = {messages}, topic = \"sums/{{key}}\""),
    )
}

fn wait_for_probation(gateway: &Gateway) -> Result<()> {
    wait_until("a version is on probation", || {
        gateway.metric(
            "tidegate_swap_transitions_total",
            &[("state", "on-probation")],
        ) >= 1.0
    })
}

/// Publishes so many messages of each device, and waits until the flow has had them.
fn gather(scene: &Scene, rounds: usize) -> Result<()> {
    let had = || {
        scene
            .gateway
            .metric("tidegate_chain_messages_total", &[("flow", "all")])
    };
    let before = had();
    for _ in 0..rounds {
        for device in 0..DEVICES {
            scene
                .field
                .publish(&format!("devices/d{device}/telemetry"), r#"{"x":1}"#)?;
        }
    }
    wait_until("the flow has had them", || {
        had() >= before + (rounds * DEVICES) as f64
    })
}

/// The sum of what was told.
fn sum(watch: &Watch) -> Result<u64> {
    let counts = watch
        .arrivals()
        .iter()
        .map(|arrival| {
            arrival.json()?["count"]
                .as_u64()
                .context("a result without a count")
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(counts.iter().sum())
}

fn windows_are_told_once(is_rolled_back: bool) -> Result<()> {
    let scene = Scene::with(&windows_of(1_000), &[])?;
    let watch = Watch::start(scene.cloud.address(), "#")?;
    gather(&scene, 2)?;
    scene.reload(&windows_of(7), 0)?;
    wait_for_probation(&scene.gateway)?;
    gather(&scene, 3)?;
    let early = 2 * DEVICES as u64;
    wait_until("what was open is told early", || {
        sum(&watch).is_ok_and(|sum| sum >= early)
    })?;
    if is_rolled_back {
        told(scene.gateway.folder(), &["rollback", "it"], 6)?;
    }
    let Scene {
        field,
        cloud,
        watch: up,
        gateway,
    } = scene;
    let (status, setup) = gateway.stop()?;
    ensure!(status.success(), "{status}");
    setup.rewrite(windows_of(1).between(&field.url(), &cloud.url()))?;
    let scene = Scene {
        gateway: setup.start()?,
        field,
        cloud,
        watch: up,
    };
    gather(&scene, 1)?;
    let all = 6 * DEVICES as u64;
    wait_until("all is told", || sum(&watch).is_ok_and(|sum| sum >= all))?;
    let (status, _) = scene.gateway.stop()?;
    ensure!(status.success(), "{status}");
    ensure!(sum(&watch)? == all, "{} told of {all}", sum(&watch)?);
    Ok(())
}

/// The aggregate gets another window by a reload, gathers on probation, and the gateway is stopped there.
/// Guarantee: the sum of all counts is the number of messages.
fn windows_are_told_once_over_a_stop_on_probation() -> Result<()> {
    windows_are_told_once(false)
}

/// The same, and an operator rolls the change back.
/// Guarantee: as before.
fn windows_are_told_once_over_a_roll_back() -> Result<()> {
    windows_are_told_once(true)
}

fn an_alarm_is_cleared(is_rolled_back: bool) -> Result<()> {
    let above = |limit| {
        plugin(
            "threshold",
            &format!("field = \"temperature\", above = {limit}"),
        )
        .set("flow.all.to.alarms", "cloud:alarm")
    };
    let scene = Scene::with(&above(30), &[])?;
    let alarms = Watch::start(scene.cloud.address(), "alarms/d1/#")?;
    let publish = |value: u32| {
        scene.field.publish(
            "devices/d1/telemetry",
            format!(r#"{{"temperature":{value}}}"#),
        )
    };
    publish(25)?;
    wait_until("it arrives", || scene.watch.total() == 1)?;
    ensure!(alarms.total() == 0, "it is below the limit");
    scene.reload(&above(20), 0)?;
    wait_for_probation(&scene.gateway)?;
    publish(25)?;
    wait_until("the alarm is raised", || alarms.total() == 1)?;
    let folder = scene.gateway.folder().to_owned();
    let gateway = if is_rolled_back {
        told(&folder, &["rollback", "it"], 6)?;
        scene.gateway
    } else {
        scene.gateway.stop()?.1.start()?
    };
    publish(10)?;
    wait_until("the alarm is cleared", || alarms.total() >= 2)?;
    let states = alarms
        .arrivals()
        .iter()
        .map(|alarm| Ok(alarm.json()?["state"].to_string()))
        .collect::<Result<Vec<_>>>()?;
    ensure!(states == ["\"raised\"", "\"cleared\""], "{states:?}");
    drop(gateway);
    Ok(())
}

/// The threshold's limit is lowered by a reload, the new version raises an alarm, the gateway is stopped on probation.
/// Guarantee: the alarm is cleared, once, when the value is below the limit again.
fn an_alarm_raised_on_probation_is_cleared_after_a_stop() -> Result<()> {
    an_alarm_is_cleared(false)
}

/// The same, and an operator rolls the change back.
/// Guarantee: as before.
fn an_alarm_raised_on_probation_is_cleared_after_a_roll_back() -> Result<()> {
    an_alarm_is_cleared(true)
}
