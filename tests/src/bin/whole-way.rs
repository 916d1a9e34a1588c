//! The whole way of `examples/convert` between two mosquittos, beside a bare relay on the same MQTT code, in turns.
//!
//! Prints, never asserts on time: a burst at QoS 1 with nothing lost, CPU per message at full load and at a steady
//! rate, latency, memory, start. `--rounds N`, `--burst N`, `--rate N`, `--seconds N`, `-o json`. It runs the `tidegate` and
//! `relay` that lie beside it; allocations per message are there when they were built with
//! `--features tidegate/allocations`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use tidegate_tests::broker::{Broker, Mosquitto};
use tidegate_tests::process::{Process, testimony};
use tidegate_tests::wait::{wait_at_most, wait_until};
use tidegate_tests::{Gateway, Load, Plan, Watch, binary, convert, relay, usage};

#[derive(Clone, Debug)]
struct Options {
    rounds: usize,
    burst: usize,
    rate: u32,
    seconds: u32,
    json: bool,
}

/// One run of one candidate.
#[derive(Clone, Debug, Default, Serialize)]
struct Figures {
    burst_per_second: f64,
    lost: f64,
    doubled: f64,
    cpu_us_full: f64,
    cpu_us_paced: f64,
    p50_ms: f64,
    p99_ms: f64,
    allocations_per_message: Option<f64>,
    rss_idle_mb: f64,
    rss_paced_mb: f64,
    rss_peak_mb: f64,
    start_ms: f64,
    start_again_ms: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Candidate {
    Relay,
    Gateway,
}

enum Running {
    Relay(Process),
    Gateway(Box<Gateway>),
}

fn main() -> Result<()> {
    let options = options()?;
    let binary = binary::tidegate()?;
    let mut relays = Vec::new();
    let mut gateways = Vec::new();
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        relays.push(measure(Candidate::Relay, &options)?);
        gateways.push(measure(Candidate::Gateway, &options)?);
    }
    if options.json {
        println!(
            "{}",
            serde_json::json!({ "relay": relays, "gateway": gateways })
        );
        return Ok(());
    }
    print_table(&options, &relays, &gateways);
    println!(
        "size of the binary: {:.1} MB",
        std::fs::metadata(binary)?.len() as f64 / 1e6
    );
    Ok(())
}

fn options() -> Result<Options> {
    let mut options = Options {
        rounds: 3,
        burst: 200_000,
        rate: 10_000,
        seconds: 20,
        json: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .with_context(|| format!("`{name}` wants a value"))?;
        match name.as_str() {
            "--rounds" => options.rounds = value.parse()?,
            "--burst" => options.burst = value.parse()?,
            "--rate" => options.rate = value.parse()?,
            "--seconds" => options.seconds = value.parse()?,
            "-o" => options.json = value == "json",
            _ => bail!("unknown option `{name}`"),
        }
    }
    ensure!(
        options.rounds > 0 && options.burst > 0 && options.rate > 0,
        "all counts are at least 1"
    );
    Ok(options)
}

fn measure(candidate: Candidate, options: &Options) -> Result<Figures> {
    run(candidate, options).with_context(|| format!("{candidate:?}\n{}", testimony()))
}

fn run(candidate: Candidate, options: &Options) -> Result<Figures> {
    let field = Mosquitto::new().forgetful().start()?;
    let cloud = Mosquitto::new().forgetful().start()?;
    let begun = Instant::now();
    let running = start(candidate, &field, &cloud)?;
    let mut figures = Figures {
        start_ms: begun.elapsed().as_secs_f64() * 1e3,
        ..Figures::default()
    };
    // A second of quiet, so that what start-up used has been given back or never will be.
    std::thread::park_timeout(Duration::from_secs(1));
    figures.rss_idle_mb = megabytes(usage::memory(running.pid())?.0);
    warm_up(&field, &cloud)?;
    burst(options, &field, &cloud, &running, &mut figures)?;
    paced(options, &field, &cloud, &running, &mut figures)?;
    figures.start_again_ms = running.end()?;
    Ok(figures)
}

fn start(candidate: Candidate, field: &Broker, cloud: &Broker) -> Result<Running> {
    if candidate == Candidate::Gateway {
        let config = convert::config(field.address(), cloud.address())?;
        return Ok(Running::Gateway(Box::new(Gateway::with(config).start()?)));
    }
    relay::beside(field, cloud, ["devices/+/telemetry", "up/telemetry"]).map(Running::Relay)
}

impl Running {
    fn pid(&self) -> u32 {
        match self {
            Self::Relay(process) => process.pid(),
            Self::Gateway(gateway) => gateway.pid(),
        }
    }

    /// Allocations so far, where the binary counts them.
    fn allocations(&self) -> Option<f64> {
        match self {
            Self::Relay(_) => None,
            Self::Gateway(gateway) => {
                Some(gateway.metric("tidegate_allocations_total", &[])).filter(|count| *count > 0.0)
            }
        }
    }

    /// Ends it. A gateway is started once more, now that its plugins are compiled: how many milliseconds that takes.
    fn end(self) -> Result<f64> {
        match self {
            Self::Relay(mut process) => process.kill().map(|()| f64::NAN),
            Self::Gateway(gateway) => {
                let (status, setup) = gateway.stop()?;
                ensure!(status.success(), "the gateway ended with {status}");
                let begun = Instant::now();
                let again = setup.start()?;
                let took = begun.elapsed();
                again.kill()?;
                Ok(took.as_secs_f64() * 1e3)
            }
        }
    }
}

/// Devices whose readings all pass, on a topic of their own, so that every message goes the whole way.
fn plan(devices: &'static str, total: usize, rate: Option<u32>) -> Plan {
    Plan {
        devices: 100,
        rate,
        total: Some(total),
        window: 2_000,
        topic: (devices, "/telemetry"),
        temperature: |_| 25.5,
        padding: 0,
    }
}

fn warm_up(field: &Broker, cloud: &Broker) -> Result<()> {
    let watch = Watch::start(cloud.address(), "up/#")?;
    let sent = Load::start(field.address(), plan("devices/warm-", 20_000, None)).wait()?;
    wait_until("the warm-up has arrived", || {
        watch.count() as usize >= sent.count()
    })?;
    watch.stop().map(drop)
}

fn burst(
    options: &Options,
    field: &Broker,
    cloud: &Broker,
    running: &Running,
    figures: &mut Figures,
) -> Result<()> {
    let watch = Watch::start(cloud.address(), "up/#")?;
    let (cpu, allocations, begun) = (
        usage::cpu(running.pid())?,
        running.allocations(),
        Instant::now(),
    );
    let sent = Load::start(field.address(), plan("devices/", options.burst, None)).wait()?;
    // What is lost never comes: after a minute without it, it counts as lost.
    let _ = wait_at_most(Duration::from_secs(60), "the burst has arrived", || {
        watch.count() as usize >= sent.count()
    });
    let took = begun.elapsed();
    let used = usage::cpu(running.pid())? - cpu;
    if let (Some(before), Some(after)) = (allocations, running.allocations()) {
        figures.allocations_per_message = Some((after - before) / options.burst as f64);
    }
    let verdict = sent.against(&watch.stop()?, |_, _| true);
    figures.burst_per_second = options.burst as f64 / took.as_secs_f64();
    figures.cpu_us_full = used.as_secs_f64() * 1e6 / options.burst as f64;
    figures.lost = verdict.lost as f64;
    figures.doubled = verdict.doubled as f64;
    Ok(())
}

fn paced(
    options: &Options,
    field: &Broker,
    cloud: &Broker,
    running: &Running,
    figures: &mut Figures,
) -> Result<()> {
    let watch = Watch::start(cloud.address(), "up/#")?;
    let total = options.rate as usize * options.seconds as usize;
    let cpu = usage::cpu(running.pid())?;
    let sent = Load::start(field.address(), plan("devices/", total, Some(options.rate))).wait()?;
    let used = usage::cpu(running.pid())? - cpu;
    figures.rss_paced_mb = megabytes(usage::memory(running.pid())?.0);
    let _ = wait_at_most(Duration::from_secs(60), "the last has arrived", || {
        watch.count() as usize >= sent.count()
    });
    figures.rss_peak_mb = megabytes(usage::memory(running.pid())?.1);
    figures.cpu_us_paced = used.as_secs_f64() * 1e6 / total as f64;
    let mut delays = watch.take_delays_us();
    delays.sort_unstable();
    figures.p50_ms = usage::percentile_ms(&delays, 0.50);
    figures.p99_ms = usage::percentile_ms(&delays, 0.99);
    figures.lost += sent.against(&watch.stop()?, |_, _| true).lost as f64;
    Ok(())
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn print_table(options: &Options, relays: &[Figures], gateways: &[Figures]) {
    let Options {
        rounds,
        burst,
        rate,
        seconds,
        ..
    } = options;
    println!(
        "\nmedians of {rounds} rounds; burst of {burst}, then {seconds} s at {rate} messages/s, QoS 1, 130-byte readings\n"
    );
    println!(
        "{:<34} {:>10} {:>10} {:>8}",
        "", "relay", "gateway", "ratio"
    );
    let row = |name: &str, value: fn(&Figures) -> f64| {
        let (relay, gateway) = (median(relays, value), median(gateways, value));
        println!(
            "{name:<34} {relay:>10.2} {gateway:>10.2} {:>8.2}",
            gateway / relay
        );
    };
    row("burst, messages/s", |figures| figures.burst_per_second);
    row("CPU per message, full load, us", |figures| {
        figures.cpu_us_full
    });
    row("CPU per message, at the rate, us", |figures| {
        figures.cpu_us_paced
    });
    row("latency p50, ms", |figures| figures.p50_ms);
    row("latency p99, ms", |figures| figures.p99_ms);
    row("RSS idle, MB", |figures| figures.rss_idle_mb);
    row("RSS at the rate, MB", |figures| figures.rss_paced_mb);
    row("RSS peak, MB", |figures| figures.rss_peak_mb);
    row("start to subscribed, ms", |figures| figures.start_ms);
    row("the same once more, ms", |figures| figures.start_again_ms);
    row("lost", |figures| figures.lost);
    row("doubled", |figures| figures.doubled);
    if gateways
        .iter()
        .all(|figures| figures.allocations_per_message.is_some())
    {
        let value = median(gateways, |figures| {
            figures.allocations_per_message.unwrap_or(f64::NAN)
        });
        println!("{:<34} {:>10} {value:>10.2}", "allocations per message", "");
    }
}

fn median(runs: &[Figures], value: fn(&Figures) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
