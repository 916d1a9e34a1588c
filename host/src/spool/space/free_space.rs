//! How much room the data folder has: the mark below which nothing more is spilled, and the reserve file, a file that is given
//! up when the disk is full all the same, since even deleting takes some room.
//!
//! ```text
//!  free ▲
//!       │  spilling goes on
//!       ├──── reserve ───────────  below: what is owed on disk drains, RAM goes on; where that is full classes give up
//!       │                          what they may for what comes
//!       ├──── half of it ────────  below: nothing is spilled, sources are held back
//!       │  deletes, recovery, `low`
//!       ├──── reserve file ──────  a quarter of the reserve, held by a file
//!       │  still possible once the file is gone
//!     0 ┴
//! ```

use std::fs::{self, OpenOptions};
use std::io;
use std::path::PathBuf;

use rustix::fs::{FallocateFlags, StatVfsMountFlags, fallocate, statvfs};

use crate::spool::disk::fault_injection::FaultInjection;
use crate::spool::disk::folder::DataFolder;
use crate::spool::space::Space;
use crate::spool::space::condition::StoreCondition;

/// Largest reserve file: a commit's worth of deletes with all that sled rewrites for it.
const RESERVE_FILE_BYTES: u64 = 16 << 20;
/// Its name, as it always was.
const RESERVE_FILE: &str = "ballast";
/// On a small file system the reserve is this part of it.
const PART: u64 = 8;
/// Without so much, a segment, sled can be neither opened nor made to delete.
const OPEN_BYTES: u64 = 512 << 10;
/// Bytes on disk that one byte of chunks can take, until what is settled beside it has gone.
const OVERHEAD: u64 = 2;

/// The room there is, as last seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SpaceLevel {
    pub condition: StoreCondition,
    /// Bytes free, the reserve file included.
    pub free: u64,
    pub reserve: u64,
    /// Bytes of chunks that may be written before the next look.
    pub budget: u64,
}

impl SpaceLevel {
    /// Bytes that are to be free before something is given up for no more than what comes.
    pub(crate) fn lacks(&self) -> u64 {
        (self.reserve / 4 * 3).saturating_sub(self.free)
    }
}

/// The room of one data folder.
#[derive(Debug)]
pub(crate) struct FreeSpace {
    folder: PathBuf,
    wanted: u64,
    fault_injection: FaultInjection,
    reserve_file: u64,
    /// The file system cannot set room aside.
    has_no_fallocate: bool,
    is_low: bool,
}

impl FreeSpace {
    /// Keeps `reserve` bytes free, or an eighth of a small file system.
    pub(crate) fn new(folder: &DataFolder, reserve: u64) -> Self {
        let path = folder.path().to_owned();
        let reserve_file = fs::symlink_metadata(path.join(RESERVE_FILE))
            .ok()
            .filter(fs::Metadata::is_file)
            .map_or(0, |about| about.len());
        Self {
            folder: path,
            wanted: reserve,
            fault_injection: folder.fault_injection.clone(),
            reserve_file,
            has_no_fallocate: false,
            is_low: false,
        }
    }

    fn space(&self) -> io::Result<Space> {
        if let Some(space) = self.fault_injection.space() {
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

    pub(crate) fn look(&mut self) -> SpaceLevel {
        let Ok(space) = self.space() else {
            return SpaceLevel {
                condition: StoreCondition::Failing,
                ..SpaceLevel::default()
            };
        };
        let reserve = self.wanted.min(space.total / PART);
        let free = space.free.saturating_add(self.reserve_file);
        // Once low, a little more than the mark is asked for, so that it does not go to and fro.
        let mark = if self.is_low {
            reserve + reserve / 8
        } else {
            reserve
        };
        self.is_low = free < mark;
        let condition = match (space.read_only, self.is_low) {
            (true, _) => StoreCondition::ReadOnly,
            (false, true) => StoreCondition::DiskFull,
            (false, false) => StoreCondition::Well,
        };
        if condition == StoreCondition::Well {
            self.fill(space.free, reserve);
        }
        SpaceLevel {
            condition,
            free,
            reserve,
            budget: free.saturating_sub(reserve / 2) / OVERHEAD,
        }
    }

    /// Makes the reserve file where there is none and room for it.
    fn fill(&mut self, free: u64, reserve: u64) {
        let wanted = (reserve / 4).min(RESERVE_FILE_BYTES);
        if self.reserve_file > 0 || wanted == 0 || free < reserve || self.has_no_fallocate {
            return;
        }
        let path = self.folder.join(RESERVE_FILE);
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
            Ok(()) => self.reserve_file = wanted,
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "no ballast; the reserve has to do");
                // What is left of it is of no use; the next look tries again, but where this file system never will.
                let _ = fs::remove_file(&path);
                self.has_no_fallocate = error.kind() == std::io::ErrorKind::Unsupported;
            }
        }
    }

    /// Gives the reserve file up. False when there was none.
    pub(crate) fn release(&mut self) -> bool {
        let had = std::mem::take(&mut self.reserve_file) > 0;
        if had && let Err(error) = fs::remove_file(self.folder.join(RESERVE_FILE)) {
            tracing::debug!(%error, "the ballast cannot be removed");
            return false;
        }
        had
    }

    /// Whether opening the store has a chance; gives up the reserve file where that helps.
    pub(crate) fn admits(&mut self) -> bool {
        let Ok(space) = self.space() else { return true };
        !space.read_only && (space.free >= OPEN_BYTES || self.release())
    }
}
