//! Counts what the process allocates, for the benchmark that holds allocations per message against their budget.

use std::alloc::System;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, Registry};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

struct Allocations(IntCounter);

impl Collector for Allocations {
    fn desc(&self) -> Vec<&Desc> {
        self.0.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let stats = ALLOCATOR.stats();
        let count = (stats.allocations + stats.reallocations) as u64;
        self.0.inc_by(count.saturating_sub(self.0.get()));
        self.0.collect()
    }
}

/// Registers `tidegate_allocations_total`.
///
/// # Errors
/// The name is taken.
pub fn register(registry: &Registry) -> Result<(), prometheus::Error> {
    let counter = IntCounter::new(
        "tidegate_allocations_total",
        "Allocations and reallocations of the whole process.",
    )?;
    registry.register(Box::new(Allocations(counter)))
}
