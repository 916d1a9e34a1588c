//! A picture of the store that is wanted while it is open: asked for by whoever makes a backup, taken by the writer between two
//! commits.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use crate::clock::RunningTime;
use crate::spool::disk::snapshot::SnapshotFile;
use crate::spool::lock::locked;
use crate::spool::shared::Shared;

/// How long the writer may take to write what is in memory: a tired card takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// What is in memory cannot be written.
    #[error(
        "the store takes nothing at the moment, and what is owed in memory would be missing: `tidegate health` says why"
    )]
    Trouble,
    /// The writer hangs at the disk.
    #[error("the store did not write what is in memory within {} s", PATIENCE.as_secs())]
    Late,
    #[error("the files of the store cannot be put aside")]
    Files(#[source] std::io::Error),
}

/// What is wanted, and who waits for it.
pub(crate) struct SnapshotRequest {
    pub(crate) into: PathBuf,
    pub(crate) answer: SyncSender<Result<Vec<SnapshotFile>, SnapshotError>>,
}

impl Shared {
    /// Has the writer write what is in memory and put the files into the new folder `into`; waits for that.
    pub(crate) fn snapshot(&self, into: &Path) -> Result<Vec<SnapshotFile>, SnapshotError> {
        let (answer, answered) = sync_channel(1);
        let into = into.to_owned();
        let request = Arc::new(SnapshotRequest { into, answer });
        *locked(&self.snapshot) = Some(request);
        self.wake_up.due(RunningTime::START);
        let taken = answered.recv_timeout(PATIENCE);
        taken.unwrap_or_else(|_| {
            *locked(&self.snapshot) = None;
            Err(SnapshotError::Late)
        })
    }
}
