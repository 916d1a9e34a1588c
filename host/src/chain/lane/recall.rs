//! At the start: what the plugins remember of earlier runs, shared out among the lanes.
//!
//! State is kept by key, and a key takes one lane; so the number of lanes may be another than it was.

use std::sync::Arc;

use super::live::Live;
use super::slot::{LaneIndex, lane_of};
use super::version::Version;
use crate::chain::Error;
use crate::chain::sandbox::engine::Engine;
use crate::chain::sandbox::fault::Fault;
use crate::chain::sandbox::state::{self, StatePage};
use crate::chain::settings::{PluginConfig, RefusedState};
use crate::message::{Remembered, StateStore};

/// What one plugin remembers, shared out among the lanes.
pub(crate) struct RecalledState {
    lanes: Vec<Vec<(u32, StatePage)>>,
}

impl RecalledState {
    /// Reads it. Blocks on the disk.
    ///
    /// # Errors
    /// It cannot be read and the plugin shall not start without.
    pub(crate) fn recall(
        version: &Version,
        config: &PluginConfig,
        states: &dyn StateStore,
        lanes: usize,
    ) -> Result<Self, Error> {
        let none = || Self {
            lanes: (0..lanes).map(|_| Vec::new()).collect(),
        };
        if version.checkpoint.is_none() {
            return Ok(none());
        }
        let flow = &version.metrics.flow;
        match states.recall(flow, &config.name) {
            Ok(remembered) => Ok(Self::share_out(&remembered, lanes)),
            Err(why) if config.refused_state == RefusedState::Required => Err(Error::State {
                plugin: Arc::clone(&config.name),
                why,
            }),
            Err(why) => {
                tracing::error!(
                    flow = &**flow,
                    plugin = &*config.name,
                    why,
                    "plugin starts without state: what was kept cannot be read"
                );
                Ok(none())
            }
        }
    }

    fn share_out(remembered: &[Remembered], lanes: usize) -> Self {
        let of_lane = |lane| {
            remembered
                .iter()
                .filter(move |entry| lane_of(&entry.key, lanes) == lane)
                .collect()
        };
        Self {
            lanes: (0..lanes).map(|lane| state::pages(of_lane(lane))).collect(),
        }
    }

    /// An instance of `version` with its part of the state for each lane.
    ///
    /// # Errors
    /// No instance can be made, or the plugin cannot read its state and shall not start without.
    pub(crate) fn start(
        self,
        version: &Arc<Version>,
        config: &PluginConfig,
        engine: &Engine,
        states: &dyn StateStore,
    ) -> Result<Vec<Live>, Error> {
        let refused = match self.try_start(version, engine)? {
            Ok(lives) => return Ok(lives),
            Err(refused) => refused,
        };
        if config.refused_state == RefusedState::Required {
            return Err(Error::State {
                plugin: Arc::clone(&config.name),
                why: refused.to_string(),
            });
        }
        let flow = &version.metrics.flow;
        let plugin = version.label();
        tracing::error!(
            flow = &**flow,
            plugin,
            why = %refused,
            "plugin starts without state: it cannot read what was kept, which is set aside"
        );
        version.metrics.error(refused.kind);
        states.set_aside(flow, &config.name);
        let none = Self {
            lanes: self.lanes.iter().map(|_| Vec::new()).collect(),
        };
        none.try_start(version, engine)?
            .map_err(|fault| broken(version, fault))
    }

    /// The inner error is the plugin's verdict on its state.
    fn try_start(
        &self,
        version: &Arc<Version>,
        engine: &Engine,
    ) -> Result<Result<Vec<Live>, Fault>, Error> {
        let mut lives = Vec::new();
        for (lane, pages) in self.lanes.iter().enumerate() {
            let slot = LaneIndex {
                lane,
                lanes: self.lanes.len(),
            };
            if pages.is_empty() {
                lives.push(Live::at_rest(version, engine, slot));
                continue;
            }
            let now = engine.clock().now();
            let mut live =
                Live::start(version, engine, slot, now).map_err(|fault| broken(version, fault))?;
            if let Err(fault) = live.recall(pages, now) {
                return Ok(Err(fault));
            }
            lives.push(live);
        }
        Ok(Ok(lives))
    }
}

fn broken(version: &Version, fault: Fault) -> Error {
    Error::Instantiate {
        plugin: version.label().into(),
        source: Box::new(fault),
    }
}
