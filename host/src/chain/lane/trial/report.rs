//! What is told of a trial: where it ended, and both versions beside each other in figures.

use serde::Serialize;

use super::compare::Comparison;

/// Where a change ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeStep {
    /// It must not run.
    Verify,
    Compile,
    /// Instantiate, configure, find its ports.
    Configure,
    /// An empty batch and a tick.
    SelfTest,
    /// Take over the state.
    Restore,
    /// Put beside the running version in the lanes.
    Commit,
    /// Live messages, compared only.
    Shadow,
    /// Live messages of some keys.
    Canary,
    /// Live messages of all keys.
    Probation,
    /// Somebody ended it; the candidate is not to blame.
    Cancel,
}

impl ChangeStep {
    /// Every step, in the order in which a change takes them.
    pub const ALL: [Self; 10] = [
        Self::Verify,
        Self::Compile,
        Self::Configure,
        Self::SelfTest,
        Self::Restore,
        Self::Commit,
        Self::Shadow,
        Self::Canary,
        Self::Probation,
        Self::Cancel,
    ];

    /// The name used in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Compile => "compile",
            Self::Configure => "configure",
            Self::SelfTest => "self-test",
            Self::Restore => "restore",
            Self::Commit => "commit",
            Self::Shadow => "shadow",
            Self::Canary => "canary",
            Self::Probation => "probation",
            Self::Cancel => "cancel",
        }
    }
}

/// What one version did with the inputs of a phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TrialFigures {
    /// Messages it was given.
    pub messages: u64,
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
pub struct TrialReport {
    /// How long they have worked beside each other in this phase, milliseconds.
    pub elapsed_ms: u64,
    /// How long messages waited for the candidate to take its copy of the state, in the lane where it took longest,
    /// microseconds.
    pub pause_us: u64,
    pub old: TrialFigures,
    pub new: TrialFigures,
    /// Messages that the running version accepts and the candidate rejects.
    pub newly_rejected: u64,
    /// Messages whose outputs were compared.
    pub compared: u64,
    /// Those whose outputs differ, and outputs of ticks that do.
    pub differing: u64,
    /// The differences in detail, of a shadow.
    pub differences: Option<Comparison>,
}

impl TrialFigures {
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
