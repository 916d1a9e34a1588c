//! `tidegate recording`: what came in, as flows recorded it.

pub(super) mod reel;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCandidates;
use serde_json::json;

use crate::cli::completions::names;
use crate::cli::place::{CommandFailure, DataDirArgument, GatewayOrConfig, find_left, running};
use crate::cli::recording::reel::{Reel, said};
use crate::cli::show::{bytes, count};
use crate::cli::{Global, OutputFormat, Surroundings, print, print_json};
use crate::config::{self, Config, Secrets, Sources};
use crate::exit::Exit;
use crate::gateway::api::recordings::{Listed, RecordingRequest};
use crate::recording::{self, RecordingHeader, SegmentWriter};

const LIST: &str = "\
Examples:
  tidegate recording list
  tidegate recording list -o json | jq -r '.[].flow'

A flow is recorded when its config says so: record = \"16MiB\".";

const EXPORT: &str = "\
Examples:
  tidegate recording export --flow climate --to climate.tgrec
  tidegate replay --from climate.tgrec --with rule.wasm           on any machine

What devices said stands in the file. Settings of plugins do only with --with-settings: they may hold secrets.";

const CLEAR: &str = "\
Examples:
  tidegate recording clear --flow climate

Forgets what was recorded so far; recording goes on.";

/// The commands about recordings.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Which flows are recorded, and how much there is.
    #[command(after_help = LIST)]
    List(ListRecordings),
    /// A recording as a file.
    #[command(after_help = EXPORT)]
    Export(ExportRecording),
    /// Forget what was recorded.
    #[command(after_help = CLEAR)]
    Clear(Clear),
}

/// Arguments of `tidegate recording list`.
#[derive(Debug, Args)]
pub struct ListRecordings {
    #[command(flatten)]
    at: DataDirArgument,
}

/// Arguments of `tidegate recording export`.
#[derive(Debug, Args)]
pub struct ExportRecording {
    /// Of which flow; may be left out where one is recorded.
    #[arg(long, value_name = "FLOW", add = ArgValueCandidates::new(names::flows))]
    flow: Option<String>,
    /// The file, which must not be there yet.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// Put the plugins' settings of today's config into the file.
    #[arg(long)]
    with_settings: bool,
    #[command(flatten)]
    at: DataDirArgument,
}

/// Arguments of `tidegate recording clear`.
#[derive(Debug, Args)]
pub struct Clear {
    /// Of which flow.
    #[arg(long, value_name = "FLOW", add = ArgValueCandidates::new(names::flows))]
    flow: String,
    #[command(flatten)]
    at: DataDirArgument,
}

/// Does what was asked.
pub fn run(global: &Global, command: Command, surroundings: Surroundings) -> Exit {
    let done = match command {
        Command::List(arguments) => list(global, &arguments, surroundings),
        Command::Export(arguments) => export(global, &arguments, surroundings),
        Command::Clear(arguments) => clear(global, &arguments, surroundings),
    };
    match done {
        Ok(()) => Exit::Done,
        Err(failure) => failure.end(),
    }
}

fn list(
    global: &Global,
    arguments: &ListRecordings,
    surroundings: Surroundings,
) -> Result<(), CommandFailure> {
    let listed = match find_left(global, &arguments.at, surroundings)? {
        GatewayOrConfig::Running(client) => {
            client.post("/v1/recordings", &RecordingRequest::List)?
        }
        GatewayOrConfig::Stopped(config) => on_disk(&config)?,
    };
    show(global, &listed);
    Ok(())
}

fn on_disk(config: &Config) -> Result<Vec<Listed>, CommandFailure> {
    let mut listed = Vec::new();
    for flow in &config.flows {
        let folder = recording::folder(&config.gateway.data_dir, &flow.name);
        let files = recording::in_folder(&folder).map_err(said)?;
        if !files.is_empty() {
            let header = RecordingHeader {
                flow: flow.name.to_string(),
                ..RecordingHeader::default()
            };
            let bytes = files.iter().map(|(_, bytes)| bytes).sum();
            listed.push(Listed {
                header,
                bytes,
                missed: 0,
                folder: Some(folder),
            });
        }
    }
    Ok(listed)
}

fn show(global: &Global, listed: &[Listed]) {
    match global.output {
        OutputFormat::Json => {
            let one = |listed: &Listed| json!({ "flow": listed.header.flow, "bytes": listed.bytes, "missed": listed.missed, "folder": listed.folder });
            print_json(&serde_json::Value::Array(listed.iter().map(one).collect()));
        }
        OutputFormat::Text if listed.is_empty() => {
            print("nothing is recorded; a flow is with, for example, record = \"16MiB\"")
        }
        OutputFormat::Text => listed.iter().for_each(|listed| print(&line(listed))),
    }
}

fn line(listed: &Listed) -> String {
    let place = listed
        .folder
        .as_ref()
        .map_or("in memory".to_owned(), |folder| {
            folder.display().to_string()
        });
    let missed = if listed.missed > 0 {
        format!("  lacks {} messages", count(listed.missed))
    } else {
        String::new()
    };
    format!(
        "{:<20} {:>9}  {place}{missed}",
        listed.header.flow,
        bytes(listed.bytes)
    )
}

fn export(
    global: &Global,
    arguments: &ExportRecording,
    surroundings: Surroundings,
) -> Result<(), CommandFailure> {
    let mut reel = Reel::find(
        global,
        &arguments.at,
        surroundings,
        arguments.flow.as_deref(),
        None,
    )?;
    let mut header = reel.header().clone();
    if arguments.with_settings {
        add_settings(&mut header, global, arguments, surroundings)?;
    }
    let mut writer = SegmentWriter::create(&arguments.to, &header).map_err(said)?;
    let mut messages = 0;
    for segment in &mut reel {
        let segment = segment?;
        messages += u64::from(segment.about.messages);
        writer.push(&segment).map_err(said)?;
    }
    let path = arguments.to.display();
    let size = writer.bytes();
    match global.output {
        OutputFormat::Json => {
            let torn = reel.torn();
            print_json(
                &json!({ "flow": header.flow, "path": arguments.to, "messages": messages, "bytes": size, "torn": torn }),
            );
        }
        OutputFormat::Text => {
            print(&format!(
                "{path}  {} messages of the flow `{}`  {}",
                count(messages),
                header.flow,
                bytes(size)
            ));
            reel.torn()
                .iter()
                .for_each(|torn| super::say(&format!("left out: {torn}")));
        }
    }
    Ok(())
}

/// A gateway does not tell them: whoever can read its config has them anyway.
fn add_settings(
    header: &mut RecordingHeader,
    global: &Global,
    arguments: &ExportRecording,
    surroundings: Surroundings,
) -> Result<(), CommandFailure> {
    if global.remote.gateway.is_some() {
        return Err(CommandFailure::Usage(
            "--with-settings reads the config of this machine: leave it out with --gateway"
                .to_owned(),
        ));
    }
    let sources = Sources {
        secrets: Secrets::Unused,
        ..global.sources(arguments.at.data_dir.clone())
    };
    let config = config::load(&sources).map_err(|problems| {
        global.show(&problems, surroundings);
        CommandFailure::Config
    })?;
    let flow = config.flows.iter().find(|flow| *flow.name == *header.flow);
    for plugin in &mut header.plugins {
        let own = flow.and_then(|flow| flow.plugins.iter().find(|own| *own.name == *plugin.name));
        plugin.settings = own.map(|own| own.settings.clone());
    }
    Ok(())
}

fn clear(
    global: &Global,
    arguments: &Clear,
    surroundings: Surroundings,
) -> Result<(), CommandFailure> {
    let why = "what a stopped one has recorded are the files of data_dir/recordings";
    let client = running(global, &arguments.at, surroundings, why)?;
    let listed: Vec<Listed> = client.post(
        "/v1/recordings",
        &RecordingRequest::Clear {
            flow: arguments.flow.clone(),
        },
    )?;
    show(global, &listed);
    Ok(())
}
