//! Many messages over connections that break: what a reply promises over kills, and what TCP does not lose.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::cut::Cuttable;
use tidegate_tests::tally::Sent;
use tidegate_tests::wait::PATIENCE;
use tidegate_tests::{Broker, Gateway, Watch, cases, port, rounds, wait_until};

use super::{raw, reading};
use crate::scene::{UP, compare, kill_at_random};

pub fn cases() -> Vec<Trial> {
    cases![
        what_was_answered_is_there_after_kills,
        what_there_is_no_room_for_waits_in_the_connection,
    ]
}

/// Messages that a device sends ahead of their replies.
const AHEAD: u64 = 16;

/// A device that sends its readings, and again what it has no reply for when it has lost its connection. How many were answered.
struct Device {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Device {
    fn start(number: usize, port: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut answered = 0;
            while !told.load(Ordering::Relaxed) {
                // It is refused while the gateway is down, and lost when that is killed.
                let _ = Self::talk(number, port, &mut answered, &told);
            }
            answered
        });
        Self { stop, thread }
    }

    fn talk(number: usize, port: u16, answered: &mut u64, stop: &AtomicBool) -> Result<()> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut replies = BufReader::new(stream.try_clone()?);
        let mut sent = *answered;
        while !stop.load(Ordering::Relaxed) {
            while sent < *answered + AHEAD {
                stream.write_all(format!("{}\n", reading(number, sent)).as_bytes())?;
                sent += 1;
            }
            let mut reply = String::new();
            ensure!(
                replies.read_line(&mut reply)? > 0 && reply == "ACK\n",
                "{reply:?}"
            );
            *answered += 1;
        }
        Ok(())
    }

    fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("a device does not panic") as usize
    }
}

/// Killed at random moments while devices send ahead of their replies, with upstream there and away in turns.
/// Guarantee: every message that got its reply arrives, first occurrences in order per device.
fn what_was_answered_is_there_after_kills() -> Result<()> {
    const DEVICES: usize = 3;
    let (cloud, port) = (Broker::embedded()?, port::free()?);
    let link = Cuttable::to(cloud.address())?;
    let watch = Watch::start(cloud.address(), UP)?;
    let url = format!("tcp+listen://127.0.0.1:{port}");
    let setup = Gateway::with(
        raw(&url, &link.url(), "reply = \"ACK\\n\"\n")
            .change("source.field.topic", "devices/{peer}/telemetry"),
    );
    let devices: Vec<_> = (0..DEVICES)
        .map(|number| Device::start(number, port))
        .collect();
    let kills = rounds(12, 100);
    let gateway = kill_at_random(setup, Some(&link), kills, 800)?.start()?;
    let answered: Vec<usize> = devices.into_iter().map(Device::stop).collect();
    let sent = Sent::first_of_each(&answered);
    let verdict = compare(&sent, watch)?;
    ensure!(verdict.is_at_least_once(), "after {kills} kills: {verdict}");
    ensure!(sent.count() > kills, "only {} were answered", sent.count());
    drop(gateway);
    eprintln!("{kills} kills: {verdict}");
    Ok(())
}

/// A device that sends far more than may be under way, at once, while upstream is away.
/// Guarantee: it waits, what is taken stays within bounds, and all of it arrives once, in order.
fn what_there_is_no_room_for_waits_in_the_connection() -> Result<()> {
    const COUNT: u64 = 20_000;
    let (cloud, port) = (Broker::embedded()?, port::free()?);
    let link = Cuttable::to(cloud.address())?;
    let watch = Watch::start(cloud.address(), UP)?;
    let url = format!("tcp+listen://127.0.0.1:{port}");
    let keys = "max_unsettled = \"64KiB\"\nmax_payload = \"1KiB\"\n";
    let gateway = Gateway::with(raw(&url, &link.url(), keys)).start()?;
    link.go_dark();
    let device = std::thread::spawn(move || -> Result<TcpStream> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        for seq in 0..COUNT {
            stream.write_all(format!("{}\n", reading(0, seq)).as_bytes())?;
        }
        Ok(stream)
    });
    let mut most: f64 = 0.0;
    wait_until("it is read to its end", || {
        most = most.max(gateway.metric("tidegate_source_unsettled_bytes", &[]));
        device.is_finished()
            && gateway.metric("tidegate_messages_received_total", &[]) >= COUNT as f64
    })?;
    // One read more than the limit, with what a message weighs beside its payload.
    ensure!(most < 512.0 * 1024.0, "{most} bytes were under way");
    let _stream = device.join().expect("a device does not panic")?;
    link.back();
    let sent = Sent {
        devices: 1,
        acknowledged: vec![true; COUNT as usize],
    };
    let verdict = compare(&sent, watch)?;
    ensure!(
        verdict.is_at_least_once() && verdict.doubled == 0,
        "{verdict}"
    );
    Ok(())
}
