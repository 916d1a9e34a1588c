//! What is sent by the batch, whatever is spoken: a protocol writes how it is dialled, what stands for a message, and what an answer
//! says; all else that a carrier has to be is here.
//!
//! - `request`: the messages of one request, and what becomes of them. `patience`: how long an answer is waited for. Neither knows
//!   sockets or clocks.
//! - `memory`: what is remembered of an upstream over its connections. `carrier`: what a protocol writes, and the carrier that comes of it.

mod carrier;
mod memory;
mod patience;
mod request;

pub(super) use self::carrier::{BatchCarrier, redial};
pub(super) use self::memory::BatchMemory;
pub(super) use self::request::{BatchMessage, RequestBatch};
