//! Looking on at a flow: what its messages are before and after each plugin, as they pass.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};

use crate::admin::{ApiRefusal, ApiResult, json};
use crate::chain::{TapFilter, TapPoint, TappedMessage};
use crate::clock::Now;
use crate::gateway::running::RunningGateway;
use crate::message::{Destination, Pattern};
use crate::spool::RecordContent;

/// How long one that has seen nothing waits for an answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// What somebody wants to see.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TapOrder {
    pub flow: String,
    /// Around this plugin only.
    pub plugin: Option<String>,
    /// Of messages with this key only.
    pub device: Option<String>,
    /// Of topics that match this filter only.
    pub topic: Option<String>,
}

/// The answer to an [`TapOrder`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OpenedTap {
    pub tap: u64,
}

/// What was seen since the last page.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SeenPage {
    pub seen: Vec<SeenMessage>,
    /// Messages that there was no room for: they went their way unseen.
    pub missed: u64,
}

/// A message where it was seen. The JSON form is a promise to scripts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SeenMessage {
    /// `into` or `out-of` a plugin, `leaves`, `parked`.
    pub at: String,
    /// The plugin, the queue or flow it leaves for, or why it is parked.
    pub of: String,
    /// In words, of one that is parked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// When, microseconds since 1970.
    pub at_us: u64,
    /// Bytes that its payload has, of which `payload` may hold the first only.
    pub payload_bytes: usize,
    #[serde(flatten)]
    pub content: RecordContent,
}

pub(super) async fn open(State(running): State<Arc<RunningGateway>>, body: Bytes) -> ApiResult {
    let order: TapOrder = serde_json::from_slice(&body)
        .map_err(|error| ApiRefusal(format!("an order in another form: {error}")))?;
    let config = running.current.now();
    let flow = config.flow(&order.flow);
    let flow =
        flow.ok_or_else(|| ApiRefusal(format!("the config has no flow `{}`", order.flow)))?;
    if let Some(plugin) = &order.plugin
        && !flow.plugins.iter().any(|own| *own.name == **plugin)
    {
        let refused = format!("the flow `{}` has no plugin `{plugin}`", order.flow);
        return Err(ApiRefusal(refused));
    }
    let filter = TapFilter {
        plugin: order.plugin.as_deref().map(Arc::from),
        device: order.device.map(|device| device.into_bytes().into()),
        topic: order.topic.as_deref().map(Pattern::parse).transpose()?,
    };
    let opened = running.taps.open(&order.flow, filter, Now::read());
    let opened = opened.ok_or_else(|| ApiRefusal("as many look on already as may".to_owned()))?;
    Ok(json(&OpenedTap { tap: opened }))
}

pub(super) async fn fetch(
    State(running): State<Arc<RunningGateway>>,
    Path(tap): Path<u64>,
) -> ApiResult {
    let gone = || ApiRefusal("nobody has asked for it for long, so that it has ended".to_owned());
    let news = running.taps.news(tap).ok_or_else(gone)?;
    // When the time is over the page is empty.
    let _ = tokio::time::timeout(PATIENCE, news.notified()).await;
    let page = running.taps.fetch(tap, Now::read()).ok_or_else(gone)?;
    let seen = page
        .messages
        .iter()
        .map(|seen| SeenMessage::of(seen, &running));
    Ok(json(&SeenPage {
        seen: seen.collect(),
        missed: page.missed,
    }))
}

pub(super) async fn close(
    State(running): State<Arc<RunningGateway>>,
    Path(tap): Path<u64>,
) -> ApiResult {
    running.taps.close(tap);
    Ok(json(&()))
}

impl SeenMessage {
    fn of(seen: &TappedMessage, running: &RunningGateway) -> Self {
        let config = running.current.now();
        let mut detail = None;
        let (at, of) = match &seen.point {
            TapPoint::Into(plugin) => ("into", plugin.to_string()),
            TapPoint::OutOf(plugin) => ("out-of", plugin.to_string()),
            TapPoint::Leaves(Destination::Flow(name)) => ("leaves", name.to_string()),
            TapPoint::Leaves(Destination::Queue(queue)) => {
                let queue = config.spool.queues.get(usize::from(queue.0));
                let name = queue.map(|queue| format!("{}:{}", queue.link, queue.class));
                ("leaves", name.unwrap_or_default())
            }
            TapPoint::Parked(reason, words) => {
                detail = Some(words.clone());
                ("parked", reason.name().to_owned())
            }
        };
        let flow = seen
            .message
            .flow
            .and_then(|flow| config.flows.get(flow.index()));
        let flow = flow.map_or("", |flow| &*flow.name);
        Self {
            at: at.to_owned(),
            of,
            detail,
            at_us: seen.at_us,
            payload_bytes: seen.payload_bytes,
            content: RecordContent::of(&seen.message, flow),
        }
    }
}
