//! One commit: what it writes of each queue, of plugins' state and of the ledger, and what follows when it is through.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock::RunningTime;
use crate::message::{LossReason, Receipt, Seq};
use crate::spool::dead_letters::waiting::Then;
use crate::spool::disk::chunk::Extent;
use crate::spool::disk::error::StoreError;
use crate::spool::disk::store::{QueueChange, Store};
use crate::spool::ledger::LedgerEntry;
use crate::spool::ledger::store::LedgerChanges;
use crate::spool::lock::locked;
use crate::spool::memory::queue::head::{self, HeadMessage};
use crate::spool::writer::loss_reporter::LossReporter;
use crate::spool::writer::make_room::Cleared;
use crate::spool::writer::spill::PackedSpill;
use crate::spool::writer::work::{Demand, QueueWork};
use crate::spool::writer::{RETRY_US, Writer};

impl Writer {
    /// Packs and writes what one queue has for the disk. Deletions and `low` alone need no sync: losing them sends
    /// messages twice.
    pub(super) fn write_queue(
        &mut self,
        store: &Store,
        index: usize,
        demand: Demand,
    ) -> Result<(), StoreError> {
        let slot = &self.shared.slots[index];
        let limits = self.shared.limits(slot);
        let may_spill = self.may_spill();
        let disk_full = self.disk_full;
        let urgent_bytes = self.urgent_bytes();
        let (wants_write, spill) = {
            let mut queue = locked(&slot.queue);
            let is_due = |due: Option<RunningTime>| demand.includes(due);
            let is_pressed = demand == Demand::All || queue.is_urgent(urgent_bytes);
            let wants_spill = if may_spill {
                is_due(queue.spill_due(limits))
            } else {
                disk_full.lets_spill(slot.policy()) && is_pressed
            };
            let wants_room = (may_spill && is_due(queue.policy_due(limits.policy)))
                || disk_full.giver == Some(index);
            let wants_write = wants_spill || wants_room || is_due(queue.low_due());
            (wants_write, wants_spill.then(|| queue.cut()))
        };
        if !wants_write {
            return Ok(());
        }
        let packed = spill.map_or_else(PackedSpill::default, |part| self.pack(index, part));
        let more: u64 = packed.chunks.iter().map(|chunk| chunk.extent.bytes).sum();
        self.grown[index] = self.grown[index].saturating_add(more);
        let cleared = if self.is_crowded(index, more) {
            self.make_room(store, index, more)?
        } else {
            Cleared::default()
        };
        self.write_changes(store, index, packed, cleared)
    }

    /// Whether something on disk is to be given up, once `more` bytes have come.
    fn is_crowded(&self, index: usize, more: u64) -> bool {
        let slot = &self.shared.slots[index];
        let queue = locked(&slot.queue);
        slot.policy()
            .is_over(queue.disk_bytes().saturating_add(more))
            || self.disk_full.giver == Some(index)
            || queue
                .policy_due(slot.policy())
                .is_some_and(|due| due <= self.shared.clock.now())
    }

    /// Writes what was packed and deletes what goes, together with its entries in the ledger.
    fn write_changes(
        &mut self,
        store: &Store,
        index: usize,
        packed: PackedSpill,
        cleared: Cleared,
    ) -> Result<(), StoreError> {
        let end = packed
            .chunks
            .last()
            .map_or(Seq::FIRST, |chunk| chunk.extent.end);
        let chunks: Vec<_> = packed.chunks.into_iter().chain(cleared.written).collect();
        let extents: Vec<Extent> = chunks.iter().map(|chunk| chunk.extent).collect();
        let bytes = extents.iter().map(|extent| extent.bytes).sum();
        let victims: Vec<Extent> = packed.replaced.into_iter().chain(cleared.victims).collect();
        let lost: Vec<LedgerEntry> = packed.lost.into_iter().chain(cleared.lost).collect();
        let Some((mark, gone)) =
            locked(&self.shared.slots[index].queue).plan(end, bytes, self.shared.clock.now())
        else {
            locked(&self.shared.slots[index].queue).unmark_for_drop();
            return Ok(());
        };
        let mut removed = gone.clone();
        removed.extend(victims.iter().map(|extent| extent.first));
        self.work.bytes += bytes;
        let (changes, stamp) = self.enter(&lost);
        self.work.queues.push(QueueWork {
            index,
            extents,
            mark,
            gone,
            victims,
            lost,
            stamp,
        });
        store.write_queue(
            index,
            QueueChange {
                chunks,
                gone: &removed,
                mark,
                given_up: changes,
            },
        )
    }

    /// Enters `lost` in the draft of the ledger; answers what the tree has to learn, and the number of that change.
    pub(super) fn enter(&mut self, lost: &[LedgerEntry]) -> (Option<LedgerChanges>, Option<u64>) {
        if lost.is_empty() {
            return (None, None);
        }
        let draft = self
            .work
            .draft
            .get_or_insert_with(|| locked(&self.shared.ledger_store).clone());
        for entry in lost {
            draft.post(entry.clone());
        }
        let changes = draft.changes();
        let stamp = changes.is_some().then(|| draft.stamp());
        (changes, stamp)
    }

    /// Writes what was given up outside a commit, when that is due or something is written anyway; notes which records
    /// are safe.
    pub(super) fn write_pending(
        &mut self,
        store: &Store,
        demand: Demand,
    ) -> Result<(), StoreError> {
        let is_due = match demand {
            Demand::Due(now) => self.pending_due().is_some_and(|due| due <= now),
            Demand::All => true,
        };
        let has_told = self.loss_reporters.iter().any(LossReporter::is_safe);
        if !is_due && !has_told && self.work.bytes == 0 {
            return Ok(());
        }
        (self.work.pending, self.work.settling) = locked(&self.shared.pending).take();
        for (index, places) in &self.work.settling.holes {
            store.bridge(*index, places.clone())?;
        }
        if self.work.pending.is_empty() && !has_told {
            return Ok(());
        }
        let draft = self
            .work
            .draft
            .get_or_insert_with(|| locked(&self.shared.ledger_store).clone());
        for reporter in &mut self.loss_reporters {
            reporter.note(draft);
        }
        for entry in &self.work.pending {
            draft.post(entry.clone());
        }
        let Some(changes) = draft.changes() else {
            return Ok(());
        };
        self.work.pending_stamp = Some(draft.stamp());
        store.write_ledger(changes);
        Ok(())
    }

    /// Writes what plugins have to remember.
    pub(super) fn write_states(&mut self, store: &Store, demand: Demand) -> Result<(), StoreError> {
        let mut checkpoints = locked(&self.shared.checkpoints);
        if demand.includes(checkpoints.due()) {
            self.work.states = checkpoints.take();
        }
        drop(checkpoints);
        self.work.state_bytes = store.write_state(&self.work.states)?;
        if self.is_repeating && !self.work.states.is_empty() {
            // What a failed commit has left in the store looks as if it were written, and was never synced.
            self.work.state_bytes = self.work.state_bytes.max(1);
        }
        Ok(())
    }

    /// The commit is through: RAM lets go, and the receipts are released outside the locks.
    pub(super) fn finish(&mut self) {
        let work = std::mem::take(&mut self.work);
        let must_last = work.must_last();
        if let Some(store) = self.shared.store(Duration::ZERO).filter(|_| must_last) {
            self.shared.noting.set_witness(store.witness());
            self.shared.witness_soon();
        }
        self.shared.metrics.written.inc_by(work.bytes);
        self.shared.metrics.state_written.inc_by(work.state_bytes);
        self.shared
            .metrics
            .checkpoints
            .inc_by(u64::from(work.state_bytes > 0));
        if let Some(ledger_store) = work.draft {
            *locked(&self.shared.ledger_store) = ledger_store;
            self.loss_reporters
                .iter_mut()
                .for_each(LossReporter::committed);
        }
        for done in work.queues {
            self.finish_queue(done);
        }
        if let Some(kept) = work.kept {
            *locked(&self.shared.letters.kept) = kept;
            self.shared
                .letters
                .evicted
                .fetch_add(work.evicted, Ordering::Relaxed);
            if work.evicted > 0 {
                self.shared.count(
                    &self
                        .shared
                        .plain(LossReason::DeadLettersEvicted, work.evicted),
                );
            }
        }
        {
            let mut waiting_letters = locked(&self.shared.letters.waiting);
            waiting_letters.forgot(&work.forgotten);
            waiting_letters.wrote();
        }
        for waiting in work.letters {
            match waiting.then {
                Then::Release(Some(receipt)) => receipt.release(),
                Then::Release(None) => {}
                Then::Accept(queue, place) => self.shared.accept(queue, place, place.next()),
            }
        }
        self.shared.settle(work.settling);
        self.is_repeating &= !self.may_write();
        if must_last {
            self.delay_us = RETRY_US.0;
            locked(&self.shared.wear).wrote(self.shared.clock.now());
            self.shared.health.all_clear();
        }
    }

    /// What a queue gave up is owed no more, what was spilled leaves RAM.
    fn finish_queue(&self, done: QueueWork) {
        let slot = &self.shared.slots[done.index];
        let now = self.shared.clock.now();
        let mut released: Vec<Receipt> = Vec::new();
        let held: VecDeque<HeadMessage> = {
            let mut queue = locked(&slot.queue);
            queue.give_up(&done.victims, now, &mut released);
            queue.committed(&done.extents, done.mark, now)
        };
        head::release(held);
        released.into_iter().for_each(Receipt::release);
        self.shared.noting.wake_up.due(RunningTime::START);
        done.lost.iter().for_each(|entry| self.shared.count(entry));
        if !done.lost.is_empty() {
            slot.link.wake();
        }
    }
}
