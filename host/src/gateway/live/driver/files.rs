//! What is done about a file that changes, and about one that may be tried again.

use std::path::{Path, PathBuf};

use super::Driver;
use super::candidate::Candidate;
use super::wanted::Wanted;
use crate::chain::{Artefact, PluginConfig};
use crate::gateway::live::PluginIndex;
use crate::gateway::live::watch::content_now;
use crate::gateway::start::{self, signature, written};
use crate::versions::history::Who;
use crate::versions::{PluginVersions, Start};
use crate::{chain, config, trust};

impl Driver {
    /// What was under way when the gateway ended, and files that have changed since they were read for the start.
    pub(super) fn catch_up(&mut self) {
        for place in self.places() {
            if self.desk.board.is_stopping() {
                return;
            }
            let started = &self.parts.started[place.flow][place.plugin];
            if started.start == Start::TryAgain {
                self.try_again(place);
            } else {
                self.look(place);
            }
        }
        let parts = &self.parts;
        let runs_on_kept = parts.standing.look().runs_on_kept;
        if !runs_on_kept && config::has_changed(&parts.config, &parts.origin) {
            self.reload(None, &Who::Config);
        }
    }

    pub(super) fn places(&self) -> Vec<PluginIndex> {
        let flows = self.parts.config.flows.iter().enumerate();
        flows
            .flat_map(|(flow, spec)| {
                (0..spec.plugins.len()).map(move |plugin| PluginIndex { flow, plugin })
            })
            .collect()
    }

    pub(super) fn plugin(&self, place: PluginIndex) -> &PluginConfig {
        &self.parts.config.flows[place.flow].plugins[place.plugin]
    }

    pub(super) fn entry(&self, place: PluginIndex) -> Option<PluginVersions> {
        self.parts.versions.entry(
            &self.parts.config.flows[place.flow].name,
            &self.plugin(place).name,
        )
    }

    pub(super) fn try_again(&mut self, place: PluginIndex) {
        let Some(entry) = self.entry(place) else {
            return;
        };
        let Some(attempt) = entry.trying else { return };
        let plugin = self.plugin(place);
        let mut candidate = Candidate {
            settings: serde_json::from_str(&attempt.version.settings).ok(),
            ..Candidate::default()
        };
        if attempt.version.digest != entry.confirmed.digest {
            candidate.component = chain::read_component(&plugin.name, &plugin.artefact).ok();
            candidate.signature = signature(&plugin.artefact);
        }
        self.want(Wanted::ByItself {
            place,
            who: Who::Start,
            candidate,
        });
    }

    /// Whether a file is the config's own: itself, the folder of its parts, or keys of plugins that could not be read with it.
    pub(super) fn is_of_config(&self, path: &Path) -> bool {
        let (origin, trust) = (&self.parts.origin, &self.parts.config.gateway.trust);
        let is_its = path == origin.path || path == origin.parts_folder();
        is_its || trust.missing.iter().any(|file| file == path)
    }

    /// Whether the config's file is what it was.
    pub(super) fn look(&mut self, place: PluginIndex) {
        let plugin = self.plugin(place);
        let Artefact::File(path) = plugin.artefact.clone() else {
            return;
        };
        let now = written(plugin);
        if now.digest != self.written(place).digest && !now.digest.is_empty() {
            let content = chain::read_component(&plugin.name, &plugin.artefact);
            if let Ok(content) = content {
                self.replace(&path, &content);
            }
        }
    }

    /// Files that have changed some time ago, as they are now.
    pub(super) fn take_held(&mut self, files: &[PathBuf]) {
        let (of_config, others): (Vec<&PathBuf>, Vec<&PathBuf>) =
            files.iter().partition(|file| self.is_of_config(file));
        if !of_config.is_empty() {
            self.reload(None, &Who::Config);
        }
        for file in others {
            match content_now(file) {
                Ok(content) => self.replace(file, &content),
                Err(error) => {
                    tracing::warn!(path = %file.display(), %error, "a file that has changed and waited cannot be read; what runs stays");
                }
            }
        }
    }

    /// A component has new content, or a signature has, which may come after its component.
    pub(super) fn replace(&mut self, path: &Path, content: &[u8]) {
        self.revive();
        for place in self.places() {
            let plugin = self.plugin(place);
            let Artefact::File(file) = &plugin.artefact else {
                continue;
            };
            let component = if file == path {
                content.to_owned()
            } else if trust::signature_path(file) == path {
                // One that is not there yet is seen when it comes.
                let Ok(component) = chain::read_component(&plugin.name, &plugin.artefact) else {
                    continue;
                };
                component
            } else {
                continue;
            };
            let signature = signature(&plugin.artefact);
            let flow = &self.parts.config.flows[place.flow];
            self.parts.standing.is_settled(&start::place(flow, plugin));
            self.written_mut(place).digest = trust::digest(&component);
            let candidate = Candidate {
                component: Some(component),
                signature,
                ..Candidate::default()
            };
            self.want(Wanted::ByItself {
                place,
                who: Who::File,
                candidate,
            });
        }
    }
}
