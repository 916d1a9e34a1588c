//! Session and link together.

use super::{AckToken, Config, Error, Established, Event, Publish, Subscription, Unsendable};

/// An established connection to a broker.
#[derive(Debug)]
pub struct Connection {}

impl Connection {
    /// Dials, shakes hands over TLS, sends CONNECT and waits for CONNACK, each within its deadline.
    ///
    /// `Protocol::Auto` tries MQTT 5, and 3.1.1 on a fresh dial where 5 is refused.
    pub async fn open(config: &Config) -> Result<(Self, Established), Error> {
        let _ = config;
        Err(Error::Closed { before_connack: true })
    }

    /// Queues a SUBSCRIBE; [`Event::Subscribed`] answers it.
    pub fn subscribe(&mut self, subscriptions: &[Subscription]) {
        let _ = subscriptions;
    }

    /// How many more publishes of QoS 1 and 2 fit the window.
    pub fn room(&self) -> usize {
        0
    }

    /// Queues a publish. `token` comes back in [`Event::Accepted`] or [`Event::Refused`]; for QoS 0 never.
    ///
    /// # Errors
    /// The message cannot be sent, and nothing was queued.
    pub fn publish(&mut self, publish: &Publish, token: u64) -> Result<(), Unsendable> {
        let _ = (publish, token);
        Err(Unsendable::WindowFull)
    }

    /// Queues the PUBACK or PUBREC. MQTT wants them in arrival order.
    pub fn acknowledge(&mut self, token: AckToken) {
        let _ = token;
    }

    /// While paused nothing is read and the ping time-out is suspended; writes and pings go on.
    pub fn pause_reading(&mut self, paused: bool) {
        let _ = paused;
    }

    /// Writes what is queued, waits for the socket or a timer, appends events. Cancel safe. Returns when there is
    /// at least one event or the socket made progress.
    ///
    /// # Errors
    /// The connection is over; events appended before that are valid, the tokens in them are void.
    pub async fn turn(&mut self, events: &mut Vec<Event>) -> Result<(), Error> {
        let _ = events;
        Err(Error::Closed { before_connack: false })
    }

    /// Bytes queued and not yet taken by the socket.
    pub fn unsent(&self) -> usize {
        0
    }

    /// Sends DISCONNECT, flushes within the write deadline and closes.
    pub async fn close(self) {}
}
