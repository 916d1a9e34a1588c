//! The index of a queue as it is made up at an opening: by first place, what lies there.

use std::collections::BTreeMap;

use crate::message::Seq;
use crate::spool::disk::chunk::Extent;
use crate::spool::disk::index::{IndexBatch, IndexBytes};
use crate::spool::disk::log::located::Located;

/// The index of a queue, by first place.
pub(super) struct QueueIndex(pub(super) BTreeMap<Seq, Located>);

impl QueueIndex {
    pub(super) fn of(entries: impl Iterator<Item = Located>) -> Self {
        Self(entries.map(|found| (found.extent.first, found)).collect())
    }

    pub(super) fn start(&self) -> Option<Seq> {
        self.0.keys().next().copied()
    }

    pub(super) fn end(&self) -> Seq {
        self.0
            .values()
            .next_back()
            .map_or(Seq::FIRST, |last| last.extent.end)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.values().map(|found| found.extent.bytes).sum()
    }

    /// A chunk takes the place of those before it that answer for the same places.
    pub(super) fn put(&mut self, found: Located) {
        let Extent { first, end, .. } = found.extent;
        let before = self
            .0
            .range(..first)
            .next_back()
            .filter(|(_, before)| before.extent.end > first)
            .map(|(key, _)| *key);
        let over: Vec<Seq> = self
            .0
            .range(first..end)
            .map(|(key, _)| *key)
            .chain(before)
            .collect();
        for key in over {
            self.0.remove(&key);
        }
        self.0.insert(first, found);
    }

    /// Everything before `low` is accepted; answers where what is owed begins, behind holes.
    pub(super) fn pass(&mut self, mut low: Seq) -> Seq {
        self.0.retain(|_, found| found.extent.end > low);
        while let Some(hole) = self
            .0
            .first_entry()
            .filter(|first| first.get().count == 0 && *first.key() <= low)
        {
            low = hole.remove().extent.end;
        }
        low
    }

    /// Messages from `low` on, as far as that can be told without reading them: of the chunk that `low` lies in at most
    /// those that fit.
    pub(super) fn owed(&self, low: Seq) -> u64 {
        let of = |found: &Located| {
            u64::from(found.count).min(found.extent.end.places_since(low.max(found.extent.first)))
        };
        self.0.values().map(of).sum()
    }

    /// What turns `entries` into this.
    pub(super) fn batch(&self, entries: &[IndexEntry]) -> IndexBatch {
        let mut batch = IndexBatch::default();
        let mut new = self.0.clone();
        for (old, value) in entries {
            match located(old, value).filter(|old| self.0.get(&old.extent.first) == Some(old)) {
                Some(old) => drop(new.remove(&old.extent.first)),
                None => batch.remove(old),
            }
        }
        for found in new.values() {
            batch.insert(&key(found.extent.first), found.encode());
        }
        batch
    }
}

pub(crate) type IndexEntry = (IndexBytes, IndexBytes);

pub(super) fn key(first: Seq) -> [u8; 9] {
    let mut key = [b'c'; 9];
    key[1..].copy_from_slice(&first.0.to_be_bytes());
    key
}

pub(super) fn located(key: &[u8], value: &[u8]) -> Option<Located> {
    let first = key
        .strip_prefix(b"c")
        .and_then(|place| place.try_into().ok())
        .map(u64::from_be_bytes)?;
    Located::decode(Seq(first), value)
}
