//! Plugins that misbehave, each beside a flow that must not notice.

mod guarded;
mod neighbours;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::Broker;
use tidegate_tests::Config;
use tidegate_tests::Gateway;
use tidegate_tests::Load;
use tidegate_tests::Plan;
use tidegate_tests::Setup;
use tidegate_tests::Watch;
use tidegate_tests::case;
use tidegate_tests::cases;
use tidegate_tests::wait_until;

use self::guarded::guarded;
use crate::guest::{component, crowded, growing_tables, of_version};
use crate::scene::{Scene, UP, compare, plugin_file};

/// A guest, which is set off by a payload that is its name, and the kind of fault its metric must show.
const GUESTS: [(&str, &str); 7] = [
    ("trap", "trap"),
    ("spin", "timeout"),
    ("grow", "memory"),
    ("flood", "output"),
    ("recurse", "stack"),
    ("tables", "table"),
    ("hoard", "handles"),
];

pub fn cases() -> Vec<Trial> {
    let hostile = GUESTS.map(|(guest, kind)| {
        case(
            &format!("hostile::{guest}_costs_only_its_message"),
            move || contained(guest, kind),
        )
    });
    let mut cases = Vec::from(hostile);
    cases.extend(cases![
        one_that_wants_more_than_there_is_does_not_begin,
        a_plugin_that_breaks_the_contract_is_named,
        a_batch_answered_backwards_is_taken_apart,
        state_over_its_limit_is_named,
        a_stop_keeps_its_grace_whatever_a_plugin_does,
        a_noisy_plugin_fills_no_journal,
        wrong_world_version_and_imports_do_not_start,
    ]);
    cases.extend(guarded::cases());
    cases.extend(neighbours::cases());
    cases
}

/// Two flows in three lanes: one through the guest, one without plugins, both under load.
///
/// Only those that use all of their time get little: an honest call, or one on its way to another limit, shall not end by
/// the clock of a busy machine.
fn flows(guest: &str) -> Config {
    let time = if matches!(guest, "spin" | "noisy") {
        "100ms"
    } else {
        "5s"
    };
    let flow = |topics: &str| {
        format!("from = \"field\"\ntopics = [\"{topics}\"]\nto = \"cloud:telemetry\"\nlanes = 3")
    };
    let step = format!(
        "name = \"{guest}\"\nplugin = \"{guest}.wasm\"\nlimits = {{ time = \"{time}\", memory = \"8MiB\" }}"
    );
    Config::bare()
        .add("flow.bad", &flow("bad/{device}"))
        .step("bad", &step)
        .add("flow.good", &flow("devices/{device}/telemetry"))
}

/// Puts a guest where [`flows`] looks for it.
fn install(guest: &str, setup: &Setup) -> Result<()> {
    let component = if guest == "tables" {
        growing_tables()?
    } else {
        component(guest)?
    };
    Ok(std::fs::write(
        setup.folder().join(format!("{guest}.wasm")),
        component,
    )?)
}

/// A message that sets the guest off goes into one flow while the other carries 500 messages a second.
/// Guarantee: the gateway lives; the message is a dead letter; metric and log line name the plugin; the other flow
/// loses, doubles and reorders nothing; harmless messages go through the guest's flow afterwards.
fn contained(guest: &'static str, kind: &'static str) -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let setup = Gateway::with(flows(guest).between(&field.url(), &cloud.url()));
    install(guest, &setup)?;
    let watch = Watch::start(cloud.address(), "devices/#")?;
    let bad = Watch::start(cloud.address(), "bad/#")?;
    let mut gateway = setup.start()?;
    let load = Load::start(
        field.address(),
        Plan {
            rate: Some(500),
            ..Plan::default()
        },
    );
    for round in 1..=3 {
        field.publish("bad/d1", guest)?;
        wait_until("the metric names the plugin", || {
            gateway.metric(
                "tidegate_plugin_errors_total",
                &[("plugin", guest), ("kind", kind)],
            ) >= f64::from(round)
        })?;
        wait_until("the message is a dead letter", || {
            gateway.metric("tidegate_dead_letters_total", &[("reason", "poison")])
                >= f64::from(round)
        })?;
    }
    gateway.lines().wait_for(&[guest, kind])?;
    wait_until("harmless messages go through", || {
        field.publish("bad/d1", "harmless").is_ok() && bad.total() >= 1
    })?;
    ensure!(gateway.is_running(), "the gateway has ended");
    let verdict = compare(&load.stop()?, watch)?;
    ensure!(verdict.is_exactly_once(), "the other flow: {verdict}");
    Ok(())
}

/// Every way of breaking the contract of outputs that the guest knows and that takes one message, one after the other.
/// Guarantee: each is a fault of kind `contract`, the message is a dead letter, the gateway lives.
fn a_plugin_that_breaks_the_contract_is_named() -> Result<()> {
    let ways = [
        "no-such-input",
        "no-such-action",
        "no-such-port",
        "past-the-end",
        "overflow",
        "data-left-over",
    ];
    let more = [
        "topic-not-text",
        "topic-with-wildcard",
        "key-outside",
        "bad-headers",
        "half-an-entry",
        "no-stride",
    ];
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    for how in ways.into_iter().chain(more) {
        let config = flows("bad-output")
            .between(&field.url(), &cloud.url())
            .put(
                "flow.bad",
                "to = { out = \"cloud:telemetry\", side = \"drop\" }",
            )
            .put(
                "flow.bad.plugin.0",
                &format!("settings = {{ how = \"{how}\" }}"),
            );
        let setup = Gateway::with(config);
        std::fs::write(
            setup.folder().join("bad-output.wasm"),
            component("bad-output")?,
        )?;
        let mut gateway = setup.start()?;
        field.publish("bad/d1", "anything")?;
        wait_until(&format!("`{how}` is a fault"), || {
            gateway.metric(
                "tidegate_plugin_errors_total",
                &[("plugin", "bad-output"), ("kind", "contract")],
            ) >= 1.0
        })?;
        wait_until("the message is a dead letter", || {
            gateway.metric("tidegate_dead_letters_total", &[("reason", "poison")]) >= 1.0
        })?;
        ensure!(gateway.is_running(), "the gateway has ended after `{how}`");
    }
    Ok(())
}

/// A plugin whose state is larger than it may be.
/// Guarantee: metric and log name the limit, messages go on.
fn state_over_its_limit_is_named() -> Result<()> {
    let settings = "checkpoint = \"50ms\"";
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let config = guarded("count", settings)
        .between(&field.url(), &cloud.url())
        .set("flow.bad.plugin.0.limits.state", "1B");
    let setup = Gateway::with(config);
    std::fs::write(setup.folder().join("count.wasm"), component("count")?)?;
    let watch = Watch::start(cloud.address(), "bad/#")?;
    let gateway = setup.start()?;
    let mut sent = 0;
    wait_until("the metric names it", || {
        sent += 1;
        let published = field.publish("bad/d1", "{\"n\":1}");
        published.is_ok()
            && gateway.metric(
                "tidegate_plugin_errors_total",
                &[("plugin", "count"), ("kind", "state")],
            ) >= 1.0
    })?;
    wait_until("all messages went on", || watch.total() >= sent)?;
    Ok(())
}

/// A plugin that is inside a call of a minute, one whose state has no end, one whose ticks do nothing but fail, and one that
/// makes thousands out of each of thousands; each gateway is told to stop meanwhile, with two seconds of grace.
/// Guarantee: it ends within its grace and what it does at any end.
fn a_stop_keeps_its_grace_whatever_a_plugin_does() -> Result<()> {
    for (settings, payload, plugins) in [
        ("", "spin", 1),
        ("endless-save", "x", 1),
        ("tick trap-tick", "x", 1),
        ("", "more", 2),
    ] {
        let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
        let flow =
            "from = \"field\"\ntopics = [\"bad/{device}\"]\nto = \"cloud:telemetry\"\nlanes = 1";
        let mut config = Config::bare()
            .between(&field.url(), &cloud.url())
            .add("gateway", "shutdown_grace = \"2s\"")
            .add("flow.bad", flow);
        for number in 0..plugins {
            let step = format!(
                "name = \"probe{number}\"\nplugin = \"probe.wasm\"\nsettings = {{ be = \"{settings}\" }}\n\
                 limits = {{ time = \"1m\", memory = \"16MiB\" }}\ncheckpoint = \"50ms\""
            );
            config = config.step("bad", &step);
        }
        let setup = Gateway::with(config);
        install("probe", &setup)?;
        let gateway = setup.start()?;
        for device in 0..50 {
            field.publish(&format!("bad/d{device}"), payload)?;
        }
        wait_until("it has taken them", || {
            gateway.metric("tidegate_messages_received_total", &[]) >= 50.0
        })?;
        let begun = Instant::now();
        gateway.stop()?;
        // The spool is closed and the last answers are waited for behind it.
        ensure!(
            begun.elapsed() < Duration::from_secs(15),
            "{settings} {payload}: {:?}",
            begun.elapsed()
        );
    }
    Ok(())
}

/// Components that want more instances, more tables, or a larger one than there may be: as candidates under load, and
/// at a start.
/// Guarantee: each is refused with the limit in words, what runs loses and doubles nothing; a start ends with code 4.
fn one_that_wants_more_than_there_is_does_not_begin() -> Result<()> {
    let good = component("count")?;
    let wishes = [
        (
            "instances",
            crowded(&good, 65, 0),
            "instance count too high",
        ),
        ("tables", crowded(&good, 17, 1), "table count too high"),
        (
            "elements",
            crowded(&good, 1, 30_000),
            "30000 elements exceeds table limits",
        ),
    ];
    let scene = Scene::with(
        &Config::forwarding().step("all", &plugin_file("count", "count.wasm")),
        &[("count.wasm", component("count")?)],
    )?;
    let load = scene.load(Plan::default());
    for (what, component, why) in &wishes {
        let mark = scene.gateway.lines().count();
        scene.gateway.replace("count.wasm", component)?;
        let says = || {
            scene
                .gateway
                .lines()
                .has_since(mark, &["count", "the running version stays", why])
        };
        wait_until(&format!("one that wants more {what} is refused"), says)?;
    }
    scene.gateway.replace("count.wasm", &crowded(&good, 8, 1))?;
    let confirmed = [("plugin", "count"), ("state", "confirmed")];
    wait_until("one that wants less is taken", || {
        scene
            .gateway
            .metric("tidegate_swap_transitions_total", &confirmed)
            >= 1.0
    })?;
    let verdict = compare(&load.stop()?, scene.watch)?;
    ensure!(verdict.is_exactly_once(), "{verdict}");
    for (what, component, why) in &wishes {
        let setup = Gateway::with(flows("count").between(&scene.field.url(), &scene.cloud.url()));
        std::fs::write(setup.folder().join("count.wasm"), component)?;
        let (status, lines) = setup.fail()?;
        ensure!(
            status.code() == Some(4) && lines.has(&["count", why]),
            "more {what}: {status}: {:?}",
            lines.all()
        );
    }
    Ok(())
}

/// A plugin that writes 10,000 lines to the log and as many to its standard error.
/// Guarantee: most are dropped and counted, the message goes on.
fn a_noisy_plugin_fills_no_journal() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let config = flows("noisy")
        .between(&field.url(), &cloud.url())
        .change("flow.bad.plugin.0.limits.time", "5s");
    let setup = Gateway::with(config);
    std::fs::write(setup.folder().join("noisy.wasm"), component("noisy")?)?;
    let watch = Watch::start(cloud.address(), "bad/#")?;
    let gateway = setup.start()?;
    field.publish("bad/d1", "noisy")?;
    wait_until("the message goes on", || watch.total() == 1)?;
    let dropped = gateway.metric(
        "tidegate_plugin_log_lines_dropped_total",
        &[("plugin", "noisy")],
    );
    ensure!(dropped >= 9_000.0, "only {dropped} lines were dropped");
    ensure!(
        gateway.lines().count() < 1_000,
        "{} lines were written",
        gateway.lines().count()
    );
    Ok(())
}

/// A guest that answers every batch with its last message before its first, under load.
/// Guarantee: each batch is a fault of kind `contract` and taken apart; message by message nothing is wrong, so nothing
/// becomes a dead letter, is lost or leaves its order.
fn a_batch_answered_backwards_is_taken_apart() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let config = Config::forwarding()
        .between(&field.url(), &cloud.url())
        .set("flow.all.to.side", "drop")
        .step(
            "all",
            "plugin = \"bad-output.wasm\"\nsettings = { how = \"backwards\" }",
        );
    let setup = Gateway::with(config);
    std::fs::write(
        setup.folder().join("bad-output.wasm"),
        component("bad-output")?,
    )?;
    let watch = Watch::start(cloud.address(), UP)?;
    let mut gateway = setup.start()?;
    let load = Load::start(
        field.address(),
        Plan {
            rate: None,
            ..Plan::default()
        },
    );
    wait_until("a batch of several is a fault", || {
        gateway.metric(
            "tidegate_plugin_errors_total",
            &[("plugin", "bad-output"), ("kind", "contract")],
        ) >= 1.0
    })?;
    let verdict = compare(&load.stop()?, watch)?;
    ensure!(gateway.is_running(), "the gateway has ended");
    ensure!(verdict.is_at_least_once(), "{verdict}");
    let dead = gateway.metric("tidegate_dead_letters_total", &[]);
    ensure!(dead == 0.0, "{dead} dead letters");
    Ok(())
}

/// A guest of another world, one that wants what is not granted and one for another version of the contract, at start.
/// Guarantee: exit code 4, and the error names plugin and reason; nothing was started.
fn wrong_world_version_and_imports_do_not_start() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let guests = [
        (
            "wrong-world",
            component("wrong-world")?,
            "does not export `tidegate:plugin/transform@0.1.0`",
        ),
        (
            "denied-import",
            component("denied-import")?,
            "denied import",
        ),
        (
            "older",
            of_version(&component("count")?, b"0.0.9"),
            "built for version 0.0.9 of `tidegate:plugin`",
        ),
        (
            "newer",
            of_version(&component("count")?, b"0.2.0"),
            "built for version 0.2.0 of `tidegate:plugin`",
        ),
    ];
    for (guest, bytes, reason) in guests {
        let setup = Gateway::with(flows(guest).between(&field.url(), &cloud.url()));
        std::fs::write(setup.folder().join(format!("{guest}.wasm")), bytes)?;
        let (status, lines) = setup.fail()?;
        ensure!(status.code() == Some(4), "`{guest}` ended with {status}");
        ensure!(
            lines.has(&[guest]) && lines.has(&[reason]),
            "no line names `{guest}` or why: {:?}",
            lines.all()
        );
    }
    Ok(())
}
