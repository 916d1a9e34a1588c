//! The store is opened: at the start, and again after each failure.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::message::Receipt;
use crate::spool::disk::error::StoreError;
use crate::spool::disk::open::OpenedStore;
use crate::spool::disk::store::{QueueChange, Store};
use crate::spool::ledger::store::LedgerStore;
use crate::spool::lock::locked;
use crate::spool::writer::{WAIT_US, Writer, begin};

/// How long readers of a failed store may take to let go of it.
const LET_GO: Duration = Duration::from_secs(2);

impl Writer {
    /// Closes the failed store and opens it anew. False when that failed, too.
    pub(super) fn reopen(&mut self) -> bool {
        if !self.free_space.admits() {
            self.unmark_ram();
            self.retry_at = Some(self.shared.clock.now().plus_us(WAIT_US));
            return false;
        }
        // The failed store takes nothing, but what it holds can be read and sent: it goes when a new one has a chance.
        // The proof is needed too, as ext4 may refuse all writes without being read-only by its own word.
        // A folder that was removed is made again.
        let is_refused =
            || self.folder.is_away() || (self.folder.is_in_place() && self.folder.prove().is_err());
        if self.shared.open_store.is_open() && is_refused() {
            self.unmark_ram();
            self.postpone();
            return false;
        }
        self.shared.noting.take_file();
        let failed = self.shared.open_store.take();
        if let Some(store) = failed.and_then(let_go) {
            store.close();
        }
        self.folder.forget_ram_copy();
        match self.open_again() {
            Ok(()) => {
                self.retry_at = None;
                self.shared
                    .slots
                    .iter()
                    .for_each(|slot| drop(locked(&slot.sick).take()));
                self.shared.health.recover();
                self.shared.open_store.announce();
                for link in self.shared.links.iter() {
                    link.ready.notify_one();
                }
                self.look();
                true
            }
            Err(error) => {
                tracing::debug!(%error, "the store does not open yet");
                self.unmark_ram();
                self.postpone();
                false
            }
        }
    }

    fn open_again(&mut self) -> Result<(), StoreError> {
        let known = self.shared.noting.witness();
        let mut opened = begin::open(
            &self.shared.config_now(),
            &mut self.folder,
            &mut self.free_space,
            &known,
        )?;
        if opened.boot > self.shared.boot {
            return Err(StoreError::Overtaken(opened.boot));
        }
        // What is in memory is more exact than what a damaged store can tell.
        let knows_less = self.was_open
            && (opened.lost.is_some()
                || opened.ledger_store.stamp() < locked(&self.shared.ledger_store).stamp());
        if std::mem::replace(&mut self.was_open, true) {
            let survived = if knows_less {
                0
            } else {
                opened.ledger_store.stamp()
            };
            self.set_right(&opened, survived)?;
        } else {
            self.shared.know_strangers(opened.strangers.clone());
        }
        self.adopt(&opened);
        let ledger_store = self.mend(&mut opened, knows_less)?;
        self.released.drain(..).for_each(Receipt::release);
        if knows_less {
            *locked(&self.shared.ledger_store) = ledger_store;
        } else {
            locked(&self.shared.ledger_store).adopt(ledger_store);
        }
        opened
            .lost
            .iter()
            .for_each(|lost| self.shared.know_lost(lost));
        *locked(&self.shared.letters.kept) = opened.kept;
        self.shared.noting.set_witness(opened.store.witness());
        if opened.set_aside.is_some() {
            *locked(&self.shared.found.set_aside) = opened.set_aside;
        }
        self.shared.noting.put_file(opened.low_marks);
        self.shared.open_store.put(opened.store);
        Ok(())
    }

    /// What the store has lost of letters, ledger and state is made up, and it is signed. Answers the ledger as it is then.
    fn mend(
        &mut self,
        opened: &mut OpenedStore,
        knows_less: bool,
    ) -> Result<LedgerStore, StoreError> {
        let mut ledger_store = if knows_less {
            locked(&self.shared.ledger_store).clone()
        } else {
            std::mem::take(&mut opened.ledger_store)
        };
        match &opened.lost {
            Some(lost) if knows_less => begin::make_up(&mut ledger_store, &lost.letters_only()),
            Some(lost) => begin::make_up(&mut ledger_store, lost),
            None => {}
        }
        if opened.lost.is_some() || knows_less {
            opened.store.make_anew(&mut ledger_store, &self.folder)?;
        }
        begin::sign(
            &mut self.folder,
            &opened.store,
            self.shared.boot,
            &opened.name,
        )?;
        Ok(ledger_store)
    }

    /// The store follows the queues: what a failed commit has left behind would pass for a part of them after a kill. What
    /// that commit gave up is given up now if the ledger has it; its receipts are kept until the store stands, also where it does
    /// not yet.
    fn set_right(&mut self, opened: &OpenedStore, survived: u64) -> Result<(), StoreError> {
        let released = self.settle_doubt(survived);
        self.released.extend(released);
        for (index, slot) in self.shared.slots.iter().enumerate().take(self.known) {
            let mark = locked(&slot.queue).mark_now(self.shared.clock.now());
            opened.store.remove_from(index, mark.end)?;
            opened.store.write_queue(
                index,
                QueueChange {
                    chunks: Vec::new(),
                    gone: &[],
                    mark,
                    given_up: None,
                },
            )?;
        }
        Ok(())
    }

    /// The queues follow the store that had to begin without it.
    fn adopt(&mut self, opened: &OpenedStore) {
        let queues = self.shared.slots.iter().zip(&opened.queues);
        for (slot, (mark, first)) in queues.skip(self.known) {
            locked(&slot.queue).adopt(*mark, *first);
        }
        self.known = self.shared.slots.len();
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
