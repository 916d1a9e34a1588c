//! What the plugin of a stage is called, and what it costs.

use std::sync::Arc;
use std::time::Duration;

use super::Stage;
use crate::clock::Now;
use crate::message::PluginRef;

impl Stage {
    /// What its plugin is called in the config.
    pub(in crate::chain::lane) fn name(&self) -> Arc<str> {
        Arc::clone(&self.running.confirmed().version.reference.name)
    }

    /// Its plugin, in the version that counts.
    pub(in crate::chain::lane) fn plugin(&self) -> &PluginRef {
        &self.running.confirmed().version.reference
    }

    /// Its plugin took so much processor time for what it has just done.
    pub(in crate::chain::lane) fn spent(&mut self, cpu: Duration, now: Now) {
        let memory = self.running.memory_bytes();
        let version = &self.running.confirmed().version;
        let tally = &version.metrics.tally;
        self.cost
            .add(tally, &version.limits, (now.uptime, cpu), memory);
    }
}
