//! What a flow costs: 1 to 1,000 flows of the three shipped plugins, each with a topic and settings of its own.
//!
//! Prints, never asserts: start with and without compiled code, threads and memory before the first message and after
//! each flow has had some (`once`: pages that many instances share counted once), processor time while nothing comes, and
//! for each message. `--flows 1,10,100`, `--messages N`, `--rate N`, `-o json`. It runs the `tidegate` that lies beside it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use tidegate_tests::broker::Mosquitto;
use tidegate_tests::wait::wait_at_most;
use tidegate_tests::{Gateway, Load, Plan, Watch, many, usage};

/// The first start of many flows takes longest.
const PATIENCE: Duration = Duration::from_secs(600);

struct Options {
    flows: Vec<usize>,
    messages: usize,
    rate: u32,
    json: bool,
}

#[derive(Debug, Serialize)]
struct Figures {
    flows: usize,
    first_start_s: f64,
    start_s: f64,
    threads: usize,
    rss_idle_mb: f64,
    cpu_idle_ms_per_s: f64,
    rss_used_mb: f64,
    once_used_mb: f64,
    cpu_us_per_message: f64,
    p50_ms: f64,
    p99_ms: f64,
    missing: usize,
}

fn main() -> Result<()> {
    let options = options()?;
    let figures = options
        .flows
        .iter()
        .map(|flows| measure(*flows, &options))
        .collect::<Result<Vec<_>>>()?;
    if options.json {
        println!("{}", serde_json::to_string(&figures)?);
        return Ok(());
    }
    println!(
        "flows  first start  start  threads  RSS idle  idle CPU  RSS used    once  CPU/message     p50     p99  missing"
    );
    for row in figures {
        println!(
            "{:>5}  {:>9.2} s  {:>3.2} s  {:>7}  {:>5.0} MB  {:>3.1} ms/s  {:>5.0} MB  {:>3.0} MB  {:>8.1} us  {:>3.1} ms  {:>3.1} ms  {:>7}",
            row.flows,
            row.first_start_s,
            row.start_s,
            row.threads,
            row.rss_idle_mb,
            row.cpu_idle_ms_per_s,
            row.rss_used_mb,
            row.once_used_mb,
            row.cpu_us_per_message,
            row.p50_ms,
            row.p99_ms,
            row.missing
        );
    }
    Ok(())
}

fn options() -> Result<Options> {
    let mut options = Options {
        flows: vec![1, 10, 100, 300, 1_000],
        messages: 40_000,
        rate: 2_000,
        json: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .with_context(|| format!("`{name}` wants a value"))?;
        match name.as_str() {
            "--flows" => {
                options.flows = value.split(',').map(str::parse).collect::<Result<_, _>>()?
            }
            "--messages" => options.messages = value.parse()?,
            "--rate" => options.rate = value.parse()?,
            "-o" => options.json = value == "json",
            _ => bail!("unknown option `{name}`"),
        }
    }
    Ok(options)
}

fn measure(flows: usize, options: &Options) -> Result<Figures> {
    let (field, cloud) = (
        Mosquitto::new().forgetful().start()?,
        Mosquitto::new().forgetful().start()?,
    );
    let begun = Instant::now();
    let gateway =
        started(Gateway::with(many::config(flows, field.address(), cloud.address())).launch()?)?;
    let first_start_s = begun.elapsed().as_secs_f64();
    let (_, setup) = gateway.stop()?;
    let begun = Instant::now();
    let gateway = started(setup.launch()?)?;
    let start_s = begun.elapsed().as_secs_f64();
    // So that what the start used has been given back or never will be.
    std::thread::park_timeout(Duration::from_secs(2));
    let (pid, idle) = (gateway.pid(), Duration::from_secs(5));
    let (rss_idle, cpu) = (usage::memory(pid)?.0, usage::cpu(pid)?);
    std::thread::park_timeout(idle);
    let idle_cpu = usage::cpu(pid)? - cpu;
    let (watch, cpu) = (Watch::start(cloud.address(), "up/#")?, usage::cpu(pid)?);
    let plan = Plan {
        devices: flows,
        rate: Some(options.rate),
        total: Some(options.messages.max(4 * flows)),
        window: 2_000,
        topic: ("devices/", "/telemetry"),
        temperature: |_| 25.5,
        padding: 0,
    };
    let total = plan.total.unwrap_or_default();
    Load::start(field.address(), plan).wait()?;
    let _ = wait_at_most(Duration::from_secs(60), "all have arrived", || {
        watch.count() as usize >= total
    });
    let used = usage::cpu(pid)? - cpu;
    let mut delays = watch.take_delays_us();
    delays.sort_unstable();
    Ok(Figures {
        flows,
        first_start_s,
        start_s,
        threads: usage::threads(pid)?,
        rss_idle_mb: megabytes(rss_idle),
        cpu_idle_ms_per_s: idle_cpu.as_secs_f64() * 1e3 / idle.as_secs_f64(),
        rss_used_mb: megabytes(usage::memory(pid)?.0),
        once_used_mb: megabytes(usage::memory_once(pid)?),
        cpu_us_per_message: used.as_secs_f64() * 1e6 / total as f64,
        p50_ms: usage::percentile_ms(&delays, 0.5),
        p99_ms: usage::percentile_ms(&delays, 0.99),
        missing: total.saturating_sub(watch.count() as usize),
    })
}

fn started(gateway: Gateway) -> Result<Gateway> {
    wait_at_most(PATIENCE, "the gateway's sources are online", || {
        gateway.is_online()
    })?;
    Ok(gateway)
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
