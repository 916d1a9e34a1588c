//! The way upstream: pulls from the spool, sends in order, tells the spool what was accepted.
//!
//! **In**: what the spool owes, fetched queue by queue. **Out**: publishes over one connection with a clean
//! session, and for each queue the ranges that upstream has accepted.
//!
//! **Promised**
//! - Messages of a queue go out in the order of their `Seq`. The window is counted in our own sequence, not in packet
//!   ids; the spool is the only memory, so on any error sending starts over at the first message that is not
//!   accepted. At least once, then; first occurrences stay in order, since everything behind the gap is sent again too.
//! - The spool hears only of what upstream has accepted (QoS 0: of what the socket has taken).
//! - A message that upstream refuses for good goes to the dead letters, and the queue goes on. When upstream is
//!   only busy, the connection ends and back-off decides when that message is tried again; nothing more goes ahead
//!   of it, but what was in the window behind it may have been taken (MQTT has no word for "and nothing after").
//! - It never gives up, and never waits for the disk: the spilled part is read ahead on a thread of its own.

mod metrics;
mod pull;
mod serve;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::sync::watch;

pub use metrics::Metrics;

use self::serve::Parting;
use crate::message::{Backlog, Qos, QueueId};
use crate::mqtt::{self, Redial, Stop};

/// Why an uplink ended without being told to. The network never ends it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The spool panicked under a read; nothing is lost, the stage may be started again.
    #[error("uplink `{uplink}` could not read what is spilled")]
    Read {
        /// Which uplink.
        uplink: Arc<str>,
        /// The panic.
        #[source]
        cause: tokio::task::JoinError,
    },
}

/// A queue this uplink drains.
#[derive(Clone, Debug)]
pub struct Drain {
    /// Which.
    pub queue: QueueId,
    /// Its class, for metrics.
    pub class: Arc<str>,
}

/// One uplink.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name in config, metrics and logs.
    pub name: Arc<str>,
    /// The connection; `inflight` is the window.
    pub mqtt: mqtt::Config,
    /// Level of what is published.
    pub qos: Qos,
    /// Its queues.
    pub drains: Vec<Drain>,
    /// Largest publish; what the broker announces may lower it.
    pub max_packet_bytes: u32,
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
    mut stop: watch::Receiver<Stop>,
) -> Result<(), Error> {
    backlog.link(false);
    let mut uplink = serve::Uplink::new(&config, Arc::clone(&backlog), &metrics);
    let mut redial = Redial::new(config.mqtt, "uplink", config.name, &metrics.link);
    while let Some((connection, established)) = redial.connect(&mut stop).await {
        redial.online(&established);
        match uplink.serve(connection, &established, &mut stop).await {
            Ok(()) => break,
            Err(Parting::Lost(ended)) => redial.lost(ended.kind(), &ended),
            Err(Parting::Broken(error)) => {
                redial.left();
                return Err(error);
            }
        }
    }
    redial.left();
    Ok(())
}
