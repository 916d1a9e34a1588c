//! Which version of each plugin a start runs, and the chains made of them. What the config says is tried first, unless
//! `versions` knows better; where it cannot be used, the last good version runs, and an error says so.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::Error;
use super::audit::Audit;
use crate::chain::{self, Artefact, Chain, Engine, PluginConfig, Successor, Wiring, Workshop};
use crate::clock::{Clock, Now};
use crate::config::Config;
use crate::trust;
use crate::versions::history::{Event, Who};
use crate::versions::{Choices, Code, PassedOver, Spot, Start, Version, Versions};
use crate::words::with_causes;

/// A plugin as it was started.
#[derive(Clone, Debug)]
pub(super) struct Started {
    /// What the config says.
    pub(super) written: Version,
    /// How the start came to what runs.
    pub(super) start: Start,
}

/// The chains, or why there is none of a flow, and how each of their plugins was started.
pub(super) type Begun = (Vec<Result<Arc<Chain>, String>>, Vec<Vec<Started>>);

/// The same of one flow.
type BegunFlow = (Result<Arc<Chain>, String>, Vec<Started>);

/// Builds the chains of all flows, and gives what builds more of them.
pub(super) fn build(
    config: &Config,
    versions: &Versions,
    audit: &Audit,
    wiring: Wiring,
) -> Result<(Begun, Starter), Error> {
    let workshop = Workshop::new(
        config.gateway.compile,
        Some(config.gateway.data_dir.join("cache")),
    );
    let engine = Engine::new(config.gateway.plugin_stack_bytes, workshop).map_err(Error::Engine)?;
    let engine = engine.with_clock(Clock::new(chain::recalled_clock(
        &*wiring.states,
        Now::read(),
    )));
    let starter = Starter {
        versions: versions.clone(),
        audit: audit.clone(),
        engine,
        wiring,
    };
    let build = || -> Result<Vec<_>, _> {
        config
            .flows
            .iter()
            .map(|flow| starter.flow_or_none(flow))
            .collect()
    };
    // One thread for all of them.
    let runtime = Handle::try_current().ok();
    let beside = || chain::beside(starter.engine(), runtime.as_ref(), || Ok(build()));
    let built = versions.together(|| audit.history.together(beside));
    let built = built.map_err(Error::Engine)??;
    Ok((built.into_iter().unzip(), starter))
}

/// What the config says of a plugin, as a version. A component that cannot be read has no digest.
pub(super) fn written(plugin: &PluginConfig) -> Version {
    let digest = chain::digest_of(&plugin.name, &plugin.artefact).map(|digest| digest.to_string());
    Version {
        digest: digest.unwrap_or_default(),
        settings: plugin.settings.to_string(),
    }
}

pub(super) struct Starter {
    versions: Versions,
    audit: Audit,
    engine: Engine,
    wiring: Wiring,
}

/// A chain that is to follow a running one, and the versions it is made of.
pub(super) struct Rehearsed {
    pub(super) successor: Successor,
    pub(super) picks: Vec<Pick>,
}

/// The versions that a plugin may be started with.
pub(super) struct Pick {
    written: Version,
    is_tried_again: bool,
    /// Best first; without a path, the component is the config's.
    left: Vec<(Version, Option<PathBuf>)>,
    /// The highest signed version that was confirmed.
    highest: Option<semver::Version>,
    /// The first one could not be used.
    has_fallen_back: bool,
    /// What is left is the config's, whatever is known of it.
    is_last: bool,
}

impl Starter {
    /// Makes the chain that is to follow `old`, of the versions that a start would take. Unlike at a start nothing else is
    /// run where one of them cannot be used: `old` runs.
    pub(super) fn rehearse(
        &self,
        flow: &chain::Config,
        old: &Chain,
    ) -> Result<Rehearsed, chain::Error> {
        let mut picks: Vec<Pick> = flow
            .plugins
            .iter()
            .map(|plugin| self.pick(flow, plugin))
            .collect();
        loop {
            match old.rehearse(picked(flow, &picks), self.wiring.clone()) {
                Ok(successor) => return Ok(Rehearsed { successor, picks }),
                Err(error) if has_another_signature(flow, &mut picks, &error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Notes what runs now. Waits for the disk.
    pub(super) fn note_all(
        &self,
        flow: &chain::Config,
        chain: &Chain,
        picks: Vec<Pick>,
    ) -> Vec<Started> {
        picks
            .into_iter()
            .enumerate()
            .map(|(index, pick)| self.note(flow, chain, index, pick))
            .collect()
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Nothing is shown of a flow that is gone.
    pub(super) fn forget(&self, flow: &str) {
        self.wiring.metrics.forget(flow);
    }

    /// Builds the chain of a flow. One that has run before and cannot be started stays down, and the others do not: its
    /// messages wait.
    fn flow_or_none(&self, flow: &chain::Config) -> Result<BegunFlow, Error> {
        match self.flow(flow) {
            Ok((chain, started)) => Ok((Ok(chain), started)),
            Err(Error::Chain { source, .. }) if self.has_run(flow) => {
                let why = with_causes(&source);
                tracing::error!(
                    flow = &*flow.name,
                    "the flow stays down, and its messages wait: {why}; mend that, then `tidegate reload`"
                );
                let started = |plugin| Started {
                    written: written(plugin),
                    start: Start::FellBack,
                };
                Ok((Err(why), flow.plugins.iter().map(started).collect()))
            }
            Err(error) => Err(error),
        }
    }

    fn has_run(&self, flow: &chain::Config) -> bool {
        flow.plugins
            .iter()
            .any(|plugin| self.versions.entry(&flow.name, &plugin.name).is_some())
    }

    /// Builds the chain of a flow.
    pub(super) fn flow(&self, flow: &chain::Config) -> Result<(Arc<Chain>, Vec<Started>), Error> {
        let mut picks: Vec<Pick> = flow
            .plugins
            .iter()
            .map(|plugin| self.pick(flow, plugin))
            .collect();
        let mut first = None;
        loop {
            match Chain::build(picked(flow, &picks), &self.engine, self.wiring.clone()) {
                Ok(chain) => {
                    let begun = self.note_all(flow, &chain, picks);
                    return Ok((Arc::new(chain), begun));
                }
                Err(error) => {
                    let index = error.plugin().and_then(|name| {
                        flow.plugins.iter().position(|plugin| plugin.name == *name)
                    });
                    let fallen = index.is_some_and(|index| {
                        self.fall_back(flow, &flow.plugins[index], &mut picks[index], &error)
                    });
                    let source = first.take().unwrap_or(error);
                    if !fallen {
                        return Err(Error::Chain {
                            flow: Arc::clone(&flow.name),
                            source,
                        });
                    }
                    first = Some(source);
                }
            }
        }
    }

    fn pick(&self, flow: &chain::Config, plugin: &PluginConfig) -> Pick {
        let flow = &*flow.name;
        let name = &*plugin.name;
        let written = written(plugin);
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
        let entry = self.versions.entry(flow, name);
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
            left,
            highest,
            has_fallen_back: false,
            is_last: false,
        }
    }

    /// Where the component of a version is: kept here, and it may be the config's, whose signature may be a newer one.
    fn places(
        &self,
        plugin: &PluginConfig,
        version: Version,
        written: &Version,
    ) -> Vec<(Version, Option<PathBuf>)> {
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
    fn fall_back(
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

    fn note(&self, flow: &chain::Config, chain: &Chain, index: usize, pick: Pick) -> Started {
        let Pick {
            written,
            is_tried_again,
            mut left,
            has_fallen_back,
            ..
        } = pick;
        let (flow, plugin) = (&*flow.name, &flow.plugins[index]);
        let (mut version, kept) = left.remove(0);
        // The config's file may have been replaced since it was looked at.
        version.digest = chain.plugins()[index].digest.to_string();
        let start = match (has_fallen_back, is_tried_again) {
            (true, _) => Start::FellBack,
            (false, true) => Start::TryAgain,
            (false, false) => Start::Decided,
        };
        let artefact = kept.map_or_else(|| plugin.artefact.clone(), Artefact::Kept);
        let component = chain::read_component(&plugin.name, &artefact).unwrap_or_default();
        let is_it = match &artefact {
            Artefact::Builtin(_) => chain::digest_of(&plugin.name, &artefact)
                .is_ok_and(|digest| *digest == *version.digest),
            Artefact::File(_) | Artefact::Kept(_) => trust::digest(&component) == version.digest,
        };
        let signature = signature(&artefact);
        let signed = signed_version(plugin, &component, signature.as_deref());
        let code = is_it.then_some(Code {
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
        match before {
            Some(before) if before != version => {
                self.event((flow, &plugin.name), "started", [&before, &version], None)
            }
            None => self.event((flow, &plugin.name), "started", [&version; 2], None),
            Some(_) => {}
        }
        Started { written, start }
    }

    fn event(
        &self,
        (flow, plugin): (&str, &str),
        what: &str,
        [old, new]: [&Version; 2],
        why: Option<String>,
    ) {
        let old = old.digest.clone();
        let new = new.digest.clone();
        self.audit.note(&Event {
            old,
            new,
            why,
            ..Event::now(&Who::Start, flow, plugin, what)
        });
    }
}

/// Goes on to the same component beside the config's signature, where that of the kept one is not let in any more.
fn has_another_signature(flow: &chain::Config, picks: &mut [Pick], error: &chain::Error) -> bool {
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

/// Says why what the config says is not what runs.
fn report(
    flow: &str,
    plugin: &str,
    running: &Version,
    written: &Version,
    passed_over: Option<PassedOver>,
) {
    let running = running.label();
    let config = written.label();
    match passed_over {
        Some(PassedOver::ByOperator) => {
            tracing::info!(
                flow,
                plugin,
                running,
                config,
                "runs the version that an operator put in place of the config's"
            );
        }
        Some(PassedOver::Unproven(why)) => {
            tracing::warn!(
                flow,
                plugin,
                running,
                config,
                "what the config says is not run: {why}; `tidegate swap {flow}/{plugin}` asks for it"
            );
        }
        None => {}
    }
}

/// The signature beside an artefact. One that cannot be read is none, and was refused before if one is needed.
pub(super) fn signature(artefact: &Artefact) -> Option<String> {
    match artefact {
        Artefact::File(path) | Artefact::Kept(path) => {
            trust::read_signature(&trust::signature_path(path))
                .ok()
                .flatten()
        }
        Artefact::Builtin(_) => None,
    }
}

/// The version that a signature gives a component, if it is one that counts.
pub(super) fn signed_version(
    plugin: &PluginConfig,
    component: &[u8],
    signature: Option<&str>,
) -> Option<semver::Version> {
    Some(
        plugin
            .trust
            .seal(component, signature?)
            .ok()?
            .manifest
            .version,
    )
}

fn picked(flow: &chain::Config, picks: &[Pick]) -> chain::Config {
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
