//! Plugins that misbehave, each beside a flow that must not notice.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::binary::tidegate;
use tidegate_tests::usage::percentile_ms;
use tidegate_tests::{Broker, Gateway, Load, Plan, Setup, Watch, case, cases, rounds, wait_until};

use crate::guest::{component, crowded, growing_tables, of_version};
use crate::scene::{Scene, UP, compare, config, flow, plugin_file};

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
        the_breaker_spares_a_failing_plugin_and_closes_again,
        what_a_failing_plugin_drops_is_in_the_ledger,
        a_bad_device_is_quarantined_and_comes_back,
        state_over_its_limit_is_named,
        a_stop_keeps_its_grace_whatever_a_plugin_does,
        the_neighbours_figures,
        a_noisy_plugin_fills_no_journal,
        wrong_world_version_and_imports_do_not_start,
    ]);
    cases
}

/// Two flows in three lanes: one through the guest, one without plugins, both under load.
///
/// Only those that use all of their time get little: an honest call, or one on its way to another limit, shall not end by
/// the clock of a busy machine.
fn flows(guest: &str) -> String {
    let time = if matches!(guest, "spin" | "noisy") {
        "100ms"
    } else {
        "5s"
    };
    format!(
        "[flow.bad]\nfrom = \"field\"\ntopics = [\"bad/{{device}}\"]\nto = \"cloud:telemetry\"\nlanes = 3\n\n\
         [[flow.bad.plugin]]\nname = \"{guest}\"\nplugin = \"{guest}.wasm\"\nlimits = {{ time = \"{time}\", memory = \"8MiB\" }}\n\n\
         [flow.good]\nfrom = \"field\"\ntopics = [\"devices/{{device}}/telemetry\"]\nto = \"cloud:telemetry\"\nlanes = 3\n"
    )
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
    let setup = Gateway::with(config(&field.url(), &cloud.url(), &flows(guest)));
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
        let text = flows("bad-output").replace(
            "lanes = 3\n\n[[",
            "lanes = 3\nto = { out = \"cloud:telemetry\", side = \"drop\" }\n\n[[",
        );
        let text = text.replacen("to = \"cloud:telemetry\"\nlanes", "lanes", 1);
        let text = text.replace(
            "plugin = \"bad-output.wasm\"",
            &format!("plugin = \"bad-output.wasm\"\nsettings = {{ how = \"{how}\" }}"),
        );
        let setup = Gateway::with(config(&field.url(), &cloud.url(), &text));
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

/// The flow of a guest in one lane with these settings of the plugin.
fn guarded(guest: &str, settings: &str) -> String {
    flows(guest)
        .replacen(
            "lanes = 3",
            "lanes = 1\nquarantine = { after = 5, retry = \"2s\" }",
            1,
        )
        .replacen(
            "memory = \"8MiB\" }",
            &format!("memory = \"8MiB\" }}\n{settings}"),
            1,
        )
}

/// A field broker, a gateway with that flow, and a watch on what comes of it.
fn guarded_scene(guest: &str, settings: &str) -> Result<(Broker, Broker, Gateway, Watch)> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let setup = Gateway::with(config(
        &field.url(),
        &cloud.url(),
        &guarded(guest, settings),
    ));
    install(guest, &setup)?;
    let watch = Watch::start(cloud.address(), "bad/#")?;
    Ok((field, cloud, setup.start()?, watch))
}

const OPEN: (&str, &[(&str, &str)]) = (
    "tidegate_plugin_breaker_lanes",
    &[("plugin", "trap"), ("state", "open")],
);

/// A plugin that traps on all it gets, of many devices, and then gets harmless messages.
/// Guarantee: its breaker opens, which metrics, readiness and log say; what comes then is parked without asking it; it
/// closes by itself, and messages go through again.
fn the_breaker_spares_a_failing_plugin_and_closes_again() -> Result<()> {
    let (field, _cloud, gateway, watch) = guarded_scene(
        "trap",
        "breaker = { after = 5, retry = \"300ms\", close_after = 2 }",
    )?;
    for device in 0..12 {
        field.publish(&format!("bad/d{device}"), "trap")?;
    }
    wait_until("all are dead letters", || {
        gateway.metric("tidegate_dead_letters_total", &[("reason", "poison")]) >= 12.0
    })?;
    gateway.lines().wait_for(&["trap", "its breaker is open"])?;
    let traps = gateway.metric("tidegate_plugin_errors_total", &[("plugin", "trap")]);
    let mut sent = 0;
    wait_until("the breaker closes", || {
        sent += 1;
        let published = field.publish(&format!("bad/good{sent}"), "harmless");
        published.is_ok() && gateway.lines().has(&["trap", "its breaker is closed"])
    })?;
    ensure!(
        gateway.metric(OPEN.0, OPEN.1) == 0.0,
        "the metric says open"
    );
    let before = watch.total();
    field.publish("bad/last", "harmless")?;
    wait_until("messages go through", || watch.total() > before)?;
    ensure!(
        gateway.metric("tidegate_plugin_errors_total", &[("plugin", "trap")]) <= traps + 4.0,
        "it was asked meanwhile"
    );
    Ok(())
}

/// The same plugin with `on_error = "drop"` and a breaker that stays open.
/// Guarantee: readiness says so and is ready; every message is counted in the ledger as `plugin-failed`, none is a dead
/// letter, and the field broker gets its acknowledgements.
fn what_a_failing_plugin_drops_is_in_the_ledger() -> Result<()> {
    let (field, _cloud, gateway, _watch) = guarded_scene(
        "trap",
        "on_error = \"drop\"\nbreaker = { after = 5, retry = \"1h\" }",
    )?;
    for device in 0..20 {
        field.publish(&format!("bad/d{device}"), "trap")?;
    }
    wait_until("all are dropped", || {
        gateway.metric("tidegate_chain_messages_total", &[("fate", "dropped")]) >= 20.0
    })?;
    ensure!(
        gateway.metric(OPEN.0, OPEN.1) == 1.0,
        "the breaker is not open"
    );
    wait_until("all are acknowledged", || {
        gateway.metric("tidegate_source_unsettled_messages", &[]) == 0.0
    })?;
    let (status, text) = gateway.get("/readyz?verbose")?;
    ensure!(
        status == 200 && text.contains("[~] flow bad the breaker of plugin `trap` is open"),
        "{status}: {text}"
    );
    let (_, setup) = gateway.stop()?;
    let output = std::process::Command::new(tidegate()?)
        .args(["ledger", "-o", "json", "--data-dir"])
        .arg(setup.data())
        .arg("--config")
        .arg(setup.config_file())
        .output()?;
    let entries: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let failed = entries
        .as_array()
        .into_iter()
        .flatten()
        .filter(|entry| entry["reason"] == "plugin-failed");
    let count: u64 = failed.filter_map(|entry| entry["count"].as_u64()).sum();
    ensure!(count == 20, "the ledger counts {count}: {entries}");
    Ok(())
}

/// One device sends what makes the plugin trap, then harmless messages; another one sends harmless ones all the time.
/// Guarantee: the bad device is quarantined, its messages are dead letters that say so, the other one's go through; it
/// comes back by itself.
fn a_bad_device_is_quarantined_and_comes_back() -> Result<()> {
    // However slowly they come: it is not the plugin that is given up.
    let (field, _cloud, gateway, watch) = guarded_scene("trap", "breaker = { after = 1000 }")?;
    let mut good = 0;
    wait_until("the device is quarantined", || {
        good += 1;
        let published = field
            .publish("bad/mad", "trap")
            .and_then(|()| field.publish("bad/sane", "harmless"));
        published.is_ok()
            && gateway.metric("tidegate_dead_letters_total", &[("reason", "quarantined")]) >= 1.0
    })?;
    gateway
        .lines()
        .wait_for(&["mad", "device is quarantined"])?;
    wait_until("the other device's messages go through", || {
        watch.total() >= good
    })?;
    wait_until("the device is back", || {
        field.publish("bad/mad", "harmless").is_ok()
            && gateway.lines().has(&["mad", "out of quarantine"])
    })?;
    ensure!(
        gateway.metric("tidegate_quarantined_devices", &[]) == 0.0,
        "the metric still counts it"
    );
    Ok(())
}

/// A plugin whose state is larger than it may be.
/// Guarantee: metric and log name the limit, messages go on.
fn state_over_its_limit_is_named() -> Result<()> {
    let settings = "checkpoint = \"50ms\"";
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let text = guarded("count", settings).replacen(
        "memory = \"8MiB\"",
        "memory = \"8MiB\", state = \"1B\"",
        1,
    );
    let setup = Gateway::with(config(&field.url(), &cloud.url(), &text));
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
        let plugin = |number: usize| {
            format!(
                "[[flow.bad.plugin]]\nname = \"probe{number}\"\nplugin = \"probe.wasm\"\nsettings = {{ be = \"{settings}\" }}\n\
                 limits = {{ time = \"1m\", memory = \"16MiB\" }}\ncheckpoint = \"50ms\"\n\n"
            )
        };
        let flow = format!(
            "[flow.bad]\nfrom = \"field\"\ntopics = [\"bad/{{device}}\"]\nto = \"cloud:telemetry\"\nlanes = 1\n\n{}",
            (0..plugins).map(plugin).collect::<String>()
        );
        let setup = Gateway::with(format!(
            "[gateway]\nshutdown_grace = \"2s\"\n\n{}",
            config(&field.url(), &cloud.url(), &flow)
        ));
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

/// A well-behaved flow at 2,000 messages a second, then as fast as it goes, alone and beside each hostile guest, which is
/// set off twenty times a second; the noisy one with 1,000 lines each time, too. Those that take all of their time hold up
/// the acknowledgements behind theirs, which leave in order: they are seen once more with a source of their own.
/// Guarantee: it loses, doubles and reorders nothing. Its throughput and delays are printed, and depend on the machine.
fn the_neighbours_figures() -> Result<()> {
    let (paced, burst) = (rounds(1_500, 10_000), rounds(6_000, 100_000));
    println!("    beside            faults | messages/s  of alone |  p50 ms   p99 ms  of alone");
    let mut alone = None;
    let shared = [""]
        .into_iter()
        .chain(GUESTS.map(|(guest, _)| guest))
        .chain(["noisy-little", "noisy"]);
    for (guest, is_apart) in shared
        .map(|guest| (guest, false))
        .chain([("spin", true), ("noisy", true)])
    {
        let mut neighbour = Neighbour::of(guest, is_apart)?;
        let (mut delays, _) = neighbour.carry(Some(2_000), paced)?;
        let (_, took) = neighbour.carry(None, burst)?;
        delays.sort_unstable();
        let (p50, p99, rate) = (
            percentile_ms(&delays, 0.5),
            percentile_ms(&delays, 0.99),
            burst as f64 / took.as_secs_f64(),
        );
        let faults = neighbour
            .gateway
            .metric("tidegate_plugin_errors_total", &[("flow", "bad")]);
        let (best, least) = *alone.get_or_insert((rate, p99));
        let (slower, later) = (rate / best, p99 / least);
        let name = if guest.is_empty() { "nothing" } else { guest };
        let name = if is_apart {
            format!("{name}, own source")
        } else {
            name.to_owned()
        };
        println!(
            "    {name:<17} {faults:>6} | {rate:>10.0} {slower:>9.2} | {p50:>7.2} {p99:>8.2} {later:>9.2}"
        );
    }
    Ok(())
}

/// A well-behaved flow beside that of a guest.
struct Neighbour {
    guest: &'static str,
    field: Broker,
    cloud: Broker,
    gateway: Gateway,
    round: usize,
    next: Instant,
}

/// Between two messages that set a guest off.
const SET_OFF: Duration = Duration::from_millis(50);

impl Neighbour {
    /// Without a name it is a guest that gets nothing. One that is apart has a connection to the field of its own.
    fn of(guest: &'static str, is_apart: bool) -> Result<Self> {
        let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
        let name = if guest.is_empty() {
            "trap"
        } else {
            guest.trim_end_matches("-little")
        };
        // A breaker that closes soon, so that the guest is at it to the end.
        let mut text = guarded(name, "breaker = { retry = \"200ms\", close_after = 1 }");
        if is_apart {
            let apart = format!("\n[source.apart]\nurl = \"{}\"\n", field.url());
            text = text.replacen("from = \"field\"", "from = \"apart\"", 1) + &apart;
        }
        let setup = Gateway::with(config(&field.url(), &cloud.url(), &text));
        install(name, &setup)?;
        Ok(Self {
            guest,
            field,
            cloud,
            gateway: setup.start()?,
            round: 0,
            next: Instant::now(),
        })
    }

    /// Sends so much through the good flow while the guest is set off; delays in microseconds, and how long it took.
    fn carry(&mut self, rate: Option<u32>, total: usize) -> Result<(Vec<u32>, Duration)> {
        let watch = Watch::start(self.cloud.address(), "devices/#")?;
        let load = Load::start(
            self.field.address(),
            Plan {
                rate,
                total: Some(total),
                ..Plan::default()
            },
        );
        let begun = Instant::now();
        // A time-out is not the finding: the comparison says how much is missing.
        let _ = wait_until("all has arrived", || {
            self.set_off().is_ok() && watch.count() as usize >= total
        });
        let (took, delays) = (begun.elapsed(), watch.take_delays_us());
        let verdict = load.wait()?.against(&watch.stop()?, |_, _| true);
        ensure!(
            verdict.is_exactly_once(),
            "beside `{}`: {verdict}",
            self.guest
        );
        Ok((delays, took))
    }

    /// A message that makes the guest misbehave and a good one behind it, by which its breaker closes.
    fn set_off(&mut self) -> Result<()> {
        if self.guest.is_empty() || Instant::now() < self.next {
            return Ok(());
        }
        self.round += 1;
        self.next = Instant::now() + SET_OFF;
        let topic = format!("bad/d{}", self.round);
        self.field
            .publish(&topic, self.guest)
            .and_then(|()| self.field.publish(&topic, "harmless"))
    }
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
        &flow(&plugin_file("count", "count.wasm")),
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
        let setup = Gateway::with(config(
            &scene.field.url(),
            &scene.cloud.url(),
            &flows("count"),
        ));
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
    let text = flows("noisy").replace("limits = { time = \"100ms\"", "limits = { time = \"5s\"");
    let setup = Gateway::with(config(&field.url(), &cloud.url(), &text));
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
    let plugin =
        "[[flow.all.plugin]]\nplugin = \"bad-output.wasm\"\nsettings = { how = \"backwards\" }\n";
    let text = flow(plugin).replace(
        "out = \"cloud:telemetry\"",
        "out = \"cloud:telemetry\", side = \"drop\"",
    );
    let setup = Gateway::with(config(&field.url(), &cloud.url(), &text));
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
        let setup = Gateway::with(config(&field.url(), &cloud.url(), &flows(guest)));
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
