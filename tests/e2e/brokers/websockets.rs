//! MQTT over WebSockets, to brokers whose WebSockets nobody here wrote.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::certificates::Authority;
use tidegate_tests::cut::Cuttable;
use tidegate_tests::foreign::Foreign;
use tidegate_tests::{Broker, Config, Gateway, Load, Plan, Watch, needs, wait_until};

use super::owed;
use crate::scene::{UP, compare, expect_at_least_once};

pub fn cases() -> Vec<Trial> {
    let mut cases = Vec::new();
    for which in [Foreign::Aedes, Foreign::Nats] {
        let name = which.name();
        let mut add = |what: &str, run: fn(Foreign) -> Result<()>| {
            let name_of_case = format!("brokers::{name}_over_websockets_{what}");
            cases.push(needs(&name_of_case, name, which.is_there(), move || {
                run(which)
            }));
        };
        add("on_both_sides", on_both_sides);
        if which == Foreign::Nats {
            add("with_tls", with_tls);
        }
    }
    cases
}

fn plan(total: usize) -> Plan {
    Plan {
        rate: Some(2_000),
        total: Some(total),
        ..Plan::default()
    }
}

/// From the broker over a WebSocket, and back to it over another one, which is cut, goes dark until much is owed and comes back; the
/// gateway is killed meanwhile. Messages of every size up to three frames of ours go through first.
/// Guarantee: whatever frames this broker makes, nothing is lost.
fn on_both_sides(which: Foreign) -> Result<()> {
    const TOTAL: usize = 2_000;
    let broker = Broker::foreign(which)?;
    let link = Cuttable::to(broker.web_address()?)?;
    let watch = Watch::start(broker.address(), UP)?;
    let field = format!("mqtt+ws://{}/mqtt", broker.web_address()?);
    let cloud = format!("mqtt+ws://{}/mqtt", link.address());
    let config = Config::forwarding().between(&field, &cloud);
    let mut gateway = Gateway::with(config).start()?;
    let sizes = [1, 125, 126, 65_535, 65_536, 50_000];
    for (seq, size) in sizes.into_iter().enumerate() {
        let payload = format!(
            r#"{{"device":"big","seq":{seq},"x":"{}"}}"#,
            "x".repeat(size)
        );
        broker.publish("devices/big/telemetry", payload)?;
    }
    wait_until("all sizes are there", || {
        watch.tally().count_of("big") == sizes.len()
    })?;
    let load = Load::start(broker.address(), plan(TOTAL));
    for _ in 0..2 {
        let before = watch.count();
        wait_until("traffic flows", || watch.count() > before + 100)?;
        link.cut();
    }
    link.go_dark();
    wait_until("much is owed", || owed(&gateway) >= TOTAL as f64 / 5.0)?;
    gateway = gateway.kill()?.start()?;
    link.back();
    let sent = load.wait()?;
    wait_until("all has arrived", || {
        watch.count() >= (sent.count() + sizes.len()) as u64
    })?;
    let verdict = sent.against(&watch.tally(), |_, _| true);
    println!("{verdict}");
    drop(gateway);
    ensure!(verdict.lost == 0, "{verdict}");
    Ok(())
}

/// A WebSocket within TLS, and one to a path that leads nowhere.
/// Guarantee: with the right CA readings go through; what is wrong with the path is said.
fn with_tls(which: Foreign) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let authority = Authority::new(folder.path(), "field")?;
    let (field, cloud) = (
        Broker::embedded()?,
        Broker::foreign_with(which, Some(authority.broker()?))?,
    );
    let watch = Watch::start(cloud.address(), UP)?;
    let url = format!("mqtt+wss://{}/mqtt", cloud.web_address()?);
    let config = Config::forwarding().between(&field.url(), &url).put(
        "uplink.cloud",
        &format!("tls = {{ ca = {:?} }}", authority.ca),
    );
    let gateway = Gateway::with(config).start()?;
    let load = Load::start(field.address(), plan(200));
    let sent = load.wait()?;
    expect_at_least_once(&compare(&sent, watch)?)?;
    let setup = gateway.kill()?;
    let wrong = format!("mqtt+wss://{}/elsewhere", cloud.web_address()?);
    let gateway = setup
        .env("TIDEGATE_UPLINK__CLOUD__URL", &wrong)
        .launch()
        .context("with a wrong path")?;
    wait_until("health says what is wrong", || {
        let told = gateway.health();
        told.is_ok_and(|(_, text)| text.contains("speaks `mqtt` there: check the path"))
    })
}
