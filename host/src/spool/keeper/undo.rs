//! After a failure: everything is as before, the store is opened anew, and it is found out what of the failed commit
//! is on disk all the same.
//!
//! A commit that gives something up deletes it and enters it in the ledger in one batch. When the sync behind it fails,
//! that batch may have survived or not: the number of the ledger's last change tells. What survived is given up now,
//! what did not is owed as before.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Keeper, QueueWork};
use crate::message::Receipt;
use crate::spool::ledger::Entry;
use crate::spool::store::{self, Opened, QueueChange, Store, StoreError};
use crate::spool::{locked, sign};

/// How long readers of a failed store may take to let go of it.
const LET_GO: Duration = Duration::from_secs(2);

/// What may be on disk although its commit failed.
#[derive(Default)]
pub(super) struct Doubt {
    queues: Vec<QueueWork>,
    pending: Vec<Entry>,
    pending_stamp: Option<u64>,
}

impl Keeper {
    /// The commit failed: everything is as before, but what is in doubt stays barred until the store is open again.
    pub(super) fn undo(&mut self) {
        let mut work = std::mem::take(&mut self.work);
        for failed in &mut work.queues {
            locked(&self.shared.slots[failed.index].queue).give_back_gone(std::mem::take(&mut failed.gone));
        }
        work.queues.retain(|failed| failed.stamp.is_some());
        for (index, slot) in self.shared.slots.iter().enumerate() {
            if !work.queues.iter().any(|failed| failed.index == index) {
                locked(&slot.queue).spare();
                slot.link.ring();
            }
        }
        locked(&self.shared.pile).give_back(work.letters);
        self.doubt = Doubt { queues: work.queues, pending: work.pending, pending_stamp: work.pending_stamp };
        self.is_repeating = true;
    }

    /// Closes the failed store and opens it anew. False when that failed, too.
    pub(super) fn reopen(&mut self) -> bool {
        let failed = locked(&self.shared.store).take();
        if let Some(store) = failed.and_then(let_go) {
            store.close();
        }
        match self.open_again() {
            Ok(()) => {
                self.retry_at = None;
                self.shared.trouble.store(false, Ordering::Release);
                self.shared.store_changed.notify_all();
                for link in &self.shared.links {
                    link.ready.notify_one();
                }
                true
            }
            Err(error) => {
                tracing::debug!(%error, "the store does not open yet");
                // Who knows when it will: what RAM has goes on.
                for failed in &self.doubt.queues {
                    let slot = &self.shared.slots[failed.index];
                    locked(&slot.queue).spare_ram();
                    slot.link.ring();
                }
                self.postpone();
                false
            }
        }
    }

    fn open_again(&mut self) -> Result<(), StoreError> {
        let opened = store::open(&self.shared.config, &self.folder)?;
        let is_fresh = opened.set_aside.is_some();
        let survived = if is_fresh { 0 } else { opened.books.stamp() };
        for index in 0..self.shared.slots.len() {
            if is_fresh {
                self.lose_disk(index);
            }
        }
        let released = self.settle_doubt(survived);
        self.write_marks(&opened)?;
        sign(&mut self.folder, &opened.store, self.shared.boot)?;
        released.into_iter().for_each(Receipt::release);
        *locked(&self.shared.letters) = opened.kept;
        if is_fresh {
            locked(&self.shared.books).rewrite();
            *locked(&self.shared.set_aside) = opened.set_aside;
        } else {
            locked(&self.shared.books).adopt(opened.books);
        }
        *locked(&self.shared.store) = Some(Arc::new(opened.store));
        Ok(())
    }

    /// The damaged store took with it what a queue had on disk.
    fn lose_disk(&self, index: usize) {
        let places = {
            let queue = locked(&self.shared.slots[index].queue);
            queue.low()..queue.disk_end()
        };
        let lost = locked(&self.shared.slots[index].queue).lose_disk(self.shared.clock.now());
        if lost > 0 {
            let config = &self.shared.config.queues[index];
            tracing::error!(uplink = %config.uplink, class = %config.class, messages = lost, "messages are lost with the damaged store");
            self.shared.note_damage(index, lost, places);
        }
    }

    /// What the failed commit has left behind would pass for a part of the queue after a kill.
    fn write_marks(&self, opened: &Opened) -> Result<(), StoreError> {
        for (index, slot) in self.shared.slots.iter().enumerate() {
            let mark = locked(&slot.queue).mark_now(self.shared.clock.now());
            opened.store.remove_from(index, mark.end)?;
            opened.store.write_queue(index, QueueChange { chunks: Vec::new(), gone: &[], mark, given_up: None })?;
        }
        Ok(())
    }

    /// Gives up what is in the ledger by now, and spares the rest. Answers the receipts to release.
    fn settle_doubt(&mut self, survived: u64) -> Vec<Receipt> {
        let doubt = std::mem::take(&mut self.doubt);
        let is_in = |stamp: Option<u64>| stamp.is_some_and(|stamp| stamp <= survived);
        let mut released = Vec::new();
        for failed in doubt.queues {
            let slot = &self.shared.slots[failed.index];
            let mut queue = locked(&slot.queue);
            if is_in(failed.stamp) {
                queue.give_up(&failed.victims, self.shared.clock.now(), &mut released);
                failed.lost.iter().for_each(|entry| self.shared.count(entry));
            } else {
                queue.spare();
            }
        }
        if is_in(doubt.pending_stamp) {
            self.tellers.iter_mut().for_each(super::Teller::committed);
        } else {
            self.tellers.iter_mut().for_each(super::Teller::not_committed);
            let mut pending = locked(&self.shared.pending);
            for entry in doubt.pending {
                pending.post(entry, self.shared.clock.now());
            }
        }
        released
    }
}

/// Waits until nobody else reads from the store, so that it can be closed here. One that is still held is closed by its
/// last reader; opening it anew waits for that.
fn let_go(mut store: Arc<Store>) -> Option<Store> {
    let deadline = Instant::now() + LET_GO;
    loop {
        match Arc::try_unwrap(store) {
            Ok(store) => return Some(store),
            Err(_) if Instant::now() >= deadline => return None,
            Err(held) => store = held,
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
