//! What a change of a plugin tells while it goes on: one event for each transition of its state machine.

use std::sync::Arc;

use serde::Serialize;

use crate::chain::Chain;
use crate::chain::lane::trial::compare::Comparison;
use crate::chain::lane::version::Version;
use crate::clock::Now;
use crate::message::short_digest;

/// How far a change has come.
///
/// ```text
/// seen → [verified] → compiled → linked → self-tested → [shadowing → shadowed] → ready → [canary] → swapped → on-probation → confirmed
///    └────────┴────────────┴─────────┴──────────┴─────────────┴─────────┴──────┘ refused     └────────┴───────────┴──► rolled-back
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// A component or settings that differ from the running ones.
    Seen,
    /// It is signed as the policy asks.
    Verified,
    /// It is code; from the cache if it was compiled before.
    Compiled,
    /// It asks for nothing that is not granted, and took its settings.
    Linked,
    /// It has answered an empty batch and a tick, and read a copy of the state.
    SelfTested,
    /// It gets the live messages beside the running version; its outputs go nowhere.
    Shadowing,
    /// That went well.
    Shadowed,
    /// An instance with a copy of the state waits in every lane.
    Ready,
    /// Its outputs count for a share of the keys.
    Canary,
    /// Its outputs count for all keys.
    Swapped,
    /// The version before goes on beside it, ready to come back.
    OnProbation,
    /// It is the running version; the one before is gone.
    Confirmed,
    /// It is gone before any of its outputs counted.
    Refused,
    /// It is gone; the version before runs on as if there had been no other.
    RolledBack,
}

impl State {
    /// The name used in metrics, logs and events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Verified => "verified",
            Self::Compiled => "compiled",
            Self::Linked => "linked",
            Self::SelfTested => "self-tested",
            Self::Shadowing => "shadowing",
            Self::Shadowed => "shadowed",
            Self::Ready => "ready",
            Self::Canary => "canary",
            Self::Swapped => "swapped",
            Self::OnProbation => "on-probation",
            Self::Confirmed => "confirmed",
            Self::Refused => "refused",
            Self::RolledBack => "rolled-back",
        }
    }
}

/// What one version did with the inputs of a phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Messages it was given.
    pub messages: u64,
    /// Messages it rejected.
    pub rejected: u64,
    /// Entries it answered, those of ticks included.
    pub entries: u64,
    /// Calls it failed in.
    pub faults: u64,
    /// Calls with a batch.
    pub calls: u64,
    /// Processor time of these calls, microseconds.
    pub cpu_us: u64,
    /// Linear memory of its instances in all lanes, bytes.
    pub memory_bytes: u64,
}

/// Both versions beside each other, on the same inputs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// How long they have worked beside each other in this phase, milliseconds.
    pub elapsed_ms: u64,
    /// How long messages waited for the candidate to take its copy of the state, in the lane where it took longest,
    /// microseconds.
    pub pause_us: u64,
    /// The running version.
    pub old: Figures,
    /// The candidate.
    pub new: Figures,
    /// Messages that the running version accepts and the candidate rejects.
    pub newly_rejected: u64,
    /// Messages whose outputs were compared.
    pub compared: u64,
    /// Those whose outputs differ, and outputs of ticks that do.
    pub differing: u64,
    /// The differences in detail, of a shadow.
    pub differences: Option<Comparison>,
}

impl Figures {
    /// Adds counts; memory is no count.
    pub(crate) fn add(&mut self, more: &Self) {
        self.messages += more.messages;
        self.rejected += more.rejected;
        self.entries += more.entries;
        self.faults += more.faults;
        self.calls += more.calls;
        self.cpu_us += more.cpu_us;
    }
}

/// A transition.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// The flow.
    pub flow: Arc<str>,
    /// The plugin's name in the config.
    pub plugin: Arc<str>,
    /// Digest of the version before.
    pub old: Arc<str>,
    /// Digest of the candidate; the same when only settings change.
    pub new: Arc<str>,
    /// Where the change is now.
    pub state: State,
    /// Why, in words for the operator: of a refusal or roll-back always.
    pub why: Option<String>,
    /// What was measured, once both versions have worked beside each other.
    pub figures: Option<Report>,
    /// Wall clock, microseconds since 1970.
    pub at: u64,
}

/// Who is told of each transition, on the thread that drives the change or one that it waits for.
pub type Events<'a> = &'a (dyn Fn(&Event) + Sync);

/// A change that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnderWay {
    /// Digest of the candidate.
    pub digest: Arc<str>,
    /// How far it is.
    pub state: State,
}

/// Tells of the transitions of one change.
#[derive(Clone, Copy)]
pub(super) struct Teller<'a> {
    pub(crate) chain: &'a Chain,
    pub(crate) old: &'a Version,
    pub(crate) new: &'a Arc<str>,
    pub(crate) events: Events<'a>,
}

impl Teller<'_> {
    /// The change is in `state` now: the caller hears of it, then the log, the metric and whoever asks; so that a caller who
    /// writes it down has done so before anybody sees it.
    pub(crate) fn tell(&self, state: State, why: Option<String>, figures: Option<Report>) {
        let reference = &self.old.reference;
        let (flow, plugin) = (&self.old.metrics.flow, &reference.name);
        let (old, new, state_name) = (short_digest(&reference.digest), short_digest(self.new), state.name());
        (self.events)(&Event {
            flow: Arc::clone(flow),
            plugin: Arc::clone(plugin),
            old: Arc::clone(&reference.digest),
            new: Arc::clone(self.new),
            state,
            why: why.clone(),
            figures: figures.clone(),
            at: Now::read().wall_us,
        });
        self.chain.note_state(state);
        self.old.metrics.transition(state);
        match (&why, state) {
            (Some(why), State::Refused | State::RolledBack) => tracing::warn!(
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
                pause_us = figures.as_ref().filter(|_| state == State::Confirmed).map(|figures| figures.pause_us),
                "change of a plugin"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_has_one_name_in_metrics_and_events() {
        for state in [State::Seen, State::SelfTested, State::OnProbation, State::RolledBack] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
    }
}
