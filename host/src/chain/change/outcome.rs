//! How the change of a plugin ends.

use std::sync::Arc;
use std::time::Duration;

use super::event::ChangeState;
use crate::chain::lane::trial::report::{ChangeStep, TrialReport};

/// A swap that was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Swapped {
    /// Digest of the version before.
    pub old: Arc<str>,
    /// Digest of the version that runs now; the same when only settings changed, or nothing did.
    pub new: Arc<str>,
    /// How long messages waited, for each lane; empty when there was nothing to change.
    pub pauses: Vec<Duration>,
    /// Both versions beside each other, in the last phase.
    pub figures: Option<TrialReport>,
}

/// A change that was not made: the version before runs, with its state.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{} at {}: {why}", state.name(), step.name())]
pub struct NotChanged {
    pub step: ChangeStep,
    /// [`ChangeState::Refused`], or [`ChangeState::RolledBack`] when outputs of the candidate have counted.
    pub state: ChangeState,
    /// Why, in words for the operator.
    pub why: String,
    /// Both versions beside each other, in the last phase.
    pub figures: Option<Box<TrialReport>>,
}

impl NotChanged {
    pub(super) fn at(step: ChangeStep, why: impl ToString) -> Self {
        Self {
            step,
            state: ChangeState::Refused,
            why: why.to_string(),
            figures: None,
        }
    }
}
