//! What `/readyz` looks at: a lane that is gone, a store that cannot be written, a subscription that is refused. A source or
//! uplink without a connection is retrying by design and does not make the gateway unready; its own metrics tell.

use std::sync::Arc;

use super::Gateway;
use super::samples::Samples;
use crate::admin::{Health, Look};
use crate::chain::{BreakerState, Chain, PluginInfo};
use crate::spool::{Account, Condition};

/// One line for each flow, and one for the spool.
pub fn look(gateway: &Gateway) -> Look {
    let (doors, spool) = (gateway.doors.clone(), Arc::clone(&gateway.spool));
    let registry = gateway.registry.clone();
    let names: Vec<_> = gateway.config.sources.iter().map(|source| Arc::clone(&source.name)).collect();
    Box::new(move || {
        let flows = doors.chains().into_iter().map(|(_, chain)| (format!("flow {}", chain.name()), flow(&chain)));
        let store = store_trouble(&spool.account()).map_or(Health::Good, Health::Bad);
        let samples = Samples::of(&registry);
        let sources = names.iter().map(|name| (format!("source {name}"), source(&samples, name)));
        flows.chain(sources).chain([("spool".to_owned(), store)]).collect()
    })
}

/// What the broker grants less of than was asked for.
fn source(samples: &Samples, name: &str) -> Health {
    let of = |metric| samples.sum(metric, &[("source", name)]);
    let refused = of("tidegate_source_refused_filters");
    let lowered = of("tidegate_source_lowered_filters");
    let session_s = of("tidegate_source_session_seconds");
    let troubles: Vec<_> = [
        (refused > 0).then(|| format!("the broker refuses {refused} of its topic filters")),
        (lowered > 0).then(|| format!("the broker serves {lowered} of its topic filters with a lower level")),
        (session_s > 0).then(|| format!("the broker forgets its session {session_s} s after a loss")),
    ]
    .into_iter()
    .flatten()
    .collect();
    if troubles.is_empty() { Health::Good } else { Health::Fair(troubles.join(", ")) }
}

fn flow(chain: &Chain) -> Health {
    if let Some(why) = chain.failure().why() {
        return Health::Bad(why);
    }
    let trouble = |plugin: &PluginInfo| match plugin.breaker {
        BreakerState::Closed => None,
        state => Some(format!("the breaker of plugin `{}` is {}", plugin.name, state.name())),
    };
    let troubles: Vec<_> = chain.plugins().iter().filter_map(trouble).collect();
    if troubles.is_empty() { Health::Good } else { Health::Fair(troubles.join(", ")) }
}

/// What is wrong with the store, in words.
pub fn store_trouble(account: &Account) -> Option<String> {
    match account.condition {
        Condition::Well => None,
        bad => Some(format!("{}: {}", bad.name(), bad.advice())),
    }
}
