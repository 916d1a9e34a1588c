//! A disk that takes its time.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::cut::{Cuttable, Weather};
use tidegate_tests::gateway::sum;
use tidegate_tests::{
    Broker, Config, Gateway, Load, Plan, Watch, cases, needs, rounds, soak_time, usage, wait_until,
};

use crate::scene::{UP, compare, expect_at_least_once};

pub fn cases() -> Vec<Trial> {
    let has_strace = Command::new("strace")
        .arg("-V")
        .output()
        .is_ok_and(|said| said.status.success());
    cases![
        |name: &str, run| needs(name, "strace", has_strace, run);
        bad_weather_stalls_and_kills_at_once,
        a_sync_that_hangs_holds_nobody_up,
    ]
}

/// Beyond the head, a source's window and the program itself.
const MEMORY_BYTES: u64 = 160 << 20;

/// Every sync of the disk takes four seconds (thirty in the long form) under 2,000 msg/s, while the link upstream comes
/// and goes and pings are due every two seconds: brokers on a busy machine may take one for an answer.
/// Guarantee: devices stay connected, what is in memory is forwarded meanwhile, memory stays bounded, nothing is lost.
fn a_sync_that_hangs_holds_nobody_up() -> Result<()> {
    let seconds = rounds(4, 30);
    let delay = format!("inject=syncfs:delay_enter={}", seconds * 1_000_000);
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let (near, far) = (
        Cuttable::to(field.address())?,
        Cuttable::to(cloud.address())?,
    );
    let watch = Watch::start(cloud.address(), UP)?;
    let config = Config::forwarding()
        .between(&near.url(), &far.url())
        .set("source.field.keep_alive", "2s")
        .set("uplink.cloud.keep_alive", "2s")
        .add("spool", "commit_every = \"100ms\"");
    let strace = [
        "strace",
        "-D",
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        &delay,
    ];
    let gateway = Gateway::with(config).under(&strace).start()?;
    let load = Load::start(
        field.address(),
        Plan {
            rate: Some(2_000),
            ..Plan::default()
        },
    );
    let is_slow = || {
        gateway
            .get("/readyz")
            .is_ok_and(|(code, text)| code == 503 && text.contains("store-failing"))
    };
    let commits = || gateway.metric("tidegate_spool_commits_total", &[]);
    for _ in 0..rounds(2, 5) {
        far.go_dark();
        wait_until("a commit hangs", is_slow)?;
        let (arrived, done) = (watch.count(), commits());
        far.back();
        wait_until("what is in memory is forwarded", || {
            watch.count() > arrived + 2_000
        })?;
        wait_until("the commit comes to its end", || commits() > done)?;
    }
    let (_, peak) = usage::memory(gateway.pid())?;
    ensure!(peak < MEMORY_BYTES, "{peak} bytes of memory");
    ensure!(
        near.dials() == 1,
        "devices' side was dialled {} times",
        near.dials()
    );
    let sent = load.stop()?;
    let verdict = compare(&sent, watch)?;
    eprintln!(
        "syncs of {seconds} s: {verdict}; {} MB at the most",
        peak / 1_000_000
    );
    expect_at_least_once(&verdict)
}

/// A link of 100 ± 30 ms on which nothing gets through for seconds now and then, syncs that take a second, and a gateway
/// that is killed again and again, under load. In the long form for three days, or `TIDEGATE_SOAK_HOURS`.
/// Guarantee: nothing is lost, order holds, memory stays bounded, and no kill sends more twice than it may: of what was on
/// disk two windows of the uplink, and of what came in only what the field broker had no acknowledgement of.
fn bad_weather_stalls_and_kills_at_once() -> Result<()> {
    let (burst, every) = if soak_time().is_some() {
        (6_000, 20_000)
    } else {
        (1_500, 1_500)
    };
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
    let strace = [
        "strace",
        "-D",
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "inject=syncfs:delay_enter=1000000",
    ];
    // A small one, so that few kills show much; the long form wants to keep pace with what comes.
    let window = rounds(200, 1_000);
    let settings = format!("id = \"envelope\"\ninflight = {window}");
    let config = Config::forwarding()
        .between(&field.url(), &link.url())
        .put("uplink.cloud", &settings)
        .add("spool", "commit_every = \"100ms\"\nspill_after = \"500ms\"");
    let mut gateway = Gateway::with(config).under(&strace).start()?;
    let load = Load::start(
        field.address(),
        Plan {
            rate: Some(RATE),
            ..Plan::default()
        },
    );
    let (begun, mut kills, mut peak, mut doubles) = (
        Instant::now(),
        0,
        0,
        Doubles {
            window: window as u64,
            ..Doubles::default()
        },
    );
    while soak_time().map_or(kills < 3, |time| begun.elapsed() < time) {
        let before = watch.count();
        wait_until("something arrives", || watch.count() > before + 300)?;
        peak = usage::memory(gateway.pid())?.1.max(peak);
        doubles.look(&watch, &gateway)?;
        gateway = gateway.kill()?.start()?;
        kills += 1;
    }
    let sent = load.stop()?;
    wait_until("nothing is owed", || {
        gateway.metric("tidegate_spool_messages", &[]) == 0.0
    })?;
    doubles.look(&watch, &gateway)?;
    let verdict = compare(&sent, watch)?;
    let minutes = begun.elapsed().as_secs() / 60;
    eprintln!(
        "{kills} kills in {minutes} minutes of bad weather: {verdict}; {doubles}; {} MB at the most",
        peak / 1_000_000
    );
    ensure!(peak < MEMORY_BYTES, "{peak} bytes of memory");
    expect_at_least_once(&verdict)
}

/// Messages a second in bad weather.
const RATE: u32 = 500;

/// What arrived twice over kills, and what may have, as the promise has it.
#[derive(Default)]
struct Doubles {
    /// What may be in flight.
    window: u64,
    /// Under the id it had: sent again by the uplink.
    again: u64,
    may_again: u64,
    most_again: u64,
    /// Under a new id: taken again from the field broker.
    anew: u64,
    may_anew: u64,
}

impl Doubles {
    /// Checks what has arrived twice by now, and adds what a kill at this moment may cost. That is what is in flight, as much
    /// again if all of it was accepted within the milliseconds before (a link that comes back brings all acknowledgements at
    /// once), and what is not acknowledged to the field broker, with what is taken until the kill comes.
    fn look(&mut self, watch: &Watch, gateway: &Gateway) -> Result<()> {
        let (_, metrics) = gateway.get("/metrics")?;
        let count = |name, label| sum(&metrics, name, &[label]) as u64;
        self.may_again +=
            self.window * count("tidegate_uplink_reconnects_total", ("uplink", "cloud"));
        let (doubled, again) = watch.doubles();
        self.most_again = self.most_again.max(again - self.again);
        (self.again, self.anew) = (again, doubled - again);
        ensure!(
            self.again <= self.may_again && self.anew <= self.may_anew,
            "{self}"
        );
        self.may_again += 2 * self.window;
        self.may_anew +=
            count("tidegate_source_unsettled_messages", ("source", "field")) + u64::from(RATE);
        Ok(())
    }
}

impl std::fmt::Display for Doubles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            again,
            may_again,
            most_again,
            anew,
            may_anew,
            ..
        } = self;
        write!(
            f,
            "{again} sent again ({most_again} at most between two kills, {may_again} allowed in all), "
        )?;
        write!(f, "{anew} taken again ({may_anew} allowed in all)")
    }
}
