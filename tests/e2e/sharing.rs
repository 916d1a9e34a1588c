//! Gateways that share what a broker has for them.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::broker::has_mosquitto;
use tidegate_tests::{Broker, Config, Gateway, Load, Plan, Watch, cases, needs, wait_until};

use crate::scene::UP;
use crate::tools::told;

pub fn cases() -> Vec<Trial> {
    let with_mosquitto = |name: &str, run| needs(name, "mosquitto", has_mosquitto(), run);
    cases![with_mosquitto; two_gateways_share_what_comes_and_a_check_takes_nothing_of_it]
}

fn member(field: &Broker, cloud: &Broker, name: &str) -> Config {
    Config::forwarding()
        .between(&field.url(), &cloud.url())
        .set("source.field.share", "barns")
        .set("source.field.client_id", format!("{name}-field"))
        .set("uplink.cloud.client_id", format!("{name}-cloud"))
}

/// Two gateways with one `share`, under load, of which one is killed and comes back; `check --connect` runs beside them meanwhile.
/// Guarantee: each message is brought by one of them, both bring some, none is lost, and the check joins another group.
fn two_gateways_share_what_comes_and_a_check_takes_nothing_of_it() -> Result<()> {
    let (field, cloud) = (Broker::mosquitto()?, Broker::embedded()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let one = Gateway::with(member(&field, &cloud, "one")).start()?;
    let mut other = Gateway::with(member(&field, &cloud, "other")).start()?;
    ensure!(
        field.lines().has(&["$share/barns/devices/+/telemetry"]),
        "nobody is in the group"
    );
    let plan = Plan {
        rate: Some(1_000),
        total: Some(2_000),
        ..Plan::default()
    };
    let load = Load::start(field.address(), plan);
    wait_until("traffic flows", || watch.count() > 100)?;
    let (_, text) = told(one.folder(), &["check", "--connect"], 0)?;
    ensure!(text.contains("1 of 1 topics granted"), "{text}");
    ensure!(
        field
            .lines()
            .has(&["$share/barns-check/devices/+/telemetry"]),
        "the check is in the group itself"
    );
    other = other.kill()?.start()?;
    let sent = load.wait()?;
    wait_until("all has arrived", || watch.count() >= sent.count() as u64)?;
    let verdict = sent.against(&watch.tally(), |_, _| true);
    ensure!(verdict.lost == 0, "{verdict}");
    for gateway in [&one, &other] {
        let received = gateway.metric("tidegate_messages_received_total", &[]);
        ensure!(received > 0.0, "one of them got nothing");
    }
    Ok(())
}
