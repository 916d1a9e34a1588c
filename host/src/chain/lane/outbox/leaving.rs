//! What leaves the flow: for a queue, or for another flow.

use super::{Outbox, add};
use crate::chain::lane::item::Item;
use crate::chain::lane::onward::Onward;
use crate::chain::lane::template::OutgoingTopic;
use crate::chain::metrics::{Fate, FlowMetrics};
use crate::chain::tap::{FlowTaps, TapPoint};
use crate::chain::trace::PluginFate;
use crate::clock::{Now, Uptime};
use crate::message::{Append, Delivery, Destination, LossReason, Message, Outlet, Receipt};

/// A message on its way out of the flow.
#[derive(Debug)]
pub(crate) struct Departure {
    pub(crate) target: Destination,
    pub(crate) message: Message,
    pub(crate) receipt: Option<Receipt>,
}

impl Outbox {
    /// The message leaves for these places; for none it is dropped on purpose.
    pub(crate) fn leave(&mut self, mut item: Item, targets: &[Destination]) {
        let Some((last, others)) = targets.split_last() else {
            return self.end(item, Fate::Filtered);
        };
        if !item.own_topic
            && let Some(template) = &mut self.template
        {
            match template.apply(&item.message) {
                Some((topic, key)) => item.message.rename(topic, key),
                None => return self.park_too_long(item),
            }
        }
        if item.message.topic.starts_with(b"$")
            && !self
                .template
                .as_ref()
                .is_some_and(OutgoingTopic::says_dollar)
        {
            return self.park_reserved(item);
        }
        self.mark(item.origin, Fate::Forwarded);
        if self.settles_with_any && !others.is_empty() {
            item.receipt = item.receipt.map(Receipt::any);
        } else {
            add(item.receipt.as_ref(), others.len());
        }
        for target in others {
            let leaving = Departure {
                target: target.clone(),
                message: item.message.clone(),
                receipt: item.receipt.clone(),
            };
            self.leaving.push((item.origin, leaving));
        }
        let leaving = Departure {
            target: last.clone(),
            message: item.message,
            receipt: item.receipt,
        };
        self.leaving.push((item.origin, leaving));
    }

    /// What there is of the batch beside what is held, and where each is.
    pub(in crate::chain::lane) fn seen(&self) -> impl Iterator<Item = (&Message, PluginFate)> {
        let next = self.next.iter().map(|item| &item.message);
        let leaving = self.leaving.iter().map(|(_, leaving)| &leaving.message);
        let letters = self.letters.iter().map(|(_, letter)| {
            let parked = PluginFate::Parked(letter.reason.name());
            (&letter.message, parked)
        });
        let goes = next.chain(leaving).map(|one| (one, PluginFate::Goes));
        goes.chain(letters)
    }

    /// Shows what leaves and what is parked to those who look on.
    pub(in crate::chain::lane) fn show(&self, taps: &FlowTaps, now: Now) {
        for (_, leaving) in &self.leaving {
            let leaves = || TapPoint::Leaves(leaving.target.clone());
            taps.show(leaves, [&leaving.message], now);
        }
        for (_, letter) in &self.letters {
            let parked = || TapPoint::Parked(letter.reason, letter.detail.clone());
            taps.show(parked, [&letter.message], now);
        }
    }

    /// Bytes of what was handed over since the last call.
    pub(in crate::chain::lane) fn take_brought(&mut self) -> usize {
        std::mem::take(&mut self.brought)
    }

    /// Hands everything over, in the order of the inputs: one append, and one batch for each flow it leads to.
    pub(in crate::chain::lane) fn hand_over(
        &mut self,
        outlet: &dyn Outlet,
        onward: &Onward,
        metrics: &FlowMetrics,
        now: impl Fn() -> Uptime,
    ) {
        if !self.in_order {
            // A plugin's side port was served before what later plugins made of earlier inputs.
            self.leaving.sort_by_key(|(origin, _)| *origin);
        }
        // Before the receipts are out of our hands: whoever sees all settled shall find all counted.
        metrics.settle(&self.fates);
        let before = self.brought;
        let mut appends = Vec::with_capacity(self.leaving.len());
        let mut to_flows = Vec::new();
        for (_, leaving) in self.leaving.drain(..) {
            let Departure {
                target,
                mut message,
                receipt,
            } = leaving;
            if matches!(target, Destination::Queue(_)) {
                message.show_trace(&now);
            }
            self.brought += message.weight();
            match target {
                Destination::Queue(queue) => appends.push(Append {
                    queue,
                    message,
                    receipt,
                }),
                Destination::Flow(name) => to_flows.push((name, Delivery { message, receipt })),
            }
        }
        metrics.bytes_out.inc_by((self.brought - before) as u64);
        if !to_flows.is_empty() {
            for message in onward.hand_on(to_flows) {
                self.lose(LossReason::MemoryFull, message, None);
            }
        }
        if !self.losses.is_empty() {
            outlet.lose(std::mem::take(&mut self.losses));
        }
        if !self.letters.is_empty() {
            outlet.park(self.letters.drain(..).map(|(_, letter)| letter).collect());
        }
        if !appends.is_empty() {
            outlet.append(appends);
        }
    }
}
