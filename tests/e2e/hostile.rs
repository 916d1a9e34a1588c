//! Plugins that misbehave, each beside a flow that must not notice.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::binary::tidegate;
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
    cases.push(case("hostile::the_breaker_spares_a_failing_plugin_and_closes_again", the_breaker_opens_and_closes));
    cases.push(case("hostile::what_a_failing_plugin_drops_is_in_the_ledger", what_is_dropped_is_in_the_ledger));
    cases.push(case("hostile::a_bad_device_is_quarantined_and_comes_back", a_bad_device_is_quarantined_and_comes_back));
    cases.push(case("hostile::state_over_its_limit_is_named", state_over_its_limit_is_named));
    cases.push(case("hostile::the_neighbours_figures", the_neighbours_figures));
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

/// The flow of a guest in one lane with these settings of the plugin.
fn guarded(guest: &str, settings: &str) -> String {
    flows(guest).replacen("lanes = 3", "lanes = 1\nquarantine = { after = 5, retry = \"200ms\" }", 1).replacen(
        "memory = \"8MiB\" }",
        &format!("memory = \"8MiB\" }}\n{settings}"),
        1,
    )
}

/// A field broker, a gateway with that flow, and a watch on what comes of it.
fn guarded_scene(guest: &str, settings: &str) -> Result<(Broker, Broker, Gateway, Watch)> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let setup = Gateway::with(config(&field.url(), &cloud.url(), &guarded(guest, settings)));
    std::fs::write(setup.folder().join(format!("{guest}.wasm")), component(guest)?)?;
    let watch = Watch::start(cloud.address(), "bad/#")?;
    Ok((field, cloud, setup.start()?, watch))
}

const OPEN: (&str, &[(&str, &str)]) = ("tidegate_plugin_breaker_lanes", &[("plugin", "trap"), ("state", "open")]);

/// A plugin that traps on all it gets, of many devices, and then gets harmless messages.
/// Guarantee: its breaker opens, which metrics, readiness and log say; what comes then is parked without asking it; it
/// closes by itself, and messages go through again.
fn the_breaker_opens_and_closes() -> Result<()> {
    let (field, _cloud, gateway, watch) = guarded_scene("trap", "breaker = { after = 5, retry = \"300ms\", close_after = 2 }")?;
    for device in 0..12 {
        field.publish(&format!("bad/d{device}"), "trap")?;
    }
    wait_until("all are dead letters", || gateway.metric("tidegate_dead_letters_total", &[("reason", "poison")]) >= 12.0)?;
    ensure!(gateway.lines().has(&["trap", "its breaker is open"]), "no log line says that the breaker is open");
    let traps = gateway.metric("tidegate_plugin_errors_total", &[("plugin", "trap")]);
    let mut sent = 0;
    wait_until("the breaker closes", || {
        sent += 1;
        let published = field.publish(&format!("bad/good{sent}"), "harmless");
        published.is_ok() && gateway.lines().has(&["trap", "its breaker is closed"])
    })?;
    ensure!(gateway.metric(OPEN.0, OPEN.1) == 0.0, "the metric says open");
    let before = watch.total();
    field.publish("bad/last", "harmless")?;
    wait_until("messages go through", || watch.total() > before)?;
    ensure!(gateway.metric("tidegate_plugin_errors_total", &[("plugin", "trap")]) <= traps + 4.0, "it was asked meanwhile");
    Ok(())
}

/// The same plugin with `on_error = "drop"` and a breaker that stays open.
/// Guarantee: readiness says so and is ready; every message is counted in the ledger as `plugin-failed`, none is a dead
/// letter, and the field broker gets its acknowledgements.
fn what_is_dropped_is_in_the_ledger() -> Result<()> {
    let (field, _cloud, gateway, _watch) = guarded_scene("trap", "on_error = \"drop\"\nbreaker = { after = 5, retry = \"1h\" }")?;
    for device in 0..20 {
        field.publish(&format!("bad/d{device}"), "trap")?;
    }
    wait_until("all are dropped", || gateway.metric("tidegate_chain_messages_total", &[("fate", "dropped")]) >= 20.0)?;
    ensure!(gateway.metric(OPEN.0, OPEN.1) == 1.0, "the breaker is not open");
    wait_until("all are acknowledged", || gateway.metric("tidegate_source_unsettled_messages", &[]) == 0.0)?;
    let (status, text) = gateway.get("/readyz?verbose")?;
    ensure!(status == 200 && text.contains("[~] flow bad the breaker of plugin `trap` is open"), "{status}: {text}");
    let (_, setup) = gateway.stop()?;
    let output = std::process::Command::new(tidegate()?)
        .args(["ledger", "-o", "json", "--data-dir"])
        .arg(setup.data())
        .arg("--config")
        .arg(setup.config_file())
        .output()?;
    let entries: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let failed = entries.as_array().into_iter().flatten().filter(|entry| entry["reason"] == "plugin-failed");
    let count: u64 = failed.filter_map(|entry| entry["count"].as_u64()).sum();
    ensure!(count == 20, "the ledger counts {count}: {entries}");
    Ok(())
}

/// One device sends what makes the plugin trap, then harmless messages; another one sends harmless ones all the time.
/// Guarantee: the bad device is quarantined, its messages are dead letters that say so, the other one's go through; it
/// comes back by itself.
fn a_bad_device_is_quarantined_and_comes_back() -> Result<()> {
    let (field, _cloud, gateway, watch) = guarded_scene("trap", "")?;
    let mut good = 0;
    wait_until("the device is quarantined", || {
        good += 1;
        let published = field.publish("bad/mad", "trap").and_then(|()| field.publish("bad/sane", "harmless"));
        published.is_ok() && gateway.metric("tidegate_dead_letters_total", &[("reason", "quarantined")]) >= 1.0
    })?;
    ensure!(gateway.lines().has(&["mad", "device is quarantined"]), "no log line names the device");
    wait_until("the other device's messages go through", || watch.total() >= good)?;
    wait_until("the device is back", || {
        field.publish("bad/mad", "harmless").is_ok() && gateway.lines().has(&["mad", "out of quarantine"])
    })?;
    ensure!(gateway.metric("tidegate_quarantined_devices", &[]) == 0.0, "the metric still counts it");
    Ok(())
}

/// A plugin whose state is larger than it may be.
/// Guarantee: metric and log name the limit, messages go on.
fn state_over_its_limit_is_named() -> Result<()> {
    let settings = "checkpoint = \"50ms\"";
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let text = guarded("count", settings).replacen("memory = \"8MiB\"", "memory = \"8MiB\", state = \"1B\"", 1);
    let setup = Gateway::with(config(&field.url(), &cloud.url(), &text));
    std::fs::write(setup.folder().join("count.wasm"), component("count")?)?;
    let watch = Watch::start(cloud.address(), "bad/#")?;
    let gateway = setup.start()?;
    let mut sent = 0;
    wait_until("the metric names it", || {
        sent += 1;
        let published = field.publish("bad/d1", "{\"n\":1}");
        published.is_ok() && gateway.metric("tidegate_plugin_errors_total", &[("plugin", "count"), ("kind", "state")]) >= 1.0
    })?;
    wait_until("all messages went on", || watch.total() >= sent)?;
    Ok(())
}

/// A well-behaved flow under load, alone and beside each hostile guest, which is set off twenty times a second.
/// Guarantee: it loses, doubles and reorders nothing. Its throughput and delays are printed, and depend on the machine.
fn the_neighbours_figures() -> Result<()> {
    for guest in ["", "trap", "spin", "flood", "grow"] {
        let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
        let name = if guest.is_empty() { "trap" } else { guest };
        let setup = Gateway::with(config(&field.url(), &cloud.url(), &guarded(name, "")));
        std::fs::write(setup.folder().join(format!("{name}.wasm")), component(name)?)?;
        let watch = Watch::start(cloud.address(), "devices/#")?;
        let gateway = setup.start()?;
        let load = Load::start(field.address(), Plan { rate: Some(2_000), ..Plan::default() });
        let mut round = 0;
        wait_until("enough has arrived", || {
            round += 1;
            let is_set_off = guest.is_empty() || field.publish(&format!("bad/d{round}"), guest).is_ok();
            is_set_off && watch.count() >= 4_000
        })?;
        let mut delays = watch.take_delays_us();
        delays.sort_unstable();
        let at = |share: usize| delays.get(delays.len().saturating_sub(1) * share / 1_000).copied().unwrap_or_default();
        let faults = gateway.metric("tidegate_plugin_errors_total", &[("plugin", name)]);
        let label = if guest.is_empty() { "alone" } else { guest };
        println!("    {label:>6}: {faults} faults, p50 {} us, p99 {} us, p99.9 {} us", at(500), at(990), at(999));
        let verdict = compare(&load.stop()?, watch)?;
        ensure!(verdict.is_exactly_once(), "beside `{label}`: {verdict}");
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
