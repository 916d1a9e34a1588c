//! What is said of the change of a plugin, to whoever drives it, in the log, as a metric and to those who ask.

use std::sync::Arc;

use super::event::{ChangeEvent, ChangeState, Events};
use crate::chain::Chain;
use crate::chain::lane::trial::report::TrialReport;
use crate::chain::lane::version::Version;
use crate::message::short_digest;

/// Tells of the transitions of one change.
#[derive(Clone, Copy)]
pub(super) struct Teller<'a> {
    pub(super) chain: &'a Chain,
    pub(super) old: &'a Version,
    pub(super) new: &'a Arc<str>,
    pub(super) events: Events<'a>,
}

impl Teller<'_> {
    /// The change is in `state` now: the caller hears of it, then the log, the metric and whoever asks; so that a caller who
    /// writes it down has done so before anybody sees it.
    pub(super) fn tell(
        &self,
        state: ChangeState,
        why: Option<String>,
        figures: Option<TrialReport>,
    ) {
        let reference = &self.old.reference;
        let flow = &self.old.metrics.flow;
        let plugin = &reference.name;
        let old = short_digest(&reference.digest);
        let new = short_digest(self.new);
        let state_name = state.name();
        (self.events)(&ChangeEvent {
            flow: Arc::clone(flow),
            plugin: Arc::clone(plugin),
            old: Arc::clone(&reference.digest),
            new: Arc::clone(self.new),
            state,
            why: why.clone(),
            figures: figures.clone(),
            at: self.chain.shared.engine.clock().now().wall.0,
        });
        self.chain.note_state(state);
        self.old.metrics.transition(state.name());
        match (&why, state) {
            (Some(why), ChangeState::Refused | ChangeState::RolledBack) => tracing::warn!(
                flow = &**flow,
                plugin = &**plugin,
                running = old,
                candidate = new,
                state = state_name,
                "plugin not swapped, the running version stays: {why}"
            ),
            (why, _) => tracing::info!(
                flow = &**flow,
                plugin = &**plugin,
                old,
                new,
                state = state_name,
                why = why.as_deref(),
                pause_us = figures
                    .as_ref()
                    .filter(|_| state == ChangeState::Confirmed)
                    .map(|figures| figures.pause_us),
                "change of a plugin"
            ),
        }
    }
}
