//! From a config to running lanes.

use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use tokio::runtime::Handle;

use super::failure::LaneFailure;
use super::lane::{ChainContext, Lane};
use super::metrics::Metrics;
use super::settings::{Config, PluginConfig, QuarantineConfig};
use super::{Chain, ChangeContext, Error, Wiring};
use crate::chain::lane::guard::Guard;
use crate::chain::lane::guard::quarantine::Quarantine;
use crate::chain::lane::inbox::Inbox;
use crate::chain::lane::live::Live;
use crate::chain::lane::load::{lanes, out, template, versions};
use crate::chain::lane::onward::{FlowEntry, Onward};
use crate::chain::lane::outbox::Outbox;
use crate::chain::lane::outbox::spread::Most;
use crate::chain::lane::portion::Portion;
use crate::chain::lane::recall::RecalledState;
use crate::chain::lane::stage::Stage;
use crate::chain::lane::template::OutgoingTopic;
use crate::chain::lane::version::Version;
use crate::chain::sandbox::beside::beside;
use crate::chain::sandbox::engine::Engine;
use crate::chain::trace::FlowTrace;
use crate::message::{Mint, StateStore};

impl Chain {
    /// Loads, compiles and configures the plugins, and starts the lanes. Blocks for as long as that takes: seconds at
    /// worst. The runtime it is called in, if any, is the one guests' calls of WASI find.
    ///
    /// # Errors
    /// The first plugin that cannot be loaded, refuses its settings or has a port without a route.
    pub fn build(config: Config, engine: &Engine, wiring: Wiring) -> Result<Self, Error> {
        ChainBase::new(config, engine, wiring)?.start(ChainBase::recall)
    }
}

/// A chain without its lanes.
pub(super) struct ChainBase {
    /// Dropped before the chain, which waits for all of them, and with the last lane.
    alive: SyncSender<()>,
    chain: Chain,
    lanes: usize,
    metrics: Metrics,
    mint: Arc<Mint>,
    template: Option<OutgoingTopic>,
    settles_with_any: bool,
    quarantine: Option<QuarantineConfig>,
    most: Most,
}

impl ChainBase {
    /// Compiles and configures the plugins.
    pub(super) fn new(config: Config, engine: &Engine, wiring: Wiring) -> Result<Self, Error> {
        let template = template(&config)?;
        let out = out(&config)?;
        let runtime = Handle::try_current().ok();
        let versions = beside(engine, runtime.as_ref(), || {
            versions(&config, engine, &wiring.metrics)
        })?;
        let shared = Arc::new(ChainContext {
            flow: config.flow,
            name: Arc::clone(&config.name),
            batch_messages: config.batch_messages.max(1),
            out,
            entry: RwLock::new(FlowEntry::of(&config)),
            onward: Onward::of(&config.ports, &*wiring.flows),
            engine: engine.clone(),
            outlet: wiring.outlet,
            states: wiring.states,
            metrics: wiring.metrics.flow(&config.name),
            failure: Arc::new(LaneFailure::new(wiring.failed)),
            alarm: Arc::default(),
            versions: Mutex::new(versions),
            taps: wiring.taps.of(&config.name),
            trace: FlowTrace::new(&config.name, wiring.tracer),
            tape: OnceLock::new(),
        });
        let lanes = lanes(&config, &shared.versions());
        let inboxes = inboxes(lanes, engine, &shared).map_err(Error::Thread)?;
        let (alive, ended) = sync_channel(0);
        let most = Most::of(&config.plugins);
        let chain = Chain {
            driver: Mutex::new(ChangeContext {
                plugins: config.plugins,
                ports: config.ports,
                topics: Arc::new(config.topics),
            }),
            shared,
            inboxes,
            ended: Mutex::new(ended),
            is_left: AtomicBool::new(false),
            active: Mutex::default(),
            runtime,
        };
        Ok(Self {
            chain,
            lanes,
            metrics: wiring.metrics,
            mint: wiring.mint,
            template,
            settles_with_any: config.settles_with_any,
            quarantine: config.quarantine,
            most,
            alive,
        })
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
    pub(super) fn surroundings(&self) -> (&dyn StateStore, &Engine) {
        (&*self.chain.shared.states, &self.chain.shared.engine)
    }

    /// The plugins, first to last, with their configs.
    pub(super) fn plugins(&self) -> Vec<(Arc<Version>, PluginConfig)> {
        let driver = self
            .chain
            .driver
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.chain
            .shared
            .versions()
            .into_iter()
            .zip(driver.plugins.iter().cloned())
            .collect()
    }

    /// Runs `work` where guests may run.
    pub(super) fn beside<R: Send>(
        &self,
        work: impl FnOnce() -> Result<R, Error> + Send,
    ) -> Result<R, Error> {
        beside(&self.chain.shared.engine, self.chain.runtime.as_ref(), work)
    }

    /// Instances of a plugin, one for each lane, with the state that is kept of it: at a start, or where it is new in the flow.
    pub(super) fn recall(
        &self,
        version: &Arc<Version>,
        config: &PluginConfig,
    ) -> Result<Vec<Live>, Error> {
        let (states, engine) = self.surroundings();
        RecalledState::recall(version, config, states, self.lanes())?
            .start(version, config, engine, states)
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
                stages[lane].push(Stage::new(
                    live,
                    guard,
                    lane,
                    self.chain.shared.engine.clock().moment(),
                ));
            }
        }
        Ok(stages)
    }

    fn lane(&self, index: usize, stages: Vec<Stage>) -> Lane {
        let shared = Arc::clone(&self.chain.shared);
        let inbox = Arc::clone(&self.chain.inboxes[index]);
        let quarantine = self
            .quarantine
            .map(|config| Quarantine::new(config, shared.metrics.quarantined.clone()));
        let name = Arc::clone(&shared.name);
        let mint = Arc::clone(&self.mint);
        let outbox = Outbox::new(
            name,
            mint,
            self.template.clone(),
            self.settles_with_any,
            self.most,
        );
        let batch = Vec::new();
        let items = Vec::new();
        let restarts = Vec::new();
        let runtime = self.chain.runtime.clone();
        let alive = self.alive.clone();
        let portion = Portion::new(shared.batch_messages);
        Lane {
            index,
            shared,
            inbox,
            stages,
            outbox,
            batch,
            items,
            portion,
            quarantine,
            restarts,
            runtime,
            _alive: alive,
        }
    }
}

/// One for each lane, with a seat among the workers.
fn inboxes(
    lanes: usize,
    engine: &Engine,
    shared: &ChainContext,
) -> std::io::Result<Vec<Arc<Inbox>>> {
    let inbox = |_| {
        let waiting = shared.metrics.waiting.clone();
        Ok(Arc::new(Inbox::new(engine.pool().seat()?, waiting)))
    };
    (0..lanes).map(inbox).collect()
}
