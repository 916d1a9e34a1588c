//! What a change of a plugin is to be, and how carefully it is made.

use crate::chain::lane::trial::phase::{Canary, Shadow};
use crate::chain::settings::Probation;

/// What is to be different.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change<'a> {
    /// The component; `None` keeps the code.
    pub component: Option<&'a [u8]>,
    /// The settings; `None` keeps them.
    pub settings: Option<&'a serde_json::Value>,
    /// What has to go well first.
    pub plan: ChangePlan,
    /// Looks at the component before anything else does; `None`: there is nothing to verify.
    pub verify: Option<Verifier<'a>>,
}

/// Says why a component must not run, if it must not: signatures, downgrades.
#[derive(Clone, Copy)]
pub struct Verifier<'a>(pub &'a (dyn Fn(&[u8]) -> Result<(), String> + Sync));

impl std::fmt::Debug for Verifier<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verify")
    }
}

/// The phases of a change. In each of them both versions get every message, and the old one can come back at any
/// moment, from the state of those whose outputs counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ChangePlan {
    /// First the candidate's outputs are only compared.
    pub shadow: Option<Shadow>,
    /// Then they count for a share of the keys.
    pub canary: Option<Canary>,
    /// Then for all, with the old version in readiness; `None`: as the plugin's config says.
    pub probation: Option<Probation>,
    /// What happens when the candidate does not read the state.
    pub state: OnRefusedState,
    /// The running version keeps failing: the candidate has to fail on less of the same inputs.
    pub is_cure: bool,
}

/// What happens when a candidate does not read the running version's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnRefusedState {
    #[default]
    Refuse,
    /// It begins without, and the old state is gone when it is confirmed.
    Empty,
}
