//! Work on files that may never come back: of a mount whose server is gone comes nothing, not even an error. It is done on a thread of
//! its own, and nobody waits for that longer than for a disk that has to wake up. A thread that hangs stays; so there is one for each path
//! at most, and few in all.

use std::collections::BTreeMap;
#[cfg(test)]
use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

/// A disk that sleeps takes some seconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same while something hangs already: mostly it is the same mount, and a config may name many files on it.
const LESS: Duration = Duration::from_millis(500);
/// Threads that hang at a time.
const MOST: usize = 32;
/// What looks at a file needs little.
const STACK_BYTES: usize = 256 << 10;

/// What hangs, and how many hang over it.
static HANGING: Hanging = Hanging(Mutex::new(BTreeMap::new()));

/// Does `work`, which is about the file at `path`.
///
/// # Errors
/// The work's; or it has not come back in time, or has not from an attempt before.
pub fn within<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    #[cfg(test)]
    if HUNG.lock().unwrap().contains(path) {
        return Err(ErrorKind::TimedOut.into());
    }
    HANGING.within(path, PATIENCE, work)
}

/// What hangs as a test wants it. Others have their patience meanwhile.
#[cfg(test)]
static HUNG: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// What is at a path hangs as long as this is there.
#[cfg(test)]
pub struct HungPath(PathBuf);

#[cfg(test)]
impl HungPath {
    pub fn at(path: &Path) -> Self {
        HUNG.lock().unwrap().insert(path.to_owned());
        Self(path.to_owned())
    }
}

#[cfg(test)]
impl Drop for HungPath {
    fn drop(&mut self) {
        HUNG.lock().unwrap().remove(&self.0);
    }
}

struct Hanging(Mutex<BTreeMap<PathBuf, usize>>);

impl Hanging {
    fn paths(&self) -> MutexGuard<'_, BTreeMap<PathBuf, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn patience(&self, path: &Path, patience: Duration) -> io::Result<Duration> {
        let paths = self.paths();
        if paths.contains_key(path) || paths.len() >= MOST {
            let why = "nothing came of it when it was last tried, and that still hangs: look after the disk, or the mount, that it is on";
            return Err(io::Error::new(ErrorKind::TimedOut, why));
        }
        let less = patience.min(LESS);
        Ok(if paths.is_empty() { patience } else { less })
    }

    fn within<T: Send + 'static>(
        &'static self,
        path: &Path,
        patience: Duration,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let patience = self.patience(path, patience)?;
        let (done, wait) = mpsc::sync_channel(1);
        let is_late = Arc::new(Mutex::new(false));
        let (own, late) = (path.to_owned(), Arc::clone(&is_late));
        let run = move || {
            let made = work();
            let is_late = late.lock().unwrap_or_else(PoisonError::into_inner);
            if *is_late {
                self.came_back(&own);
            } else {
                // An error means that nobody waits, which is the other case.
                let _ = done.send(made);
            }
        };
        thread::Builder::new()
            .name("file".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(run)?;
        if let Ok(made) = wait.recv_timeout(patience) {
            return made;
        }
        let mut is_late = is_late.lock().unwrap_or_else(PoisonError::into_inner);
        // It may have come back just now, or ended without a word.
        match wait.try_recv() {
            Ok(made) => return made,
            Err(mpsc::TryRecvError::Disconnected) => {
                return Err(io::Error::other("looking at it ended in a panic"));
            }
            Err(mpsc::TryRecvError::Empty) => {}
        }
        *is_late = true;
        *self.paths().entry(path.to_owned()).or_default() += 1;
        let why = format!(
            "nothing came of it within {patience:?}: look after the disk, or the mount, that it is on"
        );
        Err(io::Error::new(ErrorKind::TimedOut, why))
    }

    fn came_back(&self, path: &Path) {
        let mut paths = self.paths();
        if let Some(count) = paths.get_mut(path) {
            *count -= 1;
            if *count == 0 {
                paths.remove(path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_is_given_up_once_and_is_an_error_until_it_comes_back() {
        static HANGING: Hanging = Hanging(Mutex::new(BTreeMap::new()));
        let short = Duration::from_millis(1);
        let (path, other) = (Path::new("/mnt/x"), Path::new("/mnt/y"));
        let (go_on, hangs) = mpsc::sync_channel::<()>(1);
        let hung = HANGING.within(path, short, move || {
            let _ = hangs.recv();
            Ok(())
        });
        let told = hung.unwrap_err();
        assert!(told.kind() == ErrorKind::TimedOut && told.to_string().contains("within 1ms"));
        // It is not tried again, and holds up no other one.
        let again = HANGING.within(path, PATIENCE, || Ok(()));
        assert!(again.unwrap_err().to_string().contains("still hangs"));
        let found = HANGING.within(other, PATIENCE, || Ok(7));
        assert_eq!(found.unwrap(), 7);
        drop(go_on);
        while HANGING.within(path, PATIENCE, || Ok(())).is_err() {
            thread::yield_now();
        }
    }

    #[test]
    fn so_many_hang_and_no_more() {
        static HANGING: Hanging = Hanging(Mutex::new(BTreeMap::new()));
        let (go_on, hangs) = mpsc::sync_channel::<()>(1);
        let hangs = Arc::new(Mutex::new(hangs));
        let hang = |number: usize| {
            let hangs = Arc::clone(&hangs);
            let path = PathBuf::from(format!("/mnt/{number}"));
            HANGING.within(&path, Duration::from_millis(1), move || {
                let hangs = hangs.lock().unwrap_or_else(PoisonError::into_inner);
                let _ = hangs.recv();
                Ok(())
            })
        };
        assert!((0..MOST).all(|number| hang(number).is_err()));
        let told = hang(MOST).unwrap_err().to_string();
        assert!(told.contains("still hangs"), "{told}");
        drop(go_on);
        while !HANGING.paths().is_empty() {
            thread::yield_now();
        }
    }

    #[test]
    fn work_that_panics_is_an_error() {
        let made = within(Path::new("/mnt/panics"), || -> io::Result<()> {
            panic!("as the case wants it")
        });
        assert!(made.is_err());
    }
}
