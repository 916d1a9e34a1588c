//! The store thread: packs what is due into chunks, makes it durable, and only then releases receipts.
//!
//! One commit takes all queues that are due and all waiting dead letters: a batch for each tree, one `flush`, one
//! `syncfs`. What arrives meanwhile goes into the next. A commit that fails leaves everything in RAM as it was; the
//! store is opened anew after a delay, and the same messages are written again.
//!
//! What a commit gives up is entered in the ledger in the same batch, and its receipts are released with the others.

mod compact;
mod gap;
mod room;
mod spill;
mod undo;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use gap::Teller;
use room::Room;
use spill::Packed;
use undo::Doubt;

use super::chunk::{Extent, Packer};
use super::folder::Folder;
use super::ledger::{Books, Changes, Entry};
use super::letters::{self, LetterId, Then, Waiting};
use super::queue::{self, Held, Mark};
use super::settings::Giving;
use super::store::{Kept, QueueChange, Store, StoreError};
use super::{Ending, Error, LEDGER_EVERY_US, Shared, locked};
use crate::message::{LossReason, Receipt};

/// Bytes of chunks of one queue in one commit: bounds what packing holds in RAM. The rest is due again at once.
const COMMIT_BYTES: u64 = 16 << 20;
/// Bytes of dead letters in one commit.
const LETTER_BYTES: usize = 4 << 20;
/// Messages cloned under a queue's lock at a time.
const COPY: usize = 512;
/// The first delay before the store is opened anew, and the longest.
const RETRY_US: (u64, u64) = (1_000_000, 30_000_000);

/// What one commit is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// What is due by now (running clock).
    Due(u64),
    /// Everything in RAM.
    All,
}

/// What a commit has in hand until it is through.
#[derive(Default)]
struct Work {
    queues: Vec<QueueWork>,
    letters: Vec<Waiting>,
    kept: Option<Kept>,
    evicted: u64,
    bytes: u64,
    /// The ledger as it will be.
    draft: Option<Books>,
    /// What was given up before this commit, and the number of the change that holds it.
    pending: Vec<Entry>,
    pending_stamp: Option<u64>,
}

struct QueueWork {
    index: usize,
    extents: Vec<Extent>,
    mark: Mark,
    gone: Vec<u64>,
    /// Chunks that are given up.
    victims: Vec<Extent>,
    lost: Vec<Entry>,
    /// Number of the ledger's change that went with it, when something is given up.
    stamp: Option<u64>,
}

/// The store thread's own state.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    folder: Folder,
    packer: Packer,
    work: Work,
    /// After a failure: when to open the store anew (running clock).
    retry_at: Option<u64>,
    /// The delay after the next failure; back at its first value once something was written.
    delay_us: u64,
    /// A failed commit may have left letters behind, which must not be counted twice.
    is_repeating: bool,
    /// Of a failed commit: what may be on disk all the same.
    doubt: Doubt,
    tellers: Vec<Teller>,
    /// Bytes each queue has got since it was last compacted.
    grown: Vec<u64>,
    /// Records sent since the start.
    told: u64,
}

impl Keeper {
    /// Not running yet.
    pub(super) fn new(shared: Arc<Shared>, folder: Folder) -> Self {
        let tellers = gap::tellers(&shared);
        // What an earlier run wrote is not known, so the first time counts as due.
        let grown = vec![u64::MAX; shared.slots.len()];
        Self {
            shared,
            folder,
            packer: Packer::new(),
            work: Work::default(),
            retry_at: None,
            delay_us: RETRY_US.0,
            is_repeating: false,
            doubt: Doubt::default(),
            tellers,
            grown,
            told: 0,
        }
    }

    /// The loop: sleeps until something is due, ends when told to.
    pub(super) fn run(mut self) -> Result<(), Error> {
        loop {
            self.shared.bell.look();
            let ending = *locked(&self.shared.ending);
            match ending {
                Some(Ending::Abandon) => return Ok(()),
                Some(Ending::Write) => return self.write_all(),
                None => {}
            }
            let now_us = self.shared.clock.now();
            match self.next_due() {
                Some(due) if due <= now_us => {
                    self.shared.bell.busy();
                    self.turn(now_us);
                }
                due => self.shared.bell.sleep(now_us, due),
            }
        }
    }

    /// When there is something to do (running clock).
    fn next_due(&mut self) -> Option<u64> {
        if self.shared.trouble.load(Ordering::Acquire) {
            return self.retry_at.or_else(|| Some(self.postpone()));
        }
        if locked(&self.shared.pile).len() > 0 {
            return Some(0);
        }
        let dues = self.shared.slots.iter().map(|slot| (slot, self.shared.limits(slot)));
        let dues = dues.filter_map(|(slot, limits)| locked(&slot.queue).due(limits));
        let records = self.tellers.iter().filter_map(|teller| teller.due(&self.shared));
        dues.chain(records).chain(self.pending_due()).min()
    }

    /// When what was given up outside a commit is to be written (running clock).
    fn pending_due(&self) -> Option<u64> {
        locked(&self.shared.pending).since_us().map(|since| since.saturating_add(LEDGER_EVERY_US))
    }

    /// Does what is due.
    pub(super) fn turn(&mut self, now_us: u64) {
        if !self.shared.trouble.load(Ordering::Acquire) || self.reopen() {
            self.tell(now_us);
            self.commit(Demand::Due(now_us));
        }
    }

    /// The end: everything goes to disk. A store that fails gets one more chance.
    fn write_all(&mut self) -> Result<(), Error> {
        let mut chances = 2;
        loop {
            let messages: u64 = self.shared.slots.iter().map(|slot| locked(&slot.queue).tally().in_ram).sum();
            let letters = locked(&self.shared.pile).len() as u64;
            let is_told = self.pending_due().is_none() && !self.tellers.iter().any(Teller::is_waiting);
            let is_well = !self.shared.trouble.load(Ordering::Acquire) || self.reopen();
            if is_well && self.commit(Demand::All) {
                if messages == 0 && letters == 0 && is_told {
                    return Ok(());
                }
                continue;
            }
            chances -= 1;
            if chances == 0 {
                return Err(Error::Unwritten { messages, letters });
            }
        }
    }

    /// One commit. False when it failed.
    pub(super) fn commit(&mut self, demand: Demand) -> bool {
        let Some(store) = self.shared.store(Duration::ZERO) else { return false };
        let now_us = self.shared.clock.now();
        self.shared.commit_since.store(now_us.max(1), Ordering::Release);
        let written = catch_unwind(AssertUnwindSafe(|| self.write(&store, demand)));
        self.shared.commit_since.store(0, Ordering::Release);
        match written.unwrap_or_else(|_| Err(StoreError::Damaged("packing panicked".to_owned()))) {
            Ok(()) => {
                self.finish();
                true
            }
            Err(error) => {
                self.undo();
                self.shared.report_trouble(&error);
                self.postpone();
                false
            }
        }
    }

    /// When the store is opened anew; the delay doubles.
    fn postpone(&mut self) -> u64 {
        let at = self.shared.clock.now().saturating_add(self.delay_us);
        self.delay_us = self.delay_us.saturating_mul(2).min(RETRY_US.1);
        *self.retry_at.insert(at)
    }

    /// Packs, writes and syncs.
    fn write(&mut self, store: &Store, demand: Demand) -> Result<(), StoreError> {
        let started = Instant::now();
        for index in 0..self.shared.slots.len() {
            self.write_queue(store, index, demand)?;
        }
        self.write_letters(store)?;
        self.write_pending(store, demand)?;
        let must_last = self.work.bytes > 0 || self.work.draft.is_some();
        if must_last || !self.work.queues.is_empty() {
            store.flush()?;
        }
        if must_last {
            #[cfg(test)]
            self.shared.fail_when_told()?;
            store.sync()?;
            self.shared.metrics.commits.inc();
            self.shared.metrics.commit_seconds.observe(started.elapsed().as_secs_f64());
        }
        Ok(())
    }

    /// Packs and writes what one queue has for the disk. Deletions and `low` alone need no sync: losing them sends
    /// messages twice.
    fn write_queue(&mut self, store: &Store, index: usize, demand: Demand) -> Result<(), StoreError> {
        let slot = &self.shared.slots[index];
        let limits = self.shared.limits(slot);
        let (wants_spill, wants_write, spill) = {
            let mut queue = locked(&slot.queue);
            let is_due = |due: Option<u64>| match demand {
                Demand::Due(now_us) => due.is_some_and(|due| due <= now_us),
                Demand::All => true,
            };
            let wants_spill = is_due(queue.spill_due(limits));
            (wants_spill, wants_spill || is_due(queue.due(limits)), if wants_spill { queue.cut() } else { (0, 0) })
        };
        if !wants_write {
            return Ok(());
        }
        let packed = if wants_spill { self.pack(index, spill) } else { Packed::default() };
        let more: u64 = packed.chunks.iter().map(|chunk| chunk.extent.bytes).sum();
        self.grown[index] = self.grown[index].saturating_add(more);
        let room = if self.is_crowded(index, more) { self.make_room(store, index, more)? } else { Room::default() };
        self.write_changes(store, index, packed, room)
    }

    /// Whether something on disk is to be given up, once `more` bytes have come.
    fn is_crowded(&self, index: usize, more: u64) -> bool {
        let slot = &self.shared.slots[index];
        let queue = locked(&slot.queue);
        let is_over = slot.policy.giving != Giving::Newest && queue.disk_bytes().saturating_add(more) > slot.policy.max_bytes;
        is_over || queue.policy_due(slot.policy).is_some_and(|due| due <= self.shared.clock.now())
    }

    /// Writes what was packed and deletes what goes, together with its entries in the ledger.
    fn write_changes(&mut self, store: &Store, index: usize, packed: Packed, room: Room) -> Result<(), StoreError> {
        let end = packed.chunks.last().map_or(0, |chunk| chunk.extent.end);
        let chunks: Vec<_> = packed.chunks.into_iter().chain(room.written).collect();
        let extents: Vec<Extent> = chunks.iter().map(|chunk| chunk.extent).collect();
        let bytes = extents.iter().map(|extent| extent.bytes).sum();
        let victims: Vec<Extent> = packed.replaced.into_iter().chain(room.victims).collect();
        let lost: Vec<Entry> = packed.lost.into_iter().chain(room.lost).collect();
        let Some((mark, gone)) = locked(&self.shared.slots[index].queue).plan(end, bytes, self.shared.clock.now()) else {
            locked(&self.shared.slots[index].queue).spare();
            return Ok(());
        };
        let mut removed = gone.clone();
        removed.extend(victims.iter().map(|extent| extent.first));
        self.work.bytes += bytes;
        let (changes, stamp) = self.enter(&lost);
        self.work.queues.push(QueueWork { index, extents, mark, gone, victims, lost, stamp });
        store.write_queue(index, QueueChange { chunks, gone: &removed, mark, given_up: changes })
    }

    /// Enters `lost` in the draft of the ledger; answers what the tree has to learn, and the number of that change.
    fn enter(&mut self, lost: &[Entry]) -> (Option<Changes>, Option<u64>) {
        if lost.is_empty() {
            return (None, None);
        }
        let draft = self.work.draft.get_or_insert_with(|| locked(&self.shared.books).clone());
        for entry in lost {
            draft.post(entry.clone());
        }
        let changes = draft.changes();
        let stamp = changes.is_some().then(|| draft.stamp());
        (changes, stamp)
    }

    /// Writes what was given up outside a commit, when that is due or something is written anyway; notes which records
    /// are safe.
    fn write_pending(&mut self, store: &Store, demand: Demand) -> Result<(), StoreError> {
        let is_due = match demand {
            Demand::Due(now_us) => self.pending_due().is_some_and(|due| due <= now_us),
            Demand::All => true,
        };
        let has_told = self.tellers.iter().any(Teller::is_safe);
        if !is_due && !has_told && self.work.bytes == 0 {
            return Ok(());
        }
        self.work.pending = locked(&self.shared.pending).take();
        if self.work.pending.is_empty() && !has_told {
            return Ok(());
        }
        let draft = self.work.draft.get_or_insert_with(|| locked(&self.shared.books).clone());
        for teller in &mut self.tellers {
            teller.note(draft);
        }
        for entry in &self.work.pending {
            draft.post(entry.clone());
        }
        let Some(changes) = draft.changes() else { return Ok(()) };
        self.work.pending_stamp = Some(draft.stamp());
        store.write_ledger(changes)
    }

    /// Writes waiting letters; the oldest make room.
    fn write_letters(&mut self, store: &Store) -> Result<(), StoreError> {
        self.work.letters = locked(&self.shared.pile).take(LETTER_BYTES);
        if self.work.letters.is_empty() {
            return Ok(());
        }
        let limit = self.shared.config.dead_letters;
        let skipped = self.work.letters.len().saturating_sub(limit);
        let mut kept = *locked(&self.shared.letters);
        let mut values: Vec<(LetterId, Vec<u8>)> = Vec::with_capacity(self.work.letters.len() - skipped);
        for waiting in &self.work.letters[skipped..] {
            if !self.is_repeating || !store.has_letter(waiting.id)? {
                kept[letters::reason_number(waiting.letter.reason)] += 1;
            }
            values.push((waiting.id, letters::encode(waiting)));
        }
        let overflow = kept.iter().sum::<u64>().saturating_sub(limit as u64);
        let oldest = if overflow > 0 { store.oldest_letters(usize::try_from(overflow).unwrap_or(limit))? } else { Vec::new() };
        for (_, reason) in &oldest {
            if let Some(kept) = reason.and_then(|reason| kept.get_mut(letters::reason_number(reason))) {
                *kept = kept.saturating_sub(1);
            }
        }
        let gone: Vec<LetterId> = oldest.into_iter().map(|(id, _)| id).collect();
        self.work.bytes += values.iter().map(|(_, value)| value.len() as u64).sum::<u64>().max(1);
        self.work.evicted = (gone.len() + skipped) as u64;
        self.work.kept = Some(kept);
        let evicted = (self.work.evicted > 0).then(|| self.shared.plain(LossReason::DeadLettersEvicted, self.work.evicted));
        let (changes, _) = self.enter(evicted.as_slice());
        store.write_letters(&values, &gone, kept, changes)
    }

    /// The commit is through: RAM lets go, and the receipts are released outside the locks.
    fn finish(&mut self) {
        let work = std::mem::take(&mut self.work);
        self.shared.metrics.written.inc_by(work.bytes);
        if let Some(books) = work.draft {
            *locked(&self.shared.books) = books;
            self.tellers.iter_mut().for_each(Teller::committed);
        }
        for done in work.queues {
            self.finish_queue(done);
        }
        if let Some(kept) = work.kept {
            *locked(&self.shared.letters) = kept;
            self.shared.evicted.fetch_add(work.evicted, Ordering::Relaxed);
            if work.evicted > 0 {
                self.shared.count(&self.shared.plain(LossReason::DeadLettersEvicted, work.evicted));
            }
        }
        for waiting in work.letters {
            match waiting.then {
                Then::Release(Some(receipt)) => receipt.release(),
                Then::Release(None) => {}
                Then::Accept(queue, place) => self.shared.accept(queue, place, place.next()),
            }
        }
        self.is_repeating = false;
        if work.bytes > 0 {
            self.delay_us = RETRY_US.0;
            if self.shared.is_reported.swap(false, Ordering::AcqRel) {
                tracing::info!(path = %self.folder.path().display(), "the store can be written again");
            }
        }
    }

    /// What a queue gave up is owed no more, what was spilled leaves RAM.
    fn finish_queue(&self, done: QueueWork) {
        let slot = &self.shared.slots[done.index];
        let now_us = self.shared.clock.now();
        let mut released: Vec<Receipt> = Vec::new();
        let held: VecDeque<Held> = {
            let mut queue = locked(&slot.queue);
            queue.give_up(&done.victims, now_us, &mut released);
            queue.committed(&done.extents, done.mark, now_us)
        };
        queue::release(held);
        released.into_iter().for_each(Receipt::release);
        done.lost.iter().for_each(|entry| self.shared.count(entry));
        if !done.lost.is_empty() {
            slot.link.ring();
        }
    }
}
