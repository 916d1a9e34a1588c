//! What the spool needs to know; already checked (`config` does that).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::spool::disk::sealing::sealer::{KeyId, Sealer};
use crate::spool::drop_policy::Policy;
use crate::spool::error::Error;

/// One queue: what is owed to one uplink in one class. Its index among all is its `QueueId`.
#[derive(Clone, Debug)]
pub struct QueueConfig {
    /// Name of the uplink.
    pub uplink: Arc<str>,
    /// Name of the class.
    pub class: Arc<str>,
    /// Of the class, for this queue alone.
    pub policy: Policy,
    /// What comes overtakes what is on disk.
    pub is_fresh_first: bool,
    /// Name of the link that drains it: the uplink's own, or a second one beside it.
    pub link: Arc<str>,
}

impl QueueConfig {
    /// A queue that its uplink's own link drains, first in, first out.
    pub fn new(uplink: &str, class: Arc<str>, policy: Policy) -> Self {
        let uplink: Arc<str> = uplink.into();
        Self {
            link: Arc::clone(&uplink),
            uplink,
            class,
            policy,
            is_fresh_first: false,
        }
    }

    pub fn name(&self) -> String {
        format!("{}:{}", self.uplink, self.class)
    }
}

#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the gateway, for the ids of messages.
    pub gateway: Arc<str>,
    /// Folder of the store; the file system it lies on is synced with every commit.
    pub path: PathBuf,
    /// Those it begins with; others come while it is open.
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
    pub cache_bytes: u64,
    /// Bytes that messages and dead letters may take in RAM, over all queues, before lanes wait.
    pub memory_bytes: usize,
    /// Free bytes of the data folder's file system below which nothing is spilled; on a small one an eighth of it.
    pub reserve_bytes: u64,
    /// Dead letters kept; the oldest make room (counted).
    pub dead_letters: usize,
    /// Their bytes in the store; the same.
    pub dead_letter_bytes: u64,
    /// Where upstream is told what was given up; `None`: it is not.
    pub gap_topic: Option<Arc<str>>,
    /// What it is sealed with on disk; empty: not at all.
    pub sealer: Sealer,
}

impl Config {
    /// The store needs this key.
    pub(super) fn no_key(&self, key: KeyId) -> Error {
        Error::Key {
            path: self.path.clone(),
            key,
            has_others: self.sealer.current().is_some(),
        }
    }
}
