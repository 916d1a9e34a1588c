//! A disk that takes its time.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::cut::{Cuttable, Weather};
use tidegate_tests::{Broker, Gateway, Load, Plan, Watch, needs, rounds, soak_time, usage, wait_until};

use crate::scene::{UP, compare, config, expect_at_least_once, flow};

pub fn cases() -> Vec<Trial> {
    let has_strace = Command::new("strace").arg("-V").output().is_ok_and(|said| said.status.success());
    vec![
        needs("slow::bad_weather_stalls_and_kills_at_once", "strace", has_strace, bad_weather_stalls_and_kills_at_once),
        needs("slow::a_sync_that_hangs_holds_nobody_up", "strace", has_strace, a_sync_that_hangs_holds_nobody_up),
    ]
}

/// Beyond the head, a source's window and the program itself.
const MEMORY_BYTES: u64 = 160 << 20;

/// Every sync of the disk takes three seconds (thirty in the long form) under 2,000 msg/s, while the link upstream comes
/// and goes and pings are due every second.
/// Guarantee: devices stay connected, what is in memory is forwarded meanwhile, memory stays bounded, nothing is lost.
fn a_sync_that_hangs_holds_nobody_up() -> Result<()> {
    let seconds = rounds(3, 30);
    let delay = format!("inject=syncfs:delay_enter={}", seconds * 1_000_000);
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let (near, far) = (Cuttable::to(field.address())?, Cuttable::to(cloud.address())?);
    let watch = Watch::start(cloud.address(), UP)?;
    let text = config(&near.url(), &far.url(), &flow("")).replace("\nbackoff", "\nkeep_alive = \"1s\"\nbackoff");
    let strace = ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", &delay];
    let gateway = Gateway::with(format!("[spool]\ncommit_every = \"100ms\"\n\n{text}")).under(&strace).start()?;
    let load = Load::start(field.address(), Plan { rate: Some(2_000), ..Plan::default() });
    let is_slow = || gateway.get("/readyz").is_ok_and(|(code, text)| code == 503 && text.contains("store-failing"));
    let commits = || gateway.metric("tidegate_spool_commits_total", &[]);
    for _ in 0..rounds(2, 5) {
        far.go_dark();
        wait_until("a commit hangs", is_slow)?;
        let (arrived, done) = (watch.count(), commits());
        far.back();
        wait_until("what is in memory is forwarded", || watch.count() > arrived + 2_000)?;
        wait_until("the commit comes to its end", || commits() > done)?;
    }
    let (_, peak) = usage::memory(gateway.pid())?;
    ensure!(peak < MEMORY_BYTES, "{peak} bytes of memory");
    ensure!(near.dials() == 1, "devices' side was dialled {} times", near.dials());
    let sent = load.stop()?;
    let verdict = compare(&sent, watch)?;
    eprintln!("syncs of {seconds} s: {verdict}; {} MB at the most", peak / 1_000_000);
    expect_at_least_once(&verdict)
}

/// A link of 100 ± 30 ms on which nothing gets through for seconds now and then, syncs that take a second, and a gateway
/// that is killed again and again, under load. In the long form for three days, or `TIDEGATE_SOAK_HOURS`.
/// Guarantee: nothing is lost, order holds, memory stays bounded.
fn bad_weather_stalls_and_kills_at_once() -> Result<()> {
    let (burst, every) = if soak_time().is_some() { (6_000, 20_000) } else { (1_500, 1_500) };
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let link = Cuttable::to(cloud.address())?;
    let milliseconds = Duration::from_millis;
    link.turn(Weather {
        delay: milliseconds(50),
        jitter: milliseconds(15),
        burst: milliseconds(burst),
        every: milliseconds(every),
    });
    let watch = Watch::start(cloud.address(), UP)?;
    let strace = ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", "inject=syncfs:delay_enter=1000000"];
    let text =
        format!("[spool]\ncommit_every = \"100ms\"\nspill_after = \"500ms\"\n\n{}", config(&field.url(), &link.url(), &flow("")));
    let mut gateway = Gateway::with(text).under(&strace).start()?;
    let load = Load::start(field.address(), Plan { rate: Some(500), ..Plan::default() });
    let (begun, mut kills, mut peak) = (Instant::now(), 0, 0);
    while soak_time().map_or(kills < 3, |time| begun.elapsed() < time) {
        let before = watch.count();
        wait_until("something arrives", || watch.count() > before + 300)?;
        peak = usage::memory(gateway.pid())?.1.max(peak);
        gateway = gateway.kill()?.start()?;
        kills += 1;
    }
    let sent = load.stop()?;
    let verdict = compare(&sent, watch)?;
    let minutes = begun.elapsed().as_secs() / 60;
    eprintln!("{kills} kills in {minutes} minutes of bad weather: {verdict}; {} MB at the most", peak / 1_000_000);
    ensure!(peak < MEMORY_BYTES, "{peak} bytes of memory");
    expect_at_least_once(&verdict)
}
