//! What goes wrong with a folder, in words that tell the operator what to do.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::time::Duration;

use super::super::carrier::{Fault, Manner};
use crate::link::{ConnectionLoss, FailureKind};

/// Why nothing can be written for now. No message is ever to blame for it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {what} `{}`: {cause}; nothing is lost, {}", path.display(), hint(cause))]
    Disk {
        what: &'static str,
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    /// Whoever writes beside us cuts our lines, and we theirs.
    #[error("`{}` is being written by another process: give each uplink a folder of its own", .0.display())]
    Shared(PathBuf),
    #[error("the disk of `{}` did not take within {waited:?} what was written (`deadlines.answer`); nothing is lost", folder.display())]
    Late { folder: PathBuf, waited: Duration },
    /// Only a panic ends it so.
    #[error("what writes to `{}` stopped", .0.display())]
    Stopped(PathBuf),
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
            Self::Shared(_) => FailureKind::Refused,
            Self::Disk { cause, .. } => match cause.kind() {
                ErrorKind::NotFound
                | ErrorKind::PermissionDenied
                | ErrorKind::NotADirectory
                | ErrorKind::ReadOnlyFilesystem => FailureKind::Refused,
                _ => FailureKind::Passing,
            },
            Self::Late { .. } | Self::Stopped(_) => FailureKind::Passing,
        }
    }
}

impl Fault for Error {
    fn manner(&self) -> Manner {
        Manner::Elsewhere
    }
}
