//! One chain takes over from another while messages wait: the same flow by another config.
//!
//! *Rehearse*, while the old one works: the new chain's plugins are vetted, compiled and configured; each gets a copy of
//! the state that the plugin of its name has in the old chain, shared out among the new lanes, and an empty batch and a
//! tick. *Follow*, while nothing is delivered to either: the old lanes work off their inboxes, give their state and
//! wait; the new lanes begin with it; then the old ones end, and what they could not work off, since memory or the flow behind
//! had no room, waits in the new ones. Whatever goes wrong, the old lanes go on as if nothing had
//! been: their instances were never touched. State goes by the plugin's name, so it survives another number of lanes and
//! another place in the chain; it is handed over in memory, so also where none is kept on disk.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use crate::chain::answer::{NoAnswer, wait_for_answer};
use crate::chain::lane::inbox::Inbox;
use crate::chain::lane::leave::{Leave, LeftState, Legacy};
use crate::chain::lane::live::Live;
use crate::chain::lane::slot::{LaneIndex, lane_of};
use crate::chain::lane::version::Version;
use crate::chain::sandbox::fault::{Fault, FaultKind};
use crate::chain::sandbox::state::Snapshot;
use crate::chain::settings::{Config, PluginConfig};
use crate::chain::start::ChainBase;
use crate::chain::{Chain, Error, Wiring};
use crate::message::Delivery;

/// How long the lanes may take to work off their inboxes and give their state.
const LEAVE: Duration = Duration::from_secs(60);

/// Lanes that wait. Dropped, it lets them go on.
struct PausedLanes<'a>(&'a [Arc<Inbox>]);

impl PausedLanes<'_> {
    /// They end; what still waits in them follows.
    fn end(self) -> Vec<Delivery> {
        self.0.iter().flat_map(|inbox| inbox.empty()).collect()
    }
}

impl Drop for PausedLanes<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|inbox| inbox.come_back());
    }
}

/// What the plugins of a chain leave, by their names.
type Legacies = HashMap<Arc<str>, Vec<Legacy>>;

/// A chain that was rehearsed and has no lanes yet.
pub struct Successor {
    frame: ChainBase,
}

impl Chain {
    /// Makes the chain that is to follow this one, which works on meanwhile. Blocks for as long as that takes: seconds at
    /// worst.
    ///
    /// # Errors
    /// As [`Chain::build`], and when a plugin does not read the state of its name here.
    pub fn rehearse(&self, config: Config, wiring: Wiring) -> Result<Successor, Error> {
        let frame = ChainBase::new(config, &self.shared.engine, wiring)?;
        let legacies = self.legacies()?;
        frame.beside(|| {
            for (version, config) in &frame.plugins() {
                for (lane, snapshot) in inherited(legacies.get(&config.name), frame.lanes())
                    .iter()
                    .enumerate()
                {
                    frame
                        .instance(version, lane)?
                        .rehearse(snapshot, self.shared.engine.clock().now())
                        .map_err(|fault| unfit(version, fault))?;
                }
            }
            Ok(())
        })?;
        Ok(Successor { frame })
    }

    /// What each plugin would leave by now.
    fn legacies(&self) -> Result<Legacies, Error> {
        let mut legacies = Legacies::new();
        for (index, version) in self.shared.versions().iter().enumerate() {
            let plugin = &version.reference.name;
            let lost = |why| Error::Inherit {
                plugin: Arc::clone(plugin),
                why,
            };
            for snapshot in self.copies(index).map_err(lost)? {
                let legacy = Legacy {
                    plugin: Arc::clone(plugin),
                    snapshot,
                    is_kept: version.checkpoint.is_some(),
                };
                legacies.entry(Arc::clone(plugin)).or_default().push(legacy);
            }
        }
        Ok(legacies)
    }

    fn names(&self) -> Vec<Arc<str>> {
        self.shared
            .versions()
            .iter()
            .map(|version| Arc::clone(&version.reference.name))
            .collect()
    }

    /// Has all lanes work off their inboxes, give their state and wait.
    fn leave(&self, is_wanted: &dyn Fn() -> bool) -> Result<(Legacies, PausedLanes<'_>), String> {
        // Dropped after the channels: a lane that finds nobody at the other end goes on by itself.
        let leaving = PausedLanes(&self.inboxes);
        let leave = |inbox: &Arc<Inbox>| {
            let (state, given) = sync_channel(1);
            inbox.leave(Leave::new(state));
            given
        };
        let states: Vec<_> = self.inboxes.iter().map(leave).collect();
        let deadline = self.shared.engine.clock().moment() + LEAVE;
        let mut legacies = Legacies::new();
        for state in states {
            for legacy in answer(&state, deadline, is_wanted)? {
                legacies
                    .entry(Arc::clone(&legacy.plugin))
                    .or_default()
                    .push(legacy);
            }
        }
        Ok((legacies, leaving))
    }
}

fn answer(
    state: &Receiver<LeftState>,
    deadline: Instant,
    is_wanted: &dyn Fn() -> bool,
) -> LeftState {
    wait_for_answer(state, deadline, is_wanted).unwrap_or_else(|why| {
        Err(match why {
            NoAnswer::Gone => "a lane has ended".to_owned(),
            NoAnswer::Late => format!("a lane has not worked off its messages within {LEAVE:?}"),
            NoAnswer::Unwanted => "the gateway stops".to_owned(),
        })
    })
}

impl Successor {
    /// Takes over from `old`, to which nothing is delivered meanwhile, nor to this; unless it is not wanted any more before
    /// `old` has come to rest.
    ///
    /// # Errors
    /// `old` goes on with its state.
    pub fn follow(self, old: &Chain, is_wanted: &dyn Fn() -> bool) -> Result<Chain, Error> {
        let flow = Arc::clone(old.name());
        let (legacies, leaving) = old
            .leave(is_wanted)
            .map_err(|why| Error::Leave { flow, why })?;
        let metrics = self.frame.metrics().clone();
        let chain = self
            .frame
            .start(|frame, version, config| frame.take_over(version, config, &legacies))?;
        chain.put(leaving.end());
        old.join();
        metrics.prune(&chain.shared.name, &chain.names(), chain.inboxes.len());
        Ok(chain)
    }
}

impl std::fmt::Debug for Successor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Successor").finish_non_exhaustive()
    }
}

impl ChainBase {
    /// Instances of a plugin, one for each lane, with the state of its name: from the chain before, or from the disk.
    fn take_over(
        &self,
        version: &Arc<Version>,
        config: &PluginConfig,
        legacies: &Legacies,
    ) -> Result<Vec<Live>, Error> {
        let Some(legacies) = legacies.get(&config.name) else {
            return self.recall(version, config);
        };
        let mut lives = Vec::new();
        for (lane, snapshot) in inherited(Some(legacies), self.lanes()).iter().enumerate() {
            let (_, engine) = self.surroundings();
            let mut live = Live::at_rest(
                version,
                engine,
                LaneIndex {
                    lane,
                    lanes: self.lanes(),
                },
            );
            live.adopt(snapshot, engine.clock().now())
                .map_err(|fault| unfit(version, fault))?;
            lives.push(live);
        }
        Ok(lives)
    }

    fn instance(&self, version: &Arc<Version>, lane: usize) -> Result<Live, Error> {
        let (_, engine) = self.surroundings();
        Live::start(
            version,
            engine,
            LaneIndex {
                lane,
                lanes: self.lanes(),
            },
            engine.clock().now(),
        )
        .map_err(|fault| unfit(version, fault))
    }
}

fn unfit(version: &Version, fault: Fault) -> Error {
    let plugin = Arc::clone(&version.reference.name);
    match fault.kind {
        FaultKind::State => Error::Inherit {
            plugin,
            why: fault.message,
        },
        _ => Error::Instantiate {
            plugin,
            source: Box::new(fault),
        },
    }
}

/// What `legacies` of one plugin are in `lanes` lanes.
fn inherited(legacies: Option<&Vec<Legacy>>, lanes: usize) -> Vec<Snapshot> {
    let all: Vec<&Snapshot> = legacies
        .into_iter()
        .flatten()
        .map(|legacy| &legacy.snapshot)
        .collect();
    let is_kept = legacies.into_iter().flatten().all(|legacy| legacy.is_kept);
    Snapshot::share_out(&all, is_kept, lanes, |key| lane_of(key, lanes))
}
