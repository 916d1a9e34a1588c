//! `tidegate plugins` and `tidegate history`: which versions run, are tried and are kept, and who changed what.

use std::collections::BTreeSet;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use super::completions::names;
use super::place::{CommandFailure, DataDirArgument, GatewayOrConfig, find_left};
use super::show::{moment, row};
use super::{Global, OutputFormat, Surroundings, print, print_json, say};
use crate::exit::Exit;
use crate::gateway::api::plugins::ListedPlugin;
use crate::message::short_digest;
use crate::versions::history::{History, HistoryEvent, Who};
use crate::versions::{RefusedVersion, Versions};
use crate::words;

const PLUGINS_EXAMPLES: &str = "\
Examples:
  tidegate plugins                                  what runs, is tried beside it, and can come back
  tidegate plugins -o json | jq '.[] | {flow, plugin, digest, kept}'

  kept      good versions from before; `tidegate rollback PLUGIN --to DIGEST` brings one back
  refused   not taken; what was rolled back is not tried again until `tidegate swap` asks for it";

const HISTORY_EXAMPLES: &str = "\
Examples:
  tidegate history                                  the last 20 changes: who, what, and what came of it
  tidegate history --plugin climate/rule --last 5
  tidegate history --last 1000 -o json | jq -c 'select(.by == \"operator\")'";

/// Longest shown reason of a refusal.
const WHY: usize = 60;

/// Arguments of `tidegate plugins`.
#[derive(Debug, Args)]
#[command(after_help = PLUGINS_EXAMPLES)]
pub struct PluginsArguments {
    #[command(flatten)]
    at: DataDirArgument,
}

/// Arguments of `tidegate history`.
#[derive(Debug, Args)]
#[command(after_help = HISTORY_EXAMPLES)]
pub struct HistoryArguments {
    /// Of this plugin only: FLOW/PLUGIN, or its own name.
    #[arg(long, value_name = "PLUGIN", add = ArgValueCandidates::new(names::plugins))]
    plugin: Option<String>,
    /// So many of the last events.
    #[arg(long, value_name = "N", default_value = "20")]
    last: usize,
    #[command(flatten)]
    at: DataDirArgument,
}

pub fn plugins(global: &Global, arguments: &PluginsArguments, surroundings: Surroundings) -> Exit {
    let found = || -> Result<Vec<ListedPlugin>, CommandFailure> {
        match find_left(global, &arguments.at, surroundings)? {
            GatewayOrConfig::Running(client) => Ok(client.get("/v1/plugins")?),
            GatewayOrConfig::Stopped(config) => {
                let entries = Versions::look(&config.gateway.data_dir)
                    .map_err(|error| CommandFailure::Said(error.to_string()))?;
                let is_there = |one: &ListedPlugin| {
                    let flow = config.flows.iter().find(|flow| *flow.name == *one.flow);
                    flow.is_some_and(|flow| {
                        flow.plugins.iter().any(|spec| *spec.name == *one.plugin)
                    })
                };
                let listed = entries.into_iter().map(ListedPlugin::stopped);
                let listed = listed.map(|one| ListedPlugin {
                    is_gone: !is_there(&one),
                    ..one
                });
                Ok(listed.collect())
            }
        }
    };
    match found() {
        Ok(plugins) => {
            match global.output {
                OutputFormat::Json => print_json(&serde_json::json!(plugins)),
                OutputFormat::Text => plugins.iter().flat_map(lines).for_each(|line| print(&line)),
            }
            Exit::Done
        }
        Err(failure) => failure.end(),
    }
}

/// What is odd about it.
fn remarks(plugin: &ListedPlugin) -> impl Iterator<Item = String> {
    let remarks = [
        (plugin.differs_from_config, "not what the config says"),
        (plugin.is_gone, "not in the config: nothing runs it"),
    ];
    let remarks = remarks.into_iter().filter(|(is_so, _)| *is_so);
    remarks.map(|(_, words)| words.to_owned())
}

fn lines(plugin: &ListedPlugin) -> Vec<String> {
    let mut about = vec![short_digest(&plugin.digest).to_owned()];
    about.extend(
        plugin
            .since
            .as_deref()
            .map(|since| format!("since {}", moment(since))),
    );
    about.extend(remarks(plugin));
    let mut lines = vec![row(
        "plugin",
        &format!("{}/{}", plugin.flow, plugin.plugin),
        &about,
    )];
    if let Some(candidate) = &plugin.candidate {
        lines.push(row(
            "",
            "└ tried",
            &[
                short_digest(&candidate.digest).to_owned(),
                candidate.state.clone(),
            ],
        ));
    }
    for kept in &plugin.kept {
        let until = format!("until {}", moment(&kept.until));
        lines.push(row(
            "",
            "└ kept",
            &[short_digest(&kept.version.digest).to_owned(), until],
        ));
    }
    for RefusedVersion {
        version,
        at,
        why,
        rolled_back,
    } in &plugin.refused
    {
        let what = if *rolled_back {
            "└ rolled back"
        } else {
            "└ refused"
        };
        lines.push(row(
            "",
            what,
            &[
                short_digest(&version.digest).to_owned(),
                moment(at),
                words::line(why, WHY),
            ],
        ));
    }
    lines
}

pub fn history(global: &Global, arguments: &HistoryArguments, surroundings: Surroundings) -> Exit {
    let found = || -> Result<Vec<HistoryEvent>, CommandFailure> {
        match find_left(global, &arguments.at, surroundings)? {
            GatewayOrConfig::Running(client) => Ok(client.get("/v1/history")?),
            GatewayOrConfig::Stopped(config) => {
                let history = History::of(&config.gateway.data_dir);
                history
                    .read(usize::MAX, |_| true)
                    .map_err(|error| CommandFailure::Said(error.to_string()))
            }
        }
    };
    match found() {
        Ok(mut events) => {
            let known: BTreeSet<String> = events
                .iter()
                .filter(|event| !event.plugin.is_empty())
                .map(|event| format!("{}/{}", event.flow, event.plugin))
                .collect();
            events.retain(|event| {
                arguments
                    .plugin
                    .as_deref()
                    .is_none_or(|name| is_of(event, name))
            });
            if let Some(name) = arguments.plugin.as_deref().filter(|_| events.is_empty()) {
                let known = Vec::from_iter(known).join(", ");
                let there = if known.is_empty() {
                    "none yet"
                } else {
                    known.as_str()
                };
                let name = words::line(name, WHY);
                say(&format!(
                    "error: the history has no plugin `{name}`; it has: {there}"
                ));
                return Exit::Failed;
            }
            if events.is_empty() && global.output == OutputFormat::Text {
                say("nothing has changed yet");
            }
            for event in &events[events.len().saturating_sub(arguments.last)..] {
                match global.output {
                    OutputFormat::Json => print_json(&serde_json::json!(event)),
                    OutputFormat::Text => print(&line(event)),
                }
            }
            Exit::Done
        }
        Err(failure) => failure.end(),
    }
}

fn is_of(event: &HistoryEvent, name: &str) -> bool {
    match name.split_once('/') {
        Some((flow, plugin)) => event.flow == flow && event.plugin == plugin,
        None => event.plugin == name,
    }
}

fn line(event: &HistoryEvent) -> String {
    let name = match (&*event.flow, &*event.plugin) {
        ("", "") => String::new(),
        (flow, "") => format!(" {flow}"),
        (flow, plugin) => format!(" {flow}/{plugin}"),
    };
    let digests = match (short_digest(&event.old), short_digest(&event.new)) {
        (_, "") => String::new(),
        (old, new) if old == new && event.who != Who::Start => {
            format!(" {new}, other settings")
        }
        (old, new) if old == new => format!(" {new}"),
        (old, new) => format!(" {old} → {new}"),
    };
    let why = event
        .why
        .as_deref()
        .map(|why| format!("\n    {}", words::line(why, 3 * WHY)))
        .unwrap_or_default();
    format!(
        "{} {}: {}{name}{digests}{why}",
        moment(&event.at),
        event.who.name(),
        event.what
    )
}
