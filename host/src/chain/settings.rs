//! What a chain needs to know; already checked (`config` does that).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::chain::sandbox::capability::Grants;
use crate::message::{Destination, FlowId, Pattern, QueueId};
use crate::trust::Trust;

/// Where a component comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Artefact {
    /// A file, watched for changes.
    File(PathBuf),
    /// A file of this gateway's own: it has run here before, so that no expiry of its signature stops it.
    Kept(PathBuf),
    /// One of the plugins compiled into this binary, by name.
    Builtin(String),
}

/// What happens to a message that a plugin fails on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// It goes to the dead letters.
    #[default]
    Park,
    /// It is given up; the ledger counts it.
    Drop,
    /// It goes on as it came in.
    Pass,
    /// The lane waits before it until the plugin does its work, or another version of it does.
    Hold,
}

impl OnError {
    /// The word in the config.
    pub fn name(self) -> &'static str {
        match self {
            Self::Park => "park",
            Self::Drop => "drop",
            Self::Pass => "pass",
            Self::Hold => "hold",
        }
    }
}

/// When a plugin that keeps failing is not asked any more, and when again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerConfig {
    /// Messages at fault within `window` that open it, if they are half of all at least.
    pub after: u32,
    /// Over what time faults are counted.
    pub window: Duration,
    /// Pause before the plugin gets one message again; doubles up to a minute.
    pub retry: Duration,
    /// So many good ones in a row close it.
    pub close_after: u32,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            after: 10,
            window: Duration::from_secs(30),
            retry: Duration::from_secs(1),
            close_after: 3,
        }
    }
}

/// When a device is not listened to any more, and when again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuarantineConfig {
    /// Bad payloads in a row.
    pub after: u32,
    /// Pause before one message of it is tried again.
    pub retry: Duration,
}

impl Default for QuarantineConfig {
    fn default() -> Self {
        Self {
            after: 10,
            retry: Duration::from_secs(30),
        }
    }
}

/// What happens when a plugin cannot read, at the start, what it is to remember.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RefusedState {
    /// It starts without; what it could not read is set aside.
    #[default]
    Fresh,
    /// The gateway does not start.
    Required,
}

/// How long a new version has to do well before the old one goes, and what "well" is. Both get the same inputs, so
/// each limit compares like with like. Any fault that the old version has not on the same inputs is too much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probation {
    /// It ends after this time, or after `messages`, whichever comes first.
    pub time: Duration,
    pub messages: u64,
    /// Share of the messages accepted by the old version that the new one may reject.
    pub max_rejected: f64,
    /// How many times the old one's processor time the new one may take.
    pub latency_factor: f64,
    /// How many times the old one's memory the new one may take.
    pub memory_factor: f64,
}

impl Default for Probation {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(60),
            messages: 10_000,
            max_rejected: 0.05,
            latency_factor: 3.0,
            memory_factor: 4.0,
        }
    }
}

/// What one instance of a plugin may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub memory_bytes: usize,
    /// Processor time of one call (a batch, a tick, a page of state); by the clock it may take 20 times that.
    pub call_time: Duration,
    /// Entries of one output.
    pub output_messages: usize,
    /// Bytes of one output.
    pub output_bytes: usize,
    /// Native stack of the guest, bytes; one value for the engine.
    pub stack_bytes: usize,
    /// Elements of all tables.
    pub table_elements: usize,
    /// Linear memory beyond which an instance is replaced between two batches, bytes.
    pub recycle_bytes: usize,
    /// Bytes of state over all keys.
    pub state_bytes: usize,
    /// Log lines a second; more are counted and dropped.
    pub log_lines_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 16 << 20,
            call_time: Duration::from_millis(200),
            output_messages: 4_096,
            output_bytes: 4 << 20,
            stack_bytes: 512 << 10,
            table_elements: 20_000,
            recycle_bytes: 12 << 20,
            state_bytes: 4 << 20,
            log_lines_per_second: 20,
        }
    }
}

/// One plugin of a chain.
#[derive(Clone, Debug)]
pub struct PluginConfig {
    /// Unique in its flow; in metrics, logs and dead letters.
    pub name: Arc<str>,
    pub artefact: Artefact,
    /// Handed to `configure` as JSON.
    pub settings: serde_json::Value,
    /// What it may use.
    pub limits: Limits,
    /// What happens to what it fails on.
    pub on_error: OnError,
    /// When it is not asked any more.
    pub breaker: BreakerConfig,
    /// What it may do.
    pub grants: Grants,
    /// How soon a change of its state is on disk; `None`: its state ends with the process.
    pub checkpoint: Option<Duration>,
    /// What happens when it cannot read its state.
    pub refused_state: RefusedState,
    /// How a new version is watched.
    pub probation: Probation,
    /// Whose signatures count for a component from a file.
    pub trust: Trust,
    /// The name such a signature must have in its manifest.
    pub signed_as: Arc<str>,
    /// A signed component from a file must not be older than this: the highest version that was confirmed here.
    pub highest: Option<semver::Version>,
}

/// Topic of what leaves through `out` with the topic it came in with: text with `{topic}` and the captures' names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicTemplate(pub String);

/// The topics a flow takes, as the config has them: where the names in braces stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topics {
    pub patterns: Vec<String>,
    /// The capture that is the key, where the config names one.
    pub key: Option<String>,
}

/// The chain of one flow.
#[derive(Clone, Debug)]
pub struct Config {
    pub flow: FlowId,
    pub name: Arc<str>,
    /// Number of lanes; one set of instances each.
    pub lanes: usize,
    /// Largest batch a lane hands to a plugin.
    pub batch_messages: usize,
    /// The plugins, first to last.
    pub plugins: Vec<PluginConfig>,
    /// Port name to where its messages go; an empty list drops them on purpose (counted).
    pub ports: BTreeMap<String, Vec<Destination>>,
    /// A message that goes to several places is settled when it is with one of them.
    pub settles_with_any: bool,
    /// Topic upstream, unless a plugin set one.
    pub topic: Option<TopicTemplate>,
    pub topics: Topics,
    /// What it takes of what other flows lead to it; the first that matches says what the key is. Without any it takes
    /// everything, under the key that it has.
    pub patterns: Vec<Pattern>,
    /// Longest life of what other flows lead to it, seconds.
    pub expires: Option<u32>,
    /// When a device is not listened to any more; `None`: never.
    pub quarantine: Option<QuarantineConfig>,
}

impl Config {
    /// The queues that its ports lead to.
    pub fn queues(&self) -> impl Iterator<Item = QueueId> {
        self.ports
            .values()
            .flatten()
            .filter_map(|target| match target {
                Destination::Queue(queue) => Some(*queue),
                Destination::Flow(_) => None,
            })
    }

    /// Names of the flows that its ports lead to.
    pub fn flows(&self) -> impl Iterator<Item = &Arc<str>> {
        self.ports
            .values()
            .flatten()
            .filter_map(|target| match target {
                Destination::Flow(name) => Some(name),
                Destination::Queue(_) => None,
            })
    }
}
