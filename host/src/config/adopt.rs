//! The running config, flow by flow and end by end: what was put into place of another one's is from then on what runs.
//!
//! Numbers of flows and queues are those of the gateway's start. A flow that is added gets the next one; one that is
//! removed keeps its own, without plugins and topics, for when it comes back.

use crate::chain;
use crate::message::{Destination, FlowId, QueueId};
use crate::spool::{Policy, QueueConfig};
use crate::uplink::{self, Drain};

use super::difference::base;
use super::tree::{Entry, Item, Node, Place, Table};
use super::{Config, RouteSpec, SourceSpec};

impl Config {
    /// The flow of this name, also one that was removed.
    pub fn flow(&self, name: &str) -> Option<&chain::Config> {
        self.flows.iter().find(|flow| *flow.name == *name)
    }

    /// Whether there is a flow of this name now.
    pub fn has_flow(&self, name: &str) -> bool {
        let flows = self.origin.tree.table("flow");
        flows.is_some_and(|flows| flows.table(name).is_some())
    }

    /// How many flows there are at most behind the one of this name, on a way that its ports lead.
    pub fn depth(&self, name: &str) -> usize {
        let mut reached: Vec<&str> = vec![name];
        let mut depth = 0;
        // A circle is refused by `load`; whatever runs, this ends.
        while depth < self.flows.len() {
            let flows = reached.iter().filter_map(|name| self.flow(name));
            let mut next: Vec<&str> = flows
                .flat_map(chain::Config::flows)
                .map(|name| &**name)
                .collect();
            next.sort_unstable();
            next.dedup();
            if next.is_empty() {
                break;
            }
            (reached, depth) = (next, depth + 1);
        }
        depth
    }

    /// Whether all queues that a flow of `other` leads to are here, on the same links.
    pub(super) fn knows_queues(&self, other: &Self, flow: &chain::Config) -> bool {
        flow.queues()
            .all(|queue| self.queue(other, queue).is_some())
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
        for target in flow.ports.values_mut().flatten() {
            if let Destination::Queue(queue) = target {
                *queue = self.queue(other, *queue).unwrap_or(*queue);
            }
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
        self.rewrite("flow", name, other);
        index
    }

    /// Puts a source of `other` into place, with the routes that it has here.
    pub fn put_source(&mut self, other: &Self, name: &str) {
        let Some(theirs) = other.sources.iter().find(|spec| *spec.name == *name) else {
            return;
        };
        let mut spec = theirs.clone();
        spec.routes.clear();
        match self.sources.iter_mut().find(|spec| *spec.name == *name) {
            Some(mine) => {
                spec.routes = std::mem::take(&mut mine.routes);
                *mine = spec;
            }
            None => self.sources.push(spec),
        }
        self.rewrite("source", base(name), other);
    }

    /// Takes a source away; `false` while a flow still takes from it.
    pub fn remove_source(&mut self, other: &Self, name: &str) -> bool {
        let is_it = |spec: &SourceSpec| *spec.name == *name;
        if self
            .sources
            .iter()
            .any(|spec| is_it(spec) && !spec.routes.is_empty())
        {
            return false;
        }
        self.sources.retain(|spec| !is_it(spec));
        self.rewrite("source", base(name), other);
        true
    }

    /// The uplink of this name.
    pub fn uplink(&self, name: &str) -> Option<&uplink::Config> {
        self.uplinks.iter().find(|uplink| *uplink.name == *name)
    }

    /// Puts an uplink of `other` into place, which `difference` has found possible. It goes on draining what it drained.
    pub fn put_uplink(&mut self, other: &Self, name: &str) -> Option<&uplink::Config> {
        let mut theirs = other.uplink(name)?.clone();
        self.renumber(other, &mut theirs.drains);
        if let Some(fallback) = &mut theirs.fallback {
            self.renumber(other, &mut fallback.drains);
        }
        let index = self.uplinks.iter().position(|uplink| *uplink.name == *name);
        if let Some(index) = index {
            let is_new = |drain: &Drain| theirs.drains.iter().any(|new| new.queue == drain.queue);
            let mut before = std::mem::take(&mut self.uplinks[index].drains);
            before.retain(|drain| !is_new(drain));
            theirs.drains.extend(before);
            self.uplinks[index] = theirs;
        } else {
            self.uplinks.push(theirs);
        }
        self.rewrite("uplink", base(name), other);
        self.uplink(name)
    }

    /// Takes an uplink away; `false` while a flow still leads to it.
    pub fn remove_uplink(&mut self, other: &Self, name: &str) -> bool {
        let is_its = |queue: QueueId| {
            let known = self.spool.queues.get(usize::from(queue.0));
            known.is_some_and(|queue| *queue.link == *name)
        };
        let flows = self.flows.iter().filter(|flow| self.has_flow(&flow.name));
        if flows.flat_map(chain::Config::queues).any(is_its) {
            return false;
        }
        self.uplinks.retain(|uplink| *uplink.name != *name);
        self.rewrite("uplink", base(name), other);
        true
    }

    /// Takes over what `other` says a class gives up: of which queues here, and what.
    pub fn put_class(&mut self, other: &Self, name: &str) -> Vec<(QueueId, Policy)> {
        let of_class = |queue: &&QueueConfig| *queue.class == *name;
        self.rewrite("class", name, other);
        let found = other.spool.queues.iter().find(of_class);
        let Some(policy) = found.map(|queue| queue.policy) else {
            // Nothing leads to it there; what is owed here is given up as before.
            return Vec::new();
        };
        let queues = (0..).zip(&mut self.spool.queues);
        let of_class = queues.filter(|(_, queue)| *queue.class == *name);
        of_class
            .map(|(index, queue)| {
                queue.policy = policy;
                (QueueId(index), policy)
            })
            .collect()
    }

    fn renumber(&self, other: &Self, drains: &mut Vec<Drain>) {
        drains.retain_mut(|drain| {
            let queue = self.queue(other, drain.queue);
            queue.is_some_and(|queue| {
                drain.queue = queue;
                true
            })
        });
    }

    /// Whether all queues that an uplink of `other` drains are here, on the same links.
    pub(super) fn has_queues_of(&self, other: &Self, uplink: &str) -> bool {
        let drains = other.uplink(uplink).map(|uplink| &uplink.drains);
        let mut drains = drains.into_iter().flatten();
        drains.all(|drain| self.queue(other, drain.queue).is_some())
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
        self.rewrite_as("flow", name, None);
        Some(index)
    }

    /// Takes over what `other` has written of a flow, source or uplink, for the next comparison.
    fn rewrite(&mut self, kind: &str, name: &str, other: &Self) {
        let written = other.origin.tree.table(kind);
        self.rewrite_as(kind, name, written.and_then(|all| all.table(name)));
    }

    fn rewrite_as(&mut self, kind: &str, name: &str, written: Option<&Table>) {
        let place = Place::whole(super::layers::FILE);
        let tree = &mut self.origin.tree.entries;
        let index = tree.iter().position(|entry| entry.key == kind);
        let index = index.unwrap_or_else(|| {
            let node = Node::Table(Table::default());
            let item = Item { place, node };
            let key = kind.to_owned();
            tree.push(Entry { key, place, item });
            tree.len() - 1
        });
        let Node::Table(flows) = &mut tree[index].item.node else {
            return;
        };
        flows.entries.retain(|entry| entry.key != name);
        if let Some(table) = written {
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
