//! One connection to a broker, used by source and uplink; knows neither.
//!
//! - `wire`: rumqttc's v4 and v5 packets to ours and back; the only place that names rumqttc.
//! - `session`: a state machine without sockets, clocks or tasks: packet ids, windows, QoS, acknowledgements,
//!   keep-alive. Time is an argument, bytes go into a buffer.
//! - `connection`: session and socket together; `dialler`: how [`crate::link`] makes one.
//!
//! A [`Connection`] lives from one dial to the next loss. [`BrokerRedial`] has the next one; packet ids and acknowledgement
//! tokens of the old one are void.

mod connection;
mod dialler;
mod error;
mod hint;
mod manners;
mod reason;
#[cfg(test)]
pub(crate) mod scripted;
mod session;
mod settings;
mod wire;

pub use connection::Connection;
pub use dialler::{BrokerDialler, BrokerRedial};
pub use error::{ConnectionEnded, Error, UnsendablePublish};
pub use manners::Manners;
pub use session::Unreleased;
pub use settings::{Config, Login, Protocol, Will};

use std::time::Duration;

use bytes::Bytes;

use crate::message::Qos;

/// What is published, in either direction. Topic, payload and headers of what came in are slices of the read
/// buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publish {
    /// UTF-8, not empty, no control character, no wildcard, at most 65,535 bytes: checked on the way in and on the way out
    /// ([`crate::message::legal`]).
    pub topic: Bytes,
    pub payload: Bytes,
    /// MQTT 5 properties in the arena form of [`crate::message::Headers`]; empty for most. 3.1.1 cannot carry
    /// them: they are left out there.
    pub headers: Bytes,
    pub qos: Qos,
    /// In: the broker sent it as a retained message. Out: the broker shall keep it.
    pub retain: bool,
    /// In: the broker sent it before. Out: ignored, since every publish gets a new packet id.
    pub duplicate: bool,
    /// In: for which subscription it came. Out: ignored.
    pub subscription: Subscribed,
    /// In: how often it came from a gateway that takes from that broker. Out: ignored.
    pub rounds: u8,
}

/// For which subscription a copy of a message came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Subscribed {
    /// The broker does not say.
    #[default]
    Unknown,
    /// For the one with this [`Subscription::id`].
    One(u32),
    /// One copy for several.
    Several,
}

/// Claim of an inbound message on its PUBACK or PUBREC. Only valid on the connection it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckToken {
    packet_id: u16,
    qos: Qos,
    /// Number of the round it came in, counted while a session is kept: a broker may give its id to another message in a
    /// later one.
    round: u32,
}

impl AckToken {
    pub(crate) fn new(packet_id: u16, qos: Qos, round: u32) -> Self {
        Self {
            packet_id,
            qos,
            round,
        }
    }

    /// Level of the message: 1 is answered with PUBACK, 2 with PUBREC.
    pub fn qos(self) -> Qos {
        self.qos
    }

    /// The broker's packet id: with a kept session a redelivery on the next connection has the same.
    pub fn packet_id(self) -> u16 {
        self.packet_id
    }
}

/// A topic filter to subscribe to. MQTT 5: retained messages only come if the subscription is new, and keep
/// their retain flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Topic filter, with MQTT's wildcards.
    pub filter: String,
    /// Highest level the broker may send with.
    pub qos: Qos,
    /// What the broker is to say of every copy it sends for this filter, where it can; 1 to 268,435,455.
    pub id: Option<u32>,
}

/// What happened on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message came in.
    Publish {
        publish: Publish,
        /// To acknowledge it; `None` for QoS 0.
        token: Option<AckToken>,
    },
    /// A message larger than `max_packet_bytes` was read past.
    Oversize {
        /// Topic, level, flags and the first 4 KiB of payload.
        head: Publish,
        /// Size of the whole packet in bytes.
        bytes: u64,
        /// To acknowledge it: else it comes again for ever. `None` for QoS 0.
        token: Option<AckToken>,
    },
    /// A message has a field that MQTT forbids: a topic that is not UTF-8, NUL in a property. Its frame is sound, so the
    /// connection goes on.
    Unfit {
        /// The message, as near as it can be had: what is wrong with the topic is replaced, a wrong header is left out.
        publish: Publish,
        /// Which field, what is wrong with it and its first bytes, in printable characters.
        why: String,
        /// To acknowledge it: else it comes again for ever. `None` for QoS 0.
        token: Option<AckToken>,
    },
    /// PUBACK or PUBCOMP with success.
    Accepted {
        /// What the caller gave to [`Connection::publish`].
        token: u64,
    },
    /// The broker refused a message (MQTT 5 only: 3.1.1 has no word for it).
    Refused {
        /// What the caller gave to [`Connection::publish`].
        token: u64,
        /// The reason code, 0x80 or above.
        code: u8,
        /// Its name, the code in hex and a hint, and the broker's own words if it sent any.
        reason: String,
        /// What that says about the same message, sent again.
        kind: BrokerRefusal,
    },
    /// The broker answered a [`Connection::subscribe`].
    Subscribed {
        /// Filters it refused, and why.
        refused: Vec<(String, String)>,
        /// Filters for which it sends with a lower level than was asked for.
        lowered: Vec<(String, Qos)>,
    },
    /// The broker answered a [`Connection::unsubscribe`].
    Unsubscribed,
}

/// How the broker refuses a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerRefusal {
    /// Sending it again is pointless: it lies in topic, payload, flags or rights.
    Final,
    /// It lies in the moment, or may do so.
    Busy,
    /// It was too much in too short a time.
    Quota,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Established {
    /// The broker knew this client's session: subscriptions stand, unacknowledged messages come again.
    pub session_present: bool,
    /// `V5` or `V311`, never `Auto`.
    pub protocol: Protocol,
    /// How many unacknowledged publishes the broker takes; 65,535 where it did not say (always with 3.1.1).
    pub receive_maximum: u16,
    /// Largest packet the broker takes.
    pub maximum_packet_bytes: u32,
    /// Whether the broker keeps retained messages.
    pub retain_available: bool,
    /// Highest level the broker takes.
    pub maximum_qos: Qos,
    /// How long the broker keeps our session without a connection, where it overrides what we asked for (MQTT 5).
    pub session_expiry: Option<Duration>,
    /// Whether the broker says for which subscription a copy of a message came.
    pub subscription_ids: bool,
    /// The keep-alive that holds: the broker may override ours.
    pub keep_alive: Duration,
}
