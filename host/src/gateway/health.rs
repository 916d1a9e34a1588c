//! What `/readyz` looks at: a lane that is gone, a store that cannot be written; what a field broker grants less
//! of than was asked for. A source or uplink without a
//! connection is retrying by design and does not make the gateway unready; it is degraded, and says why.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Gateway;
use super::samples::Samples;
use super::status::Trouble;
use crate::admin::{Health, Look};
use crate::chain::{BreakerState, Chain, PluginInfo};
use crate::mqtt::Troubles;
use crate::spool::{Account, Condition, Unreadable};

/// One line for each source, flow and uplink, one for the spool, one for the config.
pub fn look(gateway: &Gateway) -> Look {
    let flow_names: Vec<_> = gateway
        .config
        .flows
        .iter()
        .map(|flow| Arc::clone(&flow.name))
        .collect();
    let (doors, spool, standing) = (
        gateway.doors.clone(),
        Arc::clone(&gateway.spool),
        gateway.standing.clone(),
    );
    let registry = gateway.registry.clone();
    let names: Vec<_> = gateway
        .config
        .sources
        .iter()
        .map(|source| Arc::clone(&source.name))
        .collect();
    let of_sources = gateway
        .config
        .sources
        .iter()
        .map(|source| Connection::new("source", &source.name, gateway.sources.troubles()));
    let of_uplinks = gateway
        .config
        .uplinks
        .iter()
        .map(|uplink| Connection::new("uplink", &uplink.name, gateway.uplinks.troubles()));
    let connections: Vec<Connection> = of_sources.chain(of_uplinks).collect();
    Box::new(move || {
        let now = Instant::now();
        let connections = connections.iter().map(|connection| {
            (
                format!("{} {}", connection.kind, connection.name),
                connection.health(now),
            )
        });
        let flows = doors
            .chains()
            .into_iter()
            .map(|(_, chain)| (format!("flow {}", chain.name()), flow(&chain)));
        let down = doors.down().into_iter().filter_map(|(flow, why)| {
            Some((
                format!("flow {}", flow_names.get(flow)?),
                Health::Bad(format!("down, its messages wait: {why}")),
            ))
        });
        let account = spool.account();
        let lost = || store_losses(&account).map_or(Health::Good, Health::Fair);
        let store = store_trouble(&account).map_or_else(lost, Health::Bad);
        let words = standing.look().words();
        let config = if words.is_empty() {
            Health::Good
        } else {
            Health::Fair(words.join("; "))
        };
        let whole = [("spool".to_owned(), store), ("config".to_owned(), config)];
        let samples = Samples::of(&registry);
        let grants = names.iter().filter_map(|name| {
            Some((
                format!("source {name}: subscriptions"),
                grants(&samples, name)?,
            ))
        });
        flows
            .chain(down)
            .chain(whole)
            .chain(connections)
            .chain(grants)
            .collect()
    })
}

/// What the broker grants less of than was asked for.
fn grants(samples: &Samples, name: &str) -> Option<Health> {
    let of = |metric| samples.sum(metric, &[("source", name)]);
    let refused = of("tidegate_source_refused_filters");
    let lowered = of("tidegate_source_lowered_filters");
    let session_s = of("tidegate_source_session_seconds");
    let troubles: Vec<_> = [
        (refused > 0).then(|| format!("the broker refuses {refused} of its topic filters")),
        (lowered > 0).then(|| {
            format!("the broker serves {lowered} of its topic filters with a lower level")
        }),
        (session_s > 0)
            .then(|| format!("the broker forgets its session {session_s} s after a loss")),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!troubles.is_empty()).then(|| Health::Fair(troubles.join(", ")))
}

/// A source or uplink.
struct Connection {
    kind: &'static str,
    name: Arc<str>,
    troubles: Troubles,
}

impl Connection {
    fn new(kind: &'static str, name: &Arc<str>, troubles: &Troubles) -> Self {
        Self {
            kind,
            name: Arc::clone(name),
            troubles: troubles.clone(),
        }
    }

    fn health(&self, now: Instant) -> Health {
        Trouble::of(&self.troubles, &self.name, now)
            .map_or(Health::Good, |trouble| Health::Fair(degraded(&trouble)))
    }
}

/// One line for a connection in trouble.
fn degraded(
    Trouble {
        cause,
        since_s,
        next_try_s,
    }: &Trouble,
) -> String {
    let since = Duration::from_secs(*since_s);
    let next = next_try_s.map_or("being tried now".to_owned(), |seconds| {
        format!("next try in {seconds} s")
    });
    format!("degraded for {since:?}, {next}: {cause}")
}

fn flow(chain: &Chain) -> Health {
    if let Some(why) = chain.failure().why() {
        return Health::Bad(why);
    }
    let trouble = |plugin: &PluginInfo| match plugin.breaker {
        BreakerState::Closed => None,
        state => Some(format!(
            "the breaker of plugin `{}` is {}",
            plugin.name,
            state.name()
        )),
    };
    let troubles: Vec<_> = chain.plugins().iter().filter_map(trouble).collect();
    if troubles.is_empty() {
        Health::Good
    } else {
        Health::Fair(troubles.join(", "))
    }
}

/// What is wrong with the store, in words.
pub fn store_trouble(account: &Account) -> Option<String> {
    match account.condition {
        Condition::Well => None,
        Condition::Failing if !account.unreadable.is_empty() => {
            let waits = account
                .unreadable
                .iter()
                .map(|Unreadable { queue, why, since }| {
                    format!(
                        "{queue} waits for {} s, tried again all the time: {why}",
                        since.as_secs()
                    )
                });
            Some(format!(
                "{}: {}",
                account.condition.name(),
                waits.collect::<Vec<_>>().join("; ")
            ))
        }
        bad => Some(format!("{}: {}", bad.name(), bad.advice())),
    }
}

/// What damage has cost the store besides messages, which each queue tells of.
pub fn store_losses(account: &Account) -> Option<String> {
    let (letters, ledger, states) = account.lost_records;
    let lost: Vec<String> = [
        (letters, "dead letters"),
        (
            ledger,
            "messages counted in the ledger (counted again by reason alone)",
        ),
        (states, "entries of plugins' state"),
    ]
    .into_iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, what)| format!("{number} {what}"))
    .collect();
    (!lost.is_empty()).then(|| format!("the disk has lost {}", lost.join(", ")))
}
