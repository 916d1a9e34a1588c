//! The other direction: commands from upstream to devices, and their replies, by `examples/commands`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::convert::example;
use tidegate_tests::cut::Cuttable;
use tidegate_tests::mosquitto::{self, heard, subscribe};
use tidegate_tests::process::Process;
use tidegate_tests::{Broker, Config, Gateway, cases, wait_until, with_mosquitto};

pub fn cases() -> Vec<Trial> {
    cases![with_mosquitto;
        a_stale_command_is_not_delivered_and_a_valid_one_once,
    ]
}

const COMMAND: &str = "devices/d1/command";
const REPLY: &str = "devices/d1/reply";
/// Of the stale command: long enough to be owed before it is over, also where processes take a second to start.
const LIFE: Duration = Duration::from_secs(5);

/// The shipped example between these two, with short back-offs.
fn config(field: &str, cloud: &str) -> Result<Config> {
    let backoff = "backoff = { first = \"50ms\", cap = \"400ms\", jitter = 0.2 }";
    let mut config = example("commands")?.put("uplink.field", backoff);
    for end in ["source", "uplink"] {
        config = config
            .change(&format!("{end}.field.url"), field)
            .change(&format!("{end}.cloud.url"), cloud);
    }
    Ok(config)
}

/// A subscriber of MQTT 5: a line for each message, with payload, correlation data, response topic and interval.
fn listen(broker: &Broker, filter: &str) -> Result<Process> {
    subscribe(broker, filter, "%p|%D|%R|%E", &["-V", "5"])
}

/// Publishes with these properties.
fn publish(broker: &Broker, topic: &str, payload: &str, properties: &[&[&str]]) -> Result<()> {
    let properties = properties
        .iter()
        .flat_map(|property| ["-D", "publish"].iter().chain(*property));
    let more: Vec<&str> = ["-V", "5"].iter().chain(properties).copied().collect();
    mosquitto::publish(broker, topic, payload, &more)
}

/// The link to the field goes dark; a command with some seconds to live is sent, one with ten minutes, and that one again. When
/// those seconds are over the link is back, and the device answers.
/// Guarantee: the stale command is not delivered and stands in the ledger; the valid one arrives once, with what is left of
/// its life, with response topic and correlation data; the reply arrives with the same correlation data.
fn a_stale_command_is_not_delivered_and_a_valid_one_once() -> Result<()> {
    let (field, cloud) = (Broker::mosquitto()?, Broker::mosquitto()?);
    let link = Cuttable::to(field.address())?;
    let gateway = Gateway::with(config(&link.url(), &cloud.url())?).start()?;
    let (device, sender) = (
        listen(&field, "devices/+/command")?,
        listen(&cloud, "devices/+/reply")?,
    );
    link.go_dark();
    wait_until("the link is seen to be down", || {
        gateway.metric("tidegate_uplink_up", &[("uplink", "field")]) == 0.0
    })?;
    publish(
        &cloud,
        COMMAND,
        "stale",
        &[
            &["message-expiry-interval", &LIFE.as_secs().to_string()],
            &["user-property", "id", "1"],
        ],
    )?;
    let sent = Instant::now();
    let valid: [&[&str]; 4] = [
        &["message-expiry-interval", "600"],
        &["user-property", "id", "2"],
        &["response-topic", REPLY],
        &["correlation-data", "about-2"],
    ];
    publish(&cloud, COMMAND, "valid", &valid)?;
    publish(&cloud, COMMAND, "valid", &valid)?;
    let repeated = || {
        gateway.metric(
            "tidegate_source_repeated_messages_total",
            &[("source", "cloud")],
        )
    };
    let owed = || gateway.metric("tidegate_spool_messages", &[("uplink", "field")]);
    wait_until("both are owed", || repeated() == 1.0 && owed() == 2.0)?;
    wait_until("the first one's time is over", || {
        sent.elapsed() > LIFE + Duration::from_millis(200)
    })?;
    link.back();
    wait_until("the valid one has arrived", || !heard(&device).is_empty())?;
    wait_until("nothing is owed", || owed() == 0.0)?;
    let expired = gateway.metric("tidegate_ledger_messages", &[("reason", "expired")]);
    ensure!(expired == 1.0, "{expired} are in the ledger as expired");
    // Whatever came before this one is heard before it.
    publish(&cloud, COMMAND, "last", &[])?;
    wait_until("the last one has arrived", || {
        heard(&device)
            .iter()
            .any(|line| line.starts_with("last|||"))
    })?;
    let lines = heard(&device);
    let (valid, interval) = lines[0].rsplit_once('|').context("a line has four parts")?;
    ensure!(
        lines.len() == 2 && valid == format!("valid|about-2|{REPLY}"),
        "{lines:?}"
    );
    // The message's own interval is longer than the flow's, which is a minute.
    ensure!(
        (30..60).contains(&interval.parse::<u32>()?),
        "{interval} s are left"
    );
    publish(&field, REPLY, "done", &[&["correlation-data", "about-2"]])?;
    wait_until("the reply has arrived", || {
        heard(&sender)
            .iter()
            .any(|line| line.starts_with("done|about-2|"))
    })?;
    println!(
        "heard by the device: {lines:?}, by the sender: {:?}",
        heard(&sender)
    );
    Ok(())
}
