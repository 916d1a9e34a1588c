//! The whole account at a glance: what `tidegate status` shows. Built by the running gateway from the accounts of its stages,
//! or by the command line from the files of a stopped one.

mod form;
mod open;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;

pub use form::{
    DeadLetters, FlowStatus, PluginStatus, ProcessStatus, QueueStatus, SourceStatus, Status,
    StoreStatus, UplinkStatus,
};

use super::accounts::{self, Accounts};
use super::health::{store_losses, store_trouble};
use super::plugins::{CandidateStatus, shown_digest};
use super::trouble::{ConditionStatus, TroubleStatus};
use crate::admin::{ApiResult, json};
use crate::chain::{self, PluginInfo};
use crate::config::{Config, SourceSpec};
use crate::gateway::running::RunningGateway;
use crate::gateway::standing::ConfigStanding;
use crate::heap::resident_bytes;
use crate::link::{self, LinkAccount};
use crate::message::QueueId;
use crate::spool::{Account, QueueAccount};
use crate::telemetry::crash;
use crate::versions::Versions;
use crate::{source, uplink};

/// Memory work, and of hundreds of flows enough to keep the network waiting.
pub(super) async fn show(State(running): State<Arc<RunningGateway>>) -> ApiResult {
    let status = tokio::task::spawn_blocking(move || json(&Status::of_running(&running)));
    Ok(status.await?)
}

impl Status {
    /// Of a gateway that does not run: what its files tell.
    pub fn of_stopped(config: &Config, account: &Account) -> Self {
        let plugin = |name: &Arc<str>| PluginStatus {
            name: name.to_string(),
            ..PluginStatus::default()
        };
        let flow = |flow: &chain::Config| FlowStatus {
            plugins: flow.plugins.iter().map(|spec| plugin(&spec.name)).collect(),
            ..FlowStatus::of(&flow.name, chain::Account::default())
        };
        let now = Instant::now();
        let source = |name| SourceStatus::of(name, source::Account::default(), now);
        let uplink = |name| UplinkStatus::of(name, uplink::Account::default(), now);
        Self {
            sources: config.sources.iter().map(|one| source(&one.name)).collect(),
            flows: config.flows.iter().map(flow).collect(),
            uplinks: config.uplinks.iter().map(|one| uplink(&one.name)).collect(),
            crashes: crash::read(&config.gateway.data_dir),
            ..Self::of_spool(config, account)
        }
    }

    pub(super) fn of_running(running: &RunningGateway) -> Self {
        let accounts = Accounts::of(running);
        let config = &running.config;
        let now = accounts.at;
        let spool = Self::of_spool(config, &accounts.spool);
        let process = ProcessStatus {
            pid: std::process::id(),
            uptime_s: running.started.elapsed().as_secs(),
            resident_bytes: resident_bytes(),
            memory_limit_bytes: config.gateway.memory_bytes,
        };
        let current = running.current.now();
        let flow = |flow| FlowStatus::running(flow, &running.versions, &current);
        let sources = accounts.sources.into_iter();
        let uplinks = accounts.uplinks.into_iter();
        Self {
            running: true,
            config: accounts.config,
            process: Some(process),
            sources: sources
                .map(|(name, account)| SourceStatus::of(&name, account, now))
                .collect(),
            flows: accounts.flows.into_iter().map(flow).collect(),
            uplinks: uplinks
                .map(|(name, account)| UplinkStatus::of(&name, account, now))
                .collect(),
            crashes: crash::all().0,
            traces: running.tracer.account(),
            store: StoreStatus {
                why: store_trouble(&accounts.spool),
                ..spool.store
            },
            ..spool
        }
    }

    /// What the spool tells; the rest is empty.
    fn of_spool(config: &Config, account: &Account) -> Self {
        let given_up = account.given_up.iter().filter(|loss| loss.messages > 0);
        Self {
            running: false,
            name: config.gateway.name.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            data_dir: config.gateway.data_dir.clone(),
            boot: account.boot,
            process: None,
            config: ConfigStanding::default(),
            sources: Vec::new(),
            flows: Vec::new(),
            queues: account.queues.iter().map(QueueStatus::of).collect(),
            uplinks: Vec::new(),
            dead_letters: DeadLetters::of(account),
            given_up: given_up
                .map(|loss| (loss.reason.name().to_owned(), loss.messages))
                .collect(),
            store: StoreStatus::of(account),
            crashes: Vec::new(),
            traces: None,
        }
    }
}

impl DeadLetters {
    fn of(account: &Account) -> Self {
        let by_reason = account.letters.iter();
        Self {
            kept: account.dead_letters(),
            bytes: account.letter_bytes,
            by_reason: by_reason
                .map(|letters| (letters.reason.name().to_owned(), letters.kept))
                .collect(),
            waiting: account.letters_waiting,
            evicted: account.letters_evicted,
        }
    }
}

impl StoreStatus {
    /// Without its trouble, which a stopped one does not have.
    fn of(account: &Account) -> Self {
        Self {
            well: account.is_well(),
            why: None,
            commits: account.commits,
            written_bytes: account.written_bytes,
            day_bytes: account.wear.day_bytes,
            last_write_age_s: account.wear.last_write_age.map(|age| age.as_secs()),
            free_bytes: account.free_bytes,
            lasts_s: account.wear.lasts.map(|lasts| lasts.as_secs()),
            ram_bytes: account.ram_bytes,
            most_ram_bytes: account.most_ram_bytes,
            damaged_store: account.damaged_store.clone(),
            lost: store_losses(account),
            strangers: account.strangers.iter().cloned().collect(),
        }
    }
}

impl QueueStatus {
    fn of(account: &QueueAccount) -> Self {
        Self {
            name: format!("{}:{}", account.uplink, account.class),
            in_ram: account.in_ram,
            on_disk: account.on_disk,
            ram_bytes: account.ram_bytes,
            disk_bytes: account.disk_bytes,
            limit_bytes: account.limit_bytes,
            full_in_s: account.full_in.map(|time| time.as_secs()),
            oldest_age_s: account.oldest_age.map(|age| age.as_secs()),
            appended: account.appended,
            accepted: account.accepted,
            dropped: account.dropped,
            damaged: account.damaged,
            full: account.is_full,
        }
    }
}

impl FlowStatus {
    fn running(flow: accounts::FlowAccount, versions: &Versions, config: &Config) -> Self {
        let plugin = |info: &PluginInfo| PluginStatus::running(&flow.name, info, versions);
        Self {
            plugins: flow.plugins.iter().map(plugin).collect(),
            down: flow.down,
            from: sources_of(config, &flow.name),
            to: targets_of(config, &flow.name),
            ..Self::of(&flow.name, flow.account)
        }
    }

    fn of(name: &str, account: chain::Account) -> Self {
        Self {
            name: name.to_owned(),
            messages_in: account.settled(),
            messages_out: account.forwarded,
            filtered: account.filtered,
            absorbed: account.absorbed,
            rejected: account.parked,
            dropped: account.dropped,
            quarantined: account.quarantined,
            waiting: account.waiting,
            bytes_in: account.bytes_in,
            bytes_out: account.bytes_out,
            from: Vec::new(),
            to: Vec::new(),
            plugins: Vec::new(),
            down: None,
        }
    }
}

/// Names of the sources that a flow takes from.
fn sources_of(config: &Config, flow: &str) -> Vec<String> {
    let leads = |source: &&SourceSpec| source.routes.iter().any(|route| *route.name == *flow);
    let sources = config.sources.iter().filter(leads);
    sources.map(|source| source.name.to_string()).collect()
}

/// Where the ports of a flow lead: queues, as `uplink:class`, and other flows by their names.
fn targets_of(config: &Config, flow: &str) -> Vec<String> {
    let Some(flow) = config.flows.iter().find(|one| *one.name == *flow) else {
        return Vec::new();
    };
    let queue = |queue: QueueId| {
        let queue = config.spool.queues.get(usize::from(queue.0))?;
        Some(format!("{}:{}", queue.uplink, queue.class))
    };
    let queues = flow.queues().filter_map(queue);
    let targets = queues.chain(flow.flows().map(ToString::to_string));
    targets.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Where a connection stands; empty when stopped.
fn state_of(link: &LinkAccount) -> String {
    link.state
        .map(link::LinkState::name)
        .unwrap_or_default()
        .to_owned()
}

impl SourceStatus {
    fn of(name: &str, account: source::Account, now: Instant) -> Self {
        Self {
            name: name.to_owned(),
            state: state_of(&account.link),
            connected: account.link.is_up,
            conditions: ConditionStatus::of_source(&account, now),
            trouble: account
                .link
                .trouble
                .map(|trouble| TroubleStatus::of(trouble, now)),
            unsettled: account.unsettled,
            received: account.received,
            dropped: account.dropped,
            refused_filters: account.refused_filters,
            lowered_filters: account.lowered_filters,
            session_s: account.session_s,
        }
    }
}

impl UplinkStatus {
    fn of(name: &str, account: uplink::Account, now: Instant) -> Self {
        Self {
            name: name.to_owned(),
            state: state_of(&account.link),
            connected: account.link.is_up,
            conditions: ConditionStatus::of_uplink(&account, now),
            failures: account.link.failures,
            trouble: account
                .link
                .trouble
                .map(|trouble| TroubleStatus::of(trouble, now)),
            on_fallback: account.is_on_fallback,
            inflight: account.inflight,
            forwarded: account.forwarded,
            refused: account.refused,
        }
    }
}

impl PluginStatus {
    fn running(flow: &str, info: &PluginInfo, versions: &Versions) -> Self {
        let entry = versions.entry(flow, &info.name);
        let before = entry.as_ref().and_then(|entry| entry.good_before());
        Self {
            name: info.name.to_string(),
            digest: shown_digest(info, entry.as_ref()),
            swapping: info.change.is_some(),
            breaker: info.breaker.name().to_owned(),
            cpu_s: info.cost.cpu.as_secs_f64(),
            memory_bytes: info.cost.memory_bytes,
            limit: info.cost.limit.to_owned(),
            limit_used: info.cost.used,
            candidate: CandidateStatus::of(info),
            fallback: before.map(|version| version.digest.clone()),
            differs_from_config: entry
                .as_ref()
                .is_some_and(|entry| entry.confirmed != entry.based_on),
        }
    }
}
