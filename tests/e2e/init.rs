//! `tidegate init`: what it makes of what speaks on a broker, and that it writes over nothing.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::binary::tidegate;
use tidegate_tests::mosquitto::publish;
use tidegate_tests::{Broker, cases, with_mosquitto};

pub fn cases() -> Vec<Trial> {
    let mut cases = cases![
        who_cannot_be_asked_and_says_too_little_is_told_what_is_missing,
        what_would_make_no_config_is_not_written,
    ];
    cases.extend(
        cases![with_mosquitto; what_speaks_on_a_broker_becomes_a_config_that_passes_its_check,],
    );
    cases
}

/// Retained messages as each system leaves them, and some that would like to be part of a config.
const SPEAKING: [(&str, &str); 14] = [
    ("zigbee2mqtt/bridge/state", r#"{"state":"online"}"#),
    (
        "zigbee2mqtt/kitchen",
        r#"{"temperature":21.4,"linkquality":120}"#,
    ),
    ("tele/plug-1/LWT", "Online"),
    ("shellies/shelly1pm-AABBCC/relay/0/power", "12.5"),
    (
        "shellyplus1pm-a8032ab1/status/switch:0",
        r#"{"id":0,"apower":12.5}"#,
    ),
    ("livingroom/status", "online"),
    ("livingroom/sensor/temperature/state", "21.5"),
    (
        "homeassistant/switch/plug/config",
        r#"{"~":"x","cmd_t":"~/set"}"#,
    ),
    (
        "application/3f1c9c2e/device/0102030405060708/event/up",
        r#"{"fCnt":10}"#,
    ),
    ("v3/my-app@ttn/devices/eui-70b3/up", "{}"),
    ("spBv1.0/plant/NBIRTH/line-1", "x"),
    ("homie/kitchen/$homie", "4.0"),
    ("x\"] \u{202e}/bridge/state", "online"),
    ("{device}/bridge/state", "online"),
];

fn init(folder: &Path, arguments: &[&str]) -> Result<Output> {
    Command::new(tidegate()?)
        .arg("init")
        .args(arguments)
        .current_dir(folder)
        .output()
        .context("cannot run tidegate")
}

/// A mosquitto on which all the systems have left what they say.
fn speaking() -> Result<Broker> {
    let broker = Broker::mosquitto()?;
    for (topic, payload) in SPEAKING {
        publish(&broker, topic, payload, &["-r"])?;
    }
    Ok(broker)
}

const FLOWS: [&str; 9] = [
    "zigbee",
    "tasmota",
    "shelly-first",
    "shelly",
    "esphome",
    "chirpstack",
    "things-stack",
    "sparkplug",
    "homie",
];

/// A mosquitto on which all the systems have left something; the config is written, checked, and asked for again.
/// Guarantee: a flow for each that has readings, it passes `check`, nothing of a broker's words stands in it, and it stays as it is.
fn what_speaks_on_a_broker_becomes_a_config_that_passes_its_check() -> Result<()> {
    let broker = speaking()?;
    let folder = tempfile::tempdir()?;
    let url = broker.url();
    let arguments = [
        "--field",
        &url,
        "--upstream",
        "mqtts://ingest.example.com",
        "--name",
        "barn-7",
        "--look",
        "3s",
    ];
    for want in ["forward", "changes", "silence"] {
        is_written_and_good(folder.path(), &arguments, want)?;
    }
    ensure!(
        fs::read_dir(folder.path())?.count() == 3,
        "something else stayed there"
    );
    Ok(())
}

fn is_written_and_good(folder: &Path, arguments: &[&str], want: &str) -> Result<()> {
    let file = format!("{want}.toml");
    let output = init(folder, &[arguments, &["--want", want, &file]].concat())?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{want}: {}: {said}", output.status);
    ensure!(
        !said.contains('\u{202e}') && said.contains("recognised: Zigbee2MQTT"),
        "{said}"
    );
    let text = fs::read_to_string(folder.join(&file))?;
    for flow in FLOWS {
        ensure!(
            text.contains(&format!("[flow.{flow}]\n")),
            "{flow} is not in {text}"
        );
    }
    ensure!(
        !text.contains("x\\\"]") && !text.contains("{device}/{device}"),
        "{text}"
    );
    ensure!(
        text.contains("builtin:silence") == (want == "silence"),
        "{text}"
    );
    let checked = Command::new(tidegate()?)
        .args(["check", "-c", &file])
        .current_dir(folder)
        .output()?;
    ensure!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
    let again = init(folder, &[arguments, &["--want", want, &file]].concat())?;
    ensure!(
        again.status.code() == Some(1) && fs::read_to_string(folder.join(&file))? == text,
        "it was written over"
    );
    Ok(())
}

/// No terminal, and no flags.
/// Guarantee: it ends at once, says which flag is needed, and writes nothing.
fn who_cannot_be_asked_and_says_too_little_is_told_what_is_missing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let output = Command::new(tidegate()?)
        .arg("init")
        .current_dir(folder.path())
        .stdin(std::process::Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(2) && said.contains("--field"),
        "{}: {said}",
        output.status
    );
    ensure!(
        fs::read_dir(folder.path())?.next().is_none(),
        "something was written"
    );
    Ok(())
}

/// A URL that is none, and a broker that nobody listens for.
/// Guarantee: the mistake is shown, and no file stays.
fn what_would_make_no_config_is_not_written() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let with = |field: &str, look: &str| {
        init(
            folder.path(),
            &[
                "--field",
                field,
                "--upstream",
                "mqtt://127.0.0.1:2",
                "--want",
                "forward",
                "--look",
                look,
            ],
        )
    };
    let output = with("nonsense\"\n[admin]", "0s")?;
    ensure!(
        output.status.code() == Some(3),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let free = std::net::TcpListener::bind("127.0.0.1:0")?;
    let nobody = format!("mqtt://{}", free.local_addr()?);
    drop(free);
    let output = with(&nobody, "1s")?;
    ensure!(
        output.status.code() == Some(1),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    ensure!(
        fs::read_dir(folder.path())?.next().is_none(),
        "something stayed"
    );
    Ok(())
}
