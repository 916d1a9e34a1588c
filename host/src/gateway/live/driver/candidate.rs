//! A version that is to run, and what is known of the plugin it is for.

use serde_json::Value;

use crate::chain;
use crate::versions::{Spot, StoredVersion};

/// What a candidate's signature has to say.
#[derive(Clone, Copy, Default)]
pub(super) enum SignatureRule {
    /// That it is not older than any version that was confirmed in its place, and has not expired.
    #[default]
    New,
    /// That it has not expired.
    Older,
    /// Only who signed it: it has run here.
    Kept,
}

/// What is to be different in a plugin; what is left out stays.
#[derive(Default)]
pub(super) struct Candidate {
    pub(super) component: Option<Vec<u8>>,
    pub(super) signature: Option<String>,
    pub(super) settings: Option<Value>,
    pub(super) plan: chain::ChangePlan,
    /// An operator asks, so that what was rolled back before is tried.
    pub(super) is_asked: bool,
    pub(super) admission: SignatureRule,
}

/// What is known of a plugin when its turn begins.
pub(super) struct ChangeSubject {
    pub(super) flow: String,
    pub(super) plugin: String,
    pub(super) running: StoredVersion,
    pub(super) new: StoredVersion,
    pub(super) written: StoredVersion,
}

impl ChangeSubject {
    pub(super) fn spot(&self) -> Spot<'_> {
        Spot {
            flow: &self.flow,
            plugin: &self.plugin,
            written: &self.written,
        }
    }
}
