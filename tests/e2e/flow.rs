//! A message's way from end to end.

mod led_to;

use std::process::Command;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use serde_json::json;
use tidegate_tests::load::{is_warm, write_reading};
use tidegate_tests::mosquitto::{publish, subscribe};
use tidegate_tests::{
    Broker, Config, Gateway, Load, Plan, Watch, cases, convert, many, needs, usage, wait_until,
};

use crate::scene::{Scene, UP, compare, send_all, unnamed};

pub fn cases() -> Vec<Trial> {
    let tools = ["mosquitto_pub", "mosquitto_sub"]
        .iter()
        .all(|tool| Command::new(tool).arg("--help").output().is_ok());
    let is_there = tools && tidegate_tests::broker::has_mosquitto();
    let with_tools = |name: &str, run| needs(name, "mosquitto-clients", is_there, run);
    let mut cases = cases![
        a_reading_goes_through_three_plugins,
        what_the_plugins_filter_stays_behind,
        a_burst_arrives_once_and_in_order,
        a_message_of_two_flows_settles_when_both_have,
        a_hundred_flows_share_their_threads_and_code,
        an_alarm_with_priority_overtakes,
        a_bad_payload_is_parked_with_its_reason,
        what_comes_back_again_and_again_is_parked,
    ];
    cases.extend(cases![with_tools; mosquitto_pub_to_mosquitto_sub]);
    cases.extend(led_to::cases());
    cases
}

fn reading(device: &str, number: u64, temperature: f64) -> String {
    let mut text = String::new();
    write_reading(
        &mut text,
        device,
        number,
        1_700_000_000_000_000,
        temperature,
    );
    text
}

/// `examples/convert` as it is shipped, but for its ports and three lanes; one reading.
/// Guarantee: decode-json, filter and threshold do what the example's config says, in this order.
fn a_reading_goes_through_three_plugins() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let setup = Gateway::with(convert::config(field.address(), cloud.address())?);
    let _gateway = setup.env("TIDEGATE_FLOW__CONVERT__LANES", "3").start()?;
    field.publish("devices/d7/telemetry", reading("d7", 41, 25.5))?;
    wait_until("the reading has arrived", || watch.total() == 1)?;
    let arrival = watch.arrivals().remove(0);
    ensure!(
        arrival.topic == "up/telemetry" && arrival.level == 1,
        "{arrival:?}"
    );
    let wanted = json!({ "device": "d7", "seq": 41, "ts": 1_700_000_000_000_000_u64, "fahrenheit": 77.9, "humidity": 40.5 });
    ensure!(arrival.json()? == wanted, "{}", arrival.json()?);
    Ok(())
}

/// A flow that takes in what it sends, and two that send to each other's broker, of which `check` warned.
/// Guarantee: each message goes round a few times and is then parked with the reason, once; nothing goes on for ever, and it is
/// said.
fn what_comes_back_again_and_again_is_parked() -> Result<()> {
    let flow = |config: Config, name: &str, [from, to]: [&str; 2]| {
        let flow = format!(
            "from = \"{from}\"\ntopics = [\"devices/{{device}}/#\"]\nto = \"{to}:telemetry\""
        );
        config.add(&format!("flow.{name}"), &flow)
    };
    for is_alone in [true, false] {
        let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
        let watch = Watch::start(field.address(), "devices/#")?;
        let ends = Config::default()
            .source("field", &field.url())
            .source("cloud", &cloud.url())
            .uplink("back", &field.url())
            .uplink("forth", &cloud.url());
        let config = if is_alone {
            flow(ends, "itself", ["field", "back"])
        } else {
            flow(
                flow(ends, "up", ["field", "forth"]),
                "down",
                ["cloud", "back"],
            )
        };
        let gateway = Gateway::with(config).start()?;
        gateway.wait_online()?;
        for number in 0..5 {
            field.publish("devices/d1/telemetry", format!("{number}"))?;
        }
        let parked = || gateway.metric("tidegate_dead_letters_total", &[("reason", "circled")]);
        wait_until("what comes back is parked", || parked() == 5.0)?;
        wait_until("nothing is owed", || {
            gateway.metric("tidegate_spool_messages", &[]) == 0.0
        })?;
        wait_until("it is said", || {
            gateway.lines().has(&["ERROR", "messages go in a circle"])
        })?;
        ensure!(
            watch.total() <= 5 * 9,
            "{} copies of 5 messages",
            watch.total()
        );
        ensure!(parked() == 5.0, "{} letters of 5 messages", parked());
    }
    Ok(())
}

/// A hundred flows of the three shipped plugins, each with settings of its own; then each gets four readings.
/// Guarantee: they need no thread of their own and have the plugins' code once, so that they fit a small gateway; an idle
/// one costs next to nothing, and all of them work.
fn a_hundred_flows_share_their_threads_and_code() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let gateway = Gateway::with(many::config(100, field.address(), cloud.address())).start()?;
    let idle = usage::memory(gateway.pid())?.0;
    let plan = Plan {
        devices: 100,
        total: Some(400),
        temperature: |_| 25.5,
        ..Plan::default()
    };
    let sent = Load::start(field.address(), plan).wait()?;
    wait_until("all have arrived", || watch.count() == 400)?;
    let verdict = sent.against(&watch.stop()?, |_, _| true);
    ensure!(verdict.is_exactly_once(), "{verdict}");
    let (threads, used) = (
        usage::threads(gateway.pid())?,
        usage::memory(gateway.pid())?.0,
    );
    eprintln!(
        "{threads} threads, {} MB idle, {} MB used",
        idle / 1_000_000,
        used / 1_000_000
    );
    ensure!(threads < 64, "{threads} threads");
    ensure!(used < 160_000_000, "{used} bytes of memory");
    Ok(())
}

/// Warm and cold readings through `examples/convert`.
/// Guarantee: exactly the warm ones come through, the cold ones count as filtered, and nothing waits for them.
fn what_the_plugins_filter_stays_behind() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let setup = Gateway::with(convert::config(field.address(), cloud.address())?);
    let gateway = setup.env("TIDEGATE_FLOW__CONVERT__LANES", "3").start()?;
    let sent = send_all(&field, 3_000)?;
    wait_until("the warm readings have arrived", || watch.count() == 2_000)?;
    wait_until("the cold ones are counted", || {
        gateway.metric("tidegate_chain_messages_total", &[("fate", "filtered")]) == 1_000.0
    })?;
    let verdict = sent.against(&watch.stop()?, |_, number| is_warm(number));
    ensure!(verdict.is_exactly_once(), "{verdict}");
    Ok(())
}

/// 20,000 readings of 50 devices, as fast as they are acknowledged, in three lanes.
/// Guarantee: while nothing fails, each arrives once, in order per device.
fn a_burst_arrives_once_and_in_order() -> Result<()> {
    let scene = Scene::with(&Config::forwarding(), &[])?;
    let sent = scene
        .load(Plan {
            devices: 50,
            rate: None,
            total: Some(20_000),
            ..Plan::default()
        })
        .wait()?;
    let verdict = compare(&sent, scene.watch)?;
    ensure!(
        verdict.sent == 20_000 && verdict.is_exactly_once(),
        "{verdict}"
    );
    Ok(())
}

/// One topic in two flows to two uplinks, one of them dark and nothing written for it yet; then `kill -9`.
/// Guarantee: the message was not acknowledged on the strength of the first flow: after the start both have it.
fn a_message_of_two_flows_settles_when_both_have() -> Result<()> {
    let (field, cloud, mut other) = (
        Broker::embedded()?,
        Broker::embedded()?,
        Broker::embedded()?,
    );
    let flow = |to: &str| {
        format!(
            "from = \"field\"\ntopics = [\"devices/{{device}}/telemetry\"]\nto = \"{to}:telemetry\"\nlanes = 3"
        )
    };
    let config = Config::bare()
        .between(&field.url(), &cloud.url())
        .uplink("other", &other.url())
        .put(
            "uplink.other",
            "backoff = { first = \"50ms\", cap = \"400ms\", jitter = 0.2 }",
        )
        .add("spool", "spill_after = \"1h\"\ncommit_every = \"1h\"")
        .add("flow.one", &flow("cloud"))
        .add("flow.two", &flow("other"));
    other.go_dark()?;
    let watch = Watch::start(cloud.address(), "devices/#")?;
    let gateway = Gateway::with(config).start()?;
    field.publish("devices/d1/telemetry", reading("d1", 0, 25.5))?;
    wait_until("the first uplink has it", || watch.total() == 1)?;
    let setup = gateway.kill()?;
    other.back()?;
    let late = Watch::start(other.address(), "devices/#")?;
    let _gateway = setup.start()?;
    wait_until("the second uplink has it", || late.total() >= 1)?;
    wait_until(
        "the first has it again, so it had not been acknowledged",
        || watch.total() >= 2,
    )
}

/// Readings that the gateway takes one at a time wait for it in the broker while it stands still, and an alarm sent after the
/// last of them in a flow with `priority`; then it goes on.
/// Guarantee: the alarm does not queue behind them, neither in the broker nor in the gateway.
fn an_alarm_with_priority_overtakes() -> Result<()> {
    const READINGS: usize = 1_000;
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let alarms =
        "from = \"field\"\ntopics = [\"alarms/{device}\"]\nto = \"cloud:alarm\"\npriority = true";
    let config = unnamed()
        .between(&field.url(), &cloud.url())
        .without("flow.all.lanes")
        .add("flow.alarms", alarms);
    let watch = Watch::start(cloud.address(), "#")?;
    let setup = Gateway::with(config);
    let gateway = setup
        .env("TIDEGATE_SOURCE__FIELD__RECEIVE_MAXIMUM", "1")
        .start()?;
    gateway.freeze()?;
    let sent = send_all(&field, READINGS)?;
    field.publish("alarms/d1", "fire")?;
    gateway.thaw()?;
    wait_until("all has arrived", || watch.total() as usize > sent.count())?;
    let place = watch
        .arrivals()
        .iter()
        .position(|arrival| arrival.topic == "alarms/d1");
    ensure!(
        place.is_some_and(|place| place < READINGS / 10),
        "the alarm came as number {place:?} of {READINGS} and one"
    );
    Ok(())
}

/// A payload that is no JSON among good ones, through `examples/convert`.
/// Guarantee: it is a dead letter, counted as such, and holds up nothing behind it.
fn a_bad_payload_is_parked_with_its_reason() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let gateway = Gateway::with(convert::config(field.address(), cloud.address())?).start()?;
    field.publish("devices/d1/telemetry", "{\"device\": \"d1\", ")?;
    field.publish("devices/d1/telemetry", reading("d1", 1, 25.5))?;
    wait_until("the good one has arrived", || watch.total() == 1)?;
    wait_until("the bad one is parked", || {
        gateway.metric("tidegate_dead_letters_total", &[("reason", "rejected")]) == 1.0
            && gateway.metric("tidegate_chain_messages_total", &[("fate", "parked")]) == 1.0
    })
}

/// `mosquitto_pub` into one mosquitto, `mosquitto_sub` from another, MQTT 5 with a user property on either side.
/// Guarantee: the tools people have work with it, and headers travel along.
fn mosquitto_pub_to_mosquitto_sub() -> Result<()> {
    let (field, cloud) = (Broker::mosquitto()?, Broker::mosquitto()?);
    let config = Config::forwarding().between(&field.url(), &cloud.url());
    let _gateway = Gateway::with(config).start()?;
    // It ends after one message; before that, what it has written stays in its buffer.
    let once = ["-V", "5", "-C", "1"];
    let mut sub = subscribe(&cloud, UP, "%t %P %p", &once)?;
    let property = [
        "-V",
        "5",
        "-D",
        "publish",
        "user-property",
        "traceparent",
        "00-abc",
    ];
    publish(&field, "devices/d1/telemetry", "hello", &property)?;
    ensure!(sub.wait()?.success(), "mosquitto_sub failed");
    ensure!(
        sub.lines()
            .has(&["got up/devices/d1/telemetry", "traceparent:00-abc", "hello"]),
        "{:?}",
        sub.lines().all()
    );
    Ok(())
}
