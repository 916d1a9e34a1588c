//! A WebSocket at the port: opened by a request, then each frame is a message, and is answered by its number once it is safe.
//!
//! **In**: text and binary frames under the topic of the path. **Out**: `{"ack":1}` for the first message of the connection, in
//! their order, each once it is settled; `{"refused":2,"why":"…"}` for one that cannot be taken.
//!
//! **Promised**
//! - What is acknowledged is settled, as behind a 202. Frames of a connection keep their order.
//! - Where something can get no acknowledgement any more the connection is closed, with a code and words; what comes behind it on the
//!   next one is a repeat at most.
//! - A connection holds one message that is on its way in, 256 that are not answered, and no more; then it is not read.
//! - At a stop nothing more is read, what was taken is answered, and the end is 1001.
//!
//! **Not promised**: that a repeat is known (`dedup` has no key to go by); an order between connections.
//!
//! `handshake`: the request; `acks`, `pace`, `end`: what is owed, how long things may take, why it ends, all without sockets;
//! `rules`: what is the same for all; `wire`: frames; `connection`: all of it.

mod acks;
mod connection;
mod counted;
mod end;
mod handshake;
mod pace;
mod rules;
mod wire;

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::watch;

pub(super) use handshake::{is_asked_for, shown_token, switch};
pub(super) use rules::SocketRules;

use super::bodies::Bodies;
use connection::SocketConnection;

/// A request that was let in, and what it said of all messages to come.
pub(super) struct OpenedSocket {
    pub(super) upgrade: OnUpgrade,
    pub(super) topic: Bytes,
    /// Properties of every message.
    pub(super) properties: Bytes,
}

/// Where a connection finds that its request was let in.
#[derive(Clone, Default)]
pub(super) struct OpenedSlot(Arc<Mutex<Option<OpenedSocket>>>);

impl OpenedSlot {
    pub(super) fn put(&self, opened: OpenedSocket) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened);
    }

    pub(super) fn take(&self) -> Option<OpenedSocket> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Takes what comes until one of both ends it; why, in words.
pub(super) async fn serve(
    opened: OpenedSocket,
    rules: &SocketRules,
    bodies: &Bodies,
    leaving: watch::Receiver<bool>,
) -> String {
    let OpenedSocket {
        upgrade,
        topic,
        properties,
    } = opened;
    match upgrade.await {
        Ok(upgraded) => {
            let io = TokioIo::new(upgraded);
            let connection = SocketConnection::new(io, rules, bodies, (topic, properties));
            connection.await.run(leaving).await
        }
        Err(error) => error.to_string(),
    }
}
