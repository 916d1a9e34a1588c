//! What is asked of the spool: look into queues and dead letters, take out, put in, mend.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;

use crate::admin::{ApiResult, Caller, json};
use crate::gateway::running::RunningGateway;
use crate::spool::ToolRequest;

/// Takes a [`ToolRequest`], which says what its answer is.
pub(super) async fn ask(
    State(running): State<Arc<RunningGateway>>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> ApiResult {
    let request: ToolRequest = serde_json::from_slice(&body)?;
    let tools = running.spool.tools();
    let answer = tokio::task::spawn_blocking(move || {
        note(&request, caller);
        tools.answer(request)
    });
    Ok(json(&answer.await??))
}

/// What changes something stands in the log.
fn note(request: &ToolRequest, caller: Caller) {
    let who = || caller.words();
    match request {
        ToolRequest::Page { .. }
        | ToolRequest::Ledger
        | ToolRequest::Check
        | ToolRequest::Letters { .. }
        | ToolRequest::Letter { .. } => {}
        ToolRequest::Import { records } => {
            let messages = records.len();
            tracing::info!(messages, who = who(), "an operator imports messages");
        }
        ToolRequest::Drop { queue } => {
            tracing::info!(queue, who = who(), "an operator drops a queue");
        }
        ToolRequest::Repair => tracing::info!(who = who(), "an operator has the store repaired"),
        ToolRequest::Forget { ids } => {
            let letters = ids.len();
            tracing::info!(letters, who = who(), "an operator takes dead letters out");
        }
    }
}
