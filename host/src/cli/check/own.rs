//! What an end of one's own running gateway holds is not taken for somebody else's: its port, its serial line.

use super::connect::ConnectFinding;
use crate::admin::Client;
use crate::config::{self, Config, Sources};
use crate::gateway::api::status::Status;

/// Takes for good what the gateway that runs on this data folder has in use as the config says.
pub(in crate::cli) fn recognise(config: &Config, origin: &Sources, found: &mut [ConnectFinding]) {
    let is_held = |one: &&mut ConnectFinding| !one.is_good && one.end.starts_with("source.");
    let mut held = found.iter_mut().filter(is_held).peekable();
    if held.peek().is_none() {
        return;
    }
    let Ok(Some(client)) = Client::reach(&config.gateway.data_dir) else {
        return;
    };
    let (Ok(status), Some(runs)) = (
        client.get::<Status>("/v1/status"),
        // What this command sets is not what runs.
        config::load_kept(&Sources {
            sets: Vec::new(),
            ..origin.clone()
        }),
    ) else {
        return;
    };
    let process = status.process.as_ref().map_or(0, |process| process.pid);
    for one in held {
        let name = one.end.trim_start_matches("source.");
        let mut known = runs.sources.iter();
        let is_the_same = known.any(|source| {
            let has_one = source.broker().is_none() && *source.name == *name;
            has_one && source.kind.facts().address == one.address
        });
        let mut sources = status.sources.iter();
        let is_in_use = sources.any(|source| source.name == name && source.connected);
        if is_the_same && is_in_use {
            one.is_good = true;
            one.words = vec![format!(
                "the gateway that runs on this config has it in use (process {process})"
            )];
        }
    }
}
