//! Where a chunk lies, and places in the files of a queue.

use crate::message::Seq;
use crate::spool::disk::chunk::Extent;

/// Where a chunk lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Located {
    /// Number of its file.
    pub file: u64,
    /// Where it begins in there.
    pub offset: u64,
    pub count: u32,
    /// What it answers for.
    pub extent: Extent,
}

impl Located {
    /// As the index keeps it.
    pub(crate) fn encode(self) -> Vec<u8> {
        let Self {
            file,
            offset,
            count,
            extent: Extent {
                end, bytes, since, ..
            },
        } = self;
        rmp_serde::to_vec(&(file, offset, count, end, bytes, since))
            .expect("six numbers always go into a Vec")
    }

    /// From the index, under the key of its first place.
    pub(crate) fn decode(first: Seq, value: &[u8]) -> Option<Self> {
        let (file, offset, count, end, bytes, since) = rmp_serde::from_slice(value).ok()?;
        Some(Self {
            file,
            offset,
            count,
            extent: Extent {
                first,
                end,
                bytes,
                since,
            },
        })
    }
}

/// A place in the files: all before it is in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(super) file: u64,
    pub(super) offset: u64,
}

impl Position {
    pub(crate) const START: Self = Self { file: 0, offset: 0 };

    /// As the index keeps it.
    pub(crate) fn encode(self) -> Vec<u8> {
        rmp_serde::to_vec(&(self.file, self.offset)).expect("two numbers always go into a Vec")
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        rmp_serde::from_slice(value)
            .ok()
            .map(|(file, offset)| Self { file, offset })
    }
}
