//! How much room the data folder has: the mark below which nothing more is spilled, and the ballast, a file that is given
//! up when the disk is full all the same, since even deleting takes some room.
//!
//! ```text
//!  free ▲
//!       │  spilling goes on
//!       ├──── reserve ───────────  below: what is owed on disk drains, RAM goes on; where that is full classes give up
//!       │                          what they may for what comes
//!       ├──── half of it ────────  below: nothing is spilled, sources are held back
//!       │  deletes, recovery, `low`
//!       ├──── ballast ───────────  a quarter of the reserve, held by a file
//!       │  still possible once the file is gone
//!     0 ┴
//! ```

use std::fs::{self, OpenOptions};
use std::io;
use std::path::PathBuf;

use rustix::fs::{FallocateFlags, StatVfsMountFlags, fallocate, statvfs};

use super::folder::Folder;
use super::seam::Seam;

/// Largest ballast: a commit's worth of deletes with all that sled rewrites for it.
const BALLAST_BYTES: u64 = 16 << 20;
/// On a small file system the reserve is this part of it.
const PART: u64 = 8;
/// Without so much, a segment, sled can be neither opened nor made to delete.
const OPEN_BYTES: u64 = 512 << 10;
/// Bytes on disk that one byte of chunks can take, until what is settled beside it has gone.
const OVERHEAD: u64 = 2;

/// How the store is. Ordered by how little it can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Condition {
    /// It can be read and written.
    #[default]
    Well = 0,
    /// Free space is below the reserve, or there is none: nothing is spilled but what other messages made room for.
    DiskFull = 1,
    /// The file system can only be read.
    ReadOnly = 2,
    /// It failed, or a commit hangs.
    Failing = 3,
}

impl Condition {
    /// All that need an operator.
    pub const BAD: [Self; 3] = [Self::DiskFull, Self::ReadOnly, Self::Failing];

    /// The word for logs, metrics and `/readyz`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::DiskFull => "disk-full",
            Self::ReadOnly => "store-read-only",
            Self::Failing => "store-failing",
        }
    }

    /// What an operator can do.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Well => "nothing to do",
            Self::DiskFull => {
                "free space on its file system, the gateway goes on by itself; once memory is full, classes give up what they may"
            }
            Self::ReadOnly => {
                "look at the kernel's log, then mount it writable; the gateway goes on by itself"
            }
            Self::Failing => {
                "look at the kernel's log: the card may be dying; the gateway tries again by itself"
            }
        }
    }

    /// What an error of the system means for the store.
    pub(super) fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::DiskFull,
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            _ => Self::Failing,
        }
    }

    pub(super) fn from_number(number: u8) -> Self {
        Self::BAD
            .into_iter()
            .find(|bad| *bad as u8 == number)
            .unwrap_or(Self::Well)
    }
}

/// What the file system says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Space {
    /// Bytes free for this process.
    pub free: u64,
    /// Bytes in all.
    pub total: u64,
    pub read_only: bool,
}

/// The room there is, as last seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    pub condition: Condition,
    /// Bytes free, the ballast included.
    pub free: u64,
    /// The mark.
    pub reserve: u64,
    /// Bytes of chunks that may be written before the next look.
    pub budget: u64,
}

impl Standing {
    /// Bytes that are to be free before something is given up for no more than what comes.
    pub(super) fn lacks(&self) -> u64 {
        (self.reserve / 4 * 3).saturating_sub(self.free)
    }
}

/// The room of one data folder.
#[derive(Debug)]
pub(super) struct Room {
    folder: PathBuf,
    wanted: u64,
    seam: Seam,
    ballast: u64,
    is_low: bool,
}

impl Room {
    /// Keeps `reserve` bytes free, or an eighth of a small file system.
    pub(super) fn new(folder: &Folder, reserve: u64) -> Self {
        let path = folder.path().to_owned();
        let ballast = fs::symlink_metadata(path.join("ballast"))
            .ok()
            .filter(fs::Metadata::is_file)
            .map_or(0, |about| about.len());
        Self {
            folder: path,
            wanted: reserve,
            seam: folder.seam.clone(),
            ballast,
            is_low: false,
        }
    }

    fn space(&self) -> io::Result<Space> {
        if let Some(space) = self.seam.space() {
            return Ok(space);
        }
        // The folder itself may not be there yet.
        let existing = self
            .folder
            .ancestors()
            .find(|path| path.exists())
            .unwrap_or(&self.folder);
        let found = statvfs(existing)?;
        Ok(Space {
            free: found.f_bavail.saturating_mul(found.f_frsize),
            total: found.f_blocks.saturating_mul(found.f_frsize),
            read_only: found.f_flag.contains(StatVfsMountFlags::RDONLY),
        })
    }

    /// Looks.
    pub(super) fn look(&mut self) -> Standing {
        let Ok(space) = self.space() else {
            return Standing {
                condition: Condition::Failing,
                ..Standing::default()
            };
        };
        let reserve = self.wanted.min(space.total / PART);
        let free = space.free.saturating_add(self.ballast);
        // Once low, a little more than the mark is asked for, so that it does not go to and fro.
        let mark = if self.is_low {
            reserve + reserve / 8
        } else {
            reserve
        };
        self.is_low = free < mark;
        let condition = match (space.read_only, self.is_low) {
            (true, _) => Condition::ReadOnly,
            (false, true) => Condition::DiskFull,
            (false, false) => Condition::Well,
        };
        if condition == Condition::Well {
            self.fill(space.free, reserve);
        }
        Standing {
            condition,
            free,
            reserve,
            budget: free.saturating_sub(reserve / 2) / OVERHEAD,
        }
    }

    /// Makes the ballast where there is none and room for it.
    fn fill(&mut self, free: u64, reserve: u64) {
        let wanted = (reserve / 4).min(BALLAST_BYTES);
        if self.ballast > 0 || wanted == 0 || free < reserve {
            return;
        }
        let path = self.folder.join("ballast");
        // Whatever else lies there, a pipe would not even be opened without somebody who reads it.
        let _ = fs::remove_file(&path);
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .and_then(|file| {
                fallocate(&file, FallocateFlags::empty(), 0, wanted)?;
                Ok(())
            });
        match made {
            Ok(()) => self.ballast = wanted,
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "no ballast; the reserve has to do");
                // What is left of it is of no use; the next look tries again.
                let _ = fs::remove_file(&path);
            }
        }
    }

    /// Gives the ballast up. False when there was none.
    pub(super) fn release(&mut self) -> bool {
        let had = std::mem::take(&mut self.ballast) > 0;
        if had && let Err(error) = fs::remove_file(self.folder.join("ballast")) {
            tracing::debug!(%error, "the ballast cannot be removed");
            return false;
        }
        had
    }

    /// Whether opening the store has a chance; gives up the ballast where that helps.
    pub(super) fn admits(&mut self) -> bool {
        let Ok(space) = self.space() else { return true };
        !space.read_only && (space.free >= OPEN_BYTES || self.release())
    }
}
