//! What `/readyz` looks at: a lane that is gone, a store that cannot be written. A source or uplink without a
//! connection is retrying by design and does not make the gateway unready; its own metrics tell.

use std::sync::Arc;

use super::Gateway;
use crate::admin::{Health, Look};
use crate::chain::{BreakerState, Chain, PluginInfo};
use crate::spool::{Account, Condition};

/// One line for each flow, one for the spool, one for the config.
pub fn look(gateway: &Gateway) -> Look {
    let (doors, spool, standing) = (gateway.doors.clone(), Arc::clone(&gateway.spool), gateway.standing.clone());
    Box::new(move || {
        let words = standing.look().words();
        let config = if words.is_empty() { Health::Good } else { Health::Fair(words.join("; ")) };
        let flows = doors.chains().into_iter().map(|(_, chain)| (format!("flow {}", chain.name()), flow(&chain)));
        let store = store_trouble(&spool.account()).map_or(Health::Good, Health::Bad);
        flows.chain([("spool".to_owned(), store), ("config".to_owned(), config)]).collect()
    })
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
