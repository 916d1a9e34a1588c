//! The index of a store that is not to be written: sled writes to the files that it opens, so they are copied to memory and
//! read there. The chunks are read where they lie. That is for whoever only looks, and for a start on a disk that takes
//! nothing: what is owed then leaves before what comes, and what is written to the copy is lost with it.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::file;

/// Bytes of an index that are copied at most; one of ten million messages owed has a few.
const MOST: u64 = 64 << 20;
/// Where memory looks like a folder.
const MEMORY: &str = "/dev/shm";

/// The copy. It goes with this value; one that a kill left behind makes way for the next of the same store.
#[derive(Debug)]
pub(crate) struct RamCopy {
    path: PathBuf,
}

impl RamCopy {
    /// Copies the files of `store`.
    pub(crate) fn of(store: &Path) -> io::Result<Self> {
        let mut hasher = DefaultHasher::new();
        fs::canonicalize(store)?.hash(&mut hasher);
        let name = format!(
            "tidegate-{}-{:016x}-",
            rustix::process::geteuid().as_raw(),
            hasher.finish()
        );
        let memory = Some(Path::new(MEMORY)).filter(|memory| memory.is_dir());
        let memory = memory.map_or_else(std::env::temp_dir, Path::to_owned);
        remove_left(&memory, &name);
        // By chance, and it must be new: anybody may make folders there, under any name that can be foreseen.
        let ram_copy = Self {
            path: memory.join(format!("{name}{:016x}", fastrand::u64(..))),
        };
        let mut room = MOST;
        copy(store, &ram_copy.path, &mut room)?;
        Ok(ram_copy)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for RamCopy {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "the copy of the store stays behind");
        }
    }
}

/// Removes what kills have left of the same store. What another user has put there under such a name stays, and is in
/// nobody's way.
fn remove_left(memory: &Path, name: &str) {
    for entry in fs::read_dir(memory).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with(name) && file::own(&path).is_ok() {
            // Where that fails it takes room until the machine starts again.
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// Copies a folder and what is in it, of at most `room` bytes. Snapshots that were not finished count for nothing.
fn copy(from: &Path, to: &Path, room: &mut u64) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let source = entry.path();
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&source, &target, room)?;
        } else if source.extension() != Some(OsStr::new("generating")) {
            *room = room
                .checked_sub(entry.metadata()?.len())
                .ok_or_else(too_large)?;
            fs::copy(&source, &target)?;
        }
    }
    Ok(())
}

fn too_large() -> io::Error {
    let most = MOST >> 20;
    io::Error::new(
        io::ErrorKind::FileTooLarge,
        format!("it has more than {most} MiB"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_leaves_out_what_was_not_finished_replaces_what_a_kill_left_and_goes_with_its_owner() {
        let folder = crate::spool::tests::tempdir();
        fs::create_dir(folder.path().join("blobs")).unwrap();
        for name in ["db", "blobs/7", "snap.01.generating"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let path = RamCopy::of(folder.path()).unwrap().path().to_owned();
        // What a kill left, under another name of chance.
        fs::create_dir(&path).unwrap();
        fs::write(path.join("db"), "of yesterday").unwrap();
        let ram_copy = RamCopy::of(folder.path()).unwrap();
        assert_eq!(
            fs::read_to_string(ram_copy.path().join("blobs/7")).unwrap(),
            "blobs/7"
        );
        assert_eq!(
            fs::read_to_string(ram_copy.path().join("db")).unwrap(),
            "db"
        );
        assert!(!path.exists());
        assert!(!ram_copy.path().join("snap.01.generating").exists());
        let path = ram_copy.path().to_owned();
        drop(ram_copy);
        assert!(!path.exists());
    }

    #[test]
    fn an_index_that_memory_should_not_hold_is_not_copied() {
        let folder = crate::spool::tests::tempdir();
        fs::File::create(folder.path().join("db"))
            .unwrap()
            .set_len(MOST + 1)
            .unwrap();
        assert_eq!(
            RamCopy::of(folder.path()).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
    }
}
