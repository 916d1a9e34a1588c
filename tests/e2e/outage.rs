//! Brokers and links that go away and come back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::cut::{Cuttable, Weather};
use tidegate_tests::wait::wait_at_most;
use tidegate_tests::watch::Arrival;
use tidegate_tests::{
    Broker, Config, Gateway, Load, Mosquitto, Plan, Watch, cases, rounds, wait_until,
    with_mosquitto,
};

use crate::scene::{UP, compare, expect_at_least_once, send_all};
use crate::tools::json;

pub fn cases() -> Vec<Trial> {
    let mut cases = cases![
        a_backlog_arrives_in_order_when_the_link_is_back,
        a_flapping_link_loses_nothing,
        a_backlog_outlives_a_stop_and_a_start,
        stops_in_the_middle_of_a_backlog_repeat_nothing,
        devices_go_on_while_upstream_is_away_from_the_start,
    ];
    cases.extend(cases![with_mosquitto;
        the_upstream_broker_is_stopped,
        the_field_broker_is_stopped,
        a_field_broker_that_forgot_us_is_subscribed_again,
        a_field_broker_that_forgot_us_while_we_were_down_is_in_the_ledger,
        a_frozen_upstream_is_noticed,
    ]);
    cases
}

/// How many messages are owed before a link comes back: some seconds at 1,000 a second, a minute in the long form.
fn backlog() -> u64 {
    rounds(4_000, 60_000) as u64
}

fn wait_for_backlog(gateway: &Gateway) -> Result<()> {
    let owed = || gateway.metric("tidegate_spool_messages", &[("uplink", "cloud")]);
    wait_at_most(Duration::from_secs(300), "much is owed", || {
        owed() >= backlog() as f64
    })
}

/// The link to the upstream broker is cut under 1,000 msg/s until thousands are owed, then mended.
/// Guarantee: devices are acknowledged meanwhile; nothing is lost; the backlog arrives in order per device.
fn a_backlog_arrives_in_order_when_the_link_is_back() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let link = Cuttable::to(cloud.address())?;
    let watch = Watch::start(cloud.address(), UP)?;
    let gateway = Gateway::with(Config::forwarding().between(&field.url(), &link.url())).start()?;
    let load = Load::start(field.address(), Plan::default());
    wait_until("traffic flows", || watch.count() > 500)?;
    link.go_dark();
    wait_for_backlog(&gateway)?;
    ensure!(
        load.acknowledged() >= backlog(),
        "devices had to wait for the uplink"
    );
    link.back();
    wait_until("the backlog is gone", || {
        gateway.metric("tidegate_spool_messages", &[("uplink", "cloud")]) < 500.0
    })?;
    let sent = load.stop()?;
    expect_at_least_once(&compare(&sent, watch)?)
}

/// The link is cut thirty times under load, each time as soon as traffic flows again.
/// Guarantee: nothing is lost and nothing overtakes, whatever was in flight.
fn a_flapping_link_loses_nothing() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let link = Cuttable::to(cloud.address())?;
    let watch = Watch::start(cloud.address(), UP)?;
    let _gateway =
        Gateway::with(Config::forwarding().between(&field.url(), &link.url())).start()?;
    let load = Load::start(
        field.address(),
        Plan {
            rate: Some(2_000),
            ..Plan::default()
        },
    );
    for _ in 0..rounds(30, 300) {
        let before = watch.count();
        wait_until("traffic flows", || watch.count() > before + 100)?;
        link.cut();
    }
    let sent = load.stop()?;
    expect_at_least_once(&compare(&sent, watch)?)
}

/// SIGTERM while thousands are owed to a dark upstream, then a start with the link back.
/// Guarantee: what is owed outlives the process.
fn a_backlog_outlives_a_stop_and_a_start() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let link = Cuttable::to(cloud.address())?;
    link.go_dark();
    let watch = Watch::start(cloud.address(), UP)?;
    let gateway = Gateway::with(Config::forwarding().between(&field.url(), &link.url())).start()?;
    let sent = send_all(&field, 5_000)?;
    wait_until("all is owed", || {
        gateway.metric("tidegate_spool_messages", &[("uplink", "cloud")]) == 5_000.0
    })?;
    let (status, setup) = gateway.stop()?;
    ensure!(status.success(), "the gateway ended with {status}");
    ensure!(watch.total() == 0, "something went through a dark link");
    link.back();
    let _gateway = setup.start()?;
    expect_at_least_once(&compare(&sent, watch)?)
}

/// A backlog drains over a slow link, fifty messages in flight at any moment; SIGTERM in the middle of it, four times.
/// Guarantee: each message arrives exactly once: a stop waits for the answers to what is in flight, and sends nothing more.
fn stops_in_the_middle_of_a_backlog_repeat_nothing() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let link = Cuttable::to(cloud.address())?;
    link.go_dark();
    let watch = Watch::start(cloud.address(), UP)?;
    let setup = Gateway::with(Config::forwarding().between(&field.url(), &link.url()))
        .env("TIDEGATE_UPLINK__CLOUD__INFLIGHT", "50");
    let mut gateway = setup.start()?;
    let sent = send_all(&field, 5_000)?;
    wait_until("all is owed", || {
        gateway.metric("tidegate_spool_messages", &[("uplink", "cloud")]) == 5_000.0
    })?;
    link.turn(Weather {
        delay: Duration::from_millis(20),
        ..Weather::default()
    });
    for quarter in 1..=4 {
        let (status, setup) = gateway.stop()?;
        ensure!(status.success(), "the gateway ended with {status}");
        link.back();
        gateway = setup.start()?;
        wait_until("more has arrived", || watch.total() >= quarter * 1_000)?;
    }
    let verdict = compare(&sent, watch)?;
    println!("{verdict}");
    ensure!(verdict.is_exactly_once(), "{verdict}");
    Ok(())
}

/// The gateway starts while its upstream cannot be reached at all.
/// Guarantee: it is ready all the same, its metric says that the uplink is down, and it takes what devices send.
fn devices_go_on_while_upstream_is_away_from_the_start() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let link = Cuttable::to(cloud.address())?;
    link.go_dark();
    let gateway = Gateway::with(Config::forwarding().between(&field.url(), &link.url())).start()?;
    field.publish("devices/d1/telemetry", "{}")?;
    wait_until("the message is owed", || {
        gateway.metric("tidegate_spool_messages", &[]) == 1.0
    })?;
    ensure!(
        gateway.metric("tidegate_uplink_up", &[("uplink", "cloud")]) == 0.0,
        "the uplink cannot be up"
    );
    let (code, text) = gateway.get("/readyz?verbose")?;
    ensure!(code == 200, "{code}: {text}");
    Ok(())
}

/// The upstream mosquitto (persistence on) is stopped under 1,000 msg/s and started again.
/// Guarantee: nothing is lost, the backlog arrives in order per device.
fn the_upstream_broker_is_stopped() -> Result<()> {
    let (field, mut cloud) = (Broker::mosquitto()?, Broker::mosquitto()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let gateway =
        Gateway::with(Config::forwarding().between(&field.url(), &cloud.url())).start()?;
    let load = Load::start(field.address(), Plan::default());
    wait_until("traffic flows", || watch.count() > 500)?;
    cloud.go_dark()?;
    wait_for_backlog(&gateway)?;
    cloud.back()?;
    wait_until("the backlog is gone", || {
        gateway.metric("tidegate_spool_messages", &[("uplink", "cloud")]) < 500.0
    })?;
    let sent = load.stop()?;
    expect_at_least_once(&compare(&sent, watch)?)
}

/// The field mosquitto (persistence on) is stopped under load and started again, three times.
/// Guarantee: the session is taken up again; whatever it had acknowledged to its senders arrives.
fn the_field_broker_is_stopped() -> Result<()> {
    let (mut field, cloud) = (Broker::mosquitto()?, Broker::mosquitto()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let gateway =
        Gateway::with(Config::forwarding().between(&field.url(), &cloud.url())).start()?;
    let load = Load::start(field.address(), Plan::default());
    for _ in 0..rounds(3, 20) {
        let before = watch.count();
        wait_until("traffic flows", || watch.count() > before + 500)?;
        field.go_dark()?;
        wait_until("the gateway notices", || !gateway.is_online())?;
        field.back()?;
        gateway.wait_online()?;
    }
    let sent = load.stop()?;
    expect_at_least_once(&compare(&sent, watch)?)
}

/// The field mosquitto comes back without the gateway's session.
/// Guarantee: the gateway subscribes afresh, and traffic goes on without anybody's help.
fn a_field_broker_that_forgot_us_is_subscribed_again() -> Result<()> {
    let (mut field, cloud) = (Mosquitto::new().forgetful().start()?, Broker::mosquitto()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let gateway =
        Gateway::with(Config::forwarding().between(&field.url(), &cloud.url())).start()?;
    field.publish("devices/d1/telemetry", "one")?;
    wait_until("the first has arrived", || watch.total() == 1)?;
    field.go_dark()?;
    wait_until("the gateway notices", || !gateway.is_online())?;
    field.back()?;
    gateway.wait_online()?;
    field.publish("devices/d1/telemetry", "two")?;
    wait_until("the second has arrived", || watch.total() == 2)
}

/// The gateway is started for the first time, killed and started, and killed again; before the third start the field
/// broker has forgotten its sessions.
/// Guarantee: what it held for us is told as lost, in the ledger, and only then.
fn a_field_broker_that_forgot_us_while_we_were_down_is_in_the_ledger() -> Result<()> {
    let (mut field, cloud) = (Mosquitto::new().forgetful().start()?, Broker::mosquitto()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let setup = Gateway::with(Config::forwarding().between(&field.url(), &cloud.url()));
    let mark = setup.data().join("sessions/field");
    let mut gateway = setup.start()?;
    let told = |gateway: &Gateway| -> Result<usize> {
        let ledger = json(gateway.folder(), &["ledger"], 0)?;
        let entries = ledger.as_array().context("the ledger is a list")?;
        Ok(entries
            .iter()
            .filter(|entry| entry["reason"] == "broker-session-lost")
            .count())
    };
    for start in 1..=2 {
        gateway.wait_online()?;
        field.publish("devices/d1/telemetry", format!("{start}"))?;
        // A kill may have brought the one before it again.
        let is_it = |arrival: &Arrival| arrival.payload == start.to_string().into_bytes();
        wait_until("it has arrived", || watch.arrivals().iter().any(is_it))?;
        wait_until("the session is noted", || mark.exists())?;
        ensure!(told(&gateway)? == 0, "start {start}: nothing was lost");
        let setup = gateway.kill()?;
        if start == 2 {
            field.go_dark()?;
            field.back()?;
        }
        gateway = setup.start()?;
    }
    gateway.wait_online()?;
    wait_until("it is in the ledger", || {
        told(&gateway).is_ok_and(|told| told == 1)
    })
}

/// The upstream mosquitto is frozen: connections stay open, nothing is answered.
/// Guarantee: the gateway gives the link up within its keep-alive, devices go on, nothing is lost.
fn a_frozen_upstream_is_noticed() -> Result<()> {
    let (field, cloud) = (Broker::mosquitto()?, Broker::mosquitto()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let soon = "keep_alive = \"1s\"\ndeadlines = { write = \"1s\", handshake = \"1s\" }";
    let config = Config::forwarding()
        .between(&field.url(), &cloud.url())
        .put("uplink.cloud", soon);
    let gateway = Gateway::with(config).start()?;
    let load = Load::start(
        field.address(),
        Plan {
            rate: Some(500),
            ..Plan::default()
        },
    );
    wait_until("traffic flows", || watch.count() > 200)?;
    cloud.freeze()?;
    wait_until("the gateway notices", || {
        gateway.metric("tidegate_uplink_up", &[("uplink", "cloud")]) == 0.0
    })?;
    let before = load.acknowledged();
    wait_until("devices go on", || load.acknowledged() > before + 1_000)?;
    cloud.thaw()?;
    wait_until("the link is back", || {
        gateway.metric("tidegate_uplink_up", &[("uplink", "cloud")]) == 1.0
    })?;
    let sent = load.stop()?;
    // What the frozen broker had taken and not acknowledged is sent again: twice at most, never out of order.
    expect_at_least_once(&compare(&sent, watch)?)
}
