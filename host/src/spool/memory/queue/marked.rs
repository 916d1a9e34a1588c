//! What the commit under way gives up.

use crate::message::Seq;
use crate::spool::memory::ranges::Ranges;

/// Places that are marked for drop, and the bytes of their chunks.
#[derive(Debug, Default)]
pub(super) struct Marked {
    places: Ranges,
    bytes: u64,
}

impl Marked {
    pub(super) fn insert(&mut self, from: Seq, to: Seq) {
        self.places.insert(from, to);
    }

    /// Chunks of so many bytes go with what is marked.
    pub(super) fn add_bytes(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// Of what is marked only these are, after all.
    pub(super) fn keep_only(&mut self, places: Ranges) {
        self.places = places;
    }

    /// Nothing from `place` on is marked any more.
    pub(super) fn forget_from(&mut self, place: Seq) {
        self.places.forget_from(place);
    }

    pub(super) fn take(&mut self) -> Ranges {
        std::mem::take(self).places
    }

    /// Bytes of the chunks that go.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether `place` is marked.
    pub(super) fn has(&self, place: Seq) -> bool {
        self.places.has(place)
    }

    /// The first place at or after `place` that is not marked.
    pub(super) fn skip(&self, place: Seq) -> Seq {
        self.places.skip(place)
    }

    /// What is marked, rising.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Seq, Seq)> {
        self.places.iter()
    }
}
