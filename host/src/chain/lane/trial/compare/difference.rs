//! What is told of a difference: its kind, the part that differs, and how many there are.

use serde::{Deserialize, Serialize};

/// How two versions differ on one input, or in one output of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DifferenceKind {
    /// Only the running version sends something.
    Missing,
    /// Only the candidate sends something.
    Extra,
    /// Both send, and not the same; or neither does, for different reasons.
    Changed,
}

/// What differs where both send something, or neither does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DifferingPart {
    /// What becomes of it: sent, absorbed, rejected, failed on, or nothing.
    Outcome,
    /// How many outputs it leads to.
    Number,
    /// The port, or the queue, an output leaves through.
    Port,
    Topic,
    /// An output's key: it may take another lane.
    Key,
    Headers,
    Payload,
    /// An output's marks: retain and quality of service.
    Marks,
}

/// What becomes of an input. One that leads to nothing was filtered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InputOutcome {
    Sent,
    /// Taken into the plugin's state.
    Absorbed,
    /// Rejected by the plugin.
    Rejected,
    /// The plugin failed on it, or it cannot be sent.
    Failed,
}

impl DifferenceKind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Changed => "changed",
        }
    }
}

impl DifferingPart {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Outcome => "outcome",
            Self::Number => "number",
            Self::Port => "port",
            Self::Topic => "topic",
            Self::Key => "key",
            Self::Headers => "headers",
            Self::Payload => "payload",
            Self::Marks => "marks",
        }
    }
}

impl InputOutcome {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Absorbed => "absorbed",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
        }
    }
}

/// How many were compared, by what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub same: u64,
    pub missing: u64,
    pub extra: u64,
    pub changed: u64,
}

impl Counts {
    pub fn differing(&self) -> u64 {
        self.missing + self.extra + self.changed
    }

    /// All that were compared.
    pub fn compared(&self) -> u64 {
        self.same + self.differing()
    }

    pub(super) fn add(&mut self, kind: Option<DifferenceKind>, count: u64) {
        *match kind {
            None => &mut self.same,
            Some(DifferenceKind::Missing) => &mut self.missing,
            Some(DifferenceKind::Extra) => &mut self.extra,
            Some(DifferenceKind::Changed) => &mut self.changed,
        } += count;
    }
}
