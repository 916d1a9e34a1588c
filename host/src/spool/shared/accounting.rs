//! The numbers of a spool as they are at the moment.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock::RunningTime;
use crate::message::LossReason;
use crate::spool::account::{Account, LetterAccount, LossAccount, QueueAccount};
use crate::spool::dead_letters::form;
use crate::spool::dead_letters::kept::REASONS;
use crate::spool::dead_letters::letter::{LetterId, LetterRecord};
use crate::spool::disk::error::StoreError;
use crate::spool::disk::store::Store;
use crate::spool::lock::locked;
use crate::spool::shared::Shared;
use crate::spool::shared::slot::Slot;
use crate::spool::space::condition::StoreCondition;
use crate::spool::space::free_space::SpaceLevel;
use crate::spool::space::wear::{self, QueueInflow, WearAccount};

impl Shared {
    /// The numbers; memory work only.
    pub(crate) fn account(&self) -> Account {
        let now = self.clock.now();
        let kept = *locked(&self.letters.kept);
        let space_level = self.health.space_level();
        let unreadable = self.unreadable();
        let lost = locked(&self.found.lost).clone();
        let reading = if unreadable.is_empty() {
            StoreCondition::Well
        } else {
            StoreCondition::Failing
        };
        Account {
            boot: self.boot,
            queues: self.queue_accounts(now),
            letters: REASONS
                .into_iter()
                .zip(kept.counts)
                .map(|(reason, kept)| LetterAccount { reason, kept })
                .collect(),
            letter_bytes: kept.bytes,
            wear: self.wear_account(now, space_level),
            letters_waiting: locked(&self.letters.waiting).len() as u64,
            letters_evicted: self.letters.evicted.load(Ordering::Relaxed),
            given_up: self.given_up(),
            commits: self.metrics.commits.get(),
            written_bytes: self.metrics.written.get(),
            condition: self.condition(now).max(reading),
            unreadable,
            lost_records: (lost.kept.total(), lost.given_up.values().sum(), lost.states),
            lost_commits: self.found.lost_commits.load(Ordering::Relaxed),
            free_bytes: space_level.free,
            reserve_bytes: space_level.reserve,
            ram_bytes: self.ram.held() as u64,
            most_ram_bytes: self.ram.most() as u64,
            damaged_store: locked(&self.found.set_aside).clone(),
            writer: self.health.turning(now),
            strangers: self.strangers(),
        }
    }

    fn queue_accounts(&self, now: RunningTime) -> Vec<QueueAccount> {
        let account = |slot: &Slot| {
            let queue = locked(&slot.queue);
            let tally = queue.tally();
            let limit = slot.policy().max_bytes;
            let filling = queue.filling(slot.policy());
            drop(queue);
            let age = |oldest: RunningTime| now.since(oldest);
            QueueAccount {
                uplink: Arc::clone(&slot.uplink),
                class: Arc::clone(&slot.class),
                in_ram: tally.in_ram,
                on_disk: tally.on_disk,
                unsettled: tally.unsettled,
                ram_bytes: tally.ram_bytes,
                disk_bytes: tally.disk_bytes,
                capacity_bytes: self.config.head_bytes as u64,
                limit_bytes: (limit < u64::MAX).then_some(limit),
                full_in: filling.and_then(|filling| filling.full_in(self.clock.ran(now))),
                oldest_age: tally.oldest.map(age),
                appended: tally.appended,
                accepted: tally.accepted,
                dropped: tally.dropped,
                damaged: tally.damaged,
                is_full: slot.policy().is_filled(tally.disk_bytes),
            }
        };
        let drained = self.slots.iter().filter(|slot| slot.is_drained());
        drained.map(account).collect()
    }

    /// Queues with something owed that the config does not have, or not any more.
    fn strangers(&self) -> Vec<(String, u64)> {
        let left = self.slots.iter().filter(|slot| !slot.is_drained());
        let owed = left.map(|slot| (slot.name.clone(), locked(&slot.queue).tally().owed()));
        let mut strangers = locked(&self.found.strangers).clone();
        strangers.extend(owed.filter(|(_, owed)| *owed > 0));
        strangers
    }

    fn wear_account(&self, now: RunningTime, space_level: SpaceLevel) -> WearAccount {
        let fillings: Vec<QueueInflow> = self
            .slots
            .iter()
            .filter_map(|slot| locked(&slot.queue).filling(slot.policy()))
            .collect();
        let room = space_level.free.saturating_sub(space_level.reserve);
        locked(&self.wear).account(now, self.totals(), (room, &fillings), wear::process_bytes())
    }

    fn given_up(&self) -> Vec<LossAccount> {
        let ledger_store = locked(&self.ledger_store);
        let pending = locked(&self.pending);
        let total = |reason| LossAccount {
            reason,
            messages: ledger_store.total(reason) + pending.total(reason),
        };
        LossReason::ALL.into_iter().map(total).collect()
    }

    /// The oldest dead letters; blocks on the disk.
    pub(crate) fn dead_letters(&self, limit: usize) -> Vec<LetterRecord> {
        self.letters_read(|store| store.letters(None, limit, usize::MAX))
    }

    /// The newest `limit` of them, the newest first.
    pub(crate) fn newest_dead_letters(&self, limit: usize) -> Vec<LetterRecord> {
        self.letters_read(|store| store.newest_letters(limit))
    }

    fn letters_read(
        &self,
        read: impl FnOnce(&Store) -> Result<Vec<(LetterId, Vec<u8>)>, StoreError>,
    ) -> Vec<LetterRecord> {
        let store = self.store(Duration::ZERO);
        let found = store.map_or_else(|| Ok(Vec::new()), |store| read(&store));
        let found = found.unwrap_or_else(|error| {
            self.report_trouble(&error);
            Vec::new()
        });
        let readable = found.into_iter().filter_map(|(id, value)| match form::decode(id, &value) {
            Ok(record) => Some(record),
            Err(error) => {
                tracing::error!(boot = id.boot, number = id.number, %error, "a dead letter cannot be read");
                None
            }
        });
        readable.collect()
    }
}
