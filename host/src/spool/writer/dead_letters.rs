//! The dead letters' part of a commit: what the operator took out goes, what waits comes in, and the oldest make room.

use crate::message::LossReason;
use crate::spool::dead_letters::form;
use crate::spool::dead_letters::kept::KeptLetters;
use crate::spool::dead_letters::letter::LetterId;
use crate::spool::dead_letters::waiting::Then;
use crate::spool::disk::error::StoreError;
use crate::spool::disk::store::Store;
use crate::spool::lock::locked;
use crate::spool::writer::Writer;

/// Bytes of dead letters in one commit.
const LETTER_BYTES: usize = 4 << 20;

impl Writer {
    /// Writes letters, where there is room, and removes others. Not durable yet.
    pub(super) fn write_letters(&mut self, store: &Store) -> Result<(), StoreError> {
        let may_park = self.may_write();
        let mut waiting_letters = locked(&self.shared.letters.waiting);
        self.work.letters = if may_park {
            waiting_letters.take(LETTER_BYTES)
        } else {
            Vec::new()
        };
        self.work.forgotten = waiting_letters.take_forgotten();
        drop(waiting_letters);
        let mut kept = *locked(&self.shared.letters.kept);
        if !self.work.forgotten.ids.is_empty() {
            self.forget(store, &mut kept)?;
        }
        if !self.work.letters.is_empty() {
            self.park(store, &mut kept)?;
        }
        Ok(())
    }

    /// Removes what the operator took out; a letter that is gone already is none.
    fn forget(&mut self, store: &Store, kept: &mut KeptLetters) -> Result<(), StoreError> {
        let mut gone: Vec<LetterId> = Vec::with_capacity(self.work.forgotten.ids.len());
        for id in &self.work.forgotten.ids {
            if let Some(value) = store.letter(*id)?.filter(|_| !gone.contains(id)) {
                kept.remove(form::reason(&value), value.len() as u64);
                gone.push(*id);
            }
        }
        self.work.bytes = self.work.bytes.max(1);
        self.work.kept = Some(*kept);
        store.write_letters(Vec::new(), &gone, *kept, None);
        Ok(())
    }

    /// Writes waiting letters; the oldest make room.
    fn park(&mut self, store: &Store, kept: &mut KeptLetters) -> Result<(), StoreError> {
        let config = &self.shared.config;
        let most = config.dead_letters;
        let most_bytes = config.dead_letter_bytes;
        let mut values: Vec<(LetterId, Vec<u8>)> = Vec::with_capacity(self.work.letters.len());
        let mut bytes = 0;
        // From the newest on, as many as may be kept at all; one in any case.
        for waiting in self.work.letters.iter().rev().take(most) {
            let slot = match waiting.then {
                Then::Accept(queue, _) => self.shared.slots.get(usize::from(queue.0)),
                Then::Release(_) => None,
            };
            let queue = slot.map(|slot| (&*slot.uplink, &*slot.class));
            let value = form::encode(waiting, queue);
            if bytes > 0 && bytes + value.len() as u64 > most_bytes {
                break;
            }
            bytes += value.len() as u64;
            if !self.is_repeating || !store.has_letter(waiting.id) {
                kept.add(Some(waiting.letter.reason), value.len() as u64);
            }
            values.push((waiting.id, value));
        }
        let skipped = self.work.letters.len() - values.len();
        let over = kept.total().saturating_sub(most as u64);
        let over_bytes = kept.bytes.saturating_sub(most_bytes);
        let oldest = if over > 0 || over_bytes > 0 {
            store.oldest_letters(over, over_bytes)?
        } else {
            Vec::new()
        };
        for (_, reason, bytes) in &oldest {
            kept.remove(*reason, *bytes);
        }
        let gone: Vec<LetterId> = oldest.into_iter().map(|(id, ..)| id).collect();
        self.work.bytes += bytes.max(1);
        self.work.evicted = (gone.len() + skipped) as u64;
        self.work.kept = Some(*kept);
        let evicted = (self.work.evicted > 0).then(|| {
            self.shared
                .plain(LossReason::DeadLettersEvicted, self.work.evicted)
        });
        let (changes, _) = self.enter(evicted.as_slice());
        store.write_letters(values, &gone, *kept, changes);
        Ok(())
    }
}
