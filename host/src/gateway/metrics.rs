//! What the gateway itself counts, and the process figures.

use prometheus::{GaugeVec, IntCounterVec, Opts, Registry};

#[derive(Clone, Debug)]
pub struct Metrics {
    pub crashes: IntCounterVec,
}

impl Metrics {
    /// Registers build info, crashes and the process's own figures.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let build = GaugeVec::new(
            Opts::new("tidegate_build_info", "Always 1; the version is a label"),
            &["version"],
        )?;
        build
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1.0);
        registry.register(Box::new(build))?;
        let crashes = IntCounterVec::new(
            Opts::new(
                "tidegate_stage_crashes_total",
                "Panics of the host's own code",
            ),
            &["stage"],
        )?;
        registry.register(Box::new(crashes.clone()))?;
        if let Some(dropped) = crate::telemetry::sink::dropped() {
            registry.register(Box::new(dropped))?;
        }
        registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        #[cfg(feature = "allocations")]
        crate::telemetry::allocations::register(registry)?;
        Ok(Self { crashes })
    }
}
