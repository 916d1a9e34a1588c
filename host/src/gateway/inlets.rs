//! The sources, each of which can be ended and begun anew with other routes while all else goes on: it takes nothing more,
//! sends its acknowledgements, leaves, and comes back to the same session under the same name.

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use prometheus::IntCounter;
use tokio::sync::{mpsc, watch};

use super::door::Doors;
use super::running::Running;
use super::supervise::{Ended, Failed, Tasks, keep};
use super::threads::Threads;
use crate::config::SourceSpec;
use crate::link::Stop;
use crate::message::{Intake, Mint, Outlet};
use crate::source;

/// What a source gets for its last acknowledgements before it begins anew. What it could not send comes again.
const DRAIN: Duration = Duration::from_secs(10);

/// A source is to begin anew.
struct Order {
    config: source::Config,
    done: SyncSender<()>,
}

/// The handle on the running sources.
#[derive(Clone)]
pub struct Inlets {
    doors: Doors,
    data_dir: Arc<Path>,
    orders: HashMap<Arc<str>, mpsc::Sender<Order>>,
}

impl Inlets {
    /// Begins a source anew with the routes of `spec`, and waits until the old ones are over: nothing more is delivered by
    /// them. For a thread that may wait; it does not while the gateway stops, since what is under way needs the lanes.
    pub fn restart(&self, spec: SourceSpec) {
        let Some(orders) = self.orders.get(&spec.name) else {
            return;
        };
        let (done, ended) = sync_channel(1);
        let config = complete(spec, &self.doors, &self.data_dir);
        // An error means that the source ends because the gateway does.
        if orders.blocking_send(Order { config, done }).is_ok() {
            let _ = ended.recv();
        }
    }
}

fn complete(spec: SourceSpec, doors: &Doors, data_dir: &Path) -> source::Config {
    let config = spec.complete(|flow| doors.of(usize::from(flow.0)) as Arc<dyn Intake>);
    config.beside(data_dir)
}

pub fn start(
    gateway: &Running,
    threads: &Threads,
    stop: &watch::Receiver<Stop>,
) -> (Inlets, Tasks) {
    let mut tasks = Tasks::new();
    let mut all = HashMap::new();
    for spec in gateway.config.sources.clone() {
        let (orders, waiting) = mpsc::channel(1);
        all.insert(Arc::clone(&spec.name), orders);
        let stage = format!("source {}", spec.name);
        let tap = Tap {
            crashes: gateway.metrics.crashes.with_label_values(&[stage.as_str()]),
            stage,
            outlet: gateway.spool.outlet(),
            mint: Arc::clone(&gateway.mint),
            metrics: gateway.sources.clone(),
        };
        let inlet = Inlet {
            tap,
            stop: stop.clone(),
            orders: waiting,
        };
        let runtime = threads.of(spec.priority);
        tasks.spawn_on(
            inlet.run(complete(
                spec,
                &gateway.doors,
                &gateway.config.gateway.data_dir,
            )),
            runtime,
        );
    }
    let data_dir = gateway.config.gateway.data_dir.as_path().into();
    (
        Inlets {
            doors: gateway.doors.clone(),
            data_dir,
            orders: all,
        },
        tasks,
    )
}

/// One source, over all its configs.
struct Inlet {
    tap: Tap,
    stop: watch::Receiver<Stop>,
    orders: mpsc::Receiver<Order>,
}

/// What is the same for all of them.
struct Tap {
    stage: String,
    crashes: IntCounter,
    outlet: Arc<dyn Outlet>,
    mint: Arc<Mint>,
    metrics: source::Metrics,
}

type End = Result<(), Ended<Infallible>>;

impl Inlet {
    async fn run(self, mut config: source::Config) -> Result<(), Failed> {
        let Self {
            tap,
            mut stop,
            mut orders,
        } = self;
        loop {
            let (own, stopped) = watch::channel(*stop.borrow_and_update());
            let mut running = pin!(tap.run(config.clone(), stopped));
            let Order { config: next, done } = tokio::select! {
                ended = attend(running.as_mut(), &own, &mut stop) => return Ok(ended?),
                Some(order) = orders.recv() => order,
            };
            own.send_replace(Stop::Drain);
            tokio::select! {
                ended = running.as_mut() => ended?,
                () = tokio::time::sleep(DRAIN) => {
                    own.send_replace(Stop::Now);
                    running.await?;
                }
                () = stopping(&mut stop) => {
                    // Whoever waits for it is let go, and nobody else begins to.
                    drop((done, orders));
                    own.send_replace(*stop.borrow());
                    return Ok(attend(running, &own, &mut stop).await?);
                }
            }
            config = next.after(&config);
            // An error means that the driver has ended.
            let _ = done.send(());
        }
    }
}

impl Tap {
    async fn run(&self, config: source::Config, stop: watch::Receiver<Stop>) -> End {
        let Self {
            stage,
            crashes,
            outlet,
            mint,
            metrics,
        } = self;
        let start = || {
            let run = source::run(
                config.clone(),
                Arc::clone(outlet),
                Arc::clone(mint),
                metrics.clone(),
                stop.clone(),
            );
            async move {
                run.await;
                Ok::<_, Infallible>(())
            }
        };
        keep(stage.clone(), crashes.clone(), start).await
    }
}

/// Waits until the gateway stops; at once when it does already.
async fn stopping(stop: &mut watch::Receiver<Stop>) {
    // An error means that whoever could say so is gone.
    let _ = stop.wait_for(|stop| *stop != Stop::Run).await;
}

/// Waits for the end of a source, which hears through `own` when the gateway stops.
async fn attend(
    mut running: Pin<&mut impl Future<Output = End>>,
    own: &watch::Sender<Stop>,
    stop: &mut watch::Receiver<Stop>,
) -> End {
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
