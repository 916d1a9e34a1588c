//! What all threads of the spool share: the queues and their links, the store as it is at the moment, the numbers.

mod accounting;
pub(crate) mod end;
pub(crate) mod health;
pub(crate) mod link;
mod low_marks;
pub(crate) mod noting;
pub(crate) mod open_store;
mod records;
pub(crate) mod slot;
pub(crate) mod snapshots;
pub(crate) mod wishes;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::clock::{Now, RunningClock, RunningTime};
use crate::message::{LossReason, QueueId, Seq};
use crate::spool::dead_letters::kept::KeptLetters;
use crate::spool::dead_letters::waiting::WaitingLetters;
use crate::spool::disk::audit::Lost;
use crate::spool::disk::chunk::flows::FlowNames;
use crate::spool::disk::chunk::queue_sealer::QueueSealer;
use crate::spool::disk::error::{StoreError, describe};
use crate::spool::disk::name::StoreName;
use crate::spool::disk::records::batch::Totals;
use crate::spool::disk::store::Store;
use crate::spool::growing::Growing;
use crate::spool::ledger::store::{LedgerStore, PendingLosses};
use crate::spool::ledger::{LedgerEntry, QueuePlace};
use crate::spool::lock::locked;
use crate::spool::memory::checkpoints::Checkpoints;
use crate::spool::memory::queue::QueueLimits;
use crate::spool::memory::ram::Ram;
use crate::spool::metrics::Metrics;
use crate::spool::settings::{Config, QueueConfig};
use crate::spool::shared::end::{Shutdown, ShutdownMode};
use crate::spool::shared::health::StoreHealth;
use crate::spool::shared::link::UplinkState;
use crate::spool::shared::noting::Noting;
use crate::spool::shared::open_store::OpenStore;
use crate::spool::shared::slot::Slot;
use crate::spool::shared::snapshots::SnapshotRequest;
use crate::spool::shared::wishes::QueueRequest;
use crate::spool::space::condition::StoreCondition;
use crate::spool::space::wear::{self, Wear, WearTotals};
use crate::spool::wake_up::WakeUp;

/// Heads in RAM beyond which messages without a receipt are dropped while the store cannot write and `memory` is nearly full.
const HEADS_KEPT: usize = 4;
/// How long what was given up outside a commit waits for its entry in the ledger: it then rides with another.
const LEDGER_EVERY_US: u64 = 5_000_000;

/// What opening the store has found, for whoever asks.
#[derive(Default)]
pub(super) struct Discovered {
    /// Where a damaged index was moved.
    pub(super) set_aside: Mutex<Option<PathBuf>>,
    /// Queues with something owed that the config does not have.
    pub(super) strangers: Mutex<Vec<(String, u64)>>,
    /// What damage has cost letters, ledger and state since the start.
    pub(super) lost: Mutex<Totals>,
    /// Commits of them that are lost, where nobody knows what they were about.
    pub(super) lost_commits: AtomicU64,
}

pub(super) struct Letters {
    pub(super) waiting: Mutex<WaitingLetters>,
    /// What the store holds of them.
    pub(super) kept: Mutex<KeptLetters>,
    /// Those that made room for newer ones since the start.
    pub(super) evicted: AtomicU64,
}

impl Letters {
    pub(super) fn new(boot: u32, ram: &Arc<Ram>, kept: KeptLetters) -> Self {
        Self {
            waiting: Mutex::new(WaitingLetters::new(boot, ram)),
            kept: Mutex::new(kept),
            evicted: AtomicU64::new(0),
        }
    }
}

/// What all threads share.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) boot: u32,
    /// What the store is called.
    pub(super) name: StoreName,
    pub(super) flows: FlowNames,
    /// Every queue, each at the index that its `QueueId` is.
    pub(super) slots: Growing<Slot>,
    pub(super) links: Growing<Arc<UplinkState>>,
    /// Queues that are to be added.
    pub(super) wishes: Mutex<Vec<Arc<QueueRequest>>>,
    /// A picture of the store that is to be taken.
    pub(super) snapshot: Mutex<Option<Arc<SnapshotRequest>>>,
    /// What queues and waiting letters hold in RAM.
    pub(super) ram: Arc<Ram>,
    pub(super) letters: Letters,
    pub(super) checkpoints: Mutex<Checkpoints>,
    /// The ledger as the store has it, and what waits for the next commit; taken in this order.
    pub(super) ledger_store: Mutex<LedgerStore>,
    pub(super) pending: Mutex<PendingLosses>,
    /// The name of the uplink and class of what was lost before it had one.
    pub(super) nobody: Arc<str>,
    pub(super) open_store: OpenStore,
    pub(super) found: Discovered,
    pub(super) health: StoreHealth,
    pub(super) end: Shutdown,
    pub(super) clock: RunningClock,
    pub(super) wake_up: WakeUp,
    /// How far the queues are accepted, as it is noted.
    pub(super) noting: Noting,
    pub(super) wear: Mutex<Wear>,
    pub(super) metrics: Metrics,
}

impl Shared {
    /// The store holds something for queues that are not there.
    pub(super) fn know_strangers(&self, found: Vec<(String, u64)>) {
        for (queue, messages) in &found {
            tracing::warn!(
                queue,
                messages,
                "the store owes messages to a queue that the config does not have; they are kept"
            );
        }
        *locked(&self.found.strangers) = found;
    }

    /// Letters, ledger and state have lost something.
    pub(super) fn know_lost(&self, lost: &Lost) {
        let Lost { commits, totals } = lost;
        let letters = totals.kept.total();
        let states = totals.states;
        let ledger: u64 = totals.given_up.values().sum();
        let path = self.config.path.display();
        tracing::error!(
            %path, commits, letters, ledger, states,
            "the disk has lost commits of dead letters, ledger and plugins' state: so many are missing; what is left was written anew, and the damaged files are kept in `damaged`"
        );
        self.metrics.faults.inc();
        if letters + states + ledger == 0 {
            self.found
                .lost_commits
                .fetch_add(*commits, Ordering::Relaxed);
        }
        let mut sum = locked(&self.found.lost);
        sum.states += states;
        for (sum, lost) in sum.kept.counts.iter_mut().zip(totals.kept.counts) {
            *sum += lost;
        }
        for (reason, lost) in &totals.given_up {
            *sum.given_up.entry(*reason).or_default() += lost;
        }
    }

    /// All queues as they are now.
    pub(super) fn queues(&self) -> Vec<QueueConfig> {
        self.slots.iter().map(Slot::config).collect()
    }

    /// The config, with the queues as they are now.
    pub(super) fn config_now(&self) -> Config {
        Config {
            queues: self.queues(),
            ..self.config.clone()
        }
    }

    /// What the chunks of a queue are sealed with.
    pub(super) fn sealer(&self, index: usize) -> QueueSealer<'_> {
        QueueSealer {
            sealer: &self.config.sealer,
            queue: &self.slots[index].name,
        }
    }

    /// When a queue wants to be written.
    pub(super) fn limits(&self, slot: &Slot) -> QueueLimits {
        let up = slot.link.up.load(Ordering::Acquire);
        let linger = if up {
            self.config.spill_after
        } else {
            self.config.commit_every
        };
        let linger_us = u64::try_from(linger.as_micros()).unwrap_or(u64::MAX);
        QueueLimits {
            linger_us,
            head_bytes: self.config.head_bytes,
            policy: slot.policy(),
        }
    }

    /// What was given up since the store was made.
    pub(super) fn ledger(&self) -> Vec<LedgerEntry> {
        let ledger_store = locked(&self.ledger_store);
        let pending = locked(&self.pending);
        ledger_store
            .entries()
            .chain(pending.entries())
            .cloned()
            .collect()
    }

    /// Counts what is given up.
    pub(super) fn count(&self, entry: &LedgerEntry) {
        let labels = [entry.reason.name(), &*entry.uplink, &*entry.class];
        self.metrics
            .dropped
            .with_label_values(&labels)
            .inc_by(entry.count);
    }

    /// Counts what was given up, and enters it in the ledger with a commit soon.
    pub(super) fn record_losses(&self, entries: impl IntoIterator<Item = LedgerEntry>) {
        self.record_losses_with(entries, |_| ());
    }

    /// The same, and what `add` adds goes with it.
    pub(super) fn record_losses_with(
        &self,
        entries: impl IntoIterator<Item = LedgerEntry>,
        add: impl FnOnce(&mut PendingLosses),
    ) {
        let now = self.clock.now();
        let due = {
            let mut pending = locked(&self.pending);
            for entry in entries {
                self.count(&entry);
                pending.post(entry, now);
            }
            add(&mut pending);
            self.pending_due(&pending)
        };
        if let Some(due) = due {
            self.wake_up.due(due);
        }
    }

    /// When what was given up outside a commit is to be written: sooner when a source waits for it.
    pub(super) fn pending_due(&self, pending: &PendingLosses) -> Option<RunningTime> {
        let commit_us = u64::try_from(self.config.commit_every.as_micros()).unwrap_or(u64::MAX);
        if pending.is_urgent() {
            return Some(RunningTime::START);
        }
        let wait = if pending.holds() {
            commit_us.min(LEDGER_EVERY_US)
        } else {
            LEDGER_EVERY_US
        };
        pending.since().map(|since| since.plus_us(wait))
    }

    /// An entry of which no more is known.
    pub(super) fn plain(&self, reason: LossReason, count: u64) -> LedgerEntry {
        let now = Now::read();
        let plain = LedgerEntry::plain(reason, &self.nobody, &self.nobody, count, now.wall.0);
        LedgerEntry {
            is_clock_set: now.is_set(),
            ..plain
        }
    }

    /// The disk has lost these places of a queue: they are owed until the ledger has them.
    pub(super) fn note_damage(&self, index: usize, count: u64, places: std::ops::Range<Seq>) {
        let slot = &self.slots[index];
        slot.damaged.inc_by(count);
        let entry = LedgerEntry {
            uplink: Arc::clone(&slot.uplink),
            class: Arc::clone(&slot.class),
            first_place: QueuePlace::of(places.start),
            last_place: QueuePlace::of(places.end.before()),
            ..self.plain(LossReason::Damaged, count)
        };
        let queue = QueueId(u16::try_from(index).unwrap_or(u16::MAX));
        self.record_losses_with(Some(entry).filter(|entry| entry.count > 0), |pending| {
            pending.lose(queue, places)
        });
    }

    /// How the store is.
    pub(super) fn condition(&self, now: RunningTime) -> StoreCondition {
        self.health.condition(now)
    }

    /// Whether nothing can be written: the disk is full or read-only, the store has failed, or hangs.
    pub(super) fn cannot_write(&self, now: RunningTime) -> bool {
        self.condition(now) != StoreCondition::Well
    }

    /// The open store; waits a moment for one that is being opened anew.
    pub(super) fn store(&self, patience: Duration) -> Option<Arc<Store>> {
        self.open_store.get(patience, &self.end)
    }

    /// Something in the store does not work: the writer opens it anew.
    pub(super) fn report_trouble(&self, error: &StoreError) {
        let condition = match error {
            StoreError::Disk(error) => StoreCondition::of(error),
            _ => StoreCondition::Failing,
        };
        if self.health.fail(condition, &describe(error)) {
            self.metrics.faults.inc();
        }
        self.wake_up.due(RunningTime::START);
    }

    /// The end comes: everybody who waits sees it.
    pub(super) fn end(&self, ending: ShutdownMode) {
        self.end.begin(ending);
        self.wake_up.due(RunningTime::START);
        self.noting.wake_up.due(RunningTime::START);
        self.open_store.announce();
        for link in self.links.iter() {
            link.ready.notify_one();
        }
    }

    /// Bytes that a queue may hold while the store cannot write before it gives up those without a receipt: whatever there is room
    /// for, until most of `memory` is used; the rest is for those that somebody waits for.
    pub(super) fn most_in_ram(&self) -> usize {
        if self.ram.is_nearly_full() {
            self.config.head_bytes.saturating_mul(HEADS_KEPT)
        } else {
            usize::MAX
        }
    }

    /// Reads from the store. Blocks on the disk.
    pub(super) fn read_store<T>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, StoreError>,
    ) -> Result<T, String> {
        let store = self.store(Duration::ZERO).ok_or("the store is not open")?;
        read(&store).map_err(|error| {
            self.report_trouble(&error);
            describe(&error)
        })
    }

    /// What was counted since the start.
    pub(super) fn totals(&self) -> WearTotals {
        let ours = || self.metrics.written.get() + self.metrics.state_written.get();
        WearTotals {
            payload: self.metrics.payload.get(),
            written: wear::process_bytes().unwrap_or_else(ours),
        }
    }
}
