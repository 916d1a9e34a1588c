//! Which version of each plugin a start runs, and the chains made of them. What the config says is tried first, unless
//! `versions` knows better; where it cannot be used, the last good version runs, and an error says so.

mod pick;

use std::sync::Arc;

use tokio::runtime::Handle;

use self::pick::Pick;
use self::pick::has_another_signature;
use self::pick::picked;
use super::Error;
use super::audit::Audit;
use crate::chain::{self, Artefact, Chain, Engine, PluginConfig, Successor, Wiring, Workshop};
use crate::clock::{Clock, Now};
use crate::config::Config;
use crate::trust;
use crate::versions::PassedOver;
use crate::versions::Start;
use crate::versions::StoredVersion;
use crate::versions::Versions;
use crate::versions::history::{HistoryEvent, Who};
use crate::words::with_causes;

/// Why a plugin is not what its file says.
pub(super) const AWAY: &str = "its file cannot be read, and what is kept of it runs";

/// A plugin as it was started.
#[derive(Clone, Debug)]
pub(super) struct Started {
    /// What the config says.
    pub(super) written: StoredVersion,
    /// How the start came to what runs.
    pub(super) start: Start,
    /// The file could not be read, so that it says nothing new.
    pub(super) is_away: bool,
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

/// A plugin's place in the config, as the standing of a config names it.
pub(super) fn place(flow: &chain::Config, plugin: &PluginConfig) -> String {
    format!("flow.{}.{}", flow.name, plugin.name)
}

/// What the config says of a plugin, as a version. A component that cannot be read has no digest.
pub(super) fn written(plugin: &PluginConfig) -> StoredVersion {
    let digest = chain::digest_of(&plugin.name, &plugin.artefact).map(|digest| digest.to_string());
    StoredVersion {
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
            Err(Error::Chain { source, .. }) if source.is_away() || self.has_run(flow) => {
                let why = with_causes(&source);
                tracing::error!(
                    flow = &*flow.name,
                    "the flow stays down, and its messages wait: {why}; mend that, then `tidegate reload`"
                );
                let started = |plugin| Started {
                    written: written(plugin),
                    start: Start::FellBack,
                    is_away: false,
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

    fn event(
        &self,
        (flow, plugin): (&str, &str),
        what: &str,
        [old, new]: [&StoredVersion; 2],
        why: Option<String>,
    ) {
        let old = old.digest.clone();
        let new = new.digest.clone();
        self.audit.note(&HistoryEvent {
            old,
            new,
            why,
            ..HistoryEvent::now(&Who::Start, flow, plugin, what)
        });
    }
}

/// Says why what the config says is not what runs.
fn report(
    flow: &str,
    plugin: &str,
    running: &StoredVersion,
    written: &StoredVersion,
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
