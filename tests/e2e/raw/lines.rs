//! A serial line that is a pair of pseudo terminals.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::process::Process;
use tidegate_tests::{Broker, Config, Gateway, Watch, cases, needs, port, wait_until};

use super::{dial, expect, letters, payloads, raw};
use crate::scene::UP;

pub fn cases() -> Vec<Trial> {
    let has_python = Command::new("python3").arg("--version").output().is_ok();
    let with_python = |name: &str, run| needs(name, "python3", has_python, run);
    cases![with_python;
        a_scale_on_a_line_is_pulled_and_comes_back,
        frames_that_end_by_silence_are_messages,
    ]
}

fn line(path: &Path, port: u16) -> Result<Process> {
    let mut command = Command::new("python3");
    command.args(["-u", "-c", include_str!("../raw.py")]);
    command.arg(path).arg(port.to_string());
    let process = Process::start("the line", &mut command)?;
    process.lines().wait_for(&["serving"])?;
    Ok(process)
}

fn scale(path: &Path, cloud: &str, keys: &str) -> Config {
    raw(&format!("serial://{}", path.display()), cloud, keys)
        .change("source.field.topic", "devices/scale/telemetry")
}

/// Frames of a fixed length behind noise, one that falls silent in the middle, and an adapter that is pulled and comes back.
/// Guarantee: what is out of step or cut off is a letter, what follows is a message and answered, and the line is opened again.
fn a_scale_on_a_line_is_pulled_and_comes_back() -> Result<()> {
    let (cloud, folder) = (Broker::embedded()?, tempfile::tempdir()?);
    let (one, other, path) = (port::free()?, port::free()?, folder.path().join("ttyUSB0"));
    let mut first = line(&path, one)?;
    let watch = Watch::start(cloud.address(), UP)?;
    let keys =
        "baud = 115200\nframing = \"fixed\"\nsize = 6\nsync = \"0xAA55\"\nreply = \"0x06\"\n";
    let gateway = Gateway::with(scale(&path, &cloud.url(), keys)).start()?;
    let mut device = dial(one)?;
    device.write_all(b"noise\xaa\xaa\x55one!\xaa\x55two!")?;
    expect(&mut device, "\x06\x06")?;
    wait_until("noise is a letter", || letters(&gateway, "unframed") == 1.0)?;
    device.write_all(b"\xaa\x55th")?;
    wait_until("half a frame is a letter", || {
        letters(&gateway, "unframed") == 2.0
    })?;
    device.write_all(b"\xaa\x55four")?;
    expect(&mut device, "\x06")?;
    first.kill()?;
    wait_until("health says that it is gone", || {
        let told = gateway.health();
        told.is_ok_and(|(_, text)| text.contains("there is no such line"))
    })?;
    let _second = line(&path, other)?;
    gateway.wait_online()?;
    let mut device = dial(other)?;
    device.write_all(b"\xaa\x55five")?;
    expect(&mut device, "\x06")?;
    wait_until("all have arrived", || watch.arrivals().len() == 4)?;
    ensure!(
        payloads(&watch)
            == ["one!", "two!", "four", "five"].map(|text| [
                b"\xaa\x55".as_slice(),
                text.as_bytes()
            ]
            .concat()),
        "{:?}",
        watch.arrivals()
    );
    Ok(())
}

/// A device whose frames have neither length nor end.
/// Guarantee: what comes without a silence is one message, and the reply comes behind it.
fn frames_that_end_by_silence_are_messages() -> Result<()> {
    let (cloud, folder) = (Broker::embedded()?, tempfile::tempdir()?);
    let (port, path) = (port::free()?, folder.path().join("ttyUSB0"));
    let _line = line(&path, port)?;
    let watch = Watch::start(cloud.address(), UP)?;
    let keys = "framing = \"idle\"\nidle = \"200ms\"\nreply = \"\\u0006\"\n";
    let _gateway = Gateway::with(scale(&path, &cloud.url(), keys)).start()?;
    let mut device = dial(port)?;
    for frame in [b"one\n1".as_slice(), &[7; 300], b"three"] {
        device.write_all(frame)?;
        expect(&mut device, "\x06")?;
    }
    wait_until("all have arrived", || watch.arrivals().len() == 3)?;
    ensure!(
        payloads(&watch) == [b"one\n1".to_vec(), vec![7; 300], b"three".to_vec()],
        "{:?}",
        watch.arrivals()
    );
    Ok(())
}
