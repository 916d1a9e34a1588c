//! `tidegate plugin try`: messages from standard input through a plugin or flow, without a broker.
//!
//! What leaves is written as it is read, and what happened on the way as comments, so that it pipes into itself.

use std::io::{BufRead, Read};
use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::rig::{BEGINS_US, Rig, RigError, RigRun, component, sent};
use super::test::{end, is_quiet};
use crate::cases::{Act, CaseSetup, Outcome, Written, WrittenMessage, read_loose, show_message};
use crate::chain::{Came, offline};
use crate::cli::{Global, OutputFormat, Surroundings, print, print_json, say};
use crate::config::read_duration;
use crate::exit::Exit;
use crate::words;

/// Bytes of a line.
const LONGEST_LINE: u64 = 16 << 20;
/// Columns of a step.
const WIDTH: usize = 160;

const EXAMPLES: &str = "\
Examples:
  echo '[devices/d7/temperature] 21,5 °C' | tidegate plugin try number --settings '{ field = \"{metric}\" }'
  mosquitto_sub -v -t 'devices/#' | tidegate plugin try rule.wasm
  tidegate plugin try . < messages.txt                     the plugin in this folder, built
  tidegate plugin try --flow climate tidegate.toml < messages.txt
  … | tidegate plugin try aggregate --settings '…' --advance 10m

Lines are `[topic] payload`, `topic payload`, or JSON with `topic` and `payload`; blank ones and those with # in front \
are passed over. What leaves is written in the same form, with its port in front unless that is `out`, and what each \
plugin did as comments, so it pipes into itself. Time stands still but for --advance.";

/// Arguments of `tidegate plugin try`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TryOut {
    /// The plugin: a folder with its sources or its one file, a component, or the name of one that is compiled in; with --flow a config.
    #[arg(value_name = "PLUGIN", default_value = ".")]
    target: String,
    /// Its settings, as a config has them (TOML), or as JSON.
    #[arg(long, value_name = "SETTINGS", conflicts_with = "flow")]
    settings: Option<String>,
    /// What it takes; may be repeated. Default: devices/{device}/{metric}
    #[arg(long, value_name = "PATTERN", conflicts_with = "flow")]
    topics: Vec<String>,
    /// Run this flow of the config.
    #[arg(long, value_name = "NAME")]
    flow: Option<String>,
    /// Let so much time pass when all is read: timers tick.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    advance: Option<Duration>,
}

fn duration(text: &str) -> Result<Duration, String> {
    read_duration(text)
}

/// Does what was asked.
pub(super) fn run(global: &Global, arguments: &TryOut, surroundings: Surroundings) -> Exit {
    let setup = match setup(arguments) {
        Ok(setup) => setup,
        Err(why) => {
            say(&format!("error: {why}"));
            return Exit::Usage;
        }
    };
    let rig = match &arguments.flow {
        Some(flow) => Rig::of_flow(Path::new(&arguments.target), &global.set, flow),
        None => {
            component(&arguments.target, is_quiet(global, surroundings)).and_then(Rig::of_plugin)
        }
    };
    let tried =
        rig.and_then(|rig| offline(rig.engine(), || go(&rig, global.output, arguments, &setup))?);
    tried.unwrap_or_else(|error| end(global, &error, surroundings))
}

fn setup(arguments: &TryOut) -> Result<CaseSetup, String> {
    let mut setup = CaseSetup::new();
    let mut put =
        |key: &str, value: String| setup.insert(key.to_owned(), Written { line: 0, value });
    if let Some(settings) = &arguments.settings {
        put("settings", as_toml(settings)?);
    }
    if !arguments.topics.is_empty() {
        put("topics", Value::from(arguments.topics.clone()).to_string());
    }
    Ok(setup)
}

/// Settings in either form as TOML on one line.
fn as_toml(text: &str) -> Result<String, String> {
    if toml::from_str::<toml::Table>(&format!("settings = {text}")).is_ok() {
        return Ok(text.to_owned());
    }
    let value: Value = serde_json::from_str(text).map_err(|error| {
        format!("--settings is neither TOML ({{ limit = 20 }}) nor JSON: {error}")
    })?;
    toml::Value::try_from(value)
        .map(|value| value.to_string())
        .map_err(|error| format!("--settings cannot be said in TOML: {error}"))
}

fn go(
    rig: &Rig,
    output: OutputFormat,
    arguments: &TryOut,
    setup: &CaseSetup,
) -> Result<Exit, RigError> {
    let mut run = match rig.begin(setup, BEGINS_US)? {
        Ok(run) => run,
        Err(Outcome::Refused(why) | Outcome::Failed(why)) => {
            say(&format!(
                "error: the plugin does not take its settings: {why}"
            ));
            return Ok(Exit::Plugin);
        }
        Err(other) => {
            say(&format!("error: {}", other.show()));
            return Ok(Exit::Plugin);
        }
    };
    let mut exit = Exit::Done;
    let mut input = std::io::stdin().lock();
    for number in 1_u64.. {
        let mut line = Vec::new();
        match input
            .by_ref()
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)
        {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => {
                say(&format!("error: standard input, line {number}: {error}"));
                return Ok(Exit::Failed);
            }
        }
        if let Err(why) = one(&mut run, output, &line) {
            say(&format!(
                "error: standard input, line {number}: {}",
                words::line(&why, words::REASON)
            ));
            exit = Exit::Failed;
        }
    }
    if let Some(by) = arguments.advance {
        let (came, how) = run.act(&Act::Advance(by))?;
        show(output, &format!("advance {by:?}"), &came, &how);
    }
    Ok(exit)
}

fn one(run: &mut RigRun, output: OutputFormat, line: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(line)
        .map_err(|_| "it is not text: write other bytes as b\"\\xff\"".to_owned())?;
    let Some(sent) = read_loose(text).map_err(|why| why.0)? else {
        return Ok(());
    };
    let shown = show_message(&sent);
    let (came, how) = run
        .act(&Act::Message(sent))
        .map_err(|error| error.to_string())?;
    show(output, &shown, &came, &how);
    Ok(())
}

fn show(output: OutputFormat, input: &str, came: &[Outcome], how: &Came) {
    if output == OutputFormat::Json {
        return came
            .iter()
            .for_each(|outcome| print_json(&document(outcome)));
    }
    let mut lines = vec![format!("# {}", words::line(input, WIDTH))];
    for step in &how.handed_on {
        let messages: Vec<_> = step
            .messages
            .iter()
            .map(|message| words::line(&show_message(&sent(message)), WIDTH))
            .collect();
        let what = if messages.is_empty() {
            "nothing goes on".to_owned()
        } else {
            messages.join("\n#              ")
        };
        lines.push(format!("#   {:<10} {what}", step.plugin));
    }
    for outcome in came {
        match outcome {
            Outcome::Message { .. } => lines.push(outcome.show()),
            Outcome::Rejected(reason) | Outcome::Failed(reason) => {
                let mut reasons = reason.lines();
                lines.push(format!("#   {}", outcome.show()));
                reasons.next();
                lines.extend(reasons.map(|line| format!("#     {}", words::line(line, WIDTH))));
            }
            other => lines.push(format!("#   {}", other.show())),
        }
    }
    print(&lines.join("\n"));
}

fn document(outcome: &Outcome) -> Value {
    let Outcome::Message { port, sent } = outcome else {
        let shown = outcome.show();
        let (came, reason) = shown.split_once(' ').unwrap_or((&shown, ""));
        return json!({ "came": came, "reason": reason });
    };
    let mut document = message(sent);
    document["came"] = "message".into();
    document["port"] = port.as_str().into();
    document
}

fn message(sent: &WrittenMessage) -> Value {
    let headers: serde_json::Map<String, Value> = sent
        .headers
        .iter()
        .map(|(name, value)| {
            (
                name.clone(),
                String::from_utf8_lossy(value).into_owned().into(),
            )
        })
        .collect();
    let mut document = json!({ "topic": sent.topic, "retain": sent.retain });
    if !headers.is_empty() {
        document["headers"] = headers.into();
    }
    match std::str::from_utf8(&sent.payload) {
        Ok(text) => document["payload"] = text.into(),
        Err(_) => document["payload_bytes"] = sent.shown_payload().into(),
    }
    document
}
