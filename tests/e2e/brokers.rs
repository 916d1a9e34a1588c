//! Brokers that nobody here wrote, with the defaults they come with, on either side of the gateway.

mod websockets;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::cut::Cuttable;
use tidegate_tests::foreign::Foreign;
use tidegate_tests::tap::Tap;
use tidegate_tests::{Broker, Config, Gateway, Load, Plan, Watch, needs, rounds, wait_until};

use crate::scene::{UP, compare, expect_at_least_once};

pub fn cases() -> Vec<Trial> {
    let mut cases = Vec::new();
    for which in [Foreign::Aedes, Foreign::Amqtt, Foreign::Nats] {
        let name = which.name();
        let mut add = |what: &str, run: fn(Foreign) -> Result<()>| {
            cases.push(needs(
                &format!("brokers::{name}_{what}"),
                name,
                which.is_there(),
                move || run(which),
            ));
        };
        add("upstream_at_level_1", |which| upstream(which, 1));
        // nats-server keeps what was sent on a connection that ended before PUBREL, over a clean session, and takes the next
        // message under that packet id for it: that one it acknowledges and drops.
        if which != Foreign::Nats {
            add("upstream_at_level_2", |which| upstream(which, 2));
        }
        // amqtt forgets the sessions of clients without a name.
        if which != Foreign::Amqtt {
            add("in_the_field", in_the_field);
        }
    }
    cases.extend(websockets::cases());
    cases
}

fn total() -> usize {
    rounds(4_000, 20_000)
}

fn owed(gateway: &Gateway) -> f64 {
    gateway.metric("tidegate_spool_messages", &[("uplink", "cloud")])
}

/// The broker is upstream: the link is cut, goes dark until half is owed, and the gateway is killed, all under load; then the
/// broker is restarted, and more comes.
/// Guarantee: whatever this broker answers, and however, nothing is lost and each device's messages are in order.
fn upstream(which: Foreign, level: u8) -> Result<()> {
    let (field, mut cloud) = (Broker::embedded()?, Broker::foreign(which)?);
    let link = Cuttable::to(cloud.address())?;
    let watch = Watch::start(cloud.address(), UP)?;
    let setup = Gateway::with(Config::forwarding().between(&field.url(), &link.url()));
    let mut gateway = setup
        .env("TIDEGATE_UPLINK__CLOUD__QOS", &level.to_string())
        .start()?;
    let load = Load::start(
        field.address(),
        Plan {
            rate: Some(2_000),
            total: Some(total()),
            ..Plan::default()
        },
    );
    for _ in 0..3 {
        let before = watch.count();
        wait_until("traffic flows", || watch.count() > before + 100)?;
        link.cut();
    }
    link.go_dark();
    wait_until("much is owed", || owed(&gateway) >= total() as f64 / 4.0)?;
    gateway = gateway.kill()?.start()?;
    link.back();
    let sent = load.wait()?;
    wait_until("all has arrived", || watch.count() >= sent.count() as u64)?;
    cloud.go_dark()?;
    cloud.back()?;
    wait_until("the gateway is back", || {
        gateway.metric("tidegate_uplink_up", &[]) == 1.0
    })?;
    let verdict = compare(&sent, watch)?;
    println!("{verdict}");
    expect_at_least_once(&verdict)
}

/// The broker is in the field and keeps our session: the gateway is killed twice under load.
/// Guarantee: whatever this broker sends, and sends again, what it acknowledged to the devices arrives, and in the order in which
/// it sent it. That order is its own affair: both mix what a killed client had not acknowledged with what is new.
fn in_the_field(which: Foreign) -> Result<()> {
    let (field, cloud) = (Broker::foreign(which)?, Broker::embedded()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let tap = Tap::on(field.address())?;
    let mut gateway =
        Gateway::with(Config::forwarding().between(&tap.url(), &cloud.url())).start()?;
    let load = Load::start(
        field.address(),
        Plan {
            rate: Some(1_000),
            total: Some(total()),
            ..Plan::default()
        },
    );
    for _ in 0..2 {
        let before = watch.count();
        wait_until("traffic flows", || watch.count() > before + 200)?;
        gateway = gateway.kill()?.start()?;
    }
    let sent = load.wait()?;
    wait_until("all has arrived", || watch.count() >= sent.count() as u64)?;
    let arrived = firsts(watch.arrivals().into_iter().map(|arrival| arrival.payload))?;
    let mut offered = by_device(tap.payloads())?;
    for (device, numbers) in &arrived {
        let mut offered = offered.remove(device).unwrap_or_default().into_iter();
        let strange = numbers
            .iter()
            .find(|number| !offered.any(|offered| offered == **number));
        ensure!(
            strange.is_none(),
            "{device}: {strange:?} arrived out of the order in which the broker sent"
        );
    }
    let verdict = compare(&sent, watch)?;
    println!("{verdict}");
    ensure!(verdict.lost == 0, "{verdict}");
    Ok(())
}

/// The numbers of each device, in this order.
fn by_device(payloads: impl IntoIterator<Item = Vec<u8>>) -> Result<BTreeMap<String, Vec<u64>>> {
    let mut devices: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for payload in payloads {
        let reading: serde_json::Value = serde_json::from_slice(&payload)?;
        let device = reading["device"]
            .as_str()
            .context("a reading has a device")?;
        devices
            .entry(device.to_owned())
            .or_default()
            .push(reading["seq"].as_u64().context("a reading has a number")?);
    }
    Ok(devices)
}

/// The same, each number once: where it came first.
fn firsts(payloads: impl IntoIterator<Item = Vec<u8>>) -> Result<BTreeMap<String, Vec<u64>>> {
    let mut devices = by_device(payloads)?;
    for numbers in devices.values_mut() {
        let mut seen = BTreeSet::new();
        numbers.retain(|number| seen.insert(*number));
    }
    Ok(devices)
}
