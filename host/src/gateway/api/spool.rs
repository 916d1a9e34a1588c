//! What is asked of the spool: look into queues and dead letters, take out, put in, mend.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;

use crate::admin::{Answer, Caller, json};
use crate::gateway::running::Running;
use crate::spool::Request;

/// Takes a [`Request`], which says what its answer is.
pub(super) async fn ask(
    State(running): State<Arc<Running>>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Answer {
    let request: Request = serde_json::from_slice(&body)?;
    let tools = running.spool.tools();
    let answer = tokio::task::spawn_blocking(move || {
        note(&request, caller);
        tools.answer(request)
    });
    Ok(json(&answer.await??))
}

/// What changes something stands in the log.
fn note(request: &Request, caller: Caller) {
    let who = || caller.words();
    match request {
        Request::Page { .. }
        | Request::Ledger
        | Request::Check
        | Request::Letters { .. }
        | Request::Letter { .. } => {}
        Request::Import { records } => {
            let messages = records.len();
            tracing::info!(messages, who = who(), "an operator imports messages");
        }
        Request::Drop { queue } => {
            tracing::info!(queue, who = who(), "an operator drops a queue");
        }
        Request::Repair => tracing::info!(who = who(), "an operator has the store repaired"),
        Request::Forget { ids } => {
            let letters = ids.len();
            tracing::info!(letters, who = who(), "an operator takes dead letters out");
        }
    }
}
