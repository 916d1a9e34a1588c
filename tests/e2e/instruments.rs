//! The instruments themselves, with no gateway in between: what they say about it must be their own fault nowhere.

use std::path::Path;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::cut::Cuttable;
use tidegate_tests::{Broker, Load, Plan, Watch, cases, relay, wait_until, with_mosquitto};

use crate::scene::{compare, send_all};

pub fn cases() -> Vec<Trial> {
    cases![with_mosquitto;
        a_load_on_a_bare_broker_adds_up,
        a_broker_that_restarts_loses_nothing,
        the_bare_relay_carries_a_burst,
        what_is_sent_again_after_a_cut_is_told,
    ]
}

/// Devices and watch on one mosquitto.
/// Guarantee: what devices got acknowledged is what the watch sees, once and in order.
fn a_load_on_a_bare_broker_adds_up() -> Result<()> {
    let broker = Broker::mosquitto()?;
    let watch = Watch::start(broker.address(), "devices/#")?;
    let plan = Plan {
        devices: 50,
        rate: None,
        total: Some(20_000),
        ..Plan::default()
    };
    let verdict = compare(&Load::start(broker.address(), plan).wait()?, watch)?;
    ensure!(
        verdict.sent == 20_000 && verdict.is_exactly_once(),
        "{verdict}"
    );
    Ok(())
}

/// The same over three restarts of the broker.
/// Guarantee: devices send again what was not acknowledged; the watch's session is kept; nothing is lost.
fn a_broker_that_restarts_loses_nothing() -> Result<()> {
    let mut broker = Broker::mosquitto()?;
    let watch = Watch::start(broker.address(), "devices/#")?;
    let load = Load::start(
        broker.address(),
        Plan {
            rate: Some(2_000),
            ..Plan::default()
        },
    );
    for _ in 0..3 {
        let before = watch.count();
        wait_until("traffic flows", || watch.count() > before + 300)?;
        broker.go_dark()?;
        broker.back()?;
    }
    let verdict = compare(&load.stop()?, watch)?;
    ensure!(verdict.is_at_least_once(), "{verdict}");
    Ok(())
}

/// The devices' link is cut five times in the middle of a burst.
/// Guarantee: nothing is lost, and what came twice is counted as doubled, not as new.
fn what_is_sent_again_after_a_cut_is_told() -> Result<()> {
    let broker = Broker::mosquitto()?;
    let link = Cuttable::to(broker.address())?;
    let watch = Watch::start(broker.address(), "devices/#")?;
    let load = Load::start(
        link.address(),
        Plan {
            rate: None,
            total: Some(50_000),
            ..Plan::default()
        },
    );
    for _ in 0..5 {
        let before = watch.count();
        wait_until("traffic flows", || watch.count() > before + 1_000)?;
        link.cut();
    }
    let sent = load.wait()?;
    let verdict = compare(&sent, watch)?;
    ensure!(
        verdict.sent == 50_000 && verdict.is_at_least_once(),
        "{verdict}"
    );
    Ok(())
}

/// The relay that the benchmarks compare with, between two mosquittos.
/// Guarantee: it does the whole work it is measured for: everything arrives once and in order.
fn the_bare_relay_carries_a_burst() -> Result<()> {
    let (field, cloud) = (Broker::mosquitto()?, Broker::mosquitto()?);
    let watch = Watch::start(cloud.address(), "up/#")?;
    let program = Path::new(env!("CARGO_BIN_EXE_relay"));
    let mut relay = relay::start(
        program,
        &field,
        &cloud,
        ["devices/+/telemetry", "up/telemetry"],
    )?;
    let sent = send_all(&field, 50_000)?;
    let verdict = compare(&sent, watch)?;
    ensure!(
        verdict.sent == 50_000 && verdict.is_exactly_once(),
        "{verdict}"
    );
    relay.kill()
}
