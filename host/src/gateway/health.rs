//! What `/readyz` looks at: a lane that is gone, a store that cannot be written. A source or uplink without a
//! connection is retrying by design and does not make the gateway unready; it is degraded, and says why.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Gateway;
use super::status::Trouble;
use crate::admin::{Health, Look};
use crate::chain::{BreakerState, Chain, PluginInfo};
use crate::mqtt::Troubles;
use crate::spool::{Account, Condition};

/// One line for each source, flow and uplink, and one for the spool.
pub fn look(gateway: &Gateway) -> Look {
    let (doors, spool) = (gateway.doors.clone(), Arc::clone(&gateway.spool));
    let of_sources =
        gateway.config.sources.iter().map(|source| Connection::new("source", &source.name, gateway.sources.troubles()));
    let of_uplinks =
        gateway.config.uplinks.iter().map(|uplink| Connection::new("uplink", &uplink.name, gateway.uplinks.troubles()));
    let connections: Vec<Connection> = of_sources.chain(of_uplinks).collect();
    Box::new(move || {
        let now = Instant::now();
        let connections =
            connections.iter().map(|connection| (format!("{} {}", connection.kind, connection.name), connection.health(now)));
        let flows = doors.chains().into_iter().map(|(_, chain)| (format!("flow {}", chain.name()), flow(&chain)));
        let store = store_trouble(&spool.account()).map_or(Health::Good, Health::Bad);
        flows.chain([("spool".to_owned(), store)]).chain(connections).collect()
    })
}

/// A source or uplink.
struct Connection {
    kind: &'static str,
    name: Arc<str>,
    troubles: Troubles,
}

impl Connection {
    fn new(kind: &'static str, name: &Arc<str>, troubles: &Troubles) -> Self {
        Self { kind, name: Arc::clone(name), troubles: troubles.clone() }
    }

    fn health(&self, now: Instant) -> Health {
        Trouble::of(&self.troubles, &self.name, now).map_or(Health::Good, |trouble| Health::Fair(degraded(&trouble)))
    }
}

/// One line for a connection in trouble.
fn degraded(Trouble { cause, since_s, next_try_s }: &Trouble) -> String {
    let since = Duration::from_secs(*since_s);
    let next = next_try_s.map_or("being tried now".to_owned(), |seconds| format!("next try in {seconds} s"));
    format!("degraded for {since:?}, {next}: {cause}")
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
