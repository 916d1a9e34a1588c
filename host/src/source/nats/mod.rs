//! Out of a stream of a NATS server: a durable consumer is pulled from, and each message is acknowledged once it is settled.
//!
//! **Promised**
//! - Nothing is acknowledged before it is settled, and while it waits the server is told that it is worked on, so that it does not come
//!   again behind newer ones.
//! - What comes again all the same, as an acknowledgement was lost, goes no further, over new connections too.
//! - No more is asked for than there is room for, and than the consumer lets be under way.
//! - Order of a device over a kill and a lost connection: what was under way and did not come in comes again once the server has given it
//!   up (`ack_wait`), and until then nothing is taken. Where only acknowledgements were lost they are said again, and it goes on. An orderly end takes what is on its way, and leaves nothing to wait for.
//!
//! **Not promised**: that what was acknowledged at a kill and not heard by the server is known as a repeat; order where the consumer is
//! pulled from by others, too, and where one takes over from another that was pinned: what was under way there comes after `ack_wait`.
//!
//! - `topic`, `delivery`, `in_hand`, `pulls`: what their names say, without sockets. `consumer`, `dial`: what stands, as [`crate::link`] holds it.
//!   `serve`: one connection's life; `heard`: what the server has read of it.

mod consumer;
mod delivery;
mod dial;
mod heard;
mod in_hand;
mod pulls;
mod serve;
mod settings;
mod topic;

use std::sync::Arc;

use tokio::sync::watch;

pub(super) use dial::reach;
pub use settings::Config;
pub use topic::SubjectTopic;

use super::taker::Borders;
use crate::link::{Redial, Stop};
use dial::ConsumerDialler;
use serve::ConsumerSource;

/// Takes until `stop` says otherwise. The network never ends it.
pub(super) async fn run(
    config: &super::Config,
    own: &Config,
    borders: Borders,
    metrics: &super::Metrics,
    mut stop: watch::Receiver<Stop>,
) {
    let mut redial = Redial::new(
        ConsumerDialler::new(own.clone()),
        "source",
        Arc::clone(&config.name),
        &metrics.link,
    );
    let mut source = ConsumerSource::new(config, own, borders);
    while let Some((connection, terms)) = redial.connect(&mut stop).await {
        let failures_before = redial.stands();
        tracing::info!(source = %config.name, server = %own, stream = own.stream, consumer = own.consumer, failures_before, "online");
        match source.serve(connection, terms, &mut stop).await {
            Ok(()) => break,
            Err(ended) => redial.lost(&ended),
        }
    }
    redial.left();
}
