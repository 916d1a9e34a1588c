//! What is owed upstream: RAM head, disk tail. It alone decides when a message is safe.
//!
//! ```text
//!  append ─►┌────────────── one queue for each (uplink, class) ──────────────┐─► fetch, read ─► uplink
//!           │  disk: chunks, LZ4            │  RAM: the head                 │◄─ accept
//!           │  [low ............ disk_end)  │  [disk_end .............. next)│◄─ refuse ─┐
//!           └───────────────▲───────────────┴────────────────┬───────────────┘           │
//!                           │     writer: one thread         │                           ▼
//!                           └── pack ─ write ─ sync ─────────┴─► receipts      dead letters (with each commit)
//! ```
//!
//! Promise: a receipt is released when upstream has accepted the message, or when its chunk (its dead letter) is on
//! the medium, and only then. Until a commit is through, its messages stay in RAM and can be fetched and accepted there.
//! A message that the uplink takes in time never touches the disk, and an idle spool writes nothing.
//!
//! Chunks lie in files that only grow, a byte written once, and so do dead letters, ledger and plugins' state; sled has the
//! index over the chunks (`disk`). An index that is lost is made up from the files. What must be there is known, and what is
//! missing is told with its number. An error of the disk is a condition: what cannot be read is read again later (`reading`).
//!
//! The head is spilled, always as a prefix, when its oldest message has waited for `spill_after` (`commit_every` while
//! the link is down), when it holds `head_bytes`, when a source is pressed, and at the end. What upstream has accepted
//! is deleted chunk by chunk; the store hears of `low` with each commit and at least once a second while the disk drains,
//! a small file beside it within milliseconds (`low_marks`), which bounds what a kill sends twice.
//!
//! Free space is watched (`space`): below `reserve` what is on disk drains and RAM goes on; once that is full, classes give
//! up what they may for what comes (`space/disk_full`), and where they may not what is unsettled holds its source back. A start on a full, read-only or failing disk begins without the store and takes it up later.
//!
//! Queues come while it is open (`writer/new_queues`), each with what the store owes to it, and none goes: one that no uplink
//! drains any more keeps what it owes.
//!
//! What a class may not keep is given up by the writer, as the class says: chunks on disk that are too old or too many,
//! or what comes. That is counted in the ledger, in one batch with the deletion, and upstream is told.
//!
//! Never: wait for the disk under a lock (the locks are held for memory work only), give up a message that has a receipt
//! but by the policy of its class and with its entry in the ledger committed, or by an operator's word, exit because the
//! disk fails. While the store cannot write, RAM goes on; messages without a receipt beyond four heads are dropped, oldest
//! first, and counted.
//!
//! Threads: callers' (append, fetch, accept: memory only; `Backlog::read` blocks), the writer, and one for the low marks, which
//! a sync must not hold up.

mod account;
mod backlog;
mod dead_letters;
mod disk;
mod drop_policy;
mod error;
mod expired;
mod growing;
mod ledger;
mod lock;
mod memory;
mod metrics;
mod outlet;
mod reading;
mod settings;
mod shared;
mod space;
mod start;
mod state_store;
mod tools;
mod wake_up;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

pub use account::{Account, LetterAccount, LossAccount, QueueAccount, Turning, UnreadableQueue};
pub use dead_letters::letter::{LetterId, LetterRecord};
pub use disk::held::is_held;
pub use disk::sealing::sealer::{KeyId, Sealer, SealingKey};
pub use disk::snapshot::SnapshotFile;
pub use drop_policy::{DropPolicy, Policy};
pub use error::{Error, NotAdded};
pub use ledger::{LedgerEntry, QueuePlace};
pub use memory::checkpoints::KeptState;
pub use metrics::Metrics;
pub use settings::{Config, QueueConfig};
pub use shared::snapshots::SnapshotError;
pub use space::condition::StoreCondition;
pub use space::wear::WearAccount;
pub use tools::{
    AffectedCount, Checked, DamageFinding, Letter, LetterFilter, LetterPage, QueueRecord,
    RecordContent, RecordError, RecordPage, RequeuedLetter, Stopped, ToolError, ToolRequest, Tools,
};

use crate::clock::RunningTime;
use crate::message::{Outlet, OwedQueues, QueueId, StateStore};

/// The spool of a gateway. Dropped without [`Spool::close`] it behaves like a kill: what is in RAM is not written.
pub struct Spool {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<Result<(), Error>>>>,
}

impl Spool {
    /// Opens the store in `config.path`, or makes it, and starts the writer. Waits up to 5 s for the lock. A
    /// damaged store is moved aside and reported, and a fresh one takes its place. While the disk is full, read-only or
    /// failing the spool runs without it, from RAM, and goes on trying.
    pub fn open(config: Config, metrics: Metrics) -> Result<Self, Error> {
        let (shared, mut writer) = Shared::open(config, metrics)?;
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let marking = Arc::clone(&shared);
        let marking = thread("low-marks")
            .spawn(move || crate::thread::keep("low-marks", || marking.keep_low_marks()))
            .map_err(Error::Thread)?;
        let store = move || {
            let mut ended = Ok(());
            crate::thread::keep("writer", || ended = writer.run());
            // The folder is locked until the writer is dropped.
            if marking.join().is_err() {
                tracing::error!("the thread that notes how far upstream has accepted has panicked");
            }
            ended
        };
        let thread = thread("writer").spawn(store).map_err(Error::Thread)?;
        Ok(Self {
            shared,
            writer: Mutex::new(Some(thread)),
        })
    }

    /// Where chains and sources hand over.
    pub fn outlet(&self) -> Arc<dyn Outlet> {
        Arc::clone(&self.shared) as Arc<dyn Outlet>
    }

    /// Where chains keep plugins' state.
    pub fn state_store(&self) -> Arc<dyn StateStore> {
        Arc::clone(&self.shared) as Arc<dyn StateStore>
    }

    /// What the uplink of this name drains. Its link counts as down until [`crate::message::BacklogLink::turn`] says otherwise.
    pub fn owed(&self, uplink: &str) -> OwedQueues {
        backlog::of(&self.shared, uplink)
    }

    /// Number of this start. It rises with every opening, by one where it could be written down at once.
    pub fn boot(&self) -> u32 {
        self.shared.boot
    }

    /// Whether the store was copied, restored or moved to another machine since it was last open, as far as that is known.
    pub fn is_copied(&self) -> bool {
        self.shared.name.is_copied
    }

    /// The flow that got the next number.
    pub fn learn_flow(&self, name: &Arc<str>) {
        self.shared.flows.learn(name);
    }

    /// Adds the queues that are not there yet, each with what the store owes to it. Where that cannot be read for now, the
    /// queue takes it up later, as at a start. Waits for a commit under way, unless it `is_over` for the caller.
    pub fn add_queues(
        &self,
        queues: Vec<QueueConfig>,
        is_over: &dyn Fn() -> bool,
    ) -> Result<(), NotAdded> {
        self.shared.add_queues(queues, is_over)
    }

    /// All queues, by `QueueId`: one that nothing leads to any more keeps its place, and what it owes.
    pub fn queues(&self) -> Vec<QueueConfig> {
        self.shared.queues()
    }

    /// For each uplink the queue in which it gets what the gateway itself has to say.
    pub fn queues_for_records(&self) -> Vec<QueueId> {
        self.shared.queues_for_records()
    }

    /// An uplink drains this queue, or none does any more: what it owes is kept then, and said.
    pub fn set_drained(&self, queue: QueueId, is_drained: bool) {
        if let Some(slot) = self.shared.slot(queue)
            && slot.set_drained(is_drained)
            && !is_drained
        {
            let queue = &slot.name;
            let owed = locked(&slot.queue).tally().owed();
            tracing::warn!(
                queue,
                owed,
                "nothing leads to this queue any more; what it owes is kept"
            );
        }
    }

    /// Fresh data goes first in this queue from now on, or not. For one whose uplink has nothing in hand.
    pub fn set_order(&self, queue: QueueId, is_fresh_first: bool) {
        if let Some(slot) = self.shared.slot(queue) {
            locked(&slot.queue).set_fresh_first(is_fresh_first);
        }
    }

    /// From now on that is what is given up of a queue.
    pub fn set_policy(&self, queue: QueueId, policy: Policy) {
        if let Some(slot) = self.shared.slot(queue) {
            slot.set_policy(policy);
            self.shared.wake_up.due(RunningTime::START);
        }
    }

    /// The numbers; memory work only.
    pub fn account(&self) -> Account {
        self.shared.account()
    }

    /// Writes what is in memory, and puts the files as they are then into the new folder `into`; they may get other names there
    /// only. Blocks on the disk, and so does everything that is to be written meanwhile.
    pub fn snapshot(&self, into: &Path) -> Result<Vec<SnapshotFile>, SnapshotError> {
        self.shared.snapshot(into)
    }

    /// What the operator's commands do with it. They block on the disk.
    pub fn tools(&self) -> Tools {
        Tools::new(&self.shared)
    }

    /// The oldest dead letters on disk. Blocks on the disk.
    pub fn dead_letters(&self, limit: usize) -> Vec<LetterRecord> {
        self.shared.dead_letters(limit)
    }

    /// The newest `limit` of them, the newest first. Blocks on the disk.
    pub fn newest_dead_letters(&self, limit: usize) -> Vec<LetterRecord> {
        self.shared.newest_dead_letters(limit)
    }

    /// What was given up since the store was made. Memory work only.
    pub fn ledger(&self) -> Vec<LedgerEntry> {
        self.shared.ledger()
    }

    /// Whose state is kept, of plugins of today's config and of others. Blocks on the disk.
    pub fn kept_states(&self) -> Vec<KeptState> {
        self.shared.read_store(Store::states).unwrap_or_default()
    }

    /// Takes nothing more, writes everything that is in RAM, and joins the writer. Blocks. Later calls do nothing.
    pub fn close(&self) -> Result<(), Error> {
        let Some(thread) = locked(&self.writer).take() else {
            return Ok(());
        };
        self.shared.end(ShutdownMode::Write);
        let result = thread.join().unwrap_or(Err(Error::Panicked));
        self.shared.open_store.close();
        result
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Some(thread) = locked(&self.writer).take() {
            self.shared.end(ShutdownMode::Abandon);
            if thread.join().is_err() {
                tracing::error!("the store's thread has panicked");
            }
            self.shared.open_store.close();
        }
    }
}

#[cfg(test)]
mod tests;
use crate::spool::disk::store::Store;
use crate::spool::lock::locked;
use crate::spool::shared::Shared;
use crate::spool::shared::end::ShutdownMode;
