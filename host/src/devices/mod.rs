//! The register of devices: who was seen, when first and last, how much of it, and whether it is there.
//!
//! ```text
//! source ──DeviceSign──► book (one for each source) ──once a second──► register ──► list, numbers
//!                                                                       │    │
//!                                            the store, at checkpoints ◄┘    └─► events: a queue or a flow
//! ```
//!
//! **In**: a sign for each message that came with a key, and what is said of devices on the topics of `availability`.
//! **Out**: a list, counts, and an event for each change of what is so of a device.
//!
//! **Promised**
//! - A message costs one look into a table of its source alone; the register itself is touched by its own thread once a second,
//!   and by whoever asks for the list. Without `[devices]` a source does not know of it.
//! - Bounded in number and bytes, in memory and on disk: the device that was silent for longest makes room, counted. What there
//!   is no room for between two looks goes unnoted, counted.
//! - Silence goes by the monotonic clock, and only while its source hears: a broker that is away makes no device silent.
//! - A status that says what is so already, or is older than the last one, changes nothing and leads to no event.
//! - The version in an event rises with every one, over restarts too. An event that there is no room for is made later, of what is
//!   so then.
//!
//! **Not promised**: that counts survive a kill (they are those of the last checkpoint), or that every change between two looks
//! is told: the last one is. After a restart every device is unknown until something is heard, and told once more then.
//!
//! What a plugin or the gateway itself makes does not pass a source, and is no device's.

mod account;
mod book;
mod device;
mod error;
mod events;
mod kept;
mod lock;
mod metrics;
mod register;
mod settings;
mod status;
mod watcher;

use std::sync::{Arc, Mutex};

pub use account::{DeviceList, DeviceQuery, ListedDevice};
pub use device::DeviceState;
pub use error::Error;
pub use metrics::DeviceCounts;
pub use settings::{Availability, Config, RegisterNeeds};

use crate::clock::Now;
use crate::message::DeviceBook;
use account::list;
use book::{Book, SourceBooks};
use lock::lock;
use metrics::Metrics;
use register::Register;
use watcher::RegisterWatcher;

/// The register of one gateway, whether the config has it or not. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    needs: RegisterNeeds,
    metrics: Metrics,
    books: SourceBooks,
    register: Mutex<Register>,
    /// There while the config has it.
    watcher: Mutex<Option<RegisterWatcher>>,
}

impl Registry {
    /// One that is off.
    ///
    /// # Errors
    /// The names of its numbers are taken.
    pub fn new(needs: RegisterNeeds, registry: &prometheus::Registry) -> Result<Self, Error> {
        let metrics = Metrics::new(registry).map_err(Error::Metrics)?;
        Ok(Self(Arc::new(Inner {
            register: Mutex::new(Register::new(metrics.clone(), needs.boot)),
            books: SourceBooks::new(metrics.clone()),
            needs,
            metrics,
            watcher: Mutex::default(),
        })))
    }

    /// This is how it is to be from now on; `None`: off. What was kept is taken up when it begins. Blocks on the disk.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn put(&self, config: Option<Config>) -> Result<(), Error> {
        let mut watcher = lock(&self.0.watcher);
        let Some(config) = config else {
            if let Some(running) = watcher.take() {
                running.stop();
                drop(self.0.books.take());
                lock(&self.0.register).clear();
                self.0.metrics.clear();
            }
            return Ok(());
        };
        self.0.books.put(&config);
        let is_new = watcher.is_none();
        {
            let mut register = lock(&self.0.register);
            register.put(config);
            if is_new {
                register.recall(kept::recall(&*self.0.needs.states));
            }
        }
        if is_new {
            *watcher = Some(RegisterWatcher::start(Arc::clone(&self.0))?);
        }
        Ok(())
    }

    /// Where the source of this name notes what it hears.
    pub fn book(&self, source: &str) -> Arc<dyn DeviceBook> {
        let book: Arc<Book> = self.0.books.of(source);
        book
    }

    /// What is known of the devices that `query` asks for. `is_quarantined` says whose messages go to the dead letters untried.
    pub fn list(&self, query: &DeviceQuery, is_quarantined: &dyn Fn(&[u8]) -> bool) -> DeviceList {
        let is_on = lock(&self.0.watcher).is_some();
        let found = list(&lock(&self.0.register), query, is_quarantined, Now::read());
        DeviceList { is_on, ..found }
    }

    /// How many devices are what; `None` while it is off.
    pub fn counts(&self) -> Option<DeviceCounts> {
        let is_on = lock(&self.0.watcher).is_some();
        is_on.then(|| lock(&self.0.register).counts(Now::read()))
    }

    /// Ends it: what is known is written with the spool's last commit.
    pub fn stop(&self) {
        if let Some(running) = lock(&self.0.watcher).take() {
            running.stop();
        }
    }
}

#[cfg(test)]
mod tests;
