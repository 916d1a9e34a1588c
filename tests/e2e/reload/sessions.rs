//! Sessions that a change leaves behind at the devices' broker.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::cases;
use tidegate_tests::{Broker, Gateway, Plan, Watch, wait_until, with_mosquitto};

use crate::scene::{Scene, UP, config};
use crate::tools::told;

pub fn cases() -> Vec<Trial> {
    cases![with_mosquitto;
        what_came_while_it_was_down_is_taken_under_whatever_name_it_comes_back,
        a_source_gets_another_name_or_client_id_under_load,
        a_flow_takes_from_another_source_under_load,
        a_copy_of_a_gateway_leaves_its_sessions_alone,
        a_broker_that_no_source_is_at_any_more_is_told_until_one_is,
    ]
}

/// Alarms and telemetry of one source.
const FLOWS: &str = r#"[flow.telemetry]
from = "field"
topics = ["devices/{device}/telemetry"]
to = { out = "cloud:telemetry" }
topic = "up/{topic}"

[flow.alarms]
from = "field"
topics = ["alarms/{device}"]
to = { out = "cloud:alarm" }
topic = "up/{topic}"
"#;

fn with(broker: &Broker, cloud: &Broker, change: impl Fn(String) -> String) -> String {
    change(config(&broker.url(), &cloud.url(), FLOWS))
}

fn is_urgent(config: String) -> String {
    config.replace("[flow.alarms]\n", "[flow.alarms]\npriority = true\n")
}

/// Alarms and telemetry are published while the gateway is down; it comes back with another client id, gateway name, source
/// name, or with an alarm flow that has a connection of its own or has one no more.
/// Guarantee: all of it arrives, nothing is given up, and the session of before is left.
fn what_came_while_it_was_down_is_taken_under_whatever_name_it_comes_back() -> Result<()> {
    let same = |config: String| config;
    let client_id = |config: String| {
        config.replace(
            "[source.field]\n",
            "[source.field]\nclient_id = \"other\"\n",
        )
    };
    let gateway = |config: String| format!("{config}\n[gateway]\nname = \"other\"\n");
    let source = |config: String| {
        config
            .replace("[source.field]", "[source.devices]")
            .replace("from = \"field\"", "from = \"devices\"")
    };
    type Change<'a> = &'a dyn Fn(String) -> String;
    let changes: [(&str, Change<'_>, Change<'_>); 5] = [
        ("another client id", &same, &client_id),
        ("another gateway name", &same, &gateway),
        ("another source name", &same, &source),
        ("a connection of its own", &same, &is_urgent),
        ("no connection of its own", &is_urgent, &same),
    ];
    for (what, before, after) in changes {
        comes_back(before, after).with_context(|| what.to_owned())?;
    }
    Ok(())
}

fn comes_back(before: impl Fn(String) -> String, after: impl Fn(String) -> String) -> Result<()> {
    const EACH: usize = 5;
    let (field, cloud) = (Broker::mosquitto()?, Broker::embedded()?);
    let gateway = Gateway::with(with(&field, &cloud, before)).start()?;
    gateway.wait_online()?;
    let (_, setup) = gateway.stop()?;
    for number in 0..EACH {
        field.publish("alarms/d1", format!("alarm {number}"))?;
        field.publish("devices/d1/telemetry", format!("reading {number}"))?;
    }
    let watch = Watch::start(cloud.address(), UP)?;
    fs::write(setup.config_file(), with(&field, &cloud, after))?;
    let scene = Scene {
        field,
        cloud,
        watch,
        gateway: setup.start()?,
    };
    wait_until("all of it has arrived", || {
        scene.watch.total() >= 2 * EACH as u64
    })?;
    let payloads: Vec<String> = scene
        .watch
        .arrivals()
        .iter()
        .map(|arrival| String::from_utf8_lossy(&arrival.payload).into_owned())
        .collect();
    for number in 0..EACH {
        for what in ["alarm", "reading"] {
            let text = format!("{what} {number}");
            ensure!(payloads.contains(&text), "no `{text}` among {payloads:?}");
        }
    }
    let (ledger, _) = told(scene.gateway.folder(), &["ledger"], 0)?;
    ensure!(ledger.contains("nothing was given up"), "{ledger}");
    Ok(())
}

/// A source gets another name, then another client id, while messages come.
/// Guarantee: none is lost, and the broker holds nothing for the names of before: their sessions have nothing to ask for.
fn a_source_gets_another_name_or_client_id_under_load() -> Result<()> {
    let (field, cloud) = (Broker::mosquitto()?, Broker::embedded()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let plain = with(&field, &cloud, |config| config);
    let scene = Scene {
        gateway: Gateway::with(&plain).start()?,
        field,
        cloud,
        watch,
    };
    let load = scene.load(Plan {
        devices: 30,
        rate: Some(1_000),
        ..Plan::default()
    });
    wait_until("traffic flows", || scene.watch.count() > 200)?;
    let named = plain
        .replace("[source.field]", "[source.devices]")
        .replace("from = \"field\"", "from = \"devices\"");
    let known = named.replace(
        "[source.devices]\n",
        "[source.devices]\nclient_id = \"other\"\n",
    );
    for config in [named, known] {
        let before = scene.watch.count();
        let mark = scene.gateway.lines().count();
        scene.gateway.rewrite_config(&config)?;
        wait_until("a session of before is empty", || {
            let says = "the session of before holds nothing any more";
            scene.gateway.lines().has_since(mark, &[says])
        })?;
        wait_until("traffic flows", || scene.watch.count() > before + 500)?;
    }
    let sent = load.stop()?;
    wait_until("all has arrived", || {
        scene.watch.count() as usize >= sent.count()
    })?;
    let verdict = sent.against(&scene.watch.stop()?, |_, _| true);
    ensure!(verdict.lost == 0, "{verdict}");
    let (ledger, _) = told(scene.gateway.folder(), &["ledger"], 0)?;
    ensure!(ledger.contains("nothing was given up"), "{ledger}");
    Ok(())
}

/// A flow is moved to another source at the same broker and back, twice, while messages come; both sources have other flows.
/// Guarantee: none is lost, also of those that the source of before still brings.
fn a_flow_takes_from_another_source_under_load() -> Result<()> {
    let (field, cloud) = (Broker::mosquitto()?, Broker::embedded()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let beside = format!(
        "[source.second]\nurl = \"{}\"\n\n[flow.second]\nfrom = \"second\"\ntopics = [\"second/{{device}}\"]\nto = {{ out = \"cloud:state\" }}\n\n",
        field.url()
    );
    let first = with(&field, &cloud, |config| format!("{config}\n{beside}"));
    let moved = first.replacen("from = \"field\"", "from = \"second\"", 1);
    let scene = Scene {
        gateway: Gateway::with(&first).start()?,
        field,
        cloud,
        watch,
    };
    let load = scene.load(Plan {
        devices: 30,
        rate: Some(2_000),
        ..Plan::default()
    });
    wait_until("traffic flows", || scene.watch.count() > 200)?;
    for config in [&moved, &first, &moved, &first] {
        let before = scene.watch.count();
        let mark = scene.gateway.lines().count();
        scene.gateway.rewrite_config(config)?;
        wait_until("the flow is moved", || {
            let says = ["a flow is as the config says now", "telemetry"];
            scene.gateway.lines().has_since(mark, &says)
        })?;
        wait_until("traffic flows", || scene.watch.count() > before + 500)?;
    }
    let sent = load.stop()?;
    wait_until("all has arrived", || {
        scene.watch.count() as usize >= sent.count()
    })?;
    let verdict = sent.against(&scene.watch.stop()?, |_, _| true);
    ensure!(verdict.lost == 0, "{verdict}");
    let (ledger, _) = told(scene.gateway.folder(), &["ledger"], 0)?;
    ensure!(ledger.contains("nothing was given up"), "{ledger}");
    Ok(())
}

/// The data folder of a gateway is copied, and the copy starts with a name of its own beside the first.
/// Guarantee: it does not open the first one's session, which would throw that off its broker, and says so.
fn a_copy_of_a_gateway_leaves_its_sessions_alone() -> Result<()> {
    let (field, cloud) = (Broker::mosquitto()?, Broker::embedded()?);
    let named = |name: &str| {
        with(&field, &cloud, |config| {
            format!("{config}\n[gateway]\nname = \"{name}\"\n")
        })
    };
    let gateway = Gateway::with(named("first")).start()?;
    gateway.wait_online()?;
    let (_, setup) = gateway.stop()?;
    let other = Gateway::with(named("second"));
    let copied = Command::new("cp")
        .arg("-a")
        .args([setup.data(), other.data()])
        .status()?;
    ensure!(copied.success(), "the folder is not copied");
    let first = setup.start()?;
    first.wait_online()?;
    let mark = field.lines().count();
    let second = other.start()?;
    second.wait_online()?;
    ensure!(
        second
            .lines()
            .has(&["tidegate-first-field", "it is left alone"]),
        "nothing is said of it"
    );
    ensure!(
        field.lines().has_since(mark, &["as tidegate-second-field"])
            && !field.lines().has_since(mark, &["as tidegate-first-field"]),
        "the first one's session was opened"
    );
    ensure!(first.is_online(), "the first is off");
    Ok(())
}

/// While the gateway is down its source moves to another broker; the first one has a message for it. Later a source at the first one
/// is added.
/// Guarantee: `status`, `/readyz` and the metrics tell of the session until a source is at that broker; then the message arrives,
/// and `status` tells that the session is emptied as long as that goes on.
fn a_broker_that_no_source_is_at_any_more_is_told_until_one_is() -> Result<()> {
    let (first, second) = (Broker::mosquitto()?, Broker::mosquitto()?);
    let cloud = Broker::embedded()?;
    let same = |config: String| config;
    let gateway = Gateway::with(with(&first, &cloud, same)).start()?;
    gateway.wait_online()?;
    let (_, setup) = gateway.stop()?;
    first.publish("alarms/d1", "held")?;
    let watch = Watch::start(cloud.address(), UP)?;
    let moved = with(&second, &cloud, same);
    fs::write(setup.config_file(), &moved)?;
    // Over one more start, too.
    let (_, setup) = setup.start()?.stop()?;
    let gateway = setup.start()?;
    gateway.wait_online()?;
    let ready = || gateway.get("/readyz?verbose").map(|(_, text)| text);
    let says = "no source is at";
    wait_until("it is told", || {
        ready().is_ok_and(|text| text.contains(says))
    })?;
    let left_behind = [("condition", "session-left-behind")];
    ensure!(
        gateway.metric("tidegate_source_condition", &left_behind) == 1.0,
        "the metric does not tell"
    );
    let (status, _) = told(gateway.folder(), &["status", "-o", "json"], 0)?;
    ensure!(status.contains("session-left-behind"), "{status}");
    let both = format!("{moved}\n[source.old]\nurl = \"{}\"\n", first.url());
    gateway.rewrite_config(&both)?;
    wait_until("the message arrives", || watch.total() == 1)?;
    wait_until("the session is empty, and nothing is told", || {
        ready().is_ok_and(|text| !text.contains(says) && !text.contains("still holds"))
    })
}
