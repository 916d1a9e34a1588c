//! What an uplink is to do: its upstream, and the queues it drains there.

use std::path::Path;
use std::sync::Arc;

use super::facts::UplinkFacts;
use super::form::encode::PublishFormat;
#[cfg(feature = "kafka")]
use super::kafka;
use super::part::PullMode;
#[cfg(feature = "postgres")]
use super::postgres;
use super::rate::Rate;
#[cfg(feature = "s3")]
use super::s3;
use super::{file, http, nats};
use crate::link::Tls;
use crate::message::{Qos, QueueId};
use crate::mqtt;

/// A queue this uplink drains.
#[derive(Clone, Debug)]
pub struct Drain {
    pub queue: QueueId,
    /// Its class, for metrics and message ids.
    pub class: Arc<str>,
    /// Its share beside the other queues of this uplink, from 1 to 100.
    pub weight: u32,
    /// Level of what is published, where it is not the uplink's.
    pub qos: Option<Qos>,
    /// Fresh data goes ahead of what is on disk; with one connection only.
    pub is_fresh_first: bool,
}

impl Drain {
    /// The ways its messages go, each with its share: beside fresh data the backlog has a quarter of it.
    pub(super) fn ways(&self) -> impl Iterator<Item = (&Self, PullMode, u32)> {
        let whole = (!self.is_fresh_first).then_some((self, PullMode::Whole, self.weight));
        let parts = self.is_fresh_first.then_some([
            (self, PullMode::Fresh, self.weight),
            (self, PullMode::Replay, self.weight.div_ceil(4)),
        ]);
        whole.into_iter().chain(parts.into_iter().flatten())
    }
}

#[derive(Clone, Debug)]
pub struct Config {
    /// Name in metrics and logs.
    pub name: Arc<str>,
    /// The uplink whose queues it drains, as it stands in message ids: itself, but for a fallback.
    pub owner: Arc<str>,
    /// What drains some of its queues while it is away.
    pub fallback: Option<Box<Config>>,
    /// What upstream speaks, and where it is.
    pub kind: UplinkKind,
    /// It carries flows with `priority` alone, and belongs on a thread that does not pause.
    pub priority: bool,
    /// Level of what is published.
    pub qos: Qos,
    /// A broker that takes nothing above level 0 gets messages all the same, none of which is known to have arrived.
    pub allows_level_0: bool,
    pub drains: Vec<Drain>,
    /// Largest publish; what the broker announces may lower it.
    pub max_packet_bytes: u32,
    /// How fast it may send, over all its connections.
    pub rate: Rate,
    /// How messages are encoded.
    pub format: PublishFormat,
    /// Connections to the broker, 1 or more.
    pub connections: u16,
}

impl Config {
    /// The same for its connection number `index`.
    #[must_use]
    pub fn of_connection(&self, index: u16) -> Self {
        let mut config = self.clone();
        if index > 0 {
            config.kind = self.kind.beside(&(index + 1).to_string());
        }
        config
    }
}

/// What upstream speaks, by the scheme of its URL.
#[derive(Clone, Debug)]
pub enum UplinkKind {
    /// A broker; `inflight` is the window.
    Mqtt(mqtt::Config),
    /// A server that takes requests.
    Http(http::Config),
    /// Streams of a server.
    Nats(nats::Config),
    /// Files in a folder.
    File(file::Config),
    /// A table of a database.
    #[cfg(feature = "postgres")]
    Postgres(postgres::Config),
    /// Topics of a cluster.
    #[cfg(feature = "kafka")]
    Kafka(kafka::Config),
    /// Objects in a bucket.
    #[cfg(feature = "s3")]
    S3(s3::Config),
}

impl UplinkKind {
    /// What it says of itself.
    pub fn facts(&self) -> UplinkFacts<'_> {
        match self {
            Self::Mqtt(broker) => mqtt_facts(broker),
            Self::Http(own) => own.facts(),
            Self::Nats(own) => own.facts(),
            Self::File(own) => own.facts(),
            #[cfg(feature = "postgres")]
            Self::Postgres(own) => own.facts(),
            #[cfg(feature = "kafka")]
            Self::Kafka(own) => own.facts(),
            #[cfg(feature = "s3")]
            Self::S3(own) => own.facts(),
        }
    }

    /// Another connection beside this one, which is told apart by `suffix`. That one of them breaks does not mean that we are gone: a
    /// will is the first one's.
    #[must_use]
    pub fn beside(&self, suffix: &str) -> Self {
        let mut other = self.clone();
        let id = match &mut other {
            Self::Mqtt(broker) => {
                broker.will = None;
                &mut broker.client_id
            }
            Self::Http(own) => &mut own.id,
            Self::Nats(own) => &mut own.server.name,
            Self::File(own) => &mut own.id,
            #[cfg(feature = "postgres")]
            Self::Postgres(own) => &mut own.id,
            #[cfg(feature = "kafka")]
            Self::Kafka(own) => &mut own.id,
            #[cfg(feature = "s3")]
            Self::S3(own) => &mut own.id,
        };
        id.push('-');
        id.push_str(suffix);
        other
    }

    /// The files with certificates, and what each is for.
    pub fn certificates(&self) -> Vec<(&'static str, &Path)> {
        let tls = self.facts().tls;
        tls.map(Tls::certificates).unwrap_or_default()
    }

    /// Name or address of upstream with its port, where it has one.
    pub fn address(&self) -> String {
        match self.facts() {
            UplinkFacts {
                host,
                port: Some(port),
                ..
            } => format!("{host}:{port}"),
            UplinkFacts { host, .. } => host.to_owned(),
        }
    }

    /// The broker, where upstream is one.
    pub fn broker(&self) -> Option<&mqtt::Config> {
        match self {
            Self::Mqtt(broker) => Some(broker),
            _ => None,
        }
    }

    /// Whether messages have a level there: elsewhere each is answered, which is level 1.
    pub fn has_levels(&self) -> bool {
        matches!(self, Self::Mqtt(_))
    }
}

fn mqtt_facts(broker: &mqtt::Config) -> UplinkFacts<'_> {
    let login = broker.login.as_ref();
    let password = login.and_then(|login| login.password.as_ref());
    UplinkFacts {
        name: "mqtt",
        host: &broker.host,
        port: Some(broker.port),
        tls: broker.tls.as_ref(),
        secrets: password.into_iter().collect(),
        has_login: login.is_some(),
        window: broker.inflight,
        answer: broker.deadlines.answer,
    }
}
