//! Tells each upstream what was given up of what it should have had: a message of its own, once the link is there.
//!
//! A record takes what the ledger has and this upstream was not told of, as a JSON array. It goes through a queue like
//! any other message, and when it is safe there, the next commit notes that. A kill in between tells it again.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::Keeper;
use crate::clock::Now;
use crate::message::{
    Append, Burst, FlowId, Marks, Message, MessageId, Outlet, Progress, Qos, QueueId, Settled,
};
use crate::spool::ledger::{Books, to_json};
use crate::spool::{Link, Shared, locked};

/// Shortest time between two records to one upstream.
const TELL_EVERY_US: u64 = 10_000_000;
/// How often it is looked whether a record is safe.
const LOOK_EVERY_US: u64 = 1_000_000;

/// One upstream that is told.
pub(super) struct Teller {
    link: Arc<Link>,
    queue: QueueId,
    /// How far the record on its way is settled.
    sent: Option<Arc<Progress>>,
    /// The commit under way notes that it is safe.
    is_noted: bool,
    /// When to look again, or when the next record may go (running clock).
    next_us: u64,
}

/// Those to be told, as the config wants it.
pub(super) fn tellers(shared: &Shared) -> Vec<Teller> {
    if shared.config.gap_topic.is_none() {
        return Vec::new();
    }
    let teller = |link: &Arc<Link>| {
        let queue = shared.config.queue_for_records(&link.name)?;
        Some(Teller {
            link: Arc::clone(link),
            queue,
            sent: None,
            is_noted: false,
            next_us: 0,
        })
    };
    shared.links.iter().filter_map(teller).collect()
}

impl Teller {
    /// When there is something to do (running clock).
    pub(super) fn due(&self, shared: &Shared) -> Option<u64> {
        let has_news = || {
            self.link.up.load(Ordering::Acquire)
                && locked(&shared.books).has_untold(&self.link.name)
        };
        (self.sent.is_some() || has_news()).then_some(self.next_us)
    }

    /// Whether a record is on its way.
    pub(super) fn is_waiting(&self) -> bool {
        self.sent.is_some()
    }

    /// Whether the record on its way is safe.
    pub(super) fn is_safe(&self) -> bool {
        self.sent.as_ref().is_some_and(|sent| sent.all_settled())
    }

    /// A commit is about to note that upstream was told, if the record is safe.
    pub(super) fn note(&mut self, books: &mut Books) {
        if self.is_safe() {
            books.told(&self.link.name);
            self.is_noted = true;
        }
    }

    /// What the commit noted is on disk.
    pub(super) fn committed(&mut self) {
        if std::mem::take(&mut self.is_noted) {
            self.sent = None;
        }
    }

    /// It is not.
    pub(super) fn not_committed(&mut self) {
        self.is_noted = false;
    }
}

impl Keeper {
    /// Sends the records that are due.
    pub(super) fn tell(&mut self, now_us: u64) {
        for teller in &mut self.tellers {
            if teller.due(&self.shared).is_none_or(|due| due > now_us) {
                continue;
            }
            if teller.sent.is_some() {
                teller.next_us = now_us.saturating_add(LOOK_EVERY_US);
                continue;
            }
            let entries = locked(&self.shared.books).seal(&teller.link.name);
            let messages: u64 = entries.iter().map(|entry| entry.count).sum();
            tracing::warn!(uplink = %teller.link.name, messages, entries = entries.len(), "upstream is told what was given up");
            let burst = Burst::new(Arc::new(Settled::default()), [1]);
            let message = record(&self.shared, to_json(entries.iter()), self.told);
            self.told += 1;
            teller.sent = Some(burst.progress());
            teller.next_us = now_us.saturating_add(TELL_EVERY_US);
            self.shared.append(vec![Append {
                queue: teller.queue,
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
        flow: FlowId(u16::MAX),
        topic: shared
            .config
            .gap_topic
            .as_ref()
            .map(|topic| Bytes::from(topic.to_string()))
            .unwrap_or_default(),
        payload: Bytes::from(entries.to_string()),
        marks: Marks::of(Qos::AtLeastOnce).with(Marks::CLOCK_UNSET, !now.is_set()),
        received_us: now.wall_us,
        uptime_us: now.uptime_us,
        ..Message::default()
    }
}
