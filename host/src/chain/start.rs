//! From a config to running lanes.

use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::runtime::Handle;

use super::failure::Failure;
use super::lane::{Lane, Shared};
use super::metrics::{Metrics, PluginMetrics};
use super::settings::{Artefact, Config, PluginConfig, QuarantineConfig};
use super::{Chain, Error, Wiring};
use crate::chain::change::swap::Driver;
use crate::chain::lane::guard::Guard;
use crate::chain::lane::guard::quarantine::Quarantine;
use crate::chain::lane::inbox::Inbox;
use crate::chain::lane::live::Live;
use crate::chain::lane::outbox::Outbox;
use crate::chain::lane::spread::Most;
use crate::chain::lane::stage::Stage;
use crate::chain::lane::template::Template;
use crate::chain::lane::version::{OUT, Recipe, Version};
use crate::chain::sandbox::engine::Engine;
use crate::chain::sandbox::program::{self, Program};
use crate::clock::Now;
use crate::message::{Mint, Outlet};
use crate::trust::Claim;

/// The same for a thread that may compile.
const COMPILER_STACK_BYTES: usize = 6 << 20;

/// Runs `work` on a thread of its own, with room for a guest's stack and in the caller's runtime: guests may write to
/// their stderr, which wasmtime-wasi does by blocking on the runtime it finds, and an async task must not block so.
pub(super) fn beside<R: Send>(
    engine: &Engine,
    runtime: Option<&Handle>,
    work: impl FnOnce() -> Result<R, Error> + Send,
) -> Result<R, Error> {
    std::thread::scope(|scope| {
        let run = move || {
            let _runtime = runtime.map(Handle::enter);
            work()
        };
        let stack = COMPILER_STACK_BYTES + 2 * engine.stack_bytes();
        let thread = std::thread::Builder::new()
            .name("prepare".to_owned())
            .stack_size(stack)
            .spawn_scoped(scope, run)
            .map_err(Error::Thread)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Loads and configures every plugin of a flow without running it, and tells what is wrong with each: its index and
/// the error. What is wrong with the flow itself stands under the last plugin. Blocks for as long as that takes.
///
/// # Errors
/// The engine does not start.
pub fn check(config: &Config, engine: &Engine) -> Result<Vec<(usize, Error)>, Error> {
    let metrics = Metrics::new(&prometheus::Registry::new()).map_err(|error| Error::Engine(error.to_string()))?;
    let last = config.plugins.len().saturating_sub(1);
    let flow = [template(config).err(), out(config).err()].into_iter().flatten().map(|error| (last, error));
    let fault = |(index, plugin)| Some((index, version(config, plugin, engine, &metrics).err()?));
    let faults = || Ok(config.plugins.iter().enumerate().filter_map(fault).collect::<Vec<_>>());
    let faults = beside(engine, Handle::try_current().ok().as_ref(), faults)?;
    Ok(flow.chain(faults).collect())
}

/// See [`Chain::build`].
pub(super) fn build(config: Config, engine: &Engine, wiring: Wiring) -> Result<Chain, Error> {
    Frame::new(config, engine, wiring)?.start(Frame::recall)
}

/// A chain without its lanes.
pub(super) struct Frame {
    /// Dropped before the chain, which waits for all of them, and with the last lane.
    alive: SyncSender<()>,
    chain: Chain,
    lanes: usize,
    metrics: Metrics,
    mint: Arc<Mint>,
    template: Option<Template>,
    settles_with_any: bool,
    quarantine: Option<QuarantineConfig>,
    most: Most,
}

impl Frame {
    /// Compiles and configures the plugins.
    pub(super) fn new(config: Config, engine: &Engine, wiring: Wiring) -> Result<Self, Error> {
        let template = template(&config)?;
        let out = out(&config)?;
        let runtime = Handle::try_current().ok();
        let versions = beside(engine, runtime.as_ref(), || versions(&config, engine, &wiring.metrics))?;
        let shared = Arc::new(Shared {
            flow: config.flow,
            name: Arc::clone(&config.name),
            batch_messages: config.batch_messages.max(1),
            out,
            engine: engine.clone(),
            outlet: wiring.outlet,
            metrics: wiring.metrics.flow(&config.name),
            failure: Arc::new(Failure::new(wiring.failed)),
            alarm: Arc::default(),
            versions: Mutex::new(versions),
            tape: OnceLock::new(),
        });
        let lanes = lanes(&config, &shared.versions());
        let inbox = |_| Ok(Arc::new(Inbox::new(engine.pool().seat()?, shared.metrics.waiting.clone())));
        let inboxes = (0..lanes).map(inbox).collect::<std::io::Result<_>>().map_err(Error::Thread)?;
        let (alive, ended) = sync_channel(0);
        let most = Most::of(&config.plugins);
        let chain = Chain {
            driver: Mutex::new(Driver::new(config.plugins, config.ports, Arc::new(config.topics))),
            shared,
            inboxes,
            ended: Mutex::new(ended),
            is_left: AtomicBool::new(false),
            active: Mutex::default(),
            runtime,
        };
        let (metrics, mint) = (wiring.metrics, wiring.mint);
        let (settles_with_any, quarantine) = (config.settles_with_any, config.quarantine);
        Ok(Self { chain, lanes, metrics, mint, template, settles_with_any, quarantine, most, alive })
    }

    /// Makes the lanes of the instances that `lives` gives for each plugin, and starts them.
    pub(super) fn start(
        self,
        lives: impl Fn(&Self, &Arc<Version>, &PluginConfig) -> Result<Vec<Live>, Error> + Send,
    ) -> Result<Chain, Error> {
        let stages = self.beside(|| self.stages(lives))?;
        for (index, stages) in stages.into_iter().enumerate() {
            let lane = self.lane(index, stages);
            self.chain.inboxes[index].seat().take(Box::new(lane));
        }
        Ok(self.chain)
    }

    pub(super) fn lanes(&self) -> usize {
        self.lanes
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Where state is kept, and what instances are made with.
    pub(super) fn surroundings(&self) -> (&dyn Outlet, &Engine) {
        (&*self.chain.shared.outlet, &self.chain.shared.engine)
    }

    /// The plugins, first to last, with their configs.
    pub(super) fn plugins(&self) -> Vec<(Arc<Version>, PluginConfig)> {
        let driver = self.chain.driver.lock().unwrap_or_else(PoisonError::into_inner);
        self.chain.shared.versions().into_iter().zip(driver.plugins.iter().cloned()).collect()
    }

    /// Runs `work` where guests may run.
    pub(super) fn beside<R: Send>(&self, work: impl FnOnce() -> Result<R, Error> + Send) -> Result<R, Error> {
        beside(&self.chain.shared.engine, self.chain.runtime.as_ref(), work)
    }

    fn stages(
        &self,
        lives: impl Fn(&Self, &Arc<Version>, &PluginConfig) -> Result<Vec<Live>, Error>,
    ) -> Result<Vec<Vec<Stage>>, Error> {
        let mut stages: Vec<Vec<Stage>> = (0..self.lanes).map(|_| Vec::new()).collect();
        for (plugin, (version, config)) in self.plugins().iter().enumerate() {
            for (lane, live) in lives(self, version, config)?.into_iter().enumerate() {
                let alarm = Arc::clone(&self.chain.shared.alarm);
                let guard = Guard::new(config, (plugin, lane), self.quarantine.is_some(), alarm);
                stages[lane].push(Stage::new(live, guard, lane));
            }
        }
        Ok(stages)
    }

    fn lane(&self, index: usize, stages: Vec<Stage>) -> Lane {
        let (shared, inbox) = (Arc::clone(&self.chain.shared), Arc::clone(&self.chain.inboxes[index]));
        let quarantine = self.quarantine.map(|config| Quarantine::new(config, shared.metrics.quarantined.clone()));
        let (name, mint) = (Arc::clone(&shared.name), Arc::clone(&self.mint));
        let outbox = Outbox::new(name, mint, self.template.clone(), self.settles_with_any, self.most);
        let (batch, items, restarts) = (Vec::new(), Vec::new(), Vec::new());
        let (runtime, alive) = (self.chain.runtime.clone(), self.alive.clone());
        Lane { index, shared, inbox, stages, outbox, batch, items, quarantine, restarts, runtime, _alive: alive }
    }
}

/// On how many lanes the chain runs: on one where a plugin keeps state that is not by the messages' key.
pub(super) fn lanes(config: &Config, versions: &[Arc<Version>]) -> usize {
    let Some(version) = versions.iter().find(|version| version.setup.needs_one_lane()) else { return config.lanes.max(1) };
    if config.lanes > 1 {
        let (flow, plugin, lanes) = (&*config.name, version.label(), config.lanes);
        tracing::info!(flow, plugin, lanes, "the flow runs on one lane: a plugin keeps state that is not by the flow's key");
    }
    1
}

pub(super) fn template(config: &Config) -> Result<Option<Template>, Error> {
    let unknown = |placeholder| Error::Template { flow: Arc::clone(&config.name), placeholder };
    config.topic.as_ref().map(|topic| Template::compile(topic, &config.name, &config.topics)).transpose().map_err(unknown)
}

pub(super) fn out(config: &Config) -> Result<Vec<crate::message::QueueId>, Error> {
    config.ports.get(OUT).cloned().ok_or_else(|| Error::NoOut { flow: Arc::clone(&config.name) })
}

/// Compiles and configures every plugin of a config.
pub(super) fn versions(config: &Config, engine: &Engine, metrics: &Metrics) -> Result<Vec<Arc<Version>>, Error> {
    config.plugins.iter().map(|plugin| version(config, plugin, engine, metrics).map(Arc::new)).collect()
}

fn version(config: &Config, plugin: &PluginConfig, engine: &Engine, metrics: &Metrics) -> Result<Version, Error> {
    let bytes = program::read(&plugin.name, &plugin.artefact)?;
    vet(plugin, &bytes, Now::read())?;
    let metrics = metrics.plugin(&config.name, &plugin.name);
    let program = program(plugin, engine, &metrics, &bytes)?;
    // A component may be as large as its code, which has been made.
    drop(bytes);
    let (topics, now) = (&Arc::new(config.topics.clone()), Now::read());
    let recipe = Recipe { engine, plugin, ports: &config.ports, metrics: &metrics, topics, now };
    let (version, mut instance) = Version::configure(program, plugin.settings.to_string(), recipe)?;
    // Its ticks are not tried: one that fails costs no message, and its breaker has it.
    let failed = |fault| Error::Instantiate { plugin: Arc::clone(&plugin.name), source: Box::new(fault) };
    version.self_test(&mut instance, now).map_err(failed)?;
    Ok(version)
}

/// Looks at the signature beside a component that comes from a file.
fn vet(plugin: &PluginConfig, component: &[u8], now: Now) -> Result<(), Error> {
    let (path, highest, now) = match &plugin.artefact {
        Artefact::File(path) => (path, plugin.highest.as_ref(), now),
        // It was let in before, and nothing expires by a clock that is not set.
        Artefact::Kept(path) => (path, None, Now::default()),
        Artefact::Builtin(_) => return Ok(()),
    };
    let signature = program::read_signature(&plugin.name, path)?;
    let claim = Claim { name: &plugin.signed_as, highest, now };
    let seal = plugin.trust.verify(component, signature.as_deref(), claim);
    seal.map(drop).map_err(|source| Error::Denied { plugin: Arc::clone(&plugin.name), source })
}

/// The program of `bytes` for `plugin`.
pub(super) fn program(plugin: &PluginConfig, engine: &Engine, metrics: &PluginMetrics, bytes: &[u8]) -> Result<Program, Error> {
    let made = Program::make(engine, bytes);
    let granted = made.and_then(|made| plugin.grants.allow(made.0.imports.iter().map(String::as_str)).map(|()| made));
    match granted {
        Ok((program, origin)) => {
            metrics.code(origin.name());
            Ok(program)
        }
        Err(source) => {
            metrics.code("failed");
            Err(Error::Unusable { plugin: Arc::clone(&plugin.name), source })
        }
    }
}
