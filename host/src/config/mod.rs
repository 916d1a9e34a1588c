//! The config: TOML in, every stage's own `Config` out, or all mistakes at once.
//!
//! In comes what [`Sources`] names: a file, `TIDEGATE_` variables, `--set` arguments. All of it is parsed into a
//! tree that knows where each value stands, read against the manual (`default.toml`, which is also the default of
//! everything), and checked as a whole. Out comes a [`Config`], or [`Problems`] with code, line, caret and hint.
//!
//! Past `Config` nothing validates again. Nothing here changes anything on the machine; only secrets, certificates
//! and the existence of plugin files are looked at.

mod address;
mod adopt;
mod assemble;
mod check;
mod circle;
mod class;
mod code;
mod connection;
mod difference;
mod fields;
mod flow;
mod globals;
mod guard;
mod layers;
mod plugin;
mod priority;
mod problem;
mod secret;
mod sending;
mod tree;
mod units;

use std::sync::Arc;

pub(crate) use address::{Address, AddressError};
pub use code::Code;
pub use difference::{Difference, Fate, FlowChange, PluginChange, difference};
pub use globals::{Admin, Format, Gateway, Level, Log};
pub use layers::Sources;
pub use problem::{Problem, Problems};
pub(crate) use units::read_duration;

use crate::message::{FlowId, Intake, Qos};
use crate::source::{Ack, Dedup, Pattern, Route};
use crate::{chain, mqtt, recording, source, spool, uplink};

use layers::Trust;
use plugin::Places;
use problem::Text;
use tree::Table;

/// The manual: every setting with its default and the reason for it.
pub const MANUAL: &str = layers::DEFAULTS;

/// A checked config.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[gateway]`.
    pub gateway: Gateway,
    /// The sources, in the order they were written.
    pub sources: Vec<SourceSpec>,
    /// The uplinks, in the order they were written, each with its queues.
    pub uplinks: Vec<uplink::Config>,
    /// The flows; their order gives the `FlowId`s.
    pub flows: Vec<chain::Config>,
    /// The spool; the order of its queues gives the `QueueId`s.
    pub spool: spool::Config,
    /// `[admin]`.
    pub admin: Admin,
    /// `[log]`.
    pub log: Log,
    /// What is recorded of each flow.
    pub recordings: Vec<Option<recording::Config>>,
    /// What is odd, but no reason not to start.
    pub warnings: Problems,
    origin: Origin,
}

/// Where a config came from: for a comparison with the next one, and to point at a plugin that is at fault.
#[derive(Clone, Debug)]
struct Origin {
    texts: Arc<[Text]>,
    tree: Table,
    /// By flow and plugin.
    plugins: Vec<Vec<Places>>,
}

/// A source before the lanes of its flows exist.
#[derive(Clone, Debug)]
pub struct SourceSpec {
    /// Name in config, metrics and logs.
    pub name: Arc<str>,
    /// The connection.
    pub mqtt: mqtt::Config,
    /// Level asked for in SUBSCRIBE.
    pub qos: Qos,
    /// What goes to which flow.
    pub routes: Vec<RouteSpec>,
    /// As in `source::Config`.
    pub max_unsettled_bytes: usize,
    /// As in `source::Config`.
    pub max_topic_bytes: usize,
    /// As in `source::Config`.
    pub max_payload_bytes: usize,
}

/// A route before the lanes of its flow exist.
#[derive(Clone, Debug)]
pub struct RouteSpec {
    /// Which flow.
    pub flow: FlowId,
    /// Its name.
    pub name: Arc<str>,
    /// Topic filter with captures.
    pub pattern: Pattern,
    /// When to acknowledge.
    pub ack: Ack,
    /// As in `source::Route`.
    pub expires: Option<u32>,
    /// As in `source::Route`.
    pub dedup: Option<Dedup>,
}

impl SourceSpec {
    /// The source's config, with the lanes that `intake` knows.
    pub fn complete(self, intake: impl Fn(FlowId) -> Arc<dyn Intake>) -> source::Config {
        let route = |spec: RouteSpec| Route {
            intake: intake(spec.flow),
            flow: spec.flow,
            name: spec.name,
            pattern: spec.pattern,
            ack: spec.ack,
            expires: spec.expires,
            dedup: spec.dedup,
        };
        source::Config {
            name: self.name,
            mqtt: self.mqtt,
            qos: self.qos,
            routes: self.routes.into_iter().map(route).collect(),
            max_unsettled_bytes: self.max_unsettled_bytes,
            max_topic_bytes: self.max_topic_bytes,
            max_payload_bytes: self.max_payload_bytes,
            mark: source::SessionMark::default(),
        }
    }
}

/// What is wrong with a plugin that the config names, found out by trying it.
#[derive(Clone, Debug)]
pub struct PluginFault {
    /// Its flow.
    pub flow: FlowId,
    /// Its place in the chain, from 0 on.
    pub plugin: usize,
    /// Whether its settings are to blame rather than the component.
    pub in_settings: bool,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Config {
    /// Shows plugin faults as problems of this config, each where the plugin or its settings were written.
    pub fn plugin_problems(&self, faults: impl IntoIterator<Item = PluginFault>) -> Problems {
        let problem = |fault: PluginFault| {
            let places = self.origin.plugins.get(usize::from(fault.flow.0)).and_then(|flow| flow.get(fault.plugin));
            let place = places.map(|places| if fault.in_settings { places.settings } else { places.artefact });
            let place = place.unwrap_or(tree::Place::whole(layers::FILE));
            Problem { code: Code::Plugin, message: fault.message, hint: fault.hint, place }
        };
        Problems::new(Arc::clone(&self.origin.texts), faults.into_iter().map(problem).collect())
    }
}

/// Reads, merges and checks everything. Opens no connection, starts nothing; call it again for a reload.
///
/// # Errors
/// All mistakes there are, warnings included, sorted by file and line.
pub fn load(sources: &Sources) -> Result<Config, Problems> {
    let layers = layers::Layers::read(sources);
    let trust = layers.trust();
    let layers::Layers { mut texts, base, tree, mut problems } = layers;
    let check = check::Check::new(sources);
    let parts = assemble::assemble(&check, &base, &tree);
    let (found, hidden) = check.finish();
    problems.extend(found.into_iter().filter(|problem| match trust {
        Trust::Full => true,
        Trust::Partial => !problem.code.may_be_an_echo(),
        Trust::None => false,
    }));
    for (text, span) in hidden {
        texts[text].mask(span);
    }
    hide_broken_secrets(&mut texts, &problems);
    let texts: Arc<[Text]> = texts.into();
    let problems = Problems::new(Arc::clone(&texts), problems);
    if problems.errors() > 0 {
        return Err(problems);
    }
    let assemble::Parts { gateway, sources, uplinks, flows, spool, admin, log, recordings, plugin_places } = parts;
    let origin = Origin { texts, tree, plugins: plugin_places };
    Ok(Config { gateway, sources, uplinks, flows, spool, admin, log, recordings, warnings: problems, origin })
}

/// A secret in a line that is no TOML was not recognised as one: such a line shows no more than its key.
fn hide_broken_secrets(texts: &mut [Text], problems: &[Problem]) {
    for problem in problems.iter().filter(|problem| problem.code == Code::Syntax) {
        let Some((start, _)) = problem.place.span else { continue };
        let text = &mut texts[problem.place.text];
        let start = start.min(text.content.len());
        let line = text.content[..start].rfind('\n').map_or(0, |at| at + 1);
        let end = text.content[start..].find('\n').map_or(text.content.len(), |at| start + at);
        let about_a_secret = text.content[line..end].contains("password") || text.name.to_ascii_lowercase().contains("password");
        if about_a_secret {
            let value = text.content[line..end].find('=').map_or(line, |at| line + at + 1);
            text.mask(value..end);
        }
    }
}

#[cfg(test)]
mod tests;
