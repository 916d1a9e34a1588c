//! What goes wrong with a folder, in words that tell the operator what to do.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::time::Duration;

use super::super::carrier::{CarrierFault, Manner};
use crate::link::{ConnectionLoss, FailureKind};

/// Why nothing can be written for now. No message is ever to blame for it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {what} `{}`: {cause}; nothing is lost, {}", path.display(), hint(cause))]
    Disk {
        what: &'static str,
        path: PathBuf,
        // Told in the words: as a source it would be told twice.
        cause: io::Error,
    },
    /// What was written since the last sync may be in no file of this name.
    #[error("`{}` {how} while it was written to: what was not accepted before is owed, and goes into a new file; let nobody else write into the folder, and take only files that are whole", path.display())]
    Meddled { path: PathBuf, how: Meddling },
    #[error("the disk of `{}` did not take within {waited:?} what was written (`deadlines.answer`); nothing is lost", folder.display())]
    Late { folder: PathBuf, waited: Duration },
    #[error("nothing is mounted at `{}`, where a disk was when it was first written to; nothing is lost, and it goes on once that is back: see `mount` and the cable. If files are to go there all the same, delete `{}`", folder.display(), note.display())]
    NotMounted { folder: PathBuf, note: PathBuf },
    /// Only a panic ends it so.
    #[error("what writes to `{}` stopped", .0.display())]
    Stopped(PathBuf),
}

/// What somebody else did to a file that is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Meddling {
    #[error("was taken away")]
    Taken,
    #[error("was replaced by another one")]
    Replaced,
    #[error("was changed (it has {found} bytes, and {written} were written)")]
    Edited { written: u64, found: u64 },
}

impl Error {
    pub(super) fn new(what: &'static str, path: impl Into<PathBuf>, cause: io::Error) -> Self {
        Self::Disk {
            what,
            path: path.into(),
            cause,
        }
    }
}

/// What to do about it.
fn hint(cause: &io::Error) -> &'static str {
    match cause.kind() {
        ErrorKind::NotFound => {
            "and it goes on once the folder is there: make it, or mount the disk it is on"
        }
        ErrorKind::PermissionDenied => "and it goes on once the gateway's user may write there",
        ErrorKind::NotADirectory => "and it goes on once that is a folder",
        ErrorKind::ReadOnlyFilesystem => {
            "and it goes on once the disk takes writes: see the kernel's log for why it does not"
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "and it goes on once there is room: lower `files.keep`, or make some"
        }
        _ => "and it is tried again",
    }
}

impl ConnectionLoss for Error {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Disk { cause, .. } => match cause.kind() {
                ErrorKind::NotFound
                | ErrorKind::PermissionDenied
                | ErrorKind::NotADirectory
                | ErrorKind::ReadOnlyFilesystem => FailureKind::Refused,
                _ => FailureKind::Passing,
            },
            Self::NotMounted { .. } => FailureKind::Refused,
            Self::Meddled { .. } | Self::Late { .. } | Self::Stopped(_) => FailureKind::Passing,
        }
    }
}

impl CarrierFault for Error {
    fn manner(&self) -> Manner {
        Manner::Elsewhere
    }
}
