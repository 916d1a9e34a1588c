//! The running config, flow by flow and end by end: what was put into place of another one's is from then on what runs.
//!
//! Numbers of flows and queues are those of the gateway's start. One that is added gets the next one; one that is removed
//! keeps its own, without plugins and topics, for when it comes back.

use std::sync::Arc;

use crate::chain;
use crate::message::{Destination, FlowId, QueueId};
use crate::spool::{Policy, QueueConfig};
use crate::uplink::{self, Drain};

use super::difference::{DEVICES, TELEMETRY, base};
use super::priority::PRIORITY;
use super::tree::{Node, Place, Table, TomlEntry, TomlItem};
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
    pub fn knows_queues(&self, other: &Self, flow: &chain::Config) -> bool {
        flow.queues()
            .all(|queue| self.queue(other, queue).is_some())
    }

    /// Whether all of `queues` of `other` are here, on the same links, or may come.
    pub(super) fn may_have(&self, other: &Self, mut queues: impl Iterator<Item = QueueId>) -> bool {
        queues.all(|queue| {
            let wanted = other.spool.queues.get(usize::from(queue.0));
            let may_come = wanted.is_some_and(|wanted| self.may_come(wanted));
            may_come || self.queue(other, queue).is_some()
        })
    }

    /// The queues of `other` that are not here and may come.
    pub fn coming_queues(&self, other: &Self) -> Vec<QueueConfig> {
        let wanted = other.spool.queues.iter();
        wanted
            .filter(|wanted| self.may_come(wanted))
            .cloned()
            .collect()
    }

    /// Whether a queue that is not here may come: one on a connection of its own for priority, only when that is here.
    fn may_come(&self, wanted: &QueueConfig) -> bool {
        let is_it =
            |queue: &QueueConfig| (&queue.uplink, &queue.class) == (&wanted.uplink, &wanted.class);
        let is_known = self.spool.queues.iter().any(is_it);
        let is_own = wanted.link.ends_with(PRIORITY);
        !is_known && (!is_own || self.uplink(&wanted.link).is_some())
    }

    /// The queue here that is one of `other`.
    fn queue(&self, other: &Self, queue: QueueId) -> Option<QueueId> {
        let wanted = other.spool.queues.get(usize::from(queue.0))?;
        let is_it = |(_, queue): &(u16, &QueueConfig)| {
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
        let theirs = other.flows.iter().position(|flow| *flow.name == *name);
        let (Some(id), Some(theirs)) = (FlowId::at(index), theirs) else {
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

    /// Takes a source away, unless a flow still takes from it: the first that does.
    pub fn remove_source(&mut self, other: &Self, name: &str) -> Result<(), Arc<str>> {
        let is_it = |spec: &SourceSpec| *spec.name == *name;
        let mut own = self.sources.iter().filter(|spec| is_it(spec));
        if let Some(route) = own.find_map(|spec| spec.routes.first()) {
            return Err(Arc::clone(&route.name));
        }
        self.sources.retain(|spec| !is_it(spec));
        self.rewrite("source", base(name), other);
        Ok(())
    }

    /// Takes keys of plugins that could not be read before from `other`, which names the same ones.
    pub fn regain_keys(&mut self, other: &Self) {
        let written = |config: &Self| {
            let gateway = config.origin.tree.table("gateway");
            let keys = gateway.and_then(|gateway| gateway.get("plugin_keys"));
            keys.map(|keys| keys.node.to_json())
        };
        if self.gateway.trust.missing.is_empty() || written(self) != written(other) {
            return;
        }
        self.gateway.trust.keys = Arc::clone(&other.gateway.trust.keys);
        self.gateway.trust.missing = Arc::clone(&other.gateway.trust.missing);
        let plugins = self.flows.iter_mut().flat_map(|flow| &mut flow.plugins);
        plugins.for_each(|plugin| plugin.trust = self.gateway.trust.clone());
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

    /// Takes an uplink away, unless a flow still leads to it: the first that does.
    pub fn remove_uplink(&mut self, other: &Self, name: &str) -> Result<(), Arc<str>> {
        let is_its = |queue: QueueId| {
            let known = self.spool.queues.get(usize::from(queue.0));
            known.is_some_and(|queue| *queue.link == *name)
        };
        let mut flows = self.flows.iter().filter(|flow| self.has_flow(&flow.name));
        if let Some(flow) = flows.find(|flow| flow.queues().any(is_its)) {
            return Err(Arc::clone(&flow.name));
        }
        self.uplinks.retain(|uplink| *uplink.name != *name);
        self.rewrite("uplink", base(name), other);
        Ok(())
    }

    /// Each queue here, and whether an uplink drains it.
    pub fn drained(&self) -> impl Iterator<Item = (QueueId, bool)> {
        let drains =
            |uplink: &uplink::Config, queue| uplink.drains.iter().any(|drain| drain.queue == queue);
        let is_drained = move |queue| self.uplinks.iter().any(|uplink| drains(uplink, queue));
        let all = (0..).zip(&self.spool.queues);
        all.map(move |(index, _)| (QueueId(index), is_drained(QueueId(index))))
    }

    /// Takes over the register of devices of `other`. `false` where a queue of its events is not here: it stays as it is.
    pub fn put_devices(&mut self, other: &Self) -> bool {
        let mut theirs = other.devices.clone();
        for target in theirs.iter_mut().flat_map(|config| &mut config.events) {
            if let Destination::Queue(queue) = target {
                match self.queue(other, *queue) {
                    Some(own) => *queue = own,
                    None => return false,
                }
            }
        }
        self.devices = theirs;
        self.put_table(other, DEVICES);
        true
    }

    /// Takes over from `other` who is traced, and who is told.
    pub fn put_traces(&mut self, other: &Self) {
        self.traces = other.traces.clone();
        self.put_table(other, TELEMETRY);
    }

    /// What is written in a table that there is one of is now what `other` has.
    fn put_table(&mut self, other: &Self, table: &str) {
        let tree = &mut self.origin.tree.entries;
        tree.retain(|entry| entry.key != table);
        let written = other.origin.tree.entries.iter();
        tree.extend(written.filter(|entry| entry.key == table).cloned());
    }

    /// Takes over what `other` has written of a class.
    pub fn put_class(&mut self, other: &Self, name: &str) {
        self.rewrite("class", name, other);
    }

    /// Takes over what the classes of `other` give up: of which queues here, and what. Of a class that nothing leads to
    /// there it is given up as before.
    pub fn put_policies(&mut self, other: &Self) -> Vec<(QueueId, Policy)> {
        let mut changed = Vec::new();
        for (index, queue) in (0..).zip(&mut self.spool.queues) {
            let mut theirs = other.spool.queues.iter();
            let found = theirs.find(|theirs| theirs.class == queue.class);
            if let Some(found) = found.filter(|found| found.policy != queue.policy) {
                queue.policy = found.policy;
                changed.push((QueueId(index), found.policy));
            }
        }
        changed
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

    /// Whether all queues that an uplink of `other` drains are here, on the same links, or may come.
    pub(super) fn may_have_queues_of(&self, other: &Self, uplink: &str) -> bool {
        let drains = other.uplink(uplink).map(|uplink| &uplink.drains);
        let drains = drains.into_iter().flatten();
        self.may_have(other, drains.map(|drain| drain.queue))
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
            let item = TomlItem { place, node };
            let key = kind.to_owned();
            tree.push(TomlEntry { key, place, item });
            tree.len() - 1
        });
        let Node::Table(flows) = &mut tree[index].item.node else {
            return;
        };
        flows.entries.retain(|entry| entry.key != name);
        if let Some(table) = written {
            let item = TomlItem {
                place,
                node: Node::Table(table.clone()),
            };
            flows.entries.push(TomlEntry {
                key: name.to_owned(),
                place,
                item,
            });
        }
    }
}
