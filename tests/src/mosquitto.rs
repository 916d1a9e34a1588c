//! `mosquitto_pub` and `mosquitto_sub`: clients that nobody here wrote.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::broker::Broker;
use crate::process::Process;
use crate::wait::wait_until;

/// One of them at level 1, with these words for this broker. What `more` says comes last, and counts.
fn client(program: &str, broker: &Broker, words: &[&str], more: &[&str]) -> Command {
    let port = broker.address().port().to_string();
    let mut command = Command::new(program);
    command
        .args(["-h", "127.0.0.1", "-p", &port, "-q", "1"])
        .args(words)
        .args(more);
    command
}

/// Publishes a message, and waits until the broker has it.
pub fn publish(broker: &Broker, topic: &str, payload: &str, more: &[&str]) -> Result<()> {
    let words = ["-t", topic, "-m", payload];
    let status = client("mosquitto_pub", broker, &words, more).status();
    let status = status.context("cannot run mosquitto_pub")?;
    ensure!(status.success(), "mosquitto_pub failed: {topic}");
    Ok(())
}

/// Subscribes, and waits until the broker's log says so; each message is a line of this format behind the word `got`.
pub fn subscribe(broker: &Broker, filter: &str, format: &str, more: &[&str]) -> Result<Process> {
    let format = format!("got {format}");
    let words = ["-t", filter, "-F", &format];
    let mut command = client("mosquitto_sub", broker, &words, more);
    let process = Process::start("mosquitto_sub", &mut command)?;
    wait_until("the subscription stands", || broker.lines().has(&[filter]))?;
    Ok(process)
}

/// What a subscriber has got so far, line by line.
pub fn heard(subscriber: &Process) -> Vec<String> {
    let lines = subscriber.lines().all();
    let got = lines.iter().filter_map(|line| line.strip_prefix("got "));
    got.map(str::to_owned).collect()
}
