//! The device side: arrivals to batches of deliveries; acknowledges what is settled.
//!
//! **In**: what a broker sends to the topics of the flows, what is posted, or what devices answer. **Out**: a
//! batch of deliveries for each flow and read burst, and dead letters for what is over-long.
//!
//! **Promised**
//! - A message is acknowledged only when it is settled: upstream has accepted it, or it is safe on disk.
//!   Over MQTT acknowledgements leave in arrival order (4.6), over HTTP and CoAP each request is answered by itself.
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
//! `taker` is all of it that no protocol touches: routes, receipts, repeats, limits. `mqtt`, `http`,
//! `coap`, `modbus`, `raw`, `nats` and `ticks` are the ways in.

mod arrival;
mod circles;
pub mod coap;
mod conditions;
mod devices;
mod facts;
mod flows;
pub mod http;
mod index;
mod metrics;
pub mod modbus;
pub mod mqtt;
pub mod nats;
mod pending;
pub mod raw;
mod repeats;
mod settings;
mod taker;
pub mod ticks;
mod trace;
mod unsettled;

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::task::task_tracker::TaskTrackerToken;

pub use conditions::{ConditionBoard, SourceCondition};
pub use devices::DeviceWatch;
pub use facts::{ConsumerPlace, ListenPlace, SourceFacts, SourceTopics};
pub use metrics::{Account, Metrics};
pub use repeats::Dedup;
pub use settings::{Ack, Config, FlowRoute, SourceKind};

use crate::link::Stop;
use crate::message::{Mint, Outlet};
use taker::Borders;
use trace::SourceTrace;

/// Whether messages can come from there, in words; nothing is taken. A broker is asked by whoever asks, over `mqtt`.
///
/// # Errors
/// In words for the operator: why not, and what to do.
pub async fn reach(kind: &SourceKind) -> Result<String, String> {
    match kind {
        SourceKind::Mqtt(_) => Ok(String::new()),
        SourceKind::Http(own) => http::reach(own).await,
        SourceKind::Modbus(own) => modbus::reach(own).await,
        SourceKind::Raw(own) => raw::reach(own).await,
        SourceKind::Nats(own) => nats::reach(own).await,
        SourceKind::Ticks(own) => ticks::reach(own),
        SourceKind::Coap(own) => coap::reach(own).await,
    }
}

/// Takes what the devices send until `stop` says otherwise: [`Stop::Drain`] takes nothing more and leaves when all
/// that was taken is acknowledged (bounded by the caller, who then says [`Stop::Now`]). `taking` is let go as soon as nothing more is
/// handed on.
pub async fn run(
    config: Config,
    outlet: Arc<dyn Outlet>,
    mint: Arc<Mint>,
    metrics: Metrics,
    (taking, stop): (TaskTrackerToken, watch::Receiver<Stop>),
) {
    let borders = Borders {
        outlet,
        mint,
        settled: Arc::default(),
        meters: Arc::new(metrics.of(&config.name)),
        taking,
        trace: SourceTrace::new(
            &config.name,
            config.kind.facts().name,
            metrics.tracer().clone(),
        ),
    };
    match &config.kind {
        SourceKind::Mqtt(own) => mqtt::run(&config, own, borders, &metrics, stop).await,
        SourceKind::Http(own) => http::run(&config, own, borders, &metrics, stop).await,
        SourceKind::Modbus(own) => modbus::run(&config, own, borders, &metrics, stop).await,
        SourceKind::Raw(own) => raw::run(&config, own, borders, &metrics, stop).await,
        SourceKind::Nats(own) => nats::run(&config, own, borders, &metrics, stop).await,
        SourceKind::Ticks(own) => ticks::run(&config, own, borders, &metrics, stop).await,
        SourceKind::Coap(own) => coap::run(&config, own, borders, &metrics, stop).await,
    }
}
