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
mod current;
mod flow_handle;
mod ends;
mod error;
mod listeners;
pub mod live;
mod metrics;
mod prepare;
mod pulse;
pub mod recordings;
mod running;
mod service;
mod sessions;
mod signals;
mod stages;
pub mod standing;
mod start;
mod stop;
mod supervise;
mod threads;

pub use error::Error;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::Mode;
use tokio::runtime::{Builder, Runtime};

use crate::admin::AdminPort;
use crate::backup::gathered;
use crate::config::{Config, Problems, Sources};
use crate::file;
use crate::heap;
use crate::link::{leave_to_next, pause_under_load};
use crate::telemetry::crash;

use listeners::Listeners;
use live::{LiveChange, LiveParts};
use running::RunningGateway;
use service::ports::{self, PortOrders};
use service::socket::ServiceSocket;
use signals::{AttendOutcome, Instruction, Signals};
use stages::Stages;
use standing::SharedStanding as Standing;

/// What the collector gets at the end for the spans that wait.
const LAST_SPANS: Duration = Duration::from_millis(500);
/// What tasks that are left get when everything has ended.
const LAST: Duration = Duration::from_secs(2);

/// Runs until a signal or a stage ends it. `origin` is where `config` came from, for live reload; `mistakes` are why it is
/// not what stands there today.
pub fn run(config: Arc<Config>, origin: Sources, mistakes: Option<&Problems>) -> Result<(), Error> {
    let grace = config.gateway.shutdown_grace;
    let standing = Standing::of_start(&origin.path, mistakes);
    match signals::attend(grace, move |signals| {
        run_here(config, origin, standing, signals)
    })? {
        AttendOutcome::Done(ended) => ended,
        AttendOutcome::Late => Err(Error::Late(grace)),
        AttendOutcome::Crashed => Err(Error::Crashed),
        AttendOutcome::Left => {
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
    crash::keep_in(&config.gateway.data_dir);
    gathered::clear(&config.gateway.data_dir);
    let service = ServiceSocket::of(&origin.env, std::process::id());
    let orders = ports::take_over(&service, &origin.env);
    let port = AdminPort::bind(&config.admin)?;
    let network = network()?;
    let (running, parts) = prepare::prepare(config, origin, standing, (service, &network))?;
    let ended = network.block_on(serve(Arc::new(running), parts, (port, orders), signals));
    network.shutdown_timeout(LAST);
    ended
}

/// What the gateway makes is nobody else's to write, whatever umask it was started with.
fn close_to_others() {
    let inherited = rustix::process::umask(Mode::all());
    rustix::process::umask(inherited | Mode::WGRP | Mode::WOTH);
}

/// One thread: a hand-over between two more costs more than it brings on a small machine.
fn network() -> std::io::Result<Runtime> {
    pause_under_load(Builder::new_current_thread().enable_all()).build()
}

async fn serve(
    running: Arc<RunningGateway>,
    parts: LiveParts,
    (port, orders): (AdminPort, PortOrders),
    mut signals: Signals,
) -> Result<(), Error> {
    let grace = running.config.gateway.shutdown_grace;
    let mut stages = Stages::start(&running)?;
    let service = parts.service.clone();
    let live = LiveChange::start(parts, stages.ends())?;
    let listeners = Listeners::start(&running, live.desk(), port);
    heap::give_back();
    let peaks = tokio::spawn(heap::give_back_after_peaks());
    let mut traces = tokio::spawn(running.tracer.clone().export());
    service.ready();
    tokio::spawn(ports::attend(service.clone(), orders));
    if service.is_heard() {
        tokio::spawn(service::beat::keep_telling(
            service.clone(),
            Arc::clone(&running),
        ));
    }
    tracing::info!(
        address = listeners.address(),
        flows = running.config.flows.len(),
        boot = running.spool.boot(),
        "the gateway runs"
    );
    let ended = until_stopped(&running, &mut signals, &mut stages, &live).await;
    service.stopping();
    leave_to_next();
    listeners.close_socket();
    tracing::info!(?grace, "stopping; a second signal leaves at once");
    tokio::select! {
        () = stop::drain(&running, &mut stages, live, Instant::now() + grace) => {}
        _ = signals.next() => tracing::warn!("left at once; the broker sends again what was not acknowledged"),
    }
    listeners.end().await;
    peaks.abort();
    running.tracer.close();
    // What is not told by then is not worth a late stop.
    let _ = tokio::time::timeout(LAST_SPANS, &mut traces).await;
    traces.abort();
    ended
}

async fn until_stopped(
    running: &RunningGateway,
    signals: &mut Signals,
    stages: &mut Stages,
    live: &LiveChange,
) -> Result<(), Error> {
    loop {
        tokio::select! {
            wish = signals.next() => match wish {
                Instruction::Stop => return Ok(()),
                Instruction::Reload => live.reload(),
            },
            failed = stages.ended() => return Err(failed.into()),
            failed = lane_failed(running) => return Err(failed),
        }
    }
}

/// Waits until a flow has lost a lane for good.
async fn lane_failed(running: &RunningGateway) -> Error {
    loop {
        let failed = running
            .flow_handles
            .chains()
            .into_iter()
            .find_map(|(_, chain)| {
                let why = chain.failure().why()?;
                Some(Error::Lane {
                    flow: Arc::clone(chain.name()),
                    why,
                })
            });
        match failed {
            Some(error) => return error,
            None => running.failed.notified().await,
        }
    }
}
