//! What the control socket answers: memory work on the spot, the disk on the blocking pool.
//!
//! ```text
//! GET  /v1/status         the whole account at a glance
//! POST /v1/spool          a `spool::Request`: look into queues and dead letters, take out, put in, mend
//! POST /v1/recordings     a `recordings::Request`: what is recorded of the flows
//! POST /v1/parked/retry   names of dead letters: through today's chain, or back to the queue that was refused
//! ```
//!
//! What it takes in about plugins stands in [`changes`].

mod changes;
pub mod health;
pub mod letters;
pub mod plugins;
pub mod status;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::Response;
use axum::routing::{get, post};

use self::changes::Orders;
use self::letters::{Retry, retry};
use self::status::Reporter;
use super::Gateway;
use super::door::Doors;
use super::live::Desk;
use super::recordings;
use crate::admin::{Refused, json};
use crate::spool::{Request, Tools};
use crate::versions::history::History;
use crate::words::with_causes;

/// Largest request: a page of messages that are imported.
const BODY_BYTES: usize = 32 << 20;

/// What the routes need.
struct Control {
    reporter: Reporter,
    tools: Tools,
    doors: Doors,
}

/// The routes of this gateway.
pub(in crate::gateway) fn routes(gateway: &Gateway, desk: Desk) -> Router {
    let control = Control {
        reporter: Reporter::new(gateway),
        tools: gateway.spool.tools(),
        doors: gateway.doors.clone(),
    };
    let doors = gateway.doors.clone();
    let versions = gateway.versions.clone();
    let orders = Orders {
        desk,
        doors,
        versions,
        history: History::of(&gateway.config.gateway.data_dir),
    };
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/spool", post(spool))
        .route("/v1/recordings", post(recorded))
        .route("/v1/parked/retry", post(parked_retry))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(Arc::new(control))
        .merge(changes::routes(orders))
}

async fn status(State(control): State<Arc<Control>>) -> Result<Response, Refused> {
    let report = tokio::task::spawn_blocking(move || json(&control.reporter.report()));
    report.await.map_err(refused)
}

async fn spool(State(control): State<Arc<Control>>, body: Bytes) -> Result<Response, Refused> {
    let request: Request = serde_json::from_slice(&body).map_err(refused)?;
    note(&request);
    let tools = control.tools.clone();
    let answer = tokio::task::spawn_blocking(move || tools.answer(request))
        .await
        .map_err(refused)?
        .map_err(refused)?;
    Ok(json(&answer))
}

async fn recorded(State(control): State<Arc<Control>>, body: Bytes) -> Result<Response, Refused> {
    let request: recordings::Request = serde_json::from_slice(&body).map_err(refused)?;
    let answer = tokio::task::spawn_blocking(move || {
        recordings::answer(&control.doors.recorders(), request)
    });
    Ok(json(&answer.await.map_err(refused)?.map_err(refused)?))
}

async fn parked_retry(
    State(control): State<Arc<Control>>,
    body: Bytes,
) -> Result<Response, Refused> {
    let request: Retry = serde_json::from_slice(&body).map_err(refused)?;
    tracing::info!(
        letters = request.ids.len(),
        "an operator sends dead letters on their way again"
    );
    Ok(json(
        &retry(&control.tools, &control.doors, request)
            .await
            .map_err(refused)?,
    ))
}

/// What changes something stands in the log.
fn note(request: &Request) {
    match request {
        Request::Page { .. }
        | Request::Ledger
        | Request::Check
        | Request::Letters { .. }
        | Request::Letter { .. } => {}
        Request::Import { records } => {
            tracing::info!(messages = records.len(), "an operator imports messages")
        }
        Request::Drop { queue } => tracing::info!(queue, "an operator drops a queue"),
        Request::Repair => tracing::info!("an operator has the store repaired"),
        Request::Forget { ids } => {
            tracing::info!(letters = ids.len(), "an operator takes dead letters out")
        }
    }
}

fn refused(error: impl std::error::Error) -> Refused {
    Refused(with_causes(&error))
}
