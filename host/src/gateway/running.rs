//! The running gateway: what its stages, its routes and its end have in common.

use std::sync::Arc;
use std::time::Instant;

use prometheus::Registry;
use tokio::sync::Notify;

use super::current::Current;
use super::flow_handle::FlowHandles;
use super::metrics::Metrics;
use super::pulse::{Pulses, Workers};
use super::standing::SharedStanding as Standing;
use crate::chain::Taps;
use crate::config::Config;
use crate::message::Mint;
use crate::spool::Spool;
use crate::telemetry::trace::Tracer;
use crate::versions::Versions;
use crate::{devices, source, uplink};

pub struct RunningGateway {
    /// As it was at the start: what `[gateway]` and `[spool]` say holds until the end.
    pub(super) config: Arc<Config>,
    pub(super) current: Current,
    pub(super) started: Instant,
    pub(super) registry: Registry,
    pub(super) metrics: Metrics,
    pub(super) sources: source::Metrics,
    pub(super) uplinks: uplink::Metrics,
    pub(super) spool: Arc<Spool>,
    pub(super) flow_handles: FlowHandles,
    /// Which devices were seen, and whether they are there.
    pub(super) devices: devices::Registry,
    /// Those who look on at its flows.
    pub(super) taps: Taps,
    /// Takes the spans of traced messages.
    pub(super) tracer: Tracer,
    /// Rings when a lane has ended although nobody stopped it.
    pub(super) failed: Arc<Notify>,
    pub(super) mint: Arc<Mint>,
    pub(super) versions: Versions,
    pub(super) standing: Standing,
    pub(super) pulses: Pulses,
    pub(super) workers: Workers,
}
