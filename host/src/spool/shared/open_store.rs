//! The store as it is at the moment: open, or being opened anew.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::spool::disk::store::Store;
use crate::spool::lock::locked;
use crate::spool::shared::end::Shutdown;

/// Where the open store is, if there is one.
#[derive(Default)]
pub(crate) struct OpenStore {
    store: Mutex<Option<Arc<Store>>>,
    changed: Condvar,
}

impl OpenStore {
    /// With the one that the start has found, if it has.
    pub(crate) fn new(store: Option<Store>) -> Self {
        Self {
            store: Mutex::new(store.map(Arc::new)),
            changed: Condvar::new(),
        }
    }

    /// The open store; waits a moment for one that is being opened anew, unless the end comes.
    pub(crate) fn get(&self, patience: Duration, end: &Shutdown) -> Option<Arc<Store>> {
        let waited = self
            .changed
            .wait_timeout_while(locked(&self.store), patience, |store| {
                store.is_none() && !end.has_come()
            });
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Whether there is one.
    pub(crate) fn is_open(&self) -> bool {
        locked(&self.store).is_some()
    }

    /// From now on it is this one. Whoever waits hears of it with [`OpenStore::announce`].
    pub(crate) fn put(&self, store: Store) {
        *locked(&self.store) = Some(Arc::new(store));
    }

    /// From now on there is none.
    pub(crate) fn take(&self) -> Option<Arc<Store>> {
        locked(&self.store).take()
    }

    /// Whoever waits for one looks again.
    pub(crate) fn announce(&self) {
        self.changed.notify_all();
    }

    /// Closes the files once the last reader has gone.
    pub(crate) fn close(&self) {
        if let Some(store) = self.take().and_then(Arc::into_inner) {
            store.close();
        }
    }
}
