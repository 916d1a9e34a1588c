//! What `/readyz` looks at: a lane that is gone, a store that cannot be written; what a field broker grants less
//! of than was asked for. A source or uplink without a
//! connection is retrying by design and does not make the gateway unready; it is degraded, and says why.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::status::form::{Condition, Trouble};
use crate::admin::{Health, Look};
use crate::chain::{BreakerState, Chain, PluginInfo};
use crate::config::Config;
use crate::gateway::Gateway;
use crate::gateway::door::Doors;
use crate::gateway::standing::Shared;
use crate::link::LinkAccount;
use crate::spool::{self, Account, Spool, Unreadable};
use crate::{source, uplink};

/// What the stages are asked.
struct Stages {
    config: Arc<Config>,
    sources: source::Metrics,
    uplinks: uplink::Metrics,
    doors: Doors,
    spool: Arc<Spool>,
    standing: Shared,
}

/// One line for each source, flow and uplink, one for the spool, one for the config.
pub(in crate::gateway) fn look(gateway: &Gateway) -> Look {
    let stages = Stages {
        config: Arc::clone(&gateway.config),
        sources: gateway.sources.clone(),
        uplinks: gateway.uplinks.clone(),
        doors: gateway.doors.clone(),
        spool: Arc::clone(&gateway.spool),
        standing: gateway.standing.clone(),
    };
    Box::new(move || stages.look(Instant::now()))
}

impl Stages {
    fn look(&self, now: Instant) -> Vec<(String, Health)> {
        let account = self.spool.account();
        let lost = || store_losses(&account).map_or(Health::Good, Health::Fair);
        let spool = store_trouble(&account).map_or_else(lost, Health::Bad);
        let mut found = self.flows();
        found.push(("spool".to_owned(), spool));
        found.push((
            "config".to_owned(),
            fair(self.standing.look().words(), "; "),
        ));
        for source in &self.config.sources {
            let account = self.sources.account(&source.name, now);
            let name = format!("source {}", source.name);
            let conditions = Condition::of_link(&account.link, now);
            found.push((name.clone(), connection(&account.link, conditions, now)));
            if let fair @ Health::Fair(_) = grants(&account) {
                found.push((format!("{name}: subscriptions"), fair));
            }
        }
        for uplink in &self.config.uplinks {
            let account = self.uplinks.account(uplink, now);
            let conditions = Condition::of_uplink(&account, now);
            found.push((
                format!("uplink {}", uplink.name),
                connection(&account.link, conditions, now),
            ));
        }
        found
    }

    fn flows(&self) -> Vec<(String, Health)> {
        let running = self
            .doors
            .chains()
            .into_iter()
            .map(|(_, chain)| (format!("flow {}", chain.name()), flow(&chain)));
        let down = self.doors.down().into_iter().filter_map(|(flow, why)| {
            let name = &self.config.flows.get(flow)?.name;
            let bad = Health::Bad(format!("down, its messages wait: {why}"));
            Some((format!("flow {name}"), bad))
        });
        running.chain(down).collect()
    }
}

/// Well, unless there is something to say.
fn fair(words: Vec<String>, between: &str) -> Health {
    if words.is_empty() {
        Health::Good
    } else {
        Health::Fair(words.join(between))
    }
}

/// What the broker grants less of than was asked for.
fn grants(account: &source::Account) -> Health {
    let source::Account {
        refused_filters: refused,
        lowered_filters: lowered,
        session_s,
        ..
    } = *account;
    let words = [
        (refused > 0).then(|| format!("the broker refuses {refused} of its topic filters")),
        (lowered > 0).then(|| {
            format!("the broker serves {lowered} of its topic filters with a lower level")
        }),
        (session_s > 0)
            .then(|| format!("the broker forgets its session {session_s} s after a loss")),
    ];
    fair(words.into_iter().flatten().collect(), ", ")
}

/// Of a source or uplink: what keeps its connection from being in use, and what else is not as it should be.
fn connection(link: &LinkAccount, conditions: Vec<Condition>, now: Instant) -> Health {
    let trouble = link.trouble.clone();
    let trouble = trouble.map(|trouble| degraded(&Trouble::of(trouble, now)));
    let conditions = conditions.iter().map(|condition| {
        let since = Duration::from_secs(condition.since_s);
        let next = condition.next_try_s;
        let next = next.map_or(String::new(), |seconds| {
            format!(", next try in {seconds} s")
        });
        format!("for {since:?}{next}: {}", condition.words)
    });
    fair(trouble.into_iter().chain(conditions).collect(), "; ")
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
    fair(chain.plugins().iter().filter_map(trouble).collect(), ", ")
}

/// What is wrong with the store, in words.
pub fn store_trouble(account: &Account) -> Option<String> {
    match account.condition {
        spool::Condition::Well => None,
        spool::Condition::Failing if !account.unreadable.is_empty() => {
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
