//! A second upstream that stands in for the first.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::cut::Cuttable;
use tidegate_tests::fake::{Deed, PickyBroker, Rule, Terms, Which};
use tidegate_tests::{Broker, Config, Gateway, Load, Plan, Watch, cases, rounds, wait_until};

use crate::scene::UP;
use crate::tools::json;

pub fn cases() -> Vec<Trial> {
    cases![
        another_upstream_takes_over_and_gives_back,
        a_frozen_first_is_left_before_its_ping_says_so,
        a_first_that_acknowledges_nothing_is_left_until_it_does,
    ]
}

/// One flow to the first upstream, for which the second stands in.
fn with_backup(field: &Broker, first: &str, second: &Broker) -> Config {
    Config::forwarding()
        .between(&field.url(), first)
        .uplink("backup", &second.url())
        .set("uplink.cloud.fallback", "backup")
}

/// The first upstream answers pings and acknowledges no message: from the start, and again after it has acknowledged some.
/// Guarantee: the second gets what is owed within seconds, `status` says why, and the first has its queues back as soon as it
/// acknowledges.
fn a_first_that_acknowledges_nothing_is_left_until_it_does() -> Result<()> {
    let never = || vec![Rule(Which::all(), Deed::Never)];
    let (field, first, second) = (
        Broker::embedded()?,
        PickyBroker::start(Terms::default(), never())?,
        Broker::embedded()?,
    );
    let at_second = Watch::start(second.address(), UP)?;
    let config = with_backup(&field, &first.url(), &second)
        .put("uplink.cloud", "deadlines = { answer = \"5s\" }");
    let gateway = Gateway::with(config).start()?;
    let load = Load::start(
        field.address(),
        Plan {
            rate: Some(100),
            ..Plan::default()
        },
    );
    for _ in 0..2 {
        let before = at_second.count();
        wait_until("the second gets messages", || {
            at_second.count() > before + 300
        })?;
        let status = json(gateway.folder(), &["status"], 0)?.to_string();
        ensure!(status.contains("did not acknowledge"), "{status}");
        ensure!(
            gateway.metric("tidegate_uplink_alarm", &[("uplink", "cloud")]) > 0.0,
            "no alarm tells of it"
        );
        first.change(Vec::new());
        let taken = first.taken().len();
        wait_until("the first takes messages", || {
            first.taken().len() > taken + 300
        })?;
        let beside = at_second.count();
        first.change(never());
        wait_until("the second is used again", || at_second.count() > beside)?;
    }
    first.change(Vec::new());
    let sent = load.stop()?;
    wait_until("nothing is owed", || {
        gateway.metric("tidegate_spool_messages", &[]) == 0.0
    })?;
    let mut all = at_second.stop()?;
    for noted in first.taken() {
        let reading: serde_json::Value = serde_json::from_slice(&noted.published.payload)?;
        all.note(
            reading["device"].as_str().context("no device")?,
            reading["seq"].as_u64().context("no number")?,
        );
    }
    let verdict = sent.against(&all, |_, _| true);
    println!("{verdict}");
    ensure!(verdict.lost == 0, "{verdict}");
    Ok(())
}

/// The first upstream is frozen under load and thawed, with the usual keep-alive.
/// Guarantee: the second gets messages while the connection to the first still stands; when that is heard again it has its
/// queues back over the same connection, and nothing is lost.
fn a_frozen_first_is_left_before_its_ping_says_so() -> Result<()> {
    let (field, first, second) = (
        Broker::embedded()?,
        Broker::embedded()?,
        Broker::embedded()?,
    );
    let (at_first, at_second) = (
        Watch::start(first.address(), UP)?,
        Watch::start(second.address(), UP)?,
    );
    let config = with_backup(&field, &first.url(), &second);
    let gateway = Gateway::with(config).start()?;
    let load = Load::start(
        field.address(),
        Plan {
            rate: Some(50),
            ..Plan::default()
        },
    );
    wait_until("the first gets messages", || at_first.count() > 20)?;
    let frozen = Instant::now();
    first.freeze()?;
    wait_until("the second gets messages", || at_second.count() > 0)?;
    println!(
        "the second has the first message {:?} after the freeze",
        frozen.elapsed()
    );
    let failures = || gateway.metric("tidegate_uplink_failures_total", &[("uplink", "cloud")]);
    ensure!(failures() == 0.0, "the connection to the first was cut");
    first.thaw()?;
    let before = at_first.count();
    wait_until("the first gets messages again", || {
        at_first.count() > before + 100
    })?;
    let sent = load.stop()?;
    wait_until("all has arrived", || {
        at_first.tally().with(&at_second.tally()).count() >= sent.count() as u64
    })?;
    ensure!(
        failures() == 0.0,
        "the connection to the first was not kept"
    );
    let verdict = sent.against(&at_first.stop()?.with(&at_second.stop()?), |_, _| true);
    println!("{verdict}");
    ensure!(verdict.is_at_least_once(), "{verdict}");
    Ok(())
}

/// Under load the first upstream goes dark and comes back, again and again; only telemetry may use the second.
/// Guarantee: messages arrive at the second while the first is away and at the first when it is back; none is lost, in order
/// per device at either, and none is twice but what was in flight when a connection ended. An alarm waits for the first.
fn another_upstream_takes_over_and_gives_back() -> Result<()> {
    let (field, first, second) = (
        Broker::embedded()?,
        Broker::embedded()?,
        Broker::embedded()?,
    );
    let link = Cuttable::to(first.address())?;
    let (at_first, at_second) = (
        Watch::start(first.address(), UP)?,
        Watch::start(second.address(), UP)?,
    );
    let (alarms, astray) = (
        Watch::start(first.address(), "alarms/#")?,
        Watch::start(second.address(), "alarms/#")?,
    );
    let alarms_too = "from = \"field\"\ntopics = [\"devices/{device}/alarm\"]\nto = \"cloud:alarm\"\ntopic = \"alarms/{topic}\"";
    let config = with_backup(&field, &link.url(), &second)
        .put("uplink.cloud", "fallback_classes = [\"telemetry\"]")
        .add("flow.alarms", alarms_too);
    let gateway = Gateway::with(config).start()?;
    let load = Load::start(
        field.address(),
        Plan {
            rate: Some(1_000),
            ..Plan::default()
        },
    );
    let turns = rounds(2, 20);
    for turn in 1..=turns as u64 {
        let (before, beside) = (at_first.count(), at_second.count());
        wait_until("the first gets messages", || {
            at_first.count() > before + 300
        })?;
        link.go_dark();
        wait_until("the second gets messages", || {
            at_second.count() > beside + 300
        })?;
        field.publish("devices/d1/alarm", "fire")?;
        ensure!(
            alarms.total() == turn - 1 && astray.total() == 0,
            "an alarm went astray"
        );
        link.back();
        wait_until("the alarm has arrived", || alarms.total() >= turn)?;
    }
    let sent = load.stop()?;
    let owed = || gateway.metric("tidegate_spool_messages", &[]);
    wait_until("nothing is owed", || owed() == 0.0)?;
    let unanswered = gateway.metric("tidegate_uplink_unanswered_messages_total", &[]) as u64;
    let aside = gateway.metric(
        "tidegate_messages_forwarded_total",
        &[("uplink", "cloud:fallback")],
    );
    wait_until("all has arrived", || {
        at_first.tally().with(&at_second.tally()).count() >= sent.count() as u64
    })?;
    let (here, there) = (at_first.stop()?, at_second.stop()?);
    let verdict = sent.against(&here.with(&there), |_, _| true);
    println!(
        "{verdict}; {} at the first, {} at the second ({aside} accepted), {unanswered} in flight at the ends",
        here.count(),
        there.count()
    );
    ensure!(verdict.is_at_least_once(), "{verdict}");
    ensure!(
        verdict.doubled <= unanswered,
        "{verdict}, but only {unanswered} were in flight"
    );
    ensure!(
        there.count() >= 300 * turns as u64 && astray.total() == 0,
        "the second did not stand in"
    );
    Ok(())
}
