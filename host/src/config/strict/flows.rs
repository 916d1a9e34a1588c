//! Flows, their classes and their plugins: what is acknowledged too early, dropped, stale, or decided by a stranger.

use super::advice::Advice;
use super::{StrictLook, place_in, site};
use crate::chain::Artefact;
use crate::config::SourceSpec;
use crate::config::tree::{Node, Table, TomlEntry};
use crate::message::{Destination, FlowId, Qos};
use crate::recording::Keep;
use crate::spool::QueueConfig;

const ALARM: &str = "alarm";
/// For what may be lost: QoS 0 is no surprise there.
const DEBUG: &str = "debug";

impl<'a> StrictLook<'a> {
    pub(super) fn flows(&mut self) {
        for (entry, table) in self.tables("flow") {
            let found = self
                .config
                .flows
                .iter()
                .position(|flow| *flow.name == *entry.key);
            let Some(index) = found else { continue };
            self.flow(entry, table, index);
        }
        self.classes();
        self.alarms();
        self.signatures();
    }

    fn flow(&mut self, entry: &'a TomlEntry, table: &'a Table, index: usize) {
        let subject = format!("flow.{}", entry.key);
        let flow = &self.config.flows[index];
        if matches!(table.get("ack").map(|item| &item.node), Some(Node::Text(ack)) if ack == "received")
        {
            let message = format!("`{subject}` acknowledges messages before they are safe");
            let place = place_in(table, "ack", entry.place);
            self.find(
                Advice::AckReceived,
                &*subject,
                place,
                message,
                "write ack = \"safe\", or leave it out",
            );
        }
        let is_dropped = |port: &&str| flow.ports.get(*port).is_some_and(Vec::is_empty);
        if let Some(port) = ["alarms", ALARM].iter().find(|port| is_dropped(port)) {
            let message = format!("`{subject}` drops what comes out at the port `{port}`");
            let place = place_in(table, "to", entry.place);
            let hint =
                format!("lead it somewhere: {port} = \"UPLINK:alarm\", or take the plugin out");
            self.find(Advice::AlarmsDropped, &*subject, place, message, hint);
        }
        if flow.expires.is_none() && self.comes_down(index) {
            let message = format!(
                "`{subject}` brings messages from outside to a broker on this site, however old they are"
            );
            let place = place_in(table, "expires", entry.place);
            self.find(
                Advice::CommandsWithoutExpiry,
                &*subject,
                place,
                message,
                "add, for example: expires = \"60s\"",
            );
        }
        let recording = self.config.recordings.get(index).and_then(Option::as_ref);
        if recording.is_some_and(|recording| matches!(recording.keep, Keep::Disk(_))) {
            let message = format!("`{subject}` records all that comes in, on the disk");
            let place = place_in(table, "record", entry.place);
            let hint =
                "leave `record` out once you have what you wanted, or write record_to = \"memory\"";
            self.find(Advice::RecordingToDisk, subject, place, message, hint);
        }
    }

    /// Whether a flow takes from a broker beyond this site, and sends to one on it.
    fn comes_down(&self, index: usize) -> bool {
        let id = FlowId::at(index);
        let is_outside = |source: &SourceSpec| {
            source
                .broker()
                .is_some_and(|broker| !site::is_within(&broker.host))
        };
        let takes = |source: &&SourceSpec| source.routes.iter().any(|route| Some(route.flow) == id);
        if !self.config.sources.iter().filter(takes).any(is_outside) {
            return false;
        }
        let is_inside = |queue: &QueueConfig| {
            let mut uplinks = self.config.uplinks.iter();
            let found = uplinks
                .find(|uplink| uplink.name == queue.link)
                .and_then(|uplink| uplink.kind.broker());
            found.is_some_and(|broker| site::is_within(&broker.host))
        };
        let destinations = self.config.flows[index].ports.values().flatten();
        destinations.filter_map(|to| self.queue(to)).any(is_inside)
    }

    fn queue(&self, to: &Destination) -> Option<&'a QueueConfig> {
        match to {
            Destination::Queue(id) => self.config.spool.queues.get(usize::from(id.0)),
            Destination::Flow(_) => None,
        }
    }

    /// Classes that publish with QoS 0.
    fn classes(&mut self) {
        for (entry, table) in self.tables("class") {
            let drains = self.config.uplinks.iter().flat_map(|uplink| &uplink.drains);
            let is_level_0 = drains
                .filter(|drain| *drain.class == *entry.key && &*drain.class != DEBUG)
                .any(|drain| drain.qos == Some(Qos::AtMostOnce));
            if is_level_0 {
                let subject = format!("class.{}", entry.key);
                let message = format!(
                    "`{subject}` is published with QoS 0: it counts as delivered once it is written to the socket"
                );
                let place = place_in(table, "qos", entry.place);
                self.find(
                    Advice::Qos0,
                    subject,
                    place,
                    message,
                    "leave it out, and the uplink's holds",
                );
            }
        }
    }

    /// Nothing goes ahead of the rest.
    fn alarms(&mut self) {
        let queues = &self.config.spool.queues;
        if queues.is_empty() || queues.iter().any(|queue| &*queue.class == ALARM) {
            return;
        }
        let Some((entry, table)) = self.tables("flow").into_iter().next() else {
            return;
        };
        let message = "no flow sends anything as class `alarm`";
        let place = place_in(table, "to", entry.place);
        let hint = "lead what must not wait to \"UPLINK:alarm\": to = { out = \"cloud:telemetry\", alarms = \"cloud:alarm\" }";
        self.find(Advice::NoAlarmClass, "class.alarm", place, message, hint);
    }

    /// Plugins from files that nobody has to have signed.
    fn signatures(&mut self) {
        if self.config.gateway.trust.required {
            return;
        }
        let flows = self.config.flows.iter().zip(&self.config.origin.plugins);
        let mut files = flows.flat_map(|(flow, places)| {
            let plugins = flow.plugins.iter().zip(places);
            plugins
                .filter(|(plugin, _)| !matches!(plugin.artefact, Artefact::Builtin(_)))
                .map(|(plugin, places)| (&flow.name, &plugin.name, places.artefact))
        });
        let Some((flow, plugin, place)) = files.next() else {
            return;
        };
        let more = match files.count() {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let has_keys = !self.config.gateway.trust.keys.is_empty();
        let message =
            format!("`{flow}/{plugin}`{more} may come from a file that nobody has signed");
        let hint = if has_keys {
            "write require_signature = true in [gateway]"
        } else {
            "sign it (`tidegate plugin keygen`, `tidegate plugin sign`), and write plugin_keys and require_signature = true in [gateway]"
        };
        self.find(Advice::UnsignedPlugins, "gateway", place, message, hint);
    }
}
