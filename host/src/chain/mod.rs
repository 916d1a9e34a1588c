//! The plugins of one flow, in order: messages in, none or many out.
//!
//! In come batches of [`Delivery`], from sources and from other flows; each message goes to the lane of its key and waits
//! there without a bound of its own (a source bounds what is under way, a flow asks whether there is room). Out go appends
//! and dead letters through [`Outlet`], and batches into other flows: one of each a batch, in the order of the inputs,
//! receipts added to before anything is handed on. What no plugin named, or a
//! plugin absorbed, is settled when its batch returns.
//!
//! A plugin can take neither the process nor another plugin along: every call has limits, a fault is a value, the
//! message that causes it is found and parked, and the plugin goes on with its state. A version is replaced between
//! two batches, after it was proven elsewhere, and taken back when it fails on its first messages.
//!
//! Lanes are worked off by plain threads; nothing here is async, and `wasmtime` is named in `sandbox/` only. Never done here:
//! waiting for the disk or the network.

mod answer;
mod change;
mod cost;
mod error;
mod failure;
mod lane;
mod metrics;
mod pool;
mod ration;
mod replay;
mod sandbox;
mod settings;
mod start;
mod tally;
mod tap;
mod trace;
#[cfg(test)]
mod tests;

pub use change::event::{ChangeEvent, ChangeState, ChangeUnderWay, Events};
pub use change::handover::Successor;
pub use change::outcome::{NotChanged, Swapped};
pub use change::plan::{Change, ChangePlan, OnRefusedState, Verifier};
pub use error::{Error, Unusable};
pub use failure::LaneFailure;
pub use lane::clock::recalled as recalled_clock;
pub use lane::guard::BreakerOpened;
pub use lane::guard::breaker::BreakerState;
pub use lane::inbox::ROOM_BYTES;
pub use lane::item::ReturnedLetter;
pub use lane::load::{check, digest_of, read as read_component};
pub use lane::trial::compare::{
    Comparison, Counts, DifferenceKind, DifferenceSample, DifferingPart, Excerpt, InputOutcome,
    SampleBounds, SampleInput, ShownEffect,
};
pub use lane::trial::phase::{Canary, Shadow};
pub use lane::trial::report::{ChangeStep, TrialFigures, TrialReport};
pub use metrics::{Account, Metrics, PluginCost};
pub use replay::dry_run::{Came, DryRun, DryRunOutput, HandedOn};
pub use replay::hop::{Compiled, Hop, HopAnswers, compile};
pub use replay::{Player, Ran, Replay, Score, offline};
pub use sandbox::beside::beside;
pub use sandbox::capability::{Capability, Grants};
pub use sandbox::compile::{CompileLimits, Compiler, Workshop, compile_plugin};
pub use sandbox::engine::Engine;
pub use sandbox::fault::{Fault, FaultKind};
pub use sandbox::inspect::{ComponentImport, Inspection, Requested, inspect};
pub use settings::{
    Artefact, BreakerConfig, Config, Limits, OnError, PluginConfig, Probation, QuarantineConfig,
    RefusedState, TopicTemplate, Topics,
};
pub use tap::{TapFilter, TapPage, TapPoint, TappedMessage, Taps};

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::message::{Delivery, Flows, Intake, Mint, Outlet, StateStore, Tape};
use crate::telemetry::trace::Tracer;
use lane::ChainContext;
use lane::inbox::{Inbox, LaneRequest};
use lane::onward::FlowEntry;
use lane::slot::lane_of;
use lane::trial::Trial;
use lane::version::{Ports, Version};

/// What lanes get, when their time is up, to end the turn they are in and to keep their plugins' state.
const LAST_TURN: Duration = Duration::from_millis(200);

/// What a chain is connected to.
#[derive(Clone)]
pub struct Wiring {
    /// Where appends and dead letters go.
    pub outlet: Arc<dyn Outlet>,
    /// Where what goes into other flows goes.
    pub flows: Arc<dyn Flows>,
    /// Where plugins' state is kept.
    pub states: Arc<dyn StateStore>,
    /// Names for messages that plugins make.
    pub mint: Arc<Mint>,
    pub metrics: Metrics,
    /// Those who look on.
    pub taps: Taps,
    /// Takes the spans of traced messages.
    pub tracer: Tracer,
    /// Rings when a lane ends although nobody stopped it: [`Chain::failure`] then says why.
    pub failed: Arc<Notify>,
}

/// A plugin of a chain, as it runs now.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginInfo {
    /// Its name in the config.
    pub name: Arc<str>,
    /// SHA-256 of its component, in hexadecimal.
    pub digest: Arc<str>,
    /// Ports it declared beside `out`.
    pub ports: Vec<String>,
    /// Interval of its ticks.
    pub tick_every: Option<Duration>,
    /// Whether it keeps state the host can save, and its version.
    pub state_version: Option<u32>,
    /// The change of it that is under way.
    pub change: Option<ChangeUnderWay>,
    /// The worst of its breakers, one in each lane.
    pub breaker: BreakerState,
    pub cost: PluginCost,
}

/// What changes need to know beside the running versions. One change at a time holds it.
pub(crate) struct ChangeContext {
    pub(crate) plugins: Vec<PluginConfig>,
    ports: Ports,
    topics: Arc<Topics>,
}

/// The change that is under way.
struct ActiveChange {
    index: usize,
    change: ChangeUnderWay,
    trial: Arc<Trial>,
}

/// The running chain of one flow. Dropping it ends its lanes without emptying their inboxes; [`Chain::stop`]
/// empties them first.
pub struct Chain {
    shared: Arc<ChainContext>,
    inboxes: Vec<Arc<Inbox>>,
    /// Disconnected when the last lane has ended.
    ended: Mutex<Receiver<()>>,
    /// Nobody waits for the lanes any more.
    is_left: AtomicBool,
    driver: Mutex<ChangeContext>,
    active: Mutex<Option<ActiveChange>>,
    runtime: Option<tokio::runtime::Handle>,
}

impl Chain {
    /// The plugins, first to last.
    pub fn plugins(&self) -> Vec<PluginInfo> {
        let versions = self.shared.versions();
        let active = self.lock_active();
        let change = |index| {
            active
                .as_ref()
                .filter(|active| active.index == index)
                .map(|active| active.change.clone())
        };
        versions
            .iter()
            .enumerate()
            .map(|(index, version)| PluginInfo {
                change: change(index),
                ..version.info()
            })
            .collect()
    }

    /// Ends the change of the plugin at `index` that is under way: the version before runs on, from what was told.
    /// `false` when none is under way, or it is over already. `why` says who wanted it.
    pub fn cancel(&self, index: usize, why: &str) -> bool {
        self.trial_of(index).is_some_and(|trial| trial.cancel(why))
    }

    /// Ends the present phase of the change of the plugin at `index` as if it had gone well. `false` when none is under
    /// way, or it is in no phase yet.
    pub fn promote(&self, index: usize) -> bool {
        self.trial_of(index).is_some_and(|trial| trial.promote())
    }

    /// Whether a change of the plugin at `index` is under way, and can be ended.
    pub fn is_changing(&self, index: usize) -> bool {
        self.trial_of(index).is_some()
    }

    fn trial_of(&self, index: usize) -> Option<Arc<Trial>> {
        self.lock_active()
            .as_ref()
            .filter(|active| active.index == index)
            .map(|active| Arc::clone(&active.trial))
    }

    fn note_state(&self, state: ChangeState) {
        if let Some(active) = self.lock_active().as_mut() {
            active.change.state = state;
        }
    }

    fn lock_active(&self) -> MutexGuard<'_, Option<ActiveChange>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Name of the flow.
    pub fn name(&self) -> &Arc<str> {
        &self.shared.name
    }

    /// From now on it takes what `config` says of what other flows lead to it; nothing else of it counts.
    pub fn reroute(&self, config: &Config) {
        let entry = self.shared.entry.write();
        *entry.unwrap_or_else(PoisonError::into_inner) = FlowEntry::of(config);
    }

    /// Names of the flows that it leads to.
    pub fn leads_to(&self) -> impl Iterator<Item = &Arc<str>> {
        self.shared.onward.names()
    }

    pub fn account(&self) -> Account {
        self.shared.metrics.account()
    }

    /// Devices whose messages are not tried.
    pub fn quarantined(&self) -> Vec<Box<[u8]>> {
        self.shared.metrics.quarantined.names()
    }

    /// From now on `tape` takes down what the lanes are told: for good, and the first tape only.
    pub fn record(&self, tape: Arc<dyn Tape>) {
        // A second tape would be a mistake of the gateway's own start; the first goes on.
        let _ = self.shared.tape.set(tape);
    }

    /// How the gateway learns that a lane has ended although nobody stopped it.
    pub fn failure(&self) -> &Arc<LaneFailure> {
        &self.shared.failure
    }

    /// `hook` is called, on a lane's thread, when a plugin's breaker opens: fresh instances and isolation have not
    /// helped, so it is for whoever knows other versions. It must not wait. The first hook stays.
    pub fn on_opened(&self, hook: impl Fn(BreakerOpened) + Send + Sync + 'static) {
        self.shared.alarm.set(Box::new(hook));
    }

    /// Has the lanes run what waits in their inboxes and end. [`Chain::stop`] waits for them.
    pub fn begin_to_stop(&self) {
        self.inboxes.iter().for_each(|inbox| inbox.stop());
    }

    /// Runs what waits in the inboxes and ends the lanes. After `limit` the rest is left: its receipts
    /// fall unsettled, so the broker sends it again. The answer is the number of messages left. What is delivered
    /// from now on is forgotten.
    pub fn stop(&self, limit: Duration) -> usize {
        self.end(limit).len()
    }

    /// The same, and what is left goes to whoever asks, with its receipts.
    pub fn end(&self, limit: Duration) -> Vec<Delivery> {
        self.begin_to_stop();
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        // Nothing is ever sent: the answer is that the lanes' ends are gone, or that time is up.
        let in_time = ended.recv_timeout(limit);
        if in_time != Err(RecvTimeoutError::Timeout) {
            return Vec::new();
        }
        let left = self
            .inboxes
            .iter()
            .flat_map(|inbox| inbox.empty())
            .collect();
        // A lane that is inside a plugin ends when its turn does; who stops keeps his time.
        let is_left = ended.recv_timeout(LAST_TURN) == Err(RecvTimeoutError::Timeout);
        self.is_left.store(is_left, Ordering::Release);
        left
    }

    /// Runs dead letters again, in order, from the plugin called `plugin` on, which is where they stopped; from the
    /// first one when there is none of that name (any more). Each goes behind what its lane has in hand.
    pub fn rerun(&self, plugin: Option<&str>, letters: Vec<ReturnedLetter>) {
        let versions = self.shared.versions();
        let first = plugin.and_then(|plugin| {
            versions
                .iter()
                .position(|version| &*version.reference.name == plugin)
        });
        let mut parts: Vec<Vec<ReturnedLetter>> = Vec::new();
        parts.resize_with(self.inboxes.len(), Vec::new);
        for mut letter in letters {
            letter.delivery.message.flow = Some(self.shared.flow);
            parts[lane_of(letter.delivery.message.key(), self.inboxes.len())].push(letter);
        }
        for (inbox, letters) in self.inboxes.iter().zip(parts) {
            if !letters.is_empty() {
                inbox.command(LaneRequest::Rerun {
                    first: first.unwrap_or(0),
                    letters,
                });
            }
        }
    }

    fn close(&self) {
        self.inboxes.iter().for_each(|inbox| drop(inbox.empty()));
    }

    /// Waits until all lanes are gone, unless they were left: every turn is bounded, so this is too.
    fn join(&self) {
        if self.is_left.load(Ordering::Acquire) {
            return;
        }
        // Nothing is ever sent: the answer is that the lanes' ends are gone.
        let _ = self
            .ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        self.close();
        self.join();
    }
}

impl Intake for Chain {
    fn deliver(&self, batch: Vec<Delivery>) {
        let entry = self.shared.entry.read();
        let entry = entry.unwrap_or_else(PoisonError::into_inner);
        let batch = entry.take(batch, &self.shared.metrics);
        drop(entry);
        self.put(batch);
    }

    fn has_room(&self) -> bool {
        self.inboxes.iter().all(|inbox| inbox.has_room())
    }
}

impl Chain {
    /// Has messages wait, each in the lane of its key.
    fn put(&self, batch: Vec<Delivery>) {
        if let [inbox] = self.inboxes.as_slice() {
            return inbox.put(batch);
        }
        let lanes = self.inboxes.len();
        let mut parts: Vec<Vec<Delivery>> = Vec::new();
        parts.resize_with(lanes, Vec::new);
        for delivery in batch {
            parts[lane_of(delivery.message.key(), lanes)].push(delivery);
        }
        for (inbox, part) in self.inboxes.iter().zip(parts) {
            if !part.is_empty() {
                inbox.put(part);
            }
        }
    }
}

impl Version {
    fn info(&self) -> PluginInfo {
        PluginInfo {
            name: Arc::clone(&self.reference.name),
            digest: Arc::clone(&self.reference.digest),
            ports: self.setup.ports.clone(),
            tick_every: self.tick_every(),
            state_version: self
                .program
                .state
                .is_some()
                .then_some(self.setup.state_version()),
            change: None,
            breaker: self.metrics.breaker(),
            cost: self.metrics.cost(),
        }
    }
}
