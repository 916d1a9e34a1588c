//! Counts the messages of one queue that one commit gives up, by topic: one look-up a message, one entry a topic.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::message::{LossReason, Marks, Message, Seq};
use crate::spool::ledger::{LedgerEntry, QueuePlace};

#[derive(Debug)]
pub(crate) struct LossCounts {
    blank: LedgerEntry,
    entries: HashMap<Bytes, LedgerEntry>,
}

impl LossCounts {
    pub(crate) fn new(reason: LossReason, uplink: &Arc<str>, class: &Arc<str>) -> Self {
        Self {
            blank: LedgerEntry::plain(reason, uplink, class, 0, 0),
            entries: HashMap::new(),
        }
    }

    /// The same of messages of this flow alone; of none where its name is empty.
    pub(crate) fn of_flow(mut self, name: Arc<str>) -> Self {
        self.blank.flow = Some(name).filter(|name| !name.is_empty());
        self
    }

    pub(crate) fn add(&mut self, place: Seq, message: &Message) {
        let place = QueuePlace::of(place);
        let is_set = !message.marks.has(Marks::CLOCK_UNSET);
        // What shares a topic may still be of several devices.
        let name = message
            .device
            .as_ref()
            .map(|device| Bytes::from([&message.topic, &b"\0"[..], device].concat()));
        if let Some(entry) = self
            .entries
            .get_mut(name.as_ref().unwrap_or(&message.topic))
        {
            entry.count += 1;
            entry.first_us = entry.first_us.min(message.received.0);
            entry.last_us = entry.last_us.max(message.received.0);
            entry.is_clock_set &= is_set;
            (entry.first_place, entry.last_place) =
                (entry.first_place.min(place), entry.last_place.max(place));
            return;
        }
        let key = message.key();
        let entry = LedgerEntry {
            topic: Some(message.topic_str().into()),
            device: (!key.is_empty()).then(|| String::from_utf8_lossy(key).into()),
            count: 1,
            first_us: message.received.0,
            last_us: message.received.0,
            is_clock_set: is_set,
            first_place: place,
            last_place: place,
            ..self.blank.clone()
        };
        // A copy: the topic is a slice of the chunk or read burst it came in.
        self.entries.insert(
            name.unwrap_or_else(|| Bytes::copy_from_slice(&message.topic)),
            entry,
        );
    }

    pub(crate) fn into_entries(self) -> impl Iterator<Item = LedgerEntry> {
        self.entries.into_values()
    }
}
