//! Flows that lead to other flows.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::{Config, Plan, Watch, cases, rounds, wait_until};

use crate::guest::component;
use crate::scene::{Scene, UP, compare, expect_at_least_once, expect_exactly_once, unnamed};

pub fn cases() -> Vec<Trial> {
    cases![
        what_one_flow_makes_goes_through_two_others_and_both_join,
        killed_again_and_again_nothing_between_flows_is_lost,
        a_stop_under_load_empties_flows_one_after_the_other,
        a_flow_is_put_between_and_taken_out_under_load,
        what_a_flow_behind_another_fails_on_is_its_own_letter,
    ]
}

/// A flow of all readings that leads to others, and the last of them.
fn led(to: &str) -> Config {
    unnamed()
        .set("flow.all.lanes", 2)
        .set("flow.all.to", to)
        .add("flow.last", "topics = [\"devices/{device}/telemetry\"]\nto = \"cloud:telemetry\"\ntopic = \"up/{topic}\"\nlanes = 2")
}

/// Three flows in a row, of two, three and two lanes.
fn row() -> Config {
    led("flow.middle").add("flow.middle", "lanes = 3\nto = \"flow.last\"")
}

fn load(rate: u32) -> Plan {
    Plan {
        devices: 30,
        rate: Some(rate),
        ..Plan::default()
    }
}

/// One flow leads to the cloud and to two others; both of them lead to a fourth, which takes only what one of them makes.
/// Guarantee: each way brings everything once and in order per device, and what the fourth does not take is counted there.
fn what_one_flow_makes_goes_through_two_others_and_both_join() -> Result<()> {
    let side = |name: &str| format!("to = [\"flow.join\"]\ntopic = \"{name}/{{topic}}\"");
    // The first renames what leaves it, so the sides see that name.
    let join = "topics = [\"left/up/devices/{device}/telemetry\"]\nto = \"cloud:telemetry\"\ntopic = \"up/joined/{topic}\"";
    let config = Config::forwarding()
        .without("flow.all.lanes")
        .put(
            "flow.all",
            "to = [\"cloud:telemetry\", \"flow.left\", \"flow.right\"]",
        )
        .add("flow.left", &side("left"))
        .add("flow.right", &side("right"))
        .add("flow.join", join);
    let scene = Scene::with(&config, &[])?;
    let joined = Watch::start(scene.cloud.address(), "up/joined/#")?;
    let direct = Watch::start(scene.cloud.address(), "up/devices/#")?;
    let plan = Plan {
        total: Some(3_000),
        ..load(3_000)
    };
    let sent = scene.load(plan).wait()?;
    for watch in [joined, direct] {
        let verdict = compare(&sent, watch)?;
        ensure!(verdict.is_exactly_once(), "{verdict}");
    }
    let fate = |flow: &str, fate: &str| {
        let labels = [("flow", flow), ("fate", fate)];
        scene
            .gateway
            .metric("tidegate_chain_messages_total", &labels)
    };
    wait_until("all is counted", || fate("join", "filtered") == 3_000.0)?;
    ensure!(fate("join", "forwarded") == 3_000.0 && fate("all", "forwarded") == 3_000.0);
    Ok(())
}

/// SIGKILL again and again while messages go through three flows.
/// Guarantee: what the field broker had an acknowledgement of is there, in order per device.
fn killed_again_and_again_nothing_between_flows_is_lost() -> Result<()> {
    let scene = Scene::with(&row(), &[])?;
    let load = scene.load(load(1_000));
    let mut gateway = scene.gateway;
    for _ in 0..rounds(6, 50) {
        let before = scene.watch.count();
        wait_until("traffic flows", || scene.watch.count() > before + 300)?;
        gateway = gateway.kill()?.start()?;
    }
    let sent = load.stop()?;
    let verdict = compare(&sent, scene.watch)?;
    ensure!(gateway.is_running(), "it ended by itself");
    expect_at_least_once(&verdict)
}

/// SIGTERM under load, then a start.
/// Guarantee: what was on its way from flow to flow goes to its end first; nothing is left in the lanes, lost or out of order.
fn a_stop_under_load_empties_flows_one_after_the_other() -> Result<()> {
    let scene = Scene::with(&row(), &[])?;
    let load = scene.load(load(2_000));
    wait_until("traffic flows", || scene.watch.count() > 1_000)?;
    let lines = scene.gateway.lines().clone();
    let (status, setup) = scene.gateway.stop()?;
    ensure!(status.code() == Some(0), "the gateway ended with {status}");
    ensure!(!lines.has(&["left in the lanes"]), "{:?}", lines.all());
    let _gateway = setup.start()?;
    let sent = load.stop()?;
    expect_at_least_once(&compare(&sent, scene.watch)?)
}

/// A flow with a counting plugin is put between two others and taken out again, by reloads under load.
/// Guarantee: none lost, doubled or out of order, the reload needs no restart, and the plugin's state is there again.
fn a_flow_is_put_between_and_taken_out_under_load() -> Result<()> {
    let direct = led("flow.last");
    let count = "name = \"count\"\nplugin = \"count.wasm\"\nlimits = { time = \"5s\" }";
    let between = row().step("middle", count);
    let scene = Scene::with(&direct, &[("count.wasm", component("count")?)])?;
    let load = scene.load(load(1_500));
    for _ in 0..rounds(2, 20) {
        for (config, told) in [
            (&between, "flow.middle: added"),
            (&direct, "flow.middle: removed"),
        ] {
            let before = scene.watch.count();
            wait_until("traffic flows", || scene.watch.count() > before + 300)?;
            let out = scene.reload(config, 0)?;
            ensure!(
                out.contains(told) && out.contains("flow.all: replaced"),
                "{out}"
            );
        }
    }
    let sent = load.stop()?;
    expect_exactly_once(&sent, scene.watch).map(drop)
}

/// The plugin of a flow behind another rejects a payload.
/// Guarantee: the letter names that flow, and once the payload does go through the other flows do not see it again.
fn what_a_flow_behind_another_fails_on_is_its_own_letter() -> Result<()> {
    let filter = "plugin = \"builtin:filter\"\nsettings = { where = [{ field = \"t\", op = \">\", value = 0 }] }";
    let scene = Scene::with(&row().step("middle", filter), &[])?;
    let watch = Watch::start(scene.cloud.address(), UP)?;
    scene.field.publish("devices/d1/telemetry", "no json")?;
    scene.field.publish("devices/d1/telemetry", r#"{"t":1}"#)?;
    wait_until("the good one has arrived", || watch.total() == 1)?;
    let letters = crate::tools::json(scene.gateway.folder(), &["parked", "list"], 0)?;
    let flows: Vec<_> = letters["letters"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|letter| letter["flow"].clone())
        .collect();
    ensure!(flows == ["middle"], "{letters}");
    Ok(())
}
