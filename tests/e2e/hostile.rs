//! Plugins that misbehave, each beside a flow that must not notice.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::{Broker, Gateway, Load, Plan, Watch, case, wait_until};

use crate::guest::{component, of_version};
use crate::scene::{UP, compare, config, flow};

/// A guest, which is set off by a payload that is its name, and the kind of fault its metric must show.
const GUESTS: [(&str, &str); 5] =
    [("trap", "trap"), ("spin", "timeout"), ("grow", "memory"), ("flood", "output"), ("recurse", "stack")];

pub fn cases() -> Vec<Trial> {
    let hostile =
        GUESTS.map(|(guest, kind)| case(&format!("hostile::{guest}_costs_only_its_message"), move || contained(guest, kind)));
    let mut cases = Vec::from(hostile);
    cases.push(case("hostile::a_plugin_that_breaks_the_contract_is_named", a_plugin_that_breaks_the_contract_is_named));
    cases.push(case("hostile::a_batch_answered_backwards_is_taken_apart", a_batch_answered_backwards_is_taken_apart));
    cases.push(case("hostile::a_noisy_plugin_fills_no_journal", a_noisy_plugin_fills_no_journal));
    cases.push(case("hostile::wrong_world_version_and_imports_do_not_start", wrong_ones_do_not_start));
    cases
}

/// Two flows in three lanes: one through the guest, one without plugins, both under load.
fn flows(guest: &str) -> String {
    format!(
        "[flow.bad]\nfrom = \"field\"\ntopics = [\"bad/{{device}}\"]\nto = \"cloud:telemetry\"\nlanes = 3\n\n\
         [[flow.bad.plugin]]\nname = \"{guest}\"\nplugin = \"{guest}.wasm\"\nlimits = {{ time = \"100ms\", memory = \"8MiB\" }}\n\n\
         [flow.good]\nfrom = \"field\"\ntopics = [\"devices/{{device}}/telemetry\"]\nto = \"cloud:telemetry\"\nlanes = 3\n"
    )
}

/// A message that sets the guest off goes into one flow while the other carries 500 messages a second.
/// Guarantee: the gateway lives; the message is a dead letter; metric and log line name the plugin; the other flow
/// loses, doubles and reorders nothing; harmless messages go through the guest's flow afterwards.
fn contained(guest: &'static str, kind: &'static str) -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let setup = Gateway::with(config(&field.url(), &cloud.url(), &flows(guest)));
    std::fs::write(setup.folder().join(format!("{guest}.wasm")), component(guest)?)?;
    let watch = Watch::start(cloud.address(), "devices/#")?;
    let bad = Watch::start(cloud.address(), "bad/#")?;
    let mut gateway = setup.start()?;
    let load = Load::start(field.address(), Plan { rate: Some(500), ..Plan::default() });
    for round in 1..=3 {
        field.publish("bad/d1", guest)?;
        wait_until("the metric names the plugin", || {
            gateway.metric("tidegate_plugin_errors_total", &[("plugin", guest), ("kind", kind)]) >= f64::from(round)
        })?;
        wait_until("the message is a dead letter", || {
            gateway.metric("tidegate_dead_letters_total", &[("reason", "poison")]) >= f64::from(round)
        })?;
    }
    ensure!(gateway.lines().has(&[guest, kind]), "no log line names `{guest}` and `{kind}`");
    field.publish("bad/d1", "harmless")?;
    wait_until("a harmless message goes through", || bad.total() >= 1)?;
    ensure!(gateway.is_running(), "the gateway has ended");
    let verdict = compare(&load.stop()?, watch)?;
    ensure!(verdict.is_exactly_once(), "the other flow: {verdict}");
    Ok(())
}

/// Every way of breaking the contract of outputs that the guest knows and that takes one message, one after the other.
/// Guarantee: each is a fault of kind `contract`, the message is a dead letter, the gateway lives.
fn a_plugin_that_breaks_the_contract_is_named() -> Result<()> {
    let ways = ["no-such-input", "no-such-action", "no-such-port", "past-the-end", "overflow", "data-left-over"];
    let more = ["topic-not-text", "topic-with-wildcard", "key-outside", "bad-headers", "half-an-entry", "no-stride"];
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    for how in ways.into_iter().chain(more) {
        let text = flows("bad-output")
            .replace("lanes = 3\n\n[[", "lanes = 3\nto = { out = \"cloud:telemetry\", side = \"drop\" }\n\n[[");
        let text = text.replacen("to = \"cloud:telemetry\"\nlanes", "lanes", 1);
        let text = text
            .replace("plugin = \"bad-output.wasm\"", &format!("plugin = \"bad-output.wasm\"\nsettings = {{ how = \"{how}\" }}"));
        let setup = Gateway::with(config(&field.url(), &cloud.url(), &text));
        std::fs::write(setup.folder().join("bad-output.wasm"), component("bad-output")?)?;
        let mut gateway = setup.start()?;
        field.publish("bad/d1", "anything")?;
        wait_until(&format!("`{how}` is a fault"), || {
            gateway.metric("tidegate_plugin_errors_total", &[("plugin", "bad-output"), ("kind", "contract")]) >= 1.0
        })?;
        wait_until("the message is a dead letter", || {
            gateway.metric("tidegate_dead_letters_total", &[("reason", "poison")]) >= 1.0
        })?;
        ensure!(gateway.is_running(), "the gateway has ended after `{how}`");
    }
    Ok(())
}

/// A plugin that writes 10,000 lines to the log and as many to its standard error.
/// Guarantee: most are dropped and counted, the message goes on.
fn a_noisy_plugin_fills_no_journal() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let text = flows("noisy").replace("limits = { time = \"100ms\"", "limits = { time = \"5s\"");
    let setup = Gateway::with(config(&field.url(), &cloud.url(), &text));
    std::fs::write(setup.folder().join("noisy.wasm"), component("noisy")?)?;
    let watch = Watch::start(cloud.address(), "bad/#")?;
    let gateway = setup.start()?;
    field.publish("bad/d1", "noisy")?;
    wait_until("the message goes on", || watch.total() == 1)?;
    let dropped = gateway.metric("tidegate_plugin_log_lines_dropped_total", &[("plugin", "noisy")]);
    ensure!(dropped >= 9_000.0, "only {dropped} lines were dropped");
    ensure!(gateway.lines().count() < 1_000, "{} lines were written", gateway.lines().count());
    Ok(())
}

/// A guest that answers every batch with its last message before its first, under load.
/// Guarantee: each batch is a fault of kind `contract` and taken apart; message by message nothing is wrong, so nothing
/// becomes a dead letter, is lost or leaves its order.
fn a_batch_answered_backwards_is_taken_apart() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let plugin = "[[flow.all.plugin]]\nplugin = \"bad-output.wasm\"\nsettings = { how = \"backwards\" }\n";
    let text = flow(plugin).replace("out = \"cloud:telemetry\"", "out = \"cloud:telemetry\", side = \"drop\"");
    let setup = Gateway::with(config(&field.url(), &cloud.url(), &text));
    std::fs::write(setup.folder().join("bad-output.wasm"), component("bad-output")?)?;
    let watch = Watch::start(cloud.address(), UP)?;
    let mut gateway = setup.start()?;
    let load = Load::start(field.address(), Plan { rate: None, ..Plan::default() });
    wait_until("a batch of several is a fault", || {
        gateway.metric("tidegate_plugin_errors_total", &[("plugin", "bad-output"), ("kind", "contract")]) >= 1.0
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
fn wrong_ones_do_not_start() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let guests = [
        ("wrong-world", component("wrong-world")?, "does not export `tidegate:plugin/transform@0.1.0`"),
        ("denied-import", component("denied-import")?, "denied import"),
        ("older", of_version(&component("count")?, b"0.0.9"), "built for version 0.0.9 of `tidegate:plugin`"),
        ("newer", of_version(&component("count")?, b"0.2.0"), "built for version 0.2.0 of `tidegate:plugin`"),
    ];
    for (guest, bytes, reason) in guests {
        let setup = Gateway::with(config(&field.url(), &cloud.url(), &flows(guest)));
        std::fs::write(setup.folder().join(format!("{guest}.wasm")), bytes)?;
        let (status, lines) = setup.fail()?;
        ensure!(status.code() == Some(4), "`{guest}` ended with {status}");
        ensure!(lines.has(&[guest]) && lines.has(&[reason]), "no line names `{guest}` or why: {:?}", lines.all());
    }
    Ok(())
}
