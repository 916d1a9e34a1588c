//! `tidegate replay`: a recording through a flow, off-line.

mod scene;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use serde::Serialize;

use super::completions::names;
use super::place::{CommandFailure, DataDirArgument};
use super::recording::reel::Reel;
use super::show::{age, count, moment};
use super::terminal::differences;
use super::{Global, OutputFormat, Surroundings, print, print_json, say};
use crate::chain::{Ran, Replay, SampleBounds, Score, offline};
use crate::clock::utc;
use crate::config::read_duration;
use crate::exit::Exit;
use crate::message::short_digest;
use crate::recording::{RecordedEvent, Segment};
use crate::words::with_causes;
use scene::ReplaySetup;

const EXAMPLES: &str = "\
Examples:
  tidegate replay --flow climate --with rule.wasm              a changed rule
  tidegate replay --flow climate --settings '{\"limit\": 30}'    the same rule, other settings
  tidegate replay --flow climate --since 2h --with rule.wasm --full
  tidegate replay --from climate.tgrec --with rule.wasm --settings settings.json
  tidegate replay --from climate.tgrec -c tidegate.toml --with rule.wasm --expect-same

Runs in this process: the gateway is only asked for what it has recorded, and nothing is sent anywhere. The flow's chain \
runs as the config has it, and with the candidate in place of one of its plugins; both begin without state, in one lane \
(--lanes), by the recorded clocks. Two runs give the same bytes, which the SHA-256 over all outputs shows. Where there is no \
config, the candidate runs alone.";

/// Arguments of `tidegate replay`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The flow; may be left out where one is recorded.
    #[arg(long, value_name = "FLOW", add = ArgValueCandidates::new(names::flows))]
    flow: Option<String>,
    /// An exported recording, in place of what a gateway has.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Only the last of it, as in 2h.
    #[arg(long, value_name = "DURATION", value_parser = read_duration)]
    since: Option<Duration>,
    /// The candidate's component.
    #[arg(long, value_name = "FILE")]
    with: Option<PathBuf>,
    /// Which plugin it takes the place of; may be left out where the flow has one.
    #[arg(long, value_name = "NAME")]
    plugin: Option<String>,
    /// The candidate's settings: JSON, or a file with it.
    #[arg(long, value_name = "JSON|FILE")]
    settings: Option<String>,
    /// Lanes to run in.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    lanes: u16,
    /// Differences of each kind that are shown.
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 5)]
    count: usize,
    /// Show every difference.
    #[arg(long)]
    full: bool,
    /// End with exit code 6 when anything differs.
    #[arg(long)]
    expect_same: bool,
    #[command(flatten)]
    at: DataDirArgument,
}

/// The recording that was run, and how much there was of it.
#[derive(Debug, Default, Serialize)]
struct Played {
    flow: String,
    begins_us: u64,
    ends_us: u64,
    messages: u64,
    batches: u64,
    ticks: u64,
    /// Messages that the recording lacks.
    missed: u64,
    /// What of its files was not whole.
    torn: Vec<String>,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct ReplayReport<'a> {
    recording: &'a Played,
    #[serde(flatten)]
    score: &'a Score,
}

pub fn run(global: &Global, arguments: &Arguments, surroundings: Surroundings) -> Exit {
    match replay(global, arguments, surroundings) {
        Ok(differing) if differing > 0 && arguments.expect_same => Exit::Refused,
        Ok(_) => Exit::Done,
        Err(ReplayFailure::Failure(failure)) => failure.end(),
        Err(ReplayFailure::Plugin(error)) => {
            say(&format!("error: {}", with_causes(&error)));
            Exit::Plugin
        }
    }
}

/// Why there is no result.
pub(super) enum ReplayFailure {
    /// The recording, the config or the command line.
    Failure(CommandFailure),
    /// A plugin that cannot be loaded.
    Plugin(crate::chain::Error),
}

impl From<CommandFailure> for ReplayFailure {
    fn from(failure: CommandFailure) -> Self {
        Self::Failure(failure)
    }
}

impl From<crate::chain::Error> for ReplayFailure {
    fn from(error: crate::chain::Error) -> Self {
        Self::Plugin(error)
    }
}

fn replay(
    global: &Global,
    arguments: &Arguments,
    surroundings: Surroundings,
) -> Result<u64, ReplayFailure> {
    let find = || {
        Reel::find(
            global,
            &arguments.at,
            surroundings,
            arguments.flow.as_deref(),
            arguments.from.as_deref(),
        )
    };
    let start_us = arguments
        .since
        .map(|since| start(find()?, since))
        .transpose()?
        .unwrap_or(0);
    let mut reel = find()?;
    let scene = ReplaySetup::set(global, arguments, surroundings, reel.header())?;
    let (played, score) = offline(&scene.engine, || {
        play(&scene, arguments, global.output, &mut reel, start_us)
    })??;
    show(global, arguments, &scene, &played, &score);
    Ok(score
        .comparison
        .as_ref()
        .map_or(0, crate::chain::Comparison::differing))
}

/// Where the last `since` of a recording begins.
fn start(reel: Reel, since: Duration) -> Result<u64, CommandFailure> {
    let mut end = 0;
    for segment in reel {
        end = segment?.about.until_us.max(end);
    }
    Ok(end.saturating_sub(u64::try_from(since.as_micros()).unwrap_or(u64::MAX)))
}

fn play(
    scene: &ReplaySetup,
    arguments: &Arguments,
    output: OutputFormat,
    reel: &mut Reel,
    start_us: u64,
) -> Result<(Played, Score), ReplayFailure> {
    let mut begun = Instant::now();
    let mut played = Played {
        flow: reel.header().flow.clone(),
        ..Played::default()
    };
    let mut replay: Option<Replay> = None;
    for segment in reel.by_ref() {
        let segment = segment?;
        if segment.about.until_us < start_us {
            continue;
        }
        let begins_us = segment.about.since_us.max(start_us);
        let replay = match &mut replay {
            Some(replay) => replay,
            none => {
                let replay = scene.replay(begins_us, bounds(arguments, output))?;
                // Compiling says nothing of the rate.
                begun = Instant::now();
                none.insert(replay)
            }
        };
        play_segment(replay, &segment, start_us, &mut played)?;
        if arguments.full && output == OutputFormat::Text {
            replay
                .comparison()
                .take_samples()
                .iter()
                .for_each(|sample| print(&differences::sample(sample)));
        }
    }
    played.torn = reel.torn();
    let Some(replay) = replay else {
        return Err(CommandFailure::Said(format!(
            "nothing is recorded of the flow `{}` yet",
            played.flow
        ))
        .into());
    };
    played.seconds = begun.elapsed().as_secs_f64();
    Ok((played, replay.finish()))
}

fn bounds(arguments: &Arguments, output: OutputFormat) -> SampleBounds {
    let samples = if arguments.full {
        usize::MAX
    } else {
        arguments.count
    };
    let payload_bytes = if output == OutputFormat::Json {
        4 << 10
    } else {
        SampleBounds::default().payload_bytes
    };
    SampleBounds {
        samples,
        payload_bytes,
    }
}

fn play_segment(
    replay: &mut Replay,
    segment: &Segment,
    start_us: u64,
    played: &mut Played,
) -> Result<(), ReplayFailure> {
    let damaged = |source| CommandFailure::Said(format!("the recording is damaged: {source}"));
    for event in RecordedEvent::all(segment).map_err(damaged)? {
        let wall_us = event.now().wall.0;
        if wall_us < start_us {
            continue;
        }
        played.begins_us = if played.begins_us == 0 {
            wall_us
        } else {
            played.begins_us.min(wall_us)
        };
        played.ends_us = played.ends_us.max(wall_us);
        match event {
            RecordedEvent::Batch { now, messages, .. } => {
                played.batches += 1;
                played.messages += messages.len() as u64;
                replay.batch(now, messages)?;
            }
            RecordedEvent::Tick { lane, plugin, now } => {
                played.ticks += 1;
                replay.tick(lane, plugin, now)?;
            }
            RecordedEvent::Missed { messages, .. } => played.missed += u64::from(messages),
        }
    }
    Ok(())
}

fn show(
    global: &Global,
    arguments: &Arguments,
    scene: &ReplaySetup,
    played: &Played,
    score: &Score,
) {
    if global.output == OutputFormat::Json {
        return print_json(&ReplayReport {
            recording: played,
            score,
        });
    }
    let mut lines = about(played, arguments);
    lines.extend(scene.notes.iter().cloned());
    lines.extend(ran("old", &score.old));
    if let (Some(new), Some(comparison)) = (&score.new, &score.comparison) {
        lines.extend(ran("new", new));
        lines.extend(differences::counts(comparison));
        lines.extend(comparison.samples.iter().map(differences::sample));
    }
    print(&lines.join("\n"));
}

fn about(played: &Played, arguments: &Arguments) -> Vec<String> {
    let Played {
        flow,
        messages,
        batches,
        ticks,
        begins_us,
        ends_us,
        seconds,
        ..
    } = played;
    let length = age(Duration::from_micros(ends_us.saturating_sub(*begins_us)));
    let [messages, batches, ticks] = [messages, batches, ticks].map(|number| count(*number));
    let speed = count((played.messages as f64 / seconds.max(1e-9)) as u64);
    let mut lines = vec![
        format!(
            "flow `{flow}`: {messages} messages in {batches} batches, {ticks} ticks, {length} from {} on",
            moment(&utc(*begins_us))
        ),
        format!(
            "run in {seconds:.2} s ({speed} messages/s) in {} lane(s), state empty at the beginning",
            arguments.lanes
        ),
    ];
    if played.missed > 0 {
        lines.push(format!(
            "{} messages are not in the recording: it had fallen behind",
            count(played.missed)
        ));
    }
    lines.extend(played.torn.iter().map(|torn| format!("left out: {torn}")));
    lines
}

fn ran(name: &str, ran: &Ran) -> Vec<String> {
    let list = |numbers: &std::collections::BTreeMap<&'static str, u64>| {
        numbers
            .iter()
            .map(|(word, number)| format!("{word} {}", count(*number)))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let plugins: Vec<_> = ran
        .plugins
        .iter()
        .map(|(name, digest)| format!("{name}@{}", short_digest(digest)))
        .collect();
    let mut lines = vec![
        format!(
            "{name}  {}: {}; outputs {}",
            plugins.join(" "),
            list(&ran.fates),
            count(ran.outputs)
        ),
        format!("     sha256 {}", ran.sha256),
    ];
    if !ran.faults.is_empty() {
        lines.push(format!("     plugins failed: {}", list(&ran.faults)));
    }
    if !ran.repeatable {
        lines.push("     a limit of time was met: another run may differ".to_owned());
    }
    lines
}
