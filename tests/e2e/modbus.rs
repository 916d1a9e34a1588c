//! Devices that are asked over Modbus: those of a server that others wrote, over TCP and on a line, and one that answers wrongly.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use rustix::process::Signal;
use serde_json::{Value, json};
use tidegate_tests::cut::Cuttable;
use tidegate_tests::process::Process;
use tidegate_tests::{Broker, Config, Gateway, Watch, cases, needs, port, rounds, wait_until};

use crate::scene::UP;

mod answers;

pub fn cases() -> Vec<Trial> {
    let with_server = |name: &str, run| needs(name, "pymodbus", python().is_some(), run);
    let mut cases = cases![with_server;
        registers_become_messages_over_tcp,
        registers_become_messages_on_a_line_that_goes_and_comes_back,
        a_frozen_server_is_told_once_and_comes_back,
        a_dead_station_does_not_take_the_time_of_a_live_one,
        killed_again_and_again_no_reading_that_was_safe_is_lost,
        devices_come_go_and_change_by_a_reload,
    ];
    cases.extend(answers::cases());
    cases
}

/// The interpreter that `tests/brokers/install` has brought pymodbus to.
fn python() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/brokers/python");
    let python = folder.join("bin/python");
    let packages = std::fs::read_dir(folder.join("lib")).ok()?;
    let has = packages
        .flatten()
        .any(|version| version.path().join("site-packages/pymodbus").exists());
    has.then_some(python)
}

fn server(kind: &str, place: &str, stations: &[&str]) -> Result<Process> {
    let mut command = Command::new(python().context("no pymodbus")?);
    command.args(["-u", "-c", include_str!("modbus.py"), kind, place]);
    let process = Process::start("the Modbus server", command.args(stations))?;
    process.lines().wait_for(&["serving"])?;
    if kind == "tcp" {
        let address = format!("127.0.0.1:{place}");
        wait_until("the Modbus server listens", || {
            std::net::TcpStream::connect(&address).is_ok()
        })?;
    }
    Ok(process)
}

/// Two groups of a device: all kinds of values twice a second or so, and how often they were read.
fn device(name: &str, station: u8) -> String {
    format!(
        r#"[device.{name}]
station = {station}
[device.{name}.group.all]
every = "100ms"
within = "20s"
values.voltage = {{ holding = 0, scale = 0.1, unit = "V" }}
values.energy  = {{ holding = 2, type = "u32", scale = 0.001 }}
values.missing = {{ holding = 5 }}
values.cold    = {{ holding = 6, type = "i16" }}
values.label   = {{ holding = 20, type = "text", length = 8 }}
values.running = {{ coil = 2 }}
values.bit     = {{ holding = 0, bit = 8 }}
values.input   = {{ input = 0, not = 99 }}
[device.{name}.group.count]
every = "20ms"
within = "20s"
values.seq = {{ holding = 10, type = "u32" }}

"#
    )
}

/// A config with that source, and a flow of all that comes from it.
fn meters(url: &str, cloud: &str, keys: &str, devices: &str) -> Config {
    Config::forwarding()
        .between(url, cloud)
        .put(
            "source.field",
            "topic = \"meters/{device}/{group}\"\nprobe = { first = \"100ms\", cap = \"300ms\" }",
        )
        .put("source.field", keys)
        .put("source.field", devices)
        .put("flow.all", "topics = [\"meters/{device}/+\"]")
}

/// What has come upstream under `topic`.
fn told(watch: &Watch, topic: &str) -> Vec<Value> {
    let arrivals = watch.arrivals();
    let of_topic = arrivals
        .iter()
        .filter(|one| one.topic == format!("up/meters/{topic}"));
    of_topic
        .filter_map(|one| serde_json::from_slice(&one.payload).ok())
        .collect()
}

fn fresh(watch: &Watch, topic: &str) -> usize {
    let is_fresh = |one: &&Value| one.get("stale").is_none();
    told(watch, topic).iter().filter(is_fresh).count()
}

fn stale(watch: &Watch, topic: &str) -> usize {
    told(watch, topic).len() - fresh(watch, topic)
}

/// What a reading of [`device`] says.
fn expect_all(watch: &Watch, name: &str) -> Result<()> {
    let all = told(watch, &format!("{name}/all"));
    let mut first = all.first().context("nothing was read")?.clone();
    let ts = first["ts"].take();
    ensure!(ts.as_u64().is_some_and(|ts| ts > 1_700_000_000_000), "{ts}");
    let expected = json!({
        "ts": null,
        "values": { "voltage": 230.1, "energy": 70, "cold": -5, "label": "meter 7", "running": true, "bit": false, "input": null },
        "units": { "voltage": "V" },
        "errors": { "missing": "illegal-data-address" },
    });
    ensure!(first == expected, "{first}");
    Ok(())
}

fn readyz(gateway: &Gateway, parts: &[&str]) -> Result<()> {
    wait_until(&format!("health says {parts:?}"), || {
        let told = gateway.health();
        told.is_ok_and(|(_, text)| parts.iter().all(|part| text.contains(part)))
    })
}

/// Every kind of value, one of which the device refuses, from a server over TCP.
/// Guarantee: values are what the device has, scaled without a rounding error; what is refused costs itself and is told.
fn registers_become_messages_over_tcp() -> Result<()> {
    let (cloud, port) = (Broker::embedded()?, port::free()?);
    let _server = server("tcp", &port.to_string(), &["7"])?;
    let watch = Watch::start(cloud.address(), UP)?;
    let url = format!("modbus+tcp://127.0.0.1:{port}");
    let gateway = Gateway::with(meters(&url, &cloud.url(), "", &device("a", 7))).start()?;
    wait_until("it is read again and again", || fresh(&watch, "a/all") > 3)?;
    expect_all(&watch, "a")?;
    let address =
        format!("(station 7 at 127.0.0.1:{port}) refuses in group `all`: `missing` (holding 5");
    readyz(&gateway, &[&address])?;
    let answered = gateway.metric("tidegate_source_requests_total", &[("status", "answered")]);
    let refused = gateway.metric("tidegate_source_requests_total", &[("status", "refused")]);
    ensure!(
        answered > refused && refused >= 1.0,
        "{answered} answered, {refused} refused"
    );
    Ok(())
}

/// A line of pseudo terminals; its server is killed, and comes back on other ones under the same path.
/// Guarantee: a line that is unplugged is told, its devices go stale, and it is opened again by itself.
fn registers_become_messages_on_a_line_that_goes_and_comes_back() -> Result<()> {
    let cloud = Broker::embedded()?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("line");
    let place = path.display().to_string();
    let mut first = server("line", &place, &["7", "8"])?;
    let watch = Watch::start(cloud.address(), UP)?;
    let devices = device("a", 7) + &device("b", 8);
    let keys = "baud = 19200\ntimeout = \"2s\"\n";
    let url = format!("modbus+rtu://{place}");
    let gateway = Gateway::with(meters(&url, &cloud.url(), keys, &devices)).start()?;
    wait_until("both are read", || {
        fresh(&watch, "a/all") > 1 && fresh(&watch, "b/all") > 1
    })?;
    expect_all(&watch, "a")?;
    expect_all(&watch, "b")?;
    first.kill()?;
    readyz(
        &gateway,
        &["degraded", "device `b` (station 8 at", "is silent"],
    )?;
    wait_until("stale values were told", || {
        stale(&watch, "a/all") == 1 && stale(&watch, "b/all") == 1
    })?;
    let before = fresh(&watch, "a/all");
    let _second = server("line", &place, &["7", "8"])?;
    wait_until("it is read again", || fresh(&watch, "a/all") > before + 1)?;
    Ok(())
}

/// SIGSTOP of the server, then SIGCONT.
/// Guarantee: the last values go out once, marked, with the time they are of; the alarm is up until the device answers again.
fn a_frozen_server_is_told_once_and_comes_back() -> Result<()> {
    let (cloud, port) = (Broker::embedded()?, port::free()?);
    let server = server("tcp", &port.to_string(), &["7"])?;
    let watch = Watch::start(cloud.address(), UP)?;
    let url = format!("modbus+tcp://127.0.0.1:{port}");
    let text = meters(&url, &cloud.url(), "timeout = \"300ms\"\n", &device("a", 7));
    let gateway = Gateway::with(text).start()?;
    wait_until("it is read", || fresh(&watch, "a/all") > 1)?;
    let alarm = || gateway.metric("tidegate_source_alarm", &[]);
    for round in 1..=2 {
        server.signal(Signal::STOP)?;
        wait_until("stale values are told", || stale(&watch, "a/all") == round)?;
        readyz(
            &gateway,
            &[
                "device `a` (station 7 at",
                "no answer within 300ms",
                "next try in",
            ],
        )?;
        ensure!(alarm() == 1.0, "no alarm");
        let before = fresh(&watch, "a/all");
        server.signal(Signal::CONT)?;
        wait_until("it is read again", || fresh(&watch, "a/all") > before + 2)?;
        wait_until("the alarm is over", || alarm() == 0.0)?;
        ensure!(stale(&watch, "a/all") == round, "told more than once");
    }
    let all = told(&watch, "a/all");
    let marked = all
        .iter()
        .find(|one| one.get("stale").is_some())
        .context("none")?;
    let since = marked["stale"]["since"].as_u64();
    ensure!(
        marked["values"]["voltage"] == 230.1 && marked["ts"].as_u64() <= since,
        "{marked}"
    );
    Ok(())
}

/// Two stations behind one address, of which one is not there.
/// Guarantee: it is asked now and then, and the other one keeps most of its pace.
fn a_dead_station_does_not_take_the_time_of_a_live_one() -> Result<()> {
    let (cloud, port) = (Broker::embedded()?, port::free()?);
    let _server = server("tcp", &port.to_string(), &["7"])?;
    let watch = Watch::start(cloud.address(), UP)?;
    let url = format!("modbus+tcp://127.0.0.1:{port}");
    let devices = device("live", 7) + &device("dead", 9);
    let keys = "timeout = \"1s\"\nprobe = { first = \"1h\", cap = \"1h\" }\n";
    let gateway = Gateway::with(meters(&url, &cloud.url(), keys, &devices)).start()?;
    wait_until("the dead one is told", || stale(&watch, "dead/all") == 1)?;
    let silent = || gateway.metric("tidegate_source_requests_total", &[("status", "silent")]);
    let (asked, before) = (silent(), fresh(&watch, "live/count"));
    ensure!(
        (3.0..=6.0).contains(&asked),
        "{asked} requests to a dead station"
    );
    wait_until("the live one goes on", || {
        fresh(&watch, "live/count") > before + 50
    })?;
    ensure!(silent() == asked, "the dead one is asked all the same");
    Ok(())
}

/// An upstream that is away, and kills: every second one while the device is frozen and all that was read is on disk.
/// Guarantee: what was safe arrives, in order per device; a kill at rest costs the one reading that was on its way in.
fn killed_again_and_again_no_reading_that_was_safe_is_lost() -> Result<()> {
    let (cloud, port) = (Broker::embedded()?, port::free()?);
    let link = Cuttable::to(cloud.address())?;
    let server = server("tcp", &port.to_string(), &["7"])?;
    let watch = Watch::start(cloud.address(), "up/meters/a/count")?;
    let url = format!("modbus+tcp://127.0.0.1:{port}");
    // Long enough that one request waits for a frozen device, not one after the other.
    let config = meters(&url, &link.url(), "timeout = \"60s\"\n", &device("a", 7))
        .add("spool", "commit_every = \"100ms\"");
    let mut gateway = Gateway::with(config).start()?;
    link.go_dark();
    let mut at_rest = 0;
    for round in 0..rounds(6, 60) {
        let received = || gateway.metric("tidegate_messages_received_total", &[]);
        wait_until("some are read", || received() > 40.0)?;
        if round % 2 == 0 {
            server.signal(Signal::STOP)?;
            let unsettled = || gateway.metric("tidegate_source_unsettled_messages", &[]);
            wait_until("all are safe", || unsettled() == 0.0)?;
            at_rest += 1;
        }
        let setup = gateway.kill()?;
        server.signal(Signal::CONT)?;
        gateway = setup.start()?;
    }
    link.back();
    let before = fresh(&watch, "a/count");
    wait_until("new ones arrive", || fresh(&watch, "a/count") > before + 20)?;
    let numbers: Vec<u64> = told(&watch, "a/count")
        .iter()
        .filter(|one| one.get("stale").is_none())
        .filter_map(|one| one["values"]["seq"].as_u64())
        .collect();
    let mut newest = 0;
    let mut gaps = Vec::new();
    for number in numbers {
        // One that comes twice is no new one.
        if number > newest + 1 {
            gaps.push(number - newest - 1);
        }
        newest = newest.max(number);
    }
    let small = gaps.iter().filter(|gap| **gap == 1).count();
    ensure!(
        gaps.len() <= rounds(6, 60) && gaps.len() - small <= rounds(6, 60) - at_rest,
        "{gaps:?}"
    );
    Ok(())
}

/// A device more, one less, another interval, another address: each by a reload.
/// Guarantee: a source comes, goes and changes while the gateway runs.
fn devices_come_go_and_change_by_a_reload() -> Result<()> {
    let (cloud, one, other) = (Broker::embedded()?, port::free()?, port::free()?);
    let _servers = [
        server("tcp", &one.to_string(), &["7", "8"])?,
        server("tcp", &other.to_string(), &["7"])?,
    ];
    let watch = Watch::start(cloud.address(), UP)?;
    let at = |port: u16, devices: &str| {
        meters(
            &format!("modbus+tcp://127.0.0.1:{port}"),
            &cloud.url(),
            "",
            devices,
        )
    };
    let gateway = Gateway::with(at(one, &device("a", 7))).start()?;
    wait_until("the first is read", || fresh(&watch, "a/all") > 0)?;
    gateway.rewrite_config(at(one, &(device("a", 7) + &device("b", 8))))?;
    wait_until("the second is read", || fresh(&watch, "b/all") > 0)?;
    gateway.rewrite_config(at(other, &device("c", 7)))?;
    wait_until("the third is read", || fresh(&watch, "c/all") > 0)?;
    Ok(())
}
