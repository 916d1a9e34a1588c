//! The data folder: its lock, its leavings from an interrupted start, and a damaged store that is moved out of the way.
//!
//! ```text
//! <path>/lock                      held while a gateway runs; tells its process, the boot, and which store this is and where
//! <path>/low                       how far each queue is accepted, and what there is (see `low_marks`)
//! <path>/ballast                   room to delete in when the disk is full: the reserve file (see `free_space`)
//! <path>/chunks/                   what is owed, in files that only grow (see `disk::log`)
//! <path>/records.<number>          letters, ledger and plugins' state, in files that only grow (see `disk::records`)
//! <path>/store/                    sled: the index over the chunks
//! <path>/store.damaged-<seconds>   an index that could not be opened, untouched
//! <path>/damaged/                  chunks and records that are hurt, for salvage
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::clock::Now;
use crate::spool::disk::fault_injection::{DiskCall, FaultInjection};
use crate::spool::disk::held;
use crate::spool::disk::name::{StoreName, whereabouts};
use crate::spool::disk::ram_copy::RamCopy;
use crate::spool::disk::records::failed_reads::FailedReads;
use crate::spool::error::Error;

/// Bytes of the lock file, whatever stands in it.
const SIGNATURE: usize = 160;
/// Bytes written to see whether the disk takes anything: more than fits between other files.
const PROOF: usize = 64 << 10;

/// What a lock file says of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Signed {
    pub store: Option<String>,
    pub at: Option<String>,
}

impl Signed {
    /// What stands there, unless it is hurt; a lock file of a version before tells the boot alone.
    fn read(lock: &mut File) -> (Option<u32>, Self) {
        let store = read(lock, "store ");
        let at = read(lock, "at ");
        let boot = read(lock, "boot ").and_then(|boot| boot.parse().ok());
        let sum = read(lock, "sum ");
        let is_whole = match (&boot, &store, &at) {
            (Some(boot), Some(store), Some(at)) => sum == Some(sum_of(*boot, store, at)),
            (Some(_), None, None) => sum.is_none(),
            _ => false,
        };
        if is_whole {
            (boot, Self { store, at })
        } else {
            (None, Self::default())
        }
    }
}

/// Checksum of what a lock file says of the store.
fn sum_of(boot: u32, store: &str, at: &str) -> String {
    format!(
        "{:08x}",
        crc32fast::hash(format!("{boot} {store} {at}").as_bytes())
    )
}

/// The folder. Its lock is held for as long as this lives, once it could be taken.
#[derive(Debug)]
pub(crate) struct DataFolder {
    path: PathBuf,
    lock: Option<File>,
    /// The same on a disk that cannot be written, opened to be read: others see that somebody runs here.
    unwritten: Option<File>,
    last_boot: Option<u32>,
    signed: Signed,
    /// What stands for sled's files while they cannot be opened.
    ram_copy: Option<RamCopy>,
    /// Nothing in it is to change.
    is_looked_at: bool,
    /// Of letters, ledger and state, over all tries to open the store.
    pub failed_reads: FailedReads,
    pub fault_injection: FaultInjection,
}

impl DataFolder {
    /// Makes the folder if need be and takes its lock. On a disk that cannot be written for now it is left for later:
    /// whoever wants to write calls [`DataFolder::take_lock`] again.
    pub(crate) fn lock(path: &Path) -> Result<Self, Error> {
        Self::lock_behind(FaultInjection::default(), path)
    }

    fn lock_behind(fault_injection: FaultInjection, path: &Path) -> Result<Self, Error> {
        let path = path.to_owned();
        let signed = Signed::default();
        let mut folder = Self {
            path,
            lock: None,
            unwritten: None,
            last_boot: None,
            signed,
            ram_copy: None,
            is_looked_at: false,
            failed_reads: FailedReads::default(),
            fault_injection,
        };
        match folder.take_lock() {
            Ok(()) => {}
            Err(Error::Folder { source, .. }) if may_pass(&source) => {
                // The last boot can be read all the same, and the lock be taken as it is.
                if let Ok(mut lock) = File::open(folder.path.join("lock")) {
                    (folder.last_boot, folder.signed) = Signed::read(&mut lock);
                    if held::take(&lock) == Ok(false) {
                        return Err(folder.locked("unknown".to_owned()));
                    }
                    folder.unwritten = Some(lock);
                }
            }
            Err(error) => return Err(error),
        }
        Ok(folder)
    }

    /// Takes the lock, unless this process has it already.
    pub(crate) fn take_lock(&mut self) -> Result<(), Error> {
        if self.lock.is_some() && self.is_in_place() {
            return Ok(());
        }
        self.lock = None;
        let path = self.path.as_path();
        let failed = |source| folder_error(path, source);
        self.fault_injection.pass(DiskCall::Write).map_err(failed)?;
        let is_new = !path.exists();
        if is_new {
            // The socket beside it is for a group, what devices have said is not.
            let parent = path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty())
                .unwrap_or(Path::new("."));
            // Whatever the umask: only we may write there.
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(parent)
                .map_err(failed)?;
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)
                .map_err(failed)?;
            sync_folder(parent).map_err(failed)?;
        }
        let mut options = OpenOptions::new();
        let mut lock = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join("lock"))
            .map_err(failed)?;
        // It would keep out ourselves.
        self.unwritten = None;
        if !held::take(&lock).map_err(|error| failed(error.into()))? {
            let holder = read(&mut lock, "process ").unwrap_or_else(|| "unknown".to_owned());
            return Err(self.locked(holder));
        }
        (self.last_boot, self.signed) = Signed::read(&mut lock);
        self.lock = Some(lock);
        Ok(())
    }

    fn locked(&self, holder: String) -> Error {
        Error::Locked {
            path: self.path.clone(),
            holder,
        }
    }

    /// Whether the lock file that is held is the one in the folder, and the folder is whole: what is written to files that
    /// were removed or moved away is safe nowhere.
    pub(crate) fn is_in_place(&self) -> bool {
        let Some(held) = self.lock.as_ref().and_then(|lock| lock.metadata().ok()) else {
            return true;
        };
        let Ok(found) = fs::metadata(self.path.join("lock")) else {
            return false;
        };
        let is_whole = self.ram_copy.is_some()
            || (self.path.join("store").is_dir() && self.path.join("chunks").is_dir());
        (held.dev(), held.ino()) == (found.dev(), found.ino()) && is_whole
    }

    /// Whether the folder that was locked was moved to another place and is to come back, and nothing stands where it was.
    pub(crate) fn is_away(&self) -> bool {
        let is_linked = self
            .lock
            .as_ref()
            .and_then(|lock| lock.metadata().ok())
            .is_some_and(|held| held.nlink() > 0);
        is_linked && !self.path.exists()
    }

    /// What the lock file said of the store when the lock was taken.
    pub(crate) fn signed(&self) -> Signed {
        self.signed.clone()
    }

    /// Where damaged files are kept.
    pub(crate) fn damaged(&self) -> PathBuf {
        self.path.join("damaged")
    }

    /// The store goes on without these files of letters, ledger and state.
    pub(crate) fn move_aside(&self, given_up: &[PathBuf]) {
        for path in given_up.iter().filter(|_| !self.is_looked_at) {
            tracing::error!(path = %path.display(), "this file of letters, ledger and state cannot be read: it is moved aside, and the store goes on without it");
            self.keep_damaged(path, Now::read());
        }
    }

    /// Moves a damaged file there.
    pub(crate) fn keep_damaged(&self, path: &Path, now: Now) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let target = self
            .damaged()
            .join(format!("{name}-{}", now.wall.0 / 1_000_000));
        let moved = fs::create_dir_all(self.damaged()).and_then(|()| fs::rename(path, &target));
        match moved {
            Ok(()) => tracing::warn!(path = %target.display(), "a damaged file was kept there"),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a damaged file cannot be moved aside")
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where sled's files are.
    pub(crate) fn store(&self) -> PathBuf {
        self.ram_copy.as_ref().map_or_else(
            || self.path.join("store"),
            |ram_copy| ram_copy.path().to_owned(),
        )
    }

    /// From now on a copy in memory stands for sled's files.
    pub(crate) fn ram_copy(&mut self) -> io::Result<()> {
        self.fault_injection.pass(DiskCall::Write)?;
        self.ram_copy = Some(RamCopy::of(&self.store())?);
        Ok(())
    }

    /// From now on nothing in the folder changes.
    pub(crate) fn look(&mut self) -> io::Result<()> {
        self.ram_copy = Some(RamCopy::of(&self.store())?);
        self.is_looked_at = true;
        Ok(())
    }

    /// Whether nothing in it is to change.
    pub(crate) fn is_looked_at(&self) -> bool {
        self.is_looked_at
    }

    /// They stand for themselves again.
    pub(crate) fn forget_ram_copy(&mut self) {
        self.ram_copy = None;
    }

    /// Where the chunks are.
    pub(crate) fn chunks(&self) -> PathBuf {
        self.path.join("chunks")
    }

    /// The boot that last held the lock, where it can be read: a second witness, should the store be lost.
    pub(crate) fn last_boot(&self) -> Option<u32> {
        self.last_boot
    }

    /// Writes into the lock file who holds it. In place, so that a full disk does not stop it.
    pub(crate) fn sign(&mut self, boot: u32, name: &StoreName) -> io::Result<()> {
        let store = &name.store;
        let at = whereabouts(&self.path);
        let Some(lock) = &mut self.lock else {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        };
        let sum = sum_of(boot, store, &at);
        let words = format!(
            "process {}\nboot {boot}\nstore {store}\nat {at}\nsum {sum}\n",
            std::process::id()
        );
        let text = format!("{words:\n<SIGNATURE$}");
        self.signed = Signed {
            store: Some(store.to_string()),
            at: Some(at),
        };
        lock.rewind()?;
        lock.write_all(text.as_bytes())?;
        lock.set_len(SIGNATURE as u64)
    }

    pub(crate) fn prove(&self) -> io::Result<()> {
        prove(&self.path)
    }

    /// Removes a store that was not finished: it holds nothing, and would pass for a damaged one.
    pub(crate) fn remove_unfinished_store(&self) {
        if let Err(error) = fs::remove_dir_all(self.store()) {
            tracing::debug!(path = %self.store().display(), %error, "the unfinished store cannot be removed");
        }
    }

    /// Removes snapshots of sled that were not finished: one that a full disk cut short would be taken for the newest
    /// and make the store look corrupt for ever. A finished one has been renamed.
    pub(crate) fn remove_unfinished_snapshots(&self) -> io::Result<()> {
        self.remove_snapshots(|name| name.ends_with(".generating"))
            .map(drop)
    }

    /// Removes all snapshots: sled rebuilds them from its log. Answers whether there were any.
    pub(crate) fn remove_all_snapshots(&self) -> io::Result<bool> {
        self.remove_snapshots(|_| true)
    }

    fn remove_snapshots(&self, wanted: impl Fn(&str) -> bool) -> io::Result<bool> {
        let entries = match fs::read_dir(self.store()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let mut removed = false;
        for entry in entries {
            let entry = entry?;
            if entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.starts_with("snap.") && wanted(name))
            {
                fs::remove_file(entry.path())?;
                removed = true;
            }
        }
        Ok(removed)
    }

    /// Moves the store out of the way.
    pub(crate) fn set_aside(&self, now: Now) -> io::Result<PathBuf> {
        let seconds = now.wall.0 / 1_000_000;
        let free = (seconds..)
            .map(|seconds| self.path.join(format!("store.damaged-{seconds}")))
            .find(|path| !path.exists());
        let target = free.ok_or_else(|| io::Error::other("no free name for the damaged store"))?;
        fs::rename(self.store(), &target)?;
        sync_folder(&self.path)?;
        Ok(target)
    }

    /// Makes the folder's entries durable; needed once after the store was created.
    pub(crate) fn sync(&self) -> io::Result<()> {
        sync_folder(&self.store())?;
        sync_folder(&self.chunks())?;
        sync_folder(&self.path)
    }
}

/// Whether the disk takes what is written to this folder: what looks like a damaged store may be a disk that is not well.
pub(crate) fn prove(folder: &Path) -> io::Result<()> {
    let path = folder.join("proof");
    let proven = File::create(&path).and_then(|mut file| {
        file.write_all(&[0; PROOF])?;
        file.sync_all()
    });
    let removed = fs::remove_file(&path);
    proven.and(removed)
}

/// Whether the system's refusal may pass by itself, so that waiting is better than giving up.
pub(crate) fn may_pass(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    const PASSING: [Errno; 6] = [
        Errno::IO,
        Errno::NXIO,
        Errno::NODEV,
        Errno::STALE,
        Errno::TIMEDOUT,
        Errno::NOMEM,
    ];
    matches!(
        error.kind(),
        StorageFull | QuotaExceeded | FileTooLarge | ReadOnlyFilesystem
    ) || error.raw_os_error().is_some_and(|number| {
        PASSING
            .iter()
            .any(|passing| passing.raw_os_error() == number)
    })
}

/// What the system says of the folder or of something in it, as an error with the fix where there is one.
pub(crate) fn folder_error(path: &Path, source: io::Error) -> Error {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::PermissionDenied => Error::Denied {
            path,
            user: rustix::process::geteuid().as_raw(),
            source,
        },
        _ => Error::Folder { path, source },
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    File::open(path)?.sync_all()
}

/// The rest of the line of the lock file that begins with `label`.
fn read(lock: &mut File, label: &str) -> Option<String> {
    let mut text = String::new();
    lock.rewind().ok()?;
    lock.take(256).read_to_string(&mut text).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix(label))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::clock::{Uptime, WallTime};
    use crate::spool::disk::fault_injection::script::Script;

    impl DataFolder {
        /// With something in mind for the first calls.
        pub(crate) fn lock_with(path: &Path, script: impl FnOnce(&Script)) -> Result<Self, Error> {
            let fault_injection = FaultInjection::default();
            script(&fault_injection.script);
            Self::lock_behind(fault_injection, path)
        }
    }

    #[test]
    fn the_folder_is_its_users_own_and_the_lock_file_remembers_process_and_boot() {
        let folder = crate::spool::tests::tempdir();
        let path = folder.path().join("new/spool");
        let mut first = DataFolder::lock(&path).unwrap();
        assert_eq!(first.last_boot(), None);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        first
            .sign(
                41,
                &StoreName {
                    store: "abcdefgh".into(),
                    ids: "abcdefgh".into(),
                    is_copied: false,
                },
            )
            .unwrap();
        drop(first);
        let mut second = DataFolder::lock(&path).unwrap();
        assert_eq!(
            (second.last_boot(), second.signed().store.as_deref()),
            (Some(41), Some("abcdefgh"))
        );
        assert_eq!(
            read(second.lock.as_mut().unwrap(), "process "),
            Some(std::process::id().to_string())
        );
    }

    #[test]
    fn where_nothing_can_be_written_it_is_seen_all_the_same_that_somebody_runs() {
        let folder = crate::spool::tests::tempdir();
        let path = folder.path().join("spool");
        assert!(!held::is_held(&path));
        drop(DataFolder::lock(&path).unwrap());
        assert!(!held::is_held(&path));
        let read_only = |script: &Script| script.fail(1, Errno::ROFS.raw_os_error());
        let mut running = DataFolder::lock_with(&path, read_only).unwrap();
        assert!(running.lock.is_none() && held::is_held(&path));
        let second = DataFolder::lock_with(&path, read_only);
        assert!(matches!(second, Err(Error::Locked { .. })), "{second:?}");
        // The disk takes writes again.
        running.take_lock().unwrap();
        assert!(running.unwritten.is_none() && held::is_held(&path));
        drop(running);
        assert!(!held::is_held(&path));
    }

    #[test]
    fn unfinished_snapshots_go_and_finished_ones_stay() {
        let folder = crate::spool::tests::tempdir();
        let folder = DataFolder::lock(folder.path()).unwrap();
        fs::create_dir(folder.store()).unwrap();
        for name in [
            "snap.00AB",
            "snap.00AC.generating",
            "snap.00AD.generating",
            "db",
        ] {
            fs::write(
                folder.store().join(name),
                if name.contains("AC") { "" } else { "x" },
            )
            .unwrap();
        }
        folder.remove_unfinished_snapshots().unwrap();
        let mut left: Vec<_> = fs::read_dir(folder.store())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["db", "snap.00AB"]);
        assert!(folder.remove_all_snapshots().unwrap() && !folder.remove_all_snapshots().unwrap());
    }

    #[test]
    fn two_stores_set_aside_in_one_second_get_two_names() {
        let folder = crate::spool::tests::tempdir();
        let folder = DataFolder::lock(folder.path()).unwrap();
        let now = Now {
            wall: WallTime(7_000_000),
            uptime: Uptime(0),
        };
        for name in ["store.damaged-7", "store.damaged-8"] {
            fs::create_dir(folder.store()).unwrap();
            assert_eq!(folder.set_aside(now).unwrap().file_name().unwrap(), name);
        }
    }
}
