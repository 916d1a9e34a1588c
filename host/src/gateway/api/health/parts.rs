//! One part for each source, flow and uplink, one for the spool, one for the config: what `/readyz` is made of.

use std::time::Instant;

use super::form::{FoundPart, Health};
use super::words::Words;
use crate::chain::{BreakerState, PluginInfo};
use crate::gateway::api::accounts::{Accounts, FlowAccount};
use crate::gateway::api::trouble::{ConditionStatus, TroubleStatus};
use crate::gateway::standing::ConfigStanding;
use crate::link::LinkAccount;
use crate::source;
use crate::spool::{self, Account, UnreadableQueue};

pub(super) fn of(accounts: &Accounts) -> Vec<FoundPart> {
    let now = accounts.at;
    let flows = accounts.flows.iter();
    let mut found: Vec<_> = flows.map(|one| flow(one).of("flow", &one.name)).collect();
    found.push(store(&accounts.spool).of("spool", ""));
    found.push(config(&accounts.config).of("config", ""));
    for (name, account) in &accounts.sources {
        let conditions = ConditionStatus::of_source(account, now);
        found.push(connection(&account.link, conditions, now).of("source", name));
        if let fair @ Health::Fair(_) = grants(account) {
            found.push(fair.of("subscriptions", name));
        }
    }
    for (name, account) in &accounts.uplinks {
        let conditions = ConditionStatus::of_uplink(account, now);
        found.push(connection(&account.link, conditions, now).of("uplink", name));
    }
    found
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
    let words = words.into_iter().flatten().map(Words::own);
    Health::fair(words.collect(), ", ")
}

/// What is not as the file says.
fn config(standing: &ConfigStanding) -> Health {
    let words = standing.words().into_iter();
    let words = words.map(|(own, all)| Words::kept(own, all));
    Health::fair(words.collect(), "; ")
}

/// Of a source or uplink: what keeps its connection from being in use, and what else is not as it should be.
fn connection(link: &LinkAccount, conditions: Vec<ConditionStatus>, now: Instant) -> Health {
    let trouble = link.trouble.clone();
    let trouble = trouble.map(|trouble| degraded(&TroubleStatus::of(trouble, now)));
    let conditions = conditions.into_iter().map(|condition| {
        let (since, next) = (condition.since_s, condition.next_try_s);
        let next = next.map_or(String::new(), |seconds| {
            format!(", next try in {seconds} s")
        });
        let when = format!("for {since} s{next}: ");
        Words::kept(
            format!("{when}{}", condition.own),
            format!("{when}{}", condition.words),
        )
    });
    Health::fair(trouble.into_iter().chain(conditions).collect(), "; ")
}

/// One line for a connection in trouble.
fn degraded(
    TroubleStatus {
        cause,
        since_s,
        next_try_s,
        over_s,
    }: &TroubleStatus,
) -> Words {
    let next = match (over_s, next_try_s) {
        (Some(seconds), _) => format!("until {seconds} s ago"),
        (None, Some(seconds)) => format!("next try in {seconds} s"),
        (None, None) => "being tried now".to_owned(),
    };
    let when = format!("degraded for {since_s} s, {next}");
    let all = format!("{when}: {cause}");
    Words::kept(when, all)
}

fn flow(flow: &FlowAccount) -> Health {
    if let Some(why) = &flow.down {
        let own = "down, its messages wait";
        return Health::Bad(Words::kept(own, format!("{own}: {why}")));
    }
    if let Some(why) = &flow.failure {
        return Health::Bad(Words::kept("a lane has ended for good", why.clone()));
    }
    let trouble = |plugin: &PluginInfo| {
        let what = match plugin.breaker {
            BreakerState::Closed => return None,
            BreakerState::Open => "it is not asked for now",
            BreakerState::HalfOpen => "it is asked one message at a time",
        };
        Some(Words::own(format!(
            "plugin `{}` fails on so many messages that {what} (its breaker is {}): they go where `on_error` says, see `tidegate parked list`",
            plugin.name,
            plugin.breaker.name()
        )))
    };
    Health::fair(flow.plugins.iter().filter_map(trouble).collect(), "; ")
}

fn store(account: &Account) -> Health {
    let words = || {
        let lost = store_losses(account).into_iter();
        let words = lost.chain(owed_to_nobody(account)).map(Words::own);
        Health::fair(words.collect(), "; ")
    };
    let bad = |all| {
        let condition = account.condition;
        let own = format!("{}: {}", condition.name(), condition.advice());
        Health::Bad(Words::kept(own, all))
    };
    store_trouble(account).map_or_else(words, bad)
}

/// What lies in queues that the config does not have: nothing sends it.
fn owed_to_nobody(account: &Account) -> impl Iterator<Item = String> {
    account.strangers.iter().map(|(queue, messages)| {
        let is_one = *messages == 1;
        let what = if is_one { "message is" } else { "messages are" };
        format!("{messages} {what} owed to `{queue}`, which nothing in the config leads to: lead a flow to it, and it goes out; or stop the gateway, and `tidegate spool` exports or drops it")
    })
}

/// What is wrong with the store, in words.
pub(in crate::gateway::api) fn store_trouble(account: &Account) -> Option<String> {
    match account.condition {
        spool::StoreCondition::Well => None,
        spool::StoreCondition::Failing if !account.unreadable.is_empty() => {
            let waits = account
                .unreadable
                .iter()
                .map(|UnreadableQueue { queue, why, since }| {
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
pub(in crate::gateway::api) fn store_losses(account: &Account) -> Option<String> {
    let (letters, ledger, states) = account.lost_records;
    let lost: Vec<String> = [
        (letters, "dead letters"),
        (
            ledger,
            "messages counted in the ledger (counted again by reason alone)",
        ),
        (states, "entries of plugins' state"),
        (
            account.lost_commits,
            "commits of dead letters, ledger and plugins' state (or more: nobody knows what was in them)",
        ),
    ]
    .into_iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, what)| format!("{number} {what}"))
    .collect();
    (!lost.is_empty()).then(|| format!("the disk has lost {}", lost.join(", ")))
}
