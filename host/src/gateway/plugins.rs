//! One plugin with its versions, as `tidegate plugins` shows it; the JSON form is a promise to scripts.

use serde::{Deserialize, Serialize};

use crate::chain::PluginInfo;
use crate::versions::{Earlier, Entry, Refusal};

/// A plugin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plugin {
    /// Its flow.
    pub flow: String,
    /// Its name.
    pub plugin: String,
    /// SHA-256 of the component that runs, or would.
    pub digest: String,
    /// Since when it is the confirmed one (UTC).
    pub since: Option<String>,
    /// Its settings, as JSON.
    pub settings: Option<String>,
    /// What runs is not what the config says, component or settings, because an operator or a roll-back decided so.
    pub differs_from_config: bool,
    /// What is tried beside it.
    pub candidate: Option<Candidate>,
    /// Good versions it can go back to, the newest first.
    pub kept: Vec<Earlier>,
    /// Versions that were not taken, the newest first.
    pub refused: Vec<Refusal>,
}

/// A version that is tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// SHA-256 of its component.
    pub digest: String,
    /// How far it is; of a stopped gateway, `interrupted`.
    pub state: String,
}

impl Plugin {
    /// Of a running gateway.
    pub(super) fn running(flow: &str, info: &PluginInfo, entry: Option<Entry>) -> Self {
        let plain = Self {
            flow: flow.to_owned(),
            plugin: info.name.to_string(),
            digest: String::new(),
            since: None,
            settings: None,
            differs_from_config: false,
            candidate: None,
            kept: Vec::new(),
            refused: Vec::new(),
        };
        let known = entry.map_or(plain, Self::stopped);
        Self { digest: info.digest.to_string(), candidate: Candidate::of(info), ..known }
    }

    /// As a stopped one has left it.
    pub fn stopped(entry: Entry) -> Self {
        let candidate = entry.trying.map(|attempt| Candidate { digest: attempt.version.digest, state: "interrupted".to_owned() });
        Self {
            flow: entry.flow,
            plugin: entry.plugin,
            differs_from_config: entry.confirmed != entry.based_on,
            digest: entry.confirmed.digest,
            since: Some(entry.since),
            settings: Some(entry.confirmed.settings),
            candidate,
            kept: entry.before,
            refused: entry.refused,
        }
    }
}

impl Candidate {
    /// The one that is tried beside a running plugin.
    pub(super) fn of(info: &PluginInfo) -> Option<Self> {
        let change = info.change.as_ref()?;
        Some(Self { digest: change.digest.to_string(), state: change.state.name().to_owned() })
    }
}
