//! One plugin without a lane: what a benchmark of the border between host and guest measures.

use std::sync::Arc;
use std::time::Duration;

use super::dry_run::routed;

use crate::chain::Error;
use crate::chain::lane::live::Live;
use crate::chain::lane::load;
use crate::chain::lane::slot::LaneIndex;
use crate::chain::metrics::Metrics;
use crate::chain::sandbox::batch::{Action, GuestAnswer, OutputEntry, PackedBatch};
use crate::chain::sandbox::engine::Engine;
use crate::chain::settings::Config;
use crate::clock::Now;
use crate::message::Message;

/// What a component is and costs before its first message.
#[derive(Clone, Copy, Debug)]
pub struct Compiled {
    /// Bytes of the component.
    pub component_bytes: usize,
    /// From its bytes to code that can run, by the clock. Code that the engine has already takes none.
    pub taken: Duration,
}

/// What a plugin did with messages that it was shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HopAnswers {
    /// Messages it let through, or made.
    pub outputs: usize,
    /// Messages it kept for itself.
    pub absorbed: usize,
    /// Messages it did not take.
    pub rejected: usize,
    /// Its words to the first of those, as it wrote them.
    pub reason: Option<String>,
}

/// An instance of the first plugin of a config.
pub struct Hop {
    live: Live,
    engine: Engine,
    packed: PackedBatch,
    entries: Vec<OutputEntry>,
    now: Now,
}

/// Compiles the first plugin of a config, as a start of a gateway does. An engine that keeps what is compiled has it then.
///
/// # Errors
/// There is no plugin, it cannot be read, or it does not compile.
pub fn compile(config: &Config, engine: &Engine) -> Result<Compiled, Error> {
    let plugin = config.plugins.first().ok_or_else(nothing)?;
    let bytes = load::read(&plugin.name, &plugin.artefact)?;
    let metrics = own_metrics()?.plugin(&config.name, &plugin.name);
    let begun = engine.clock().moment();
    load::program(plugin, engine, &metrics, &bytes)?;
    Ok(Compiled {
        component_bytes: bytes.len(),
        taken: engine.clock().since(begun),
    })
}

fn own_metrics() -> Result<Metrics, Error> {
    Metrics::new(&prometheus::Registry::new()).map_err(|error| Error::Engine(error.to_string()))
}

fn nothing() -> Error {
    Error::Engine("there is no plugin to measure".to_owned())
}

impl Hop {
    /// The same with a route for every port that the plugin asks for.
    ///
    /// # Errors
    /// As [`Hop::new`].
    pub fn routed(config: &Config, engine: &Engine) -> Result<Self, Error> {
        routed(config, |config| Self::new(config, engine))
    }

    /// Loads and configures it.
    ///
    /// # Errors
    /// As [`crate::chain::Chain::build`], and when there is no plugin.
    pub fn new(config: &Config, engine: &Engine) -> Result<Self, Error> {
        let versions = load::versions(config, engine, &own_metrics()?)?;
        let version = versions.first().ok_or_else(nothing)?;
        let now = engine.clock().now();
        let live = Live::start(version, engine, LaneIndex { lane: 0, lanes: 1 }, now).map_err(
            |fault| Error::Instantiate {
                plugin: Arc::clone(&version.reference.name),
                source: Box::new(fault),
            },
        )?;
        Ok(Self {
            live,
            engine: engine.clone(),
            packed: PackedBatch::default(),
            entries: Vec::new(),
            now,
        })
    }

    /// Packs the messages, runs the plugin, checks what it answers: how many outputs that are.
    ///
    /// # Errors
    /// What the plugin did wrong; the instance is then void.
    pub fn run(&mut self, messages: &[Message]) -> Result<usize, crate::chain::Fault> {
        self.answer(messages)?;
        Ok(self
            .entries
            .iter()
            .filter(|entry| matches!(entry.action, Action::Pass | Action::Emit))
            .count())
    }

    /// The same, and what it did with them.
    ///
    /// # Errors
    /// As [`Hop::run`].
    pub fn look(&mut self, messages: &[Message]) -> Result<HopAnswers, crate::chain::Fault> {
        let answer = self.answer(messages)?;
        let mut answers = HopAnswers::default();
        for entry in &self.entries {
            match entry.action {
                Action::Pass | Action::Emit => answers.outputs += 1,
                Action::Absorb => answers.absorbed += 1,
                Action::Reject => {
                    answers.rejected += 1;
                    answers
                        .reason
                        .get_or_insert_with(|| entry.reason(&answer.data));
                }
            }
        }
        Ok(answers)
    }

    fn answer(&mut self, messages: &[Message]) -> Result<GuestAnswer, crate::chain::Fault> {
        self.entries.clear();
        self.live.pack(&mut self.packed, messages, self.now);
        self.live.process(&self.packed, self.now, &mut self.entries)
    }

    /// From now on its clocks show the present.
    pub fn look_at_the_clock(&mut self) {
        self.now = self.engine.clock().now();
    }

    /// Linear memory it has, bytes.
    pub fn memory_bytes(&self) -> usize {
        self.live.memory_bytes()
    }
}

impl std::fmt::Debug for Hop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hop").finish_non_exhaustive()
    }
}
