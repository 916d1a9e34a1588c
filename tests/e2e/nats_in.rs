//! A source that is a consumer of a stream: what is in the stream comes out upstream, and is acknowledged once it is safe.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tidegate_tests::cut::Cuttable;
use tidegate_tests::nats::{NatsServer, has_nats};
use tidegate_tests::tally::Sent;
use tidegate_tests::{Broker, Config, Gateway, Watch, cases, needs, rounds, wait_until};

use crate::scene::UP;
use crate::tools::json as told;

const DEVICES: usize = 10;

pub fn cases() -> Vec<Trial> {
    cases![
        |name: &str, run| needs(name, "nats-server", has_nats(), run);
        a_stream_is_taken_in_order_and_all_of_it_acknowledged,
        a_gateway_that_is_killed_again_and_again_loses_nothing_and_keeps_the_order,
        a_server_that_is_killed_or_frozen_goes_on_where_it_was,
        what_waits_for_long_does_not_come_again,
        where_only_acknowledgements_were_lost_nothing_is_waited_for,
        a_consumer_that_is_missing_or_unfit_is_told_until_it_is_there,
    ]
}

/// A server with the stream TELE and its consumer gw, which gives messages up after a second.
fn server() -> Result<NatsServer> {
    let server = NatsServer::start("")?;
    server.make("TELE", "devices.>", Value::Null)?;
    consumer(&server, json!({"ack_policy": "explicit"}))?;
    Ok(server)
}

fn consumer(server: &NatsServer, more: Value) -> Result<()> {
    let mut config = json!({"durable_name": "gw", "deliver_policy": "all", "ack_wait": 1_000_000_000_u64, "max_ack_pending": 200,
        "replay_policy": "instant", "max_waiting": 16});
    if let (Value::Object(config), Value::Object(more)) = (&mut config, more) {
        config.extend(more);
    }
    let asked = json!({"stream_name": "TELE", "config": config});
    server.ask("CONSUMER.DURABLE.CREATE.TELE.gw", &asked)?;
    Ok(())
}

fn gateway(server: &NatsServer, cloud: &str) -> Config {
    Config::forwarding()
        .between(&server.url(), cloud)
        .put("source.field", "stream = \"TELE\"\nconsumer = \"gw\"\n")
}

/// Publishes the next so many readings of each device.
fn publish(server: &NatsServer, from: usize, count: usize) -> Result<()> {
    server.with(|client| {
        for number in from..from + count {
            for device in 0..DEVICES {
                let name = tidegate_tests::tally::device_name(device);
                let payload = format!(r#"{{"device":"{name}","seq":{number},"temperature":21.5}}"#);
                let subject = format!("devices.{name}.telemetry");
                let answer = client.request(&subject, &payload)?;
                ensure!(answer.payload.contains("\"seq\""), "{answer:?}");
            }
        }
        Ok(())
    })
}

/// Waits until so many of each device have arrived, and all is acknowledged; how many came twice.
fn expect_all(server: &NatsServer, watch: &Watch, of_each: usize) -> Result<u64> {
    let sent = Sent::first_of_each(&[of_each; DEVICES]);
    let _ = wait_until("all has arrived", || watch.count() >= sent.count() as u64);
    let verdict = sent.against(&watch.tally(), |_, _| true);
    ensure!(verdict.is_at_least_once(), "{verdict}");
    wait_until("all is acknowledged", || {
        state(server).is_ok_and(|state| state["num_ack_pending"] == 0 && state["num_pending"] == 0)
    })?;
    Ok(watch.tally().doubled())
}

fn state(server: &NatsServer) -> Result<Value> {
    server.ask("CONSUMER.INFO.TELE.gw", &Value::Null)
}

/// What is in a stream when the gateway comes, and what comes then; with the consumer tried out beside it.
/// Guarantee: all of it comes out once, in order per device, under topics of its subjects, and is acknowledged.
fn a_stream_is_taken_in_order_and_all_of_it_acknowledged() -> Result<()> {
    let (cloud, server) = (Broker::embedded()?, server()?);
    publish(&server, 0, 50)?;
    let watch = Watch::start(cloud.address(), UP)?;
    let gateway = Gateway::with(gateway(&server, &cloud.url())).start()?;
    publish(&server, 50, 150)?;
    let doubled = expect_all(&server, &watch, 200)?;
    ensure!(doubled == 0, "{doubled} came twice");
    let arrivals = watch.arrivals();
    ensure!(
        arrivals
            .iter()
            .any(|one| one.topic == "up/devices/d7/telemetry")
    );
    let long = "x".repeat(300 << 10);
    server.with(|client| client.request("devices.d1.telemetry", &long))?;
    wait_until("what is too long is a letter", || {
        gateway.metric("tidegate_dead_letters_total", &[("reason", "too-long")]) == 1.0
    })?;
    wait_until("and acknowledged", || {
        state(&server).is_ok_and(|state| state["num_ack_pending"] == 0)
    })?;
    let said = told(gateway.folder(), &["check", "--connect"], 0)?.to_string();
    ensure!(
        said.contains("the consumer is there, with 0 messages to come"),
        "{said}"
    );
    ensure!(gateway.stop()?.0.success(), "it did not stop well");
    Ok(())
}

/// The gateway is killed again and again while the stream is taken.
/// Guarantee: nothing is missing, and each device's readings come out in their order: what was under way comes first.
fn a_gateway_that_is_killed_again_and_again_loses_nothing_and_keeps_the_order() -> Result<()> {
    let (cloud, server) = (Broker::embedded()?, server()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let mut gateway = Gateway::with(gateway(&server, &cloud.url())).start()?;
    let mut published = 0;
    for _ in 0..rounds(5, 20) {
        let before = watch.count();
        publish(&server, published, 60)?;
        published += 60;
        wait_until("some have come", || watch.count() > before)?;
        gateway = gateway.kill()?.start()?;
    }
    let doubled = expect_all(&server, &watch, published)?;
    eprintln!("{} sent, {doubled} twice", published * DEVICES);
    Ok(())
}

/// The server is killed, and later stopped for longer than it may be silent.
/// Guarantee: all comes out, in order.
fn a_server_that_is_killed_or_frozen_goes_on_where_it_was() -> Result<()> {
    let (cloud, mut server) = (Broker::embedded()?, server()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let keys = "backoff = { first = \"100ms\", cap = \"1s\" }\n";
    let config = gateway(&server, &cloud.url()).put("source.field", keys);
    let gateway = Gateway::with(config).start()?;
    publish(&server, 0, 50)?;
    wait_until("some have come", || watch.count() > 100)?;
    server.kill()?;
    gateway.lines().wait_for(&["no way to the consumer"])?;
    server.start_again()?;
    publish(&server, 50, 50)?;
    wait_until("some more have come", || watch.count() > 700)?;
    let mark = gateway.lines().count();
    server.freeze()?;
    wait_until("that is noticed", || {
        gateway.lines().has_since(mark, &["has said nothing for"])
    })?;
    server.thaw()?;
    publish(&server, 100, 50)?;
    expect_all(&server, &watch, 150)?;
    Ok(())
}

/// Upstream is away and nothing is written for a while, which is longer than the consumer waits.
/// Guarantee: the server hears that messages are worked on, so none comes again.
fn what_waits_for_long_does_not_come_again() -> Result<()> {
    let (mut cloud, server) = (Broker::embedded()?, server()?);
    cloud.go_dark()?;
    let config =
        gateway(&server, &cloud.url()).add("spool", "spill_after = \"4s\"\ncommit_every = \"4s\"");
    let gateway = Gateway::with(config).launch()?;
    gateway.wait_online()?;
    publish(&server, 0, 5)?;
    wait_until("they are under way", || {
        state(&server).is_ok_and(|state| state["num_ack_pending"] == 50)
    })?;
    wait_until("they are safe", || {
        state(&server).is_ok_and(|state| state["num_ack_pending"] == 0)
    })?;
    let state = state(&server)?;
    ensure!(
        state["num_redelivered"] == 0 && state["delivered"]["consumer_seq"] == 50,
        "{state}"
    );
    cloud.back()?;
    Ok(())
}

/// Acknowledgements go into a connection that takes them nowhere and is lost, of a consumer that waits for half a minute.
/// Guarantee: they are said again, what comes then is taken at once, and nothing is given out twice.
fn where_only_acknowledgements_were_lost_nothing_is_waited_for() -> Result<()> {
    let (cloud, server) = (Broker::embedded()?, NatsServer::start("")?);
    server.make("TELE", "devices.>", Value::Null)?;
    let half_a_minute = json!({"ack_policy": "explicit", "ack_wait": 30_000_000_000_u64});
    consumer(&server, half_a_minute)?;
    let address = server.url().trim_start_matches("nats://").parse()?;
    let (link, upward) = (Cuttable::to(address)?, Cuttable::to(cloud.address())?);
    let watch = Watch::start(cloud.address(), UP)?;
    upward.go_dark();
    let keys = "backoff = { first = \"100ms\", cap = \"1s\" }\n";
    let config = gateway(&server, &upward.url())
        .change("source.field.url", format!("nats://{}", link.address()))
        .put("source.field", keys)
        .add("spool", "spill_after = \"1h\"\ncommit_every = \"1h\"");
    let gateway = Gateway::with(config).launch()?;
    gateway.wait_online()?;
    publish(&server, 0, 5)?;
    wait_until("they are under way", || {
        state(&server).is_ok_and(|state| state["num_ack_pending"] == 50)
    })?;
    link.swallow(true);
    upward.back();
    wait_until("they are upstream", || watch.count() >= 50)?;
    wait_until("they are acknowledged", || {
        gateway.metric("tidegate_source_unsettled_messages", &[]) == 0.0
    })?;
    let mark = gateway.lines().count();
    link.cut();
    link.swallow(false);
    // Before the server knows of it, it would give what comes next into the connection that is gone.
    wait_until("it goes on", || {
        let lines = gateway.lines();
        lines.has_since(mark, &["nothing but acknowledgements was lost"])
    })?;
    publish(&server, 5, 5)?;
    wait_until("the others come", || watch.count() >= 100)?;
    let doubled = expect_all(&server, &watch, 10)?;
    let state = state(&server)?;
    ensure!(
        doubled == 0 && state["delivered"]["consumer_seq"] == 100,
        "{doubled} came twice: {state}"
    );
    Ok(())
}

/// There is no consumer, then one that wants no acknowledgements, then one that will do.
/// Guarantee: each is told with what to do, and what is in the stream comes once it is right.
fn a_consumer_that_is_missing_or_unfit_is_told_until_it_is_there() -> Result<()> {
    let (cloud, server) = (Broker::embedded()?, NatsServer::start("")?);
    server.make("TELE", "devices.>", Value::Null)?;
    let watch = Watch::start(cloud.address(), UP)?;
    publish(&server, 0, 5)?;
    let keys = "backoff = { first = \"100ms\", cap = \"1s\" }\n";
    let config = gateway(&server, &cloud.url()).put("source.field", keys);
    let gateway = Gateway::with(config).launch()?;
    gateway
        .lines()
        .wait_for(&["consumer not found", "make it there"])?;
    let said = told(gateway.folder(), &["check", "--connect"], 7)?.to_string();
    ensure!(said.contains("consumer not found"), "{said}");
    consumer(&server, json!({"ack_policy": "none", "max_ack_pending": 0}))?;
    gateway
        .lines()
        .wait_for(&["wants no acknowledgement of each message"])?;
    server.ask("CONSUMER.DELETE.TELE.gw", &Value::Null)?;
    consumer(&server, json!({"ack_policy": "explicit"}))?;
    expect_all(&server, &watch, 5)?;
    Ok(())
}
