//! What is known of a file that has no slot: it is closed, and waits, or has nothing new. No disk.

use std::path::PathBuf;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::mark::ReadPlace;
use super::pattern;
use super::search::FoundFile;

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

/// One that waits for a slot.
#[derive(Clone, Debug)]
pub(super) struct WaitingFile {
    pub(super) since: Instant,
    /// Of one that was never opened and has something, how it is found again.
    pub(super) unopened: Option<FoundFile>,
}
