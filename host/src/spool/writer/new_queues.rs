//! Queues that come while the spool is open. The store takes them up as a start does, with what it owes to them: what it
//! knows of a queue are its files, so that a kill at any moment leaves either none of them or those of its commits. While the
//! store cannot be used a queue begins without it, and takes up what it owes when the store is opened anew.

use std::sync::Arc;
use std::time::Duration;

use crate::spool::disk::chunk::Extent;
use crate::spool::disk::error::StoreError;
use crate::spool::disk::mark::QueueMark;
use crate::spool::disk::store::Store;
use crate::spool::error::NotAdded;
use crate::spool::ledger::store::LedgerStore;
use crate::spool::lock::locked;
use crate::spool::settings::QueueConfig;
use crate::spool::shared::link::link_of;
use crate::spool::shared::slot::Slot;
use crate::spool::writer::Writer;
use crate::spool::writer::loss_reporter;

impl Writer {
    /// Adds those that are asked for.
    pub(super) fn add_wanted(&mut self) {
        let wishes = std::mem::take(&mut *locked(&self.shared.wishes));
        for wish in wishes {
            let added = wish
                .queues
                .iter()
                .try_for_each(|config| self.add_queue(config));
            // An error means that nobody waits any more: it is there all the same, for the next who asks.
            let _ = wish.answer.send(added);
        }
    }

    /// Adds a queue, unless it is there.
    pub(crate) fn add_queue(&mut self, config: &QueueConfig) -> Result<(), NotAdded> {
        let shared = Arc::clone(&self.shared);
        let name = config.name();
        if shared.slots.iter().any(|slot| slot.name == name) {
            return Ok(());
        }
        if shared.slots.is_full() {
            return Err(NotAdded::Full);
        }
        let found = self.take_up(&name)?;
        let link = link_of(&shared.links, &config.link);
        let is_known = found.is_some();
        let found = found.unwrap_or_default();
        let slot = Slot::new(
            config,
            Arc::clone(&link),
            &shared.metrics,
            (shared.boot, &shared.ram),
            found,
        );
        if shared.slots.push(slot).is_err() {
            return Err(NotAdded::Full);
        }
        self.known += usize::from(is_known);
        self.grown.push(u64::MAX);
        self.know_uplink(&config.uplink);
        let is_told = |link: &str| {
            let mut told = self.loss_reporters.iter();
            told.any(|reporter| *reporter.link.name == *link)
        };
        if !is_told(&link.name) {
            self.loss_reporters
                .extend(loss_reporter::of(&shared, &link));
        }
        locked(&shared.found.strangers).retain(|(stranger, _)| *stranger != name);
        tracing::info!(queue = name, owed = found.0.owed, "a queue was added");
        Ok(())
    }

    /// The store, where it can be used and knows all queues.
    fn usable_store(&self) -> Option<Arc<Store>> {
        let shared = &self.shared;
        shared
            .store(Duration::ZERO)
            .filter(|_| self.known == shared.slots.len() && !shared.health.is_in_trouble())
    }

    /// What the store holds of a queue that was not asked for until now; `None` where it cannot be used.
    fn take_up(&self, name: &str) -> Result<Option<(QueueMark, Option<Extent>)>, NotAdded> {
        let Some(store) = self.usable_store() else {
            return Ok(None);
        };
        match store.add_queue(name, self.shared.boot) {
            Ok(found) => Ok(Some(found)),
            Err(StoreError::Overtaken(start)) => Err(NotAdded::Overtaken {
                queue: name.to_owned(),
                start,
            }),
            Err(error) => {
                self.shared.report_trouble(&error);
                Ok(None)
            }
        }
    }

    /// What an uplink's upstream has not been told yet is told from now on.
    fn know_uplink(&self, uplink: &Arc<str>) {
        if locked(&self.shared.ledger_store).knows(uplink) {
            return;
        }
        let uplinks = [Arc::clone(uplink)];
        let found = self
            .usable_store()
            .map(|store| store.ledger(&uplinks))
            .transpose()
            .unwrap_or_else(|error| {
                self.shared.report_trouble(&error);
                None
            });
        // Where the store cannot be read it tells the rest when it is opened anew.
        let found = found.unwrap_or_else(|| LedgerStore::found(std::iter::empty(), &uplinks));
        locked(&self.shared.ledger_store).join(found);
    }
}
