//! A message as it came, whatever brought it, and what its protocol says of it.

use bytes::Bytes;

use crate::clock::Now;
use crate::message::{Marks, Message, MessageId, Qos, Reason};

/// A message as it came. `A` is the claim of its sender on an acknowledgement.
#[derive(Debug)]
pub(super) struct Arrival<A> {
    /// As [`crate::message::legal`] has it.
    pub(super) topic: Bytes,
    pub(super) payload: Bytes,
    /// In the arena form of [`crate::message::Headers`].
    pub(super) headers: Bytes,
    pub(super) qos: Qos,
    pub(super) retain: bool,
    pub(super) duplicate: bool,
    /// How often it came from a gateway that takes from there.
    pub(super) rounds: u8,
    /// Of one that nobody waits for, none: it may be dropped for want of room, and is counted then.
    pub(super) ack: Option<A>,
    pub(super) judged: Judged,
}

/// What the protocol says of an arrival.
#[derive(Debug)]
pub(super) enum Judged {
    Sound,
    /// It goes to the dead letters, and why.
    Unfit(Reason, String),
    /// It came before; it is acknowledged, and goes no further.
    Repeat,
}

impl<A> Arrival<A> {
    /// The message of this id, and what the protocol says of it.
    pub(super) fn into_message(self, id: MessageId, now: Now) -> (Message, Judged) {
        let marks = Marks::of(self.qos)
            .with(Marks::RETAIN, self.retain)
            .with(Marks::DUPLICATE, self.duplicate)
            .with(Marks::CLOCK_UNSET, !now.is_set())
            .after_rounds(self.rounds);
        let message = Message {
            id,
            topic: self.topic,
            payload: self.payload,
            headers: self.headers,
            marks,
            received: now.wall,
            uptime: now.uptime,
            ..Message::default()
        };
        (message, self.judged)
    }
}
