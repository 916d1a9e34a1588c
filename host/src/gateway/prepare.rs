//! Makes the place for what will come in: the spool is opened, which makes the data folder ours, then the flows are built,
//! with their recordings. Nothing is taken yet.

use std::sync::Arc;
use std::time::Instant;

use prometheus::Registry;
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use super::api::certificates;
use super::audit::Audit;
use super::current::Current;
use super::error::Error;
use super::flow_handle::FlowHandles;
use super::live::LiveParts;
use super::metrics::Metrics;
use super::pulse::{Pulses, Workers};
use super::running::RunningGateway;
use super::service::socket::ServiceSocket;
use super::standing::SharedStanding as Standing;
use super::start::{Started, Starter};
use super::{recordings, start};
use crate::chain::{self, Chain, Taps, Wiring};
use crate::config::{self, Config, Sources};
use crate::message::Mint;
use crate::spool::{self, Spool};
use crate::telemetry::trace::Tracer;
use crate::versions::Versions;
use crate::{devices, source, uplink};

/// What is to run, and what changes it later. `network` is for the guests' blocking calls.
pub(super) fn prepare(
    config: Arc<Config>,
    origin: Sources,
    standing: Standing,
    (service, network): (ServiceSocket, &Runtime),
) -> Result<(RunningGateway, LiveParts), Error> {
    let (registry, metrics) = metrics()?;
    let spool = open_spool(&config, &registry)?;
    // The spool is open, so the data folder is ours alone.
    let versions = Versions::open(&config.gateway.data_dir);
    let mint = Arc::new(Mint::new(spool.boot()));
    let audit = Audit::new(&config, Arc::clone(&spool), Arc::clone(&mint));
    let (failed, flow_handles, taps) = <(Arc<Notify>, FlowHandles, Taps)>::default();
    let tracer = traces(&config, &registry)?;
    let seen = (&failed, &taps, &tracer);
    let wiring = wiring(&spool, &flow_handles, &mint, seen, &registry)?;
    let build = || start::build(&config, &versions, &audit, wiring);
    let ((chains, started), starter) = within(network, build)?;
    report_strange_states(&config, &spool);
    open(&config, chains, &flow_handles);
    keep(&config, &origin, (&standing, &flow_handles));
    tell_away(&config, &started, &standing);
    let current = watched(&config, &registry)?;
    let (sources, uplinks) = ends(&registry, &tracer)?;
    let devices = register(&config, &spool, (&flow_handles, &mint, &sources), &registry)?;
    let workers = Workers::new(starter.engine().clone());
    let running = RunningGateway {
        config,
        current,
        started: Instant::now(),
        sources,
        uplinks,
        registry,
        metrics,
        spool,
        flow_handles,
        devices,
        taps,
        tracer,
        failed,
        mint,
        versions,
        standing,
        pulses: Pulses::default(),
        workers,
    };
    let parts = live_parts(&running, (origin, service), audit, (started, starter))?;
    Ok((running, parts))
}

/// What changes a gateway that runs.
fn live_parts(
    running: &RunningGateway,
    (origin, service): (Sources, ServiceSocket),
    audit: Audit,
    (started, starter): (Vec<Vec<Started>>, Starter),
) -> Result<LiveParts, Error> {
    Ok(LiveParts {
        service,
        // A copy that changes with each reload.
        config: Config::clone(&running.config),
        current: running.current.clone(),
        origin,
        flow_handles: running.flow_handles.clone(),
        versions: running.versions.clone(),
        audit,
        started,
        starter,
        recordings: recordings::start(&running.config, &running.flow_handles, &running.registry)?,
        spool: Arc::clone(&running.spool),
        devices: running.devices.clone(),
        tracer: running.tracer.clone(),
        standing: running.standing.clone(),
        hurries: [
            running.sources.hurry().clone(),
            running.uplinks.hurry().clone(),
        ],
    })
}

/// A flow that could not be built has a handle, too: what is meant for it waits there.
fn open(config: &Config, chains: Vec<Result<Arc<Chain>, String>>, flow_handles: &FlowHandles) {
    for (flow, chain) in config.flows.iter().zip(chains) {
        flow_handles.add(&flow.name, chain);
    }
}

/// Plugins of which an earlier version runs, since what the config names is not there.
fn tell_away(config: &Config, started: &[Vec<start::Started>], standing: &Standing) {
    for (flow, plugins) in config.flows.iter().zip(started) {
        let away = flow.plugins.iter().zip(plugins);
        for (plugin, _) in away.filter(|(_, started)| started.is_away) {
            standing.stays(start::place(flow, plugin), start::AWAY.to_owned());
        }
    }
}

fn metrics() -> Result<(Registry, Metrics), Error> {
    let registry = Registry::new();
    let metrics = Metrics::new(&registry)?;
    Ok((registry, metrics))
}

/// The config as it is at each moment, with the ends of its certificates among the numbers.
fn watched(config: &Arc<Config>, registry: &Registry) -> Result<Current, Error> {
    let current = Current::new(config);
    registry.register(Box::new(certificates::Expiry::new(current.clone())?))?;
    Ok(current)
}

/// What the chains need of all else.
fn wiring(
    spool: &Spool,
    flow_handles: &FlowHandles,
    mint: &Arc<Mint>,
    (failed, taps, tracer): (&Arc<Notify>, &Taps, &Tracer),
    registry: &Registry,
) -> Result<Wiring, Error> {
    Ok(Wiring {
        outlet: spool.outlet(),
        flows: Arc::new(flow_handles.clone()),
        states: spool.state_store(),
        mint: Arc::clone(mint),
        metrics: chain::Metrics::new(registry)?,
        taps: taps.clone(),
        tracer: tracer.clone(),
        failed: Arc::clone(failed),
    })
}

fn ends(registry: &Registry, tracer: &Tracer) -> Result<(source::Metrics, uplink::Metrics), Error> {
    Ok((
        source::Metrics::new(registry)?.with_tracer(tracer.clone()),
        uplink::Metrics::new(registry)?.with_tracer(tracer.clone()),
    ))
}

/// What takes the spans of traced messages, as the config has it.
fn traces(config: &Config, registry: &Registry) -> Result<Tracer, Error> {
    let tracer = Tracer::new(registry)?;
    tracer.put(config.traces.clone());
    Ok(tracer)
}

/// The register of devices, as the config has it.
fn register(
    config: &Config,
    spool: &Spool,
    (flow_handles, mint, sources): (&FlowHandles, &Arc<Mint>, &source::Metrics),
    registry: &Registry,
) -> Result<devices::Registry, Error> {
    let sources = sources.clone();
    let needs = devices::RegisterNeeds {
        outlet: spool.outlet(),
        flows: Arc::new(flow_handles.clone()),
        states: spool.state_store(),
        mint: Arc::clone(mint),
        boot: spool.boot(),
        is_listening: Box::new(move |source| sources.is_listening(source)),
    };
    let register = devices::Registry::new(needs, registry)?;
    register.put(config.devices.clone())?;
    Ok(register)
}

fn open_spool(config: &Config, registry: &Registry) -> Result<Arc<Spool>, Error> {
    let metrics = spool::Metrics::new(registry)?;
    Ok(Arc::new(Spool::open(config.spool.clone(), metrics)?))
}

/// Does `work` in the runtime, which lanes that are built there keep for the guests' blocking calls.
fn within<R>(runtime: &Runtime, work: impl FnOnce() -> R) -> R {
    let _entered = runtime.enter();
    work()
}

/// Where everything of the config could be started, the next start may fall back on it.
fn keep(config: &Config, origin: &Sources, (standing, flow_handles): (&Standing, &FlowHandles)) {
    if standing.look().runs_on_kept || !flow_handles.down().is_empty() {
        return;
    }
    if let Err(error) = config::keep(config, origin) {
        tracing::warn!(%error, "this config cannot be kept: a start on one with mistakes has none to fall back on");
    }
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
