//! What a long outage costs: bytes written to the medium for a byte of payload, memory, the start after a kill with all
//! of it owed, and the rate at which it drains.
//!
//! `cargo bench --package tidegate-tests --bench owed -- 10000000 random`: so many readings of 130 bytes (a million by
//! default), with payloads of random bytes if asked, and sealed on disk if asked (`sealed`). As root on a file system of its own, so that the device can say what
//! has reached it; else in a temporary folder, and without that figure.

#[path = "common/store.rs"]
mod store;

use std::collections::VecDeque;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use tidegate::message::Burst;
use tidegate::message::{Append, Fetch, LinkTurn, Message, QueueId, Seq, Settled};
use tidegate::spool::{Sealer, SealingKey};
use tidegate_tests::disk::{Disk, can_cut_power};
use tidegate_tests::sample::messages;
use tidegate_tests::usage::memory;

const QUEUE: QueueId = QueueId(0);
const BATCH: usize = 256;
/// Bursts that wait for the medium at once: what a source's window of 65,535 holds.
const WINDOW: usize = 255;
/// Readings that are used again and again.
const SAMPLES: usize = 100_000;

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["fill", path, count, kind, seal] => fill(
            Path::new(path),
            sealer(seal),
            count.parse()?,
            *kind == "random",
        ),
        ["drain", path, count, seal] => drain(Path::new(path), sealer(seal), count.parse()?),
        _ => {
            let count = words
                .iter()
                .find_map(|word| word.parse().ok())
                .unwrap_or(1_000_000);
            let seal = if words.contains(&"sealed") {
                "sealed"
            } else {
                "plain"
            };
            measure(
                count,
                if words.contains(&"random") {
                    "random"
                } else {
                    "readings"
                },
                seal,
            )
        }
    }
}

/// With a key or without.
fn sealer(seal: &str) -> Sealer {
    Sealer::new(
        (seal == "sealed")
            .then(|| SealingKey::parse(&"5a".repeat(32)))
            .flatten(),
    )
}

fn measure(count: usize, kind: &str, seal: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let at = folder.path().join("card");
    // Twice what it takes when nothing can be compressed.
    let disk = if can_cut_power() {
        Some(Disk::ext4(&at, 512 + count as u64 * 260 / (1 << 20))?)
    } else {
        None
    };
    let path: PathBuf = at.join("spool");
    let written = || disk.as_ref().map(Disk::written).transpose();
    let before = written()?;
    let (mut child, said) = start(&["fill", text(&path)?, &count.to_string(), kind, seal])?;
    child.kill()?;
    child.wait()?;
    println!("{count} {kind} owed, {seal}, {said}");
    if let (Some(before), Some(after)) = (before, written()?) {
        let payload = (count * payload_bytes()) as f64;
        println!(
            "bytes on the medium for a byte of payload: {:.2}",
            (after - before) as f64 / payload
        );
    }
    let (mut child, said) = start(&["drain", text(&path)?, &count.to_string(), seal])?;
    println!("after the kill: {said}");
    let _ = child.kill();
    child.wait()?;
    Ok(())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path of plain characters")
}

/// Runs a part in a process of its own, up to its line of figures.
fn start(arguments: &[&str]) -> Result<(Child, String)> {
    let mut child = Command::new(env::current_exe()?)
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("its output is piped")?).read_line(&mut line)?;
    ensure!(!line.is_empty(), "{arguments:?} ended without a word");
    Ok((child, line.trim().to_owned()))
}

fn payload_bytes() -> usize {
    messages(1)[0].payload.len()
}

/// The samples, or as many of random bytes.
fn samples(is_random: bool) -> Vec<Message> {
    let mut found = messages(SAMPLES);
    if is_random {
        let mut random = fastrand::Rng::with_seed(1);
        for message in &mut found {
            message.payload = Bytes::from(
                (0..message.payload.len())
                    .map(|_| random.u8(..))
                    .collect::<Vec<u8>>(),
            );
        }
    }
    found
}

/// Appends while the link is down, no faster than the medium takes it, says what that took, and waits to be killed.
fn fill(path: &Path, sealer: Sealer, count: usize, is_random: bool) -> Result<()> {
    let (spool, samples) = (store::open(path, sealer), samples(is_random));
    let outlet = spool.outlet();
    let (begun, mut longest, mut waiting) = (Instant::now(), Duration::ZERO, VecDeque::new());
    let mut wait_for = |burst: Arc<Burst>| {
        while !burst.all_settled() {
            std::thread::park_timeout(Duration::from_micros(200));
        }
    };
    for number in (0..count).step_by(BATCH) {
        let many = BATCH.min(count - number);
        let settled = Arc::new(Settled::default());
        settled.press(waiting.len() + 1 >= WINDOW);
        let burst = Burst::new(settled, vec![1; many]);
        let append = |index: usize| Append {
            queue: QUEUE,
            message: samples[(number + index) % SAMPLES].clone(),
            receipt: Some(burst.receipt(u32::try_from(index).expect("a batch is small"))),
        };
        let batch = (0..many).map(append).collect();
        let handed = Instant::now();
        outlet.append(batch);
        longest = longest.max(handed.elapsed());
        waiting.push_back(burst);
        if waiting.len() >= WINDOW {
            wait_for(waiting.pop_front().expect("it is not empty"));
        }
    }
    waiting.into_iter().for_each(&mut wait_for);
    let seconds = begun.elapsed().as_secs_f64();
    let (_, peak) = memory(std::process::id())?;
    let rate = count as f64 / seconds;
    say(&format!(
        "safe at {rate:.0} messages/s, longest wait of an append {longest:.1?}, highest RSS {:.1} MB",
        megabytes(peak)
    ))?;
    loop {
        std::thread::park();
    }
}

/// Opens what the killed process has left, and takes everything out, as an uplink does whose broker accepts at once.
fn drain(path: &Path, sealer: Sealer, count: usize) -> Result<()> {
    let begun = Instant::now();
    let spool = store::open(path, sealer);
    let opened = begun.elapsed();
    let (at_start, _) = memory(std::process::id())?;
    let (owed, begun, mut taken) = (spool.owed("cloud"), Instant::now(), 0);
    owed.link.turn(LinkTurn::Up);
    let backlog = owed.backlog;
    let mut next = backlog.low(QUEUE);
    while taken < count {
        let found = match backlog.fetch(QUEUE, next, BATCH, 1 << 20) {
            Fetch::Ready(found) => found,
            Fetch::Spilled => backlog.read(QUEUE, next),
            Fetch::Empty => bail!("{taken} of {count} messages came out"),
        };
        let Some(last) = found.last() else { continue };
        taken += found.len();
        let to = Seq(last.seq.0 + 1);
        backlog.accept(QUEUE, next, to);
        next = to;
    }
    let rate = taken as f64 / begun.elapsed().as_secs_f64();
    let (_, peak) = memory(std::process::id())?;
    say(&format!(
        "open in {:.3} s with {:.1} MB, drained at {rate:.0} messages/s, highest RSS {:.1} MB",
        opened.as_secs_f64(),
        megabytes(at_start),
        megabytes(peak)
    ))
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
