//! Sources, uplinks, classes and queues that are others in the config, while the gateway runs. Those that are new are there
//! before the flows that need them, and those that are gone go when no flow needs them any more.

use std::sync::Arc;

use super::super::order::ChangeLine;
use super::Driver;
use crate::config::{Config, ConfigDifference, EndpointChanges};
use crate::spool::NotAdded;
use crate::words::with_causes;

impl Driver {
    /// Queues come that flows are to lead to.
    pub(super) fn add_queues(&mut self, new: &Config) -> Result<(), NotAdded> {
        let coming = self.parts.config.coming_queues(new);
        if coming.is_empty() {
            return Ok(());
        }
        let board = &self.desk.board;
        let added = self.parts.spool.add_queues(coming, &|| board.is_stopping());
        // The spool gives them their numbers.
        self.parts.config.spool.queues = self.parts.spool.queues();
        if let Err(error) = &added {
            tracing::error!(%error, "a queue was not added: what leads to it stays as it is");
        }
        added
    }

    /// Uplinks begin, or begin anew; sources do when their routes are known.
    pub(super) fn put_ends(&mut self, new: &Config, difference: &ConfigDifference) {
        for name in &difference.classes {
            self.parts.config.put_class(new, name);
            tracing::info!(class = name, "the class is as the config says now");
        }
        for (queue, policy) in self.parts.config.put_policies(new) {
            self.parts.spool.set_policy(queue, policy);
        }
        for name in &difference.sources.put {
            self.parts.config.put_source(new, name);
        }
        let mut put = Vec::new();
        for name in &difference.uplinks.put {
            if let Some(config) = self.parts.config.put_uplink(new, name) {
                tracing::info!(
                    uplink = &**name,
                    "the uplink begins anew as the config says now"
                );
                put.push(config.clone());
            }
        }
        self.tell_drained();
        self.ends.put_uplinks(put);
    }

    /// The register of devices, before the flows that its events are for, and before the sources that note for it.
    pub(super) fn put_devices(&mut self, id: u64, new: &Config, difference: &ConfigDifference) {
        if !difference.devices {
            return;
        }
        let end = || "devices".to_owned();
        if !self.parts.config.put_devices(new) {
            return self.stays(id, end(), "a queue of its events was not added".to_owned());
        }
        match self.parts.devices.put(self.parts.config.devices.clone()) {
            Ok(()) => tracing::info!("the register of devices is as the config says now"),
            Err(error) => self.stays(id, end(), with_causes(&error)),
        }
    }

    /// Who is traced, and who is told: flows, sources and uplinks go on.
    pub(super) fn put_traces(&mut self, new: &Config, difference: &ConfigDifference) {
        if !difference.traces {
            return;
        }
        self.parts.config.put_traces(new);
        let traces = self.parts.config.traces.clone();
        let share = traces.as_ref().map_or(0.0, |traces| traces.share);
        self.parts.tracer.put(traces);
        tracing::info!(share, "traces are as the config says now");
    }

    pub(super) fn remove_ends(&mut self, id: u64, new: &Config, difference: &ConfigDifference) {
        let config = &mut self.parts.config;
        let known: Vec<_> = config
            .sources
            .iter()
            .map(|spec| Arc::clone(&spec.name))
            .collect();
        let mut sources = part(&difference.sources, |name| config.remove_source(new, name));
        // Those that have another name now went before.
        sources.0.retain(|name| known.contains(name));
        let uplinks = part(&difference.uplinks, |name| config.remove_uplink(new, name));
        self.ends.remove_sources(&sources.0);
        for name in &sources.0 {
            tracing::info!(
                source = &**name,
                "the source is gone; what its broker still holds for it is taken, and its session left"
            );
        }
        self.ends.remove_uplinks(&uplinks.0);
        for name in &uplinks.0 {
            tracing::info!(
                uplink = &**name,
                "the uplink is gone; what is owed to it stays in the spool"
            );
        }
        self.tell_drained();
        for (name, flow) in sources.1 {
            self.stays(
                id,
                format!("source.{name}"),
                format!("the flow `{flow}` still takes from it"),
            );
        }
        for (name, flow) in uplinks.1 {
            self.stays(
                id,
                format!("uplink.{name}"),
                format!("the flow `{flow}` still leads to it"),
            );
        }
    }

    /// The spool hears which queues an uplink drains.
    fn tell_drained(&self) {
        for (queue, is_drained) in self.parts.config.drained() {
            self.parts.spool.set_drained(queue, is_drained);
        }
    }

    /// One is not as the config says: whoever reads it again hears so.
    pub(super) fn stays(&self, id: u64, end: String, why: String) {
        tracing::warn!(end, "a source or uplink is not as the config says: {why}");
        self.parts.standing.stays(end.clone(), why.clone());
        self.desk.board.push(id, ChangeLine::Stays { end, why });
    }
}

/// The name of one that stays, and of the flow that needs it.
type Needed = (Arc<str>, Arc<str>);

/// Those that went, and those that stay.
fn part(
    ends: &EndpointChanges,
    mut remove: impl FnMut(&str) -> Result<(), Arc<str>>,
) -> (Vec<Arc<str>>, Vec<Needed>) {
    let mut parts = (Vec::new(), Vec::new());
    for name in &ends.gone {
        match remove(name) {
            Ok(()) => parts.0.push(Arc::clone(name)),
            Err(flow) => parts.1.push((Arc::clone(name), flow)),
        }
    }
    parts
}
