//! Names of sources, flows, plugins and queues as the config has them. Whatever is wrong with it, a shell gets what there is, and hears
//! nothing of the rest.

use std::path::PathBuf;

use clap_complete::engine::CompletionCandidate;

use crate::cli::global::PLACE;
use crate::config::{self, Config, Secrets, Sources};

/// Each source; a connection of its own for priority is none.
pub fn sources() -> Vec<CompletionCandidate> {
    let config = config();
    let names = config.sources.iter().map(|source| source.name.to_string());
    candidates(names.filter(|name| !name.contains(':')))
}

/// Each flow by its own name.
pub fn flows() -> Vec<CompletionCandidate> {
    let config = config();
    candidates(config.flows.iter().map(|flow| flow.name.to_string()))
}

/// Each plugin as `flow/plugin`, whatever it is called elsewhere.
pub fn plugins() -> Vec<CompletionCandidate> {
    let config = config();
    let names = config.flows.iter().flat_map(|flow| {
        let plugins = flow.plugins.iter();
        plugins.map(|plugin| format!("{}/{}", flow.name, plugin.name))
    });
    candidates(names)
}

/// Each queue as `uplink:class`, as the commands about the spool take it.
pub fn queues() -> Vec<CompletionCandidate> {
    let config = config();
    candidates(config.spool.queues.iter().map(|queue| queue.name()))
}

fn candidates(names: impl Iterator<Item = String>) -> Vec<CompletionCandidate> {
    names.map(CompletionCandidate::new).collect()
}

fn config() -> Config {
    let mut sources = Sources::new(PLACE);
    if let Some(path) = sources.env.get("TIDEGATE_CONFIG") {
        sources.path = PathBuf::from(path);
    }
    sources.secrets = Secrets::Unused;
    config::load_somehow(&sources).0
}
