//! Holds a connection, whatever is spoken on it; knows no protocol and no stage.
//!
//! - `socket`: dials TCP or TLS with deadlines; one read brings what is there, one write takes all that is ready. `socket/turn`: behind
//!   much that comes in a row others have their turn; `socket/websocket`: bytes within frames, where nothing else gets through;
//!   `socket/leave`: how it is left, so that what was said last is read.
//! - `driven`: a socket that we speak over ourselves, `shared_socket`: one that a library speaks over; how far its bytes have got.
//! - `reconnect`: when to dial again, as a state machine without sockets and clocks; `redial`: that machine with a socket,
//!   a log and gauges, for whatever implements [`Dial`].
//! - `machine`: interfaces of this machine, of which one that comes up ends a back-off, its serial lines and its ports;
//!   `hurry`: whoever may have mended it ends a back-off, too; `pause`: events are gathered under load.
//! - `progress`: how far the peer's TCP has taken what is sent; `troubles`: what keeps a connection from being in use;
//!   `overdue`: whether what was asked for is late; `takeovers`: whether another one of our id throws us out again and again; `validity`:
//!   until when a certificate counts.
//!
//! A protocol says how one connection is made ([`Dial`]) and how its end is to be met ([`ConnectionLoss`]). A connection lives from
//! one dial to the next loss; whoever wants it back asks [`Redial`] for the next one.

mod backoff;
mod driven;
mod error;
mod hurry;
mod machine;
mod metrics;
mod overdue;
mod pause;
mod progress;
mod reconnect;
mod redial;
mod settings;
mod shared_socket;
mod socket;
mod takeovers;
mod tls;
mod troubles;
mod validity;

pub use backoff::delay;
pub use driven::DrivenSocket;
pub use error::{Causes, ConnectionLoss, Error, FailureKind, Twin};
pub use hurry::Hurry;
pub use machine::{
    HandedOver, Parity, Port, PortKeeper, Serial, SerialBrake, SerialFinder, SerialPort,
    close_unclaimed, hand_over, keep_by, leave_to_next, serial_problem,
};
pub use metrics::{Contribution, LinkAccount, LinkMetrics, level};
pub use overdue::{Overdue, Question};
pub use pause::{note, pause_under_load};
pub use progress::TcpProgress;
pub use reconnect::{LinkState, Loudness, Reconnect, Retry, Stop};
pub use redial::{Dial, Redial};
pub use settings::{
    Backoff, Carriage, Deadlines, FreshToken, Peer, Secret, SecretError, SecretFiles, ServerTls,
    Target, Tls, TokenLife, TokenSource, Upgrade,
};
pub use shared_socket::SharedSocket;
pub use socket::{ReadTurn, Socket, leave, prepare};
pub use takeovers::Takeover;
pub use tls::{build_server, check_identity};
pub use troubles::Trouble;
pub use validity::valid_until;
