//! The tasks of the network side: one for each source and uplink, supervised.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::inlets::{self, Inlets};
use super::running::Running;
use super::supervise::{Failed, Tasks, keep};
use super::threads::Threads;
use crate::link::Stop;
use crate::uplink;

pub struct Stages {
    sources: Tasks,
    inlets: Inlets,
    uplinks: Tasks,
    stop_sources: watch::Sender<Stop>,
    stop_uplinks: watch::Sender<Stop>,
    /// The last to go, with what is left of the tasks.
    _threads: Threads,
}

impl Stages {
    /// Starts uplinks, then sources.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(gateway: &Running) -> io::Result<Self> {
        let threads = Threads::start(&gateway.config)?;
        let (stop_sources, sources_stop) = watch::channel(Stop::Run);
        let (stop_uplinks, uplinks_stop) = watch::channel(Stop::Run);
        let uplinks = start_uplinks(gateway, &threads, &uplinks_stop);
        let (inlets, sources) = inlets::start(gateway, &threads, &sources_stop);
        Ok(Self {
            sources,
            inlets,
            uplinks,
            stop_sources,
            stop_uplinks,
            _threads: threads,
        })
    }

    /// The handle on the sources.
    pub fn inlets(&self) -> Inlets {
        self.inlets.clone()
    }

    /// Waits for a stage that ends by itself. Cancel safe.
    pub async fn ended(&mut self) -> Result<(), Failed> {
        let ended = tokio::select! {
            Some(ended) = self.sources.join_next() => ended,
            Some(ended) = self.uplinks.join_next() => ended,
            else => std::future::pending().await,
        };
        ended.unwrap_or(Ok(()))
    }

    /// Sources take nothing more, and stay to acknowledge what they took.
    pub fn drain_sources(&self) {
        self.stop_sources.send_replace(Stop::Drain);
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

fn start_uplinks(gateway: &Running, threads: &Threads, stop: &watch::Receiver<Stop>) -> Tasks {
    let mut tasks = Tasks::new();
    for config in gateway.config.uplinks.clone() {
        let stage = format!("uplink {}", config.name);
        let crashes = gateway.metrics.crashes.with_label_values(&[stage.as_str()]);
        let runtime = threads.of(config.priority).clone();
        let backlog = gateway.spool.backlog(&config.name);
        let metrics = gateway.uplinks.clone();
        let stop = stop.clone();
        let start = move || {
            uplink::run(
                config.clone(),
                Arc::clone(&backlog),
                metrics.clone(),
                stop.clone(),
            )
        };
        tasks.spawn_on(
            async move { keep(stage, crashes, start).await.map_err(Failed::from) },
            &runtime,
        );
    }
    tasks
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
