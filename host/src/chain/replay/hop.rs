//! One plugin without a lane: what a benchmark of the border between host and guest measures.

use std::sync::Arc;

use crate::chain::Error;
use crate::chain::lane::live::Live;
use crate::chain::lane::load;
use crate::chain::lane::slot::LaneIndex;
use crate::chain::metrics::Metrics;
use crate::chain::sandbox::batch::{Action, OutputEntry, PackedBatch};
use crate::chain::sandbox::engine::Engine;
use crate::chain::settings::Config;
use crate::clock::Now;
use crate::message::Message;

/// An instance of the first plugin of a config.
pub struct Hop {
    live: Live,
    packed: PackedBatch,
    entries: Vec<OutputEntry>,
    now: Now,
}

impl Hop {
    /// Loads and configures it.
    ///
    /// # Errors
    /// As [`crate::chain::Chain::build`], and when there is no plugin.
    pub fn new(config: &Config, engine: &Engine) -> Result<Self, Error> {
        let metrics = Metrics::new(&prometheus::Registry::new())
            .map_err(|error| Error::Engine(error.to_string()))?;
        let versions = load::versions(config, engine, &metrics)?;
        let version = versions
            .first()
            .ok_or_else(|| Error::Engine("there is no plugin to measure".to_owned()))?;
        let now = engine.clock().now();
        let live = Live::start(version, engine, LaneIndex { lane: 0, lanes: 1 }, now).map_err(
            |fault| Error::Instantiate {
                plugin: Arc::clone(&version.reference.name),
                source: Box::new(fault),
            },
        )?;
        Ok(Self {
            live,
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
        self.entries.clear();
        self.live.pack(&mut self.packed, messages, self.now);
        self.live
            .process(&self.packed, self.now, &mut self.entries)?;
        Ok(self
            .entries
            .iter()
            .filter(|entry| matches!(entry.action, Action::Pass | Action::Emit))
            .count())
    }
}

impl std::fmt::Debug for Hop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hop").finish_non_exhaustive()
    }
}
