//! The spool's numbers, for metrics, the demo and tests.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::card::{self, CardAccount, Filling};
use super::letters::{self, LetterRecord, REASONS};
use super::room::Condition;
use super::{Shared, locked};
use crate::message::{LossReason, Reason};

/// One queue.
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
    /// Bytes in RAM.
    pub ram_bytes: u64,
    /// Bytes of chunks on disk.
    pub disk_bytes: u64,
    /// Bytes in RAM at which the queue is written.
    pub capacity_bytes: u64,
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
}

impl QueueAccount {
    /// Messages owed.
    pub fn owed(&self) -> u64 {
        self.in_ram + self.on_disk
    }
}

/// Dead letters of one reason.
#[derive(Clone, Copy, Debug)]
pub struct LetterAccount {
    /// The reason.
    pub reason: Reason,
    /// Letters in the store.
    pub kept: u64,
}

/// Messages given up for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LossAccount {
    /// The reason.
    pub reason: LossReason,
    /// How many since the store was made.
    pub messages: u64,
}

/// A queue whose next messages cannot be read for now.
#[derive(Clone, Debug)]
pub struct Unreadable {
    /// `uplink:class`.
    pub queue: String,
    /// What the disk says.
    pub why: String,
    /// For so long.
    pub since: Duration,
}

/// The whole spool.
#[derive(Clone, Debug)]
pub struct Account {
    /// Number of this start.
    pub boot: u32,
    /// All queues, by `QueueId`.
    pub queues: Vec<QueueAccount>,
    /// Dead letters kept, one entry for each reason.
    pub letters: Vec<LetterAccount>,
    /// What the card bears.
    pub card: CardAccount,
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
    pub condition: Condition,
    /// Bytes free on the data folder's file system when last looked at, the ballast included.
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
    pub unreadable: Vec<Unreadable>,
    /// Dead letters, messages in the ledger and entries of plugins' state that damage has cost since the start.
    pub lost_records: (u64, u64, u64),
    /// Queues of the store with something owed that the config does not have: `uplink:class` and messages.
    pub strangers: Vec<(String, u64)>,
}

impl Account {
    /// Whether the store can be written.
    pub fn is_well(&self) -> bool {
        self.condition == Condition::Well
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

impl Shared {
    /// The numbers; memory work only.
    pub(super) fn account(&self) -> Account {
        let now_us = self.clock.now();
        let queues = self
            .config
            .queues
            .iter()
            .zip(&self.slots)
            .map(|(config, slot)| {
                let tally = locked(&slot.queue).tally();
                QueueAccount {
                    uplink: Arc::clone(&config.uplink),
                    class: Arc::clone(&config.class),
                    in_ram: tally.in_ram,
                    on_disk: tally.on_disk,
                    unsettled: tally.unsettled,
                    ram_bytes: tally.ram_bytes,
                    disk_bytes: tally.disk_bytes,
                    capacity_bytes: self.config.head_bytes as u64,
                    oldest_age: tally
                        .oldest_us
                        .map(|oldest| Duration::from_micros(now_us.saturating_sub(oldest))),
                    appended: tally.appended,
                    accepted: tally.accepted,
                    dropped: tally.dropped,
                    damaged: tally.damaged,
                }
            });
        let fillings: Vec<Filling> = self
            .slots
            .iter()
            .filter_map(|slot| locked(&slot.queue).filling(slot.policy))
            .collect();
        let kept = *locked(&self.letters);
        let standing = *locked(&self.standing);
        let (unreadable, lost) = (self.unreadable(), locked(&self.lost).clone());
        let room = standing.free.saturating_sub(standing.reserve);
        Account {
            boot: self.boot,
            queues: queues.collect(),
            letters: REASONS
                .into_iter()
                .zip(kept.counts)
                .map(|(reason, kept)| LetterAccount { reason, kept })
                .collect(),
            letter_bytes: kept.bytes,
            card: locked(&self.card).account(
                now_us,
                self.totals(),
                (room, &fillings),
                card::process_bytes(),
            ),
            letters_waiting: locked(&self.pile).len() as u64,
            letters_evicted: self.evicted.load(Ordering::Relaxed),
            given_up: self.given_up(),
            commits: self.metrics.commits.get(),
            written_bytes: self.metrics.written.get(),
            condition: self.condition(now_us).max(if unreadable.is_empty() {
                Condition::Well
            } else {
                Condition::Failing
            }),
            unreadable,
            lost_records: (lost.kept.total(), lost.given_up.values().sum(), lost.states),
            free_bytes: standing.free,
            reserve_bytes: standing.reserve,
            ram_bytes: self.ram.held() as u64,
            most_ram_bytes: self.ram.most() as u64,
            damaged_store: locked(&self.set_aside).clone(),
            strangers: locked(&self.strangers).clone(),
        }
    }

    fn given_up(&self) -> Vec<LossAccount> {
        let (books, pending) = (locked(&self.books), locked(&self.pending));
        let total = |reason| LossAccount {
            reason,
            messages: books.total(reason) + pending.total(reason),
        };
        LossReason::ALL.into_iter().map(total).collect()
    }

    /// The oldest dead letters; blocks on the disk.
    pub(super) fn dead_letters(&self, limit: usize) -> Vec<LetterRecord> {
        let found = self.store(Duration::ZERO).map_or_else(
            || Ok(Vec::new()),
            |store| store.letters(None, limit, usize::MAX),
        );
        let found = found.unwrap_or_else(|error| {
            self.report_trouble(&error);
            Vec::new()
        });
        let readable = found.into_iter().filter_map(|(id, value)| match letters::decode(id, &value) {
            Ok(record) => Some(record),
            Err(error) => {
                tracing::error!(boot = id.boot, number = id.number, %error, "a dead letter cannot be read");
                None
            }
        });
        readable.collect()
    }
}
