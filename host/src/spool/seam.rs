//! Where tests come between the spool and the disk: sled cannot be intercepted, so the calls to it are.
//!
//! In the program this is nothing at all.

use std::io;

use super::room::Space;

/// What is about to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// Something is opened, or handed to the operating system.
    Write,
    /// The file system is synced.
    Sync,
}

/// Passed by every call that changes something on disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Seam {
    #[cfg(test)]
    pub script: std::sync::Arc<script::Script>,
}

impl Seam {
    /// Asks whether the call may go ahead; in a test it may fail or wait here.
    #[cfg_attr(not(test), expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "only tests have something here"))]
    pub(super) fn pass(&self, call: Call) -> io::Result<()> {
        #[cfg(test)]
        self.script.pass(call)?;
        let _ = call;
        Ok(())
    }

    /// The space a test makes believe in.
    #[cfg_attr(not(test), expect(clippy::unused_self, reason = "only tests have something here"))]
    pub(super) fn space(&self) -> Option<Space> {
        #[cfg(test)]
        return *self.script.space.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        #[cfg(not(test))]
        None
    }
}

#[cfg(test)]
pub(super) mod script {
    //! What a test has in mind.

    use std::io;
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, Sender};

    use super::{Call, Space};

    /// Ends a hold: send (or drop) to let the call go on.
    pub(in crate::spool) type Hold = (Sender<()>, Receiver<()>);

    #[derive(Debug, Default)]
    pub(in crate::spool) struct Script {
        /// Each call takes one; `Some` of these fails it.
        faults: Mutex<Vec<(u64, io::ErrorKind)>>,
        fail_syncs: Mutex<u32>,
        count: Mutex<u64>,
        /// The next sync says that it is there, then waits.
        pub hold: Mutex<Option<Hold>>,
        pub space: Mutex<Option<Space>>,
    }

    impl Script {
        /// The `n`-th call from now on fails (1 is the next).
        pub fn fail(&self, n: u64, kind: io::ErrorKind) {
            let at = self.calls() + n;
            self.faults.lock().unwrap().push((at, kind));
        }

        /// So many syncs to come fail.
        pub fn fail_syncs(&self, count: u32) {
            *self.fail_syncs.lock().unwrap() = count;
        }

        /// Calls so far.
        pub fn calls(&self) -> u64 {
            *self.count.lock().unwrap()
        }

        pub fn believe(&self, space: Option<Space>) {
            *self.space.lock().unwrap() = space;
        }

        pub fn pass(&self, call: Call) -> io::Result<()> {
            let number = {
                let mut count = self.count.lock().unwrap();
                *count += 1;
                *count
            };
            if call == Call::Sync {
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
            faults.iter().find(|(at, _)| *at == number).map_or(Ok(()), |(_, kind)| Err((*kind).into()))
        }
    }
}
