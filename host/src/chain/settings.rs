//! What a chain needs to know; already checked (`config` does that).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::message::{FlowId, QueueId};

/// Where a component comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Artefact {
    /// A file, watched for changes.
    File(PathBuf),
    /// One of the plugins compiled into this binary, by name.
    Builtin(String),
}

/// What happens to a message that a plugin fails on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// It goes to the dead letters.
    #[default]
    Park,
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

/// What one instance of a plugin may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Linear memory, bytes.
    pub memory_bytes: usize,
    /// Wall time of one call (a batch, a tick, a page of state).
    pub call_time: Duration,
    /// Entries of one output.
    pub output_messages: usize,
    /// Bytes of one output.
    pub output_bytes: usize,
    /// Native stack of the guest, bytes; one value for the engine.
    pub stack_bytes: usize,
    /// Elements of all tables.
    pub table_elements: usize,
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
    /// Its component.
    pub artefact: Artefact,
    /// Handed to `configure` as JSON.
    pub settings: serde_json::Value,
    /// What it may use.
    pub limits: Limits,
    /// What happens to what it fails on.
    pub on_error: OnError,
    /// How soon a change of its state is on disk; `None`: its state ends with the process.
    pub checkpoint: Option<Duration>,
    /// What happens when it cannot read its state.
    pub refused_state: RefusedState,
}

/// Topic of what leaves through `out` with the topic it came in with: text with `{topic}` and the captures' names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicTemplate(pub String);

/// The chain of one flow.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which flow.
    pub flow: FlowId,
    /// Its name.
    pub name: Arc<str>,
    /// Number of lanes; one thread and one set of instances each.
    pub lanes: usize,
    /// Largest batch a lane hands to a plugin.
    pub batch_messages: usize,
    /// The plugins, first to last.
    pub plugins: Vec<PluginConfig>,
    /// Port name to the queues its messages are owed in; an empty list drops them on purpose (counted).
    pub ports: BTreeMap<String, Vec<QueueId>>,
    /// A message that goes to several queues is settled when it is safe with one of them.
    pub settles_with_any: bool,
    /// Topic upstream, unless a plugin set one.
    pub topic: Option<TopicTemplate>,
}
