//! `tidegate plugin bench`: what a plugin costs, in the sandbox and within the limits that it will have, on messages out of files.
//!
//! What is measured is what a lane pays for it: packing a batch, the call, checking the answer, and keeping its state. Not in
//! it: the wait for a lane, other plugins, the disk.

mod error;
mod figures;
mod measure;
mod messages;
mod report;

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::rig::{self, RigError, component, config_of, only_flow};
use super::test::{end, folder_of_cases, is_quiet, with_files_of_folders};
use crate::cases::{CaseSetup, Written};
use crate::chain::{self, Compiled, Engine, offline};
use crate::cli::{Global, OutputFormat, Surroundings, print_json, say};
use crate::exit::Exit;
use crate::file;
use crate::message::Message;
use error::BenchError;
use measure::{Measured, SIZES, arrived, measure};
use messages::Sample;
use report::{BenchReport, PluginBench};

const EXAMPLES: &str = "\
Examples:
  tidegate plugin bench                                      the plugin in this folder, built, on the messages of its cases
  tidegate plugin bench rule.wasm --messages rule.cases      a component, with the settings and limits of that file
  tidegate plugin bench rule.wasm --settings rule.toml --messages readings.txt
  tidegate plugin bench new.wasm --against old.wasm          both in one run, in turn, and the ratio
  tidegate plugin bench number --settings number.json -o json

A file of messages is one of cases, as `plugin test` has them, or has a line a message, as `plugin try` has them. Of cases \
those messages are used that the plugin is to take, with the setup (settings, limits, grants, topics) of the first case; \
cases with another setup are left out, and time in them is passed over. Without any, 16 readings of our own are used.

Times are of the processor, so that what else the machine does counts as little as can be; each plugin is warmed up, then \
run in rounds. Shown are the median of the rounds and what the middle half of them lies between.

Ends with 3 when a file has mistakes, with 4 when a plugin cannot be used, traps, meets a limit or takes none of the messages.";

/// Bytes of a file of settings.
const LARGEST_SETTINGS: u64 = file::BY_HAND;

/// Arguments of `tidegate plugin bench`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BenchArguments {
    /// The plugin: a folder with its sources or its one file, a component, or the name of one that is compiled in.
    #[arg(value_name = "PLUGIN", default_value = ".")]
    target: String,
    /// A file with its settings: what stands in a config in `settings`, as TOML or JSON; counts before that of the messages' file.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// What it is measured on: a file of cases, a folder of them, or a file with a message a line; may be repeated.
    #[arg(long, value_name = "FILE")]
    messages: Vec<PathBuf>,
    /// What it takes; may be repeated. Default: devices/{device}/{metric}
    #[arg(long, value_name = "PATTERN")]
    topics: Vec<String>,
    /// Measure this one as well, in turn with the first, with the same settings, and say how they compare.
    #[arg(long, value_name = "PLUGIN")]
    against: Option<String>,
    /// How many rounds of each batch size.
    #[arg(long, value_name = "NUMBER", default_value_t = 15, value_parser = clap::value_parser!(u16).range(3..=1_000))]
    rounds: u16,
}

/// Does what was asked.
pub(super) fn run(global: &Global, arguments: &BenchArguments, surroundings: Surroundings) -> Exit {
    match bench(arguments, is_quiet(global, surroundings)) {
        Ok(report) => {
            match global.output {
                OutputFormat::Text => report.show(),
                OutputFormat::Json => print_json(&report),
            }
            if report.has_failed() {
                Exit::Plugin
            } else {
                Exit::Done
            }
        }
        Err(BenchError::Rig(error)) => end(global, &error, surroundings),
        Err(error) => {
            say(&format!("error: {error}"));
            Exit::Config
        }
    }
}

fn bench(arguments: &BenchArguments, is_quiet: bool) -> Result<BenchReport, BenchError> {
    let sample = Sample::read(&files(arguments), &given(arguments)?)?;
    let targets = [Some(&arguments.target), arguments.against.as_ref()];
    let mut contenders = Vec::new();
    for target in targets.into_iter().flatten() {
        contenders.push(component(target, is_quiet)?);
    }
    let first = config_of(&contenders[0], &sample.setup)?;
    let engine = rig::engine(&first, None)?;
    let mut configs = vec![only_flow(first)?];
    for other in &contenders[1..] {
        configs.push(only_flow(config_of(other, &sample.setup)?)?);
    }
    let messages = arrived(made(&configs[0], &sample)?, &engine);
    let rounds = usize::from(arguments.rounds);
    let work = || all(&configs, &engine, &messages, rounds);
    let plugins = offline(&engine, work).map_err(RigError::from)??;
    Ok(BenchReport::new(&sample, rounds, plugins))
}

fn files(arguments: &BenchArguments) -> Vec<PathBuf> {
    let mut named = arguments.messages.clone();
    if named.is_empty() {
        named.extend(folder_of_cases(&arguments.target).filter(|folder| folder.is_dir()));
    }
    with_files_of_folders(named)
}

/// What counts before that of the files of messages.
fn given(arguments: &BenchArguments) -> Result<CaseSetup, BenchError> {
    let mut setup = CaseSetup::new();
    let mut put =
        |key: &str, value: String| setup.insert(key.to_owned(), Written { line: 0, value });
    if let Some(path) = &arguments.settings {
        put("settings", settings(path)?);
    }
    if !arguments.topics.is_empty() {
        put("topics", Value::from(arguments.topics.clone()).to_string());
    }
    Ok(setup)
}

/// The settings of a file in TOML, on one line.
fn settings(path: &Path) -> Result<String, BenchError> {
    let wrong = |why: String| BenchError::File {
        path: path.to_owned(),
        why,
    };
    let text = file::read_text(path, LARGEST_SETTINGS).map_err(|error| wrong(error.to_string()))?;
    let table = match serde_json::from_str::<toml::Table>(&text) {
        Ok(table) => table,
        Err(_) => toml::from_str(&text).map_err(|error| {
            wrong(format!(
                "it is neither JSON nor TOML (limit = 20): {}",
                error.message()
            ))
        })?,
    };
    Ok(toml::Value::Table(table).to_string())
}

fn made(config: &chain::Config, sample: &Sample) -> Result<Vec<Message>, RigError> {
    let patterns = rig::patterns(config);
    let message = |sent| rig::message(config, &patterns, sent);
    sample.messages.iter().map(message).collect()
}

fn all(
    configs: &[chain::Config],
    engine: &Engine,
    messages: &[Message],
    rounds: usize,
) -> Result<Vec<PluginBench>, RigError> {
    let mut compiled: Vec<(String, Compiled)> = Vec::new();
    for config in configs {
        compiled.push(compile(config, engine, &compiled)?);
    }
    let configs: Vec<&chain::Config> = configs.iter().collect();
    let mut measured: Vec<Vec<(usize, Measured)>> = vec![Vec::new(); configs.len()];
    for size in SIZES {
        let of_size = measure(&configs, engine, messages, (size, rounds))?;
        for (sizes, figures) in measured.iter_mut().zip(of_size) {
            sizes.push((size, figures));
        }
    }
    let plugins = configs.iter().zip(compiled).zip(measured);
    Ok(plugins
        .filter_map(|((config, code), sizes)| {
            Some(PluginBench::new(config.plugins.first()?, code, sizes))
        })
        .collect())
}

/// The digest of a component and what compiling it took. One that is measured against itself is compiled once.
fn compile(
    config: &chain::Config,
    engine: &Engine,
    before: &[(String, Compiled)],
) -> Result<(String, Compiled), RigError> {
    let digest = match config.plugins.first() {
        Some(plugin) => chain::digest_of(&plugin.name, &plugin.artefact)?.to_string(),
        None => String::new(),
    };
    let same = before.iter().find(|(known, _)| *known == digest);
    let code = match same {
        Some((_, code)) => *code,
        None => chain::compile(config, engine)?,
    };
    Ok((digest, code))
}
