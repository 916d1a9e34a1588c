//! What the plugin of a stage costs.

use std::time::Duration;

use super::Stage;
use crate::clock::Now;

impl Stage {
    /// Its plugin took so much processor time for what it has just done.
    pub(in crate::chain::lane) fn spent(&mut self, cpu: Duration, now: Now) {
        let memory = self.running.memory_bytes();
        let version = &self.running.confirmed().version;
        let tally = &version.metrics.tally;
        self.cost
            .add(tally, &version.limits, (now.uptime_us, cpu), memory);
    }
}
