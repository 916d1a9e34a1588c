//! Tells each upstream what was given up of what it should have had: a message of its own, once the link is there.
//!
//! A record takes what the ledger has and this upstream was not told of, as a JSON array. It goes through a queue like
//! any other message, and when it is safe there, the next commit notes that. A kill in between tells it again.

use std::sync::Arc;

use bytes::Bytes;

use crate::clock::{Now, RunningTime};
use crate::message::{Append, Burst, Marks, Message, MessageId, Outlet, Qos, Settled};
use crate::spool::ledger::format::to_json;
use crate::spool::lock::locked;
use crate::spool::shared::Shared;
use crate::spool::writer::Writer;

/// Shortest time between two records to one upstream.
const TELL_EVERY_US: u64 = 10_000_000;
/// How often it is looked whether a record is safe.
const LOOK_EVERY_US: u64 = 1_000_000;

impl Writer {
    /// Sends the records that are due.
    pub(super) fn report_losses(&mut self, now: RunningTime) {
        for reporter in &mut self.loss_reporters {
            if reporter.due(&self.shared).is_none_or(|due| due > now) {
                continue;
            }
            if reporter.sent.is_some() {
                reporter.next = now.plus_us(LOOK_EVERY_US);
                continue;
            }
            // The one for it may have come since.
            let name = &reporter.link.name;
            let Some(queue) = self.shared.queue_for_records(name) else {
                reporter.next = now.plus_us(LOOK_EVERY_US);
                continue;
            };
            let entries = locked(&self.shared.ledger_store).begin_report(&reporter.link.name);
            let messages: u64 = entries.iter().map(|entry| entry.count).sum();
            tracing::warn!(uplink = %reporter.link.name, messages, entries = entries.len(), "upstream is told what was given up");
            let burst = Burst::new(Arc::new(Settled::default()), [1]);
            let message = record(&self.shared, to_json(entries.iter()), self.reports);
            self.reports += 1;
            reporter.sent = Some(burst.progress());
            reporter.next = now.plus_us(TELL_EVERY_US);
            self.shared.append(vec![Append {
                queue,
                message,
                receipt: Some(burst.receipt(0)),
            }]);
        }
    }
}

fn record(shared: &Shared, entries: serde_json::Value, number: u64) -> Message {
    let now = Now::read();
    Message {
        id: MessageId {
            boot: shared.boot,
            seq: MessageId::OWN + number,
        },
        topic: shared
            .config
            .gap_topic
            .as_ref()
            .map(|topic| Bytes::from(topic.to_string()))
            .unwrap_or_default(),
        payload: Bytes::from(entries.to_string()),
        marks: Marks::of(Qos::AtLeastOnce).with(Marks::CLOCK_UNSET, !now.is_set()),
        received: now.wall,
        uptime: now.uptime,
        ..Message::default()
    }
}
