//! What an alarm waits for while telemetry comes at twice what the gateway can carry, between two mosquittos.
//!
//! Prints, never asserts on time: latency of a `priority` flow at 100 messages a second, alone; beside telemetry at 10,000
//! a second into a link that is held to 5,000; beside telemetry as fast as the brokers take it. `--seconds N`, `-o json`.
//! It runs the `tidegate` that lies beside it.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use tidegate_tests::broker::{Broker, Mosquitto};
use tidegate_tests::usage::percentile_ms;
use tidegate_tests::wait::wait_at_most;
use tidegate_tests::{Gateway, Load, Plan, Watch};

const FLOWS: &str = r#"
[flow.telemetry]
from   = "field"
topics = ["devices/{device}/telemetry"]
topic  = "up/{topic}"
to     = "cloud:telemetry"

[[flow.telemetry.plugin]]
plugin   = "builtin:decode-json"
settings = { pick = ["device", "seq", "ts", "temperature"] }

[flow.alarms]
from     = "field"
topics   = ["alarms/{device}/raised"]
topic    = "up/{topic}"
to       = "cloud:alarm"
priority = true

[[flow.alarms.plugin]]
plugin   = "builtin:decode-json"
settings = { pick = ["device", "seq", "ts", "temperature"] }
"#;

/// Alarms a second.
const ALARMS: u32 = 100;
/// What the link carries, and what telemetry asks of it.
const LINK: u32 = 5_000;

/// One way of disturbing the alarms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    Nothing,
    TwiceTheLink,
    AllTheBrokersTake,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Figures {
    alarms: usize,
    lost: usize,
    p50_ms: f64,
    p99_ms: f64,
    telemetry_per_second: f64,
}

fn main() -> Result<()> {
    let (seconds, json) = options()?;
    let mut runs = Vec::new();
    for beside in [Beside::Nothing, Beside::TwiceTheLink, Beside::AllTheBrokersTake] {
        runs.push((beside, run(beside, seconds).with_context(|| format!("{beside:?}"))?));
    }
    let alone = runs[0].1;
    if json {
        println!(
            "{}",
            serde_json::json!(runs.iter().map(|(beside, figures)| (format!("{beside:?}"), figures)).collect::<Vec<_>>())
        );
        return Ok(());
    }
    println!("a priority flow at {ALARMS}/s for {seconds} s, QoS 1\n");
    println!("{:<44} {:>8} {:>8} {:>12} {:>6}", "beside it", "p50 ms", "p99 ms", "p99 / alone", "lost");
    for (beside, figures) in &runs {
        let what = match beside {
            Beside::Nothing => "nothing".to_owned(),
            Beside::TwiceTheLink => format!("telemetry at {}/s, link held to {LINK}/s", 2 * LINK),
            Beside::AllTheBrokersTake => format!("telemetry, {:.0}/s", figures.telemetry_per_second),
        };
        let Figures { p50_ms, p99_ms, lost, .. } = figures;
        println!("{what:<44} {p50_ms:>8.2} {p99_ms:>8.2} {:>12.2} {lost:>6}", p99_ms / alone.p99_ms);
    }
    Ok(())
}

fn options() -> Result<(u32, bool)> {
    let (mut seconds, mut json) = (20, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("`{name}` wants a value"))?;
        match name.as_str() {
            "--seconds" => seconds = value.parse()?,
            "-o" => json = value == "json",
            _ => bail!("unknown option `{name}`"),
        }
    }
    ensure!(seconds > 0, "at least a second");
    Ok((seconds, json))
}

fn run(beside: Beside, seconds: u32) -> Result<Figures> {
    let (field, cloud) = (Mosquitto::new().forgetful().start()?, Mosquitto::new().forgetful().start()?);
    let rate = if beside == Beside::TwiceTheLink { format!("rate = \"{LINK}/s\"\n") } else { String::new() };
    let config = format!("[source.field]\nurl = \"{}\"\n\n[uplink.cloud]\nurl = \"{}\"\n{rate}{FLOWS}", field.url(), cloud.url());
    let gateway = Gateway::with(config).start()?;
    let telemetry = Watch::start(cloud.address(), "up/devices/#")?;
    let load = start_telemetry(beside, &field, &telemetry)?;
    let before = telemetry.total();
    let watch = Watch::start(cloud.address(), "up/alarms/#")?;
    let plan = Plan {
        devices: 10,
        rate: Some(ALARMS),
        total: Some((ALARMS * seconds) as usize),
        topic: ("alarms/", "/raised"),
        ..Plan::default()
    };
    let sent = Load::start(field.address(), plan).wait()?;
    let carried = telemetry.total() - before;
    let _ = wait_at_most(Duration::from_secs(30), "the alarms have arrived", || watch.count() as usize >= sent.count());
    let mut delays = watch.take_delays_us();
    delays.sort_unstable();
    let verdict = sent.against(&watch.stop()?, |_, _| true);
    drop(load);
    gateway.stop()?;
    Ok(Figures {
        alarms: sent.count(),
        lost: verdict.lost,
        p50_ms: percentile_ms(&delays, 0.50),
        p99_ms: percentile_ms(&delays, 0.99),
        telemetry_per_second: carried as f64 / f64::from(seconds),
    })
}

fn start_telemetry(beside: Beside, field: &Broker, telemetry: &Watch) -> Result<Option<Load>> {
    let rate = match beside {
        Beside::Nothing => return Ok(None),
        Beside::TwiceTheLink => Some(2 * LINK),
        Beside::AllTheBrokersTake => None,
    };
    let load = Load::start(field.address(), Plan { devices: 100, rate, window: 2_000, ..Plan::default() });
    wait_at_most(Duration::from_secs(30), "telemetry flows", || telemetry.total() > 5_000)?;
    Ok(Some(load))
}
