//! Reading the store beside the writer: dead letters page by page, and what was set aside.

use crate::message::Reason;
use crate::spool::dead_letters::form;
use crate::spool::dead_letters::kept::KeptLetters;
use crate::spool::dead_letters::letter::LetterId;
use crate::spool::disk::error::StoreError;
use crate::spool::disk::records::Records;
use crate::spool::disk::records::batch::Tree;
use crate::spool::disk::records::sealed::{Sealed, open};
use crate::spool::disk::sealing::sealer::Sealer;
use crate::spool::disk::store::Store;

/// A letter without its content: name, reason, bytes.
pub(crate) type LetterSummary = (LetterId, Option<Reason>, u64);

fn about(sealer: &Sealer, key: &[u8], value: &[u8]) -> LetterSummary {
    let value = open(sealer, Sealed::Letter, key, value);
    (
        form::id(key).unwrap_or_default(),
        form::reason(&value),
        value.len() as u64,
    )
}

/// Counts the letters one by one.
pub(crate) fn count_letters(records: &Records, sealer: &Sealer) -> Result<KeptLetters, StoreError> {
    let mut kept = KeptLetters::default();
    for entry in records.each(Tree::Letters, b"l") {
        let (key, value) = entry.map_err(StoreError::Disk)?;
        let (_, reason, bytes) = about(sealer, &key, &value);
        kept.add(reason, bytes);
    }
    Ok(kept)
}

impl Store {
    /// The oldest letters: as many as it takes to have both `count` of them and `bytes`.
    pub(crate) fn oldest_letters(
        &self,
        count: u64,
        bytes: u64,
    ) -> Result<Vec<LetterSummary>, StoreError> {
        let mut found = Vec::new();
        let mut size = 0;
        for entry in self.records.each(Tree::Letters, b"l") {
            if found.len() as u64 >= count && size >= bytes {
                break;
            }
            let (key, value) = entry.map_err(StoreError::Disk)?;
            let about = about(&self.sealer, &key, &value);
            size += about.2;
            found.push(about);
        }
        Ok(found)
    }

    /// Letters behind `after`, oldest first, at most `max` of them and about `max_bytes`.
    pub(crate) fn letters(
        &self,
        after: Option<LetterId>,
        max: usize,
        max_bytes: usize,
    ) -> Result<Vec<(LetterId, Vec<u8>)>, StoreError> {
        let mut from = after.map_or_else(
            || b"l".to_vec(),
            |after| [&form::key(after)[..], &[0]].concat(),
        );
        let mut found = Vec::new();
        let mut bytes = 0;
        while found.len() < max && bytes < max_bytes {
            let next = self
                .records
                .next(Tree::Letters, &from, b"l")
                .map_err(StoreError::Disk)?;
            let Some((key, value)) = next else { break };
            bytes += value.len();
            let value = open(&self.sealer, Sealed::Letter, &key, &value).into_owned();
            found.push((form::id(&key).unwrap_or_default(), value));
            from = [&key[..], &[0]].concat();
        }
        Ok(found)
    }

    /// The newest `max` dead letters, the newest first.
    pub(crate) fn newest_letters(
        &self,
        max: usize,
    ) -> Result<Vec<(LetterId, Vec<u8>)>, StoreError> {
        // Behind all of them.
        let mut before = b"m".to_vec();
        let mut found = Vec::new();
        while found.len() < max {
            let last = self.records.last(Tree::Letters, &before, b"l");
            let Some((key, value)) = last.map_err(StoreError::Disk)? else {
                break;
            };
            let value = open(&self.sealer, Sealed::Letter, &key, &value).into_owned();
            found.push((form::id(&key).unwrap_or_default(), value));
            before = key;
        }
        Ok(found)
    }

    pub(crate) fn letter(&self, id: LetterId) -> Result<Option<Vec<u8>>, StoreError> {
        let key = form::key(id);
        let value = self
            .records
            .get(Tree::Letters, &key)
            .map_err(StoreError::Disk)?;
        Ok(value.map(|value| open(&self.sealer, Sealed::Letter, &key, &value).into_owned()))
    }

    /// The index knows nothing of a chunk any more.
    #[cfg(test)]
    pub(crate) fn forget_chunk(&self, queue: usize, first: crate::message::Seq) {
        self.queues[queue].forget(first).unwrap();
    }

    /// Overwrites a byte of a chunk, as a failing card does.
    #[cfg(test)]
    pub(crate) fn damage_chunk(&self, queue: usize, first: crate::message::Seq) {
        self.queues[queue].damage(first);
    }
}
