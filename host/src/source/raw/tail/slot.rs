//! What is known of a file that has no slot: it is closed, and waits, or has nothing new. No disk.

use std::path::PathBuf;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::mark::ReadPlace;
use super::pattern;

/// Files that are held open at a time.
pub(super) const MOST_OPEN: usize = 256;
/// Beside those, what is read before them: what was renamed, or copied, and is found again.
pub(super) const MOST_ASIDE: usize = 64;
/// A file that is closed, and up to where it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RestingFile {
    pub(super) place: ReadPlace,
    /// Where it was when it was closed.
    #[serde(with = "pattern::noted")]
    pub(super) path: PathBuf,
    /// When its content had changed last, and how long it was: while that is so there is nothing new. `None` where there may be.
    pub(super) seen: Option<((i64, i64), u64)>,
}

impl RestingFile {
    /// Whether it was never opened, or nothing of it was ever whole, and it has something.
    pub(super) fn is_unread(&self) -> bool {
        self.seen.is_none() && self.place.mark.offset == 0
    }
}

/// One that waits for a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct WaitingFile {
    pub(super) since: Instant,
    /// How long it was when it was looked at last.
    pub(super) length: u64,
    /// It was shorter than that once, and had something that was not read.
    pub(super) was_cut: bool,
}

impl WaitingFile {
    /// Whether it was cut, as it is so long now.
    pub(super) fn is_cut_at(&self, length: u64) -> bool {
        self.was_cut || length < self.length
    }
}
