//! What all lanes of a chain share.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use super::guard::Alarm;
use super::onward::{FlowEntry, Onward};
use super::version::Version;
use crate::chain::failure::LaneFailure;
use crate::chain::metrics::FlowMetrics;
use crate::chain::sandbox::engine::Engine;
use crate::chain::tap::FlowTaps;
use crate::chain::trace::FlowTrace;
use crate::message::{Destination, FlowId, Outlet, StateStore, Tape};

/// One for all of them.
pub(in crate::chain) struct ChainContext {
    pub(in crate::chain) flow: FlowId,
    pub(in crate::chain) name: Arc<str>,
    pub(in crate::chain) batch_messages: usize,
    pub(in crate::chain) out: Vec<Destination>,
    /// What it takes of what other flows lead to it.
    pub(in crate::chain) entry: RwLock<FlowEntry>,
    /// The flows it leads to.
    pub(in crate::chain) onward: Onward,
    pub(in crate::chain) engine: Engine,
    pub(in crate::chain) outlet: Arc<dyn Outlet>,
    pub(in crate::chain) states: Arc<dyn StateStore>,
    pub(in crate::chain) metrics: FlowMetrics,
    pub(in crate::chain) failure: Arc<LaneFailure>,
    pub(in crate::chain) alarm: Arc<Alarm>,
    /// The version of each plugin that is confirmed.
    pub(in crate::chain) versions: Mutex<Vec<Arc<Version>>>,
    /// Those who look on.
    pub(in crate::chain) taps: Arc<FlowTaps>,
    /// The traces of what it carries.
    pub(in crate::chain) trace: FlowTrace,
    /// Where what the lanes are told is taken down, in a flow that is recorded.
    pub(in crate::chain) tape: OnceLock<Arc<dyn Tape>>,
}

impl ChainContext {
    pub(in crate::chain) fn versions(&self) -> Vec<Arc<Version>> {
        self.versions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
