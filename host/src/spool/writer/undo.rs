//! After a failure: everything is as before, and once the store is open again it is found out what of the failed commit is
//! on disk all the same.
//!
//! A commit that gives something up deletes it and enters it in the ledger in one batch. When the sync behind it fails,
//! that batch may have survived or not: the number of the ledger's last change tells. What survived is given up now,
//! what did not is owed as before.

use crate::message::Receipt;
use crate::spool::lock::locked;
use crate::spool::writer::Writer;
use crate::spool::writer::loss_reporter::LossReporter;
use crate::spool::writer::work::Doubt;

impl Writer {
    /// The commit failed: everything is as before, but what is in doubt stays barred until the store is open again.
    pub(super) fn undo(&mut self) {
        let mut work = std::mem::take(&mut self.work);
        for failed in &mut work.queues {
            locked(&self.shared.slots[failed.index].queue)
                .give_back_gone(std::mem::take(&mut failed.gone));
        }
        work.queues.retain(|failed| failed.stamp.is_some());
        for (index, slot) in self.shared.slots.iter().enumerate() {
            if !work.queues.iter().any(|failed| failed.index == index) {
                locked(&slot.queue).unmark_for_drop();
                slot.link.wake();
            }
        }
        let mut waiting_letters = locked(&self.shared.letters.waiting);
        waiting_letters.give_back(work.letters);
        waiting_letters.keep(work.forgotten);
        drop(waiting_letters);
        locked(&self.shared.checkpoints).give_back(work.states, self.shared.clock.now());
        let queues = work.queues;
        let pending = work.pending;
        let settling = work.settling;
        let pending_stamp = work.pending_stamp;
        self.doubt = Doubt {
            queues,
            pending,
            settling,
            pending_stamp,
        };
        self.is_repeating = true;
    }

    /// The store does not open, and who knows when it will: what RAM has goes on.
    pub(super) fn unmark_ram(&self) {
        for failed in &self.doubt.queues {
            let slot = &self.shared.slots[failed.index];
            locked(&slot.queue).unmark_ram();
            slot.link.wake();
        }
    }

    /// Gives up what is in the ledger by now, and spares the rest. Answers the receipts to release.
    pub(super) fn settle_doubt(&mut self, survived: u64) -> Vec<Receipt> {
        let doubt = std::mem::take(&mut self.doubt);
        let is_in = |stamp: Option<u64>| stamp.is_some_and(|stamp| stamp <= survived);
        let mut released = Vec::new();
        for failed in doubt.queues {
            let slot = &self.shared.slots[failed.index];
            let mut queue = locked(&slot.queue);
            if is_in(failed.stamp) {
                queue.give_up(&failed.victims, self.shared.clock.now(), &mut released);
                failed
                    .lost
                    .iter()
                    .for_each(|entry| self.shared.count(entry));
            } else {
                queue.unmark_for_drop();
            }
        }
        if is_in(doubt.pending_stamp) {
            self.loss_reporters
                .iter_mut()
                .for_each(LossReporter::committed);
            self.shared.settle(doubt.settling);
        } else {
            self.loss_reporters
                .iter_mut()
                .for_each(LossReporter::not_committed);
            locked(&self.shared.pending).give_back(
                doubt.pending,
                doubt.settling,
                self.shared.clock.now(),
            );
        }
        released
    }
}
