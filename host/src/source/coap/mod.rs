//! Over CoAP (RFC 7252): takes what is posted in datagrams, and answers 2.04 once it is safe.
//!
//! **In**: `POST` or `PUT` of a message, whole or in blocks (RFC 7959). **Out**: as every source; the path is the topic.
//!
//! **Promised**
//! - 2.04 says that the message is settled: upstream has accepted it, it is on the medium, or it is a dead letter or in the ledger with
//!   its reason. Whatever else is answered, or nothing, it may have been taken.
//! - A repeat, as its sender or the network makes them, is no message of its own, and gets the answer of the first one; while that is under
//!   way it waits with it.
//! - What no flow asks for is not taken, and is answered with 4.04.
//! - Who floods the port takes bounded room, and nobody is sent much more than what his address asked with.
//!
//! **Not promised**: that a repeat is known after a restart, after its time (`exchanges`), or beyond 28,000 answers that are remembered;
//! that the answer arrives where its sender is behind it: what is acknowledged to nobody comes again. Nothing is encrypted.
//!
//! - `datagram`, `block`, `format`: the protocol's forms. `request`: what one asks for; `outcome`: what it may come to.
//! - `exchanges`: repeats. `bodies`: what comes in blocks. `replies`: answers that are to be acknowledged. `tally`: what is counted.
//! - `desk`: what becomes of each datagram; all of these are without sockets. `port`: a socket as [`crate::link`] holds it.

mod block;
mod bodies;
mod datagram;
mod desk;
mod exchanges;
mod format;
mod outcome;
mod port;
mod print;
mod replies;
mod request;
mod settings;
mod tally;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::sync::watch;

pub(super) use port::reach;
pub use settings::Config;

use super::raw::DropCount;
use super::taker::Borders;
use crate::clock::sleep_until;
use crate::link::{Error, Redial, Stop};
use desk::CoapDesk;
use port::CoapPort;

/// No datagram is longer.
const DATAGRAM_BYTES: usize = 64 << 10;
/// Looked at together, at most.
const BURST: usize = 64;
const BURST_BYTES: usize = 256 << 10;
/// How often the system is asked what it has dropped.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// What answers get at the end to be acknowledged: whoever did not get his sends his message once more.
const LAST: Duration = Duration::from_secs(1);

/// Takes until `stop` says otherwise.
pub(super) async fn run(
    config: &super::Config,
    own: &Config,
    borders: Borders,
    metrics: &super::Metrics,
    mut stop: watch::Receiver<Stop>,
) {
    let name = Arc::clone(&config.name);
    let mut redial = Redial::new(CoapPort::new(own), "source", name, &metrics.link);
    let mut source = CoapSource {
        desk: CoapDesk::new(config, own, borders, metrics),
        room: vec![0; DATAGRAM_BYTES],
    };
    while let Some(socket) = redial.connect(&mut stop).await {
        let failures_before = redial.stands();
        let address = socket
            .local_addr()
            .map_or_else(|error| error.to_string(), |address| address.to_string());
        tracing::info!(source = %config.name, address, failures_before, "listening");
        match source.serve(&socket, &mut stop).await {
            Some(error) => redial.lost(&Error::Broken(error)),
            None => break,
        }
    }
    redial.left();
}

/// A source that listens.
struct CoapSource {
    desk: CoapDesk,
    room: Vec<u8>,
}

impl CoapSource {
    /// Serves until told to stop and all that was taken is answered, or until the socket fails.
    async fn serve(
        &mut self,
        socket: &UdpSocket,
        stop: &mut watch::Receiver<Stop>,
    ) -> Option<io::Error> {
        let is_v6 = socket.local_addr().is_ok_and(|address| address.is_ipv6());
        let mut drops = DropCount::of(socket, is_v6);
        let settled = self.desk.settled();
        let mut ask_at = Instant::now() + ASK_EVERY;
        let mut last = None;
        loop {
            let mode = *stop.borrow_and_update();
            if mode == Stop::Now {
                return None;
            }
            let now = Instant::now();
            if mode == Stop::Drain {
                self.desk.cease();
            }
            if ask_at <= now {
                let more = drops.as_mut().map_or(0, DropCount::more);
                self.desk.dropped_outside(more, now);
                ask_at = now + ASK_EVERY;
            }
            self.desk.settle(now, mode == Stop::Drain);
            self.send(socket);
            if mode == Stop::Drain && self.desk.is_empty() {
                let last = *last.get_or_insert(now + LAST);
                if self.desk.is_heard() || last <= now {
                    return None;
                }
            }
            tokio::select! {
                changed = stop.changed() => if changed.is_err() {
                    return None;
                },
                ready = socket.readable() => match ready.and_then(|()| self.burst(socket)) {
                    Ok(false) => {}
                    // To wait for a socket that has more costs no turn: it would hold up everybody as long as that is so.
                    Ok(true) => tokio::task::yield_now().await,
                    Err(error) => return Some(error),
                },
                () = settled.changed() => {}
                () = sleep_until(self.desk.look_at()) => {}
                () = sleep_until(last) => {}
                () = sleep_until(Some(ask_at)) => {}
            }
        }
    }

    /// Looks at what is there, some of it at a time; whether there may be more.
    fn burst(&mut self, socket: &UdpSocket) -> io::Result<bool> {
        let now = Instant::now();
        let mut bytes = 0;
        for _ in 0..BURST {
            let (length, from) = match socket.try_recv_from(&mut self.room) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            };
            self.desk.receive(from, &self.room[..length], now);
            bytes += length;
            if bytes >= BURST_BYTES {
                break;
            }
        }
        Ok(true)
    }

    /// Sends what is to be said. An answer for which there is no room is lost, as any datagram may be: the request, or the answer, comes
    /// again.
    fn send(&mut self, socket: &UdpSocket) {
        for (whom, datagram) in self.desk.outgoing() {
            let _ = socket.try_send_to(&datagram, whom);
        }
    }
}
