//! The way upstream: pulls from the spool, sends in order, tells the spool what was accepted.
//!
//! **In**: what the spool owes, fetched queue by queue. **Out**: publishes over one connection or several, with a clean
//! session, and for each queue the ranges that upstream has accepted.
//!
//! **Promised**
//! - Messages of a queue go out in the order of their `Seq`. The window is counted in our own sequence, not in packet
//!   ids; the spool is the only memory, so on any error sending starts over at the first message that is not
//!   accepted. At least once, then; first occurrences stay in order, since everything behind the gap is sent again too.
//! - In a class that sends fresh data first, what is on disk follows beside it, and says that it does.
//! - Queues share the link by weight, so that none waits behind the backlog of another; the rates of the uplink hold over
//!   all of them.
//! - The spool hears only of what upstream has accepted (QoS 0: of what the socket has taken).
//! - Whatever upstream answers, or does not answer, about one message, no other one waits for more than ten seconds
//!   (`judge`). What it refuses for good, ends connections over, or never answers goes to the dead letters, once it was
//!   seen to take others; what it refuses for now waits apart, with those of its key behind it. Where it takes nothing,
//!   nothing is parked, and only probes go out. Nothing is parked that the dead letters have no room for.
//!   Where it limits its rate, messages go out as fast as it takes them.
//! - While it is away, silent with messages under way, or acknowledges nothing, its fallback, if it has one, drains its queues
//!   in its stead; never both at once.
//! - Where the config asks for QoS 1 or 2 and the broker takes 0 only, nothing is sent, unless that is allowed; then counted.
//! - It never gives up, and never waits for the disk: the spilled part is read ahead on a thread of its own.

mod answers;
mod apart;
mod condition;
mod carrier;
mod connections;
mod exchange;
mod fallback;
pub mod file;
mod form;
pub mod http;
mod judge;
mod metrics;
mod mqtt;
mod part;
mod pull;
mod rate;
mod scheduler;
mod send;
mod serve;
mod stall;
#[cfg(test)]
mod tests;
mod window;

use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::watch;

pub use condition::Condition;
pub use form::compress::Compress;
pub use form::encode::{IdForm, Pack, PublishFormat, ReplayMark};
pub use form::template::Template;
pub use metrics::{Account, Metrics};
pub use rate::Rate;

use self::carrier::{Carrier, Ended};
use self::fallback::Duty;
use self::judge::Haste;
use self::part::{Part, Way};
use self::rate::Throttle;
use self::serve::Parting;
use crate::link::{Causes, Redial, Secret, Stop};
use crate::message::{Backlog, Qos, QueueId};

/// Why an uplink ended without being told to. The network never ends it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The spool panicked under a read; nothing is lost, the stage may be started again.
    #[error("uplink `{uplink}` could not read what is spilled")]
    Read {
        uplink: Arc<str>,
        #[source]
        cause: tokio::task::JoinError,
    },
}

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
    fn ways(&self) -> impl Iterator<Item = (&Self, Way, u32)> {
        let whole = (!self.is_fresh_first).then_some((self, Way::Whole, self.weight));
        let parts = self.is_fresh_first.then_some([
            (self, Way::Fresh, self.weight),
            (self, Way::Replay, self.weight.div_ceil(4)),
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
    pub kind: Kind,
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
            Kind::Mqtt(broker) if index > 0 => {
                broker.client_id = format!("{}-{}", broker.client_id, index + 1);
            }
            Kind::Http(server) if index > 0 => server.id = format!("{}-{}", server.id, index + 1),
            Kind::Mqtt(_) | Kind::Http(_) | Kind::File(_) => {}
        }
        config
    }
}

/// What upstream speaks, by the scheme of its URL.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A broker; `inflight` is the window.
    Mqtt(crate::mqtt::Config),
    /// A server that takes requests.
    Http(http::Config),
    /// Files in a folder.
    File(file::Config),
}

impl Kind {
    /// Name or address of upstream.
    pub fn host(&self) -> &str {
        match self {
            Self::Mqtt(broker) => &broker.host,
            Self::Http(server) => &server.host,
            Self::File(file) => file.folder.to_str().unwrap_or_default(),
        }
    }

    /// The broker, where upstream is one.
    pub fn broker(&self) -> Option<&crate::mqtt::Config> {
        match self {
            Self::Mqtt(broker) => Some(broker),
            Self::Http(_) | Self::File(_) => None,
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
            Self::File(_) => Vec::new(),
        }
    }

    /// Packets without an answer, at most.
    fn window(&self) -> u16 {
        match self {
            Self::Mqtt(broker) => broker.inflight,
            Self::Http(server) => server.batch_messages,
            // One batch is with the disk while the next one gathers.
            Self::File(file) => file.batch_messages,
        }
    }

    /// How long an answer may take.
    fn answer(&self) -> std::time::Duration {
        match self {
            Self::Mqtt(broker) => broker.deadlines.answer,
            Self::Http(server) => server.deadlines.answer,
            Self::File(file) => file.answer,
        }
    }
}

/// What the connections of one uplink have in common.
#[derive(Clone, Debug)]
struct Shared {
    metrics: Metrics,
    /// `None` where there is no limit. Locked for arithmetic only.
    throttle: Option<Arc<Mutex<Throttle>>>,
    /// Of an uplink that has a fallback.
    duty: Option<Arc<Duty>>,
}

impl Shared {
    fn new(rate: Rate, metrics: Metrics, duty: Option<Arc<Duty>>) -> Self {
        let throttle = (rate != Rate::default())
            .then(|| Arc::new(Mutex::new(Throttle::new(rate, Instant::now()))));
        Self {
            metrics,
            throttle,
            duty,
        }
    }
}

/// Whether upstream is there, in words: nothing is sent and nothing stays there. A broker is asked by whoever asks, over `mqtt`.
///
/// # Errors
/// In words for the operator: why it is not, and what to do.
pub async fn reach(kind: &Kind) -> Result<String, String> {
    match kind {
        Kind::Mqtt(_) => Ok(String::new()),
        Kind::Http(server) => http::reach(server).await.map_err(|error| in_words(&error)),
        Kind::File(folder) => file::reach(folder).await.map_err(|error| in_words(&error)),
    }
}

fn in_words(error: &dyn std::error::Error) -> String {
    Causes(error).to_string()
}

/// Sends what is owed until `stop` says otherwise: [`Stop::Drain`] sends what lies in RAM, waits until upstream has
/// it and leaves (bounded by the caller, who then says [`Stop::Now`]); what is on disk is safe there. Without a
/// connection there is nothing to drain, and it leaves at once.
///
/// # Errors
/// See [`Error`]; a lost connection is none.
pub async fn run(
    config: Config,
    backlog: Arc<dyn Backlog>,
    metrics: Metrics,
    stop: watch::Receiver<Stop>,
) -> Result<(), Error> {
    backlog.link(false);
    let duty = config
        .fallback
        .is_some()
        .then(|| Arc::new(Duty::new(Instant::now())));
    let shared = Shared::new(config.rate, metrics, duty);
    if config.connections > 1 || config.fallback.is_some() {
        return connections::run(&config, &backlog, &shared, &stop).await;
    }
    drain(config, Part::WHOLE, backlog, shared, stop).await
}

/// One connection, dialled again whenever it is lost.
async fn drain(
    config: Config,
    part: Part,
    backlog: Arc<dyn Backlog>,
    shared: Shared,
    stop: watch::Receiver<Stop>,
) -> Result<(), Error> {
    let uplink = serve::Uplink::new(&config, part, backlog, &shared);
    let name = config.name;
    let link = &shared.metrics.link;
    match config.kind {
        Kind::Mqtt(broker) => {
            let redial = mqtt::redial(broker, name, link);
            keep_sending::<mqtt::Broker>(redial, uplink, &shared, stop).await
        }
        Kind::Http(server) => {
            let redial = http::redial(server, name, link);
            keep_sending::<http::Lane>(redial, uplink, &shared, stop).await
        }
        Kind::File(folder) => {
            let redial = file::redial(folder, name, link);
            keep_sending::<file::Lane>(redial, uplink, &shared, stop).await
        }
    }
}

async fn keep_sending<C: Carrier>(
    mut redial: Redial<C::Dial>,
    mut uplink: serve::Uplink,
    shared: &Shared,
    mut stop: watch::Receiver<Stop>,
) -> Result<(), Error> {
    let failed = || shared.duty.iter().for_each(|duty| duty.failed());
    while let Some(up) = redial.connect_or(&mut stop, failed).await {
        let mut carrier = C::from(up);
        let unfit = if uplink.is_unfit(&carrier.limits()) {
            Some(Ended::Level0Only)
        } else {
            uplink.mute(&mut carrier, &mut stop).await
        };
        if let Some(unfit) = unfit {
            carrier.close().await;
            redial.lost(&unfit);
            failed();
            continue;
        }
        let shaky = redial.is_alarming();
        carrier.online(&mut redial);
        uplink.post.take().await;
        let served = uplink.serve(carrier, shaky, &mut stop).await;
        uplink.post.leave(Instant::now());
        match served {
            Ok(()) => break,
            Err(Parting::Lost(ended)) => {
                match uplink.haste(&ended) {
                    Haste::AtOnce => redial.hasten(),
                    Haste::Soon => redial.worked(),
                    Haste::Later => {}
                }
                redial.lost_as(uplink.failure(&ended), &ended);
            }
            Err(Parting::Broken(error)) => {
                redial.left();
                return Err(error);
            }
        }
    }
    redial.left();
    Ok(())
}
