//! One connection to a NATS server, as [`crate::link`] dials it: publishes, subscriptions, and what its streams say to them.
//!
//! It is spoken here and not by the project's own client: that one dials, dials again and queues by itself, takes no socket, and sends
//! what was queued over the next connection. What counts as sent, as accepted and as over has to be known here.
//!
//! - `wire`: what is said, in both directions; `login`: how we say who we are; `stream`: what JetStream is asked and answers. All
//!   without sockets.
//! - `connection`: one that stands; `request`: a question and its answer over one; `error`: why none does.

mod connection;
mod error;
mod login;
mod request;
mod settings;
mod stream;
mod wire;

pub use connection::{NatsConnection, NatsEvent};
pub use error::Error;
pub use request::{RequestReply, inbox, request};
pub use settings::{Config, NatsLogin};
pub use stream::{StreamAnswer, is_subject_token, put_token, stream_answer, streams_question};
pub use wire::{ServerInfo, ServerMessage, put_header};
