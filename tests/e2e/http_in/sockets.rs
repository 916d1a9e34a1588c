//! Messages that come in over WebSockets: what an acknowledgement promises, and what becomes of clients who behave badly.
//!
//! The other end is written here, by the standard (RFC 6455), so that nothing of it is the gateway's own library.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use tidegate_tests::cut::Cuttable;
use tidegate_tests::process::Process;
use tidegate_tests::{Broker, Gateway, Watch, cases, needs, port, rounds, wait_until};

use super::{accepted, dial, reading, unwritten, web, write_secret};
use crate::scene::{UP, compare};

pub fn cases() -> Vec<Trial> {
    let has_python = Command::new("python3").arg("--version").output().is_ok();
    let with_python = |name: &str, run| needs(name, "python3", has_python, run);
    let mut cases = cases![
        each_frame_is_a_message_and_is_acknowledged_once_it_is_safe,
        a_websocket_that_may_not_be_opened_is_told_so,
        what_breaks_its_rules_or_is_too_large_costs_that_connection_alone,
        who_is_silent_is_found_and_who_reads_nothing_loses_nothing,
        a_stop_says_what_is_safe_and_then_that_it_ends,
    ];
    cases.extend(cases![with_python; what_got_its_acknowledgement_is_there_after_kills]);
    cases
}

const PATH: &str = "/devices/d1/telemetry";
const TEXT: u8 = 0x81;
const BYTES: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

struct Socket(TcpStream);

/// What is answered to a request for a WebSocket, and the connection.
fn knock(port: u16, path: &str, headers: &str) -> Result<(u16, String, Socket)> {
    let mut stream = dial(port)?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: gateway\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{headers}\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8(head)?.to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.context("no status")?, head, Socket(stream)))
}

const HANDSHAKE: &str =
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn open(port: u16) -> Result<Socket> {
    let (status, head, socket) = knock(port, PATH, HANDSHAKE)?;
    ensure!(
        status == 101 && head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
        "{head}"
    );
    Ok(socket)
}

/// A frame with a mask, as clients send it; its first byte says what it is.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
    let mut frame = vec![first];
    match payload.len() {
        small @ 0..126 => frame.push(0x80 | small as u8),
        middle @ 126..65_536 => {
            frame.push(0xfe);
            frame.extend((middle as u16).to_be_bytes());
        }
        large => {
            frame.push(0xff);
            frame.extend((large as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    let masked = payload.iter().zip(MASK.iter().cycle());
    frame.extend(masked.map(|(byte, mask)| byte ^ mask));
    frame
}

impl Socket {
    fn send(&mut self, first: u8, payload: &[u8]) -> Result<()> {
        Ok(self.0.write_all(&frame(first, payload))?)
    }

    /// The next frame: its first byte and what is in it.
    fn hear(&mut self) -> Result<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.0.read_exact(&mut head)?;
        let size = match head[1] {
            small @ 0..126 => usize::from(small),
            126 => {
                let mut size = [0; 2];
                self.0.read_exact(&mut size)?;
                usize::from(u16::from_be_bytes(size))
            }
            other => bail!("a frame with {other:x}"),
        };
        let mut payload = vec![0; size];
        self.0.read_exact(&mut payload)?;
        Ok((head[0], payload))
    }

    #[track_caller]
    fn expect(&mut self, first: u8, payload: &str) -> Result<()> {
        let heard = self.hear()?;
        let text = String::from_utf8_lossy(&heard.1);
        ensure!(
            heard.0 == first && text == payload,
            "{:x} {text} instead of {payload}",
            heard.0
        );
        Ok(())
    }

    /// The code and the words of a close.
    fn close(&mut self) -> Result<(u16, String)> {
        let (first, payload) = self.hear()?;
        ensure!(first == CLOSE, "{first:x} {payload:?}");
        let (code, words) = payload.split_at(2);
        let code = u16::from_be_bytes([code[0], code[1]]);
        Ok((code, String::from_utf8(words.to_vec())?))
    }
}

/// Text, bytes, a message in three fragments with a ping between them, and a link that goes dark.
/// Guarantee: each is a message under the topic of the path; its number comes once it is safe, and not before, in order.
fn each_frame_is_a_message_and_is_acknowledged_once_it_is_safe() -> Result<()> {
    let (cloud, port) = (Broker::embedded()?, port::free()?);
    let link = Cuttable::to(cloud.address())?;
    let watch = Watch::start(cloud.address(), UP)?;
    let gateway = Gateway::with(unwritten(web(port, &link.url(), ""))).start()?;
    let mut socket = open(port)?;
    socket.send(TEXT, reading(0).as_bytes())?;
    socket.send(BYTES, reading(1).as_bytes())?;
    socket.expect(TEXT, "{\"ack\":1}")?;
    socket.expect(TEXT, "{\"ack\":2}")?;
    let third = reading(2);
    let (one, rest) = third.as_bytes().split_at(5);
    let (two, three) = rest.split_at(10);
    socket.send(0x01, one)?;
    socket.send(0x00, two)?;
    socket.send(PING, b"there?")?;
    socket.expect(PONG, "there?")?;
    socket.send(0x80, three)?;
    socket.expect(TEXT, "{\"ack\":3}")?;
    wait_until("all have arrived", || watch.count() == 3)?;
    let arrivals = watch.arrivals();
    for (seq, arrival) in (0..3).zip(&arrivals) {
        ensure!(
            arrival.topic == "up/devices/d1/telemetry"
                && arrival.payload == reading(seq).as_bytes(),
            "{arrival:?}"
        );
    }
    link.go_dark();
    socket.send(TEXT, reading(3).as_bytes())?;
    wait_until("it is under way", || {
        gateway.metric("tidegate_source_unsettled_messages", &[]) == 1.0
    })?;
    socket.send(PING, b"still there?")?;
    socket.expect(PONG, "still there?")?;
    link.back();
    socket.expect(TEXT, "{\"ack\":4}")?;
    socket.send(CLOSE, &1_000_u16.to_be_bytes())?;
    ensure!(socket.close()?.0 == 1_000, "no good-bye");
    Ok(())
}

/// Handshakes without a token, with a wrong one, with one among the protocols, from pages of other sites, to no flow's topic,
/// of another version.
/// Guarantee: a WebSocket is opened under the rules of a request, and what is refused has the answer of one.
fn a_websocket_that_may_not_be_opened_is_told_so() -> Result<()> {
    let (cloud, other) = (Broker::embedded()?, Broker::embedded()?);
    let (guarded, open_port) = (port::free()?, port::free()?);
    let keys = "token = { file = \"token\" }\norigins = [\"https://panel.example.com\"]\n";
    let setup = Gateway::with(web(guarded, &cloud.url(), keys));
    write_secret(&setup)?;
    let _guarded = setup.start()?;
    let _open = Gateway::with(web(open_port, &other.url(), "")).start()?;
    let token = "Authorization: Bearer hunter2\r\n";
    let page = "Origin: https://panel.example.com\r\n";
    let stranger = "Origin: https://evil.example\r\n";
    let offer = "Sec-WebSocket-Protocol: tidegate, bearer.hunter2\r\n";
    let wrong = "Sec-WebSocket-Protocol: tidegate, bearer.hunter3\r\n";
    let with = |headers: &str| format!("{HANDSHAKE}{headers}");
    let old = "Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let keyless = format!("Sec-WebSocket-Version: 13\r\n{token}");
    for (expected, port, path, headers) in [
        (401, guarded, PATH, with("")),
        (401, guarded, PATH, with(wrong)),
        (101, guarded, PATH, with(token)),
        (101, guarded, PATH, with(&format!("{offer}{page}"))),
        (403, guarded, PATH, with(&format!("{offer}{stranger}"))),
        (404, guarded, "/Devices/d1/telemetry", with(token)),
        (400, guarded, "/devices/../telemetry", with(token)),
        (426, guarded, PATH, format!("{old}{token}")),
        (400, guarded, PATH, keyless),
        (101, open_port, PATH, with("")),
        (403, open_port, PATH, with(page)),
        (403, open_port, PATH, with("Origin: null\r\n")),
    ] {
        let (status, head, _) = knock(port, path, &headers)?;
        ensure!(
            status == expected,
            "{status} instead of {expected}: {headers}"
        );
        let has_chosen = head.contains("sec-websocket-protocol: tidegate\r\n");
        ensure!(
            has_chosen == (status == 101 && headers.contains(offer)),
            "{head}"
        );
    }
    Ok(())
}

/// Frames without a mask, of an unknown kind, with reserved bits, that announce an exabyte; a message over `max_payload`; one
/// connection that is reset. Another one beside them all.
/// Guarantee: each is closed with its code, the message over `max_payload` is a dead letter and acknowledged, and the other one is
/// served.
fn what_breaks_its_rules_or_is_too_large_costs_that_connection_alone() -> Result<()> {
    let (cloud, port) = (Broker::embedded()?, port::free()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let keys = "max_payload = \"1KiB\"\nmax_packet = \"64KiB\"\n";
    let gateway = Gateway::with(web(port, &cloud.url(), keys)).start()?;
    let mut good = open(port)?;
    let large = frame(BYTES, &[b'x'; 65_537]);
    let wrong: [(u16, &[u8]); 6] = [
        (1_002, b"\x81\x05hello"),
        (1_002, b"\x83\x80\0\0\0\0"),
        (1_002, b"\xc1\x80\0\0\0\0"),
        (1_007, b"\x81\x81\0\0\0\0\xff"),
        (1_009, b"\x82\xff\x10\0\0\0\0\0\0\0\0\0\0\0"),
        (1_009, &large),
    ];
    for (seq, (expected, bytes)) in (0..).zip(wrong) {
        let mut socket = open(port)?;
        socket.send(TEXT, reading(2 * seq).as_bytes())?;
        socket.0.write_all(bytes)?;
        socket.expect(TEXT, "{\"ack\":1}")?;
        let (code, words) = socket.close()?;
        ensure!(code == expected && !words.is_empty(), "{code} {words}");
        good.send(TEXT, reading(2 * seq + 1).as_bytes())?;
        good.expect(TEXT, &format!("{{\"ack\":{}}}", seq + 1))?;
    }
    good.send(BYTES, &[b'x'; 60_000])?;
    good.expect(TEXT, "{\"ack\":7}")?;
    let too_long = gateway.metric("tidegate_source_too_long_messages_total", &[]);
    ensure!(too_long == 1.0, "{too_long} letters");
    wait_until("the good ones have arrived", || watch.count() == 12)?;
    Ok(())
}

/// One that is left half-open, beside one that sends thousands of messages and reads nothing meanwhile.
/// Guarantee: the silent one is pinged and left; the other one gets every acknowledgement, in order, once it reads.
fn who_is_silent_is_found_and_who_reads_nothing_loses_nothing() -> Result<()> {
    const MESSAGES: u64 = 5_000;
    let (cloud, port) = (Broker::embedded()?, port::free()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let _gateway = Gateway::with(web(port, &cloud.url(), "keep_alive = \"1s\"\n")).start()?;
    let mut silent = open(port)?;
    let mut greedy = open(port)?;
    for seq in 0..MESSAGES {
        greedy.send(TEXT, reading(seq).as_bytes())?;
    }
    for number in 1..=MESSAGES {
        loop {
            match greedy.hear()? {
                (PING, _) => greedy.send(PONG, b"")?,
                (TEXT, text) => {
                    ensure!(
                        text == format!("{{\"ack\":{number}}}").as_bytes(),
                        "{text:?}"
                    );
                    break;
                }
                other => bail!("{other:?}"),
            }
        }
    }
    silent.expect(PING, "")?;
    ensure!(silent.hear().is_err(), "it is not left");
    wait_until("all have arrived", || watch.count() == MESSAGES)?;
    Ok(())
}

/// SIGTERM while a message waits for an upstream that is away, and half a message is on another connection.
/// Guarantee: what was taken is written and acknowledged, then both are told 1001; the half one holds up nothing.
fn a_stop_says_what_is_safe_and_then_that_it_ends() -> Result<()> {
    let (cloud, port) = (Broker::embedded()?, port::free()?);
    let link = Cuttable::to(cloud.address())?;
    let gateway = Gateway::with(unwritten(web(port, &link.url(), ""))).start()?;
    link.go_dark();
    let (mut waiting, mut half) = (open(port)?, open(port)?);
    waiting.send(TEXT, reading(0).as_bytes())?;
    half.0
        .write_all(&frame(TEXT, reading(1).as_bytes())[..10])?;
    wait_until("it is under way", || {
        gateway.metric("tidegate_source_unsettled_messages", &[]) == 1.0
    })?;
    gateway.terminate()?;
    waiting.expect(TEXT, "{\"ack\":1}")?;
    for socket in [&mut waiting, &mut half] {
        let (code, words) = socket.close()?;
        ensure!(code == 1_001, "{code} {words}");
    }
    let (ended, _) = gateway.end()?;
    ensure!(ended.success(), "the gateway ended with {ended}");
    Ok(())
}

/// Killed at random moments while an independent client sends ahead of its acknowledgements, with upstream there and away in turns.
/// Guarantee: every message that got its acknowledgement arrives, first occurrences in order per device.
fn what_got_its_acknowledgement_is_there_after_kills() -> Result<()> {
    const DEVICES: usize = 4;
    let (cloud, port) = (Broker::embedded()?, port::free()?);
    let link = Cuttable::to(cloud.address())?;
    let watch = Watch::start(cloud.address(), UP)?;
    let mut setup = Gateway::with(web(port, &link.url(), ""));
    let mut command = Command::new("python3");
    command.args(["-c", include_str!("sockets.py"), &port.to_string()]);
    let sender = Process::start("the sender", command.arg(DEVICES.to_string()))?;
    let kills = rounds(15, 200);
    for kill in 0..kills {
        if kill % 3 == 2 {
            link.go_dark()
        } else {
            link.back()
        }
        let gateway = setup.launch()?;
        // The time until the kill is the experiment; nothing is synchronised by it.
        std::thread::park_timeout(Duration::from_millis(fastrand::u64(100..800)));
        setup = gateway.kill()?;
    }
    link.back();
    let gateway = setup.start()?;
    let sent = accepted(sender, DEVICES)?;
    let verdict = compare(&sent, watch)?;
    ensure!(verdict.is_at_least_once(), "after {kills} kills: {verdict}");
    ensure!(
        sent.count() > kills,
        "only {} were acknowledged",
        sent.count()
    );
    drop(gateway);
    eprintln!("{kills} kills: {verdict}");
    Ok(())
}
