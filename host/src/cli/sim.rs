//! `tidegate sim`: virtual devices against any broker.

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Global, OutputFormat, print, say};
use crate::config::read_duration;
use crate::exit::Exit;
use crate::message::Qos;
use crate::sim::{
    self, Connections, Expect, NoBroker, PLACEHOLDER, SimConfig, SimLimit, SimProgress, SimReport,
    Simulation, Until, Watch, Wills,
};
use crate::words::with_causes;

const EXAMPLES: &str = "\
Examples:
  tidegate sim --broker mqtt://127.0.0.1:1883 --devices 20 --rate 1000 --for 10s
      20 devices send 1,000 readings a second between them, for 10 seconds.

  tidegate sim --broker mqtt://127.0.0.1:21883 --watch mqtt://127.0.0.1:21884 --watch-topic 'up/#' \\
               --expect above-20 --count 100000 -o json
      The same through a gateway that runs examples/convert, with what came out of it: lost, doubled,
      out of order, latency.

  tidegate sim --broker mqtt://127.0.0.1:1883 --connections 10000 --ramp 500 --rate 1000 --for 1m \\
               --will 'devices/{device}/status' --kill 100 --limit connected=99.9% --limit connect-p99=500ms
      10,000 clients, 500 new ones a second; when all stand they send for a minute, and the last hundred end
      without a goodbye. Was every will heard, and are the limits kept?

Exit code 0: everything sent was acknowledged, no limit exceeded and, where it is watched, nothing was lost or out of \
order; 1: not so.";

/// Arguments of `tidegate sim`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Broker the devices send to: `mqtt://[USER:PASSWORD@]HOST[:PORT]`, or `mqtts://` for TLS
    #[arg(long, value_name = "URL")]
    pub broker: String,
    /// Number of devices; they are named d0, d1, … [default: 10, or one for each connection]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub devices: Option<u32>,
    /// Number of connections that the devices are dealt out over; nobody sends until each has had its first answer
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub connections: u32,
    /// New connections a second; 0: as fast as the broker takes them
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub ramp: u32,
    /// Topic of a will that each connection leaves; {device} is a level of its own and stands for its first device
    #[arg(long, value_name = "TOPIC", value_parser = will)]
    pub will: Option<String>,
    /// The last N connections end without a goodbye, and their wills are waited for, as long as --settle
    #[arg(long, value_name = "N", default_value_t = 0, requires = "will")]
    pub kill: u32,
    /// What has to be kept: connected=99%, rate=900, connect-p99=500ms, latency-p95=1s; p50, p95, p99, p999, max
    #[arg(long, value_name = "NAME=VALUE")]
    pub limit: Vec<SimLimit>,
    /// Messages a second over all devices; 0: as fast as the broker takes them
    #[arg(long, default_value_t = 100)]
    pub rate: u32,
    /// How long to send: 10s, 500ms, 5m, 1h
    #[arg(long = "for", value_name = "TIME", value_parser = read_duration, conflicts_with = "count")]
    pub time: Option<Duration>,
    /// How many messages to send over all devices [default without --for: until Ctrl-C]
    #[arg(long)]
    pub count: Option<u64>,
    /// Topic; {device} stands for the device's name
    #[arg(long, default_value = "devices/{device}/telemetry", value_parser = topic)]
    pub topic: String,
    /// Level the devices send with: 0, 1 or 2
    #[arg(long, default_value = "1", value_parser = qos)]
    pub qos: Qos,
    /// Break each N-th payload on purpose
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub broken_every: Option<u64>,
    /// Same seed, same readings
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Broker to watch: what arrives there is checked against what was sent
    #[arg(long, value_name = "URL")]
    pub watch: Option<String>,
    /// What to subscribe to there
    #[arg(long, value_name = "FILTER", default_value = "#", requires = "watch")]
    pub watch_topic: String,
    /// Which of the readings sent must arrive there
    #[arg(long, value_enum, default_value_t, requires = "watch")]
    pub expect: Expect,
    /// How long nothing may arrive there, and no will, before what is missing counts as lost
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = read_duration)]
    pub settle: Duration,
    /// How long to wait for the last acknowledgements
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = read_duration)]
    pub patience: Duration,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// No runtime or no signal handler.
    #[error("cannot set up the simulation")]
    Setup(#[source] io::Error),
    /// What `--broker` or `--watch` names is no broker.
    #[error(transparent)]
    Address(#[from] NoBroker),
    /// What is asked for does not go together.
    #[error("{0}")]
    Together(String),
    #[error(transparent)]
    Sim(#[from] sim::Error),
    /// The user would not wait.
    #[error("interrupted before the result was known")]
    Interrupted,
    /// The report as JSON.
    #[error("cannot print the result")]
    Print(#[from] serde_json::Error),
}

pub fn run(global: &Global, arguments: &Arguments) -> Exit {
    match simulated(global.output, arguments) {
        Ok(report) if report.is_good() => Exit::Done,
        Ok(_) => Exit::Failed,
        Err(error) => failed(&error),
    }
}

/// Says why, with all causes.
pub(super) fn failed(error: &dyn std::error::Error) -> Exit {
    say(&format!("error: {}", with_causes(error)));
    Exit::Failed
}

fn simulated(output: OutputFormat, arguments: &Arguments) -> Result<SimReport, Error> {
    let config = config(arguments)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Setup)?;
    let report = runtime.block_on(simulate(config, output))?;
    let report = report.held_to(&arguments.limit);
    match output {
        OutputFormat::Text => print(&report.to_string()),
        OutputFormat::Json => print(&serde_json::to_string(&report)?),
    }
    Ok(report)
}

/// How many devices there are.
fn devices(args: &Arguments) -> Result<u32, Error> {
    let devices = args.devices.unwrap_or(args.connections.max(10));
    if devices < args.connections {
        return Err(Error::Together(format!(
            "{} connections have nothing to send for {devices} devices: leave --devices out, or have as many",
            args.connections
        )));
    }
    if args.kill > args.connections {
        return Err(Error::Together(format!(
            "--kill {} is more than the {} connections there are",
            args.kill, args.connections
        )));
    }
    if args.watch.is_none() && args.limit.iter().any(SimLimit::needs_a_watch) {
        let text = "a limit on latency needs --watch: it is the time to the arrival there";
        return Err(Error::Together(text.to_owned()));
    }
    Ok(devices)
}

fn config(args: &Arguments) -> Result<SimConfig, Error> {
    let devices = devices(args)?;
    // Two simulations may run side by side on one broker; a client id is taken by the last who uses it.
    let run = fastrand::u32(..);
    let watch = args.watch.as_ref().map(|url| {
        let broker = sim::broker(url, &format!("tidegate-sim-watcher-{run:08x}"))?;
        Ok::<_, NoBroker>(Watch {
            broker,
            filter: args.watch_topic.clone(),
            expect: args.expect,
            settle: args.settle,
        })
    });
    let until = match (args.time, args.count) {
        (Some(time), _) => Until::Elapsed(time),
        (None, Some(count)) => Until::Count(count),
        (None, None) => Until::Told,
    };
    Ok(SimConfig {
        broker: sim::broker(&args.broker, &format!("tidegate-sim-{run:08x}"))?,
        connections: Connections {
            count: args.connections,
            ramp: args.ramp,
            wills: args.will.clone().map(|topic| Wills {
                topic,
                killed: args.kill,
                settle: args.settle,
            }),
        },
        devices,
        rate: args.rate,
        until,
        topic: args.topic.clone(),
        qos: args.qos,
        broken_every: args.broken_every,
        seed: args.seed,
        patience: args.patience,
        watch: watch.transpose()?,
    })
}

async fn simulate(config: SimConfig, output: OutputFormat) -> Result<SimReport, Error> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Setup)?;
    let style = ProgressStyle {
        talks: output == OutputFormat::Text && io::stderr().is_terminal(),
        watched: config.watch.is_some(),
        connections: config.connections.count,
    };
    let simulation = Simulation::start(config).await?;
    tokio::select! {
        () = follow(&simulation, style) => {}
        () = stopped(&mut interrupt) => simulation.stop_sending(),
    }
    tokio::select! {
        finished = simulation.finish() => Ok(finished?),
        // A second Ctrl-C does not wait for what has not arrived.
        () = stopped(&mut interrupt) => Err(Error::Interrupted),
    }
}

async fn stopped(interrupt: &mut Signal) {
    interrupt.recv().await;
}

#[derive(Clone, Copy)]
struct ProgressStyle {
    talks: bool,
    watched: bool,
    connections: u32,
}

/// A line a second on standard error until the sending is over.
async fn follow(simulation: &Simulation, shown: ProgressStyle) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let mut look = tokio::time::interval(Duration::from_millis(20));
    let mut before = SimProgress::default();
    second.tick().await;
    while simulation.is_sending() {
        tokio::select! {
            _ = look.tick() => {}
            _ = second.tick() => {
                let now = simulation.progress();
                if shown.talks {
                    say(&line(now, before, shown));
                }
                before = now;
            }
        }
    }
}

fn line(now: SimProgress, before: SimProgress, shown: ProgressStyle) -> String {
    if now.sent == 0 && shown.connections > 1 {
        return format!("connected {} of {}", now.connected, shown.connections);
    }
    let sent = format!(
        "sent {} (+{})  acknowledged {}",
        now.sent,
        now.sent - before.sent,
        now.accepted
    );
    if !shown.watched {
        return sent;
    }
    let arrived = format!(
        "arrived {} (+{})  on the way {}",
        now.delivered,
        now.delivered - before.delivered,
        now.missing
    );
    format!(
        "{sent}  {arrived}  doubled {}  out of order {}",
        now.doubled, now.out_of_order
    )
}

fn topic(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(['+', '#', '\0']) {
        return Err("a topic to send to is not empty and has no `+` and `#`".to_owned());
    }
    if !text.contains(PLACEHOLDER) {
        return Err(format!("put {PLACEHOLDER} where the device's name belongs"));
    }
    Ok(text.to_owned())
}

fn will(text: &str) -> Result<String, String> {
    let placeholders = text.split('/').filter(|level| *level == PLACEHOLDER);
    if placeholders.count() != 1 || text.contains(['+', '#', '\0']) {
        return Err(format!(
            "a topic of wills has no `+` and `#`, and {PLACEHOLDER} once, as a level of its own"
        ));
    }
    Ok(text.to_owned())
}

fn qos(text: &str) -> Result<Qos, String> {
    text.parse()
        .ok()
        .and_then(Qos::from_level)
        .ok_or_else(|| "there are 0, 1 and 2".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_will_has_the_device_as_a_level_of_its_own() {
        assert!(will("devices/{device}/status").is_ok());
        for bad in [
            "status",
            "x-{device}/status",
            "{device}/{device}",
            "+/{device}",
            "",
        ] {
            assert!(will(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_topic_needs_a_place_for_the_device_and_no_wildcard() {
        assert!(topic("a/{device}/b").is_ok());
        assert!(topic("a/b").is_err() && topic("a/+/{device}").is_err() && topic("").is_err());
    }
}
