//! The device side: arrivals to batches of deliveries; acknowledges what is settled.
//!
//! **In**: what a broker sends to the topics of the flows, what is posted, or what devices answer. **Out**: a
//! batch of deliveries for each flow and read burst, and dead letters for what is over-long.
//!
//! **Promised**
//! - A message is acknowledged only when it is settled: upstream has accepted it, or it is safe on disk.
//!   Over MQTT acknowledgements leave in arrival order (4.6), over HTTP each request is answered by itself.
//! - Nothing of QoS 1 or 2 is dropped for want of room: at `max_unsettled_bytes` a connection to a broker stops reading and
//!   goes on with pings and acknowledgements, requests are turned away, and polls are left out, counted. QoS 0 is dropped, and
//!   counted, above half of that.
//! - Where a flow knows messages by their id, a repeat is dropped, and acknowledged once its first copy is settled.
//! - A broker that has forgotten us, while we ran or while we were down, is in the ledger.
//! - It never gives up on its broker, and never waits for a flow or the disk.
//!
//! **Not promised**: that a repeat is known after a restart, by its id or because the spool holds it already (a kill behind
//! the commit and before the acknowledgement). Remembering over a restart would write to the card for every message while
//! all is well; a kill costs at most the broker's window (`receive_maximum`) twice, and upstream can drop it by `id`.
//!
//! `taker` is all of it that no protocol touches: routes, receipts, repeats, limits. `mqtt`, `http`
//! and `modbus` are the ways in.

mod circles;
mod conditions;
mod flows;
pub mod http;
mod index;
mod metrics;
pub mod modbus;
pub mod mqtt;
mod pending;
mod repeats;
mod taker;
mod unsettled;

use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

pub use conditions::Condition;
pub use metrics::{Account, Metrics};
pub use repeats::Dedup;

use crate::link::Stop;
use crate::message::{FlowId, Intake, Mint, Outlet, Pattern};
use taker::Borders;

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
pub struct Route {
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
    pub kind: Kind,
    pub routes: Vec<Route>,
    /// Bytes under way and unsettled at which the link stops reading; above half of it QoS 0 is dropped.
    pub max_unsettled_bytes: usize,
    /// Longest topic in bytes; a longer one is parked by its head.
    pub max_topic_bytes: usize,
    /// Longest payload in bytes; a longer one is parked by its head.
    pub max_payload_bytes: usize,
}

/// How messages come in.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A broker sends them.
    Mqtt(Box<mqtt::Config>),
    /// Whoever has them posts them.
    Http(Box<http::Config>),
    /// Devices are asked for them.
    Modbus(Box<modbus::Config>),
}

impl Config {
    /// This one, with what it remembers on disk over a restart.
    #[must_use]
    pub fn beside(mut self, data_dir: &Path) -> Self {
        if let Kind::Mqtt(own) = &mut self.kind {
            own.mark = mqtt::SessionMark::find(data_dir, &self.name, &own.connection);
        }
        self
    }

    /// This one, of a source that has worked with `before` until now.
    #[must_use]
    pub fn after(mut self, before: &Self) -> Self {
        if let (Kind::Mqtt(own), Kind::Mqtt(before)) = (&mut self.kind, &before.kind) {
            own.mark = own.mark.clone().after(&before.mark);
        }
        self
    }
}

/// Takes what the devices send until `stop` says otherwise: [`Stop::Drain`] takes nothing more and leaves when all
/// that was taken is acknowledged (bounded by the caller, who then says [`Stop::Now`]).
pub async fn run(
    config: Config,
    outlet: Arc<dyn Outlet>,
    mint: Arc<Mint>,
    metrics: Metrics,
    stop: watch::Receiver<Stop>,
) {
    let borders = Borders {
        outlet,
        mint,
        settled: Arc::default(),
        meters: Arc::new(metrics.of(&config.name)),
    };
    match &config.kind {
        Kind::Mqtt(own) => mqtt::run(&config, own, borders, &metrics, stop).await,
        Kind::Http(own) => http::run(&config, own, borders, &metrics, stop).await,
        Kind::Modbus(own) => modbus::run(&config, own, borders, &metrics, stop).await,
    }
}
