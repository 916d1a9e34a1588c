//! Topics that come and go with a reload.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::cases;
use tidegate_tests::{Broker, Config, Plan, Watch, wait_until, with_mosquitto};

use super::{FILE, counting, with_count};
use crate::guest::component;
use crate::scene::Scene;

pub fn cases() -> Vec<Trial> {
    let mut cases = cases![topics_come_and_go_under_load];
    cases.extend(cases![with_mosquitto;
        a_topic_that_is_gone_is_not_held_by_the_broker
    ]);
    cases
}

/// The same with a second topic.
pub fn with_more(config: &Config) -> Config {
    config.clone().put(
        "flow.all",
        "topics = [\"devices/{device}/telemetry\", \"more/{device}\"]",
    )
}

/// A flow gets a second topic and loses it again, under load on the first.
/// Guarantee: the new one is taken without a restart, the one that is gone does not even come any more, and of the first
/// none is lost, doubled or out of order.
fn topics_come_and_go_under_load() -> Result<()> {
    let first = with_count();
    let both = with_more(&first);
    let scene = counting(&first)?;
    let load = scene.load(Plan {
        devices: 30,
        rate: Some(2_000),
        ..Plan::default()
    });
    wait_until("traffic flows", || scene.watch.count() > 200)?;
    let out = scene.reload(&both, 0)?;
    ensure!(
        out.contains("changes live: flow.all") && out.contains("its source asks"),
        "{out}"
    );
    let more = Watch::start(scene.cloud.address(), "up/more/+")?;
    wait_until("the new topic arrives", || {
        scene.field.publish("more/x1", r#"{"probe":1}"#).is_ok() && more.total() > 0
    })?;
    scene.reload(&first, 0)?;
    // It has unsubscribed when it is back.
    scene.gateway.wait_online()?;
    let before = scene.watch.count();
    wait_until("traffic flows", || scene.watch.count() > before + 500)?;
    let arrived = more.total();
    scene.field.publish("more/x1", r#"{"probe":2}"#)?;
    let sent = load.stop()?;
    wait_until("all has arrived", || {
        scene.watch.count() as usize >= sent.count()
    })?;
    ensure!(more.total() == arrived, "the topic is still taken");
    ensure!(
        scene
            .gateway
            .metric("tidegate_source_unrouted_messages_total", &[])
            == 0.0,
        "the topic still comes"
    );
    let verdict = sent.against(&scene.watch.stop()?, |_, _| true);
    ensure!(verdict.is_exactly_once(), "{verdict}");
    Ok(())
}

/// A flow on a mosquitto loses a topic that is published on meanwhile, and gets it again.
/// Guarantee: mosquitto is told, what is published meanwhile does not reach the gateway, and none of it is held for it: once
/// the topic is back, only what comes from then on arrives.
fn a_topic_that_is_gone_is_not_held_by_the_broker() -> Result<()> {
    const MEANWHILE: u64 = 50;
    let (field, cloud) = (Broker::mosquitto()?, Broker::embedded()?);
    let first = with_count();
    let both = with_more(&first);
    let files = [(FILE, component("count")?)];
    let scene = Scene::between(field, cloud, &both, &files)?;
    let beside = Watch::start(scene.field.address(), "more/+")?;
    let received = || {
        scene
            .gateway
            .metric("tidegate_messages_received_total", &[])
    };
    scene.arrives("more/x1")?;
    let mark = scene.field.lines().count();
    scene.reload(&first, 0)?;
    wait_until("mosquitto is told", || {
        scene.field.lines().has_since(mark, &["more/+"])
    })?;
    let (before, seen) = (received(), beside.total());
    (0..MEANWHILE)
        .try_for_each(|number| scene.field.publish("more/x1", format!("held {number}")))?;
    wait_until("another subscriber has them", || {
        beside.total() == seen + MEANWHILE
    })?;
    // What comes after them shows that they do not.
    scene.field.publish("devices/d1/telemetry", "after")?;
    let has = |text: &str| {
        scene
            .watch
            .arrivals()
            .iter()
            .any(|arrival| String::from_utf8_lossy(&arrival.payload).contains(text))
    };
    wait_until("what is published later has come", || has("after"))?;
    ensure!(
        received() == before + 1.0,
        "{} messages have come",
        received() - before
    );
    scene.reload(&both, 0)?;
    scene.arrives("more/x1")?;
    ensure!(!has("held"), "{:?}", scene.watch.arrivals());
    Ok(())
}
