//! What is recorded of the flows: a list, what a recording in memory holds, and an end to it.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::admin::{ApiResult, Caller, json};
use crate::gateway::running::RunningGateway;
use crate::recording::{Recorder, RecordingHeader};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordingRequest {
    /// Which flows are recorded; the answer is a list of [`Listed`].
    List,
    /// Segments of a recording in memory; the answer is [`EncodedSegments`].
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
    pub header: RecordingHeader,
    pub bytes: u64,
    /// Messages it lacks since the start.
    pub missed: u64,
    /// Its folder, where it is on disk: read from there.
    pub folder: Option<PathBuf>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EncodedSegments {
    /// Each as it stands in a file, base64.
    pub segments: Vec<String>,
    /// Number of the next, if there are more.
    pub next: Option<u64>,
}

/// What cannot be answered.
#[derive(Debug, thiserror::Error)]
#[error(
    "flow `{0}` is not recorded: give it, for example, record = \"16MiB\" in the config; a running gateway takes that up by itself"
)]
pub struct NotRecorded(String);

/// Takes a [`RecordingRequest`], which says what its answer is.
pub(super) async fn ask(
    State(running): State<Arc<RunningGateway>>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> ApiResult {
    let request: RecordingRequest = serde_json::from_slice(&body)?;
    let answer = tokio::task::spawn_blocking(move || {
        answer(&running.flow_handles.recorders(), request, caller)
    });
    Ok(json(&answer.await??))
}

/// Answers a request. Waits for the disk, where a recording is there.
fn answer(
    recorders: &[Arc<Recorder>],
    request: RecordingRequest,
    caller: Caller,
) -> Result<serde_json::Value, NotRecorded> {
    let find = |flow: &str| {
        let found = recorders
            .iter()
            .find(|recorder| recorder.header().flow == flow);
        found.ok_or_else(|| NotRecorded(flow.to_owned()))
    };
    let value = match request {
        RecordingRequest::List => serde_json::to_value(
            recorders
                .iter()
                .map(|recorder| listed(recorder))
                .collect::<Vec<_>>(),
        ),
        RecordingRequest::Page { flow, from } => {
            let page = find(&flow)?.page(from);
            let segments = page
                .segments
                .iter()
                .map(|segment| STANDARD.encode(segment.frame()))
                .collect();
            serde_json::to_value(EncodedSegments {
                segments,
                next: page.next,
            })
        }
        RecordingRequest::Clear { flow } => {
            let recorder = find(&flow)?;
            recorder.clear();
            tracing::info!(flow, who = caller.words(), "an operator clears a recording");
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
