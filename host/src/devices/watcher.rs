//! The thread that looks after the register once a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::error::Error;
use super::lock::lock;
use super::{Inner, events, kept};
use crate::clock::Now;

/// Pause between two looks: as exact as a silence is.
const LOOK: Duration = Duration::from_secs(1);

pub(super) struct RegisterWatcher {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl RegisterWatcher {
    pub(super) fn start(inner: Arc<Inner>) -> Result<Self, Error> {
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("devices".into())
            .spawn(move || crate::thread::keep("devices", || inner.watch(&stopped)))
            .map_err(Error::Thread)?;
        Ok(Self { stop, thread })
    }

    /// Has it look a last time and write what it knows. Waits for it.
    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            tracing::error!("the register of devices did not end in order");
        }
    }
}

impl Inner {
    fn watch(&self, stop: &AtomicBool) {
        let mut written = Instant::now();
        loop {
            let is_last = stop.load(Ordering::Acquire);
            self.look(Now::read());
            let every = lock(&self.register)
                .config
                .as_ref()
                .map(|config| config.checkpoint);
            if is_last || every.is_some_and(|every| written.elapsed() >= every) {
                written = Instant::now();
                self.write(Now::read());
            }
            if is_last {
                return;
            }
            std::thread::park_timeout(LOOK);
        }
    }

    pub(super) fn look(&self, now: Now) {
        let heard = self.books.take();
        let register = &mut *lock(&self.register);
        register.look(heard, now, &*self.needs.is_listening);
        let told = events::tell(register, &self.needs, now);
        self.metrics.events.inc_by(told);
    }

    pub(super) fn write(&self, now: Now) {
        let changes = lock(&self.register).changes(now);
        if !changes.is_empty() {
            self.needs
                .states
                .checkpoint(vec![kept::checkpoint(changes)]);
        }
    }
}
