//! Connections of their own for flows with `priority`, so that their messages do not queue behind others in a broker's
//! window: on the device side one for each source that also serves flows without, upstream one for each uplink that also
//! drains queues which flows without lead to. Connections that serve flows with `priority` alone are marked.

use std::sync::Arc;

use super::flow::{FlowSpec, Queues};
use super::identity::ClientIdentity;
use super::sources::spec::SourceSpec;
use super::tree::Place;
use crate::message::QueueId;
use crate::source::{SourceKind, mqtt};
use crate::uplink;

/// What the name of a connection of its own ends with.
pub(super) const PRIORITY: &str = ":priority";

/// A source connection, with what tells which flows it serves.
pub(super) struct SourceConnection {
    pub(super) spec: SourceSpec,
    /// The source it belongs to.
    pub(super) source: Arc<str>,
    pub(super) place: Place,
    /// `None`: all flows of the source.
    pub(super) priority: Option<bool>,
}

/// Gives a second connection to each source that has flows with priority beside flows without.
pub(super) fn part_sources(
    sources: Vec<(SourceSpec, Place)>,
    flows: &[FlowSpec],
    identities: &mut Vec<ClientIdentity>,
) -> Vec<SourceConnection> {
    let mut lines = Vec::new();
    for (mut spec, place) in sources {
        let source = Arc::clone(&spec.name);
        let has = |priority| {
            flows.iter().any(|flow| {
                flow.priority == priority && flow.from.iter().any(|name| **name == *source)
            })
        };
        let are_both_there = has(true) && has(false);
        let (SourceKind::Mqtt(kind), true) = (&spec.kind, are_both_there) else {
            // A port is one: what comes to it has priority where all of its flows have.
            spec.priority = has(true) && !has(false);
            lines.push(SourceConnection {
                spec,
                source,
                place,
                priority: None,
            });
            continue;
        };
        let mqtt = own_connection(&kind.connection);
        identities.push(ClientIdentity {
            mqtt: mqtt.clone(),
            path: format!("source.{source} (priority)"),
            place,
        });
        let own = SourceSpec {
            name: own_name(&source),
            kind: SourceKind::Mqtt(Box::new(mqtt::Config {
                connection: mqtt,
                ..(**kind).clone()
            })),
            priority: true,
            ..spec.clone()
        };
        lines.push(SourceConnection {
            spec,
            source: Arc::clone(&source),
            place,
            priority: Some(false),
        });
        lines.push(SourceConnection {
            spec: own,
            source,
            place,
            priority: Some(true),
        });
    }
    lines
}

/// Gives a second connection to each uplink that has queues for flows with priority alone beside others.
pub(super) fn part_uplinks(
    uplinks: &mut Vec<(uplink::Config, Place)>,
    queues: &mut Queues,
    flows: &[FlowSpec],
    identities: &mut Vec<ClientIdentity>,
) {
    let leads_to = |flow: &FlowSpec, index: usize| {
        let id = QueueId(u16::try_from(index).unwrap_or(u16::MAX));
        flow.chain.queues().any(|queue| queue == id)
    };
    let is_urgent = |index: usize| {
        // One that no flow leads to is for what the gateway tells of devices.
        let mut flows = flows.iter().filter(|flow| leads_to(flow, index)).peekable();
        flows.peek().is_some() && flows.all(|flow| flow.priority)
    };
    let urgent: Vec<bool> = (0..queues.0.len()).map(is_urgent).collect();
    for index in 0..uplinks.len() {
        let (ref mut first, place) = uplinks[index];
        let own = |urgent_or_not: bool| {
            queues
                .0
                .iter()
                .zip(&urgent)
                .any(|(queue, urgent)| queue.uplink == first.name && *urgent == urgent_or_not)
        };
        if !(own(true) && own(false)) {
            first.priority = own(true);
            continue;
        }
        let name = own_name(&first.name);
        let second = uplink::Config {
            name: Arc::clone(&name),
            kind: first.kind.beside("priority"),
            priority: true,
            connections: 1,
            ..first.clone()
        };
        let path = format!("uplink.{} (priority)", first.name);
        identities.extend(ClientIdentity::of(&second.kind, path, place));
        for (queue, _) in queues
            .0
            .iter_mut()
            .zip(&urgent)
            .filter(|(queue, urgent)| queue.uplink == first.name && **urgent)
        {
            queue.link = Arc::clone(&name);
        }
        uplinks.push((second, place));
    }
}

fn own_name(name: &str) -> Arc<str> {
    format!("{name}{PRIORITY}").into()
}

fn own_connection(mqtt: &crate::mqtt::Config) -> crate::mqtt::Config {
    // One will for each source and uplink is enough.
    crate::mqtt::Config {
        client_id: format!("{}-priority", mqtt.client_id),
        will: None,
        priority: true,
        ..mqtt.clone()
    }
}
