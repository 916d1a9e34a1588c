//! Versions, levels and flags of MQTT, and brokers that send what they should not.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::fake::{CONNACK_V5, FakeBroker, Step};
use tidegate_tests::mosquitto;
use tidegate_tests::{
    Broker, Config, Gateway, Mosquitto, Plan, Watch, cases, wait_until, with_mosquitto,
};

use crate::scene::{UP, expect_exactly_once, unnamed};

pub fn cases() -> Vec<Trial> {
    let mut cases = cases![
        a_malformed_packet_costs_the_connection_only,
        an_over_long_payload_is_parked_once,
        an_over_long_topic_is_parked_once,
    ];
    cases.extend(cases![with_mosquitto;
        a_login_that_is_refused_is_said,
    ]);
    for (field, cloud) in [
        ("5", "5"),
        ("5", "3.1.1"),
        ("3.1.1", "5"),
        ("3.1.1", "3.1.1"),
    ] {
        let name = format!("protocol::mqtt_{field}_in_and_{cloud}_out");
        cases.push(with_mosquitto(&name, move || versions(field, cloud)));
    }
    for level in [0, 1, 2] {
        cases.push(with_mosquitto(
            &format!("protocol::qos_{level}_in_and_out"),
            move || levels(level),
        ));
    }
    cases
}

/// A load between two mosquittos, with this version of MQTT on either side.
/// Guarantee: each arrives once and in order, whichever versions meet.
fn versions(field_version: &str, cloud_version: &str) -> Result<()> {
    let (field, cloud) = (Broker::mosquitto()?, Broker::mosquitto()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let config = Config::forwarding()
        .between(&field.url(), &cloud.url())
        .set("source.field.protocol", field_version)
        .set("uplink.cloud.protocol", cloud_version);
    let _gateway = Gateway::with(config).start()?;
    let plan = Plan {
        rate: None,
        total: Some(3_000),
        ..Plan::default()
    };
    let sent = tidegate_tests::Load::start(field.address(), plan).wait()?;
    expect_exactly_once(&sent, watch).map(drop)
}

/// The gateway subscribes and publishes at each level; a retained message is waiting for it.
/// Guarantee: the retained one arrives too, and with its flag; QoS 2 arrives once.
fn levels(level: u8) -> Result<()> {
    let (field, cloud) = (Broker::mosquitto()?, Broker::mosquitto()?);
    let level_of_mqtt = level.to_string();
    let publish = |message: &str, more: &[&str]| {
        let more = [&["-q", &level_of_mqtt], more].concat();
        mosquitto::publish(&field, "devices/d1/telemetry", message, &more)
    };
    publish("kept", &["-r"])?;
    let watch = Watch::start(cloud.address(), UP)?;
    let config = Config::forwarding()
        .between(&field.url(), &cloud.url())
        .set("source.field.qos", i64::from(level))
        .set("uplink.cloud.qos", i64::from(level));
    let _gateway = Gateway::with(config).start()?;
    wait_until("the retained message has arrived", || watch.total() == 1)?;
    publish("live", &[])?;
    wait_until("the live message has arrived", || watch.total() == 2)?;
    let arrivals = watch.arrivals();
    ensure!(
        arrivals[0].payload == b"kept" && arrivals[1].payload == b"live",
        "{arrivals:?}"
    );
    // The upstream broker keeps it: whoever subscribes now gets it with its flag.
    let late = Watch::start(cloud.address(), UP)?;
    wait_until("upstream has kept it", || late.total() == 1)?;
    ensure!(
        late.arrivals()[0].retain && late.arrivals()[0].payload == b"kept",
        "{:?}",
        late.arrivals()
    );
    Ok(())
}

/// Two sources; one broker answers the subscription with bytes that are no MQTT, again and again.
/// Guarantee: that connection is dropped and dialled again, the other source goes on, the process lives.
fn a_malformed_packet_costs_the_connection_only() -> Result<()> {
    let scripts: [Vec<u8>; 4] = [
        // A packet type that does not exist in this direction, a PUBLISH shorter than its topic, one with a NUL in its
        // topic, a length of five bytes.
        vec![0xf0, 0x00],
        vec![0x32, 0x04, 0x00, 0x10, b'a', b'b'],
        vec![0x30, 0x05, 0x00, 0x02, b'a', 0x00, 0x00],
        vec![0x30, 0xff, 0xff, 0xff, 0xff, 0x01],
    ];
    for bytes in scripts {
        let script = vec![
            Step::Await(1),
            Step::Send(CONNACK_V5.to_vec()),
            Step::Await(8),
            Step::Send(bytes.clone()),
        ];
        let fake = FakeBroker::start(script)?;
        let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
        let watch = Watch::start(cloud.address(), "devices/#")?;
        let config = unnamed()
            .between(&field.url(), &cloud.url())
            .source("broken", &fake.url())
            .put(
                "source.broken",
                "backoff = { first = \"20ms\", cap = \"50ms\", jitter = 0 }",
            )
            .put("flow.all", "from = [\"field\", \"broken\"]");
        let mut gateway = Gateway::with(config).launch()?;
        wait_until(&format!("it dials again after {bytes:02x?}"), || {
            fake.connections() >= 3
        })?;
        field.publish("devices/d1/telemetry", "still here")?;
        wait_until("the other source goes on", || watch.total() >= 1)?;
        ensure!(
            gateway.is_running(),
            "the gateway has ended after {bytes:02x?}"
        );
    }
    Ok(())
}

/// A payload above the source's limit, then a harmless one, then a new connection.
/// Guarantee: its head is a dead letter, it is acknowledged and not sent again, and nothing waits behind it.
fn an_over_long_payload_is_parked_once() -> Result<()> {
    over_long(
        "devices/d1/telemetry",
        vec![b'x'; 300_000],
        "max_packet = \"64KiB\"",
    )
}

/// A topic above the limit of levels and bytes.
/// Guarantee: the same as for payloads.
fn an_over_long_topic_is_parked_once() -> Result<()> {
    over_long(
        &format!("devices/{}/telemetry", "d".repeat(4_000)),
        b"x".to_vec(),
        "max_topic = \"1KiB\"",
    )
}

fn over_long(topic: &str, payload: Vec<u8>, limit: &str) -> Result<()> {
    let (mut field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let config = Config::forwarding()
        .between(&field.url(), &cloud.url())
        .put("source.field", limit);
    let gateway = Gateway::with(config).start()?;
    field.publish(topic, payload)?;
    let parked = |gateway: &Gateway| {
        gateway.metric("tidegate_dead_letters_total", &[("reason", "too-long")])
    };
    wait_until("it is parked", || parked(&gateway) == 1.0)?;
    field.publish("devices/d1/telemetry", "next")?;
    wait_until("the next goes through", || watch.total() == 1)?;
    // A new session of the gateway with the same broker: what was not acknowledged would come again now.
    let (_, setup) = gateway.stop()?;
    let gateway = setup.start()?;
    field.publish("devices/d1/telemetry", "after")?;
    wait_until("the one after goes through", || watch.total() == 2)?;
    ensure!(parked(&gateway) == 0.0, "it was sent again");
    field.go_dark()
}

/// A broker that wants a password, and gets a wrong one; then the right one from a file.
/// Guarantee: the log says that the login was refused, the gateway stays up; with the right one it works.
fn a_login_that_is_refused_is_said() -> Result<()> {
    let field = Broker::embedded()?;
    let cloud = Mosquitto::new().login("gateway", "correct horse").start()?;
    let login = "user = \"gateway\"\npassword = { env = \"CLOUD_PASSWORD\" }\n";
    let config = Config::forwarding()
        .between(&field.url(), &cloud.url())
        .put("uplink.cloud", login);
    let mut gateway = Gateway::with(&config)
        .env("CLOUD_PASSWORD", "wrong")
        .start()?;
    wait_until("the log says so", || {
        gateway.lines().has(&["cloud", "refused"])
    })?;
    ensure!(gateway.is_running(), "the gateway has ended");
    ensure!(
        !gateway.lines().has(&["\"wrong\""]),
        "the password is in the log"
    );
    drop(gateway);
    let gateway = Gateway::with(&config)
        .env("CLOUD_PASSWORD", "correct horse")
        .start()?;
    wait_until("the uplink is up", || {
        gateway.metric("tidegate_uplink_up", &[("uplink", "cloud")]) == 1.0
    })
}
