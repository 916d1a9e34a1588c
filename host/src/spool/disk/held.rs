//! Who has a data folder, where nothing can be written to its lock file: the lock is taken on the file as it is, opened to be read.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// A killed process may hold its lock until it is reaped, and one that only looks lets go of it soon.
const LOCK_WAIT: Duration = if cfg!(test) {
    Duration::from_millis(200)
} else {
    Duration::from_secs(5)
};
const LOCK_RETRY: Duration = Duration::from_millis(50);

/// Takes the lock; whether it could be taken: `false` where another one has it for longer than a moment.
pub(super) fn take(lock: &File) -> Result<bool, Errno> {
    let deadline = Instant::now() + LOCK_WAIT;
    while let Err(error) = flock(lock, FlockOperation::NonBlockingLockExclusive) {
        if error != Errno::WOULDBLOCK {
            return Err(error);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        std::thread::sleep(LOCK_RETRY);
    }
    Ok(true)
}

/// Whether somebody has the store at `path`: a gateway that runs, starts or stops, or whoever looks at its files.
pub fn is_held(path: &Path) -> bool {
    let Ok(lock) = File::open(path.join("lock")) else {
        return false;
    };
    flock(&lock, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
}
