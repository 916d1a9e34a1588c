//! How the connections came to stand.

use std::time::{Duration, Instant};

use crate::mqtt;
use crate::sim::latency::{Latencies, Quantiles};
use crate::words::with_causes;

/// Each connection's first attempt.
#[derive(Debug)]
pub(in crate::sim) struct Gathering {
    connected: u32,
    failed: u32,
    latencies: Latencies,
    /// Why the first one that failed did.
    failure: Option<String>,
    began: Instant,
    last: Instant,
}

/// What a report says of them.
#[derive(Clone, Debug, serde::Serialize)]
pub struct GatheringReport {
    pub wanted: u32,
    /// Connected at the first attempt.
    pub connected: u32,
    /// The first attempt failed; they were tried again.
    pub failed: u32,
    /// Why the first of those did.
    pub failure: Option<String>,
    /// From the first attempt to the last answer, seconds.
    pub seconds: f64,
    /// From the first byte of an attempt to the broker's CONNACK, microseconds.
    pub connect_us: Quantiles,
}

impl Gathering {
    pub(in crate::sim) fn new() -> Self {
        let now = Instant::now();
        Self {
            connected: 0,
            failed: 0,
            latencies: Latencies::default(),
            failure: None,
            began: now,
            last: now,
        }
    }

    /// What came of an attempt that began then.
    pub(in crate::sim) fn book(&mut self, began: Instant, opened: &Result<(), mqtt::Error>) {
        self.last = Instant::now();
        match opened {
            Ok(()) => {
                self.connected += 1;
                self.latencies.record(micros(self.last - began));
            }
            Err(error) => {
                self.failed += 1;
                self.failure.get_or_insert_with(|| with_causes(error));
            }
        }
    }

    pub(in crate::sim) fn connected(&self) -> u32 {
        self.connected
    }

    pub(in crate::sim) fn report(&self, wanted: u32) -> GatheringReport {
        GatheringReport {
            wanted,
            connected: self.connected,
            failed: self.failed,
            failure: self.failure.clone(),
            seconds: (self.last - self.began).as_secs_f64(),
            connect_us: self.latencies.quantiles(),
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
