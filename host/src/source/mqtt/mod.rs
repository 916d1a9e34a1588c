//! Over MQTT: subscribes, takes over a connection with a kept session, and acknowledges in arrival order.
//!
//! **Order over a reconnect.** What came over the lost connection stays under way inside; its acknowledgements
//! are void, and the broker sends it again, before anything new and in its first order. The second copies take the
//! same lanes behind the first ones, so every first occurrence stands where it stood: m1 m2 | m1 m2 m3 holds m1 m2 m3
//! in order whether or not the first m1 and m2 come through, *as long as each lane loses a tail and not a middle*.
//! Where a stage did lose receipts (it panicked), the burst falls, the source leaves and the broker sends again
//! from the first message that was not acknowledged. Between the panic and that moment a later message of the same
//! device may have gone ahead: the one case in which order is not kept, and it is counted as a fault.
//! Old copies count against `max_unsettled_bytes` until they settle: a flapping link cannot fill the memory.

mod copies;
mod grants;
mod mark;
mod pressure;
mod serve;
mod settings;
mod subscriptions;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

pub use mark::{
    LeftSession, SessionMark, SessionMarks, forget, hand_over, mark_file, owner, sessions,
};
pub use settings::Config;

use super::conditions::SourceCondition;
use super::taker::Borders;
use crate::link::Stop;
use crate::mqtt::{self, BrokerRedial, ConnectionEnded};
use crate::words;

/// What is told while a session of before is emptied.
fn left(own: &Config) -> SourceCondition {
    let mqtt::Config {
        client_id,
        host,
        port,
        ..
    } = &own.connection;
    let client_id = words::line(client_id, 200);
    SourceCondition {
        kind: "session-of-before",
        words: format!(
            "what {host}:{port} still holds for the client id `{client_id}`, which is no source's any more, is taken"
        ),
        own: "what a broker holds in a session of before is taken",
        messages: 0,
        since: Instant::now(),
        next_try: None,
    }
}

/// Takes until `stop` says otherwise. The network never ends it.
pub(super) async fn run(
    config: &super::Config,
    own: &Config,
    borders: Borders,
    metrics: &super::Metrics,
    mut stop: watch::Receiver<Stop>,
) {
    let mut redial = BrokerRedial::to(
        own.connection.clone(),
        "source",
        Arc::clone(&config.name),
        &metrics.link,
    );
    let board = own.is_left.then(|| metrics.board(&config.name));
    if let Some(board) = &board {
        board.show(vec![left(own)]);
        let (source, client_id) = (&config.name, &own.connection.client_id);
        tracing::warn!(%source, client_id, "the broker has a session of ours under a client id that is no source's any more: what it holds is taken, and may come behind newer messages; its subscriptions end");
    }
    let mut source = serve::MqttSource::new(config, own, borders);
    while let Some((connection, established)) = redial.connect(&mut stop).await {
        match source
            .serve(connection, &established, &mut redial, &mut stop)
            .await
        {
            Ok(()) => break,
            Err(ConnectionEnded::Renewal) => redial.renew(),
            Err(ended) => redial.lost(&ended),
        }
    }
    redial.left();
    drop(board);
    if own.is_left && *stop.borrow() == Stop::Run {
        own.mark.forget();
        tracing::info!(source = %config.name, "the session of before holds nothing any more");
        // An error means that whoever could say so is gone.
        let _ = stop.wait_for(|stop| *stop != Stop::Run).await;
    }
}
