//! What an alarm waits for while telemetry comes at twice what the gateway can carry, between two mosquittos; and what it
//! waits for when there is no gateway: then a bare relay of its own carries it, beside another for the telemetry. More
//! than that way has room for nobody can promise.
//!
//! Prints, never asserts on time: latency of a `priority` flow at 100 messages a second, alone; beside telemetry at 10,000
//! a second into a link that is held to 5,000; beside telemetry as fast as the brokers take it. The relays take turns with the
//! gateway; they hold no link, and get no more telemetry than the held one carries. `--rounds N`, `--seconds N`, `-o json`.
//! It runs the `tidegate` and `relay` that lie beside it.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use tidegate_tests::broker::{Broker, Mosquitto};
use tidegate_tests::process::Process;
use tidegate_tests::usage::percentile_ms;
use tidegate_tests::wait::wait_at_most;
use tidegate_tests::{Config, Gateway, Load, Plan, Watch, relay};

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

/// Who carries alarms and telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrier {
    Gateway,
    /// One for the alarms, one for the telemetry.
    Relays,
}

enum Running {
    Gateway(Box<Gateway>),
    Relays([Process; 2]),
}

const WAYS: [Beside; 3] = [
    Beside::Nothing,
    Beside::TwiceTheLink,
    Beside::AllTheBrokersTake,
];
const CARRIERS: [Carrier; 2] = [Carrier::Gateway, Carrier::Relays];

fn main() -> Result<()> {
    let options = options()?;
    let mut runs = Vec::new();
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        for beside in WAYS {
            for carrier in CARRIERS {
                let figures = run(carrier, beside, options.seconds)
                    .with_context(|| format!("{carrier:?}, {beside:?}"))?;
                runs.push((carrier, beside, figures));
            }
        }
    }
    if options.json {
        let runs = runs.iter().map(|(carrier, beside, figures)| {
            (format!("{carrier:?}"), format!("{beside:?}"), figures)
        });
        println!("{}", serde_json::json!(runs.collect::<Vec<_>>()));
        return Ok(());
    }
    println!(
        "a priority flow at {ALARMS}/s, QoS 1; medians of {} rounds of {} s\n",
        options.rounds, options.seconds
    );
    println!(
        "{:<8} {:<44} {:>8} {:>8} {:>12} {:>6}",
        "", "beside it", "p50 ms", "p99 ms", "p99 / alone", "lost"
    );
    for carrier in CARRIERS {
        print_rows(carrier, &runs);
    }
    Ok(())
}

fn print_rows(carrier: Carrier, runs: &[(Carrier, Beside, Figures)]) {
    let name = if carrier == Carrier::Gateway {
        "gateway"
    } else {
        "relays"
    };
    let of = |beside| {
        runs.iter()
            .filter(move |run| (run.0, run.1) == (carrier, beside))
            .map(|run| run.2)
    };
    let median = |beside, value: fn(Figures) -> f64| {
        let mut values: Vec<f64> = of(beside).map(value).collect();
        values.sort_unstable_by(f64::total_cmp);
        values[values.len() / 2]
    };
    for beside in WAYS {
        let what = match (beside, carrier) {
            (Beside::Nothing, _) => "nothing".to_owned(),
            (Beside::TwiceTheLink, Carrier::Gateway) => {
                format!("telemetry at {}/s, link held to {LINK}/s", 2 * LINK)
            }
            (Beside::TwiceTheLink, Carrier::Relays) => format!("telemetry at {LINK}/s"),
            (Beside::AllTheBrokersTake, _) => {
                format!(
                    "telemetry, {:.0}/s",
                    median(beside, |figures| figures.telemetry_per_second)
                )
            }
        };
        let [p50_ms, p99_ms] = [
            median(beside, |figures| figures.p50_ms),
            median(beside, |figures| figures.p99_ms),
        ];
        let times = p99_ms / median(Beside::Nothing, |figures| figures.p99_ms);
        let lost: usize = of(beside).map(|figures| figures.lost).sum();
        println!("{name:<8} {what:<44} {p50_ms:>8.2} {p99_ms:>8.2} {times:>12.2} {lost:>6}");
    }
}

struct Options {
    rounds: u32,
    seconds: u32,
    json: bool,
}

fn options() -> Result<Options> {
    let mut options = Options {
        rounds: 3,
        seconds: 10,
        json: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .with_context(|| format!("`{name}` wants a value"))?;
        match name.as_str() {
            "--rounds" => options.rounds = value.parse()?,
            "--seconds" => options.seconds = value.parse()?,
            "-o" => options.json = value == "json",
            _ => bail!("unknown option `{name}`"),
        }
    }
    ensure!(
        options.rounds > 0 && options.seconds > 0,
        "at least one round of a second"
    );
    Ok(options)
}

fn run(carrier: Carrier, beside: Beside, seconds: u32) -> Result<Figures> {
    let (field, cloud) = (
        Mosquitto::new().forgetful().start()?,
        Mosquitto::new().forgetful().start()?,
    );
    let running = start(carrier, beside, &field, &cloud)?;
    let telemetry = Watch::start(cloud.address(), "up/devices/#")?;
    let load = start_telemetry(carrier, beside, &field, &telemetry)?;
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
    let _ = wait_at_most(Duration::from_secs(30), "the alarms have arrived", || {
        watch.count() as usize >= sent.count()
    });
    let mut delays = watch.take_delays_us();
    delays.sort_unstable();
    let verdict = sent.against(&watch.stop()?, |_, _| true);
    drop(load);
    match running {
        Running::Gateway(gateway) => drop(gateway.stop()?),
        Running::Relays(mut relays) => relays.iter_mut().try_for_each(Process::kill)?,
    }
    Ok(Figures {
        alarms: sent.count(),
        lost: verdict.lost,
        p50_ms: percentile_ms(&delays, 0.50),
        p99_ms: percentile_ms(&delays, 0.99),
        telemetry_per_second: carried as f64 / f64::from(seconds),
    })
}

fn start(carrier: Carrier, beside: Beside, field: &Broker, cloud: &Broker) -> Result<Running> {
    if carrier == Carrier::Relays {
        let alarms = relay::beside(field, cloud, ["alarms/+/raised", "up/alarms/raised"])?;
        let telemetry = relay::beside(
            field,
            cloud,
            ["devices/+/telemetry", "up/devices/telemetry"],
        )?;
        return Ok(Running::Relays([alarms, telemetry]));
    }
    let rate = if beside == Beside::TwiceTheLink {
        format!("rate = \"{LINK}/s\"\n")
    } else {
        String::new()
    };
    let config = format!(
        "[source.field]\nurl = \"{}\"\n\n[uplink.cloud]\nurl = \"{}\"\n{rate}{FLOWS}",
        field.url(),
        cloud.url()
    );
    Ok(Running::Gateway(Box::new(
        Gateway::with(Config::read(&config)).start()?,
    )))
}

fn start_telemetry(
    carrier: Carrier,
    beside: Beside,
    field: &Broker,
    telemetry: &Watch,
) -> Result<Option<Load>> {
    let rate = match beside {
        Beside::Nothing => return Ok(None),
        Beside::TwiceTheLink if carrier == Carrier::Relays => Some(LINK),
        Beside::TwiceTheLink => Some(2 * LINK),
        Beside::AllTheBrokersTake => None,
    };
    let load = Load::start(
        field.address(),
        Plan {
            devices: 100,
            rate,
            window: 2_000,
            ..Plan::default()
        },
    );
    wait_at_most(Duration::from_secs(30), "telemetry flows", || {
        telemetry.total() > 5_000
    })?;
    Ok(Some(load))
}
