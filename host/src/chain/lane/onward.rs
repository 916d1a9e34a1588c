//! What goes from one flow into another: the ways out of a flow, and how a flow takes in what comes on one.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::version::Ports;
use crate::chain::metrics::{Fate, FlowMetrics};
use crate::chain::settings::Config;
use crate::message::{
    Delivery, Destination, FlowId, Flows, Intake, Message, Pattern, Receipt, with_shorter_expiry,
};

/// The flows that the ports of a chain lead to.
pub(crate) struct Onward(BTreeMap<Arc<str>, Arc<dyn Intake>>);

impl Onward {
    pub(crate) fn of(ports: &Ports, flows: &dyn Flows) -> Self {
        let names = ports.values().flatten().filter_map(|target| match target {
            Destination::Flow(name) => Some(name),
            Destination::Queue(_) => None,
        });
        Self(
            names
                .map(|name| (Arc::clone(name), flows.flow(name)))
                .collect(),
        )
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.keys()
    }

    /// Whether all of them may be brought more.
    pub(crate) fn has_room(&self) -> bool {
        self.0.values().all(|flow| flow.has_room())
    }

    /// Hands each flow what is for it, in order; the answer is what nobody waits for and there is no room for.
    pub(crate) fn hand_on(&self, mut leaving: Vec<(Arc<str>, Delivery)>) -> Vec<Message> {
        let mut left = Vec::new();
        for (name, flow) in &self.0 {
            let has_room = flow.has_room();
            let mut batch = Vec::new();
            for (_, delivery) in leaving.extract_if(.., |(to, _)| *to == *name) {
                if has_room || delivery.receipt.is_some() {
                    batch.push(delivery);
                } else {
                    left.push(delivery.message);
                }
            }
            if !batch.is_empty() {
                flow.deliver(batch);
            }
        }
        left
    }
}

/// What a flow takes of what others lead to it.
pub(crate) struct FlowEntry {
    pub(crate) flow: FlowId,
    pub(crate) patterns: Vec<Pattern>,
    /// Longest life of a message, seconds; `None`: no bound.
    pub(crate) expires: Option<u32>,
}

impl FlowEntry {
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            flow: config.flow,
            patterns: config.patterns.clone(),
            expires: config.expires,
        }
    }

    /// Makes a batch of another flow one of this; of one from a source nothing changes. What matches none of the flow's topics
    /// ends here, as what a plugin does not name.
    pub(crate) fn take(&self, mut batch: Vec<Delivery>, metrics: &FlowMetrics) -> Vec<Delivery> {
        let is_own = |delivery: &Delivery| delivery.message.flow == Some(self.flow);
        if batch.first().is_none_or(is_own) {
            return batch;
        }
        let others: Vec<_> = batch
            .extract_if(.., |delivery| !self.adopt(&mut delivery.message))
            .collect();
        metrics.settle(&vec![Fate::Filtered; others.len()]);
        let receipts = others.into_iter().filter_map(|delivery| delivery.receipt);
        receipts.for_each(Receipt::release);
        batch
    }

    /// `false` for one that the flow does not take.
    fn adopt(&self, message: &mut Message) -> bool {
        if !self.patterns.is_empty() {
            let topic = message.topic_str();
            let Some(key) = self.patterns.iter().find_map(|own| own.matches(topic)) else {
                return false;
            };
            (message.key, message.device) = (key, None);
        }
        message.flow = Some(self.flow);
        if let Some(headers) = self
            .expires
            .and_then(|most| with_shorter_expiry(&message.headers, most))
        {
            message.headers = headers;
        }
        true
    }
}
