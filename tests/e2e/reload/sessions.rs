//! Sessions that a change leaves behind at the devices' broker.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::cases;
use tidegate_tests::{Broker, Config, Gateway, Plan, Watch, wait_until, with_mosquitto};

use crate::scene::{Scene, UP};
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

/// Telemetry and alarms of one source.
fn flows() -> Config {
    let flow = |topics: &str, class: &str| {
        format!(
            "from = \"field\"\ntopics = [\"{topics}\"]\nto = {{ out = \"cloud:{class}\" }}\ntopic = \"up/{{topic}}\""
        )
    };
    Config::bare()
        .add(
            "flow.telemetry",
            &flow("devices/{device}/telemetry", "telemetry"),
        )
        .add("flow.alarms", &flow("alarms/{device}", "alarm"))
}

/// The source has another name.
fn renamed(config: Config) -> Config {
    config
        .rename("source.field", "devices")
        .change("flow.telemetry.from", "devices")
        .change("flow.alarms.from", "devices")
}

/// Alarms and telemetry are published while the gateway is down; it comes back with another client id, gateway name, source
/// name, or with an alarm flow that has a connection of its own or has one no more.
/// Guarantee: all of it arrives, nothing is given up, and the session of before is left.
fn what_came_while_it_was_down_is_taken_under_whatever_name_it_comes_back() -> Result<()> {
    let between = |change: fn(Config) -> Config| {
        move |field: &Broker, cloud: &Broker| change(flows().between(&field.url(), &cloud.url()))
    };
    let same = || between(|config| config);
    let client_id = between(|config| config.set("source.field.client_id", "other"));
    let gateway = between(|config| config.add("gateway", "name = \"other\""));
    let urgent = || between(|config| config.set("flow.alarms.priority", true));
    let changes = [
        ("another client id", same(), client_id),
        ("another gateway name", same(), gateway),
        ("another source name", same(), between(renamed)),
        ("a connection of its own", same(), urgent()),
        ("no connection of its own", urgent(), same()),
    ];
    for (what, before, after) in changes {
        comes_back(before, after).with_context(|| what.to_owned())?;
    }
    Ok(())
}

fn expect_nothing_given_up(gateway: &Gateway) -> Result<()> {
    let (ledger, _) = told(gateway.folder(), &["ledger"], 0)?;
    ensure!(ledger.contains("nothing was given up"), "{ledger}");
    Ok(())
}

fn comes_back(
    before: impl Fn(&Broker, &Broker) -> Config,
    after: impl Fn(&Broker, &Broker) -> Config,
) -> Result<()> {
    const EACH: usize = 5;
    let (field, cloud) = (Broker::mosquitto()?, Broker::embedded()?);
    let gateway = Gateway::with(before(&field, &cloud)).start()?;
    gateway.wait_online()?;
    let (_, setup) = gateway.stop()?;
    for number in 0..EACH {
        field.publish("alarms/d1", format!("alarm {number}"))?;
        field.publish("devices/d1/telemetry", format!("reading {number}"))?;
    }
    let watch = Watch::start(cloud.address(), UP)?;
    setup.rewrite(after(&field, &cloud))?;
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
    expect_nothing_given_up(&scene.gateway)
}

/// A source gets another name, then another client id, while messages come.
/// Guarantee: none is lost, and the broker holds nothing for the names of before: their sessions have nothing to ask for.
fn a_source_gets_another_name_or_client_id_under_load() -> Result<()> {
    let named = renamed(flows());
    let known = named.clone().set("source.devices.client_id", "other");
    let scene = Scene::between(Broker::mosquitto()?, Broker::embedded()?, &flows(), &[])?;
    let load = scene.load(Plan {
        devices: 30,
        rate: Some(1_000),
        ..Plan::default()
    });
    wait_until("traffic flows", || scene.watch.count() > 200)?;
    for config in [named, known] {
        let before = scene.watch.count();
        let mark = scene.gateway.lines().count();
        let (field, cloud) = (scene.field.url(), scene.cloud.url());
        let config = config
            .set("source.devices.url", &field)
            .set("uplink.cloud.url", &cloud);
        scene.gateway.rewrite_config(config)?;
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
    expect_nothing_given_up(&scene.gateway)
}

/// A flow is moved to another source at the same broker and back, twice, while messages come; both sources have other flows.
/// Guarantee: none is lost, also of those that the source of before still brings.
fn a_flow_takes_from_another_source_under_load() -> Result<()> {
    let (field, cloud) = (Broker::mosquitto()?, Broker::embedded()?);
    let second =
        "from = \"second\"\ntopics = [\"second/{device}\"]\nto = { out = \"cloud:state\" }";
    let first = flows()
        .source("second", &field.url())
        .add("flow.second", second);
    let moved = first.clone().change("flow.telemetry.from", "second");
    let scene = Scene::between(field, cloud, &first, &[])?;
    let load = scene.load(Plan {
        devices: 30,
        rate: Some(2_000),
        ..Plan::default()
    });
    wait_until("traffic flows", || scene.watch.count() > 200)?;
    for config in [&moved, &first, &moved, &first] {
        let before = scene.watch.count();
        let mark = scene.gateway.lines().count();
        scene.gateway.rewrite_config(scene.here(config))?;
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
    expect_nothing_given_up(&scene.gateway)
}

/// The data folder of a gateway is copied, and the copy starts with a name of its own beside the first.
/// Guarantee: it does not open the first one's session, which would throw that off its broker, and says so.
fn a_copy_of_a_gateway_leaves_its_sessions_alone() -> Result<()> {
    let (field, cloud) = (Broker::mosquitto()?, Broker::embedded()?);
    let named = |name: &str| {
        flows()
            .between(&field.url(), &cloud.url())
            .add("gateway", &format!("name = \"{name}\""))
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
/// Guarantee: `status`, `health` and the metrics tell of the session until a source is at that broker; then the message arrives,
/// and `status` tells that the session is emptied as long as that goes on.
fn a_broker_that_no_source_is_at_any_more_is_told_until_one_is() -> Result<()> {
    let (first, second) = (Broker::mosquitto()?, Broker::mosquitto()?);
    let cloud = Broker::embedded()?;
    let gateway = Gateway::with(flows().between(&first.url(), &cloud.url())).start()?;
    gateway.wait_online()?;
    let (_, setup) = gateway.stop()?;
    first.publish("alarms/d1", "held")?;
    let watch = Watch::start(cloud.address(), UP)?;
    let moved = flows().between(&second.url(), &cloud.url());
    setup.rewrite(&moved)?;
    // Over one more start, too.
    let (_, setup) = setup.start()?.stop()?;
    let gateway = setup.start()?;
    gateway.wait_online()?;
    let ready = || gateway.health().map(|(_, text)| text);
    let says = "no source is at";
    wait_until("it is told", || {
        ready().is_ok_and(|text| text.contains(says))
    })?;
    let left_behind = [("condition", "session-left-behind")];
    wait_until("the metric tells, too", || {
        gateway.metric("tidegate_source_condition", &left_behind) == 1.0
    })?;
    let (status, _) = told(gateway.folder(), &["status", "-o", "json"], 0)?;
    ensure!(status.contains("session-left-behind"), "{status}");
    gateway.rewrite_config(moved.source("old", &first.url()))?;
    wait_until("the message arrives", || watch.total() == 1)?;
    wait_until("the session is empty, and nothing is told", || {
        ready().is_ok_and(|text| !text.contains(says) && !text.contains("still holds"))
    })
}
