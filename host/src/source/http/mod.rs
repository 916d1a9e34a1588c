//! Over HTTP: listens, takes what is posted, and answers 202 once it is safe.
//!
//! **In**: `POST` or `PUT` of a message, or of several in one body, or a WebSocket whose frames are messages. **Out**: as every
//! source; the path is the topic.
//!
//! **Promised**
//! - 202 says that every message of the body is settled: upstream has accepted it, it is on the medium, or it is a dead
//!   letter or in the ledger with its reason. Whatever else is answered, or nothing, the message may have been taken.
//! - What no flow asks for is not taken, and is answered with 404.
//! - A body is taken as a whole or not at all: what is wrong with one of its messages refuses them all before any is taken.
//! - Who is late, endless, over a limit or a stranger gets an answer that says so, and holds up nobody else.
//!
//! **Not promised**: an order among requests that are under way together; that a repeat is known unless the flow has `dedup`
//! and the request an `Idempotency-Key`; that messages which go in a circle over HTTP are found.
//!
//! - `listener`: a port as [`crate::link`] holds it. `guests`: connections within bounds.
//! - `visit`: one request, from its head to its answer; `topic`, `asked`, `split`, `gate`, `bodies`, `answer` are its parts,
//!   without sockets.
//! - `websocket`: what a request has opened, until it ends.
//! - `desk`: the requests whose messages are under way, and the taker.

mod answer;
mod asked;
mod bodies;
mod desk;
mod gate;
mod guests;
mod headers;
mod listener;
mod settings;
mod split;
mod topic;
mod visit;
mod websocket;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

pub(super) use asked::WantedTopics;
pub use settings::Config;
pub use split::BodySplit;
pub use topic::{PathTopic, TemplateError};

use super::taker::Borders;
use crate::clock::sleep_until;
use crate::link::{Port, Redial, Stop, level};
use desk::{OpenRequests, PostRequest};
use gate::READ_AGAIN;
use guests::ClientConnections;
use listener::Listener;
pub(super) use listener::reach;
use visit::Room;

/// Pause after a failed accept: the usual reason is that all descriptors are in use.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Reads of WebSockets that wait to be taken, over all of them.
const STREAMED: usize = 4;

/// What connections get at the end on which nothing is under way: the last answers are on their way out.
const LAST: Duration = Duration::from_millis(500);

/// Takes until `stop` says otherwise.
pub(super) async fn run(
    config: &super::Config,
    own: &Config,
    borders: Borders,
    metrics: &super::Metrics,
    mut stop: watch::Receiver<Stop>,
) {
    let listener = Listener::new(own);
    let mut redial = Redial::new(listener, "source", Arc::clone(&config.name), &metrics.link);
    let Some((listener, gate)) = redial.connect(&mut stop).await else {
        return redial.left();
    };
    let failures_before = redial.stands();
    let address = listener
        .local_addr()
        .map_or_else(|error| error.to_string(), |address| address.to_string());
    tracing::info!(source = %config.name, address, failures_before, "listening");
    let (ask, asked) = mpsc::channel(own.max_connections);
    let (hand_on, streamed) = mpsc::channel(STREAMED);
    let room = Room::new(config, own, gate, metrics, (ask, hand_on));
    borders
        .meters
        .messages_capacity
        .set(level(own.max_connections));
    let desk = OpenRequests::new(config, own, borders);
    let service = HttpSource {
        own,
        desk,
        room: Arc::new(room),
        asked,
        streamed,
    };
    service.serve(listener, &mut stop).await;
    redial.left();
}

/// A source that listens.
struct HttpSource<'a> {
    own: &'a Config,
    desk: OpenRequests,
    room: Arc<Room>,
    asked: mpsc::Receiver<PostRequest>,
    /// What came over WebSockets, which are not read while there is no room.
    streamed: mpsc::Receiver<PostRequest>,
}

impl HttpSource<'_> {
    /// Serves until told to stop and all that was taken is answered.
    async fn serve(mut self, listener: Port<TcpListener>, stop: &mut watch::Receiver<Stop>) {
        let mut guests = ClientConnections::new(Arc::clone(&self.room));
        let mut listener = Some(listener);
        let settled = self.desk.settled();
        let mut read_again = tokio::time::interval(READ_AGAIN);
        let mut pause_until = None;
        let (mut ceases_at, mut last) = (None, None);
        loop {
            let mode = *stop.borrow_and_update();
            if mode == Stop::Now {
                return;
            }
            if mode == Stop::Drain && listener.take().is_some() {
                guests.leave();
                ceases_at = Some(Instant::now() + LAST);
            }
            if ceases_at.is_some_and(|at| guests.is_empty() || at <= Instant::now()) {
                self.desk.cease();
            }
            self.desk.settle(Instant::now(), mode == Stop::Drain);
            self.room.show_full(self.desk.is_full());
            if mode == Stop::Drain && self.desk.is_empty() {
                let last = *last.get_or_insert_with(|| Instant::now() + LAST);
                if guests.is_empty() || last <= Instant::now() {
                    return;
                }
            } else {
                last = None;
            }
            let admits = pause_until.is_none() && guests.len() < self.own.max_connections;
            tokio::select! {
                accepted = accept(listener.as_deref()), if admits => match accepted {
                    Ok((stream, _)) => guests.admit(stream),
                    Err(error) => {
                        tracing::warn!(%error, "a connection cannot be taken");
                        pause_until = Some(Instant::now() + ACCEPT_PAUSE);
                    }
                },
                () = guests.one_left(), if !guests.is_empty() => {}
                Some(ask) = self.asked.recv() => self.desk.take(ask, Instant::now()),
                Some(ask) = self.streamed.recv(), if !self.desk.is_full() => {
                    self.desk.take(ask, Instant::now());
                }
                () = settled.changed() => {}
                () = sleep_until(self.desk.due()) => {}
                () = sleep_until(ceases_at.filter(|at| *at > Instant::now())) => {}
                () = sleep_until(last) => {}
                () = sleep_until(pause_until) => pause_until = None,
                _ = read_again.tick() => self.room.read_gate_again(self.own),
                changed = stop.changed() => if changed.is_err() {
                    return;
                },
            }
        }
    }
}

async fn accept(
    listener: Option<&TcpListener>,
) -> std::io::Result<(tokio::net::TcpStream, std::net::SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}
