//! What all stages of a running gateway tell of themselves at one moment: `status` and health are made of it.

use std::sync::Arc;
use std::time::Instant;

use crate::chain::{self, Chain, PluginInfo};
use crate::gateway::running::RunningGateway;
use crate::gateway::standing::ConfigStanding;
use crate::{source, spool, uplink};

pub(super) struct Accounts {
    pub(super) at: Instant,
    /// What has become of the config.
    pub(super) config: ConfigStanding,
    pub(super) sources: Vec<(Arc<str>, source::Account)>,
    /// Those that could not be started last.
    pub(super) flows: Vec<FlowAccount>,
    pub(super) uplinks: Vec<(Arc<str>, uplink::Account)>,
    pub(super) spool: spool::Account,
}

/// What is known of one flow.
pub(super) struct FlowAccount {
    pub(super) name: Arc<str>,
    pub(super) account: chain::Account,
    pub(super) plugins: Vec<PluginInfo>,
    /// A lane ended for good: why.
    pub(super) failure: Option<String>,
    /// It could not be started: why. Its messages wait.
    pub(super) down: Option<String>,
}

impl Accounts {
    /// As they are now. Memory work only.
    pub(super) fn of(running: &RunningGateway) -> Self {
        let at = Instant::now();
        let config = running.current.now();
        let source = |name: &Arc<str>| (Arc::clone(name), running.sources.account(name, at));
        let of_config = config.sources.iter().map(|one| Arc::clone(&one.name));
        // Sessions of sources that are no more.
        let mut besides = running.sources.telling();
        besides.retain(|name| !config.sources.iter().any(|one| one.name == *name));
        let sources = of_config.chain(besides);
        let uplink = |uplink: &uplink::Config| {
            let account = running.uplinks.account(uplink, at);
            (Arc::clone(&uplink.name), account)
        };
        Self {
            at,
            config: running.standing.look(),
            sources: sources.map(|name| source(&name)).collect(),
            flows: flows(running),
            uplinks: config.uplinks.iter().map(uplink).collect(),
            spool: running.spool.account(),
        }
    }
}

fn flows(running: &RunningGateway) -> Vec<FlowAccount> {
    let config = running.current.now();
    let chains = running.flow_handles.chains().into_iter();
    let down = running
        .flow_handles
        .down()
        .into_iter()
        .filter_map(|(flow, why)| {
            let name = &config.flows.get(flow)?.name;
            Some(FlowAccount::down(name, why))
        });
    chains
        .map(|(_, chain)| FlowAccount::of(&chain))
        .chain(down)
        .collect()
}

impl FlowAccount {
    fn of(chain: &Chain) -> Self {
        Self {
            name: Arc::clone(chain.name()),
            account: chain.account(),
            plugins: chain.plugins(),
            failure: chain.failure().why(),
            down: None,
        }
    }

    fn down(name: &Arc<str>, why: String) -> Self {
        Self {
            name: Arc::clone(name),
            account: chain::Account::default(),
            plugins: Vec::new(),
            failure: None,
            down: Some(why),
        }
    }
}
