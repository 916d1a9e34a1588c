//! Recordings of a running gateway: which flows have one.

use std::sync::Arc;

use prometheus::Registry;

use super::flow_handle::{FlowHandle, FlowHandles};
use crate::chain::{self, Chain};
use crate::config::Config;
use crate::message::Destination;
use crate::recording::{Metrics, RecordedPlugin, Recorder, RecordingHeader};

/// Starts the recordings the config asks for.
///
/// # Errors
/// When a metric of the same name is registered already.
pub fn start(
    config: &Config,
    flow_handles: &FlowHandles,
    registry: &Registry,
) -> Result<Metrics, prometheus::Error> {
    let metrics = Metrics::new(registry)?;
    for (flow, chain) in flow_handles.chains() {
        begin(config, flow, (&flow_handles.of(flow), &chain), &metrics);
    }
    Ok(metrics)
}

/// Starts the recording of a flow, if the config asks for one. One that does not start is no reason for the flow not to.
pub fn begin(
    config: &Config,
    flow: usize,
    (handle, chain): (&FlowHandle, &Chain),
    metrics: &Metrics,
) {
    let Some(Some(wanted)) = config.recordings.get(flow) else {
        return;
    };
    let flow = &config.flows[flow];
    match Recorder::start(wanted, header(config, flow, chain), metrics) {
        Ok(recorder) => {
            let recorder = Arc::new(recorder);
            chain.record(Arc::clone(&recorder) as Arc<dyn crate::message::Tape>);
            handle.record(Some(recorder));
        }
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(
                flow = &*flow.name,
                error,
                "the flow is not recorded: see to the folder and start again"
            );
        }
    }
}

fn header(config: &Config, flow: &chain::Config, chain: &Chain) -> RecordingHeader {
    let plugin = |plugin: chain::PluginInfo| RecordedPlugin {
        name: plugin.name.to_string(),
        digest: plugin.digest.to_string(),
        tick_every_us: plugin.tick_every.map_or(0, |every| {
            u64::try_from(every.as_micros()).unwrap_or(u64::MAX)
        }),
        settings: None,
    };
    let queues = queue_names(config);
    let name = |target: &Destination| match target {
        Destination::Queue(queue) => queues
            .get(usize::from(queue.0))
            .cloned()
            .unwrap_or_default(),
        Destination::Flow(flow) => format!("flow.{flow}"),
    };
    RecordingHeader {
        made_by: format!("tidegate {}", env!("CARGO_PKG_VERSION")),
        flow: flow.name.to_string(),
        lanes: flow.lanes,
        plugins: chain.plugins().into_iter().map(plugin).collect(),
        ports: flow
            .ports
            .iter()
            .map(|(port, targets)| (port.clone(), targets.iter().map(name).collect()))
            .collect(),
        topic: flow.topic.as_ref().map(|topic| topic.0.clone()),
        topics: flow.topics.patterns.clone(),
        key: flow.topics.key.clone(),
    }
}

/// Names of the queues, by their ids: `uplink:class`.
pub fn queue_names(config: &Config) -> Vec<String> {
    config
        .spool
        .queues
        .iter()
        .map(|queue| format!("{}:{}", queue.uplink, queue.class))
        .collect()
}
