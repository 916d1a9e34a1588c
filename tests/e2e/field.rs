//! Field brokers as they are: small windows, repeats, messages that MQTT forbids, several copies of one, retained ones.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::cut::Cuttable;
use tidegate_tests::fake::FieldBroker;
use tidegate_tests::mosquitto::publish;
use tidegate_tests::wait::wait_at_most;
use tidegate_tests::{Broker, Config, Gateway, Watch, case, cases, wait_until, with_mosquitto};

use crate::scene::UP;

pub fn cases() -> Vec<Trial> {
    let mut cases = cases![
        what_mqtt_forbids_is_parked_and_the_rest_goes_on,
        names_of_the_gateway_do_not_come_in,
    ];
    cases.extend(cases![with_mosquitto;
        overlapping_subscriptions_deliver_once,
        retained_messages_come_once_over_3_1_1,
    ]);
    for (window, protocol) in [(1, "5"), (10, "5"), (20, "3.1.1"), (50, "5")] {
        let name = format!("field::a_window_of_{window}_is_taken_while_upstream_is_away");
        cases.push(case(&name, move || small_window(window, protocol)));
    }
    cases
}

fn messages(count: usize) -> impl Iterator<Item = (String, Vec<u8>)> {
    (0..count).map(|number| {
        (
            format!("devices/d{}/telemetry", number % 7),
            number.to_string().into_bytes(),
        )
    })
}

/// Numbers that have arrived, in order of their arrival.
fn numbers(watch: &Watch) -> Vec<usize> {
    let number = |payload: &[u8]| std::str::from_utf8(payload).ok()?.parse().ok();
    watch
        .arrivals()
        .iter()
        .filter_map(|arrival| number(&arrival.payload))
        .collect()
}

/// A broker that sends so many messages and waits; upstream is away. Then it comes back, and the field connection is cut in
/// the middle of the backlog's end.
/// Guarantee: a window is written and acknowledged at once, not at the next half second; nothing is lost.
fn small_window(window: usize, protocol: &str) -> Result<()> {
    // At two windows a second, as the timer alone has it, these would take more than two minutes.
    let count = window * 300;
    let (field, cloud) = (FieldBroker::start(window)?, Broker::embedded()?);
    let link = Cuttable::to(cloud.address())?;
    link.go_dark();
    let watch = Watch::start(cloud.address(), UP)?;
    let config = Config::forwarding()
        .between(&field.url(), &link.url())
        .set("source.field.protocol", protocol);
    let gateway = Gateway::with(config).start()?;
    let begin = Instant::now();
    field.give(messages(count));
    wait_at_most(Duration::from_secs(60), "all is taken", || {
        field.waiting() == 0
    })?;
    let rate = count as f64 / begin.elapsed().as_secs_f64();
    let commits = gateway.metric("tidegate_spool_commits_total", &[]);
    println!("window {window}: {count} messages taken at {rate:.0}/s with {commits} commits");
    ensure!(
        commits <= 1.5 * count as f64,
        "more than a commit a message: {commits}"
    );
    link.back();
    wait_until("all has arrived", || watch.total() >= count as u64)?;
    ensure!(
        field.strange().is_empty(),
        "acknowledged twice, or never sent: {:?}",
        field.strange()
    );
    Ok(())
}

/// A lenient broker hands on a topic that is not UTF-8, one with NUL, and a user property in Latin-1, each at QoS 1, between
/// twenty good messages.
/// Guarantee: each is parked with its bytes and acknowledged once, the good ones arrive, over one connection.
fn what_mqtt_forbids_is_parked_and_the_rest_goes_on() -> Result<()> {
    let (field, cloud) = (FieldBroker::start(20)?, Broker::embedded()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let gateway =
        Gateway::with(Config::forwarding().between(&field.url(), &cloud.url())).start()?;
    field.give(messages(10));
    let topic = |level: &[u8]| [b"devices/".as_slice(), level, b"/telemetry"].concat();
    let bad: [(Vec<u8>, &[u8]); 3] = [
        (topic(b"\xff"), b""),
        (topic(b"a\0"), b""),
        (topic(b"d1"), b"\x26\0\x01n\0\x01\xe9"),
    ];
    for (id, (topic, properties)) in (60_001_u16..).zip(&bad) {
        let lengths = (
            u16::try_from(topic.len())?.to_be_bytes(),
            u8::try_from(properties.len())?,
        );
        let body = [
            &lengths.0,
            &topic[..],
            &id.to_be_bytes(),
            &[lengths.1],
            properties,
            b"bytes",
        ]
        .concat();
        field.inject(&[&[0x32, u8::try_from(body.len())?], &body[..]].concat());
    }
    field.give(messages(20).skip(10));
    wait_until("the good ones have arrived", || numbers(&watch).len() == 20)?;
    wait_until("the bad ones are acknowledged", || {
        field.strange().len() == 3
    })?;
    ensure!(
        field.strange() == [60_001, 60_002, 60_003],
        "{:?}",
        field.strange()
    );
    let parked = gateway.metric("tidegate_dead_letters_total", &[("reason", "malformed")]);
    ensure!(parked == 3.0, "{parked} are parked");
    ensure!(
        gateway.metric("tidegate_source_reconnects_total", &[]) == 0.0,
        "the connection was lost"
    );
    Ok(())
}

/// A device says by user properties that its message has expired, which id it has and how it is packed.
/// Guarantee: none of that comes in; the message arrives.
fn names_of_the_gateway_do_not_come_in() -> Result<()> {
    let (field, cloud) = (FieldBroker::start(20)?, Broker::embedded()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let gateway =
        Gateway::with(Config::forwarding().between(&field.url(), &cloud.url())).start()?;
    let text = |text: &str| [&[0, text.len() as u8], text.as_bytes()].concat();
    let names = [
        ":message-expiry",
        ":response-topic",
        "tidegate-id",
        "tidegate-replayed",
        "content-encoding",
    ];
    let properties: Vec<u8> = names
        .iter()
        .flat_map(|name| [vec![0x26], text(name), text("0")].concat())
        .collect();
    let body = [
        &text("devices/d1/telemetry")[..],
        &[0xea, 0x61, properties.len() as u8],
        &properties,
        b"7",
    ]
    .concat();
    ensure!(properties.len() < 128 && body.len() > 127, "{}", body.len());
    let length = [(body.len() & 0x7f) as u8 | 0x80, (body.len() >> 7) as u8];
    field.inject(&[&[0x32], &length[..], &body].concat());
    wait_until("it has arrived", || numbers(&watch) == [7])?;
    wait_until("it is acknowledged", || field.strange() == [60_001])?;
    ensure!(
        gateway.metric("tidegate_dead_letters_total", &[]) == 0.0,
        "it was parked"
    );
    Ok(())
}

/// Two flows with filters that overlap without one covering the other, over MQTT 5, where mosquitto sends a copy for each.
/// Guarantee: each flow gets each message once, also the same one twice in a row.
fn overlapping_subscriptions_deliver_once() -> Result<()> {
    let (field, cloud) = (Broker::mosquitto()?, Broker::embedded()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let mut config = Config::bare().between(&field.url(), &cloud.url());
    for (name, topics) in [("one", "a/{device}/c"), ("two", "a/b/{kind}")] {
        let flow = format!(
            "from = \"field\"\ntopics = [\"{topics}\"]\nto = \"cloud:telemetry\"\ntopic = \"up/{name}/{{topic}}\""
        );
        config = config.add(&format!("flow.{name}"), &flow);
    }
    let gateway = Gateway::with(config).start()?;
    for payload in ["1", "1", "2"] {
        publish(&field, "a/b/c", payload, &[])?;
    }
    publish(&field, "a/x/c", "3", &[])?;
    wait_until("the last one has arrived", || numbers(&watch).contains(&3))?;
    wait_until("copies are dropped", || {
        gateway.metric("tidegate_source_repeated_messages_total", &[]) == 3.0
    })?;
    let mut arrived: Vec<_> = watch
        .arrivals()
        .iter()
        .map(|arrival| (arrival.topic.clone(), arrival.payload.clone()))
        .collect();
    arrived.sort();
    let counts = |topic: &str| arrived.iter().filter(|(found, _)| found == topic).count();
    ensure!(
        (
            counts("up/one/a/b/c"),
            counts("up/two/a/b/c"),
            counts("up/one/a/x/c")
        ) == (3, 3, 1),
        "{arrived:?}"
    );
    Ok(())
}

/// A retained reading on mosquitto, taken over 3.1.1; the gateway is stopped and started again.
/// Guarantee: the session stands, so nothing is subscribed again, and the reading does not come a second time.
fn retained_messages_come_once_over_3_1_1() -> Result<()> {
    let (field, cloud) = (Broker::mosquitto()?, Broker::embedded()?);
    publish(&field, "devices/d1/telemetry", "1", &["-r"])?;
    let watch = Watch::start(cloud.address(), UP)?;
    let config = Config::forwarding()
        .between(&field.url(), &cloud.url())
        .set("source.field.protocol", "3.1.1");
    let gateway = Gateway::with(config).start()?;
    wait_until("it has arrived", || numbers(&watch) == [1])?;
    let (status, setup) = gateway.stop()?;
    ensure!(status.success(), "the gateway ended with {status}");
    let _gateway = setup.start()?;
    publish(&field, "devices/d1/telemetry", "2", &[])?;
    wait_until("the next one has arrived", || numbers(&watch).contains(&2))?;
    ensure!(numbers(&watch) == [1, 2], "{:?}", numbers(&watch));
    Ok(())
}
