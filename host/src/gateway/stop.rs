//! The end in the order in which data flows: nothing that was taken is dropped on the way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::flow_handle::FlowHandles;
use super::live::LiveChange;
use super::running::RunningGateway;
use super::stages::Stages;
use crate::chain::Chain;
use crate::devices;
use crate::spool::Spool;

/// What sources get to hand on what is on its way, before the lanes end.
const LAST_TAKEN: Duration = Duration::from_secs(2);

/// What the uplinks get to deliver what RAM holds, before it is written to the card instead.
const LAST_DELIVERY: Duration = Duration::from_millis(800);

/// What sources get for their last acknowledgements when everything else has ended.
const LAST_ACKNOWLEDGEMENT: Duration = Duration::from_millis(500);

/// Waits until `deadline` for what is under way, and little longer for the disk.
pub(super) async fn drain(
    running: &RunningGateway,
    stages: &mut Stages,
    live: LiveChange,
    deadline: Instant,
) {
    let left = || deadline.saturating_duration_since(Instant::now());
    stages.drain_sources(LAST_TAKEN.min(left())).await;
    end_lanes(running.flow_handles.clone(), live, deadline).await;
    end_register(running.devices.clone()).await;
    let acknowledged = stages.sources_ended(LAST_DELIVERY.min(left())).await;
    stages.end_uplinks(LAST_DELIVERY.min(left())).await;
    close(Arc::clone(&running.spool)).await;
    if !acknowledged && !stages.sources_ended(LAST_ACKNOWLEDGEMENT.max(left())).await {
        tracing::warn!("not everything was acknowledged; the broker sends the rest again");
    }
    stages.end_sources().await;
}

async fn end_lanes(flow_handles: FlowHandles, live: LiveChange, deadline: Instant) {
    let work = move || {
        live.stop(deadline);
        work_off(&flow_handles, deadline)
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(0) => {}
        Ok(messages) => {
            tracing::warn!(messages, "left in the lanes; the broker sends them again");
        }
        Err(error) => tracing::error!(%error, "the lanes did not stop in order"),
    }
}

/// What is known of devices is written with the last commit.
async fn end_register(devices: devices::Registry) {
    if let Err(error) = tokio::task::spawn_blocking(move || devices.stop()).await {
        tracing::error!(%error, "the register of devices did not stop in order");
    }
}

/// How many messages are left.
fn work_off(flow_handles: &FlowHandles, deadline: Instant) -> usize {
    // What waits there was never acknowledged.
    for (flow, _) in flow_handles.down() {
        drop(flow_handles.of(flow).retire());
    }
    let left = || deadline.saturating_duration_since(Instant::now());
    let mut messages = 0;
    let depths = flow_handles.chains_by_depth();
    for (depth, chains) in (1..).zip(&depths) {
        // All at once, and those that wait for flows behind them no longer than half of it, so that one that takes long leaves
        // the others their time.
        chains.iter().for_each(|chain| chain.begin_to_stop());
        let share = if depth == depths.len() { 1 } else { 2 };
        let stop = |chain: &Arc<Chain>| chain.stop(left() / share);
        messages += chains.iter().map(stop).sum::<usize>();
    }
    flow_handles
        .recorders()
        .iter()
        .for_each(|recorder| recorder.stop());
    messages
}

async fn close(spool: Arc<Spool>) {
    match tokio::task::spawn_blocking(move || spool.close()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(
            error = &error as &dyn std::error::Error,
            "the spool did not close in order"
        ),
        Err(error) => tracing::error!(%error, "the spool did not close in order"),
    }
}
