//! The device side: topics to batches of deliveries; acknowledges the settled prefix in arrival order.
//!
//! **In**: what the broker sends to the topics of the flows, over one connection with a kept session. **Out**: a
//! batch of deliveries for each flow and read burst, and dead letters for what is over-long.
//!
//! **Promised**
//! - A message is acknowledged only when it is settled: upstream has accepted it, or it is safe on disk.
//!   Acknowledgements leave in arrival order (MQTT 4.6).
//! - Nothing of QoS 1 or 2 is dropped for want of room: at `max_unsettled_bytes` the connection stops reading and
//!   goes on with pings and acknowledgements. QoS 0 is dropped, and counted, above half of that.
//! - Where a flow knows messages by their id, a repeat is dropped, and acknowledged once its first copy is settled.
//! - A broker that has forgotten us, while we ran or while we were down, is in the ledger.
//! - It never gives up on its broker, and never waits for a flow or the disk.
//!
//! **Not promised**: that a repeat is known after a restart, by its id or because the spool holds it already (a kill behind
//! the commit and before the acknowledgement). Remembering over a restart would write to the card for every message while
//! all is well; a kill costs at most the broker's window (`receive_maximum`) twice, and upstream can drop it by `id`.
//!
//! **Order over a reconnect.** What came over the lost connection stays under way inside; its acknowledgements
//! are void, and the broker sends it again, before anything new and in its first order. The second copies take the
//! same lanes behind the first ones, so every first occurrence stands where it stood: m1 m2 | m1 m2 m3 holds m1 m2 m3
//! in order whether or not the first m1 and m2 come through, *as long as each lane loses a tail and not a middle*.
//! Where a stage did lose receipts (it panicked), the burst falls, the source leaves and the broker sends again
//! from the first message that was not acknowledged. Between the panic and that moment a later message of the same
//! device may have gone ahead: the one case in which order is not kept, and it is counted as a fault.
//! Old copies count against `max_unsettled_bytes` until they settle: a flapping link cannot fill the memory.

mod circles;
mod copies;
mod grants;
mod index;
mod mark;
mod metrics;
mod pattern;
mod pressure;
mod repeats;
mod serve;
mod sorter;
#[cfg(test)]
mod tests;
mod unsettled;

use std::sync::Arc;

use tokio::sync::watch;

pub use mark::SessionMark;
pub use metrics::{Account, Metrics};
pub use pattern::{Pattern, PatternError, overlap};
pub use repeats::Dedup;

use crate::link::Stop;
use crate::message::{FlowId, Intake, Mint, Outlet, Qos};
use crate::mqtt::{self, Redial};

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
    /// Which flow.
    pub flow: FlowId,
    /// Its name, for logs and dead letters.
    pub name: Arc<str>,
    /// Topic filter with captures; several patterns of a flow are several routes, the first that matches counts.
    pub pattern: Pattern,
    /// The flow's lanes.
    pub intake: Arc<dyn Intake>,
    /// When to acknowledge.
    pub ack: Ack,
    /// Longest life of a message, seconds: what says nothing gets it, what says more gets less.
    pub expires: Option<u32>,
    /// How repeats are known; they are dropped.
    pub dedup: Option<Dedup>,
}

/// One source connection.
#[derive(Clone)]
pub struct Config {
    /// Name in config, metrics and logs.
    pub name: Arc<str>,
    /// The connection.
    pub mqtt: mqtt::Config,
    /// Level asked for in SUBSCRIBE.
    pub qos: Qos,
    /// What goes where.
    pub routes: Vec<Route>,
    /// Bytes under way and unsettled at which the link stops reading; above half of it QoS 0 is dropped.
    pub max_unsettled_bytes: usize,
    /// Longest topic in bytes; a longer one is parked by its head.
    pub max_topic_bytes: usize,
    /// Longest payload in bytes; a longer one is parked by its head.
    pub max_payload_bytes: usize,
    /// What session the broker has had of ours before this start.
    pub mark: SessionMark,
}

impl Config {
    /// This one, of a source that has worked with `before` until now.
    #[must_use]
    pub fn after(mut self, before: &Self) -> Self {
        // Two would write the same file.
        self.mark = before.mark.clone();
        self
    }
}

/// Takes what the devices send until `stop` says otherwise: [`Stop::Drain`] takes nothing more and leaves when all
/// that was taken is acknowledged (bounded by the caller, who then says [`Stop::Now`]). The network never ends it.
pub async fn run(
    config: Config,
    outlet: Arc<dyn Outlet>,
    mint: Arc<Mint>,
    metrics: Metrics,
    mut stop: watch::Receiver<Stop>,
) {
    let mut redial = Redial::to(
        config.mqtt.clone(),
        "source",
        Arc::clone(&config.name),
        &metrics.link,
    );
    let mut source = serve::Source::new(config, outlet, mint, &metrics);
    while let Some((connection, established)) = redial.connect(&mut stop).await {
        match source
            .serve(connection, &established, &mut redial, &mut stop)
            .await
        {
            Ok(()) => break,
            Err(ended) => redial.lost(&ended),
        }
    }
    redial.left();
}
