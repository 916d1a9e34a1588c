//! What is owed upstream: RAM head, sled tail. It alone decides when a message is safe.
//!
//! ```text
//!  append ─►┌────────────── one queue for each (uplink, class) ──────────────┐─► fetch, read ─► uplink
//!           │  disk: chunks, LZ4            │  RAM: the head                 │◄─ accept
//!           │  [low ............ disk_end)  │  [disk_end .............. next)│◄─ refuse ─┐
//!           └───────────────▲───────────────┴────────────────┬───────────────┘           │
//!                           │     keeper: one thread         │                           ▼
//!                           └── pack ─ flush ─ syncfs ───────┴─► receipts      dead letters (with each commit)
//! ```
//!
//! Promise: a receipt is released when upstream has accepted the message, or when its chunk (its dead letter) is on
//! the medium: batch, `flush()`, `syncfs()`, and only then. Until a commit is through, its messages stay in RAM and can
//! be fetched and accepted there. A message that the uplink takes in time never touches the disk, and an idle spool
//! writes nothing.
//!
//! The head is spilled, always as a prefix, when its oldest message has waited for `spill_after` (`commit_every` while
//! the link is down), when it holds `head_bytes`, when a source is pressed, and at the end. What upstream has accepted
//! is deleted chunk by chunk; the store hears of `low` with each commit and at least once a second while the disk drains,
//! a small file beside it within milliseconds (`notes`), which bounds what a kill sends twice.
//!
//! Free space is watched (`room`): below `reserve` nothing is spilled, what is on disk drains, and what is not settled
//! holds its source back. A start on a full, read-only or failing disk begins without the store and takes it up later.
//!
//! What a class may not keep is given up by the keeper, as the class says: chunks on disk that are too old or too many,
//! or what comes. That is counted in the ledger, in one batch with the deletion, and upstream is told.
//!
//! Never: wait for the disk under a lock (the locks are held for memory work only), give up a message that has a receipt
//! but by the policy of its class and with its entry in the ledger committed, exit because the disk fails. While the
//! store cannot write, RAM goes on; messages without a receipt beyond four heads are dropped, oldest first, and counted.
//!
//! Threads: callers' (append, fetch, accept: memory only; `Backlog::read` blocks) and the keeper.

mod account;
mod backlog;
mod bell;
mod card;
mod chunk;
mod error;
mod folder;
mod keeper;
mod ledger;
mod letters;
mod metrics;
mod notes;
mod outlet;
mod queue;
mod ranges;
mod room;
mod seam;
mod settings;
mod state;
mod store;
mod tools;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use prometheus::IntCounter;
use tokio::sync::Notify;

pub use account::{Account, LetterAccount, LossAccount, QueueAccount};
pub use card::CardAccount;
pub use error::Error;
pub use ledger::{Entry, Place};
pub use letters::{LetterId, LetterRecord};
pub use metrics::Metrics;
pub use room::Condition;
pub use settings::{Config, Giving, Policy, QueueConfig};
pub use state::KeptState;
pub use tools::{
    Checked, Content, Done, Filter, Finding, Letter, LetterPage, Page, Record, RecordError, Request, Returned, Stopped,
    ToolError, Tools,
};

use crate::clock::Now;
use crate::message::{Backlog, LossReason, Outlet};
use bell::Bell;
use card::{Card, Totals};
use chunk::{Extent, Flows};
use folder::Folder;
use keeper::Keeper;
use ledger::{Books, Pending};
use letters::{Kept, Pile};
use queue::{Limits, Mark, Queue};
use room::{Room, Standing};
use state::Checkpoints;
use store::{Store, StoreError};

/// A commit that takes longer counts as a store that cannot write.
const STALL_US: u64 = 2_000_000;
/// Heads in RAM beyond which messages without a receipt are dropped while the store cannot write.
const HEADS_KEPT: usize = 4;
/// How long what was given up outside a commit waits for its entry in the ledger: it then rides with another.
const LEDGER_EVERY_US: u64 = 5_000_000;

/// The spool of a gateway. Dropped without [`Spool::close`] it behaves like a kill: what is in RAM is not written.
pub struct Spool {
    shared: Arc<Shared>,
    keeper: Mutex<Option<JoinHandle<Result<(), Error>>>>,
}

impl Spool {
    /// Opens the store in `config.path`, or makes it, and starts the store thread. Waits up to 5 s for the lock. A
    /// damaged store is moved aside and reported, and a fresh one takes its place. While the disk is full, read-only or
    /// failing the spool runs without it, from RAM, and goes on trying.
    pub fn open(config: Config, metrics: Metrics) -> Result<Self, Error> {
        let (shared, keeper) = Shared::open(config, metrics)?;
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(move || keeper.run()).map_err(Error::Thread)?;
        Ok(Self { shared, keeper: Mutex::new(Some(thread)) })
    }

    /// Where chains and sources hand over.
    pub fn outlet(&self) -> Arc<dyn Outlet> {
        Arc::clone(&self.shared) as Arc<dyn Outlet>
    }

    /// What the uplink of this name drains. Its link counts as down until [`Backlog::link`] says otherwise.
    pub fn backlog(&self, uplink: &str) -> Arc<dyn Backlog> {
        backlog::of(&self.shared, uplink)
    }

    /// Number of this start. It rises with every opening, by one where it could be written down at once.
    pub fn boot(&self) -> u32 {
        self.shared.boot
    }

    /// The numbers; memory work only.
    pub fn account(&self) -> Account {
        self.shared.account()
    }

    /// What the operator's commands do with it. They block on the disk.
    pub fn tools(&self) -> Tools {
        Tools::new(&self.shared)
    }

    /// The oldest dead letters on disk. Blocks on the disk.
    pub fn dead_letters(&self, limit: usize) -> Vec<LetterRecord> {
        self.shared.dead_letters(limit)
    }

    /// What was given up since the store was made. Memory work only.
    pub fn ledger(&self) -> Vec<Entry> {
        let (books, pending) = (locked(&self.shared.books), locked(&self.shared.pending));
        books.entries().chain(pending.entries()).cloned().collect()
    }

    /// Whose state is kept, of plugins of today's config and of others. Blocks on the disk.
    pub fn kept_states(&self) -> Vec<KeptState> {
        self.shared.read_store(Store::states).unwrap_or_default()
    }

    /// Takes nothing more, writes everything that is in RAM, and joins the store thread. Blocks. Later calls do nothing.
    pub fn close(&self) -> Result<(), Error> {
        let Some(thread) = locked(&self.keeper).take() else { return Ok(()) };
        self.shared.end(Ending::Write);
        let result = thread.join().unwrap_or(Err(Error::Panicked));
        self.shared.close_store();
        result
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Some(thread) = locked(&self.keeper).take() {
            self.shared.end(Ending::Abandon);
            if thread.join().is_err() {
                tracing::error!("the store's thread has panicked");
            }
            self.shared.close_store();
        }
    }
}

/// What a store is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// To take and give messages.
    Run,
    /// To be looked at: nothing is moved aside, no new boot begins, and no thread runs.
    Look,
}

/// How the store thread ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Write,
    Abandon,
}

/// One queue, with what belongs to it.
struct Slot {
    queue: Mutex<Queue>,
    link: Arc<Link>,
    policy: Policy,
    appended: IntCounter,
    accepted: IntCounter,
    damaged: IntCounter,
}

/// One uplink, as the spool sees it.
#[derive(Debug)]
struct Link {
    name: Arc<str>,
    up: AtomicBool,
    /// A fetch found nothing: the next append rings.
    waiting: AtomicBool,
    ready: Arc<Notify>,
}

impl Link {
    fn new(name: Arc<str>) -> Self {
        Self { name, up: AtomicBool::new(false), waiting: AtomicBool::new(false), ready: Arc::default() }
    }

    fn ring(&self) {
        if self.waiting.load(Ordering::Acquire) && self.waiting.swap(false, Ordering::AcqRel) {
            self.ready.notify_one();
        }
    }
}

/// Time this store has been in use, over restarts: it stands still while the gateway is off, and never jumps.
#[derive(Clone, Copy, Debug)]
struct RunningClock {
    base_us: u64,
    started_us: u64,
}

impl RunningClock {
    fn now(self) -> u64 {
        self.base_us + Now::read().uptime_us.saturating_sub(self.started_us)
    }
}

/// What all threads share.
struct Shared {
    config: Config,
    boot: u32,
    flows: Flows,
    slots: Vec<Slot>,
    links: Vec<Arc<Link>>,
    pile: Mutex<Pile>,
    letters: Mutex<Kept>,
    checkpoints: Mutex<Checkpoints>,
    evicted: AtomicU64,
    /// The ledger as the store has it, and what waits for the next commit; taken in this order.
    books: Mutex<Books>,
    pending: Mutex<Pending>,
    /// The name of the uplink and class of what was lost before it had one.
    nobody: Arc<str>,
    store: Mutex<Option<Arc<Store>>>,
    store_changed: Condvar,
    set_aside: Mutex<Option<PathBuf>>,
    strangers: Mutex<Vec<(String, u64)>>,
    clock: RunningClock,
    bell: Bell,
    ending: Mutex<Option<Ending>>,
    is_ending: AtomicBool,
    /// The store has failed and is not back.
    trouble: AtomicBool,
    /// What kind of failure: a [`Condition`].
    fault: AtomicU8,
    /// What the room allows: a [`Condition`]; the rest of it below.
    room: AtomicU8,
    standing: Mutex<Standing>,
    card: Mutex<Card>,
    /// The failure was logged, and nothing has been written since.
    is_reported: AtomicBool,
    /// When the commit under way began (running clock); 0 when there is none.
    commit_since: AtomicU64,
    metrics: Metrics,
}

/// A lock whose holders only do memory work; a panic among them is caught elsewhere.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Everything but the thread.
    fn open(config: Config, metrics: Metrics) -> Result<(Arc<Self>, Keeper), Error> {
        Self::open_to(Purpose::Run, config, metrics)
    }

    fn open_to(purpose: Purpose, config: Config, metrics: Metrics) -> Result<(Arc<Self>, Keeper), Error> {
        Self::open_in(Folder::lock(&config.path)?, purpose, config, metrics)
    }

    fn open_in(mut folder: Folder, purpose: Purpose, config: Config, metrics: Metrics) -> Result<(Arc<Self>, Keeper), Error> {
        let mut room = Room::new(&folder, config.reserve_bytes);
        let begin = match purpose {
            Purpose::Run => keeper::begin(&config, &mut folder, &mut room)?,
            Purpose::Look => keeper::look(&config, &folder)?,
        };
        let boot = begin.boot;
        metrics.faults.inc_by(u64::from(begin.went_back));
        let links = links(&config);
        let base_us = begin.queues.iter().map(|(mark, _)| mark.clock_us).max().unwrap_or(0);
        let slots = slots(&config, &links, &metrics, boot, begin.queues);
        let (store, notes, failure) = match begin.store {
            Ok((store, notes)) => (Some(Arc::new(store)), Some(notes), None),
            Err(error) => (None, None, Some(error)),
        };
        let clock = RunningClock { base_us, started_us: Now::read().uptime_us };
        let shared = Arc::new(Self {
            boot,
            flows: Flows::new(&config.flows),
            slots,
            links,
            pile: Mutex::new(Pile::new(boot)),
            letters: Mutex::new(begin.kept),
            checkpoints: Mutex::default(),
            evicted: AtomicU64::new(0),
            books: Mutex::new(begin.books),
            pending: Mutex::default(),
            nobody: Arc::default(),
            store: Mutex::new(store),
            store_changed: Condvar::new(),
            set_aside: Mutex::new(begin.set_aside),
            strangers: Mutex::default(),
            card: Mutex::new(Card::new(clock.now())),
            clock,
            bell: Bell::default(),
            ending: Mutex::new(None),
            is_ending: AtomicBool::new(false),
            trouble: AtomicBool::new(false),
            fault: AtomicU8::new(0),
            room: AtomicU8::new(0),
            standing: Mutex::default(),
            is_reported: AtomicBool::new(false),
            commit_since: AtomicU64::new(0),
            metrics,
            config,
        });
        shared.metrics.watch(Arc::downgrade(&shared));
        shared.know_strangers(begin.strangers);
        if let Some(error) = failure {
            shared.report_trouble(&error);
        }
        let keeper = Keeper::new(Arc::clone(&shared), folder, room, notes);
        Ok((shared, keeper))
    }

    /// The store holds something for queues that are not there.
    fn know_strangers(&self, found: Vec<(String, u64)>) {
        for (queue, messages) in &found {
            tracing::warn!(queue, messages, "the store owes messages to a queue that the config does not have; they are kept");
        }
        *locked(&self.strangers) = found;
    }

    /// When a queue wants to be written.
    fn limits(&self, slot: &Slot) -> Limits {
        let up = slot.link.up.load(Ordering::Acquire);
        let linger = if up { self.config.spill_after } else { self.config.commit_every };
        let linger_us = u64::try_from(linger.as_micros()).unwrap_or(u64::MAX);
        Limits { linger_us, head_bytes: self.config.head_bytes, policy: slot.policy }
    }

    /// Counts what is given up.
    fn count(&self, entry: &Entry) {
        let labels = [entry.reason.name(), &*entry.uplink, &*entry.class];
        self.metrics.dropped.with_label_values(&labels).inc_by(entry.count);
    }

    /// Counts what was given up, and enters it in the ledger with a commit soon.
    fn note(&self, entries: impl IntoIterator<Item = Entry>) {
        let now_us = self.clock.now();
        {
            let mut pending = locked(&self.pending);
            for entry in entries {
                self.count(&entry);
                pending.post(entry, now_us);
            }
        }
        self.bell.due(now_us.saturating_add(LEDGER_EVERY_US));
    }

    /// An entry of which no more is known.
    fn plain(&self, reason: LossReason, count: u64) -> Entry {
        let now = Now::read();
        let plain = Entry::plain(reason, &self.nobody, &self.nobody, count, now.wall_us);
        Entry { is_clock_set: now.is_set(), ..plain }
    }

    /// The disk has lost messages of a queue.
    fn note_damage(&self, index: usize, count: u64, places: std::ops::Range<u64>) {
        let config = &self.config.queues[index];
        self.slots[index].damaged.inc_by(count);
        self.note([Entry {
            uplink: Arc::clone(&config.uplink),
            class: Arc::clone(&config.class),
            first_place: Place::of(places.start),
            last_place: Place::of(places.end.saturating_sub(1)),
            ..self.plain(LossReason::Damaged, count)
        }]);
    }

    /// How the store is.
    fn condition(&self, now_us: u64) -> Condition {
        let since = self.commit_since.load(Ordering::Acquire);
        let hangs = since > 0 && now_us.saturating_sub(since) > STALL_US;
        let room = Condition::from_number(self.room.load(Ordering::Acquire));
        match room {
            Condition::Well if self.trouble.load(Ordering::Acquire) => Condition::from_number(self.fault.load(Ordering::Acquire)),
            Condition::Well if hangs => Condition::Failing,
            room => room,
        }
    }

    /// Whether nothing can be written: the disk is full or read-only, the store has failed, or hangs.
    fn cannot_write(&self, now_us: u64) -> bool {
        self.condition(now_us) != Condition::Well
    }

    /// Bytes of messages without a receipt that RAM holds while the store cannot write.
    fn most_in_ram(&self) -> usize {
        self.config.head_bytes.saturating_mul(HEADS_KEPT)
    }

    /// The open store; waits a moment for one that is being opened anew.
    fn store(&self, patience: Duration) -> Option<Arc<Store>> {
        let guard = locked(&self.store);
        let waited = self
            .store_changed
            .wait_timeout_while(guard, patience, |store| store.is_none() && !self.is_ending.load(Ordering::Acquire));
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Reads from the store. Blocks on the disk.
    fn read_store<T>(&self, read: impl FnOnce(&Store) -> Result<T, StoreError>) -> Result<T, String> {
        let store = self.store(Duration::ZERO).ok_or("the store is not open")?;
        read(&store).map_err(|error| {
            self.report_trouble(&error);
            describe(&error)
        })
    }

    /// Something in the store does not work: the keeper opens it anew.
    fn report_trouble(&self, error: &StoreError) {
        if !self.trouble.swap(true, Ordering::AcqRel) {
            self.metrics.faults.inc();
        }
        let condition = match error {
            StoreError::Disk(error) => Condition::of(error),
            StoreError::Damaged(_) | StoreError::Newer(_) | StoreError::Overtaken(_) => Condition::Failing,
        };
        self.fault.store(condition as u8, Ordering::Release);
        self.alarm(condition, &describe(error));
        self.bell.due(0);
    }

    /// Says once that an operator is needed.
    fn alarm(&self, condition: Condition, why: &str) {
        if !self.is_reported.swap(true, Ordering::AcqRel) {
            let (path, reason, advice) = (self.config.path.display(), condition.name(), condition.advice());
            tracing::error!(%path, reason, why, advice, "the store takes nothing; messages stay in memory until it does");
        }
    }

    /// So much room there is; `is_over` when nothing else is wrong.
    fn stand(&self, standing: Standing, is_over: bool) {
        self.room.store(standing.condition as u8, Ordering::Release);
        *locked(&self.standing) = standing;
        if standing.condition != Condition::Well {
            let why = format!("{} KiB free, {} KiB are the reserve", standing.free >> 10, standing.reserve >> 10);
            self.alarm(standing.condition, &why);
        } else if is_over {
            self.all_clear();
        }
    }

    /// Says that the operator is no longer needed, if that was said.
    fn all_clear(&self) {
        if self.is_reported.swap(false, Ordering::AcqRel) {
            tracing::info!(path = %self.config.path.display(), "the store can be written again");
        }
    }

    /// What was counted since the start.
    fn totals(&self) -> Totals {
        Totals { payload: self.metrics.payload.get(), written: self.metrics.written.get() }
    }

    /// Bytes inside the store's files that are free for reuse.
    fn reusable(&self) -> u64 {
        let live = self.slots.iter().map(|slot| locked(&slot.queue).tally().disk_bytes).sum();
        self.store(Duration::ZERO).map_or(0, |store| store.reusable(live))
    }

    fn end(&self, ending: Ending) {
        *locked(&self.ending) = Some(ending);
        self.is_ending.store(true, Ordering::Release);
        self.bell.due(0);
        self.store_changed.notify_all();
        for link in &self.links {
            link.ready.notify_one();
        }
    }

    /// Closes the files once the last reader has gone.
    fn close_store(&self) {
        let store = locked(&self.store).take();
        if let Some(store) = store.and_then(Arc::into_inner) {
            store.close();
        }
    }
}

/// An error of the store with its cause, on one line.
fn describe(error: &StoreError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// One link for each uplink that has a queue.
fn links(config: &Config) -> Vec<Arc<Link>> {
    let mut links: Vec<Arc<Link>> = Vec::new();
    for queue in &config.queues {
        if !links.iter().any(|link| link.name == queue.uplink) {
            links.push(Arc::new(Link::new(Arc::clone(&queue.uplink))));
        }
    }
    links
}

/// The queues of the config with what the store holds of them.
fn slots(config: &Config, links: &[Arc<Link>], metrics: &Metrics, boot: u32, found: Vec<(Mark, Option<Extent>)>) -> Vec<Slot> {
    let known = config.queues.iter().zip(found).filter_map(|(queue, (mark, first))| {
        let labels = [&*queue.uplink, &*queue.class];
        Some(Slot {
            queue: Mutex::new(Queue::new(boot, mark, first)),
            link: Arc::clone(links.iter().find(|link| link.name == queue.uplink)?),
            policy: queue.policy,
            appended: metrics.appended.with_label_values(&labels),
            accepted: metrics.accepted.with_label_values(&labels),
            damaged: metrics.damaged.with_label_values(&labels),
        })
    });
    known.collect()
}

#[cfg(test)]
mod tests;
