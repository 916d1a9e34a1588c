//! The spool's numbers, for metrics, the demo and tests.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::message::{LossReason, Reason};

use crate::spool::space::condition::StoreCondition;
use crate::spool::space::wear::WearAccount;

#[derive(Clone, Debug)]
pub struct QueueAccount {
    /// Name of the uplink.
    pub uplink: Arc<str>,
    /// Name of the class.
    pub class: Arc<str>,
    /// Messages in RAM that are not accepted.
    pub in_ram: u64,
    /// Messages on disk that are not accepted. Exact in the run that wrote them; after a kill it can be off by what was
    /// accepted out of order.
    pub on_disk: u64,
    /// Receipts waiting for acceptance or a commit.
    pub unsettled: u64,
    pub ram_bytes: u64,
    /// Bytes of chunks on disk.
    pub disk_bytes: u64,
    /// Bytes in RAM at which the queue is written.
    pub capacity_bytes: u64,
    /// Bytes that its class may hold on disk, where there is a bound.
    pub limit_bytes: Option<u64>,
    /// How long an outage its class has room for, at the rate since the start; `None` without a bound, or while nothing comes.
    pub full_in: Option<Duration>,
    /// Age of the oldest message owed, counted while running.
    pub oldest_age: Option<Duration>,
    /// Messages appended since the start.
    pub appended: u64,
    /// Messages accepted since the start, those of earlier runs included.
    pub accepted: u64,
    /// Messages without a receipt dropped from RAM because the store could not write.
    pub dropped: u64,
    /// Messages lost to damage on disk.
    pub damaged: u64,
    /// Its class has no more room for it.
    pub is_full: bool,
}

impl QueueAccount {
    pub fn owed(&self) -> u64 {
        self.in_ram + self.on_disk
    }
}

/// Dead letters of one reason.
#[derive(Clone, Copy, Debug)]
pub struct LetterAccount {
    pub reason: Reason,
    /// Letters in the store.
    pub kept: u64,
}

/// Messages given up for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LossAccount {
    pub reason: LossReason,
    /// How many since the store was made.
    pub messages: u64,
}

/// A queue whose next messages cannot be read for now.
#[derive(Clone, Debug)]
pub struct UnreadableQueue {
    pub queue: String,
    /// What the disk says.
    pub why: String,
    pub since: Duration,
}

/// Whether the writer's loop goes on.
#[derive(Clone, Copy, Debug)]
pub struct Turning {
    /// Since it last looked at what is due; it does so every five seconds at least.
    pub idle: Duration,
    /// It may wait for the disk: that is the store's trouble, and told as such.
    pub is_at_disk: bool,
}

#[derive(Clone, Debug)]
pub struct Account {
    /// Number of this start.
    pub boot: u32,
    /// All queues, by `QueueId`.
    pub queues: Vec<QueueAccount>,
    /// Dead letters kept, one entry for each reason.
    pub letters: Vec<LetterAccount>,
    /// What the card bears.
    pub wear: WearAccount,
    /// Bytes of the letters in the store.
    pub letter_bytes: u64,
    /// Dead letters that wait for their commit.
    pub letters_waiting: u64,
    /// Dead letters that made room for newer ones since the start.
    pub letters_evicted: u64,
    /// Messages given up since the store was made, one entry for each reason.
    pub given_up: Vec<LossAccount>,
    /// Commits since the start.
    pub commits: u64,
    /// Bytes of chunks and letters given to the store since the start.
    pub written_bytes: u64,
    /// How the store is: whether it can be written, and if not, why.
    pub condition: StoreCondition,
    /// Bytes free on the data folder's file system when last looked at, the reserve file included.
    pub free_bytes: u64,
    /// Below so many free bytes nothing is spilled.
    pub reserve_bytes: u64,
    /// Bytes of messages and dead letters in RAM, of all queues.
    pub ram_bytes: u64,
    /// So many of them at which lanes, and then sources, wait.
    pub most_ram_bytes: u64,
    /// Where a damaged store was moved, if that happened since the start.
    pub damaged_store: Option<PathBuf>,
    /// Queues that stand still since what they owe cannot be read for now.
    pub unreadable: Vec<UnreadableQueue>,
    /// Dead letters, messages in the ledger and entries of plugins' state that damage has cost since the start.
    pub lost_records: (u64, u64, u64),
    /// Commits of them that damage has cost and of which nobody knows what they were about.
    pub lost_commits: u64,
    pub writer: Turning,
    /// Queues of the store with something owed that the config does not have: `uplink:class` and messages.
    pub strangers: Vec<(String, u64)>,
}

impl Account {
    /// Whether the store can be written.
    pub fn is_well(&self) -> bool {
        self.condition == StoreCondition::Well
    }

    /// Messages owed in all queues.
    pub fn owed(&self) -> u64 {
        self.queues.iter().map(QueueAccount::owed).sum()
    }

    /// Dead letters kept, of all reasons.
    pub fn dead_letters(&self) -> u64 {
        self.letters.iter().map(|letters| letters.kept).sum()
    }
}
