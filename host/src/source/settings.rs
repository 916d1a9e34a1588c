//! What a source is to take, from where, and for whom.

use std::path::Path;
use std::sync::Arc;

use super::devices::DeviceWatch;
use super::facts::SourceFacts;
use super::mqtt::{SessionMark, SessionMarks};
use super::repeats::Dedup;
use crate::link::{ServerTls, Tls};
use crate::message::{FlowId, Intake, Pattern};

/// When a message of a flow is acknowledged to the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ack {
    /// When upstream has accepted it or it is safe on disk.
    #[default]
    Safe,
    /// At once: a crash loses what was under way.
    Received,
}

/// Where messages that match a pattern go.
#[derive(Clone)]
pub struct FlowRoute {
    pub flow: FlowId,
    /// Its name, for logs and dead letters.
    pub name: Arc<str>,
    /// Topic filter with captures; several patterns of a flow are several routes, the first that matches counts.
    pub pattern: Pattern,
    pub intake: Arc<dyn Intake>,
    pub ack: Ack,
    /// Longest life of a message, seconds: what says nothing gets it, what says more gets less.
    pub expires: Option<u32>,
    /// How repeats are known; they are dropped.
    pub dedup: Option<Dedup>,
}

#[derive(Clone)]
pub struct Config {
    /// Name in config, metrics and logs.
    pub name: Arc<str>,
    /// What is spoken, and with whom.
    pub kind: SourceKind,
    pub routes: Vec<FlowRoute>,
    /// Where what its session still brings goes when none of `routes` takes it: nothing is asked for by these.
    pub late: Vec<FlowRoute>,
    /// Bytes under way and unsettled at which the link stops reading; above half of it QoS 0 is dropped.
    pub max_unsettled_bytes: usize,
    /// Longest topic in bytes; a longer one is parked by its head.
    pub max_topic_bytes: usize,
    /// Longest payload in bytes; a longer one is parked by its head.
    pub max_payload_bytes: usize,
    /// Where it is noted which devices sent something; `None`: nowhere.
    pub devices: Option<DeviceWatch>,
}

/// How messages come in.
#[derive(Clone, Debug)]
pub enum SourceKind {
    /// A broker sends them.
    Mqtt(Box<super::mqtt::Config>),
    /// Whoever has them posts them.
    Http(Box<super::http::Config>),
    /// Devices are asked for them.
    Modbus(Box<super::modbus::Config>),
    /// As bytes that are cut into messages.
    Raw(Box<super::raw::Config>),
    /// A consumer of a stream is pulled from.
    Nats(Box<super::nats::Config>),
    /// A clock tells them.
    Ticks(Box<super::ticks::Config>),
    /// Whoever has them posts them, in datagrams.
    Coap(Box<super::coap::Config>),
}

impl SourceKind {
    /// What it says of itself.
    pub fn facts(&self) -> SourceFacts<'_> {
        match self {
            Self::Mqtt(own) => own.facts(),
            Self::Http(own) => own.facts(),
            Self::Modbus(own) => own.facts(),
            Self::Raw(own) => own.facts(),
            Self::Nats(own) => own.facts(),
            Self::Ticks(own) => own.facts(),
            Self::Coap(own) => own.facts(),
        }
    }

    /// The files with certificates, and what each is for.
    pub fn certificates(&self) -> Vec<(&'static str, &Path)> {
        let facts = self.facts();
        let of_port = facts.server_tls.map(ServerTls::certificates);
        let of_link = facts.tls.map(Tls::certificates);
        of_port.or(of_link).unwrap_or_default()
    }
}

impl Config {
    /// Topics that are asked for beside those of the flows: whether devices are there.
    pub(super) fn status(&self) -> &[Pattern] {
        self.devices
            .as_ref()
            .map_or(&[], |devices| &*devices.status)
    }

    /// This one, with what it remembers on disk over a restart, and what the others that run have been granted.
    #[must_use]
    pub fn beside(mut self, data_dir: &Path, marks: &SessionMarks) -> Self {
        if let SourceKind::Mqtt(own) = &mut self.kind {
            let mark = SessionMark::find(data_dir, &self.name, &own.connection);
            own.mark = marks.enter(&self.name, mark);
            own.beside = marks.clone();
        }
        if let SourceKind::Raw(own) = &mut self.kind {
            own.kept = Some(super::raw::kept_at(data_dir, &self.name));
        }
        self
    }

    /// This one, of a source that has worked with `before` until now.
    #[must_use]
    pub fn after(mut self, before: &Self) -> Self {
        if let (SourceKind::Mqtt(own), SourceKind::Mqtt(before)) = (&mut self.kind, &before.kind) {
            own.mark = own.mark.clone().after(&before.mark);
        }
        if let (SourceKind::Raw(own), SourceKind::Raw(before)) = (&mut self.kind, &before.kind) {
            own.left = before.left.clone();
        }
        self
    }

    /// Tells the source that runs with this one what it goes on with once it has left: `None`, with nothing.
    pub fn leads_to(&self, next: Option<&Self>) {
        if let SourceKind::Raw(own) = &self.kind {
            own.leads_to(next.and_then(|next| match &next.kind {
                SourceKind::Raw(next) => Some(&**next),
                _ => None,
            }));
        }
    }
}
