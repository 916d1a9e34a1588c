//! Brokers that nobody here wrote, with the defaults they come with, on either side of the gateway.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::cut::Cuttable;
use tidegate_tests::foreign::Foreign;
use tidegate_tests::{Broker, Gateway, Load, Plan, Watch, needs, rounds, wait_until};

use crate::scene::{UP, compare, config, expect_at_least_once, flow};

pub fn cases() -> Vec<Trial> {
    let mut cases = Vec::new();
    for which in [Foreign::Aedes, Foreign::Nats] {
        let name = which.name();
        let mut add = |what: &str, run: fn(Foreign) -> Result<()>| {
            cases.push(needs(&format!("brokers::{name}_{what}"), name, which.is_there(), move || run(which)));
        };
        add("upstream", upstream);
        add("in_the_field", in_the_field);
    }
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
fn upstream(which: Foreign) -> Result<()> {
    let (field, mut cloud) = (Broker::embedded()?, Broker::foreign(which)?);
    let link = Cuttable::to(cloud.address())?;
    let watch = Watch::start(cloud.address(), UP)?;
    let mut gateway = Gateway::with(config(&field.url(), &link.url(), &flow(""))).start()?;
    let load = Load::start(field.address(), Plan { rate: Some(2_000), total: Some(total()), ..Plan::default() });
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
    wait_until("the gateway is back", || gateway.metric("tidegate_uplink_up", &[]) == 1.0)?;
    let verdict = compare(&sent, watch)?;
    println!("{verdict}");
    expect_at_least_once(&verdict)
}

/// The broker is in the field and keeps our session: the gateway is killed twice under load.
/// Guarantee: whatever this broker sends, and sends again, what it acknowledged to the devices arrives. In which order it sends
/// again what a killed client had not acknowledged is its own affair: both mix it with what is new.
fn in_the_field(which: Foreign) -> Result<()> {
    let (field, cloud) = (Broker::foreign(which)?, Broker::embedded()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let mut gateway = Gateway::with(config(&field.url(), &cloud.url(), &flow(""))).start()?;
    let load = Load::start(field.address(), Plan { rate: Some(1_000), total: Some(total()), ..Plan::default() });
    for _ in 0..2 {
        let before = watch.count();
        wait_until("traffic flows", || watch.count() > before + 200)?;
        gateway = gateway.kill()?.start()?;
    }
    let verdict = compare(&load.wait()?, watch)?;
    println!("{verdict}");
    ensure!(verdict.lost == 0, "{verdict}");
    Ok(())
}
