//! The writer: packs what is due into chunks, makes it durable, and only then releases receipts.
//!
//! One commit takes all queues that are due and all waiting dead letters: chunks to their files, a batch for each tree, one
//! sync. What arrives meanwhile goes into the next. A commit that fails leaves everything in RAM as it was; the
//! store is opened anew after a delay, and the same messages are written again. Below the low-water mark nothing is
//! spilled but what others make room for (`disk_full`); deletes go on.
//!
//! What a commit gives up is entered in the ledger in the same batch, and its receipts are released with the others.

pub(crate) mod begin;
mod commit;
mod compact;
mod dead_letters;
mod disk_full;
mod loss_report;
mod loss_reporter;
mod make_room;
mod new_queues;
mod reopen;
mod snapshot;
mod spill;
mod undo;
pub(crate) mod work;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::RunningTime;
use crate::message::Receipt;
use crate::spool::disk::chunk::packer::Packer;
use crate::spool::disk::error::StoreError;
use crate::spool::disk::folder::DataFolder;
use crate::spool::disk::open;
use crate::spool::disk::store::Store;
use crate::spool::error::Error;
use crate::spool::lock::locked;
use crate::spool::shared::Shared;
use crate::spool::shared::end::ShutdownMode;
use crate::spool::space::condition::StoreCondition;
use crate::spool::space::disk_full::DiskFullPlan;
use crate::spool::space::free_space::{FreeSpace, SpaceLevel};
use crate::spool::writer::loss_reporter::LossReporter;
use crate::spool::writer::work::{CommitWork, Demand, Doubt};

pub(super) const WAIT_US: u64 = 1_000_000;
/// How often the free space is looked at while there is enough, and while there is not.
const LOOK_US: u64 = 5_000_000;
/// The longest delay on a full or read-only disk: it is well again at once when somebody has tidied up.
const FULL_RETRY_US: u64 = 4_000_000;
/// The first delay before the store is opened anew, and the longest.
pub(super) const RETRY_US: (u64, u64) = (1_000_000, 30_000_000);
/// Messages cloned under a queue's lock at a time.
pub(super) const COPY: usize = 512;
/// Bytes of chunks of one queue in one commit: bounds what packing holds in RAM. The rest is due again at once.
pub(super) const COMMIT_BYTES: u64 = 16 << 20;

/// The writer's own state.
pub(super) struct Writer {
    shared: Arc<Shared>,
    folder: DataFolder,
    packer: Packer,
    work: CommitWork,
    /// After a failure: when to open the store anew.
    retry_at: Option<RunningTime>,
    /// The delay after the next failure; back at its first value once something was written.
    delay_us: u64,
    /// A failed commit may have left letters behind, which must not be counted twice.
    is_repeating: bool,
    /// The store was open at some time since the start.
    was_open: bool,
    /// Receipts of what is given up for good, until the store stands again.
    released: Vec<Receipt>,
    /// So many queues, the first ones, are the store's too: the others take up what it holds when it is opened.
    known: usize,
    free_space: FreeSpace,
    space_level: SpaceLevel,
    disk_full: DiskFullPlan,
    /// When to look at the free space again.
    look_at: RunningTime,
    /// Of a failed commit: what may be on disk all the same.
    doubt: Doubt,
    loss_reporters: Vec<LossReporter>,
    /// Bytes each queue has got since it was last compacted.
    grown: Vec<u64>,
    /// Records sent since the start.
    reports: u64,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, folder: DataFolder, free_space: FreeSpace) -> Self {
        let was_open = shared.open_store.is_open();
        let mut writer = Self {
            was_open,
            released: Vec::new(),
            known: if was_open { shared.slots.len() } else { 0 },
            free_space,
            space_level: SpaceLevel::default(),
            disk_full: DiskFullPlan::default(),
            look_at: RunningTime::START,
            doubt: Doubt::default(),
            loss_reporters: loss_reporter::all(&shared),
            // What an earlier run wrote is not known, so the first time counts as due.
            grown: vec![u64::MAX; shared.slots.len()],
            reports: 0,
            shared,
            folder,
            packer: Packer::new(),
            work: CommitWork::default(),
            retry_at: None,
            delay_us: RETRY_US.0,
            is_repeating: false,
        };
        writer.look();
        writer
    }

    /// The loop: sleeps until something is due, ends when told to.
    pub(super) fn run(&mut self) -> Result<(), Error> {
        loop {
            self.shared.wake_up.look();
            let ending = self.shared.end.how();
            match ending {
                Some(ShutdownMode::Abandon) => return Ok(()),
                Some(ShutdownMode::Write) => return self.write_all(),
                None => {}
            }
            self.add_wanted();
            self.take_snapshot();
            let now = self.shared.clock.now();
            self.shared.health.turn(now);
            match self.next_due() {
                Some(due) if due <= now => {
                    self.shared.wake_up.busy();
                    self.turn(now);
                }
                due => self.shared.wake_up.sleep(now, due),
            }
        }
    }

    /// When there is something to do.
    fn next_due(&mut self) -> Option<RunningTime> {
        if self.shared.health.is_in_trouble() {
            return self.retry_at.or_else(|| Some(self.postpone()));
        }
        let may_spill = self.may_spill();
        let may_write = self.may_write();
        let disk_full = self.disk_full;
        let urgent_bytes = self.urgent_bytes();
        if disk_full.giver.is_some() || (may_write && locked(&self.shared.letters.waiting).is_due())
        {
            return Some(RunningTime::START);
        }
        let dues = self.shared.slots.iter().filter_map(|slot| {
            let limits = self.shared.limits(slot);
            let queue = locked(&slot.queue);
            if may_spill {
                return queue.due(limits);
            }
            let pressed = (disk_full.lets_spill(slot.policy()) && queue.is_urgent(urgent_bytes))
                .then_some(RunningTime::START);
            queue.low_due().into_iter().chain(pressed).min()
        });
        let state_due = locked(&self.shared.checkpoints).due();
        let records = self
            .loss_reporters
            .iter()
            .filter_map(|reporter| reporter.due(&self.shared));
        let written = records
            .chain(self.pending_due())
            .chain(state_due)
            .filter(|_| may_write);
        let urgent = locked(&self.shared.pending)
            .is_urgent()
            .then_some(RunningTime::START);
        dues.chain([self.look_at])
            .chain(written)
            .chain(urgent)
            .min()
    }

    /// When what was given up outside a commit is to be written.
    fn pending_due(&self) -> Option<RunningTime> {
        self.shared.pending_due(&locked(&self.shared.pending))
    }

    fn may_spill(&self) -> bool {
        self.space_level.condition == StoreCondition::Well
    }

    /// The same, or others make room for it.
    fn may_write(&self) -> bool {
        self.may_spill() || self.disk_full.may_write()
    }

    /// Does what is due.
    pub(super) fn turn(&mut self, now: RunningTime) {
        self.look();
        if !self.shared.health.is_in_trouble() || self.reopen() {
            self.report_losses(now);
            self.commit(Demand::Due(now));
        }
    }

    /// Looks how much room there is.
    fn look(&mut self) {
        let shared = &self.shared;
        self.space_level = self.free_space.look();
        if !shared.health.is_in_trouble()
            && shared.open_store.is_open()
            && !self.folder.is_in_place()
        {
            shared.report_trouble(&StoreError::Away);
        }
        self.disk_full = self.plan_for_disk_full();
        self.look_at = shared
            .clock
            .now()
            .plus_us(if self.may_spill() { LOOK_US } else { WAIT_US });
        let is_over = self.may_spill() && !self.is_repeating && !shared.health.is_in_trouble();
        shared.health.note_space(self.space_level, is_over);
        locked(&shared.wear).sample(shared.clock.now(), shared.totals());
    }

    /// The end: everything goes to disk. A store that fails gets one more chance.
    fn write_all(&mut self) -> Result<(), Error> {
        let mut chances = 2;
        loop {
            let messages: u64 = self
                .shared
                .slots
                .iter()
                .map(|slot| locked(&slot.queue).tally().in_ram)
                .sum();
            let letters = locked(&self.shared.letters.waiting).len() as u64;
            let states = locked(&self.shared.checkpoints).len();
            let is_told = self.pending_due().is_none()
                && !self.loss_reporters.iter().any(LossReporter::is_waiting);
            self.look();
            let is_well = !self.shared.health.is_in_trouble() || self.reopen();
            if is_well && self.commit(Demand::All) {
                if messages == 0 && letters == 0 && states == 0 && is_told {
                    self.note_all();
                    open::retire(&self.shared.config, &self.folder);
                    return Ok(());
                }
                if self.may_spill() || self.disk_full.is_possible() {
                    continue;
                }
            }
            chances -= 1;
            if chances == 0 {
                return Err(Error::Unwritten { messages, letters });
            }
        }
    }

    /// The end is written: what there is is noted for the next start.
    fn note_all(&self) {
        self.shared.witness_soon();
        if let Err(error) = self.shared.write_low_marks() {
            tracing::debug!(%error, "what there is was not noted");
        }
    }

    /// One commit. False when it failed.
    pub(super) fn commit(&mut self, demand: Demand) -> bool {
        let Some(store) = self.shared.store(Duration::ZERO) else {
            return false;
        };
        let now = self.shared.clock.now();
        self.shared.health.begin_commit(now);
        let written = catch_unwind(AssertUnwindSafe(|| self.write(&store, demand)));
        self.shared.health.end_commit();
        match written.unwrap_or_else(|_| Err(StoreError::Damaged("packing panicked".to_owned()))) {
            Ok(()) => {
                self.finish();
                true
            }
            Err(error) => {
                self.undo();
                self.shared.report_trouble(&error);
                self.look();
                self.postpone();
                false
            }
        }
    }

    /// When the store is opened anew; the delay doubles, as far as what is waited for cannot be seen to be over.
    fn postpone(&mut self) -> RunningTime {
        let now = self.shared.clock.now();
        let most = match self.shared.condition(now) {
            StoreCondition::DiskFull | StoreCondition::ReadOnly => FULL_RETRY_US,
            StoreCondition::Failing | StoreCondition::Well => RETRY_US.1,
        };
        let at = now.plus_us(self.delay_us.min(most));
        self.delay_us = self.delay_us.saturating_mul(2).min(RETRY_US.1);
        *self.retry_at.insert(at)
    }

    /// Packs, writes and syncs.
    fn write(&mut self, store: &Store, demand: Demand) -> Result<(), StoreError> {
        let started = Instant::now();
        if !self.folder.is_in_place() {
            return Err(StoreError::Away);
        }
        for index in 0..self.shared.slots.len() {
            self.write_queue(store, index, demand)?;
        }
        self.write_letters(store)?;
        let is_urgent = locked(&self.shared.pending).is_urgent();
        if self.may_write() {
            self.write_states(store, demand)?;
        }
        // What an operator gives up is to make room.
        if self.may_write() || is_urgent {
            self.write_pending(store, demand)?;
        }
        let must_last = self.work.must_last();
        let all = demand == Demand::All;
        if must_last || all || !self.work.queues.is_empty() || !self.work.settling.holes.is_empty()
        {
            store.settle(all)?;
            // Files that were removed meanwhile took it, and nobody will find it there.
            if !self.folder.is_in_place() {
                return Err(StoreError::Away);
            }
        }
        if must_last {
            self.shared.metrics.commits.inc();
            self.shared
                .metrics
                .commit_seconds
                .observe(started.elapsed().as_secs_f64());
        }
        Ok(())
    }
}
