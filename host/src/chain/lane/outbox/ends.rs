//! What ends here: dead letters, what is given up, and the fate of each message told once.

use std::sync::Arc;

use bytes::Bytes;

use super::{BatchEnds, Outbox};
use crate::chain::lane::item::Item;
use crate::chain::metrics::Fate;
use crate::message::{DeadLetter, Loss, LossReason, Marks, Message, PluginRef, Reason, Receipt};
use crate::words;

impl Outbox {
    /// This payload is a bad one.
    pub(crate) fn accuse(&mut self, item: &Item) {
        self.bad.push(item.device().into());
    }

    /// A plugin failed on this message, or is not asked about it.
    pub(crate) fn poison(&mut self, plugin: &PluginRef, item: &Item, detail: String) {
        self.park(plugin, item, Reason::Poison, detail);
    }

    /// The plugin is to get it later.
    pub(crate) fn hold(&mut self, item: &mut Item) {
        self.mark(item.origin, Fate::Held);
        self.held.push(std::mem::take(item));
    }

    /// Its device is not listened to.
    pub(crate) fn quarantine(&mut self, item: Item, detail: String) {
        self.letter(None, &item, Reason::Quarantined, detail);
    }

    /// The message is given up because of a plugin; the ledger counts it.
    pub(crate) fn give_up(&mut self, item: Item) {
        self.mark(item.origin, Fate::Dropped);
        self.lose(LossReason::PluginFailed, item.message, item.receipt);
    }

    pub(super) fn lose(&mut self, reason: LossReason, message: Message, receipt: Option<Receipt>) {
        self.losses.push(Loss {
            reason,
            // A copy: a slice would keep the whole read buffer until the ledger is written.
            topic: Bytes::copy_from_slice(&message.topic),
            key: message.key,
            device: message.device,
            flow: Some(Arc::clone(&self.flow)),
            count: 1,
            received: message.received,
            is_clock_set: !message.marks.has(Marks::CLOCK_UNSET),
            receipt,
        });
    }

    pub(super) fn park_too_long(&mut self, item: Item) {
        let detail = "the flow's `topic` makes a topic of more than 65,535 bytes".to_owned();
        self.letter(None, &item, Reason::TooLong, detail);
    }

    /// Brokers acknowledge what is sent to a topic of their own and throw it away, so upstream would never say so.
    pub(super) fn park_reserved(&mut self, item: Item) {
        let topic = item.message.topic_str().escape_debug().to_string();
        let detail = format!(
            "its topic `{topic}` begins with `$`: brokers keep such topics for themselves and drop what is sent there; \
             put a level before it in the flow's `topic`, or begin that with `$` if it is meant"
        );
        self.letter(None, &item, Reason::Refused, detail);
    }

    pub(super) fn park(&mut self, plugin: &PluginRef, item: &Item, reason: Reason, detail: String) {
        self.letter(Some(plugin.clone()), item, reason, detail);
    }

    pub(super) fn letter(
        &mut self,
        plugin: Option<PluginRef>,
        item: &Item,
        reason: Reason,
        detail: String,
    ) {
        self.mark(item.origin, Fate::Parked);
        // Much of it is the plugin's own words.
        let detail = words::lines(&detail, words::REASON);
        let message = item.message.clone();
        let receipt = item.receipt.clone();
        let flow = Arc::clone(&self.flow);
        let letter = DeadLetter {
            message,
            flow,
            plugin,
            reason,
            detail,
            own_topic: item.own_topic,
            receipt,
        };
        self.letters.push((item.origin, letter));
    }

    pub(super) fn end(&mut self, item: Item, fate: Fate) {
        self.mark(item.origin, fate);
        self.spreads.end(item.origin, item.message.weight());
        if let Some(receipt) = item.receipt {
            receipt.release();
        }
    }

    pub(super) fn mark(&mut self, origin: u32, fate: Fate) {
        if let Some(known) = self.fates.get_mut(origin as usize) {
            *known = fate.max(*known);
        }
    }

    /// Gives what there is to hand over to a replay, which neither counts nor releases it.
    pub(crate) fn take_ends(&mut self, ends: &mut BatchEnds) {
        std::mem::swap(&mut self.leaving, &mut ends.leaving);
        std::mem::swap(&mut self.letters, &mut ends.letters);
        std::mem::swap(&mut self.fates, &mut ends.fates);
        ends.leaving.sort_by_key(|(origin, _)| *origin);
        ends.letters.sort_by_key(|(origin, _)| *origin);
    }
}
