//! What a broker says of us to others: the will, and what takes it back.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::mosquitto::{heard, subscribe};
use tidegate_tests::process::Process;
use tidegate_tests::{Broker, Config, Gateway, cases, wait_until, with_mosquitto};

pub fn cases() -> Vec<Trial> {
    cases![with_mosquitto;
        a_will_is_taken_back_once_we_are_there_again,
    ]
}

fn listen(broker: &Broker) -> Result<Process> {
    subscribe(broker, "gone/barn", "%p", &[])
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
