//! Every plugin with its versions: what runs, what is tried beside it, what it can go back to, as `tidegate plugins` shows
//! it; the JSON form is a promise to scripts.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use crate::admin::json;
use crate::chain::{ChangeUnderWay, PluginInfo};
use crate::gateway::running::RunningGateway;
use crate::versions::{Earlier, PluginVersions, RefusedVersion};

pub(super) async fn list(State(running): State<Arc<RunningGateway>>) -> Response {
    let versions = &running.versions;
    let plugins = running
        .flow_handles
        .chains()
        .into_iter()
        .flat_map(|(_, chain)| {
            let infos = chain.plugins().into_iter();
            infos.map(move |info| {
                ListedPlugin::running(
                    chain.name(),
                    &info,
                    versions.entry(chain.name(), &info.name),
                )
            })
        });
    json(&plugins.collect::<Vec<_>>())
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ListedPlugin {
    pub flow: String,
    pub plugin: String,
    /// SHA-256 of the component that runs, or would.
    pub digest: String,
    /// Since when it is the confirmed one (UTC).
    pub since: Option<String>,
    /// Its settings, as JSON.
    pub settings: Option<String>,
    /// What runs is not what the config says, component or settings, because an operator or a roll-back decided so.
    pub differs_from_config: bool,
    /// The config does not have it any more.
    #[serde(default)]
    pub is_gone: bool,
    /// What is tried beside it.
    pub candidate: Option<CandidateStatus>,
    /// Good versions it can go back to, the newest first.
    pub kept: Vec<Earlier>,
    /// Versions that were not taken, the newest first.
    pub refused: Vec<RefusedVersion>,
}

/// A version that is tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CandidateStatus {
    /// SHA-256 of its component.
    pub digest: String,
    /// How far it is; of a stopped gateway, `interrupted`.
    pub state: String,
}

impl ListedPlugin {
    /// Of a running gateway.
    fn running(flow: &str, info: &PluginInfo, entry: Option<PluginVersions>) -> Self {
        let plain = Self {
            flow: flow.to_owned(),
            plugin: info.name.to_string(),
            digest: String::new(),
            since: None,
            settings: None,
            differs_from_config: false,
            is_gone: false,
            candidate: None,
            kept: Vec::new(),
            refused: Vec::new(),
        };
        let digest = shown_digest(info, entry.as_ref());
        let known = entry.map_or(plain, Self::stopped);
        Self {
            digest,
            candidate: CandidateStatus::of(info),
            ..known
        }
    }

    /// As a stopped one has left it.
    pub fn stopped(entry: PluginVersions) -> Self {
        let candidate = entry.trying.map(|attempt| CandidateStatus {
            digest: attempt.version.digest,
            state: "interrupted".to_owned(),
        });
        Self {
            flow: entry.flow,
            plugin: entry.plugin,
            differs_from_config: entry.confirmed != entry.based_on,
            is_gone: false,
            digest: entry.confirmed.digest,
            since: Some(entry.since),
            settings: Some(entry.confirmed.settings),
            candidate,
            kept: entry.before,
            refused: entry.refused,
        }
    }
}

/// The component that runs; while one has proven itself and that is not durable yet, the one before.
pub(super) fn shown_digest(info: &PluginInfo, entry: Option<&PluginVersions>) -> String {
    let is_candidate = |change: &ChangeUnderWay| change.digest == info.digest;
    match entry {
        Some(entry) if info.change.as_ref().is_some_and(is_candidate) => {
            entry.confirmed.digest.clone()
        }
        _ => info.digest.to_string(),
    }
}

impl CandidateStatus {
    /// The one that is tried beside a running plugin.
    pub(super) fn of(info: &PluginInfo) -> Option<Self> {
        let change = info.change.as_ref()?;
        Some(Self {
            digest: change.digest.to_string(),
            state: change.state.name().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::{BreakerState, ChangeState, PluginCost};
    use crate::versions::{Spot, Start, StoredVersion, Versions};

    #[test]
    fn a_version_is_shown_to_run_once_its_change_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let versions = Versions::open(folder.path());
        let old = StoredVersion {
            digest: "old".to_owned(),
            settings: "{}".to_owned(),
        };
        versions.started(
            Spot {
                flow: "climate",
                plugin: "rule",
                written: &old,
            },
            &old,
            None,
            Start::Decided,
        );
        let new: Arc<str> = "new".into();
        let info = |change| PluginInfo {
            name: "rule".into(),
            digest: Arc::clone(&new),
            ports: Vec::new(),
            tick_every: None,
            state_version: None,
            change,
            breaker: BreakerState::Closed,
            cost: PluginCost::default(),
        };
        let shown = |change| {
            ListedPlugin::running("climate", &info(change), versions.entry("climate", "rule"))
        };
        let during = shown(Some(ChangeUnderWay {
            digest: Arc::clone(&new),
            state: ChangeState::OnProbation,
        }));
        assert_eq!(
            (
                during.digest.as_str(),
                during.candidate.unwrap().digest.as_str()
            ),
            ("old", "new")
        );
        let after = shown(None);
        assert_eq!((after.digest.as_str(), after.candidate), ("new", None));
    }
}
