//! Which devices of a flow are in quarantine, over all its lanes, for those who look at it. Lanes come here only when one goes in
//! or out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::IntGauge;

/// Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct HeldDevices {
    gauge: IntGauge,
    /// In how many lanes each is held: after a change of their number it may be in two for a moment.
    names: Arc<Mutex<HashMap<Box<[u8]>, usize>>>,
}

impl HeldDevices {
    pub(crate) fn new(gauge: IntGauge) -> Self {
        Self {
            gauge,
            names: Arc::default(),
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        u64::try_from(self.gauge.get()).unwrap_or_default()
    }

    /// Their names; a lane holds a thousand at most.
    pub(crate) fn names(&self) -> Vec<Box<[u8]>> {
        self.lock().keys().cloned().collect()
    }

    pub(super) fn enter(&self, name: &[u8]) {
        self.gauge.inc();
        *self.lock().entry(name.into()).or_default() += 1;
    }

    pub(super) fn leave(&self, name: &[u8]) {
        self.gauge.dec();
        let names = &mut *self.lock();
        if let Some(lanes) = names.get_mut(name) {
            *lanes -= 1;
            if *lanes == 0 {
                names.remove(name);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<[u8]>, usize>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
