//! A device that answers late, short, for others, or nonsense: a server of our own, which says each in turn.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::wait::PATIENCE;
use tidegate_tests::{Broker, Config, Gateway, Watch, cases, wait_until};

use super::{meters, readyz, told};
use crate::scene::UP;

pub fn cases() -> Vec<Trial> {
    cases![
        every_wrong_answer_has_its_name_and_none_is_a_reading,
        an_answer_that_comes_too_late_is_not_that_to_the_next_request,
        a_station_at_which_the_server_hangs_up_costs_itself,
        a_device_that_hangs_up_when_idle_is_dialled_again_untold,
    ]
}

/// What a good answer holds, and what a wrong one does.
const GOOD: u16 = 2301;
const WRONG: u16 = 666;

/// What is answered to a request of twelve bytes, which begins with its number.
type Script = fn(usize, &[u8; 12]) -> Vec<Vec<u8>>;

/// A device that follows a script, and waits where a part of an answer is empty until the other side has hung up.
struct Device {
    port: u16,
    asked: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Device {
    fn start(script: Script) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let (asked, is_over) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let shared = (Arc::clone(&asked), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            let (asked, is_over) = shared;
            for stream in listener.incoming().map_while(Result::ok) {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                // It ends with whoever is at the other end.
                let _ = talk(stream, script, &asked);
            }
        });
        Ok(Self {
            port,
            asked,
            is_over,
            thread: Some(thread),
        })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Wakes it, where it waits for the next connection.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        let (done, is_done) = mpsc::sync_channel::<()>(1);
        let thread = self.thread.take();
        std::thread::spawn(move || {
            let _ = thread.map(JoinHandle::join);
            drop(done);
        });
        let _ = is_done.recv_timeout(PATIENCE);
    }
}

fn talk(mut stream: TcpStream, script: Script, asked: &AtomicUsize) -> std::io::Result<()> {
    let mut request = [0; 12];
    loop {
        stream.read_exact(&mut request)?;
        let number = asked.fetch_add(1, Ordering::Relaxed);
        let parts = script(number, &request);
        if parts.is_empty() {
            return Ok(());
        }
        for part in parts {
            if part.is_empty() {
                // Nothing more comes over this connection: the other side gives it up.
                let _ = stream.read(&mut [0])?;
                return Ok(());
            }
            stream.write_all(&part)?;
        }
    }
}

/// The answer that is asked for, with this in its register.
fn answer(request: &[u8; 12], value: u16) -> Vec<u8> {
    let [high, low] = value.to_be_bytes();
    vec![
        request[0], request[1], 0, 0, 0, 5, request[6], 3, 2, high, low,
    ]
}

const GROUP: &str = "every = \"20ms\"\nwithin = \"60s\"\nvalues.x = { holding = 0 }";

fn config(port: u16, cloud: &str, keys: &str) -> Config {
    let device = format!("[device.a]\nstation = 7\nstale_after = 100\n[device.a.group.g]\n{GROUP}");
    meters(
        &format!("modbus+tcp://127.0.0.1:{port}"),
        cloud,
        keys,
        &device,
    )
}

fn expect_good_only(watch: &Watch) -> Result<()> {
    for one in told(watch, "a/g") {
        let value = &one["values"]["x"];
        ensure!(
            *value == GOOD || one["errors"]["x"] == "device-busy",
            "{one}"
        );
    }
    Ok(())
}

/// Behind each good answer a wrong one of another kind.
fn wrong_in_turn(number: usize, request: &[u8; 12]) -> Vec<Vec<u8>> {
    let wrong = answer(request, WRONG);
    let with = |place: usize, byte: u8| {
        let mut other = wrong.clone();
        other[place] = byte;
        vec![other]
    };
    if number.is_multiple_of(2) {
        return vec![answer(request, GOOD)];
    }
    match number / 2 % 10 {
        0 => with(0, !request[0]),
        1 => with(6, 8),
        2 => with(7, 4),
        3 => with(2, 1),
        4 => with(5, 200),
        5 => with(8, 4),
        6 => vec![wrong[..9].to_vec(), Vec::new()],
        7 => vec![Vec::new()],
        8 => vec![[answer(request, GOOD), wrong.clone()].concat()],
        _ => vec![vec![request[0], request[1], 0, 0, 0, 3, 7, 0x83, 6]],
    }
}

/// Another number, another station, another function, another protocol, a length that is none, fewer bytes, a half answer, none,
/// an answer and a second one behind it, and a busy device, over and over.
/// Guarantee: each is counted under its name, none of their values comes through, and good answers between them do.
fn every_wrong_answer_has_its_name_and_none_is_a_reading() -> Result<()> {
    let cloud = Broker::embedded()?;
    let device = Device::start(wrong_in_turn)?;
    let watch = Watch::start(cloud.address(), UP)?;
    let keys = "timeout = \"200ms\"\nretries = 0\n";
    let gateway = Gateway::with(config(device.port, &cloud.url(), keys)).start()?;
    wait_until("each was answered", || device.asked() > 42)?;
    let counted = |status| gateway.metric("tidegate_source_requests_total", &[("status", status)]);
    for status in [
        "foreign",
        "malformed",
        "short",
        "silent",
        "refused",
        "answered",
    ] {
        wait_until(&format!("{status} is counted"), || counted(status) >= 1.0)?;
    }
    expect_good_only(&watch)?;
    wait_until("good ones come through", || told(&watch, "a/g").len() > 10)?;
    expect_good_only(&watch)
}

/// A late answer to the first request comes together with the one to the second.
fn late(number: usize, request: &[u8; 12]) -> Vec<Vec<u8>> {
    if number % 3 == 1 {
        return vec![Vec::new()];
    }
    let before = request[1].wrapping_sub(1);
    let mut late = answer(request, WRONG);
    late[1] = before;
    match number % 3 {
        0 => vec![answer(request, GOOD)],
        _ => vec![late, answer(request, GOOD)],
    }
}

/// Guarantee: it is known by its number and thrown away; the one behind it is waited for, and no value is that of another request.
fn an_answer_that_comes_too_late_is_not_that_to_the_next_request() -> Result<()> {
    let cloud = Broker::embedded()?;
    let device = Device::start(late)?;
    let watch = Watch::start(cloud.address(), UP)?;
    let keys = "timeout = \"200ms\"\nretries = 2\n";
    let gateway = Gateway::with(config(device.port, &cloud.url(), keys)).start()?;
    wait_until("readings go on", || told(&watch, "a/g").len() > 10)?;
    expect_good_only(&watch)?;
    let counted = |status| gateway.metric("tidegate_source_requests_total", &[("status", status)]);
    let (foreign, failed) = (
        counted("foreign"),
        gateway.metric("tidegate_source_polls_total", &[("outcome", "failed")]),
    );
    ensure!(
        (foreign, failed) == (0.0, 0.0),
        "{foreign} cost a request, {failed} polls failed"
    );
    Ok(())
}

/// A server before two stations, which hangs up whenever one of them is asked, as many do for one they do not know.
/// Guarantee: that costs the one that was asked, which is asked when its next try is due; its neighbour keeps its readings, and
/// the line is in no trouble.
fn a_station_at_which_the_server_hangs_up_costs_itself() -> Result<()> {
    let cloud = Broker::embedded()?;
    let device = Device::start(|_, request| match request[6] {
        7 => vec![answer(request, GOOD)],
        _ => Vec::new(),
    })?;
    let watch = Watch::start(cloud.address(), UP)?;
    let other = format!("station = 8\n[group.g]\n{GROUP}");
    let config = config(device.port, &cloud.url(), "")
        .put("source.field", "probe = { first = \"1h\", cap = \"1h\" }")
        .add("source.field.device.b", &other);
    let gateway = Gateway::with(config).start()?;
    readyz(&gateway, &["device `b` (station 8 at", "next try in"])?;
    let failed = || gateway.metric("tidegate_source_polls_total", &[("outcome", "failed")]);
    let (before, read) = (failed(), told(&watch, "a/g").len());
    wait_until("its neighbour is read", || {
        told(&watch, "a/g").len() > read + 50
    })?;
    let lost = gateway.metric("tidegate_source_failures_total", &[]);
    ensure!(
        (before, failed(), lost) == (3.0, 3.0, 0.0),
        "{before} and {} failed polls, {lost} lost lines",
        failed()
    );
    let stale = told(&watch, "a/g")
        .iter()
        .any(|one| one.get("stale").is_some());
    ensure!(!stale, "the neighbour went stale");
    expect_good_only(&watch)
}

/// Guarantee: that is no trouble of the link, and costs no reading.
fn a_device_that_hangs_up_when_idle_is_dialled_again_untold() -> Result<()> {
    let cloud = Broker::embedded()?;
    // Every second request finds that the other side has hung up.
    let device = Device::start(|number, request| match number % 2 {
        0 => vec![answer(request, GOOD)],
        _ => Vec::new(),
    })?;
    let watch = Watch::start(cloud.address(), UP)?;
    let gateway = Gateway::with(config(device.port, &cloud.url(), "retries = 0\n")).start()?;
    wait_until("readings go on", || told(&watch, "a/g").len() > 20)?;
    let failures = gateway.metric("tidegate_source_failures_total", &[]);
    let failed = gateway.metric("tidegate_source_polls_total", &[("outcome", "failed")]);
    ensure!(
        (failures, failed) == (0.0, 0.0),
        "{failures} lost lines, {failed} failed polls"
    );
    readyz(&gateway, &["[+] source field ok"])?;
    told(&watch, "a/g").first().context("nothing was told")?;
    Ok(())
}
