//! The history of changes, kept here and, where the config says so, told upstream like any message.

use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Now;
use crate::config::Config;
use crate::message::{Append, Marks, Message, Mint, Qos, QueueId};
use crate::spool::Spool;
use crate::versions::history::{History, HistoryEvent};
use crate::words;

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
            upstream.tell(&event);
        }
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
                received_us: now.wall_us,
                uptime_us: now.uptime_us,
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
