//! Where tests come between the spool and the disk: sled cannot be intercepted, so the calls to it are.
//!
//! In the program this is nothing at all.

use std::io;
use std::path::Path;

use crate::spool::space::Space;

/// What is about to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiskCall {
    /// Something is opened, or handed to the operating system.
    Write,
    /// The file system is synced.
    Sync,
    /// A file is opened to be read, or read.
    Read,
}

/// Passed by every call that changes something on disk, or reads what must not be lost.
#[derive(Clone, Debug, Default)]
pub(crate) struct FaultInjection {
    #[cfg(test)]
    pub script: std::sync::Arc<script::Script>,
}

impl FaultInjection {
    /// Asks whether the call may go ahead; in a test it may fail or wait here.
    #[cfg_attr(
        not(test),
        expect(
            clippy::unused_self,
            clippy::unnecessary_wraps,
            reason = "only tests have something here"
        )
    )]
    pub(crate) fn pass(&self, call: DiskCall) -> io::Result<()> {
        #[cfg(test)]
        self.script.pass(call)?;
        let _ = call;
        Ok(())
    }

    /// Asks whether this file may be opened to be read.
    pub(crate) fn pass_file(&self, path: &Path) -> io::Result<()> {
        self.pass(DiskCall::Read)?;
        #[cfg(test)]
        self.script.pass_file(path)?;
        let _ = path;
        Ok(())
    }

    /// The space a test makes believe in.
    #[cfg_attr(
        not(test),
        expect(clippy::unused_self, reason = "only tests have something here")
    )]
    pub(crate) fn space(&self) -> Option<Space> {
        #[cfg(test)]
        return *crate::spool::lock::locked(&self.script.space);
        #[cfg(not(test))]
        None
    }
}

#[cfg(test)]
pub(crate) mod script {
    //! What a test has in mind.

    use std::io;
    use std::path::{Path, PathBuf};
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use crate::spool::disk::fault_injection::DiskCall;
    use crate::spool::space::Space;

    type Hold = (SyncSender<()>, Receiver<()>);
    /// Reads so far, which of them fail, and with what.
    type Reads = (u64, Vec<(std::ops::Range<u64>, i32)>);

    #[derive(Debug, Default)]
    pub(crate) struct Script {
        /// Numbers of calls that fail, and the system's error number.
        faults: Mutex<Vec<(u64, i32)>>,
        fail_syncs: Mutex<u32>,
        /// Reads so far, and those that fail.
        reads: Mutex<Reads>,
        /// A file that is never given back.
        sick: Mutex<Option<PathBuf>>,
        count: Mutex<u64>,
        hold: Mutex<Option<Hold>>,
        pub(crate) space: Mutex<Option<Space>>,
    }

    impl Script {
        /// The `n`-th call from now on fails (1 is the next).
        pub fn fail(&self, n: u64, errno: i32) {
            let at = self.calls() + n;
            self.faults.lock().unwrap().push((at, errno));
        }

        /// So many syncs to come fail.
        pub fn fail_syncs(&self, count: u32) {
            *self.fail_syncs.lock().unwrap() = count;
        }

        /// Reads fail from the `n`-th from now on (1 is the next), so many of them.
        pub fn fail_reads(&self, n: u64, count: u64, errno: i32) {
            let mut reads = self.reads.lock().unwrap();
            let at = reads.0 + n;
            reads.1.push((at..at.saturating_add(count), errno));
        }

        /// This file cannot be read from now on.
        pub fn fail_file(&self, path: &Path) {
            *self.sick.lock().unwrap() = Some(path.to_owned());
        }

        pub(super) fn pass_file(&self, path: &Path) -> io::Result<()> {
            let is_sick = self.sick.lock().unwrap().as_deref() == Some(path);
            if is_sick {
                return Err(io::Error::from_raw_os_error(5));
            }
            Ok(())
        }

        /// Reads do not fail any more.
        pub fn heal_reads(&self) {
            self.reads.lock().unwrap().1.clear();
        }

        pub fn calls(&self) -> u64 {
            *self.count.lock().unwrap()
        }

        /// From now on the file system seems to have this space; `None` asks it again. Answers what it was until now.
        pub fn believe(&self, space: Option<Space>) -> Option<Space> {
            std::mem::replace(&mut *self.space.lock().unwrap(), space)
        }

        /// The next sync says so on the channel that is answered, and goes on when the other is used or dropped.
        pub fn hold_sync(&self) -> (Receiver<()>, SyncSender<()>) {
            let (here, seen) = sync_channel(1);
            let (go_on, told) = sync_channel(1);
            *self.hold.lock().unwrap() = Some((here, told));
            (seen, go_on)
        }

        pub fn pass(&self, call: DiskCall) -> io::Result<()> {
            if call == DiskCall::Read {
                let mut reads = self.reads.lock().unwrap();
                reads.0 += 1;
                let failing = reads
                    .1
                    .iter()
                    .find(|(failing, _)| failing.contains(&reads.0));
                return failing.map_or(Ok(()), |(_, errno)| {
                    Err(io::Error::from_raw_os_error(*errno))
                });
            }
            let number = {
                let mut count = self.count.lock().unwrap();
                *count += 1;
                *count
            };
            if call == DiskCall::Sync {
                let hold = self.hold.lock().unwrap().take();
                if let Some((here, go_on)) = hold {
                    here.send(()).unwrap();
                    // A sender that is gone lets it go on as well.
                    let _ = go_on.recv();
                }
                let mut left = self.fail_syncs.lock().unwrap();
                if *left > 0 {
                    *left -= 1;
                    return Err(io::ErrorKind::StorageFull.into());
                }
            }
            let faults = self.faults.lock().unwrap();
            faults
                .iter()
                .find(|(at, _)| *at == number)
                .map_or(Ok(()), |(_, errno)| {
                    Err(io::Error::from_raw_os_error(*errno))
                })
        }
    }
}
