//! What a broker says of us to others: the will, and what takes it back.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::process::Process;
use tidegate_tests::{Broker, Config, Gateway, cases, wait_until, with_mosquitto};

pub fn cases() -> Vec<Trial> {
    cases![with_mosquitto;
        a_will_is_taken_back_once_we_are_there_again,
    ]
}

/// A subscriber to that topic: a line for each message.
fn listen(broker: &Broker) -> Result<Process> {
    let port = broker.address().port().to_string();
    let mut command = Command::new("mosquitto_sub");
    command.args([
        "-h",
        "127.0.0.1",
        "-p",
        &port,
        "-q",
        "1",
        "-t",
        "gone/barn",
        "-F",
        "got %p",
    ]);
    let process = Process::start("mosquitto_sub", &mut command)?;
    wait_until("the subscription stands", || {
        broker.lines().has(&["gone/barn"])
    })?;
    Ok(process)
}

fn heard(listener: &Process) -> Vec<String> {
    let lines = listener.lines().all();
    let got = lines.iter().filter_map(|line| line.strip_prefix("got "));
    got.map(str::to_owned).collect()
}

/// An uplink of two connections with a will; the gateway is killed, starts again, and is stopped.
/// Guarantee: each time the broker says once what is so, in that order, and whoever asks later hears the last of it.
fn a_will_is_taken_back_once_we_are_there_again() -> Result<()> {
    let (field, cloud) = (Broker::mosquitto()?, Broker::mosquitto()?);
    let will = "connections = 2\nwill = { topic = \"gone/barn\", payload = \"offline\", online = \"online\", retain = true }";
    let config = Config::forwarding()
        .between(&field.url(), &cloud.url())
        .put("uplink.cloud", will);
    let listener = listen(&cloud)?;
    let hears = |wanted: &[&str]| wait_until("what is so is said", || heard(&listener) == wanted);
    let gateway = Gateway::with(config).start()?;
    hears(&["online"])?;
    let setup = gateway.kill()?;
    hears(&["online", "offline"])?;
    let gateway = setup.start()?;
    hears(&["online", "offline", "online"])?;
    let (ended, _setup) = gateway.stop()?;
    ensure!(ended.success(), "the gateway ended with {ended}");
    hears(&["online", "offline", "online", "offline"])?;
    let late = listen(&cloud).context("a later subscriber")?;
    wait_until("the last word is kept", || heard(&late) == ["offline"])
}
