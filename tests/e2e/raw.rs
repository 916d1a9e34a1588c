//! Raw bytes that become messages: over TCP in both directions, in datagrams, on a serial line; what a reply promises, and what
//! becomes of what is no frame.

mod lines;
mod load;
mod programs;
mod tail;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::cut::Cuttable;
use tidegate_tests::wait::PATIENCE;
use tidegate_tests::{Broker, Config, Gateway, Watch, cases, port, wait_until};

use crate::scene::UP;
use crate::tools::json;

pub fn cases() -> Vec<Trial> {
    let mut cases = cases![
        lines_become_messages_and_each_is_answered_once_it_is_safe,
        what_is_no_frame_is_a_letter_and_costs_nobody_else,
        of_silent_connections_one_gives_way_to_a_new_one,
        a_device_that_is_dialled_goes_and_comes_back,
        what_is_not_safe_in_time_ends_its_connection,
        datagrams_are_messages_and_what_has_no_room_is_counted,
        a_stop_answers_what_is_under_way_and_a_reload_moves_the_port,
        ends_are_tried_and_nothing_is_left_there,
    ];
    cases.extend(load::cases());
    cases.extend(lines::cases());
    cases.extend(programs::cases());
    cases.extend(tail::cases());
    cases
}

/// A config whose source has these keys; each connection is a device by its port.
fn raw(url: &str, cloud: &str, keys: &str) -> Config {
    Config::forwarding()
        .between(url, cloud)
        .set("source.field.topic", "devices/{port}/telemetry")
        .put("source.field", keys)
}

/// A spool that writes nothing for an hour.
fn idle(config: Config) -> Config {
    config.add("spool", "spill_after = \"1h\"\ncommit_every = \"1h\"")
}

fn reading(device: usize, seq: u64) -> String {
    format!(r#"{{"device":"d{device}","seq":{seq},"temperature":21.5}}"#)
}

fn dial(port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// What is said next, exactly that.
fn expect(stream: &mut TcpStream, text: &str) -> Result<()> {
    let mut told = vec![0; text.len()];
    stream.read_exact(&mut told).context("no reply")?;
    ensure!(
        told == text.as_bytes(),
        "{:?}",
        String::from_utf8_lossy(&told)
    );
    Ok(())
}

/// What is left to read until the other end hangs up.
fn rest(mut stream: TcpStream) -> Result<String> {
    let mut told = Vec::new();
    stream.read_to_end(&mut told)?;
    Ok(String::from_utf8_lossy(&told).into_owned())
}

fn letters(gateway: &Gateway, reason: &str) -> f64 {
    gateway.metric("tidegate_dead_letters_total", &[("reason", reason)])
}

fn payloads(watch: &Watch) -> Vec<Vec<u8>> {
    let arrivals = watch.arrivals();
    arrivals
        .into_iter()
        .map(|one| one.payload.to_vec())
        .collect()
}

/// Lines with LF and CRLF, cut anywhere, of a sender that says that it is through before it has its replies.
/// Guarantee: each is a message under the topic of its connection, and the replies are as many as there were messages.
fn lines_become_messages_and_each_is_answered_once_it_is_safe() -> Result<()> {
    let (cloud, port) = (Broker::embedded()?, port::free()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let url = format!("tcp+listen://127.0.0.1:{port}");
    let _gateway = Gateway::with(raw(&url, &cloud.url(), "reply = \"ACK\\n\"\n")).start()?;
    let mut device = dial(port)?;
    device.set_nodelay(true)?;
    let own = device.local_addr()?.port();
    for part in ["fir", "st\nsecond\r", "\n\n", "third\n"] {
        device.write_all(part.as_bytes())?;
    }
    expect(&mut device, "ACK\nACK\nACK\n")?;
    device.write_all(b"last\n")?;
    device.shutdown(std::net::Shutdown::Write)?;
    ensure!(
        rest(device)? == "ACK\n",
        "the last one has no reply, or two"
    );
    wait_until("all have arrived", || watch.arrivals().len() == 4)?;
    ensure!(
        payloads(&watch)
            == ["first", "second", "third", "last"].map(|text| text.as_bytes().to_vec()),
        "{:?}",
        watch.arrivals()
    );
    let topic = format!("up/devices/{own}/telemetry");
    ensure!(
        watch.arrivals().iter().all(|one| one.topic == topic),
        "another topic than {topic}"
    );
    Ok(())
}

/// Frames by length: one too long, one cut off by a hang-up, one whose length cannot be; and a flood of lines that are too long.
/// Guarantee: each is a dead letter, what follows is a message, other connections notice nothing, and a flood is counted.
fn what_is_no_frame_is_a_letter_and_costs_nobody_else() -> Result<()> {
    let (cloud, port) = (Broker::embedded()?, port::free()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let url = format!("tcp+listen://127.0.0.1:{port}");
    let keys =
        "framing = \"length\"\ncounts = \"frame\"\nmax_payload = \"100B\"\nreply = \"0x06\"\n";
    let gateway = Gateway::with(raw(&url, &cloud.url(), keys)).start()?;
    let mut steady = dial(port)?;
    let mut wild = dial(port)?;
    wild.write_all(&[[0, 202].as_slice(), &[b'x'; 200], b"\0\x05one"].concat())?;
    expect(&mut wild, "\x06\x06")?;
    wild.write_all(b"\0\x05tw")?;
    drop(wild);
    wait_until("it is cut off", || letters(&gateway, "unframed") == 1.0)?;
    let mut wild = dial(port)?;
    wild.write_all(b"\0\x01\0\x05two")?;
    ensure!(rest(wild)?.is_empty(), "what is out of step is answered");
    wait_until("it is out of step", || letters(&gateway, "unframed") == 2.0)?;
    steady.write_all(b"\0\x07three")?;
    expect(&mut steady, "\x06")?;
    wait_until("both have arrived", || watch.arrivals().len() == 2)?;
    ensure!(
        payloads(&watch) == [b"one".to_vec(), b"three".to_vec()],
        "{:?}",
        watch.arrivals()
    );
    ensure!(
        letters(&gateway, "too-long") == 1.0,
        "{}",
        letters(&gateway, "too-long")
    );
    let mut noise = dial(port)?;
    noise.write_all(&[[0, 203].as_slice(), &[b'y'; 201]].concat().repeat(200))?;
    let counted = || gateway.metric("tidegate_ledger_messages", &[("reason", "unframed")]);
    wait_until("a flood is counted", || {
        counted() > 0.0 && letters(&gateway, "too-long") + counted() == 201.0
    })?;
    noise.write_all(b"\0\x06four")?;
    wait_until("what follows has arrived", || watch.arrivals().len() == 3)?;
    Ok(())
}

/// Two connections of two are silent, one of them within a line.
/// Guarantee: the one that is silent longest gives way to a third, and its half line is a letter.
fn of_silent_connections_one_gives_way_to_a_new_one() -> Result<()> {
    let (cloud, port) = (Broker::embedded()?, port::free()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let url = format!("tcp+listen://127.0.0.1:{port}");
    let keys = "max_connections = 2\nyields_after = \"1s\"\nreply = \"ACK\\n\"\n";
    let gateway = Gateway::with(raw(&url, &cloud.url(), keys)).start()?;
    let mut frozen = dial(port)?;
    frozen.write_all(b"one\nhalf a li")?;
    expect(&mut frozen, "ACK\n")?;
    let mut alive = dial(port)?;
    alive.write_all(b"two\n")?;
    expect(&mut alive, "ACK\n")?;
    let mut third = dial(port)?;
    third.write_all(b"three\n")?;
    expect(&mut third, "ACK\n")?;
    ensure!(rest(frozen)?.is_empty(), "the frozen one is told something");
    wait_until("its half line is a letter", || {
        letters(&gateway, "unframed") == 1.0
    })?;
    alive.write_all(b"four\n")?;
    expect(&mut alive, "ACK\n")?;
    wait_until("all have arrived", || watch.arrivals().len() == 4)?;
    Ok(())
}

/// A device that listens, hangs up, is away for a while, and listens again.
/// Guarantee: it is dialled again by itself, `health` says why nothing comes meanwhile, and its replies are its own.
fn a_device_that_is_dialled_goes_and_comes_back() -> Result<()> {
    let cloud = Broker::embedded()?;
    let device = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = device.local_addr()?.port();
    let watch = Watch::start(cloud.address(), UP)?;
    let keys = "framing = \"delimiter\"\ndelimiter = \"0x0d0a2e0d0a\"\nreply = \"ok.\"\n";
    let text = raw(&format!("tcp://localhost:{port}"), &cloud.url(), keys)
        .change("source.field.topic", "devices/{peer}/telemetry");
    let gateway = Gateway::with(text).launch()?;
    let (mut line, _) = device.accept()?;
    line.set_read_timeout(Some(PATIENCE))?;
    line.write_all(b"one\r\nline\r\n.\r\ntw")?;
    expect(&mut line, "ok.")?;
    drop((line, device));
    wait_until("health says why nothing comes", || {
        let told = gateway.health();
        told.is_ok_and(|(_, text)| text.contains(&format!("cannot connect to `localhost:{port}`")))
    })?;
    let device = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let (mut line, _) = device.accept()?;
    line.set_read_timeout(Some(PATIENCE))?;
    line.write_all(b"two\r\n.\r\n")?;
    expect(&mut line, "ok.")?;
    wait_until("both have arrived", || watch.arrivals().len() == 2)?;
    ensure!(
        payloads(&watch) == [b"one\r\nline".to_vec(), b"two".to_vec()],
        "{:?}",
        watch.arrivals()
    );
    ensure!(
        watch
            .arrivals()
            .iter()
            .all(|one| one.topic == "up/devices/localhost/telemetry"),
        "another topic"
    );
    wait_until("what was cut off is a letter", || {
        letters(&gateway, "unframed") == 1.0
    })?;
    Ok(())
}

/// An upstream that is away, and a spool that writes nothing for an hour.
/// Guarantee: a message that is not safe in time is not answered, its connection ends, and it arrives all the same.
fn what_is_not_safe_in_time_ends_its_connection() -> Result<()> {
    let (cloud, port) = (Broker::embedded()?, port::free()?);
    let link = Cuttable::to(cloud.address())?;
    let watch = Watch::start(cloud.address(), UP)?;
    let url = format!("tcp+listen://127.0.0.1:{port}");
    let text = raw(
        &url,
        &link.url(),
        "reply = \"ACK\\n\"\nsettle_within = \"1s\"\n",
    );
    let _gateway = Gateway::with(idle(text)).start()?;
    let mut device = dial(port)?;
    device.write_all(b"one\n")?;
    expect(&mut device, "ACK\n")?;
    link.go_dark();
    device.write_all(b"two\nthree\n")?;
    ensure!(rest(device)?.is_empty(), "what is not safe is answered");
    link.back();
    wait_until("what was taken arrives all the same", || {
        watch.arrivals().len() == 3
    })?;
    Ok(())
}

/// A flood at a gateway that stands still, then at one whose upstream is away; one datagram is too long, one is empty.
/// Guarantee: what was sent has arrived, or is in the ledger by its reason, to the last one; a reply comes for what was taken.
fn datagrams_are_messages_and_what_has_no_room_is_counted() -> Result<()> {
    const FLOOD: usize = 6_000;
    let (cloud, port) = (Broker::embedded()?, port::free()?);
    let link = Cuttable::to(cloud.address())?;
    let watch = Watch::start(cloud.address(), UP)?;
    let keys = "max_unsettled = \"64KiB\"\nmax_payload = \"2KiB\"\nreply = \"0x06\"\n";
    let gateway =
        Gateway::with(raw(&format!("udp://127.0.0.1:{port}"), &link.url(), keys)).start()?;
    let device = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    device.connect((Ipv4Addr::LOCALHOST, port))?;
    device.set_read_timeout(Some(PATIENCE))?;
    for datagram in [b"one".as_slice(), b"", &[b'x'; 3_000], b"two"] {
        device.send(datagram)?;
        if !datagram.is_empty() {
            ensure!(device.recv(&mut [0; 8])? == 1, "another reply");
        }
    }
    let received = || gateway.metric("tidegate_messages_received_total", &[]);
    let lost = |reason| gateway.metric("tidegate_ledger_messages", &[("reason", reason)]);
    ensure!(
        received() == 3.0 && letters(&gateway, "too-long") == 1.0,
        "{} received",
        received()
    );
    link.go_dark();
    gateway.freeze()?;
    let flood = [b'y'; 1_000];
    for _ in 0..FLOOD {
        device.send(&flood)?;
    }
    gateway.thaw()?;
    let sent = 3.0 + FLOOD as f64;
    wait_until("every datagram is accounted for", || {
        received() + lost("source-pressed") + lost("socket-full") == sent
    })?;
    ensure!(
        lost("source-pressed") > 0.0 && lost("socket-full") > 0.0,
        "{} for want of room here, {} in the system",
        lost("source-pressed"),
        lost("socket-full")
    );
    link.back();
    wait_until("what was taken arrives", || {
        watch.total() == received() as u64 - 1
    })?;
    Ok(())
}

/// SIGTERM while a line waits for an upstream that is away; before it a reload that changes the port and the framing.
/// Guarantee: what is under way is written and answered before the end; a source moves without a restart.
fn a_stop_answers_what_is_under_way_and_a_reload_moves_the_port() -> Result<()> {
    let (cloud, one, other) = (Broker::embedded()?, port::free()?, port::free()?);
    let link = Cuttable::to(cloud.address())?;
    let watch = Watch::start(cloud.address(), UP)?;
    let at = |port: u16, keys: &str| {
        let url = format!("tcp+listen://127.0.0.1:{port}");
        idle(raw(
            &url,
            &link.url(),
            &format!("reply = \"ACK\\n\"\n{keys}"),
        ))
    };
    let gateway = Gateway::with(at(one, "")).start()?;
    let mut device = dial(one)?;
    device.write_all(b"one\n")?;
    expect(&mut device, "ACK\n")?;
    gateway.rewrite_config(at(other, "framing = \"delimiter\"\ndelimiter = \";\"\n"))?;
    ensure!(rest(device)?.is_empty(), "an end with words");
    let mut moved = Err(anyhow::anyhow!("not dialled"));
    wait_until("it listens there", || {
        moved = dial(other);
        moved.is_ok()
    })?;
    let mut device = moved?;
    device.write_all(b"two;")?;
    expect(&mut device, "ACK\n")?;
    link.go_dark();
    device.write_all(b"three;half")?;
    wait_until("it is under way", || {
        gateway.metric("tidegate_source_unsettled_messages", &[]) == 1.0
    })?;
    gateway.terminate()?;
    ensure!(
        rest(device)? == "ACK\n",
        "what was under way is not answered"
    );
    let (ended, setup) = gateway.end()?;
    ensure!(ended.success(), "the gateway ended with {ended}");
    link.back();
    let _gateway = setup.start()?;
    wait_until("all have arrived", || watch.arrivals().len() == 3)?;
    Ok(())
}

/// `check --connect` of all kinds, each once as it works and once as it does not.
/// Guarantee: each is told to work or why not, and a device that is dialled hears nothing.
fn ends_are_tried_and_nothing_is_left_there() -> Result<()> {
    let (cloud, free) = (Broker::embedded()?, port::free()?);
    let device = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let dialled = device.local_addr()?.port();
    let datagrams = taken.local_addr()?.port();
    let config = Config::forwarding()
        .between(&cloud.url(), &cloud.url())
        .source("good", &format!("tcp://127.0.0.1:{dialled}"))
        .source("free", &format!("tcp+listen://127.0.0.1:{free}"))
        .source("taken", &format!("udp://127.0.0.1:{datagrams}"))
        .source("gone", "serial:///dev/serial/by-id/none")
        .put(
            "flow.all",
            "from = [\"field\", \"good\", \"free\", \"taken\", \"gone\"]",
        );
    let setup = Gateway::with(config);
    let document = json(setup.folder(), &["check", "--connect"], 7)?;
    let ends = document["ends"].as_array().context("no ends")?;
    for (name, is_good, words) in [
        ("source.good", true, "it takes connections"),
        ("source.free", true, "the port is free"),
        ("source.taken", false, "the port cannot be had"),
        ("source.gone", false, "there is no such line"),
    ] {
        let end = ends.iter().find(|end| end["end"] == name).context(name)?;
        ensure!(
            end["is_good"] == is_good && end["words"].to_string().contains(words),
            "{end}"
        );
    }
    let (stream, _) = device.accept()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    ensure!(rest(stream)?.is_empty(), "the device was told something");
    Ok(())
}
