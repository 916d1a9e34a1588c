//! The config: TOML in, every stage's own `Config` out, or all mistakes at once.
//!
//! In comes what [`Sources`] names: a file with its parts in `conf.d`, `TIDEGATE_` variables, `--set` arguments. All of it is parsed into a
//! tree that knows where each value stands, read against the manual (`default.toml`, which is also the default of
//! everything), and checked as a whole. Out comes a [`Config`], or [`Problems`] with code, line, caret and hint.
//!
//! Past `Config` nothing validates again. Nothing here changes anything on the machine; only secrets, certificates
//! and the existence of plugin files are looked at.

mod address;
mod adopt;
mod assemble;
mod check;
mod class;
mod connection;
mod difference;
mod fields;
mod flow;
mod globals;
mod identity;
mod kept;
mod known;
mod layers;
mod priority;
mod problem;
mod secrecy;
mod secret;
mod sources;
mod strict;
mod tree;
mod units;
mod uplinks;

use std::sync::Arc;

#[cfg(feature = "demo")]
pub(crate) use address::{AddressError, BrokerAddress};
pub use difference::{
    ConfigDifference, EndpointChanges, FlowChange, FlowFate, PluginChange, difference, why_restart,
};
pub use globals::{Format, Gateway, LogLevel, LogSettings};
pub use kept::{data_dir, has_changed, is_default_data_dir, keep, load_kept, load_somehow};
pub use known::effective::{Effective, Setting};
pub use known::manual::{ManualEntry, explain};
pub use known::schema::schema;
pub use layers::written::parts_in;
pub use layers::{Secrets, Sources};
pub use problem::code::ProblemCode;
pub use problem::{Problem, Problems};
pub use sources::spec::{RouteSpec, SourceSpec};
pub use strict::advice::Advice;
pub use strict::{Pardon, Strict};
pub(crate) use units::read_duration;

use crate::message::FlowId;
use crate::telemetry::trace::TraceSettings;
use crate::{chain, devices, link, recording, spool};

use flow::plugin::Places;
use layers::Completeness;
use layers::written::WrittenConfig;
use problem::ConfigText;
use tree::Table;

/// The manual: every setting with its default and the reason for it.
pub const MANUAL: &str = layers::DEFAULTS;

#[derive(Clone, Debug)]
pub struct Config {
    pub gateway: Gateway,
    /// The sources, in the order they were written.
    pub sources: Vec<SourceSpec>,
    /// The uplinks, in the order they were written, each with its queues.
    pub uplinks: Vec<crate::uplink::Config>,
    /// The flows; their order gives the `FlowId`s.
    pub flows: Vec<chain::Config>,
    /// The register of devices, if there is to be one.
    pub devices: Option<devices::Config>,
    /// The spool; the order of its queues gives the `QueueId`s.
    pub spool: spool::Config,
    pub admin: crate::admin::Config,
    pub log: LogSettings,
    /// Which devices are traced, and who is told.
    pub traces: Option<TraceSettings>,
    /// What is recorded of each flow.
    pub recordings: Vec<Option<recording::Config>>,
    /// What is odd, but no reason not to start.
    pub warnings: Problems,
    accepted: Vec<strict::accepted::Accepted>,
    origin: ConfigOrigin,
}

/// Where a config came from: for a comparison with the next one, and to point at a plugin that is at fault.
#[derive(Clone, Debug)]
struct ConfigOrigin {
    texts: Arc<[ConfigText]>,
    tree: Table,
    /// By flow and plugin.
    plugins: Vec<Vec<Places>>,
    /// Where relative paths start.
    folder: std::path::PathBuf,
    /// The files as they were written. What its keys say is nobody's business who reads a log.
    written: link::Secret,
}

/// What is wrong with a plugin that the config names, found out by trying it.
#[derive(Clone, Debug)]
pub struct PluginFault {
    pub flow: FlowId,
    /// Its place in the chain, from 0 on.
    pub plugin: usize,
    /// Whether its settings are to blame rather than the component.
    pub in_settings: bool,
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Config {
    /// Shows plugin faults as problems of this config, each where the plugin or its settings were written.
    pub fn plugin_problems(&self, faults: impl IntoIterator<Item = PluginFault>) -> Problems {
        let mut texts = self.origin.texts.to_vec();
        let mut hidden = secrecy::Hidden::default();
        let mut problem = |fault: PluginFault| {
            if fault.in_settings
                && let Some(settings) = self.settings_of(&fault)
            {
                hidden.hide_texts(settings);
            }
            let places = self
                .origin
                .plugins
                .get(fault.flow.index())
                .and_then(|flow| flow.get(fault.plugin));
            let in_settings =
                |places: &Places| self.setting_named(&fault).unwrap_or(places.settings);
            let place = places.map(|places| {
                if fault.in_settings {
                    in_settings(places)
                } else {
                    places.artefact
                }
            });
            let place = place.unwrap_or(tree::Place::whole(layers::FILE));
            Problem {
                code: ProblemCode::Plugin,
                message: fault.message,
                hint: fault.hint,
                place,
            }
        };
        let problems = faults.into_iter().map(&mut problem).collect();
        hidden.apply(&mut texts, &mut []);
        Problems::new(texts.into(), problems)
    }

    fn settings_of(&self, fault: &PluginFault) -> Option<&tree::TomlItem> {
        let flow = self.flows.get(fault.flow.index())?;
        let plugin = fault.plugin.to_string();
        let plugins = self
            .origin
            .tree
            .get("flow")?
            .node
            .find([&*flow.name, "plugin", &*plugin])?;
        plugins.node.find(["settings"])
    }

    /// Where the setting was written that a plugin names first in its words: a path in backticks, `where.0.value`.
    fn setting_named(&self, fault: &PluginFault) -> Option<tree::Place> {
        let settings = &self.settings_of(fault)?.node;
        let words = fault
            .message
            .split_once(": ")
            .map_or(&*fault.message, |(_, words)| words);
        words
            .split('`')
            .skip(1)
            .step_by(2)
            .find_map(|path| settings.find(path.split('.')))
            .map(|item| item.place)
    }
}

/// Reads, merges and checks everything. Opens no connection, starts nothing; call it again for a reload.
///
/// # Errors
/// All mistakes there are, warnings included, sorted by file and line.
pub fn load(sources: &Sources) -> Result<Config, Problems> {
    let written = WrittenConfig::read(&sources.path, sources.folder());
    load_written(sources, written)
}

/// The same with `text` in place of what the file says.
pub fn load_text(sources: &Sources, text: &str) -> Result<Config, Problems> {
    let written = WrittenConfig {
        file: Ok(text.into()),
        ..WrittenConfig::read(&sources.path, sources.folder())
    };
    load_written(sources, written)
}

/// The same of what stands for what is in the files.
fn load_written(sources: &Sources, written: WrittenConfig) -> Result<Config, Problems> {
    let kept = link::Secret::new(written.to_kept());
    let layers = layers::Layers::read(sources, written);
    let trust = layers.trust();
    let layers::Layers {
        mut texts,
        base,
        tree,
        mut problems,
        hidden,
        ..
    } = layers;
    let check = check::Check::new(sources, hidden);
    let parts = assemble::assemble(&check, &base, &tree);
    let check::Findings {
        problems: found,
        more,
        hidden,
        ..
    } = check.finish();
    problems.extend(found.into_iter().filter(|problem| match trust {
        Completeness::Full => true,
        Completeness::Partial => !problem.code.may_be_an_echo(),
        Completeness::None => false,
    }));
    let mut problems = without_echoes(&texts, problems);
    hide_broken_lines(&mut texts, &problems);
    texts
        .iter_mut()
        .for_each(|text| text.mask_all(&secrecy::comments(&text.content)));
    hidden.apply(&mut texts, &mut problems);
    let texts: Arc<[ConfigText]> = texts.into();
    let problems = Problems::new(Arc::clone(&texts), problems).with_more(more);
    if problems.errors() > 0 {
        return Err(problems);
    }
    let origin = ConfigOrigin {
        texts,
        tree,
        plugins: parts.plugin_places.clone(),
        folder: sources.folder().to_owned(),
        written: kept,
    };
    Ok(whole(parts, origin, problems))
}

fn whole(parts: assemble::ConfigParts, origin: ConfigOrigin, warnings: Problems) -> Config {
    let assemble::ConfigParts {
        gateway,
        sources,
        uplinks,
        flows,
        devices,
        spool,
        admin,
        log,
        traces,
        recordings,
        accepted,
        plugin_places: _,
    } = parts;
    Config {
        gateway,
        sources,
        uplinks,
        flows,
        devices,
        spool,
        admin,
        log,
        traces,
        recordings,
        warnings,
        accepted,
        origin,
    }
}

/// A config with nothing in it but the defaults and where the data is: for looking at files whose config is lost.
fn bare(sources: &Sources) -> Config {
    let layers::Layers {
        texts,
        base,
        tree,
        hidden,
        ..
    } = layers::Layers::read(sources, WrittenConfig::alone(""));
    let check = check::Check::new(sources, hidden);
    let parts = assemble::assemble(&check, &base, &tree);
    let texts: Arc<[ConfigText]> = texts.into();
    let none = Problems::new(Arc::clone(&texts), Vec::new());
    let origin = ConfigOrigin {
        texts,
        tree,
        plugins: Vec::new(),
        folder: sources.folder().to_owned(),
        written: link::Secret::new(""),
    };
    whole(parts, origin, none)
}

/// A secret in a line that is no TOML was not recognised as one: such a line shows no more than its key, unless that is
/// known for something else.
fn hide_broken_lines(texts: &mut [ConfigText], problems: &[Problem]) {
    for problem in problems.iter().filter(|problem| {
        problem.code == ProblemCode::Syntax || problem.code == ProblemCode::Override
    }) {
        let (text, Some((start, end))) = (&mut texts[problem.place.text], problem.place.span)
        else {
            continue;
        };
        let start = text.content.floor_char_boundary(start);
        let end = text.content.floor_char_boundary(end);
        let first = text.content[..start].rfind('\n').map_or(0, |at| at + 1);
        let last = text.content[end..]
            .find('\n')
            .map_or(text.content.len(), |at| end + at);
        let mut at = first;
        let mut values = Vec::new();
        let variable = text
            .name
            .strip_prefix("environment variable ")
            .map(|name| name.rsplit("__").next().unwrap_or(name));
        for line in text.content[first..last].split_inclusive('\n') {
            let is_head = line.trim_start().starts_with('[') && !line.contains('=');
            let written = line
                .split_once('=')
                .filter(|(key, _)| variable.is_none() && is_like_a_key(key));
            let (key, value) = written.map_or((variable.unwrap_or_default(), at), |(key, _)| {
                (key, at + key.len() + 1)
            });
            // Addresses with more in them than a host and a port.
            let may_show =
                secrecy::may_show(&key.to_ascii_lowercase(), MANUAL) && !line.contains(['@', '?']);
            if !is_head && !may_show {
                values.push(value..at + line.len());
            }
            at += line.len();
        }
        text.mask_all(&values);
    }
}

/// Keys are short and in small letters; what is not may be part of what was to be kept.
fn is_like_a_key(text: &str) -> bool {
    let text = text.trim();
    text.len() <= 80
        && text.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.\"".contains(&byte)
        })
}

/// Leaves out unknown keys in lines that are no TOML: what stands there may be anything. Of a line that lacks a quote
/// nothing else is known.
fn without_echoes(texts: &[ConfigText], problems: Vec<Problem>) -> Vec<Problem> {
    let line = |problem: &Problem| {
        problem
            .place
            .span
            .map(|(start, _)| (problem.place.text, texts[problem.place.text].line(start)))
    };
    let broken: std::collections::HashSet<_> = problems
        .iter()
        .filter(|problem| problem.code == ProblemCode::Syntax)
        .filter_map(line)
        .collect();
    let unquoted = problems.iter();
    let unquoted: std::collections::HashSet<_> = unquoted
        .filter(|problem| problem.message == layers::MISSING_QUOTE)
        .filter_map(line)
        .collect();
    let is_echo = |problem: &Problem| {
        let line = line(problem);
        let is_in =
            |lines: &std::collections::HashSet<_>| line.is_some_and(|line| lines.contains(&line));
        problem.code == ProblemCode::UnknownKey && is_in(&broken)
            || problem.code != ProblemCode::Syntax && is_in(&unquoted)
    };
    problems
        .into_iter()
        .filter(|problem| !is_echo(problem))
        .collect()
}

#[cfg(test)]
mod tests;
