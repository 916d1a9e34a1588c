//! What a change of a plugin costs while messages flow, between two mosquittos.
//!
//! Prints, never asserts on time, in one run: how long from a saved file until its outputs count, compiled anew and out
//! of the cache; how long messages wait for a swap, and their latency while plugins are swapped and compiled; what a
//! shadow costs; memory and disk of a kept version. `--rate N`, `--devices N` (their number is the size of the state),
//! `--seconds N`, `--fresh N`, `--swaps N`, `-o json`. It runs the `tidegate` that lies beside it.

mod print;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use tidegate_tests::broker::{Broker, Mosquitto};
use tidegate_tests::change::{has_come_to, pauses_us};
use tidegate_tests::guests::{component, marked};
use tidegate_tests::usage::{self, percentile_ms};
use tidegate_tests::wait::{wait_at_most, wait_until};
use tidegate_tests::{Config, Gateway, Load, Plan, Watch, binary};

use print::print_tables;

/// A stateful plugin of 200 kB; its state is a count for each of the devices.
const FILE: &str = "count.wasm";
const FLOW: &str = r#"
[flow.all]
from   = "field"
topics = ["devices/{device}/telemetry"]
topic  = "up/{topic}"
to     = "cloud:telemetry"

[[flow.all.plugin]]
name      = "count"
plugin    = "count.wasm"
probation = { time = "2s", messages = 2000 }
"#;

/// States of a change that are waited for, one after the other.
const STATES: [&str; 4] = ["seen", "compiled", "swapped", "confirmed"];

#[derive(Clone, Copy, Debug)]
struct Options {
    rate: u32,
    devices: usize,
    seconds: u32,
    fresh: usize,
    swaps: usize,
    json: bool,
}

/// Messages over some time.
#[derive(Clone, Copy, Debug, Serialize)]
struct Traffic {
    per_second: f64,
    cpu_us: f64,
    latency: Latency,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Latency {
    messages: usize,
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    max_ms: f64,
}

impl Latency {
    fn of(mut delays_us: Vec<u32>) -> Self {
        delays_us.sort_unstable();
        let at = |share| percentile_ms(&delays_us, share);
        Self {
            messages: delays_us.len(),
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: at(1.0),
        }
    }
}

/// Changes by a saved file.
#[derive(Debug, Default)]
struct Changes {
    /// Time from the saved file to each of [`STATES`].
    moments: Vec<[Duration; 4]>,
    /// Latency of what arrived from "seen" to "compiled", and from then on.
    compiling_us: Vec<u32>,
    swapping_us: Vec<u32>,
    rss_before: u64,
    rss_peak: u64,
    compiler_peak: u64,
}

/// From a saved file to a state, milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
struct Until {
    median_ms: f64,
    most_ms: f64,
}

/// From a saved file to what comes of it.
#[derive(Clone, Copy, Debug, Serialize)]
struct Times {
    seen: Until,
    compiled: Until,
    running: Until,
}

impl Changes {
    fn times(&self) -> Times {
        Times {
            seen: self.until(0),
            compiled: self.until(1),
            running: self.until(2),
        }
    }

    fn until(&self, state: usize) -> Until {
        let mut times: Vec<f64> = self
            .moments
            .iter()
            .map(|moments| moments[state].as_secs_f64() * 1e3)
            .collect();
        times.sort_by(f64::total_cmp);
        Until {
            median_ms: times[times.len() / 2],
            most_ms: times[times.len() - 1],
        }
    }
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Memory {
    before_mb: f64,
    compiling_mb: f64,
    compiler_mb: f64,
    at_rest_mb: f64,
    /// What another version adds, ready in every lane.
    version_mb: f64,
    component_kb: f64,
    code_kb: f64,
}

#[derive(Debug, Serialize)]
struct Figures {
    fresh: Times,
    cached: Times,
    pauses: Latency,
    quiet: Traffic,
    swapping: Latency,
    compiling: Latency,
    shadow: Traffic,
    memory: Memory,
    lost: usize,
    doubled: u64,
}

fn main() -> Result<()> {
    let options = options()?;
    let figures = run(options)?;
    if options.json {
        println!("{}", serde_json::to_string(&figures)?);
    } else {
        print_tables(options, &figures);
    }
    Ok(())
}

fn options() -> Result<Options> {
    let mut options = Options {
        rate: 10_000,
        devices: 100,
        seconds: 15,
        fresh: 20,
        swaps: 200,
        json: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .with_context(|| format!("`{name}` wants a value"))?;
        match name.as_str() {
            "--rate" => options.rate = value.parse()?,
            "--devices" => options.devices = value.parse()?,
            "--seconds" => options.seconds = value.parse()?,
            "--fresh" => options.fresh = value.parse()?,
            "--swaps" => options.swaps = value.parse()?,
            "-o" => options.json = value == "json",
            _ => bail!("unknown option `{name}`"),
        }
    }
    let Options {
        rate,
        devices,
        seconds,
        fresh,
        swaps,
        ..
    } = options;
    ensure!(
        rate > 0 && devices > 0 && seconds > 0 && fresh > 1 && swaps > 0,
        "all counts are at least 1, and two fresh versions"
    );
    Ok(options)
}

/// A gateway under load.
struct Scene {
    _field: Broker,
    _cloud: Broker,
    gateway: Gateway,
    watch: Watch,
    original: Vec<u8>,
}

fn run(options: Options) -> Result<Figures> {
    let (field, cloud) = (
        Mosquitto::new().forgetful().start()?,
        Mosquitto::new().forgetful().start()?,
    );
    let config = format!(
        "[source.field]\nurl = \"{}\"\n\n[uplink.cloud]\nurl = \"{}\"\n{FLOW}",
        field.url(),
        cloud.url()
    );
    let setup = Gateway::with(Config::read(&config));
    let original = component("count")?;
    fs::write(setup.folder().join(FILE), &original)?;
    let watch = Watch::start(cloud.address(), "up/#")?;
    let plan = Plan {
        devices: options.devices,
        rate: Some(options.rate),
        window: 2_000,
        ..Plan::default()
    };
    let (gateway, load) = (setup.start()?, Load::start(field.address(), plan));
    let scene = Scene {
        _field: field,
        _cloud: cloud,
        gateway,
        watch,
        original,
    };
    scene.measure(options, load)
}

impl Scene {
    fn measure(self, options: Options, load: Load) -> Result<Figures> {
        let time = Duration::from_secs(u64::from(options.seconds));
        self.traffic(Duration::from_secs(2))?;
        let quiet = self.traffic(time)?;
        let (fresh, cached) = self.changes(options)?;
        self.shadow(&marked(&self.original, 0))?;
        let shadow = self.traffic(time)?;
        self.end_shadow()?;
        let sent = load.stop()?;
        let _ = wait_at_most(Duration::from_secs(60), "the last has arrived", || {
            self.watch.count() as usize >= sent.count()
        });
        let memory = self.memory(&fresh)?;
        let pauses = pauses_us(self.gateway.lines());
        let verdict = sent.against(&self.watch.stop()?, |_, _| true);
        Ok(Figures {
            fresh: fresh.times(),
            cached: cached.times(),
            pauses: Latency::of(pauses),
            quiet,
            swapping: Latency::of(cached.swapping_us),
            compiling: Latency::of(fresh.compiling_us),
            shadow,
            memory,
            lost: verdict.lost,
            doubled: verdict.doubled,
        })
    }

    /// New versions, then those again.
    fn changes(&self, options: Options) -> Result<(Changes, Changes)> {
        let before = usage::memory(self.gateway.pid())?.0;
        let (mut fresh, mut cached) = (
            Changes {
                rss_before: before,
                ..Changes::default()
            },
            Changes::default(),
        );
        let versions: Vec<Vec<u8>> = (1..=options.fresh as u32)
            .map(|mark| marked(&self.original, mark))
            .collect();
        for version in &versions {
            self.change(version, &mut fresh)?;
        }
        for swap in 0..options.swaps {
            // In turns, so that it is never the one that runs.
            self.change(&versions[swap % versions.len()], &mut cached)?;
        }
        Ok((fresh, cached))
    }

    /// What passes in so much time.
    fn traffic(&self, time: Duration) -> Result<Traffic> {
        drop(self.watch.take_delays_us());
        let (cpu, count, begun) = (
            usage::cpu(self.gateway.pid())?,
            self.watch.count(),
            Instant::now(),
        );
        std::thread::park_timeout(time);
        let used = usage::cpu(self.gateway.pid())? - cpu;
        let messages = (self.watch.count() - count) as f64;
        Ok(Traffic {
            per_second: messages / begun.elapsed().as_secs_f64(),
            cpu_us: used.as_secs_f64() * 1e6 / messages,
            latency: Latency::of(self.watch.take_delays_us()),
        })
    }

    /// Saves `content` as the plugin's file and waits until it is confirmed.
    fn change(&self, content: &[u8], changes: &mut Changes) -> Result<()> {
        let lines = self.gateway.lines();
        let (mark, mut moments) = (lines.count(), [Duration::ZERO; 4]);
        self.gateway.replace(FILE, content)?;
        let begun = Instant::now();
        for (state, moment) in STATES.iter().zip(&mut moments) {
            while !has_come_to(lines, mark, state) {
                ensure!(
                    begun.elapsed() < Duration::from_secs(60),
                    "no change came to `{state}` within a minute"
                );
                ensure!(
                    !lines.has_since(mark, &["the running version stays"]),
                    "a version that is as good was not taken"
                );
                if *state == "compiled" {
                    self.look_at_memory(changes)?;
                }
                std::thread::park_timeout(Duration::from_millis(1));
            }
            *moment = begun.elapsed();
            let delays = self.watch.take_delays_us();
            match *state {
                "seen" => {}
                "compiled" => changes.compiling_us.extend(delays),
                _ => changes.swapping_us.extend(delays),
            }
        }
        changes.moments.push(moments);
        Ok(())
    }

    fn look_at_memory(&self, changes: &mut Changes) -> Result<()> {
        let pid = self.gateway.pid();
        changes.rss_peak = changes.rss_peak.max(usage::memory(pid)?.0);
        for child in usage::children(pid)? {
            // One that has just ended has no memory any more.
            changes.compiler_peak = changes
                .compiler_peak
                .max(usage::memory(child).map_or(0, |(_, peak)| peak));
        }
        Ok(())
    }

    /// Puts a version beside the running one that is compared in all its outputs, until it is told to end.
    fn shadow(&self, content: &[u8]) -> Result<()> {
        let file = self.gateway.folder().join("candidate.wasm");
        fs::write(&file, content)?;
        let mark = self.gateway.lines().count();
        let file = file.to_string_lossy();
        self.order(&[
            "swap",
            "count",
            &file,
            "--messages",
            "1000000000",
            "--sample",
            "100%",
            "--detach",
        ])?;
        wait_until("the shadow runs", || {
            has_come_to(self.gateway.lines(), mark, "shadowing")
        })
    }

    fn end_shadow(&self) -> Result<()> {
        let mark = self.gateway.lines().count();
        self.order(&["rollback", "count", "--detach"])?;
        wait_until("the shadow has ended", || {
            has_come_to(self.gateway.lines(), mark, "refused")
        })
    }

    fn order(&self, arguments: &[&str]) -> Result<()> {
        let folder = self.gateway.folder();
        let mut command = Command::new(binary::tidegate()?);
        command
            .args(arguments)
            .arg("--config")
            .arg(folder.join("tidegate.toml"))
            .arg("--data-dir")
            .arg(folder.join("data"));
        let output = command.output()?;
        ensure!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// Memory while compiling; that of the gateway at rest, without and with another version; and what lies on disk.
    fn memory(&self, fresh: &Changes) -> Result<Memory> {
        let at_rest = || {
            std::thread::park_timeout(Duration::from_secs(2));
            usage::memory(self.gateway.pid()).map(|(now, _)| megabytes(now))
        };
        let without = at_rest()?;
        self.shadow(&marked(&self.original, u32::MAX))?;
        let with = at_rest()?;
        self.end_shadow()?;
        let folder = self.gateway.folder().join("data");
        Ok(Memory {
            before_mb: megabytes(fresh.rss_before),
            compiling_mb: megabytes(fresh.rss_peak),
            compiler_mb: megabytes(fresh.compiler_peak),
            at_rest_mb: without,
            version_mb: with - without,
            component_kb: mean_kilobytes(&folder.join("plugins"), "wasm")?,
            code_kb: mean_kilobytes(&folder.join("cache"), "")?,
        })
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Mean size of the files in `folder` with this extension.
fn mean_kilobytes(folder: &Path, extension: &str) -> Result<f64> {
    let files = fs::read_dir(folder)?.filter_map(Result::ok);
    let ours = files.filter(|file| {
        extension.is_empty() || file.path().extension().is_some_and(|own| own == extension)
    });
    let sizes: Vec<u64> = ours
        .map(|file| Ok(file.metadata()?.len()))
        .collect::<Result<_>>()?;
    Ok(sizes.iter().sum::<u64>() as f64 / 1e3 / sizes.len() as f64)
}
