//! What all threads of the spool share: the queues and their links, the store as it is at the moment, the numbers.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use prometheus::IntCounter;

use super::bell::Bell;
use super::card::{self, Card, Totals};
use super::chunk::{Extent, Flows, Seal};
use super::folder::Folder;
use super::keeper::{self, Keeper};
use super::ledger::{Books, Entry, Pending, Place};
use super::letters::{Kept, Pile};
use super::link::{Link, links};
use super::name::Name;
use super::notes::Notes;
use super::queue::{Limits, Mark, Queue};
use super::ram::Ram;
use super::room::{Condition, Room, Standing};
use super::sick::Sick;
use super::state::Checkpoints;
use super::store::{Lost, Store, StoreError, Witness};
use super::{Config, Error, Metrics, Policy, describe, keys, locked};
use crate::clock::Now;
use crate::message::{LossReason, QueueId};

/// A commit that takes longer counts as a store that cannot write.
const STALL_US: u64 = 2_000_000;
/// Heads in RAM beyond which messages without a receipt are dropped while the store cannot write.
const HEADS_KEPT: usize = 4;
/// How long what was given up outside a commit waits for its entry in the ledger: it then rides with another.
const LEDGER_EVERY_US: u64 = 5_000_000;

/// What a store is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To take and give messages.
    Run,
    /// To be looked at: nothing is moved aside, no new boot begins, and no thread runs.
    Look,
}

/// How the store thread ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Write,
    Abandon,
}

/// One queue, with what belongs to it.
pub(super) struct Slot {
    pub(super) queue: Mutex<Queue>,
    /// `uplink:class`.
    pub(super) name: String,
    pub(super) link: Arc<Link>,
    pub(super) policy: Policy,
    pub(super) appended: IntCounter,
    pub(super) accepted: IntCounter,
    pub(super) damaged: IntCounter,
    /// What it owes cannot be read for now.
    pub(super) sick: Mutex<Option<Sick>>,
}

/// Time this store has been in use, over restarts: it stands still while the gateway is off, and never jumps.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunningClock {
    pub(super) base_us: u64,
    pub(super) started_us: u64,
}

impl RunningClock {
    pub(super) fn now(self) -> u64 {
        self.base_us + Now::read().uptime_us.saturating_sub(self.started_us)
    }
}

/// What all threads share.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) boot: u32,
    /// What the store is called.
    pub(super) name: Name,
    pub(super) flows: Flows,
    pub(super) slots: Vec<Slot>,
    pub(super) links: Vec<Arc<Link>>,
    /// What queues and pile hold in RAM.
    pub(super) ram: Arc<Ram>,
    pub(super) pile: Mutex<Pile>,
    pub(super) letters: Mutex<Kept>,
    pub(super) checkpoints: Mutex<Checkpoints>,
    pub(super) evicted: AtomicU64,
    /// The ledger as the store has it, and what waits for the next commit; taken in this order.
    pub(super) books: Mutex<Books>,
    pub(super) pending: Mutex<Pending>,
    /// The name of the uplink and class of what was lost before it had one.
    pub(super) nobody: Arc<str>,
    pub(super) store: Mutex<Option<Arc<Store>>>,
    pub(super) store_changed: Condvar,
    pub(super) set_aside: Mutex<Option<PathBuf>>,
    pub(super) strangers: Mutex<Vec<(String, u64)>>,
    pub(super) clock: RunningClock,
    pub(super) bell: Bell,
    /// The file `low`, unless its thread has it in hand or there is no store.
    pub(super) notes: Mutex<Option<Notes>>,
    /// Wakes that thread.
    pub(super) note_bell: Bell,
    pub(super) ending: Mutex<Option<Ending>>,
    pub(super) ended: Condvar,
    /// What was last committed of letters, ledger and state.
    pub(super) witness: Mutex<Witness>,
    /// When that is to be noted (running clock); 0 when it is.
    pub(super) witness_due: AtomicU64,
    /// What damage has cost letters, ledger and state since the start.
    pub(super) lost: Mutex<super::store::Totals>,
    pub(super) is_ending: AtomicBool,
    /// The store has failed and is not back.
    pub(super) trouble: AtomicBool,
    /// What kind of failure: a [`Condition`].
    pub(super) fault: AtomicU8,
    /// What the room allows: a [`Condition`]; the rest of it below.
    pub(super) room: AtomicU8,
    pub(super) standing: Mutex<Standing>,
    pub(super) card: Mutex<Card>,
    /// The failure was logged, and nothing has been written since.
    pub(super) is_reported: AtomicBool,
    /// When the commit under way began (running clock); 0 when there is none.
    pub(super) commit_since: AtomicU64,
    pub(super) metrics: Metrics,
}

impl Shared {
    /// Everything but the thread.
    pub(super) fn open(config: Config, metrics: Metrics) -> Result<(Arc<Self>, Keeper), Error> {
        Self::open_to(Purpose::Run, config, metrics)
    }

    pub(super) fn open_to(
        purpose: Purpose,
        config: Config,
        metrics: Metrics,
    ) -> Result<(Arc<Self>, Keeper), Error> {
        Self::open_in(Folder::lock(&config.path)?, purpose, config, metrics)
    }

    pub(super) fn open_in(
        mut folder: Folder,
        purpose: Purpose,
        config: Config,
        metrics: Metrics,
    ) -> Result<(Arc<Self>, Keeper), Error> {
        keys::check(folder.path(), &config.vault).map_err(|key| config.no_key(key))?;
        let mut room = Room::new(&folder, config.reserve_bytes);
        let begin = match purpose {
            Purpose::Run => keeper::begin(&config, &mut folder, &mut room)?,
            Purpose::Look => keeper::look(&config, &folder)?,
        };
        let boot = begin.boot;
        metrics.faults.inc_by(u64::from(begin.went_back));
        let links = links(&config);
        let base_us = begin
            .queues
            .iter()
            .map(|(mark, _)| mark.clock_us)
            .max()
            .unwrap_or(0);
        let ram = Arc::new(Ram::new(config.memory_bytes));
        let slots = slots(&config, &links, &metrics, (boot, &ram), begin.queues);
        let (store, notes) = begin.store.unzip();
        let witness = store.as_ref().map(Store::witness).unwrap_or_default();
        let clock = RunningClock {
            base_us,
            started_us: Now::read().uptime_us,
        };
        let shared = Arc::new(Self {
            boot,
            flows: Flows::new(&config.flows),
            slots,
            links,
            pile: Mutex::new(Pile::new(boot, &ram)),
            ram,
            letters: Mutex::new(begin.kept),
            checkpoints: Mutex::default(),
            evicted: AtomicU64::new(0),
            books: Mutex::new(begin.books),
            pending: Mutex::default(),
            nobody: Arc::default(),
            store: Mutex::new(store.map(Arc::new)),
            store_changed: Condvar::new(),
            set_aside: Mutex::new(begin.set_aside),
            strangers: Mutex::default(),
            card: Mutex::new(Card::new(clock.now())),
            clock,
            bell: Bell::default(),
            notes: Mutex::new(notes),
            note_bell: Bell::default(),
            ending: Mutex::new(None),
            ended: Condvar::new(),
            witness: Mutex::new(witness),
            witness_due: AtomicU64::new(0),
            lost: Mutex::default(),
            name: begin.name,
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
        begin.lost.iter().for_each(|lost| shared.know_lost(lost));
        if let Some(error) = begin.failure {
            shared.report_trouble(&error);
        }
        let keeper = Keeper::new(Arc::clone(&shared), folder, room);
        Ok((shared, keeper))
    }

    /// The store holds something for queues that are not there.
    pub(super) fn know_strangers(&self, found: Vec<(String, u64)>) {
        for (queue, messages) in &found {
            tracing::warn!(
                queue,
                messages,
                "the store owes messages to a queue that the config does not have; they are kept"
            );
        }
        *locked(&self.strangers) = found;
    }

    /// Letters, ledger and state have lost something.
    pub(super) fn know_lost(&self, lost: &Lost) {
        let Lost { commits, totals } = lost;
        let (letters, states) = (totals.kept.total(), totals.states);
        let ledger: u64 = totals.given_up.values().sum();
        let path = self.config.path.display();
        tracing::error!(
            %path, commits, letters, ledger, states,
            "the disk has lost commits of dead letters, ledger and plugins' state: so many are missing; what is left was written anew, and the damaged files are kept in `damaged`"
        );
        self.metrics.faults.inc();
        let mut sum = locked(&self.lost);
        sum.states += states;
        for (sum, lost) in sum.kept.counts.iter_mut().zip(totals.kept.counts) {
            *sum += lost;
        }
        for (reason, lost) in &totals.given_up {
            *sum.given_up.entry(*reason).or_default() += lost;
        }
    }

    /// What the chunks of a queue are sealed with.
    pub(super) fn seal(&self, index: usize) -> Seal<'_> {
        Seal {
            vault: &self.config.vault,
            queue: &self.slots[index].name,
        }
    }

    /// When a queue wants to be written.
    pub(super) fn limits(&self, slot: &Slot) -> Limits {
        let up = slot.link.up.load(Ordering::Acquire);
        let linger = if up {
            self.config.spill_after
        } else {
            self.config.commit_every
        };
        let linger_us = u64::try_from(linger.as_micros()).unwrap_or(u64::MAX);
        Limits {
            linger_us,
            head_bytes: self.config.head_bytes,
            policy: slot.policy,
        }
    }

    /// What was given up since the store was made.
    pub(super) fn ledger(&self) -> Vec<Entry> {
        let (books, pending) = (locked(&self.books), locked(&self.pending));
        books.entries().chain(pending.entries()).cloned().collect()
    }

    /// Counts what is given up.
    pub(super) fn count(&self, entry: &Entry) {
        let labels = [entry.reason.name(), &*entry.uplink, &*entry.class];
        self.metrics
            .dropped
            .with_label_values(&labels)
            .inc_by(entry.count);
    }

    /// Counts what was given up, and enters it in the ledger with a commit soon.
    pub(super) fn note(&self, entries: impl IntoIterator<Item = Entry>) {
        self.note_with(entries, |_| ());
    }

    /// The same, and what `add` adds goes with it.
    pub(super) fn note_with(
        &self,
        entries: impl IntoIterator<Item = Entry>,
        add: impl FnOnce(&mut Pending),
    ) {
        let now_us = self.clock.now();
        let due = {
            let mut pending = locked(&self.pending);
            for entry in entries {
                self.count(&entry);
                pending.post(entry, now_us);
            }
            add(&mut pending);
            self.pending_due(&pending)
        };
        if let Some(due) = due {
            self.bell.due(due);
        }
    }

    /// When what was given up outside a commit is to be written (running clock): sooner when a source waits for it.
    pub(super) fn pending_due(&self, pending: &Pending) -> Option<u64> {
        let commit_us = u64::try_from(self.config.commit_every.as_micros()).unwrap_or(u64::MAX);
        if pending.is_urgent() {
            return Some(0);
        }
        let wait = if pending.holds() {
            commit_us.min(LEDGER_EVERY_US)
        } else {
            LEDGER_EVERY_US
        };
        pending.since_us().map(|since| since.saturating_add(wait))
    }

    /// An entry of which no more is known.
    pub(super) fn plain(&self, reason: LossReason, count: u64) -> Entry {
        let now = Now::read();
        let plain = Entry::plain(reason, &self.nobody, &self.nobody, count, now.wall_us);
        Entry {
            is_clock_set: now.is_set(),
            ..plain
        }
    }

    /// The disk has lost these places of a queue: they are owed until the ledger has them.
    pub(super) fn note_damage(&self, index: usize, count: u64, places: std::ops::Range<u64>) {
        let config = &self.config.queues[index];
        self.slots[index].damaged.inc_by(count);
        let entry = Entry {
            uplink: Arc::clone(&config.uplink),
            class: Arc::clone(&config.class),
            first_place: Place::of(places.start),
            last_place: Place::of(places.end.saturating_sub(1)),
            ..self.plain(LossReason::Damaged, count)
        };
        let queue = QueueId(u16::try_from(index).unwrap_or(u16::MAX));
        self.note_with(Some(entry).filter(|entry| entry.count > 0), |pending| {
            pending.lose(queue, places)
        });
    }

    /// How the store is.
    pub(super) fn condition(&self, now_us: u64) -> Condition {
        let since = self.commit_since.load(Ordering::Acquire);
        let hangs = since > 0 && now_us.saturating_sub(since) > STALL_US;
        let room = Condition::from_number(self.room.load(Ordering::Acquire));
        match room {
            Condition::Well if self.trouble.load(Ordering::Acquire) => {
                Condition::from_number(self.fault.load(Ordering::Acquire))
            }
            Condition::Well if hangs => Condition::Failing,
            room => room,
        }
    }

    /// Whether nothing can be written: the disk is full or read-only, the store has failed, or hangs.
    pub(super) fn cannot_write(&self, now_us: u64) -> bool {
        self.condition(now_us) != Condition::Well
    }

    /// Bytes of messages without a receipt that RAM holds while the store cannot write.
    pub(super) fn most_in_ram(&self) -> usize {
        self.config.head_bytes.saturating_mul(HEADS_KEPT)
    }

    /// The open store; waits a moment for one that is being opened anew.
    pub(super) fn store(&self, patience: Duration) -> Option<Arc<Store>> {
        let guard = locked(&self.store);
        let waited = self
            .store_changed
            .wait_timeout_while(guard, patience, |store| {
                store.is_none() && !self.is_ending.load(Ordering::Acquire)
            });
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
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

    /// Something in the store does not work: the keeper opens it anew.
    pub(super) fn report_trouble(&self, error: &StoreError) {
        if !self.trouble.swap(true, Ordering::AcqRel) {
            self.metrics.faults.inc();
        }
        let condition = match error {
            StoreError::Disk(error) => Condition::of(error),
            _ => Condition::Failing,
        };
        self.fault.store(condition as u8, Ordering::Release);
        self.alarm(condition, &describe(error));
        self.bell.due(0);
    }

    /// Says once that an operator is needed.
    pub(super) fn alarm(&self, condition: Condition, why: &str) {
        if !self.is_reported.swap(true, Ordering::AcqRel) {
            let (path, reason, advice) = (
                self.config.path.display(),
                condition.name(),
                condition.advice(),
            );
            tracing::error!(%path, reason, why, advice, "the store does not take what it should; messages stay in memory until it does");
        }
    }

    /// So much room there is; `is_over` when nothing else is wrong.
    pub(super) fn stand(&self, standing: Standing, is_over: bool) {
        self.room.store(standing.condition as u8, Ordering::Release);
        *locked(&self.standing) = standing;
        if standing.condition != Condition::Well {
            let why = format!(
                "{} KiB free, {} KiB are the reserve",
                standing.free >> 10,
                standing.reserve >> 10
            );
            self.alarm(standing.condition, &why);
        } else if is_over {
            self.all_clear();
        }
    }

    /// Says that the operator is no longer needed, if that was said.
    pub(super) fn all_clear(&self) {
        if self.is_reported.swap(false, Ordering::AcqRel) {
            tracing::info!(path = %self.config.path.display(), "the store can be written again");
        }
    }

    /// What was counted since the start.
    pub(super) fn totals(&self) -> Totals {
        let ours = || self.metrics.written.get() + self.metrics.state_written.get();
        Totals {
            payload: self.metrics.payload.get(),
            written: card::process_bytes().unwrap_or_else(ours),
        }
    }

    pub(super) fn end(&self, ending: Ending) {
        *locked(&self.ending) = Some(ending);
        self.is_ending.store(true, Ordering::Release);
        self.bell.due(0);
        self.note_bell.due(0);
        self.store_changed.notify_all();
        self.ended.notify_all();
        for link in &self.links {
            link.ready.notify_one();
        }
    }

    /// Closes the files once the last reader has gone.
    pub(super) fn close_store(&self) {
        let store = locked(&self.store).take();
        if let Some(store) = store.and_then(Arc::into_inner) {
            store.close();
        }
    }
}

/// The queues of the config with what the store holds of them.
pub(super) fn slots(
    config: &Config,
    links: &[Arc<Link>],
    metrics: &Metrics,
    (boot, ram): (u32, &Arc<Ram>),
    found: Vec<(Mark, Option<Extent>)>,
) -> Vec<Slot> {
    let known = config
        .queues
        .iter()
        .zip(found)
        .filter_map(|(queue, (mark, first))| {
            let labels = [&*queue.uplink, &*queue.class];
            Some(Slot {
                queue: Mutex::new(
                    Queue::new(boot, mark, first)
                        .with_fresh_first(queue.is_fresh_first)
                        .with_ram(ram),
                ),
                name: queue.name(),
                link: Arc::clone(links.iter().find(|link| link.name == queue.link)?),
                policy: queue.policy,
                appended: metrics.appended.with_label_values(&labels),
                accepted: metrics.accepted.with_label_values(&labels),
                damaged: metrics.damaged.with_label_values(&labels),
                sick: Mutex::default(),
            })
        });
    known.collect()
}
