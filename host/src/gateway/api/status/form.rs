//! The whole account at a glance: what `tidegate status` shows. Built by the running gateway from its stages'
//! numbers, or by the command line from the files of a stopped one; the JSON form is a promise to scripts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::chain;
use crate::config::Config;
use crate::gateway::api::plugins::Candidate;
use crate::gateway::standing::Standing;
use crate::link::{self, LinkAccount, State};
use crate::spool::{Account, QueueAccount};
use crate::{source, uplink};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Whether it comes from a running gateway; else from its files.
    pub running: bool,
    /// Name of the gateway.
    pub name: String,
    pub version: String,
    /// Where its data is.
    pub data_dir: PathBuf,
    /// Number of this start, or of the last one.
    pub boot: u32,
    /// What only a running gateway has.
    pub process: Option<Process>,
    /// What has become of the config.
    #[serde(default)]
    pub config: Standing,
    pub sources: Vec<Source>,
    pub flows: Vec<Flow>,
    pub queues: Vec<Queue>,
    pub uplinks: Vec<Uplink>,
    pub dead_letters: DeadLetters,
    /// Messages given up since the store was made, by reason, as the ledger has them.
    pub given_up: BTreeMap<String, u64>,
    pub store: Store,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Process {
    pub pid: u32,
    /// Seconds since its start.
    pub uptime_s: u64,
    /// Bytes it holds in RAM.
    pub resident_bytes: u64,
    pub memory_limit_bytes: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Source {
    pub name: String,
    /// `online`, `dialling`, `waiting`, `authenticating`, `refused`; empty when stopped.
    pub state: String,
    /// Whether it has its connection.
    pub connected: bool,
    /// Why not, or why not until a moment ago.
    #[serde(default)]
    pub trouble: Option<Trouble>,
    /// What else is not as it should be.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// Messages taken and not yet acknowledged.
    pub unsettled: u64,
    /// Messages that came in since the start.
    pub received: u64,
    /// QoS 0 messages dropped for want of room.
    pub dropped: u64,
    /// Topic filters the broker refuses.
    pub refused_filters: u64,
    /// Topic filters it serves with a lower level than was asked for.
    pub lowered_filters: u64,
    /// How long it keeps our session, seconds; 0: for ever.
    pub session_s: u64,
}

/// Why a connection is not in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// In words, and what to do.
    pub cause: String,
    /// Seconds since it was last in use for long, or since the first attempt failed.
    pub since_s: u64,
    /// Seconds until it is tried again; missing while it is being tried, or stands again.
    pub next_try_s: Option<u64>,
}

impl Trouble {
    /// What is known of it, as seen `now`.
    pub(in crate::gateway) fn of(trouble: link::Trouble, now: Instant) -> Self {
        Self {
            cause: trouble.cause,
            since_s: seconds_since(trouble.since, now),
            next_try_s: trouble.next_try.map(|at| seconds_until(at, now)),
        }
    }
}

/// Something that does not go as it should and is no lost connection, while it lasts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Of what sort: `client-id-taken-over`, of an uplink also `refuses-everything`, `acknowledges-nothing`,
    /// `ends-connections`, `dead-letters-full`, `refuses-many`, `limits-rate`, `limit-lowered`, `topic-barred`, and for messages that wait
    /// apart `refused`, `refused-for-now`, `suspect`, `unanswered`, `behind`.
    pub kind: String,
    /// In words, upstream's among them, on one line.
    pub words: String,
    /// Messages that wait for it, as far as they are known.
    pub messages: u64,
    /// Seconds since it began.
    pub since_s: u64,
    /// Seconds until something is tried next, where that is known.
    pub next_try_s: Option<u64>,
}

impl Condition {
    /// Of the connections of a source or uplink.
    pub(in crate::gateway) fn of_link(link: &LinkAccount, now: Instant) -> Vec<Self> {
        let of = |takeover: &link::Takeover| Self {
            kind: "client-id-taken-over".to_owned(),
            words: takeover.words(),
            messages: 0,
            since_s: seconds_since(takeover.since, now),
            next_try_s: None,
        };
        link.takeover.iter().map(of).collect()
    }

    pub(in crate::gateway) fn of_uplink(account: &uplink::Account, now: Instant) -> Vec<Self> {
        let of = |by: &str, condition: &uplink::Condition| Self {
            kind: condition.kind.name().to_owned(),
            words: format!("{by}{}", condition.words()),
            messages: condition.messages,
            since_s: seconds_since(condition.since, now),
            next_try_s: condition.next_try.map(|at| seconds_until(at, now)),
        };
        let own = account.conditions.iter().map(|one| of("", one));
        let stand_in = account.of_fallback.iter().map(|one| of("fallback: ", one));
        own.chain(stand_in)
            .chain(Self::of_link(&account.link, now))
            .collect()
    }
}

fn seconds_since(at: Instant, now: Instant) -> u64 {
    now.saturating_duration_since(at).as_secs()
}

fn seconds_until(at: Instant, now: Instant) -> u64 {
    let left = at.saturating_duration_since(now);
    u64::try_from(left.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX)
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Flow {
    pub name: String,
    /// Messages that went through its plugins since the start.
    pub messages_in: u64,
    /// Of these, those that led to something owed upstream.
    pub messages_out: u64,
    /// Of these, those that were filtered on purpose.
    pub filtered: u64,
    /// Of these, those that went into a plugin's state.
    pub absorbed: u64,
    /// Of these, those that became dead letters.
    pub rejected: u64,
    /// Of these, those that were given up because of a plugin with `on_error = "drop"`.
    #[serde(default)]
    pub dropped: u64,
    /// Devices whose messages are not tried, since their last payloads were bad.
    #[serde(default)]
    pub quarantined: u64,
    /// Messages that wait for a lane.
    pub waiting: u64,
    /// Its plugins, first to last.
    pub plugins: Vec<Plugin>,
    /// It could not be started: why. Its messages wait.
    #[serde(default)]
    pub down: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Plugin {
    pub name: String,
    /// SHA-256 of its component; empty when stopped.
    pub digest: String,
    /// A swap of it is under way.
    pub swapping: bool,
    /// `closed`, `open` or `half-open`, the worst of its lanes; empty when stopped.
    #[serde(default)]
    pub breaker: String,
    /// The version that is tried beside it.
    #[serde(default)]
    pub candidate: Option<Candidate>,
    /// SHA-256 of the component that a roll-back brings back.
    #[serde(default)]
    pub fallback: Option<String>,
    /// What runs is not what the config says: see `tidegate plugins`.
    #[serde(default)]
    pub differs_from_config: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Queue {
    pub name: String,
    /// Messages in RAM that are owed.
    pub in_ram: u64,
    /// Messages on disk that are owed.
    pub on_disk: u64,
    pub ram_bytes: u64,
    /// Bytes of its chunks on disk.
    pub disk_bytes: u64,
    /// Age of the oldest message owed, counted while running, seconds.
    pub oldest_age_s: Option<u64>,
    /// Messages appended since the start.
    pub appended: u64,
    /// Messages accepted since the start.
    pub accepted: u64,
    /// Messages given up since the start.
    pub dropped: u64,
    /// Messages lost to damage on disk.
    pub damaged: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Uplink {
    pub name: String,
    /// As of a source.
    pub state: String,
    /// Whether it has its connection.
    pub connected: bool,
    /// Why not, or why not until a moment ago; of several connections, the one without longest.
    #[serde(default)]
    pub trouble: Option<Trouble>,
    /// What upstream does not take, and what else is not as it should be; what weighs most first.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// Its fallback has its queues.
    #[serde(default)]
    pub on_fallback: bool,
    /// Failures to connect or lost connections since the start.
    pub failures: u64,
    /// Messages sent and not yet accepted.
    pub inflight: u64,
    /// Messages upstream has accepted since the start.
    pub forwarded: u64,
    /// Messages upstream has refused for good since the start.
    pub refused: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DeadLetters {
    pub kept: u64,
    /// Their bytes in the store.
    pub bytes: u64,
    /// In the store, by reason.
    pub by_reason: BTreeMap<String, u64>,
    /// Waiting for their commit.
    pub waiting: u64,
    /// Made room for newer ones since the start.
    pub evicted: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Store {
    /// Whether it can be written.
    pub well: bool,
    pub why: Option<String>,
    /// Commits since the start.
    pub commits: u64,
    /// Bytes of chunks and dead letters given to it since the start.
    pub written_bytes: u64,
    /// Of these, the bytes of the last 24 hours, or since the start.
    pub day_bytes: u64,
    /// Seconds since it was last given something; none since the start when it is missing.
    pub last_write_age_s: Option<u64>,
    /// Bytes free on its file system.
    pub free_bytes: u64,
    /// Seconds of an outage that the free space has room for at the day's rate; missing while nothing comes in.
    pub lasts_s: Option<u64>,
    /// Bytes of messages and dead letters in RAM.
    pub ram_bytes: u64,
    /// So many of them at which lanes, and then sources, wait.
    pub most_ram_bytes: u64,
    /// Where a damaged store was moved at this start.
    pub damaged_store: Option<PathBuf>,
    /// What damage has cost of dead letters, ledger and plugins' state since the start, in words.
    #[serde(default)]
    pub lost: Option<String>,
    /// Queues with something owed that the config does not have, and how many messages.
    pub strangers: BTreeMap<String, u64>,
}

impl Status {
    /// Of a gateway that does not run: what its files tell.
    pub fn of_stopped(config: &Config, account: &Account) -> Self {
        let plugin = |name: &Arc<str>| Plugin {
            name: name.to_string(),
            ..Plugin::default()
        };
        let flow = |flow: &crate::chain::Config| Flow {
            plugins: flow.plugins.iter().map(|spec| plugin(&spec.name)).collect(),
            ..Flow::of(&flow.name, chain::Account::default())
        };
        let now = Instant::now();
        let source = |name| Source::of(name, source::Account::default(), now);
        let uplink = |name| Uplink::of(name, uplink::Account::default(), now);
        Self {
            sources: config.sources.iter().map(|one| source(&one.name)).collect(),
            flows: config.flows.iter().map(flow).collect(),
            uplinks: config.uplinks.iter().map(|one| uplink(&one.name)).collect(),
            ..Self::of_spool(config, account)
        }
    }

    /// What the spool tells; the rest is empty.
    pub(in crate::gateway) fn of_spool(config: &Config, account: &Account) -> Self {
        let by_reason = account
            .letters
            .iter()
            .map(|letters| (letters.reason.name().to_owned(), letters.kept));
        let given_up = account
            .given_up
            .iter()
            .map(|loss| (loss.reason.name().to_owned(), loss.messages));
        Self {
            running: false,
            name: config.gateway.name.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            data_dir: config.gateway.data_dir.clone(),
            boot: account.boot,
            process: None,
            config: Standing::default(),
            sources: Vec::new(),
            flows: Vec::new(),
            queues: account.queues.iter().map(Queue::of).collect(),
            uplinks: Vec::new(),
            dead_letters: DeadLetters {
                kept: account.dead_letters(),
                bytes: account.letter_bytes,
                by_reason: by_reason.collect(),
                waiting: account.letters_waiting,
                evicted: account.letters_evicted,
            },
            given_up: given_up.filter(|(_, messages)| *messages > 0).collect(),
            store: Store {
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
                lost: crate::gateway::api::health::store_losses(account),
                strangers: account.strangers.iter().cloned().collect(),
            },
        }
    }
}

impl Queue {
    /// The numbers of one queue.
    pub fn of(account: &QueueAccount) -> Self {
        Self {
            name: format!("{}:{}", account.uplink, account.class),
            in_ram: account.in_ram,
            on_disk: account.on_disk,
            ram_bytes: account.ram_bytes,
            disk_bytes: account.disk_bytes,
            oldest_age_s: account.oldest_age.map(|age| age.as_secs()),
            appended: account.appended,
            accepted: account.accepted,
            dropped: account.dropped,
            damaged: account.damaged,
        }
    }
}

impl Flow {
    pub(in crate::gateway) fn of(name: &str, account: chain::Account) -> Self {
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
            plugins: Vec::new(),
            down: None,
        }
    }
}

/// Where a connection stands; empty when stopped.
fn state_of(link: &LinkAccount) -> String {
    link.state.map(State::name).unwrap_or_default().to_owned()
}

impl Source {
    pub(in crate::gateway) fn of(name: &str, account: source::Account, now: Instant) -> Self {
        Self {
            name: name.to_owned(),
            state: state_of(&account.link),
            connected: account.link.is_up,
            conditions: Condition::of_link(&account.link, now),
            trouble: account
                .link
                .trouble
                .map(|trouble| Trouble::of(trouble, now)),
            unsettled: account.unsettled,
            received: account.received,
            dropped: account.dropped,
            refused_filters: account.refused_filters,
            lowered_filters: account.lowered_filters,
            session_s: account.session_s,
        }
    }
}

impl Uplink {
    pub(in crate::gateway) fn of(name: &str, account: uplink::Account, now: Instant) -> Self {
        Self {
            name: name.to_owned(),
            state: state_of(&account.link),
            connected: account.link.is_up,
            conditions: Condition::of_uplink(&account, now),
            failures: account.link.failures,
            trouble: account
                .link
                .trouble
                .map(|trouble| Trouble::of(trouble, now)),
            on_fallback: account.is_on_fallback,
            inflight: account.inflight,
            forwarded: account.forwarded,
            refused: account.refused,
        }
    }
}
