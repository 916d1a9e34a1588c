//! Which acknowledgements the server has read: they are remembered until then, said again over a new connection, and where that is all that
//! was lost nothing is waited for.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Config;
use super::consumer::{self, ConsumerState};
use super::in_hand::MessagesInHand;
use crate::nats::{NatsConnection, ServerMessage};

/// The server is asked whether it has read what was acknowledged once that is so much, or after so long.
const ASK_AFTER: usize = 1_000;
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How often it is asked what is under way, while that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// What the place of its answer ends in.
const STATE: &str = "state";

/// What the server was asked, and has said, of one connection.
#[derive(Debug, Default)]
pub(super) struct HeardAcks {
    /// How many acknowledgements had been said when it was asked whether it had read them, and when that was.
    asked: Option<(u64, Instant)>,
    /// When that was last asked.
    asked_at: Option<Instant>,
    /// What is under way, as it has just said.
    state: Option<ConsumerState>,
    /// When it was last asked for that.
    looked: Option<Instant>,
}

impl HeardAcks {
    /// On a new connection: says again what may not have been read over the last one, where the server waits for something.
    pub(super) fn begin(
        &mut self,
        hand: &mut MessagesInHand,
        connection: &mut NatsConnection,
        waits: bool,
    ) {
        *self = Self::default();
        if !waits {
            return hand.heard(hand.said());
        }
        for reply in hand.unheard() {
            say(connection, reply, b"+ACK");
        }
    }

    /// Asks the server now and then whether it has read what was acknowledged.
    pub(super) fn ask(&mut self, hand: &mut MessagesInHand, connection: &mut NatsConnection) {
        let now = Instant::now();
        if let Some((said, asked)) = self.asked {
            if connection.answered().is_some_and(|at| at >= asked) {
                hand.heard(said);
                self.asked = None;
            }
            return;
        }
        let count = hand.unheard().len();
        let passed = |at: Instant| now.saturating_duration_since(at) >= ASK_EVERY;
        if count >= ASK_AFTER || count > 0 && self.asked_at.is_none_or(passed) {
            connection.ask();
            self.asked = Some((hand.said(), now));
            self.asked_at = Some(now);
        }
    }

    /// Whether the server holds nothing for under way that is not in hand, and no pull is open over which it could go where nobody is; it is
    /// asked for that again and again, since it takes acknowledgements when it comes to them.
    pub(super) fn is_all(
        &mut self,
        in_hand: usize,
        connection: &mut NatsConnection,
        (own, place): (&Config, &str),
    ) -> bool {
        let now = Instant::now();
        let in_hand = u64::try_from(in_hand).unwrap_or(u64::MAX);
        let state = self.state.take();
        if state.is_some_and(|state| state.unacknowledged <= in_hand && state.pulls == 0) {
            return true;
        }
        let passed = |at: Instant| now.saturating_duration_since(at) >= LOOK_EVERY;
        if self.looked.is_none_or(passed) {
            self.looked = Some(now);
            let reply = format!("{place}{STATE}");
            connection.publish(&consumer::question(own), &reply, b"", b"");
        }
        false
    }

    /// Takes what a message says of it, if it is the answer to that.
    pub(super) fn take(&mut self, message: &ServerMessage, place: &str) -> bool {
        let rest = message.subject.strip_prefix(place.as_bytes());
        let is_it = rest == Some(STATE.as_bytes());
        if is_it {
            self.state = ConsumerState::read(&message.payload);
        }
        is_it
    }
}

/// Says something of a message to whoever gave it out; no answer is waited for.
pub(super) fn say(connection: &mut NatsConnection, reply: &Bytes, word: &[u8]) {
    if let Ok(subject) = std::str::from_utf8(reply) {
        connection.publish(subject, "", b"", word);
    }
}
