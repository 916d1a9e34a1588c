//! The running config, flow by flow: what was put into place of another one's is from then on what runs.
//!
//! Numbers of flows and queues are those of the gateway's start. A flow that is added gets the next one; one that is
//! removed keeps its own, without plugins and topics, for when it comes back.

use crate::chain;
use crate::message::{FlowId, QueueId};

use super::tree::{Entry, Item, Node, Place, Table};
use super::{Config, RouteSpec};

impl Config {
    /// The flow of this name, also one that was removed.
    pub(super) fn flow(&self, name: &str) -> Option<&chain::Config> {
        self.flows.iter().find(|flow| *flow.name == *name)
    }

    /// Whether all queues that a flow of `other` leads to are here, on the same links.
    pub(super) fn knows_queues(&self, other: &Self, flow: &chain::Config) -> bool {
        flow.ports
            .values()
            .flatten()
            .all(|queue| self.queue(other, *queue).is_some())
    }

    /// The queue here that is one of `other`.
    fn queue(&self, other: &Self, queue: QueueId) -> Option<QueueId> {
        let wanted = other.spool.queues.get(usize::from(queue.0))?;
        let is_it = |(_, queue): &(u16, &crate::spool::QueueConfig)| {
            (&queue.uplink, &queue.class, &queue.link)
                == (&wanted.uplink, &wanted.class, &wanted.link)
        };
        (0..)
            .zip(&self.spool.queues)
            .find(is_it)
            .map(|(index, _)| QueueId(index))
    }

    /// Puts the flow called `name` of `other` into place, which `difference` has found possible; its number.
    pub fn adopt(&mut self, other: &Self, name: &str) -> usize {
        let known = self.flows.iter().position(|flow| *flow.name == *name);
        let index = known.unwrap_or(self.flows.len());
        let id = FlowId(u16::try_from(index).unwrap_or(u16::MAX));
        let Some(theirs) = other.flows.iter().position(|flow| *flow.name == *name) else {
            return index;
        };
        let mut flow = chain::Config {
            flow: id,
            ..other.flows[theirs].clone()
        };
        for queue in flow.ports.values_mut().flatten() {
            *queue = self.queue(other, *queue).unwrap_or(*queue);
        }
        for plugin in &mut flow.plugins {
            // What `[gateway]` says waits for a restart.
            plugin.trust = self.gateway.trust.clone();
            plugin.limits.stack_bytes = self.gateway.plugin_stack_bytes;
        }
        if known.is_some() {
            self.flows[index] = flow;
            self.recordings[index] = other.recordings[theirs].clone();
        } else {
            self.flows.push(flow);
            self.recordings.push(other.recordings[theirs].clone());
            self.spool.flows.push(name.into());
        }
        for source in &mut self.sources {
            source.routes.retain(|route| route.flow != id);
            let theirs = other
                .sources
                .iter()
                .filter(|theirs| theirs.name == source.name)
                .flat_map(|theirs| &theirs.routes);
            let mine = theirs
                .filter(|route| *route.name == *name)
                .map(|route| RouteSpec {
                    flow: id,
                    ..route.clone()
                });
            source.routes.extend(mine);
        }
        self.rewrite(
            name,
            other
                .origin
                .tree
                .table("flow")
                .and_then(|flows| flows.table(name)),
        );
        index
    }

    /// Takes a flow away; its number.
    pub fn remove(&mut self, name: &str) -> Option<usize> {
        let index = self.flows.iter().position(|flow| *flow.name == *name)?;
        self.flows[index].plugins.clear();
        self.recordings[index] = None;
        let id = self.flows[index].flow;
        self.sources
            .iter_mut()
            .for_each(|source| source.routes.retain(|route| route.flow != id));
        self.rewrite(name, None);
        Some(index)
    }

    /// What was written of a flow, for the next comparison.
    fn rewrite(&mut self, name: &str, written: Option<&Table>) {
        let flows = self
            .origin
            .tree
            .entries
            .iter_mut()
            .find(|entry| entry.key == "flow");
        let Some(Node::Table(flows)) = flows.map(|entry| &mut entry.item.node) else {
            return;
        };
        flows.entries.retain(|entry| entry.key != name);
        if let Some(table) = written {
            let place = Place::whole(super::layers::FILE);
            let item = Item {
                place,
                node: Node::Table(table.clone()),
            };
            flows.entries.push(Entry {
                key: name.to_owned(),
                place,
                item,
            });
        }
    }
}
