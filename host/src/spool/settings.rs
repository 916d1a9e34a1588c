//! What the spool needs to know; already checked (`config` does that).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// One queue: what is owed to one uplink in one class. Its index in [`Config::queues`] is its `QueueId`.
#[derive(Clone, Debug)]
pub struct QueueConfig {
    /// Name of the uplink.
    pub uplink: Arc<str>,
    /// Name of the class.
    pub class: Arc<str>,
}

/// The spool.
#[derive(Clone, Debug)]
pub struct Config {
    /// Folder of the store; the file system it lies on is synced with every commit.
    pub path: PathBuf,
    /// All queues.
    pub queues: Vec<QueueConfig>,
    /// Names of the flows, by `FlowId`: records keep the name, so that a changed config reads old records right.
    pub flows: Vec<Arc<str>>,
    /// How long the oldest message may wait in RAM for its acceptance before the head is written.
    pub spill_after: Duration,
    /// The same while the link is down.
    pub commit_every: Duration,
    /// Bytes of one queue's RAM head at which it is written.
    pub head_bytes: usize,
    /// Raw bytes packed into one chunk before compression.
    pub chunk_bytes: usize,
    /// sled's page cache.
    pub cache_bytes: u64,
    /// Free bytes of the data folder's file system below which nothing is spilled; on a small one an eighth of it.
    pub reserve_bytes: u64,
    /// Dead letters kept; the oldest make room (counted).
    pub dead_letters: usize,
    /// Their bytes in the store; the same.
    pub dead_letter_bytes: u64,
}
