//! The config as it is after the last reload, for those who look at the gateway.

use std::sync::{Arc, PoisonError, RwLock};

use crate::config::Config;

/// Cheap to clone; all clones show the same.
#[derive(Clone, Debug)]
pub struct Current(Arc<RwLock<Arc<Config>>>);

impl Current {
    pub fn new(config: &Arc<Config>) -> Self {
        Self(Arc::new(RwLock::new(Arc::clone(config))))
    }

    /// The config that runs now.
    pub fn now(&self) -> Arc<Config> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// This runs from now on.
    pub fn put(&self, config: Config) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }
}
