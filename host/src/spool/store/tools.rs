//! Reading the store beside the keeper: dead letters page by page, and what was set aside.

use super::records::{Records, Tree};
use super::sealed::{Kind, open};
use super::{Store, StoreError};
use crate::message::Reason;
use crate::spool::letters::{self, Kept, LetterId};
use crate::spool::vault::Vault;

/// A letter without its content: name, reason, bytes.
pub(in crate::spool) type About = (LetterId, Option<Reason>, u64);

fn about(vault: &Vault, key: &[u8], value: &[u8]) -> About {
    let value = open(vault, Kind::Letter, key, value);
    (
        letters::id(key).unwrap_or_default(),
        letters::reason(&value),
        value.len() as u64,
    )
}

/// Counts the letters one by one.
pub(super) fn count_letters(records: &Records, vault: &Vault) -> Result<Kept, StoreError> {
    let mut kept = Kept::default();
    for entry in records.each(Tree::Letters, b"l") {
        let (key, value) = entry.map_err(StoreError::Disk)?;
        let (_, reason, bytes) = about(vault, &key, &value);
        kept.add(reason, bytes);
    }
    Ok(kept)
}

impl Store {
    /// The oldest letters: as many as it takes to have both `count` of them and `bytes`.
    pub(in crate::spool) fn oldest_letters(
        &self,
        count: u64,
        bytes: u64,
    ) -> Result<Vec<About>, StoreError> {
        let (mut found, mut size) = (Vec::new(), 0);
        for entry in self.records.each(Tree::Letters, b"l") {
            if found.len() as u64 >= count && size >= bytes {
                break;
            }
            let (key, value) = entry.map_err(StoreError::Disk)?;
            let about = about(&self.vault, &key, &value);
            size += about.2;
            found.push(about);
        }
        Ok(found)
    }

    /// Letters behind `after`, oldest first, at most `max` of them and about `max_bytes`.
    pub(in crate::spool) fn letters(
        &self,
        after: Option<LetterId>,
        max: usize,
        max_bytes: usize,
    ) -> Result<Vec<(LetterId, Vec<u8>)>, StoreError> {
        let mut from = after.map_or_else(
            || b"l".to_vec(),
            |after| [&letters::key(after)[..], &[0]].concat(),
        );
        let (mut found, mut bytes) = (Vec::new(), 0);
        while found.len() < max && bytes < max_bytes {
            let next = self
                .records
                .next(Tree::Letters, &from, b"l")
                .map_err(StoreError::Disk)?;
            let Some((key, value)) = next else { break };
            bytes += value.len();
            let value = open(&self.vault, Kind::Letter, &key, &value).into_owned();
            found.push((letters::id(&key).unwrap_or_default(), value));
            from = [&key[..], &[0]].concat();
        }
        Ok(found)
    }

    /// One letter.
    pub(in crate::spool) fn letter(&self, id: LetterId) -> Result<Option<Vec<u8>>, StoreError> {
        let key = letters::key(id);
        let value = self
            .records
            .get(Tree::Letters, &key)
            .map_err(StoreError::Disk)?;
        Ok(value.map(|value| open(&self.vault, Kind::Letter, &key, &value).into_owned()))
    }

    /// The index knows nothing of a chunk any more.
    #[cfg(test)]
    pub(in crate::spool) fn forget_chunk(&self, queue: usize, first: u64) {
        self.queues[queue].forget(first).unwrap();
    }

    /// Overwrites a byte of a chunk, as a failing card does.
    #[cfg(test)]
    pub(in crate::spool) fn damage_chunk(&self, queue: usize, first: u64) {
        self.queues[queue].damage(first);
    }
}
