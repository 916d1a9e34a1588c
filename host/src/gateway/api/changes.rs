//! Orders that change plugins and config, and what comes of them. Every answer comes at once: an order is put up and gets a
//! number, and what comes of it is read under that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use serde::de::DeserializeOwned;

use crate::admin::{ApiRefusal, ApiResult, Caller, json};
use crate::gateway::live::{ChangeReceipt, Orders, PluginName, Rollback, SwapOrder};
use crate::gateway::running::RunningGateway;
use crate::versions::history::{History, Who};

/// How long a request may wait for news.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a change that was just ordered may take to begin before whoever wants to end it is told that it waits.
const BEGINS: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Events that are told at most.
const MOST_EVENTS: usize = 10_000;

/// Takes a [`SwapOrder`], a line end and the component.
pub(super) async fn swap(
    State(desk): State<Orders>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> ApiResult {
    let end = body
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(body.len());
    let order: SwapOrder = read(&body[..end])?;
    if order.replace {
        let_it_begin(&desk, &order.plugin).await;
    }
    let component = (!order.from_config).then(|| body.get(end + 1..).unwrap_or_default().to_vec());
    number(desk.swap(order, component, who(caller).await?))
}

/// A change that was ordered a moment ago can be ended once it has begun.
async fn let_it_begin(desk: &Orders, plugin: &PluginName) {
    let until = Instant::now() + BEGINS;
    while desk.has_yet_to_begin(plugin) && Instant::now() < until {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

pub(super) async fn roll_back(
    State(desk): State<Orders>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> ApiResult {
    let order: Rollback = read(&body)?;
    if order.to.is_none() {
        let_it_begin(&desk, &order.plugin).await;
    }
    number(desk.roll_back(&order, who(caller).await?))
}

pub(super) async fn promote(
    State(desk): State<Orders>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> ApiResult {
    number(desk.promote(&read(&body)?, &who(caller).await?))
}

pub(super) async fn follow(State(desk): State<Orders>, body: Bytes) -> ApiResult {
    number(desk.follow(&read(&body)?))
}

pub(super) async fn reload(
    State(desk): State<Orders>,
    Extension(caller): Extension<Caller>,
) -> ApiResult {
    number(desk.reload(who(caller).await?))
}

/// What is told of a change from line `from` on: at once, or when there is something new.
pub(super) async fn page(
    State(desk): State<Orders>,
    Path(change): Path<u64>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    let from = query
        .as_deref()
        .and_then(|query| query.strip_prefix("from=")?.parse().ok())
        .unwrap_or_default();
    let page = desk.page(change, from, PATIENCE).await;
    page.map(|page| json(&page))
        .ok_or_else(|| ApiRefusal(format!("there is no change {change}, or it ended long ago")))
}

/// The last events, oldest first.
pub(super) async fn history(State(running): State<Arc<RunningGateway>>) -> ApiResult {
    let history = History::of(&running.config.gateway.data_dir);
    let read = tokio::task::spawn_blocking(move || history.read(MOST_EVENTS, |_| true));
    Ok(json(&read.await??))
}

fn number(receipt: Result<ChangeReceipt, String>) -> ApiResult {
    receipt.map(|receipt| json(&receipt)).map_err(ApiRefusal)
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiRefusal> {
    serde_json::from_slice(body)
        .map_err(|error| ApiRefusal(format!("an order in another form: {error}")))
}

/// Every change has a name in the history.
async fn who(caller: Caller) -> Result<Who, ApiRefusal> {
    if let Some((token, from)) = caller.token() {
        return Ok(Who::Token {
            token: token.to_owned(),
            from: from.to_string(),
        });
    }
    let user = tokio::task::spawn_blocking(move || caller.user()).await?;
    user.map(|(uid, user)| Who::Operator { uid, user })
        .ok_or_else(|| ApiRefusal("whoever changes something has to say who it is".to_owned()))
}
