//! The tasks of the network side: one for each source and uplink, supervised.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounterVec;
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

use super::ends::{EndpointLine, Endpoints, NewEndpoint, SourceEndpoint, UplinkEndpoint};
use super::pulse::Pulses;
use super::running::RunningGateway;
use super::supervise::{StageFailed, Tasks};
use super::threads::Threads;
use crate::link::Stop;
use crate::message::{Mint, Outlet};
use crate::spool::Spool;
use crate::{source, uplink};

pub struct Stages {
    sources: Tasks,
    uplinks: Tasks,
    ends: Endpoints,
    begun: mpsc::Receiver<NewEndpoint>,
    needs: Needs,
    stop_sources: watch::Sender<Stop>,
    /// Sources that hand on what they take.
    taking: TaskTracker,
    stop_uplinks: watch::Sender<Stop>,
    /// The last to go, with what is left of the tasks.
    threads: Threads,
}

/// What sources and uplinks are connected to inside.
struct Needs {
    spool: Arc<Spool>,
    outlet: Arc<dyn Outlet>,
    mint: Arc<Mint>,
    sources: source::Metrics,
    uplinks: uplink::Metrics,
    crashes: IntCounterVec,
    pulses: Pulses,
}

impl Stages {
    /// Starts uplinks, then sources.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(gateway: &RunningGateway) -> io::Result<Self> {
        let config = &gateway.config;
        let (ends, begun) = Endpoints::new(
            gateway.flow_handles.clone(),
            gateway.devices.clone(),
            &config.gateway.data_dir,
        );
        let mut stages = Self {
            sources: Tasks::new(),
            uplinks: Tasks::new(),
            begun,
            needs: Needs {
                outlet: gateway.spool.outlet(),
                spool: Arc::clone(&gateway.spool),
                mint: Arc::clone(&gateway.mint),
                sources: gateway.sources.clone(),
                uplinks: gateway.uplinks.clone(),
                crashes: gateway.metrics.crashes.clone(),
                pulses: gateway.pulses.clone(),
            },
            stop_sources: watch::channel(Stop::Run).0,
            taking: TaskTracker::new(),
            stop_uplinks: watch::channel(Stop::Run).0,
            threads: Threads::start(config),
            ends,
        };
        let uplinks = config.uplinks.iter().cloned();
        let uplinks: Vec<_> = uplinks.map(|config| stages.ends.uplink(config)).collect();
        let is_copied = gateway.spool.is_copied();
        let sources = stages
            .ends
            .sources(&config.sources, is_copied, &gateway.sources);
        for end in uplinks.into_iter().chain(sources) {
            stages.begin(end)?;
        }
        Ok(stages)
    }

    fn begin(&mut self, begin: NewEndpoint) -> io::Result<()> {
        let Needs { crashes, .. } = &self.needs;
        let crashes = |stage: &str| crashes.with_label_values(&[stage]);
        match begin {
            NewEndpoint::Source {
                config,
                priority,
                orders,
            } => {
                let stage = format!("source {}", config.name);
                let line = EndpointLine {
                    end: SourceEndpoint {
                        outlet: Arc::clone(&self.needs.outlet),
                        mint: Arc::clone(&self.needs.mint),
                        metrics: self.needs.sources.clone(),
                        taking: self.taking.clone(),
                    },
                    crashes: crashes(&stage),
                    pulses: self.needs.pulses.clone(),
                    stage,
                    stop: self.stop_sources.subscribe(),
                    orders,
                };
                let run = async move { line.run(config).await.map_err(StageFailed::from) };
                self.sources.spawn_on(run, self.threads.of(priority)?);
            }
            NewEndpoint::Uplink { config, orders } => {
                let stage = format!("uplink {}", config.name);
                let line = EndpointLine {
                    end: UplinkEndpoint {
                        spool: Arc::clone(&self.needs.spool),
                        metrics: self.needs.uplinks.clone(),
                    },
                    crashes: crashes(&stage),
                    pulses: self.needs.pulses.clone(),
                    stage,
                    stop: self.stop_uplinks.subscribe(),
                    orders,
                };
                let runtime = self.threads.of(config.priority)?;
                let run = async move { line.run(*config).await.map_err(StageFailed::from) };
                self.uplinks.spawn_on(run, runtime);
            }
        }
        Ok(())
    }

    /// The handle on them.
    pub fn ends(&self) -> Endpoints {
        self.ends.clone()
    }

    /// Waits for a stage that ends by itself, and begins those that come meanwhile. Cancel safe.
    pub async fn ended(&mut self) -> StageFailed {
        loop {
            let ended = tokio::select! {
                Some(ended) = self.sources.join_next() => ended,
                Some(ended) = self.uplinks.join_next() => ended,
                Some(end) = self.begun.recv() => Ok(self.begin(end).map_err(StageFailed::from)),
            };
            // One that was told to go has gone.
            if let Ok(Err(failed)) = ended {
                return failed;
            }
        }
    }

    /// Sources take nothing more, and stay to acknowledge what they took. Returns once none hands anything on any more, or after
    /// `limit`.
    pub async fn drain_sources(&self, limit: Duration) {
        self.stop_sources.send_replace(Stop::Drain);
        self.taking.close();
        // What one hands on later is forgotten inside, and comes again.
        let _ = tokio::time::timeout(limit, self.taking.wait()).await;
    }

    /// Waits until every source has sent its last acknowledgement, at most `limit`. Whether they all have.
    pub async fn sources_ended(&mut self, limit: Duration) -> bool {
        tokio::time::timeout(limit, all(&mut self.sources))
            .await
            .is_ok()
    }

    /// Ends the uplinks, which get `limit` for what lies in RAM and for the answers of upstream: what it has not
    /// acknowledged by then is sent again after the next start.
    pub async fn end_uplinks(&mut self, limit: Duration) {
        self.stop_uplinks.send_replace(Stop::Drain);
        // Those that are not done by then are told below.
        let _ = tokio::time::timeout(limit, all(&mut self.uplinks)).await;
        self.stop_uplinks.send_replace(Stop::Now);
        all(&mut self.uplinks).await;
    }

    /// Ends the sources: what was not acknowledged comes again from the broker.
    pub async fn end_sources(&mut self) {
        self.stop_sources.send_replace(Stop::Now);
        all(&mut self.sources).await;
    }
}

async fn all(tasks: &mut Tasks) {
    while let Some(ended) = tasks.join_next().await {
        if let Ok(Err(error)) = ended {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a stage failed while stopping"
            );
        }
    }
}
