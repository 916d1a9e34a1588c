//! Recordings of a running gateway: which flows have one, and what the control socket tells of them.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prometheus::Registry;
use serde::{Deserialize, Serialize};

use super::door::{Door, Doors};
use crate::chain::{self, Chain};
use crate::config::Config;
use crate::message::QueueId;
use crate::recording::{Header, Metrics, Plugin, Recorder};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Which flows are recorded; the answer is a list of [`Listed`].
    List,
    /// Segments of a recording in memory; the answer is [`Part`].
    Page {
        flow: String,
        /// Number of the first.
        from: u64,
    },
    /// Forget what is recorded; the answer is a list of [`Listed`].
    Clear { flow: String },
}

/// A flow that is recorded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Listed {
    /// What it is of.
    pub header: Header,
    pub bytes: u64,
    /// Messages it lacks since the start.
    pub missed: u64,
    /// Its folder, where it is on disk: read from there.
    pub folder: Option<PathBuf>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Part {
    /// Each as it stands in a file, base64.
    pub segments: Vec<String>,
    /// Number of the next, if there are more.
    pub next: Option<u64>,
}

/// What cannot be answered.
#[derive(Debug, thiserror::Error)]
#[error(
    "flow `{0}` is not recorded: give it, for example, record = \"16MiB\", and start the gateway again"
)]
pub struct NotRecorded(String);

/// Starts the recordings the config asks for.
///
/// # Errors
/// When a metric of the same name is registered already.
pub fn start(
    config: &Config,
    doors: &Doors,
    registry: &Registry,
) -> Result<Metrics, prometheus::Error> {
    let metrics = Metrics::new(registry)?;
    for (flow, chain) in doors.chains() {
        begin(config, flow, (&doors.of(flow), &chain), &metrics);
    }
    Ok(metrics)
}

/// Starts the recording of a flow, if the config asks for one. One that does not start is no reason for the flow not to.
pub fn begin(config: &Config, flow: usize, (door, chain): (&Door, &Chain), metrics: &Metrics) {
    let Some(Some(wanted)) = config.recordings.get(flow) else {
        return;
    };
    let flow = &config.flows[flow];
    match Recorder::start(wanted, header(config, flow, chain), metrics) {
        Ok(recorder) => {
            let recorder = Arc::new(recorder);
            chain.record(Arc::clone(&recorder) as Arc<dyn crate::message::Tape>);
            door.record(Some(recorder));
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

fn header(config: &Config, flow: &chain::Config, chain: &Chain) -> Header {
    let plugin = |plugin: chain::PluginInfo| Plugin {
        name: plugin.name.to_string(),
        digest: plugin.digest.to_string(),
        tick_every_us: plugin.tick_every.map_or(0, |every| {
            u64::try_from(every.as_micros()).unwrap_or(u64::MAX)
        }),
        settings: None,
    };
    let queues = queue_names(config);
    let name = |queue: &QueueId| {
        queues
            .get(usize::from(queue.0))
            .cloned()
            .unwrap_or_default()
    };
    Header {
        made_by: format!("tidegate {}", env!("CARGO_PKG_VERSION")),
        flow: flow.name.to_string(),
        lanes: flow.lanes,
        plugins: chain.plugins().into_iter().map(plugin).collect(),
        ports: flow
            .ports
            .iter()
            .map(|(port, queues)| (port.clone(), queues.iter().map(name).collect()))
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

/// Answers a request. Waits for the disk, where a recording is there.
///
/// # Errors
/// The flow is not recorded.
pub fn answer(
    recorders: &[Arc<Recorder>],
    request: Request,
) -> Result<serde_json::Value, NotRecorded> {
    let find = |flow: &str| {
        let found = recorders
            .iter()
            .find(|recorder| recorder.header().flow == flow);
        found.ok_or_else(|| NotRecorded(flow.to_owned()))
    };
    let value = match request {
        Request::List => serde_json::to_value(
            recorders
                .iter()
                .map(|recorder| listed(recorder))
                .collect::<Vec<_>>(),
        ),
        Request::Page { flow, from } => {
            let page = find(&flow)?.page(from);
            let segments = page
                .segments
                .iter()
                .map(|segment| STANDARD.encode(segment.frame()))
                .collect();
            serde_json::to_value(Part {
                segments,
                next: page.next,
            })
        }
        Request::Clear { flow } => {
            let recorder = find(&flow)?;
            recorder.clear();
            tracing::info!(flow, "an operator clears a recording");
            serde_json::to_value([listed(recorder)])
        }
    };
    Ok(value.expect("text and numbers always go into JSON"))
}

fn listed(recorder: &Recorder) -> Listed {
    recorder.flush();
    let header = recorder.header().clone();
    let folder = recorder.folder();
    Listed {
        header,
        bytes: recorder.bytes(),
        missed: recorder.missed(),
        folder,
    }
}
