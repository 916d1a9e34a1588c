//! What the control socket takes in about plugins. Every answer comes at once: an order is put up and gets a number,
//! and what comes of it is read under that.
//!
//! ```text
//! GET  /v1/plugins             every plugin: what runs, what is tried beside it, what it can go back to
//! POST /v1/plugins/swap        a `live::Swap`, a line end, the component → its number
//! POST /v1/plugins/rollback    a `live::Rollback` → its number
//! POST /v1/plugins/promote     a `live::Name` → the number of the change whose phase was ended early
//! POST /v1/plugins/follow      a `live::Name` → the number of the change under way
//! POST /v1/reload              → its number
//! GET  /v1/changes/N?from=L    what is told of it from line L on: at once, or when there is something new
//! GET  /v1/history             the last events, oldest first
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, RawQuery, State};
use axum::response::Response;
use axum::routing::{get, post};
use serde::de::DeserializeOwned;

use crate::admin::{Peer, Refused, json, user_name};
use crate::gateway::api::plugins::Plugin;
use crate::gateway::door::Doors;
use crate::gateway::live::{Desk, Name, Receipt, Rollback};
use crate::versions::Versions;
use crate::versions::history::{History, Who};

/// Largest order: a component, and what is wanted of it.
const BODY_BYTES: usize = (32 << 20) + (64 << 10);

/// How long a request may wait for news.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a change that was just ordered may take to begin before whoever wants to end it is told that it waits.
const BEGINS: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Events that are told at most.
pub const MOST_EVENTS: usize = 10_000;

/// What the routes need.
pub(in crate::gateway) struct Orders {
    pub(in crate::gateway) desk: Desk,
    pub(in crate::gateway) doors: Doors,
    pub(in crate::gateway) versions: Versions,
    pub(in crate::gateway) history: History,
}

pub(in crate::gateway) fn routes(orders: Orders) -> Router {
    Router::new()
        .route("/v1/plugins", get(plugins))
        .route("/v1/plugins/swap", post(swap))
        .route("/v1/plugins/rollback", post(roll_back))
        .route("/v1/plugins/promote", post(promote))
        .route("/v1/plugins/follow", post(follow))
        .route("/v1/reload", post(reload))
        .route("/v1/changes/{change}", get(change))
        .route("/v1/history", get(events))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(Arc::new(orders))
}

type Answer = Result<Response, Refused>;

async fn plugins(State(orders): State<Arc<Orders>>) -> Response {
    let versions = &orders.versions;
    let plugins = orders.doors.chains().into_iter().flat_map(|(_, chain)| {
        let infos = chain.plugins().into_iter();
        infos.map(move |info| {
            Plugin::running(
                chain.name(),
                &info,
                versions.entry(chain.name(), &info.name),
            )
        })
    });
    json(&plugins.collect::<Vec<_>>())
}

async fn swap(
    State(orders): State<Arc<Orders>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    body: Bytes,
) -> Answer {
    let end = body
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(body.len());
    let order: crate::gateway::live::Swap = read(&body[..end])?;
    if order.replace {
        let_it_begin(&orders, &order.plugin).await;
    }
    let component = (!order.from_config).then(|| body.get(end + 1..).unwrap_or_default().to_vec());
    number(orders.desk.swap(order, component, who(peer)))
}

/// A change that was ordered a moment ago can be ended once it has begun.
async fn let_it_begin(orders: &Orders, plugin: &Name) {
    let until = Instant::now() + BEGINS;
    while orders.desk.has_yet_to_begin(plugin) && Instant::now() < until {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn roll_back(
    State(orders): State<Arc<Orders>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    body: Bytes,
) -> Answer {
    let order: Rollback = read(&body)?;
    if order.to.is_none() {
        let_it_begin(&orders, &order.plugin).await;
    }
    number(orders.desk.roll_back(&order, who(peer)))
}

async fn promote(
    State(orders): State<Arc<Orders>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    body: Bytes,
) -> Answer {
    number(orders.desk.promote(&read(&body)?, &who(peer)))
}

async fn follow(State(orders): State<Arc<Orders>>, body: Bytes) -> Answer {
    number(orders.desk.follow(&read(&body)?))
}

async fn reload(State(orders): State<Arc<Orders>>, ConnectInfo(peer): ConnectInfo<Peer>) -> Answer {
    number(orders.desk.reload(who(peer)))
}

async fn change(
    State(orders): State<Arc<Orders>>,
    Path(change): Path<u64>,
    RawQuery(query): RawQuery,
) -> Answer {
    let from = query
        .as_deref()
        .and_then(|query| query.strip_prefix("from=")?.parse().ok())
        .unwrap_or_default();
    let page = orders.desk.page(change, from, PATIENCE).await;
    page.map(|page| json(&page))
        .ok_or_else(|| Refused(format!("there is no change {change}, or it ended long ago")))
}

async fn events(State(orders): State<Arc<Orders>>) -> Answer {
    let history = orders.history.clone();
    let read = tokio::task::spawn_blocking(move || history.read(MOST_EVENTS, |_| true)).await;
    let events = read
        .map_err(|error| Refused(error.to_string()))?
        .map_err(|error| Refused(error.to_string()))?;
    Ok(json(&events))
}

fn number(receipt: Result<Receipt, String>) -> Answer {
    receipt.map(|receipt| json(&receipt)).map_err(Refused)
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body)
        .map_err(|error| Refused(format!("an order in another form: {error}")))
}

fn who(peer: Peer) -> Who {
    Who::Operator {
        uid: peer.uid,
        user: user_name(peer.uid),
    }
}
