//! What `/livez` and `/readyz` say. Not ready: a lane that is gone, a flow that could not be started, a store that cannot be
//! written. Degraded, with cause, since when and the next try: a source or uplink without a connection, which is retrying by
//! design; a broker that grants less than was asked for. An unreachable upstream is not unready: to store and forward is the
//! job.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;

use super::accounts::{Accounts, Flow};
use super::trouble::{Condition, Trouble};
use crate::chain::{BreakerState, PluginInfo};
use crate::gateway::running::Running;
use crate::link::LinkAccount;
use crate::source;
use crate::spool::{self, Account, UnreadableQueue};

/// How one part of the gateway is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Health {
    Good,
    /// Does its job in part: ready, and said.
    Fair(String),
    /// Cannot do its job: not ready.
    Bad(String),
}

pub(super) async fn alive() -> &'static str {
    "ok\n"
}

pub(super) async fn ready(
    State(running): State<Arc<Running>>,
    RawQuery(query): RawQuery,
) -> (StatusCode, String) {
    let verbose = query.is_some_and(|query| query.split('&').any(|part| part == "verbose"));
    verdict(&look(&Accounts::of(&running)), verbose)
}

/// One line for each source, flow and uplink, one for the spool, one for the config.
fn look(accounts: &Accounts) -> Vec<(String, Health)> {
    let now = accounts.at;
    let name = |flow: &Flow| format!("flow {}", flow.name);
    let flows = accounts.flows.iter();
    let mut found: Vec<_> = flows.map(|one| (name(one), flow(one))).collect();
    found.push(("spool".to_owned(), store(&accounts.spool)));
    found.push(("config".to_owned(), fair(accounts.config.words(), "; ")));
    for (name, account) in &accounts.sources {
        let name = format!("source {name}");
        let conditions = Condition::of_source(account, now);
        found.push((name.clone(), connection(&account.link, conditions, now)));
        if let fair @ Health::Fair(_) = grants(account) {
            found.push((format!("{name}: subscriptions"), fair));
        }
    }
    for (name, account) in &accounts.uplinks {
        let conditions = Condition::of_uplink(account, now);
        let health = connection(&account.link, conditions, now);
        found.push((format!("uplink {name}"), health));
    }
    found
}

fn verdict(found: &[(String, Health)], verbose: bool) -> (StatusCode, String) {
    let bad = found
        .iter()
        .any(|(_, health)| matches!(health, Health::Bad(_)));
    let mut text = String::new();
    for (name, health) in found {
        match health {
            Health::Good if verbose => text.push_str(&format!("[+] {name} ok\n")),
            Health::Fair(why) => text.push_str(&format!("[~] {name} {why}\n")),
            Health::Bad(why) => text.push_str(&format!("[-] {name} failed: {why}\n")),
            Health::Good => {}
        }
    }
    let is_degraded = found
        .iter()
        .any(|(_, health)| matches!(health, Health::Fair(_)));
    text.push_str(match (bad, is_degraded) {
        (true, _) => "not ready\n",
        (false, true) => "ready, degraded\n",
        (false, false) => "ready\n",
    });
    (
        if bad {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::OK
        },
        text,
    )
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
        over_s,
    }: &Trouble,
) -> String {
    let since = Duration::from_secs(*since_s);
    let next = match (over_s, next_try_s) {
        (Some(seconds), _) => format!("until {seconds} s ago"),
        (None, Some(seconds)) => format!("next try in {seconds} s"),
        (None, None) => "being tried now".to_owned(),
    };
    format!("degraded for {since:?}, {next}: {cause}")
}

fn flow(flow: &Flow) -> Health {
    if let Some(why) = &flow.down {
        return Health::Bad(format!("down, its messages wait: {why}"));
    }
    if let Some(why) = &flow.failure {
        return Health::Bad(why.clone());
    }
    let trouble = |plugin: &PluginInfo| match plugin.breaker {
        BreakerState::Closed => None,
        state => Some(format!(
            "the breaker of plugin `{}` is {}",
            plugin.name,
            state.name()
        )),
    };
    fair(flow.plugins.iter().filter_map(trouble).collect(), ", ")
}

fn store(account: &Account) -> Health {
    let words = || {
        let lost = store_losses(account).into_iter();
        fair(lost.chain(owed_to_nobody(account)).collect(), "; ")
    };
    store_trouble(account).map_or_else(words, Health::Bad)
}

/// What lies in queues that the config does not have: nothing sends it.
fn owed_to_nobody(account: &Account) -> impl Iterator<Item = String> {
    account.strangers.iter().map(|(queue, messages)| {
        format!("{messages} messages are owed to `{queue}`, which nothing in the config leads to: lead a flow to it, and they go out")
    })
}

/// What is wrong with the store, in words.
pub(super) fn store_trouble(account: &Account) -> Option<String> {
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
pub(super) fn store_losses(account: &Account) -> Option<String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_work_are_told_when_asked() {
        let checks = [("spool".to_owned(), Health::Good)];
        assert_eq!(verdict(&checks, false), (StatusCode::OK, "ready\n".into()));
        assert_eq!(
            verdict(&checks, true),
            (StatusCode::OK, "[+] spool ok\nready\n".into())
        );
    }

    #[test]
    fn what_works_in_part_is_ready_and_degraded() {
        let checks = [(
            "uplink cloud".to_owned(),
            Health::Fair("degraded for 5s: no route".into()),
        )];
        for verbose in [false, true] {
            let expected = "[~] uplink cloud degraded for 5s: no route\nready, degraded\n";
            assert_eq!(verdict(&checks, verbose), (StatusCode::OK, expected.into()));
        }
    }

    #[test]
    fn a_failed_part_is_named_without_being_asked() {
        let checks = [("spool".to_owned(), Health::Bad("disk full".into()))];
        assert_eq!(
            verdict(&checks, false),
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "[-] spool failed: disk full\nnot ready\n".into()
            )
        );
    }
}
