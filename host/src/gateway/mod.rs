//! Wiring and life: starts the stages in order, keeps them running, stops them in order.
//!
//! Start: admin port bound, spool open, plugins compiled and configured, uplinks, then sources: nothing is taken
//! before there is a place for it. Stop follows the data and is bounded by `shutdown_grace`:
//!
//! 1. sources stop taking and keep their connection;
//! 2. lanes work off their inbox and end;
//! 3. uplinks get a moment to deliver what is in RAM, then end;
//! 4. the spool writes what is left, which releases the last receipts;
//! 5. sources send the last acknowledgements and end.

pub mod api;
mod audit;
mod door;
mod inlets;
pub mod live;
mod metrics;
pub mod recordings;
mod signals;
mod stages;
pub mod standing;
mod start;
mod supervise;
mod threads;

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::Registry;
use rustix::fs::Mode;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::admin::{self, Admin, Socket};
use crate::chain::{self, Wiring};
use crate::config::{self, Config, Problems, Sources};
use crate::file;
use crate::heap;
use crate::link::pause_under_load;
use crate::message::Mint;
use crate::spool::{self, Spool};
use crate::telemetry::sink;
use crate::versions::Versions;
use crate::{source, uplink};

use audit::Audit;
use door::Doors;
use live::{Desk, Live, Parts};
use metrics::Metrics;
use signals::{Ended, Signals, Wish};
use stages::Stages;
use standing::Shared as Standing;

/// What the uplinks get at shutdown to deliver what RAM holds, before it is written to the card instead.
const LAST_DELIVERY: Duration = Duration::from_millis(800);

/// What sources get for their last acknowledgements when everything else has ended.
const LAST_ACKNOWLEDGEMENT: Duration = Duration::from_millis(500);

/// Why the gateway did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Admin(#[from] admin::Error),
    #[error(transparent)]
    Spool(#[from] spool::Error),
    /// A plugin of this flow, which has never run: exit code 4.
    #[error("flow `{flow}`")]
    Chain {
        flow: Arc<str>,
        source: chain::Error,
    },
    #[error(transparent)]
    Engine(chain::Error),
    /// Names of metrics clash: a fault of tidegate.
    #[error("cannot register metrics")]
    Metrics(#[from] prometheus::Error),
    /// The data folder, or something in it, could be somebody else's work: code that runs, state that counts.
    #[error(transparent)]
    Strange(#[from] file::Strange),
    #[error("cannot set up the process")]
    Process(#[from] std::io::Error),
    /// Something waits for what does not come: a disk, or a fault of ours.
    #[error(
        "not everything ended within `shutdown_grace` ({0:?}): what was under way is as after a kill"
    )]
    Late(Duration),
    /// The gateway's own thread has panicked.
    #[error("the gateway crashed; this is a fault in tidegate, please report the lines above")]
    Crashed,
    /// A stage failed for good or kept crashing.
    #[error(transparent)]
    Stage(#[from] stages::Failed),
    /// A flow's lane ended for good.
    #[error("flow `{flow}` cannot go on: {why}")]
    Lane {
        flow: Arc<str>,
        /// In the lane's words.
        why: String,
    },
}

/// Runs until a signal or a stage ends it. `origin` is where `config` came from, for live reload; `mistakes` are why it is
/// not what stands there today.
pub fn run(config: Arc<Config>, origin: Sources, mistakes: Option<&Problems>) -> Result<(), Error> {
    let grace = config.gateway.shutdown_grace;
    let standing = Standing::of_start(&origin.path, mistakes);
    match signals::attend(grace, move |signals| {
        run_here(config, origin, standing, signals)
    })? {
        Ended::Done(ended) => ended,
        Ended::Late => Err(Error::Late(grace)),
        Ended::Crashed => Err(Error::Crashed),
        Ended::Left => {
            tracing::warn!("left at once; the broker sends again what was not acknowledged");
            Ok(())
        }
    }
}

fn run_here(
    config: Arc<Config>,
    origin: Sources,
    standing: Standing,
    signals: Signals,
) -> Result<(), Error> {
    close_to_others();
    file::own_folder(&config.gateway.data_dir)?;
    let registry = Registry::new();
    let metrics = Metrics::new(&registry)?;
    let admin = Admin::bind(config.admin.listen)?;
    // One thread for the network: a hand-over between two more costs more than it brings on a small machine.
    let runtime = pause_under_load(Builder::new_current_thread().enable_all()).build()?;
    let spool = Arc::new(Spool::open(
        config.spool.clone(),
        spool::Metrics::new(&registry)?,
    )?);
    let mint = Arc::new(Mint::new(spool.boot()));
    let failed = Arc::<Notify>::default();
    let wiring = Wiring {
        outlet: spool.outlet(),
        states: spool.state_store(),
        mint: Arc::clone(&mint),
        metrics: chain::Metrics::new(&registry)?,
        failed: Arc::clone(&failed),
    };
    // The spool is open, so the data folder is ours alone.
    let versions = Versions::open(&config.gateway.data_dir);
    let audit = Audit::new(&config, spool.outlet(), Arc::clone(&mint));
    let ((chains, started), starter) = within(&runtime, || {
        start::build(&config, &versions, &audit, wiring)
    })?;
    report_strange_states(&config, &spool);
    let doors = Doors::new(chains);
    if !standing.look().runs_on_kept && doors.down().is_empty() {
        keep(&config, &origin);
    }
    let recordings = recordings::start(&config, &doors, &registry)?;
    let parts = Parts {
        // A copy that changes with each reload.
        config: Config::clone(&config),
        origin,
        doors: doors.clone(),
        versions: versions.clone(),
        audit,
        started,
        starter,
        recordings,
        spool: Arc::clone(&spool),
        standing: standing.clone(),
    };
    let gateway = Gateway {
        config,
        sources: source::Metrics::new(&registry)?,
        uplinks: uplink::Metrics::new(&registry)?,
        registry,
        metrics,
        spool,
        doors,
        failed,
        mint,
        versions,
        standing,
    };
    let ended = runtime.block_on(gateway.serve(admin, signals, parts));
    runtime.shutdown_timeout(Duration::from_secs(2));
    ended
}

/// Does `work` in the runtime, which lanes that are built there keep for the guests' blocking calls.
fn within<R>(runtime: &Runtime, work: impl FnOnce() -> R) -> R {
    let _entered = runtime.enter();
    work()
}

/// Everything of the config could be started: the next start may fall back on it.
fn keep(config: &Config, origin: &Sources) {
    if let Err(error) = config::keep(config, origin) {
        tracing::warn!(%error, "this config cannot be kept: a start on one with mistakes has none to fall back on");
    }
}

/// What the gateway makes is nobody else's to write, whatever umask it was started with.
fn close_to_others() {
    let inherited = rustix::process::umask(Mode::all());
    rustix::process::umask(inherited | Mode::WGRP | Mode::WOTH);
}

/// State of plugins that the config does not have, or not by that name any more, is kept: it may be back tomorrow.
fn report_strange_states(config: &Config, spool: &Spool) {
    let is_known = |kept: &spool::KeptState| {
        if kept.flow.is_empty() {
            // The running clock, kept beside the plugins' state.
            return true;
        }
        let flow = config.flows.iter().find(|flow| *flow.name == *kept.flow);
        flow.is_some_and(|flow| {
            flow.plugins
                .iter()
                .any(|plugin| *plugin.name == *kept.plugin)
        })
    };
    for spool::KeptState {
        flow,
        plugin,
        keys,
        bytes,
    } in spool.kept_states().iter().filter(|kept| !is_known(kept))
    {
        tracing::warn!(
            flow,
            plugin,
            keys,
            bytes,
            "the store keeps state of a plugin that the config does not have"
        );
    }
}

struct Gateway {
    config: Arc<Config>,
    registry: Registry,
    metrics: Metrics,
    sources: source::Metrics,
    uplinks: uplink::Metrics,
    spool: Arc<Spool>,
    doors: Doors,
    /// Rings when a lane has ended although nobody stopped it.
    failed: Arc<Notify>,
    mint: Arc<Mint>,
    versions: Versions,
    standing: Standing,
}

impl Gateway {
    async fn serve(self, admin: Admin, mut signals: Signals, parts: Parts) -> Result<(), Error> {
        let grace = self.config.gateway.shutdown_grace;
        let mut stages = Stages::start(&self)?;
        let live = Live::start(parts, stages.inlets())?;
        let (stop_admin, admin_stops) = watch::channel(false);
        let (stop_control, control_stops) = watch::channel(false);
        let control = self.control(live.desk(), control_stops);
        let address = admin.address().map(|address| address.to_string());
        let serving =
            tokio::spawn(admin.serve(self.registry.clone(), api::health::look(&self), admin_stops));
        if let Some(address) = &address {
            sink::say(&format!("admin http://{address}"));
        }
        heap::give_back();
        let peaks = tokio::spawn(heap::give_back_after_peaks());
        tracing::info!(
            address,
            flows = self.config.flows.len(),
            boot = self.spool.boot(),
            "the gateway runs"
        );
        let ended = self.until_stopped(&mut signals, &mut stages, &live).await;
        stop_control.send_replace(true);
        tracing::info!(?grace, "stopping; a second signal leaves at once");
        tokio::select! {
            () = self.drain(&mut stages, live, Instant::now() + grace) => {}
            _ = signals.next() => tracing::warn!("left at once; the broker sends again what was not acknowledged"),
        }
        stop_admin.send_replace(true);
        if let Ok(Err(error)) = serving.await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the admin port failed"
            );
        }
        // Whoever still waits for an answer gets none: what he asked for is done or is not.
        control.iter().for_each(JoinHandle::abort);
        peaks.abort();
        ended
    }

    /// Serves the control socket. A full or read-only disk takes no new one: the gateway does its work without.
    fn control(
        &self,
        desk: Desk,
        stop: watch::Receiver<bool>,
    ) -> Option<JoinHandle<Result<(), admin::Error>>> {
        // The spool is open, so the data folder is ours alone.
        match Socket::bind(&self.config.gateway.data_dir) {
            Ok(socket) => Some(tokio::spawn(socket.serve(api::routes(self, desk), stop))),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(
                    error,
                    "status, parked and spool commands will not find this gateway"
                );
                None
            }
        }
    }

    async fn until_stopped(
        &self,
        signals: &mut Signals,
        stages: &mut Stages,
        live: &Live,
    ) -> Result<(), Error> {
        loop {
            tokio::select! {
                wish = signals.next() => match wish {
                    Wish::Stop => return Ok(()),
                    Wish::Reload => live.reload(),
                },
                ended = stages.ended() => return ended.map_err(Error::from),
                failed = self.lane_failed() => return Err(failed),
            }
        }
    }

    /// Waits until a flow has lost a lane for good.
    async fn lane_failed(&self) -> Error {
        loop {
            let failed = self.doors.chains().into_iter().find_map(|(_, chain)| {
                let why = chain.failure().why()?;
                Some(Error::Lane {
                    flow: Arc::clone(chain.name()),
                    why,
                })
            });
            match failed {
                Some(error) => return error,
                None => self.failed.notified().await,
            }
        }
    }

    async fn drain(&self, stages: &mut Stages, live: Live, deadline: Instant) {
        stages.drain_sources();
        let doors = self.doors.clone();
        let left = move || deadline.saturating_duration_since(Instant::now());
        let lanes = tokio::task::spawn_blocking(move || {
            live.stop(deadline);
            // All at once, so that one that takes long leaves the others their time.
            doors
                .chains()
                .iter()
                .for_each(|(_, chain)| chain.begin_to_stop());
            // What waits there was never acknowledged.
            doors
                .down()
                .iter()
                .for_each(|(flow, _)| drop(doors.of(*flow).wall_up()));
            let messages = doors
                .chains()
                .iter()
                .map(|(_, chain)| chain.stop(left()))
                .sum::<usize>();
            doors
                .recorders()
                .iter()
                .for_each(|recorder| recorder.stop());
            messages
        });
        match lanes.await {
            Ok(0) => {}
            Ok(messages) => {
                tracing::warn!(messages, "left in the lanes; the broker sends them again")
            }
            Err(error) => tracing::error!(%error, "the lanes did not stop in order"),
        }
        let delivered = stages.sources_ended(LAST_DELIVERY.min(left())).await;
        stages.end_uplinks(LAST_DELIVERY.min(left())).await;
        let spool = Arc::clone(&self.spool);
        match tokio::task::spawn_blocking(move || spool.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "the spool did not close in order"
            ),
            Err(error) => tracing::error!(%error, "the spool did not close in order"),
        }
        if !delivered && !stages.sources_ended(LAST_ACKNOWLEDGEMENT.max(left())).await {
            tracing::warn!("not everything was acknowledged; the broker sends the rest again");
        }
        stages.end_sources().await;
    }
}
