//! The part of a queue on disk: its chunks, as far as they are known, and what the store was told of it.

use std::collections::BTreeMap;

use crate::clock::RunningTime;
use crate::message::Seq;
use crate::spool::disk::chunk::Extent;
use crate::spool::disk::mark::QueueMark;

/// The chunks before `end`.
#[derive(Debug)]
pub(super) struct Tail {
    /// The place behind the last chunk.
    pub(super) end: Seq,
    /// Messages that are not accepted, and the bytes of all chunks.
    pub(super) owed: u64,
    pub(super) bytes: u64,
    /// When the front of it came.
    pub(super) since: RunningTime,
    /// What the store was told last.
    pub(super) stored: QueueMark,
    chunks: BTreeMap<Seq, Extent>,
    /// Where chunks begin that are to be deleted.
    gone: Vec<Seq>,
    /// What the disk has lost and the ledger does not have yet: by first place the end, and the messages.
    losing: BTreeMap<Seq, (Seq, u64)>,
}

impl Tail {
    /// What the store holds. `first` is the first chunk, if there is one.
    pub(super) fn new(stored: QueueMark, first: Option<Extent>) -> Self {
        let mut tail = Self {
            end: stored.end,
            owed: 0,
            bytes: 0,
            since: RunningTime::START,
            stored,
            chunks: BTreeMap::new(),
            gone: Vec::new(),
            losing: BTreeMap::new(),
        };
        tail.owe(stored, first);
        tail.know_all(first);
        tail
    }

    /// What is owed of it is what the store says.
    pub(super) fn owe(&mut self, stored: QueueMark, first: Option<Extent>) {
        self.since = first.map_or(stored.clock, |extent| extent.since);
        (self.owed, self.bytes) = (stored.owed, stored.bytes);
    }

    /// These chunks are there.
    pub(super) fn know_all(&mut self, chunks: impl IntoIterator<Item = Extent>) {
        self.chunks
            .extend(chunks.into_iter().map(|extent| (extent.first, extent)));
    }

    /// A chunk was read: its size is known.
    pub(super) fn know(&mut self, extent: Extent) {
        self.chunks.entry(extent.first).or_insert(extent);
    }

    /// A chunk was written.
    pub(super) fn add(&mut self, extent: Extent) {
        self.bytes += extent.bytes;
        self.chunks.insert(extent.first, extent);
    }

    /// A chunk was given up, and is not on disk any more.
    pub(super) fn remove(&mut self, first: Seq) {
        if let Some(extent) = self.chunks.remove(&first) {
            self.bytes = self.bytes.saturating_sub(extent.bytes);
        }
    }

    /// A hole that ends where `first` begins and can be made longer.
    pub(super) fn hole_before(&self, first: Seq) -> Option<Extent> {
        self.chunks
            .range(..first)
            .next_back()
            .map(|(_, extent)| *extent)
            .filter(|extent| extent.is_hole() && extent.end == first)
    }

    /// Everything before `low` is accepted: chunks that lie there as a whole are to be deleted.
    pub(super) fn pass(&mut self, low: Seq) {
        while let Some(first) = self
            .chunks
            .first_entry()
            .filter(|first| first.get().end <= low)
        {
            let extent = first.remove();
            self.bytes = self.bytes.saturating_sub(extent.bytes);
            self.gone.push(extent.first);
        }
        if let Some(extent) = self.chunks.values().next() {
            self.since = extent.since;
        }
        if low >= self.end {
            (self.owed, self.bytes) = (0, 0);
        }
    }

    /// How many chunks are to be deleted.
    pub(super) fn gone(&self) -> usize {
        self.gone.len()
    }

    /// They are the caller's to delete.
    pub(super) fn take_gone(&mut self) -> Vec<Seq> {
        std::mem::take(&mut self.gone)
    }

    /// These are to be deleted, too.
    pub(super) fn add_gone(&mut self, gone: impl IntoIterator<Item = Seq>) {
        self.gone.extend(gone);
    }

    /// A chunk that was to be deleted has got a successor under its key.
    pub(super) fn keep(&mut self, written: &[Extent]) {
        self.gone
            .retain(|first| !written.iter().any(|extent| extent.first == *first));
    }

    /// The disk has lost `from..to`, and so many messages with it; the ledger does not have them yet.
    pub(super) fn lose(&mut self, from: Seq, to: Seq, messages: u64) {
        self.losing.insert(from, (to, messages));
    }

    /// Messages that are lost, and that the ledger does not have yet.
    pub(super) fn lost(&self) -> u64 {
        self.losing.values().map(|(_, lost)| *lost).sum()
    }

    /// The ledger has what was lost from `from` on: how many messages are owed without it.
    pub(super) fn settle_lost(&mut self, from: Seq) -> Option<u64> {
        let (_, lost) = self.losing.remove(&from)?;
        Some(self.owed.saturating_sub(lost))
    }
}
