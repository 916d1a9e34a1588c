//! Another upstream that stands in while the first is away: who of the two drains the queues.
//!
//! ```text
//!            3 s without a connection, two failed attempts, or 3 s of silence with messages under way
//!  first ───────────────────────────────────────────────────────► stand-in
//!        ◄───────────────────────────────────────────────────────
//!            a connection stands, or is heard again: the stand-in finishes, and gives back
//! ```
//!
//! A connection that has fallen silent is kept and watched meanwhile: it ends by its own deadlines, or is heard again. An
//! upstream that answers pings and acknowledges nothing gets the queues back when it has acknowledged a message that was sent
//! beside the account.
//!
//! Only one of them has the queues at any time, so the account stays exact: what the one has not seen accepted, the other
//! sends. Twice comes at most what was in flight when a connection ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::drain::drain;
use super::duty::Duty;
use super::error::Error;
use super::part::Shard;
use super::settings::Config;
use super::shared::UplinkContext;
use crate::link::Stop;
use crate::message::OwedQueues;

/// What the stand-in gets to see the last of its messages accepted, once the first is back.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Drains in the first one's stead whenever that is away, until `stop` says otherwise.
pub(super) async fn stand_in(
    config: Config,
    owed: OwedQueues,
    shared: UplinkContext,
    duty: Arc<Duty>,
    mut stop: watch::Receiver<Stop>,
) -> Result<(), Error> {
    let first = Arc::clone(&config.owner);
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop != Stop::Run) => return Ok(()),
            () = duty.away() => {}
        }
        if !duty.lend(Instant::now()) {
            continue;
        }
        tracing::warn!(uplink = %first, fallback = %config.kind.facts().host, "the fallback takes over");
        let ended = hold(&config, &owed, &shared, &duty, &mut stop).await;
        duty.give_back();
        ended?;
        tracing::info!(uplink = %first, "the fallback has given back");
    }
}

/// Drains until the first is back.
async fn hold(
    config: &Config,
    owed: &OwedQueues,
    shared: &UplinkContext,
    duty: &Duty,
    stop: &mut watch::Receiver<Stop>,
) -> Result<(), Error> {
    let (end, ending) = watch::channel(Stop::Run);
    let mut draining = Box::pin(drain(
        config.clone(),
        Shard::WHOLE,
        owed.clone(),
        shared.clone(),
        ending,
    ));
    let last_word = tokio::select! {
        biased;
        ended = &mut draining => return ended,
        _ = stop.wait_for(|stop| *stop != Stop::Run) => None,
        () = duty.back() => Some(LAST_WORD),
    };
    end.send_replace(Stop::Drain);
    tokio::select! {
        ended = &mut draining => return ended,
        () = tokio::time::sleep(last_word.unwrap_or_default()), if last_word.is_some() => {}
        _ = stop.wait_for(|stop| *stop == Stop::Now) => {}
    }
    end.send_replace(Stop::Now);
    draining.await
}
