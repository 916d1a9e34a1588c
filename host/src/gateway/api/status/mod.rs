//! How a running gateway is, in the form of `status`, from the accounts of its stages.

pub mod form;

use std::sync::Arc;
use std::time::Instant;

use self::form::{Flow, Plugin, Process, Source, Status, Store, Uplink};
use crate::chain::{self, Chain, PluginInfo};
use crate::config::Config;
use crate::gateway::Gateway;
use crate::gateway::api::health::store_trouble;
use crate::gateway::api::plugins::{Candidate, shown_digest};
use crate::gateway::door::Doors;
use crate::gateway::standing::Shared;
use crate::heap::resident_bytes;
use crate::spool::Spool;
use crate::versions::Versions;
use crate::{source, uplink};

/// Reports on a running gateway.
pub(in crate::gateway) struct Reporter {
    config: Arc<Config>,
    spool: Arc<Spool>,
    doors: Doors,
    versions: Versions,
    standing: Shared,
    sources: source::Metrics,
    uplinks: uplink::Metrics,
    started: Instant,
}

impl Reporter {
    /// The gateway starts now.
    pub(in crate::gateway) fn new(gateway: &Gateway) -> Self {
        Self {
            config: Arc::clone(&gateway.config),
            spool: Arc::clone(&gateway.spool),
            doors: gateway.doors.clone(),
            versions: gateway.versions.clone(),
            standing: gateway.standing.clone(),
            sources: gateway.sources.clone(),
            uplinks: gateway.uplinks.clone(),
            started: Instant::now(),
        }
    }

    /// The flows, those that could not be started last.
    fn flows(&self) -> Vec<Flow> {
        let running = self
            .doors
            .chains()
            .into_iter()
            .map(|(_, chain)| running_flow(&chain, &self.versions));
        let down = self.doors.down().into_iter().filter_map(|(flow, why)| {
            let name = &self.config.flows.get(flow)?.name;
            Some(Flow {
                down: Some(why),
                ..Flow::of(name, chain::Account::default())
            })
        });
        running.chain(down).collect()
    }

    /// How it is now. Memory work only.
    pub(in crate::gateway) fn report(&self) -> Status {
        let account = self.spool.account();
        let spool = Status::of_spool(&self.config, &account);
        let now = Instant::now();
        let source = |name| Source::of(name, self.sources.account(name, now), now);
        let uplink = |config: &uplink::Config| {
            Uplink::of(&config.name, self.uplinks.account(config, now), now)
        };
        let config = &self.config;
        Status {
            running: true,
            config: self.standing.look(),
            process: Some(Process {
                pid: std::process::id(),
                uptime_s: self.started.elapsed().as_secs(),
                resident_bytes: resident_bytes(),
                memory_limit_bytes: config.gateway.memory_bytes,
            }),
            sources: config.sources.iter().map(|one| source(&one.name)).collect(),
            flows: self.flows(),
            uplinks: config.uplinks.iter().map(uplink).collect(),
            store: Store {
                why: store_trouble(&account),
                ..spool.store
            },
            ..spool
        }
    }
}

fn running_flow(chain: &Chain, versions: &Versions) -> Flow {
    let plugin = |info: PluginInfo| {
        let entry = versions.entry(chain.name(), &info.name);
        Plugin {
            name: info.name.to_string(),
            digest: shown_digest(&info, entry.as_ref()),
            swapping: info.change.is_some(),
            breaker: info.breaker.name().to_owned(),
            candidate: Candidate::of(&info),
            fallback: entry
                .as_ref()
                .and_then(|entry| entry.good_before())
                .map(|version| version.digest.clone()),
            differs_from_config: entry.is_some_and(|entry| entry.confirmed != entry.based_on),
        }
    };
    Flow {
        plugins: chain.plugins().into_iter().map(plugin).collect(),
        ..Flow::of(chain.name(), chain.account())
    }
}
