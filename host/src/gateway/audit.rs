//! The history of changes, kept here and, where the config says so, told upstream like any message.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::chain::ChangeStep;
use crate::clock::Now;
use crate::config::Config;
use crate::message::{Append, Marks, Message, Mint, Qos, QueueId};
use crate::spool::Spool;
use crate::versions::history::{History, HistoryEvent};
use crate::words;

/// What happened to the config, as the history has it.
pub(super) const RELOADED: &str = "reloaded";
pub(super) const CONFIG_REFUSED: &str = "config-refused";

/// Takes note of changes. Cheap to clone.
#[derive(Clone)]
pub(super) struct Audit {
    pub(super) history: History,
    upstream: Option<Upstream>,
}

#[derive(Clone)]
struct Upstream {
    topic: Bytes,
    spool: Arc<Spool>,
    mint: Arc<Mint>,
}

impl Audit {
    /// As the config wants it.
    pub(super) fn new(config: &Config, spool: Arc<Spool>, mint: Arc<Mint>) -> Self {
        let topic = config
            .gateway
            .audit_topic
            .as_ref()
            .map(|topic| Bytes::from(topic.to_string()));
        let upstream = topic.map(|topic| Upstream { topic, spool, mint });
        Self {
            history: History::of(&config.gateway.data_dir),
            upstream,
        }
    }

    /// Something has happened. The line in the history is the durable one: until it is accepted or written, what goes
    /// upstream lives in RAM.
    pub(super) fn note(&self, event: &HistoryEvent) {
        let why = event
            .why
            .as_deref()
            .map(|why| words::lines(why, words::REASON));
        let event = HistoryEvent {
            why,
            ..event.clone()
        };
        self.history.note(&event);
        if let Some(upstream) = &self.upstream {
            upstream.tell(&open(event));
        }
    }
}

/// An event for whoever may use the loopback port, and for upstream: a plugin's words, topics, payloads and paths stay in the
/// history.
pub(super) fn open(event: HistoryEvent) -> HistoryEvent {
    let why = event.why.as_deref().map(|why| match &*event.what {
        // Numbers and names of the config.
        RELOADED | CONFIG_REFUSED => why.to_owned(),
        _ => {
            let mut steps = ChangeStep::ALL.map(ChangeStep::name).into_iter();
            let step = steps.find(|step| why.split(':').next() == Some(*step));
            let more = "`tidegate history` says more";
            step.map_or(more.to_owned(), |step| format!("{step}: {more}"))
        }
    });
    let mut figures = event.figures;
    if let Some(Value::Object(figures)) = &mut figures
        && figures.get("differences").is_some_and(|one| !one.is_null())
    {
        figures.remove("differences");
    }
    HistoryEvent {
        why,
        figures,
        ..event
    }
}

impl Upstream {
    fn tell(&self, event: &HistoryEvent) {
        let Ok(payload) = serde_json::to_vec(event) else {
            return;
        };
        let payload = Bytes::from(payload);
        let now = Now::read();
        let append = |queue: QueueId| {
            let message = Message {
                id: self.mint.take(1),
                topic: self.topic.clone(),
                payload: payload.clone(),
                marks: Marks::of(Qos::AtLeastOnce).with(Marks::CLOCK_UNSET, !now.is_set()),
                received: now.wall,
                uptime: now.uptime,
                ..Message::default()
            };
            Append {
                queue,
                message,
                receipt: None,
            }
        };
        let queues = self.spool.queues_for_records().into_iter();
        self.spool.outlet().append(queues.map(append).collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::versions::history::Who;

    #[test]
    fn what_a_plugin_says_and_what_devices_sent_stay_in_the_history() {
        let event = |what: &str, why: &str| HistoryEvent {
            why: Some(why.to_owned()),
            figures: Some(
                serde_json::json!({ "compared": 7, "differences": [{ "topic": "zebra" }] }),
            ),
            ..HistoryEvent::now(&Who::File, "climate", "rule", what)
        };
        let told = open(event(
            "rolled-back",
            "probation: trap: on topic `zebra`, payload `{}`",
        ));
        assert_eq!(
            told.why.as_deref(),
            Some("probation: `tidegate history` says more")
        );
        assert_eq!(told.figures, Some(serde_json::json!({ "compared": 7 })));
        let told = open(event("flow-refused", "zebra: no such file"));
        assert_eq!(told.why.as_deref(), Some("`tidegate history` says more"));
        let told = open(event(RELOADED, "flow climate"));
        assert_eq!(told.why.as_deref(), Some("flow climate"));
    }
}
