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

mod carrier;
mod batch;
mod condition;
mod connections;
mod drain;
mod duty;
mod error;
mod facts;
mod fallback;
pub mod file;
mod form;
pub mod http;
mod judge;
#[cfg(feature = "kafka")]
pub mod kafka;
mod metrics;
mod mqtt;
pub mod nats;
mod part;
#[cfg(feature = "postgres")]
pub mod postgres;
mod rate;
#[cfg(feature = "s3")]
pub mod s3;
mod serve;
mod settings;
mod shared;
pub mod web;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

pub use condition::UplinkCondition;
pub use drain::reach;
pub use error::Error;
pub use facts::UplinkFacts;
pub use form::column::Column;
pub use form::compress::Compress;
pub use form::encode::{IdForm, Pack, PublishFormat, ReplayMark};
pub use form::lines::LineFormat;
pub use form::template::Template;
pub use metrics::{Account, Metrics};
pub use rate::Rate;
pub use settings::{Config, Drain, UplinkKind};

use self::drain::drain;
use self::duty::Duty;
use self::part::Shard;
use self::shared::UplinkContext;
use crate::link::Stop;
use crate::message::{LinkTurn, OwedQueues};

/// Sends what is owed until `stop` says otherwise: [`Stop::Drain`] sends what lies in RAM, waits until upstream has
/// it and leaves (bounded by the caller, who then says [`Stop::Now`]); what is on disk is safe there. Without a
/// connection there is nothing to drain, and it leaves at once.
///
/// # Errors
/// See [`Error`]; a lost connection is none.
pub async fn run(
    config: Config,
    owed: OwedQueues,
    metrics: Metrics,
    stop: watch::Receiver<Stop>,
) -> Result<(), Error> {
    owed.link.turn(LinkTurn::Down);
    let duty = config
        .fallback
        .is_some()
        .then(|| Arc::new(Duty::new(Instant::now())));
    let shared = UplinkContext::new(config.rate, metrics, duty);
    if config.connections > 1 || config.fallback.is_some() {
        return connections::run(&config, &owed, &shared, &stop).await;
    }
    Box::pin(drain(config, Shard::WHOLE, owed, shared, stop)).await
}
