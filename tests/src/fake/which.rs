//! Which publishes a rule of a picky broker is about: by topic, size and count.

use std::ops::{Bound, RangeBounds};

/// Which publishes a rule is about.
#[derive(Clone, Debug)]
pub struct Which {
    pub(super) topic: String,
    pub(super) over: usize,
    pub(super) numbers: (u64, u64),
}

impl Which {
    /// All.
    pub fn all() -> Self {
        Self {
            topic: String::new(),
            over: 0,
            numbers: (0, u64::MAX),
        }
    }

    /// Those whose topic has this in it.
    pub fn topic(part: &str) -> Self {
        Self {
            topic: part.to_owned(),
            ..Self::all()
        }
    }

    /// Those whose packet has more bytes than this.
    pub fn over(bytes: usize) -> Self {
        Self {
            over: bytes,
            ..Self::all()
        }
    }

    /// Of those that fit otherwise, over all connections: these, counted from 0.
    #[must_use]
    pub fn numbers(self, numbers: impl RangeBounds<u64>) -> Self {
        let first = match numbers.start_bound() {
            Bound::Included(first) => *first,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let end = match numbers.end_bound() {
            Bound::Included(last) => last + 1,
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        Self {
            numbers: (first, end),
            ..self
        }
    }
}
