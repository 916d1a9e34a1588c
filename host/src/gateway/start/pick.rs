//! Which version of a plugin a start takes, and what it falls back to.

use std::path::PathBuf;
use std::sync::Arc;

use super::{AWAY, Started, Starter, report, signature, signed_version, written};
use crate::chain::{Artefact, Chain, PluginConfig};
use crate::versions::{Choices, IncomingComponent, Spot, Start, StoredVersion};
use crate::words::with_causes;
use crate::{chain, trust};

impl Starter {
    pub(super) fn pick(&self, flow: &chain::Config, plugin: &PluginConfig) -> Pick {
        let flow = &*flow.name;
        let name = &*plugin.name;
        let entry = self.versions.entry(flow, name);
        let mut written = written(plugin);
        let is_away = written.digest.is_empty();
        if let Some(entry) = entry.as_ref().filter(|_| is_away) {
            // A file that cannot be read says nothing new.
            written.digest.clone_from(&entry.based_on.digest);
        }
        let Choices {
            versions,
            passed_over,
            is_tried_again,
        } = self.versions.choices(flow, name, &written);
        let mut left: Vec<_> = versions
            .into_iter()
            .flat_map(|version| self.places(plugin, version, &written))
            .collect();
        if let Some(first) = left.first() {
            report(flow, name, &first.0, &written, passed_over);
        }
        if let Some(attempt) = entry.as_ref().and_then(|entry| entry.trying.as_ref()) {
            self.event((flow, name), "interrupted", [&attempt.version; 2], None);
        }
        if left.is_empty() {
            tracing::error!(
                flow,
                plugin = name,
                "no good version is left: what the config says is tried, whatever is known of it"
            );
            left.push((written.clone(), None));
        }
        let highest = entry.and_then(|entry| entry.highest);
        Pick {
            written,
            is_tried_again,
            is_away,
            left,
            highest,
            has_fallen_back: false,
            is_last: false,
        }
    }

    /// Where the component of a version is: kept here, and it may be the config's, whose signature may be a newer one.
    pub(super) fn places(
        &self,
        plugin: &PluginConfig,
        version: StoredVersion,
        written: &StoredVersion,
    ) -> Vec<(StoredVersion, Option<PathBuf>)> {
        let of_config = (version.digest == written.digest).then(|| (version.clone(), None));
        if of_config.is_some() && matches!(plugin.artefact, Artefact::Builtin(_)) {
            return of_config.into_iter().collect();
        }
        let kept = self
            .versions
            .component(&version.digest)
            .map(|(path, _)| (version, Some(path)));
        kept.into_iter().chain(of_config).collect()
    }

    /// Goes on to the next best version. `false` when there is none.
    pub(super) fn fall_back(
        &self,
        flow: &chain::Config,
        plugin: &PluginConfig,
        pick: &mut Pick,
        error: &chain::Error,
    ) -> bool {
        let (failed, _) = pick.left.remove(0);
        let is_denied = matches!(error, chain::Error::Denied { .. });
        // The same component once more only where the signature beside the config's may be a better one.
        pick.left
            .retain(|(version, _)| is_denied || *version != failed);
        let is_too_old = matches!(
            error,
            chain::Error::Denied {
                source: trust::Denied::Downgrade { .. },
                ..
            }
        );
        if pick.left.is_empty()
            && (is_too_old || failed != pick.written)
            && !std::mem::replace(&mut pick.is_last, true)
        {
            // Nothing is left of what was newer: it is lost, damaged, or signed by a key that does not count any more. What
            // the config says is let in as `check` lets it in.
            pick.highest = None;
            pick.left.push((pick.written.clone(), None));
        }
        let Some((good, _)) = pick.left.first() else {
            return false;
        };
        if *good == failed && !pick.is_last {
            return true;
        }
        let flow = &*flow.name;
        let plugin = &*plugin.name;
        let why = with_causes(error);
        tracing::error!(
            flow,
            plugin,
            running = good.label(),
            failed = failed.label(),
            "a plugin cannot be started, and {}: {why}",
            if pick.is_last {
                "no good version is left, so what the config says runs"
            } else {
                "the last good version of it runs"
            }
        );
        self.event((flow, plugin), "fallen-back", [good, &failed], Some(why));
        pick.has_fallen_back = true;
        true
    }

    pub(super) fn note(
        &self,
        flow: &chain::Config,
        chain: &Chain,
        index: usize,
        pick: Pick,
    ) -> Started {
        let start = pick.start();
        let Pick {
            written,
            is_away,
            mut left,
            ..
        } = pick;
        let plugin = &flow.plugins[index];
        let flow = &*flow.name;
        let (mut version, kept) = left.remove(0);
        // The config's file may have been replaced since it was looked at.
        version.digest = chain.plugins()[index].digest.to_string();
        let artefact = kept.map_or_else(|| plugin.artefact.clone(), Artefact::Kept);
        let component = chain::read_component(&plugin.name, &artefact).unwrap_or_default();
        let is_it = is_still(&plugin.name, &artefact, &component, &version.digest);
        let signature = signature(&artefact);
        let signed = signed_version(plugin, &component, signature.as_deref());
        let code = is_it.then_some(IncomingComponent {
            component: &component,
            signature: signature.as_deref(),
            signed: signed.as_ref(),
        });
        let before = self
            .versions
            .entry(flow, &plugin.name)
            .map(|entry| entry.confirmed);
        let spot = Spot {
            flow,
            plugin: &plugin.name,
            written: &written,
        };
        self.versions.started(spot, &version, code, start);
        let before = before.as_ref();
        if before != Some(&version) {
            let versions = [before.unwrap_or(&version), &version];
            self.event((flow, &plugin.name), "started", versions, None);
        }
        if is_away && is_it {
            tracing::error!(
                flow,
                plugin = &*plugin.name,
                running = version.label(),
                "the plugin is as before: {AWAY}"
            );
        }
        Started {
            written,
            start,
            is_away,
        }
    }
}

/// Whether `component`, read later than what was started, is the same: only then it may be kept as that.
fn is_still(plugin: &Arc<str>, artefact: &Artefact, component: &[u8], started: &str) -> bool {
    match artefact {
        Artefact::Builtin(_) => {
            chain::digest_of(plugin, artefact).is_ok_and(|digest| *digest == *started)
        }
        Artefact::File(_) | Artefact::Kept(_) => trust::digest(component) == started,
    }
}

/// The versions that a plugin may be started with.
pub(crate) struct Pick {
    written: StoredVersion,
    is_tried_again: bool,
    /// The config's component cannot be read.
    is_away: bool,
    /// Best first; without a path, the component is the config's.
    left: Vec<(StoredVersion, Option<PathBuf>)>,
    /// The highest signed version that was confirmed.
    highest: Option<semver::Version>,
    /// The first one could not be used.
    has_fallen_back: bool,
    /// What is left is the config's, whatever is known of it.
    is_last: bool,
}

impl Pick {
    fn start(&self) -> Start {
        match (self.has_fallen_back, self.is_tried_again) {
            (true, _) => Start::FellBack,
            (false, true) => Start::TryAgain,
            (false, false) => Start::Decided,
        }
    }
}

/// Goes on to the same component beside the config's signature, where that of the kept one is not let in any more.
pub(super) fn has_another_signature(
    flow: &chain::Config,
    picks: &mut [Pick],
    error: &chain::Error,
) -> bool {
    let index = error
        .plugin()
        .and_then(|name| flow.plugins.iter().position(|plugin| plugin.name == *name));
    let pick = index
        .filter(|_| matches!(error, chain::Error::Denied { .. }))
        .map(|index| &mut picks[index]);
    let Some(pick) =
        pick.filter(|pick| matches!(&*pick.left, [(failed, _), (next, _), ..] if failed == next))
    else {
        return false;
    };
    pick.left.remove(0);
    true
}

pub(super) fn picked(flow: &chain::Config, picks: &[Pick]) -> chain::Config {
    let mut flow = flow.clone();
    for (plugin, pick) in flow.plugins.iter_mut().zip(picks) {
        let Some((version, kept)) = pick.left.first() else {
            continue;
        };
        plugin.highest.clone_from(&pick.highest);
        if let Some(path) = kept {
            plugin.artefact = Artefact::Kept(path.clone());
        }
        // It was written as JSON, and its checksum fitted.
        plugin.settings = serde_json::from_str(&version.settings).unwrap_or_default();
    }
    flow
}
