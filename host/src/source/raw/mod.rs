//! Raw bytes: of a connection that is dialled or taken, of datagrams, of a serial line, what a program says, or what stands in files; cut into
//! frames, each a message.
//!
//! **In**: whatever bytes come. **Out**: as every source; the topic is made of who sent it, the payload is the frame.
//!
//! **Promised**
//! - However the bytes are cut on their way, the frames are the same. What is no frame (too long, cut off, out of step) goes to the
//!   dead letters by its head, and what follows is taken as ever; where that comes too often for letters it is in the ledger.
//! - A reply, where one is asked for, is sent once its message is settled, in the order of the connection. Where it cannot be in
//!   time, a connection is ended, and nothing is said on a serial line or to a datagram.
//! - Connections, programs and serial lines are read as far as there is room. Datagrams for which there is none are in the ledger, and so are
//!   those that the system had to drop.
//! - Memory is bounded: by a frame for each connection, and by `max_unsettled`.
//! - Files are read at least once, and go on where they were safe: see `tail`.
//!
//! **Not promised**: but for files, what was under way at a kill or a stop and was not answered; on a serial line, what came while it was not
//! read, unless its wires can tell the other end to wait; that datagrams come, or come in order; with frames that end by silence, where
//! one ended while there was no room.
//!
//! - `frame`: from bytes to frames; `topic`, `letters`, `drops`: what their names say; `desk`: what becomes of a frame; `wires`: what
//!   is answered. All without sockets.
//! - `tail`: files that are followed; `program`: one whose output is taken; `dialler`, `wire`: what stands, as [`crate::link`] holds it; `connection`: one that does; `streams`, `datagrams`: all of a source.

mod connection;
mod datagrams;
mod desk;
mod dialler;
mod drops;
mod frame;
mod letters;
mod program;
mod settings;
mod streams;
mod tail;
mod topic;
mod wire;
mod wires;

use std::sync::Arc;

use tokio::sync::watch;

pub(super) use dialler::reach;
pub(super) use drops::DropCount;
pub use frame::{LengthCounts, LengthField, RawFraming};
pub use program::{ProgramRounds, RawProgram};
pub use settings::{Config, RawAddress};
pub(super) use tail::kept_at;
pub use tail::{FilePattern, TailHandover};
pub use topic::{KnownOfPeer, PeerTopic};

use super::taker::Borders;
use crate::link::{Redial, Stop};
use datagrams::DatagramSource;
use dialler::RawDialler;
use streams::StreamSource;
use tail::TailSource;

/// Takes until `stop` says otherwise.
pub(super) async fn run(
    config: &super::Config,
    own: &Config,
    borders: Borders,
    metrics: &super::Metrics,
    mut stop: watch::Receiver<Stop>,
) {
    let mut redial = Redial::new(
        RawDialler::new(own),
        "source",
        Arc::clone(&config.name),
        &metrics.link,
    );
    if let RawAddress::Files(pattern) = &own.address {
        let mut source = TailSource::new(config, own, pattern, (borders, metrics));
        source.run(&mut redial, &mut stop).await;
    } else if matches!(own.address, RawAddress::Datagrams { .. }) {
        let mut source = DatagramSource::new(config, own, borders, metrics);
        source.run(&mut redial, &mut stop).await;
    } else {
        let mut source = StreamSource::new(config, own, borders, metrics);
        source.run(&mut redial, &mut stop).await;
    }
    redial.left();
}
