//! A source as the config has it: complete but for the flows, which do not run yet.

use std::sync::Arc;

use crate::message::{DeviceBook, FlowId, Intake, Pattern};
use crate::source::{Ack, Dedup, DeviceWatch, FlowRoute};
use crate::{link, mqtt, source};

/// A source before the lanes of its flows exist.
#[derive(Clone, Debug)]
pub struct SourceSpec {
    /// Name in config, metrics and logs.
    pub name: Arc<str>,
    /// What is spoken, and with whom.
    pub kind: source::SourceKind,
    /// It serves flows with `priority` alone, and belongs on a thread that does not pause.
    pub priority: bool,
    /// The group of gateways that share what a broker has for them.
    pub share: Option<String>,
    /// What goes to which flow.
    pub routes: Vec<RouteSpec>,
    /// It notes which devices sent something, and asks for these topics, by which it is told whether they are there; `None`: it
    /// does not.
    pub devices: Option<Arc<[Pattern]>>,
    /// Bytes taken and not yet settled at which reading stops, as in `source::Config`.
    pub max_unsettled_bytes: usize,
    /// Longest topic, bytes, as in `source::Config`.
    pub max_topic_bytes: usize,
    /// Longest payload, bytes, as in `source::Config`.
    pub max_payload_bytes: usize,
}

/// A route before the lanes of its flow exist.
#[derive(Clone, Debug)]
pub struct RouteSpec {
    pub flow: FlowId,
    pub name: Arc<str>,
    /// Topic filter with captures.
    pub pattern: Pattern,
    pub ack: Ack,
    /// Longest life of a message, seconds, as in `source::FlowRoute`.
    pub expires: Option<u32>,
    /// How repeats are known, as in `source::FlowRoute`.
    pub dedup: Option<Dedup>,
}

impl SourceSpec {
    /// Its connection, if it is one to a broker.
    pub fn broker(&self) -> Option<&mqtt::Config> {
        match &self.kind {
            source::SourceKind::Mqtt(own) => Some(&own.connection),
            _ => None,
        }
    }

    /// What its other end has to show, or what it has to show there.
    pub(in crate::config) fn secret(&self) -> Option<&link::Secret> {
        self.kind.facts().secret
    }

    /// The source's config, with the lanes that `intake` knows; what none of its own routes takes goes by `late`, and what is
    /// known of devices into `book`.
    pub fn complete(
        self,
        late: Vec<RouteSpec>,
        intake: impl Fn(FlowId) -> Arc<dyn Intake>,
        book: impl FnOnce() -> Arc<dyn DeviceBook>,
    ) -> source::Config {
        let route = |spec: RouteSpec| FlowRoute {
            intake: intake(spec.flow),
            flow: spec.flow,
            name: spec.name,
            pattern: spec.pattern,
            ack: spec.ack,
            expires: spec.expires,
            dedup: spec.dedup,
        };
        source::Config {
            name: self.name,
            kind: self.kind,
            routes: self.routes.into_iter().map(&route).collect(),
            late: late.into_iter().map(&route).collect(),
            max_unsettled_bytes: self.max_unsettled_bytes,
            max_topic_bytes: self.max_topic_bytes,
            max_payload_bytes: self.max_payload_bytes,
            devices: self.devices.map(|status| DeviceWatch {
                book: book(),
                status,
            }),
        }
    }
}
