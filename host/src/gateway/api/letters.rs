//! Dead letters on their way again, in order: a rejected one through today's plugins, from the one it stopped at on; a
//! refused one back into its queue. The letter stays in the store until its message is safe elsewhere (accepted,
//! written, or parked anew), so a kill in between costs nothing but a second delivery.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use crate::admin::{ApiResult, Caller, json};
use crate::chain::ReturnedLetter;
use crate::gateway::flow_handle::FlowHandles;
use crate::gateway::running::RunningGateway;
use crate::message::{Burst, Delivery, MessageId, Progress, Reason, Receipt, Settled};
use crate::spool::{self, LetterId, LetterRecord, ToolError, Tools};

/// How long the messages may take to become safe; the letters of those that did not stay.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RetryRequest {
    pub ids: Vec<LetterId>,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Retried {
    /// Letters that went through a chain or back into a queue, and are gone from the dead letters.
    pub retried: u64,
    /// Of these, how many were parked again, as new letters.
    pub parked_again: u64,
    pub left: Vec<UnsentLetter>,
}

/// A letter that stayed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UnsentLetter {
    pub id: LetterId,
    pub why: String,
}

pub(super) async fn retry(
    State(running): State<Arc<RunningGateway>>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> ApiResult {
    let request: RetryRequest = serde_json::from_slice(&body)?;
    let who = tokio::task::spawn_blocking(move || caller.words()).await?;
    tracing::info!(
        letters = request.ids.len(),
        who,
        "an operator sends dead letters on their way again"
    );
    let tools = running.spool.tools();
    Ok(json(
        &send_again(&tools, &running.flow_handles, request).await?,
    ))
}

/// Sends letters on their way and waits until they are safe elsewhere.
async fn send_again(
    tools: &Tools,
    flow_handles: &FlowHandles,
    request: RetryRequest,
) -> Result<Retried, ToolError> {
    let (records, unknown) = on_disk(tools, move |tools| Ok(read(tools, request.ids))).await?;
    let before = tools.newest_letter();
    let settled = Arc::new(Settled::default());
    let burst = Burst::new(Arc::clone(&settled), records.iter().map(|_| 1));
    let progress = burst.progress();
    let mut sent = ResentLetters {
        left: unknown,
        ..ResentLetters::default()
    };
    for (record, index) in records.iter().zip(0..) {
        sent.send(tools, flow_handles, record, burst.receipt(index));
    }
    sent.flush(tools, flow_handles);
    drop(burst);
    // A time-out is told by the letters that are left.
    let _ = tokio::time::timeout(PATIENCE, all_settled(&settled, &progress)).await;
    finish(tools, records, &progress, sent.left, before).await
}

fn read(tools: &Tools, mut ids: Vec<LetterId>) -> (Vec<LetterRecord>, Vec<UnsentLetter>) {
    ids.sort_unstable();
    ids.dedup();
    let mut records = Vec::with_capacity(ids.len());
    let mut left = Vec::new();
    for id in ids {
        match tools.letter(id) {
            Ok(record) => records.push(record),
            Err(error) => left.push(UnsentLetter {
                id,
                why: error.to_string(),
            }),
        }
    }
    (records, left)
}

async fn all_settled(settled: &Settled, progress: &Progress) {
    // A fallen burst is one whose last receipt is gone: nothing more will settle.
    while !progress.all_settled() && !progress.has_fallen() {
        settled.changed().await;
    }
}

/// Takes the letters out whose messages are safe.
async fn finish(
    tools: &Tools,
    records: Vec<LetterRecord>,
    progress: &Progress,
    mut left: Vec<UnsentLetter>,
    before: LetterId,
) -> Result<Retried, ToolError> {
    let (mut safe, mut messages): (Vec<LetterId>, Vec<MessageId>) = (Vec::new(), Vec::new());
    for (index, record) in records.iter().enumerate() {
        if progress.is_settled(index) {
            safe.push(record.id);
            messages.push(record.message.id);
        } else if !left.iter().any(|left| left.id == record.id) {
            let why = "its message is not safe elsewhere yet: it may be delivered twice when it is tried again".to_owned();
            left.push(UnsentLetter { id: record.id, why });
        }
    }
    let retried = safe.len() as u64;
    let parked_again = on_disk(tools, move |tools| {
        let again = tools.parked_again(Some(before), &messages)?;
        tools.forget(&safe)?;
        Ok(again)
    });
    Ok(Retried {
        retried,
        parked_again: parked_again.await?,
        left,
    })
}

async fn on_disk<T: Send + 'static>(
    tools: &Tools,
    work: impl FnOnce(&Tools) -> Result<T, ToolError> + Send + 'static,
) -> Result<T, ToolError> {
    let tools = tools.clone();
    tokio::task::spawn_blocking(move || work(&tools))
        .await
        .unwrap_or(Err(ToolError::Closed))
}

/// Where letters go: neighbours that go to the same place are handed over together, so that their order holds.
#[derive(Default)]
struct ResentLetters {
    to: Option<LetterRoute>,
    letters: Vec<ReturnedLetter>,
    refused: Vec<spool::RequeuedLetter>,
    left: Vec<UnsentLetter>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum LetterRoute {
    Queue,
    Chain {
        flow: usize,
        plugin: Option<Arc<str>>,
    },
}

impl ResentLetters {
    fn send(
        &mut self,
        tools: &Tools,
        flow_handles: &FlowHandles,
        record: &LetterRecord,
        receipt: Receipt,
    ) {
        let way = match way(flow_handles, record) {
            Ok(way) => way,
            Err(why) => return self.left.push(UnsentLetter { id: record.id, why }),
        };
        if self.to.as_ref() != Some(&way) {
            self.flush(tools, flow_handles);
        }
        match &way {
            LetterRoute::Queue => self.refused.push(spool::RequeuedLetter {
                record: record.clone(),
                receipt,
            }),
            LetterRoute::Chain { .. } => {
                let delivery = Delivery {
                    message: record.message.clone(),
                    receipt: Some(receipt),
                };
                self.letters.push(ReturnedLetter {
                    delivery,
                    own_topic: record.own_topic,
                });
            }
        }
        self.to = Some(way);
    }

    fn flush(&mut self, tools: &Tools, flow_handles: &FlowHandles) {
        match self.to.take() {
            Some(LetterRoute::Chain { flow, plugin }) => flow_handles
                .of(flow)
                .rerun(plugin.as_deref(), std::mem::take(&mut self.letters)),
            Some(LetterRoute::Queue) => {
                let homeless = tools.back_to_queue(std::mem::take(&mut self.refused));
                let why = "the config has no longer the queue it was refused from".to_owned();
                self.left
                    .extend(homeless.into_iter().map(|record| UnsentLetter {
                        id: record.id,
                        why: why.clone(),
                    }));
            }
            None => {}
        }
    }
}

fn way(flow_handles: &FlowHandles, record: &LetterRecord) -> Result<LetterRoute, String> {
    match record.reason {
        Reason::Unframed => Err("it was no whole message, and only its head was kept".to_owned()),
        Reason::TooLong => Err("it was over a limit, and only its head was kept".to_owned()),
        Reason::Malformed => {
            Err("it was not legal MQTT, and what is kept is not what was sent".to_owned())
        }
        Reason::Refused if record.queue.is_some() => Ok(LetterRoute::Queue),
        // Refused before it came to a queue, for the topic it would have had: that may have changed.
        Reason::Refused
        | Reason::Rejected
        | Reason::Poison
        | Reason::Quarantined
        | Reason::Circled => {
            let flow = flow_handles
                .chains()
                .into_iter()
                .find(|(_, chain)| *chain.name() == record.flow);
            let plugin = record
                .plugin
                .as_ref()
                .map(|plugin| Arc::clone(&plugin.name));
            flow.map(|(flow, _)| LetterRoute::Chain { flow, plugin })
                .ok_or_else(|| format!("the config has no flow `{}`", record.flow))
        }
    }
}
