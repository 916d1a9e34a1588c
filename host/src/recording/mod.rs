//! What the lanes of a flow were told, kept for a replay: the messages as they came from the source, in their batches,
//! with the clocks of that moment, and the ticks.
//!
//! In come batches through [`Tape`](crate::message::Tape), on the lanes' threads, which only copy them into an open
//! buffer. A thread of its own packs full buffers and keeps them, in memory or in files, the oldest making room. A lane
//! never waits for it: what does not fit is left out, counted, and told in the recording itself. Out go segments, to
//! whoever asks, and files in the form of `form.rs`.
//!
//! Messages run again by hand (`parked retry`) are not in it: they did not come from the source.

mod event;
mod file;
mod folder;
mod form;
mod kept;
mod recorder;
#[cfg(test)]
mod tests;

pub use event::RecordedEvent;
pub use file::{SegmentFiles, SegmentWriter};
pub use folder::{folder, in_folder};
pub use form::{RecordedPlugin, RecordingDamage, RecordingHeader, Segment, SegmentSummary};
pub use kept::SegmentPage;
pub use recorder::{Metrics, Recorder};

use std::path::PathBuf;

/// What a recording takes of memory beside what it keeps there: buffers that wait, and that are packed.
pub const DESK_BYTES: u64 = 6 << 20;

/// Where a recording is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    /// In memory: it ends with the process.
    Memory,
    /// In files, below this folder.
    Disk(PathBuf),
}

/// What is recorded of one flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub keep: Keep,
    /// How much, compressed, bytes.
    pub bytes: u64,
    /// Free space of the disk below which nothing is written, bytes: what is owed upstream goes first.
    pub reserve_bytes: u64,
}

/// Why a recording cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder.
    #[error("`{}`", path.display())]
    File {
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The disk is nearly full.
    #[error("`{}` has {free} bytes of free space left, which are kept for what is owed upstream", path.display())]
    Full { path: PathBuf, free: u64 },
    /// It is no recording, or one that is damaged at its beginning.
    #[error("`{}` is not a recording that can be read", path.display())]
    Damaged {
        path: PathBuf,
        /// What is wrong with it.
        source: RecordingDamage,
    },
    /// No thread is to be had.
    #[error("a thread does not start")]
    Thread(#[source] std::io::Error),
}
