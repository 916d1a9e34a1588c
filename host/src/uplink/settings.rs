//! What an uplink is to do: its upstream, and the queues it drains there.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

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
use crate::link::{Secret, Tls};
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
        match &mut config.kind {
            UplinkKind::Mqtt(broker) if index > 0 => {
                broker.client_id = format!("{}-{}", broker.client_id, index + 1);
                // That one of them breaks does not mean that we are gone.
                broker.will = None;
            }
            UplinkKind::Http(server) if index > 0 => {
                server.id = format!("{}-{}", server.id, index + 1)
            }
            UplinkKind::Nats(own) if index > 0 => {
                own.server.name = format!("{}-{}", own.server.name, index + 1);
            }
            #[cfg(feature = "postgres")]
            UplinkKind::Postgres(own) if index > 0 => own.id = format!("{}-{}", own.id, index + 1),
            #[cfg(feature = "kafka")]
            UplinkKind::Kafka(own) if index > 0 => own.id = format!("{}-{}", own.id, index + 1),
            #[cfg(feature = "s3")]
            UplinkKind::S3(own) if index > 0 => own.id = format!("{}-{}", own.id, index + 1),
            _ => {}
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
    /// The protocol, as spans name it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Mqtt(_) => "mqtt",
            Self::Http(_) => "http",
            Self::Nats(_) => "nats",
            Self::File(_) => "file",
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => "postgresql",
            #[cfg(feature = "kafka")]
            Self::Kafka(_) => "kafka",
            #[cfg(feature = "s3")]
            Self::S3(_) => "s3",
        }
    }

    /// The files with certificates, and what each is for.
    pub fn certificates(&self) -> Vec<(&'static str, &Path)> {
        let tls = match self {
            Self::Mqtt(broker) => broker.tls.as_ref(),
            Self::Http(server) => server.tls.as_ref(),
            Self::Nats(own) => own.server.tls.as_ref(),
            Self::File(_) => None,
            #[cfg(feature = "postgres")]
            Self::Postgres(server) => server.tls.as_ref(),
            #[cfg(feature = "kafka")]
            Self::Kafka(own) => own.tls.as_ref(),
            #[cfg(feature = "s3")]
            Self::S3(own) => own.tls.as_ref(),
        };
        tls.map(Tls::certificates).unwrap_or_default()
    }

    /// Name or address of upstream.
    pub fn host(&self) -> &str {
        match self {
            Self::Mqtt(broker) => &broker.host,
            Self::Http(server) => &server.host,
            Self::Nats(own) => &own.server.host,
            Self::File(file) => file.folder.to_str().unwrap_or_default(),
            #[cfg(feature = "postgres")]
            Self::Postgres(own) => &own.host,
            #[cfg(feature = "kafka")]
            Self::Kafka(own) => own.host(),
            #[cfg(feature = "s3")]
            Self::S3(own) => &own.host,
        }
    }

    /// The same with its port, where it has one.
    pub fn address(&self) -> String {
        let port = match self {
            Self::Mqtt(broker) => broker.port,
            Self::Http(server) => server.port,
            Self::Nats(own) => own.server.port,
            Self::File(_) => return self.host().to_owned(),
            #[cfg(feature = "postgres")]
            Self::Postgres(own) => own.port,
            #[cfg(feature = "kafka")]
            Self::Kafka(own) => own.port(),
            #[cfg(feature = "s3")]
            Self::S3(own) => own.port,
        };
        format!("{}:{port}", self.host())
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

    /// What it logs in with.
    pub fn secrets(&self) -> Vec<Secret> {
        match self {
            Self::Mqtt(broker) => {
                let login = broker.login.as_ref();
                login
                    .and_then(|login| login.password.clone())
                    .into_iter()
                    .collect()
            }
            Self::Http(server) => server.secrets().cloned().collect(),
            Self::Nats(own) => own.server.login.secret().cloned().into_iter().collect(),
            Self::File(_) => Vec::new(),
            #[cfg(feature = "postgres")]
            Self::Postgres(own) => own.password.clone().into_iter().collect(),
            #[cfg(feature = "kafka")]
            Self::Kafka(own) => own.password().cloned().into_iter().collect(),
            #[cfg(feature = "s3")]
            Self::S3(own) => own.secrets().into_iter().cloned().collect(),
        }
    }

    /// Packets without an answer, at most.
    pub(super) fn window(&self) -> u16 {
        match self {
            Self::Mqtt(broker) => broker.inflight,
            Self::Http(server) => server.batch_messages,
            Self::Nats(own) => own.inflight,
            // One batch is with the disk while the next one gathers.
            Self::File(file) => file.batch_messages,
            #[cfg(feature = "postgres")]
            Self::Postgres(own) => own.batch_messages,
            #[cfg(feature = "kafka")]
            Self::Kafka(own) => own.batch_messages,
            // One object is under way while the next one gathers.
            #[cfg(feature = "s3")]
            Self::S3(own) => own.batch_messages,
        }
    }

    /// How long an answer may take.
    pub(super) fn answer(&self) -> Duration {
        match self {
            Self::Mqtt(broker) => broker.deadlines.answer,
            Self::Http(server) => server.deadlines.answer,
            Self::Nats(own) => own.server.deadlines.answer,
            Self::File(file) => file.answer,
            #[cfg(feature = "postgres")]
            Self::Postgres(own) => own.deadlines.answer,
            #[cfg(feature = "kafka")]
            Self::Kafka(own) => own.deadlines.answer,
            #[cfg(feature = "s3")]
            Self::S3(own) => own.deadlines.answer,
        }
    }
}
