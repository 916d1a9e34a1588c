//! What `tidegate status` shows; the JSON form is a promise to scripts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::gateway::api::plugins::CandidateStatus;
use crate::gateway::api::trouble::{ConditionStatus, TroubleStatus};
use crate::gateway::standing::ConfigStanding;
use crate::telemetry::crash::Crash;
use crate::telemetry::trace::TraceAccount;

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
    pub process: Option<ProcessStatus>,
    /// What has become of the config.
    #[serde(default)]
    pub config: ConfigStanding,
    pub sources: Vec<SourceStatus>,
    pub flows: Vec<FlowStatus>,
    pub queues: Vec<QueueStatus>,
    pub uplinks: Vec<UplinkStatus>,
    pub dead_letters: DeadLetters,
    /// Messages given up since the store was made, by reason, as the ledger has them.
    pub given_up: BTreeMap<String, u64>,
    pub store: StoreStatus,
    /// Panics of the host's own code that are kept, the oldest first.
    #[serde(default)]
    pub crashes: Vec<Crash>,
    /// What becomes of traces, where the config has a collector.
    #[serde(default)]
    pub traces: Option<TraceAccount>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProcessStatus {
    pub pid: u32,
    /// Seconds since its start.
    pub uptime_s: u64,
    /// Bytes it holds in RAM.
    pub resident_bytes: u64,
    pub memory_limit_bytes: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SourceStatus {
    pub name: String,
    /// `online`, `dialling`, `waiting`, `authenticating`, `refused`; empty when stopped.
    pub state: String,
    /// Whether it has its connection.
    pub connected: bool,
    /// Why not, or why not until a moment ago.
    #[serde(default)]
    pub trouble: Option<TroubleStatus>,
    /// What else is not as it should be.
    #[serde(default)]
    pub conditions: Vec<ConditionStatus>,
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

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FlowStatus {
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
    /// Bytes of messages that came in since the start, topics and headers included.
    #[serde(default)]
    pub bytes_in: u64,
    /// The same of those that left.
    #[serde(default)]
    pub bytes_out: u64,
    /// Names of the sources that it takes from; empty when stopped.
    #[serde(default)]
    pub from: Vec<String>,
    /// Where its ports lead: queues, as `uplink:class`, and other flows by their names; empty when stopped.
    #[serde(default)]
    pub to: Vec<String>,
    /// Its plugins, first to last.
    pub plugins: Vec<PluginStatus>,
    /// It could not be started: why. Its messages wait.
    #[serde(default)]
    pub down: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PluginStatus {
    pub name: String,
    /// SHA-256 of its component; empty when stopped.
    pub digest: String,
    /// A swap of it is under way.
    pub swapping: bool,
    /// `closed`, `open` or `half-open`, the worst of its lanes; empty when stopped.
    #[serde(default)]
    pub breaker: String,
    /// Processor time since the start, seconds, a candidate's beside it included.
    #[serde(default)]
    pub cpu_s: f64,
    /// Linear memory of all its instances.
    #[serde(default)]
    pub memory_bytes: u64,
    /// The limit that it came nearest to of late; empty where it was not called.
    #[serde(default)]
    pub limit: String,
    /// How near: 1 is the limit.
    #[serde(default)]
    pub limit_used: f64,
    /// The version that is tried beside it.
    #[serde(default)]
    pub candidate: Option<CandidateStatus>,
    /// SHA-256 of the component that a roll-back brings back.
    #[serde(default)]
    pub fallback: Option<String>,
    /// What runs is not what the config says: see `tidegate plugins`.
    #[serde(default)]
    pub differs_from_config: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QueueStatus {
    pub name: String,
    /// Messages in RAM that are owed.
    pub in_ram: u64,
    /// Messages on disk that are owed.
    pub on_disk: u64,
    pub ram_bytes: u64,
    /// Bytes of its chunks on disk.
    pub disk_bytes: u64,
    /// Bytes that its class may hold on disk; missing without a bound.
    #[serde(default)]
    pub limit_bytes: Option<u64>,
    /// Seconds of an outage that its class has room for at the rate since the start; missing without a bound, or while nothing comes.
    #[serde(default)]
    pub full_in_s: Option<u64>,
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
    /// Its class has no more room for it.
    #[serde(default)]
    pub full: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UplinkStatus {
    pub name: String,
    /// As of a source.
    pub state: String,
    /// Whether it has its connection.
    pub connected: bool,
    /// Why not, or why not until a moment ago; of several connections, the one without longest.
    #[serde(default)]
    pub trouble: Option<TroubleStatus>,
    /// What upstream does not take, and what else is not as it should be; what weighs most first.
    #[serde(default)]
    pub conditions: Vec<ConditionStatus>,
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
pub struct StoreStatus {
    /// Whether it can be written.
    pub well: bool,
    pub why: Option<String>,
    /// Commits since the start.
    pub commits: u64,
    /// Bytes of chunks and dead letters given to it since the start.
    pub written_bytes: u64,
    /// Bytes that the process has had written to storage in the last 24 hours, or since the start, by the kernel's count.
    pub day_bytes: u64,
    /// Seconds since it was last given something; none since the start when it is missing.
    pub last_write_age_s: Option<u64>,
    /// Bytes free on its file system.
    pub free_bytes: u64,
    /// Seconds of an outage that there is room for at the day's rate: in the free space, or in the class that is full first.
    /// One that is full already does not count. Missing while nothing grows.
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
