//! What a change of a plugin tells while it goes on: one event for each transition of its state machine.

use std::sync::Arc;

use serde::Serialize;

use crate::chain::lane::trial::report::TrialReport;

/// How far a change has come.
///
/// ```text
/// seen → [verified] → compiled → linked → self-tested → [shadowing → shadowed] → ready → [canary] → swapped → on-probation → confirmed
///    └────────┴────────────┴─────────┴──────────┴─────────────┴─────────┴──────┘ refused     └────────┴───────────┴──► rolled-back
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeState {
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
    /// It is gone; the version before runs on, from what it told.
    RolledBack,
}

impl ChangeState {
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

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChangeEvent {
    pub flow: Arc<str>,
    /// The plugin's name in the config.
    pub plugin: Arc<str>,
    /// Digest of the version before.
    pub old: Arc<str>,
    /// Digest of the candidate; the same when only settings change.
    pub new: Arc<str>,
    /// Where the change is now.
    pub state: ChangeState,
    /// Why, in words for the operator: of a refusal or roll-back always.
    pub why: Option<String>,
    /// What was measured, once both versions have worked beside each other.
    pub figures: Option<TrialReport>,
    /// Wall clock, microseconds since 1970.
    pub at: u64,
}

/// Who is told of each transition, on the thread that drives the change or one that it waits for.
pub type Events<'a> = &'a (dyn Fn(&ChangeEvent) + Sync);

/// A change that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeUnderWay {
    /// Digest of the candidate.
    pub digest: Arc<str>,
    /// How far it is.
    pub state: ChangeState,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_has_one_name_in_metrics_and_events() {
        for state in [
            ChangeState::Seen,
            ChangeState::SelfTested,
            ChangeState::OnProbation,
            ChangeState::RolledBack,
        ] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
    }
}
