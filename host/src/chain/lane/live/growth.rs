//! An instance that grows: where it is replaced, and what is said of it.

use crate::chain::lane::version::Version;
use crate::chain::sandbox::fault::Fault;
use crate::clock::{Now, WallTime};

/// Shortest time between two log lines about replaced instances of one lane; the metric counts every one.
const LOG_EVERY_US: u64 = 60_000_000;

/// How far the instance of a lane may grow.
pub(super) struct Growth {
    /// Linear memory beyond which it is replaced, bytes.
    limit: usize,
    /// Replacements since the last log line, and when that was.
    unlogged: u64,
    logged: Option<WallTime>,
}

impl Default for Growth {
    fn default() -> Self {
        Self {
            limit: usize::MAX,
            unlogged: 0,
            logged: None,
        }
    }
}

impl Growth {
    /// An instance of so many bytes begins. One that needs much from its start may use half of what is left.
    pub(super) fn begin(&mut self, version: &Version, bytes: usize) {
        let limits = &version.limits;
        self.limit = limits
            .recycle_bytes
            .max(bytes.midpoint(limits.memory_bytes));
    }

    /// Whether one of so many bytes is to be replaced.
    pub(super) fn is_over(&self, bytes: usize) -> bool {
        bytes > self.limit
    }

    /// It was replaced: how large it was, and how large the one in its place is.
    pub(super) fn replaced(
        &mut self,
        version: &Version,
        lane: usize,
        [grown, small]: [usize; 2],
        now: Now,
    ) {
        self.begin(version, small);
        version.metrics.tally.recycled.inc();
        self.unlogged += 1;
        if self
            .logged
            .is_some_and(|logged| now.wall.0.abs_diff(logged.0) < LOG_EVERY_US)
        {
            return;
        }
        tracing::info!(
            flow = &*version.metrics.flow,
            plugin = version.label(),
            lane,
            times = std::mem::take(&mut self.unlogged),
            grown,
            small,
            "instance of a plugin had grown and was replaced, its state kept"
        );
        self.logged = Some(now.wall);
    }

    /// It cannot be replaced. Not tried with every batch from now on: the hard limit ends it.
    pub(super) fn fail(&mut self, version: &Version, lane: usize, fault: &Fault) {
        version.metrics.error(fault.kind);
        self.limit = usize::MAX;
        tracing::error!(plugin = version.label(), lane, %fault, "instance of a plugin has grown past `recycle_at` and cannot be replaced with its state");
    }
}
