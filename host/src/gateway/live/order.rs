//! What an operator asks for, and what he is told: the JSON of the control socket.

use serde::{Deserialize, Serialize};

use crate::chain::{Canary, ChangePlan, OnRefusedState, Shadow};
use crate::versions::history::HistoryEvent;

/// A plugin: its flow's name and its own, or its own alone where no other flow has one of that name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginName(pub String);

/// `tidegate swap`; the component follows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SwapOrder {
    pub plugin: PluginName,
    /// Take what the config says, file and settings, instead of a component that follows.
    pub from_config: bool,
    pub signature: Option<String>,
    /// What has to go well first.
    pub plan: SwapPlan,
    /// It may be older than the highest signed version that was confirmed.
    pub downgrade: bool,
    /// End the change of this plugin that is under way, if there is one, and make this one.
    pub replace: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rollback {
    pub plugin: PluginName,
    /// How the digest begins; without it the change under way is ended, or else the version before comes back.
    pub to: Option<String>,
}

/// A [`ChangePlan`] on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SwapPlan {
    /// First its outputs are only compared.
    pub shadow: Option<Shadow>,
    /// Then they count for a share of the keys.
    pub canary: Option<Canary>,
    /// A state that it cannot read is no reason to refuse it.
    pub fresh_state: bool,
}

impl From<SwapPlan> for ChangePlan {
    fn from(plan: SwapPlan) -> Self {
        Self {
            shadow: plan.shadow,
            canary: plan.canary,
            probation: None,
            is_cure: false,
            state: if plan.fresh_state {
                OnRefusedState::Empty
            } else {
                OnRefusedState::Refuse
            },
        }
    }
}

/// Where to read what comes of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeReceipt {
    /// Its number, for as long as the gateway runs.
    pub change: u64,
}

/// What has come of an order so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChangeProgress {
    /// What was not read before, in order.
    pub lines: Vec<ChangeLine>,
    pub has_ended: bool,
}

/// One thing that is told of a change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "kebab-case")]
pub enum ChangeLine {
    /// It has to wait.
    Waits {
        behind: String,
    },
    Event(HistoryEvent),
    /// What another config brings.
    Difference {
        /// Plugins that change live, as `FLOW/PLUGIN`.
        plugins: Vec<String>,
        /// Flows that change live.
        flows: Vec<String>,
        /// Sources and uplinks that change live, as `source.NAME`.
        #[serde(default)]
        ends: Vec<String>,
        /// Tables and keys whose changes need a restart.
        restart: Vec<String>,
    },
    /// A source or uplink that the config has no more, as `source.NAME`, and that is not ended.
    Stays {
        end: String,
        why: String,
    },
    /// The config cannot be read, and nothing was changed.
    Mistakes {
        text: String,
        /// The same for programs.
        json: serde_json::Value,
    },
    /// The plugin left the config while the order waited.
    Gone {
        /// As it was asked for.
        plugin: String,
    },
    /// What has become of a flow that is another one in the config.
    Flow(FlowVerdict),
    /// How the change of one plugin ended.
    Verdict(PluginVerdict),
}

/// What has become of a flow that is another one in the config.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowVerdict {
    pub flow: String,
    pub verdict: FlowOutcome,
    pub why: Option<String>,
    /// How long its messages waited for the new chain, microseconds.
    pub pause_us: Option<u64>,
}

/// What was done with a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlowOutcome {
    /// Another chain runs, on the state of the one before.
    Replaced,
    /// It gets other messages.
    Rerouted,
    Added,
    /// It is gone, when it had done what it had.
    Removed,
    /// Nothing: it runs as before.
    Refused,
}

impl FlowOutcome {
    /// The name in history and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Replaced => "replaced",
            Self::Rerouted => "rerouted",
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Refused => "refused",
        }
    }
}

/// How the change of one plugin ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PluginVerdict {
    pub flow: String,
    pub plugin: String,
    pub verdict: ChangeOutcome,
    /// Digest of the version that runs now.
    pub running: String,
    /// Why it was not taken.
    pub why: Option<String>,
    /// What brings the version before back.
    pub undo: Option<String>,
}

/// How a change ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeOutcome {
    /// The new version runs.
    Confirmed,
    /// It does so far, and the one before is ready to come back.
    OnProbation,
    /// That version ran already.
    Unchanged,
    /// The new version never had a message of its own.
    Refused,
    /// The new version had messages of its own; the one before runs on from what they told.
    RolledBack,
    /// It was rolled back before, and nobody has asked for it.
    NotTried,
    Suspended,
}

impl ChangeOutcome {
    /// The name in history and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::OnProbation => "on-probation",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
            Self::RolledBack => "rolled-back",
            Self::NotTried => "not-tried",
            Self::Suspended => "suspended",
        }
    }

    /// Whether what was asked for runs now.
    pub fn is_taken(self) -> bool {
        matches!(self, Self::Confirmed | Self::OnProbation | Self::Unchanged)
    }
}
