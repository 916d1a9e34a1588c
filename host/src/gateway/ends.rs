//! The sources and uplinks. Each may come, go, and begin anew with another config while all else goes on. A source takes
//! nothing more, sends its acknowledgements, leaves, and comes back to the same session under the same name; an uplink
//! finishes what it has in hand, and goes on where upstream has accepted.

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::IntCounter;
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

use super::flow_handle::FlowHandles;
use super::pulse::Pulses;
use super::sessions::{Before, Specs};
use super::supervise::{StageEnded, keep};
use crate::config::SourceSpec;
use crate::link::Stop;
use crate::message::{FlowId, Intake, Mint, Outlet};
use crate::spool::Spool;
use crate::{devices, source, uplink};

/// Ends that may wait to begin.
const WAITING: usize = 64;

/// What is at one end of the gateway, whatever its config.
pub(super) trait Endpoint: Send + Sync + 'static {
    type Config: Clone + Send + Sync + 'static;
    type Error: std::error::Error + Send + 'static;

    /// What it gets for what it has in hand before it begins anew. The rest comes again, or goes again.
    const DRAIN: Duration;

    fn serve(
        &self,
        config: Self::Config,
        stop: watch::Receiver<Stop>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static;

    /// Tells one that runs with this config what it will begin anew with; `None`: it goes, and nothing comes after it.
    fn leads_to(config: &Self::Config, next: Option<&Self::Config>);

    /// This config, of one that has worked with `before` until now.
    fn after(config: Self::Config, before: &Self::Config) -> Self::Config;
}

/// What a source keeps, whatever its config.
pub(super) struct SourceEndpoint {
    pub(super) outlet: Arc<dyn Outlet>,
    pub(super) mint: Arc<Mint>,
    pub(super) metrics: source::Metrics,
    pub(super) taking: TaskTracker,
}

impl Endpoint for SourceEndpoint {
    type Config = source::Config;
    type Error = Infallible;
    const DRAIN: Duration = Duration::from_secs(10);

    fn serve(
        &self,
        config: source::Config,
        stop: watch::Receiver<Stop>,
    ) -> impl Future<Output = Result<(), Infallible>> + Send + 'static {
        let outlet = Arc::clone(&self.outlet);
        let mint = Arc::clone(&self.mint);
        let held = (self.taking.token(), stop);
        let run = source::run(config, outlet, mint, self.metrics.clone(), held);
        async move {
            run.await;
            Ok(())
        }
    }

    fn leads_to(config: &source::Config, next: Option<&source::Config>) {
        config.leads_to(next);
    }

    fn after(config: source::Config, before: &source::Config) -> source::Config {
        config.after(before)
    }
}

/// What an uplink keeps, whatever its config.
pub(super) struct UplinkEndpoint {
    pub(super) spool: Arc<Spool>,
    pub(super) metrics: uplink::Metrics,
}

impl Endpoint for UplinkEndpoint {
    type Config = uplink::Config;
    type Error = uplink::Error;
    /// What upstream has not acknowledged by then is sent again.
    const DRAIN: Duration = Duration::from_secs(2);

    fn serve(
        &self,
        config: uplink::Config,
        stop: watch::Receiver<Stop>,
    ) -> impl Future<Output = Result<(), uplink::Error>> + Send + 'static {
        // Whoever drained them before has nothing in hand any more.
        for drain in &config.drains {
            self.spool.set_order(drain.queue, drain.is_fresh_first);
        }
        let owed = self.spool.owed(&config.name);
        uplink::run(config, owed, self.metrics.clone(), stop)
    }

    fn leads_to(_: &uplink::Config, _: Option<&uplink::Config>) {}

    fn after(config: uplink::Config, _: &uplink::Config) -> uplink::Config {
        config
    }
}

/// What one end is told while it runs.
pub(super) enum EndpointOrder<C> {
    /// It is to begin anew.
    Anew { config: C, done: SyncSender<()> },
    /// It is to go for good.
    Leave { done: SyncSender<()> },
}

/// One end over all its configs.
pub(super) struct EndpointLine<E: Endpoint> {
    pub(super) end: E,
    pub(super) stage: String,
    pub(super) crashes: IntCounter,
    pub(super) pulses: Pulses,
    pub(super) stop: watch::Receiver<Stop>,
    pub(super) orders: mpsc::Receiver<EndpointOrder<E::Config>>,
}

impl<E: Endpoint> EndpointLine<E> {
    pub(super) async fn run(self, mut config: E::Config) -> Result<(), StageEnded<E::Error>> {
        let Self {
            end,
            stage,
            crashes,
            pulses,
            mut stop,
            mut orders,
        } = self;
        loop {
            let (own, stopped) = watch::channel(*stop.borrow_and_update());
            let served = config.clone();
            let start = || {
                let work = end.serve(served.clone(), stopped.clone());
                pulses.clone().beside(stage.clone(), work)
            };
            let mut running = pin!(keep(stage.clone(), crashes.clone(), start));
            let order = tokio::select! {
                ended = attend(running.as_mut(), &own, &mut stop) => return ended,
                Some(order) = orders.recv() => order,
            };
            let next = match &order {
                EndpointOrder::Anew { config, .. } => Some(config),
                EndpointOrder::Leave { .. } => None,
            };
            E::leads_to(&config, next);
            own.send_replace(Stop::Drain);
            tokio::select! {
                ended = running.as_mut() => ended?,
                () = tokio::time::sleep(E::DRAIN) => {
                    own.send_replace(Stop::Now);
                    running.await?;
                }
                () = stopping(&mut stop) => {
                    E::leads_to(&config, None);
                    // Whoever waits for it is let go, and nobody else begins to.
                    drop((order, orders));
                    own.send_replace(*stop.borrow());
                    return attend(running, &own, &mut stop).await;
                }
            }
            // An error means that the driver has ended.
            match order {
                EndpointOrder::Anew { config: next, done } => {
                    config = E::after(next, &config);
                    let _ = done.send(());
                }
                EndpointOrder::Leave { done } => {
                    let _ = done.send(());
                    return Ok(());
                }
            }
        }
    }
}

/// Waits until the gateway stops; at once when it does already.
async fn stopping(stop: &mut watch::Receiver<Stop>) {
    // An error means that whoever could say so is gone.
    let _ = stop.wait_for(|stop| *stop != Stop::Run).await;
}

/// Waits for the end of `running`, which hears through `own` when the gateway stops.
async fn attend<R>(
    mut running: Pin<&mut impl Future<Output = R>>,
    own: &watch::Sender<Stop>,
    stop: &mut watch::Receiver<Stop>,
) -> R {
    loop {
        tokio::select! {
            ended = &mut running => return ended,
            changed = stop.changed() => {
                own.send_replace(if changed.is_ok() { *stop.borrow_and_update() } else { Stop::Now });
                if changed.is_err() {
                    return running.await;
                }
            }
        }
    }
}

/// An end that is to begin to run.
pub(super) enum NewEndpoint {
    Source {
        config: source::Config,
        priority: bool,
        orders: mpsc::Receiver<EndpointOrder<source::Config>>,
    },
    Uplink {
        config: Box<uplink::Config>,
        orders: mpsc::Receiver<EndpointOrder<uplink::Config>>,
    },
}

/// Who takes orders, by name.
type OrderSenders<C> = Arc<Mutex<HashMap<Arc<str>, mpsc::Sender<EndpointOrder<C>>>>>;

/// The handle on the running sources and uplinks. For a thread that may wait; nothing waits while the gateway stops, since
/// what is under way needs the lanes.
#[derive(Clone)]
pub struct Endpoints {
    flow_handles: FlowHandles,
    devices: devices::Registry,
    data_dir: Arc<Path>,
    specs: Specs,
    sources: OrderSenders<source::Config>,
    uplinks: OrderSenders<uplink::Config>,
    begin: mpsc::Sender<NewEndpoint>,
}

impl Endpoints {
    /// The handle, and where its ends come out that are to begin.
    pub(super) fn new(
        flow_handles: FlowHandles,
        devices: devices::Registry,
        data_dir: &Path,
    ) -> (Self, mpsc::Receiver<NewEndpoint>) {
        // Nobody takes them any more once the gateway stops, and nobody shall wait for that.
        let (begin, begun) = mpsc::channel(WAITING);
        let ends = Self {
            flow_handles,
            devices,
            data_dir: data_dir.into(),
            specs: Specs::default(),
            sources: OrderSenders::default(),
            uplinks: OrderSenders::default(),
            begin,
        };
        (ends, begun)
    }

    /// Those that are to run from now on, and those that empty what sessions of before still hold; of a store that was copied
    /// these may be another gateway's.
    pub(super) fn sources(
        &self,
        specs: &[SourceSpec],
        is_copied: bool,
        metrics: &source::Metrics,
    ) -> Vec<NewEndpoint> {
        self.specs.put(specs);
        let left = if is_copied {
            self.specs.disown(&self.data_dir);
            Vec::new()
        } else {
            self.specs.left_over(&self.data_dir, metrics)
        };
        specs
            .iter()
            .chain(&left)
            .map(|spec| self.source(spec.clone()))
            .collect()
    }

    fn source(&self, spec: SourceSpec) -> NewEndpoint {
        let priority = spec.priority;
        let config = self.complete(spec);
        let orders = enter(&self.sources, &config.name);
        NewEndpoint::Source {
            config,
            priority,
            orders,
        }
    }

    /// One that is to run from now on.
    pub(super) fn uplink(&self, config: uplink::Config) -> NewEndpoint {
        let orders = enter(&self.uplinks, &config.name);
        NewEndpoint::Uplink {
            config: Box::new(config),
            orders,
        }
    }

    /// Begins sources anew as they are here, or for the first time, side by side, and waits until what they did before is
    /// over: nothing more is delivered by that. Those called `gone` leave first, since their sessions are opened under other
    /// names now: two at one session would throw each other off, and the first would end what the second has asked for. A session that
    /// was left at a broker is emptied once one of `all` is there.
    pub fn put_sources(&self, gone: &[Arc<str>], specs: Vec<SourceSpec>, all: &[SourceSpec]) {
        wait(gone.iter().map(|name| leave(&self.sources, name)));
        let mut before = self.specs.put(&specs);
        before.extend(self.specs.remove(gone));
        self.begin_sources(specs);
        self.empty(before);
        self.begin_sources(self.specs.found_again(&self.data_dir, all));
    }

    fn begin_sources(&self, specs: Vec<SourceSpec>) {
        wait(specs.into_iter().map(|spec| {
            let known = lock(&self.sources).get(&spec.name).cloned();
            match known {
                Some(orders) => anew(&orders, self.complete(spec)),
                None => self.begin(self.source(spec)),
            }
        }));
    }

    /// Takes what is held in the sessions that only `before` opened.
    fn empty(&self, before: Vec<Before>) {
        self.begin_sources(self.specs.left_of(&self.data_dir, before));
    }

    /// Whether a source of this name was begun.
    pub fn has_source(&self, name: &str) -> bool {
        lock(&self.sources).contains_key(name)
    }

    /// The same of uplinks: nothing more is sent by what they did before.
    pub fn put_uplinks(&self, configs: Vec<uplink::Config>) {
        wait(configs.into_iter().map(|config| {
            let known = lock(&self.uplinks).get(&config.name).cloned();
            match known {
                Some(orders) => anew(&orders, config),
                None => self.begin(self.uplink(config)),
            }
        }));
    }

    /// Ends sources for good, side by side.
    pub fn remove_sources(&self, names: &[Arc<str>]) {
        wait(names.iter().map(|name| leave(&self.sources, name)));
        let before = self.specs.remove(names);
        self.empty(before);
    }

    /// Ends uplinks for good. What is owed stays in the spool.
    pub fn remove_uplinks(&self, names: &[Arc<str>]) {
        wait(names.iter().map(|name| leave(&self.uplinks, name)));
    }

    fn begin(&self, begin: NewEndpoint) -> Option<Receiver<()>> {
        // An error means that the gateway stops.
        let _ = self.begin.blocking_send(begin);
        None
    }

    fn complete(&self, spec: SourceSpec) -> source::Config {
        let late = self.specs.routes_beside(&spec);
        let name = Arc::clone(&spec.name);
        let intake = |flow: FlowId| self.flow_handles.of(flow.index()) as Arc<dyn Intake>;
        let config = spec.complete(late, intake, || self.devices.book(&name));
        config.beside(&self.data_dir, &self.specs.marks)
    }
}

fn lock<C>(
    names: &OrderSenders<C>,
) -> MutexGuard<'_, HashMap<Arc<str>, mpsc::Sender<EndpointOrder<C>>>> {
    names.lock().unwrap_or_else(PoisonError::into_inner)
}

fn enter<C>(names: &OrderSenders<C>, name: &Arc<str>) -> mpsc::Receiver<EndpointOrder<C>> {
    let (orders, waiting) = mpsc::channel(1);
    lock(names).insert(Arc::clone(name), orders);
    waiting
}

/// Answers where it tells that it is done; nowhere where it ends because the gateway does.
fn anew<C>(orders: &mpsc::Sender<EndpointOrder<C>>, config: C) -> Option<Receiver<()>> {
    let (done, ended) = sync_channel(1);
    let sent = orders.blocking_send(EndpointOrder::Anew { config, done });
    sent.is_ok().then_some(ended)
}

/// The same of one that goes for good; `None` where there is none of that name.
fn leave<C>(names: &OrderSenders<C>, name: &str) -> Option<Receiver<()>> {
    let orders = lock(names).remove(name)?;
    let (done, ended) = sync_channel(1);
    let sent = orders.blocking_send(EndpointOrder::Leave { done });
    sent.is_ok().then_some(ended)
}

/// Waits until all have done what they are told, which is told to all before.
fn wait(told: impl Iterator<Item = Option<Receiver<()>>>) {
    let told: Vec<_> = told.flatten().collect();
    for ended in told {
        // An error means that it ends because the gateway does.
        let _ = ended.recv();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_told_before_any_is_waited_for() {
        let (orders, mut waiting): (Vec<_>, Vec<_>) = (0..3)
            .map(|_| mpsc::channel::<EndpointOrder<u8>>(1))
            .unzip();
        // Each has done what it was told only when all the others were told, too.
        let ends = std::thread::spawn(move || {
            let told: Vec<_> = waiting
                .iter_mut()
                .map(mpsc::Receiver::blocking_recv)
                .collect();
            told.into_iter()
                .map(|order| match order {
                    Some(EndpointOrder::Anew { config, done }) => {
                        done.send(()).map_or(0, |()| config)
                    }
                    _ => 0,
                })
                .sum::<u8>()
        });
        wait(
            (1..)
                .zip(&orders)
                .map(|(config, orders)| anew(orders, config)),
        );
        assert_eq!(ends.join().unwrap(), 6);
    }
}
