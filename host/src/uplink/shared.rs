//! What holds for an uplink as a whole, however many connections it has.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::duty::Duty;
use super::metrics::Metrics;
use super::rate::{Rate, Throttle};

/// What the connections of one uplink have in common.
#[derive(Clone, Debug)]
pub(super) struct UplinkContext {
    pub(super) metrics: Metrics,
    /// `None` where there is no limit. Locked for arithmetic only.
    pub(super) throttle: Option<Arc<Mutex<Throttle>>>,
    /// Of an uplink that has a fallback.
    pub(super) duty: Option<Arc<Duty>>,
}

impl UplinkContext {
    pub(super) fn new(rate: Rate, metrics: Metrics, duty: Option<Arc<Duty>>) -> Self {
        let throttle = (rate != Rate::default())
            .then(|| Arc::new(Mutex::new(Throttle::new(rate, Instant::now()))));
        Self {
            metrics,
            throttle,
            duty,
        }
    }
}
