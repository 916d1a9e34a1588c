//! What travels: the message, its receipt, and the borders it crosses.
//!
//! The stages know this module and their own `Config`, never each other. What crosses a border is a batch:
//!
//! ```text
//! source ──Delivery──► chain ──Append──► spool ◄──fetch── uplink ──► upstream
//!    ▲                                     │                │
//!    └───────────── Receipt ───────────────┴──── accept ────┘
//! ```
//!
//! Topic, headers and payload are slices of the buffer they arrived in (or of the plugin's output), so a clone
//! counts references and copies nothing.

#![warn(missing_docs)]

mod border;
mod expiry;
mod header;
pub mod legal;
pub mod pattern;
mod receipt;
mod record;
mod sign;
pub(crate) mod sync;
mod trace;

pub use border::{
    Append, Backlog, BacklogLink, Checkpoint, DeadLetter, Delivery, Destination, Fetch, Flows,
    HEAD_BYTES, Intake, LinkTurn, Loss, LossReason, Outlet, OwedQueues, PluginRef, QueueId, Reason,
    Remembered, Seq, StateStore, Stored, Tape, Wait, hexadecimal, short_digest,
};
pub use expiry::{Life, inherit_expiry, with_expiry, with_shorter_expiry};
pub use header::{HeaderError, Headers, push_header};
pub use pattern::Pattern;
pub use receipt::{Burst, Progress, Receipt, Settled};
pub(crate) use record::Record;
pub use sign::{DeviceBook, DeviceSign};
pub use trace::{
    ForeignTrace, SpanId, TRACEPARENT, TRACESTATE, TraceId, TracePlace, differ_by_trace_only,
};

use crate::clock::{Uptime, WallTime};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

/// How often a message may be delivered (MQTT 5, 4.3).
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
pub enum Qos {
    /// 0: at most once; its receipt acknowledges nothing, it only bounds what is under way.
    AtMostOnce = 0,
    /// 1: at least once.
    #[default]
    AtLeastOnce = 1,
    /// 2: exactly once while the process lives.
    ExactlyOnce = 2,
}

impl Qos {
    /// The level as it stands on the wire; `None` for 3, which MQTT forbids.
    pub fn from_level(level: u8) -> Option<Self> {
        match level {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// Marks of a message, in the bit layout of word 6 of the plugin contract (`wit/tidegate.wit`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Marks(pub u32);

impl Marks {
    /// The broker sent it as a retained message, or it is to be retained upstream.
    pub const RETAIN: u32 = 1;
    /// The broker marked it as sent before.
    pub const DUPLICATE: u32 = 1 << 1;
    /// It overtook nothing: it comes from the backlog while newer data went ahead.
    pub const REPLAYED: u32 = 1 << 2;
    /// The wall clock had not been set when it arrived.
    pub const CLOCK_UNSET: u32 = 1 << 3;
    /// Its headers say where it stands in a trace, and the gateway has put that there. No plugin sees it.
    pub const TRACED: u32 = 1 << 10;
    const QOS_SHIFT: u32 = 4;
    const QOS_MASK: u32 = 0b11 << Self::QOS_SHIFT;
    const ROUNDS_SHIFT: u32 = 6;
    const MOST_ROUNDS: u32 = 0b1111;
    /// The bits of [`Self::rounds`].
    pub const ROUNDS: u32 = Self::MOST_ROUNDS << Self::ROUNDS_SHIFT;

    /// Marks with the given level and nothing else.
    pub fn of(qos: Qos) -> Self {
        Self((qos as u32) << Self::QOS_SHIFT)
    }

    /// These marks and `bit`, when `on`.
    #[must_use]
    pub fn with(self, bit: u32, on: bool) -> Self {
        Self(if on { self.0 | bit } else { self.0 & !bit })
    }

    /// These marks, of a message that came from here so often.
    #[must_use]
    pub fn after_rounds(self, rounds: u8) -> Self {
        Self(
            self.0 & !Self::ROUNDS | u32::from(rounds).min(Self::MOST_ROUNDS) << Self::ROUNDS_SHIFT,
        )
    }

    /// How often it went out to a broker that messages are taken from, and came back: 15 at most.
    pub fn rounds(self) -> u8 {
        ((self.0 & Self::ROUNDS) >> Self::ROUNDS_SHIFT) as u8
    }

    /// Whether `bit` is set.
    pub fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }

    /// The level; 3 cannot arrive from the wire and reads as 2.
    pub fn qos(self) -> Qos {
        match (self.0 & Self::QOS_MASK) >> Self::QOS_SHIFT {
            0 => Qos::AtMostOnce,
            1 => Qos::AtLeastOnce,
            _ => Qos::ExactlyOnce,
        }
    }
}

/// Stable name of a message: the number of the boot it arrived in and its place in that boot.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct MessageId {
    /// Counts the starts of this gateway's store.
    pub boot: u32,
    /// Rises with every message of that boot.
    pub seq: u64,
}

impl MessageId {
    /// Numbers from here on are those of messages that Tidegate itself makes, apart from those of messages that came in.
    pub const OWN: u64 = 1 << 63;

    /// Whether Tidegate itself made the message.
    pub fn is_own(self) -> bool {
        self.seq >= Self::OWN
    }
}

/// Hands out message ids of this boot.
#[derive(Debug)]
pub struct Mint {
    boot: u32,
    next: AtomicU64,
}

impl Mint {
    /// Ids of boot number `boot`, from 1 on.
    pub fn new(boot: u32) -> Self {
        Self {
            boot,
            next: AtomicU64::new(1),
        }
    }

    /// The first of `count` consecutive ids that nobody else gets.
    pub fn take(&self, count: u64) -> MessageId {
        MessageId {
            boot: self.boot,
            seq: self.next.fetch_add(count, Ordering::Relaxed),
        }
    }
}

/// Index of a flow in the config's order; names are kept by the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId(NonZeroU16);

impl FlowId {
    /// The first flow of a config.
    pub const FIRST: Self = Self(NonZeroU16::MIN);

    /// How many flows a config can have.
    pub const MOST: usize = u16::MAX as usize - 1;

    /// The id of the flow at `index` of the config, from 0 on; `None` beyond [`Self::MOST`].
    pub const fn at(index: usize) -> Option<Self> {
        if index >= Self::MOST {
            return None;
        }
        match NonZeroU16::new(index as u16 + 1) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// Its place among the flows of the config, from 0 on.
    pub const fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// A part of the topic, in bytes: the key (device) that picks the lane and carries the order promise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Span {
    /// Where it begins: the index of its first byte.
    pub offset: u16,
    /// Number of bytes; 0 means no key: all such messages share one lane.
    pub len: u16,
}

/// One message, shared by reference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Its id, which no other message of this store has.
    pub id: MessageId,
    /// The flow that carries it; `None` for what the gateway itself made, and for what was read back from where only the
    /// name of its flow is kept.
    pub flow: Option<FlowId>,
    /// Legal ([`legal::check_topic`]): checked where it enters (`mqtt::wire`, `chain`).
    pub topic: Bytes,
    /// The key's place in the topic.
    pub key: Span,
    /// The key, where the topic does not hold it: a flow's `topic` or a plugin has named another.
    pub device: Option<Arc<[u8]>>,
    /// Headers in the arena form (see [`Headers`]); empty for most.
    pub headers: Bytes,
    /// The body, opaque to the host.
    pub payload: Bytes,
    /// Retain, duplicate, replayed, clock unset, level.
    pub marks: Marks,
    /// Wall clock at arrival.
    pub received: WallTime,
    /// Monotonic clock at arrival.
    pub uptime: Uptime,
    /// Where it stands in a trace, while it is in RAM; `None` for nearly all. See [`Message::show_trace`].
    pub trace: Option<Arc<TracePlace>>,
}

impl Message {
    /// The key's bytes; empty when there is none, or the span lies outside the topic.
    pub fn key(&self) -> &[u8] {
        if let Some(device) = &self.device {
            return device;
        }
        let start = usize::from(self.key.offset);
        self.topic
            .get(start..start + usize::from(self.key.len))
            .unwrap_or_default()
    }

    /// Puts it under another topic, which holds the key at `key`, or nowhere: it is then kept beside it.
    pub fn rename(&mut self, topic: Bytes, key: Span) {
        self.device = if key.len == 0 { self.own_key() } else { None };
        (self.topic, self.key) = (topic, key);
    }

    /// The key for a message under another topic; `None` when there is none.
    pub fn own_key(&self) -> Option<Arc<[u8]>> {
        self.device.clone().or_else(|| {
            Some(self.key())
                .filter(|key| !key.is_empty())
                .map(Arc::from)
        })
    }

    /// Whether it deletes what a broker has retained under its topic: there is nothing in it to be read or dressed.
    pub fn is_delete(&self) -> bool {
        self.payload.is_empty() && self.marks.has(Marks::RETAIN)
    }

    /// The topic as text; what is not UTF-8 never enters, so this only guards against a broken invariant.
    pub fn topic_str(&self) -> &str {
        std::str::from_utf8(&self.topic).unwrap_or("<topic is not utf-8>")
    }

    /// Bytes it holds in RAM, for the limits: content and a fixed share for the bookkeeping.
    pub fn weight(&self) -> usize {
        const BOOKKEEPING: usize = 160;
        self.topic.len() + self.headers.len() + self.payload.len() + BOOKKEEPING
    }
}

/// FNV-1a over the key: picks the lane. Stable over versions, since state on disk is split by it.
pub fn key_hash(key: &[u8]) -> u64 {
    key.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_keep_the_level_beside_the_bits() {
        let marks = Marks::of(Qos::ExactlyOnce)
            .with(Marks::RETAIN, true)
            .with(Marks::CLOCK_UNSET, true);
        assert_eq!(marks.qos(), Qos::ExactlyOnce);
        assert!(
            marks.has(Marks::RETAIN)
                && marks.has(Marks::CLOCK_UNSET)
                && !marks.has(Marks::DUPLICATE)
        );
        assert!(!marks.with(Marks::RETAIN, false).has(Marks::RETAIN));
    }

    #[test]
    fn a_key_outside_the_topic_reads_as_no_key() {
        let message = Message {
            topic: Bytes::from_static(b"devices/d7/t"),
            key: Span { offset: 8, len: 2 },
            ..Message::default()
        };
        assert_eq!(message.key(), b"d7");
        assert_eq!(
            Message {
                key: Span { offset: 60, len: 9 },
                ..message
            }
            .key(),
            b""
        );
    }

    #[test]
    fn the_key_outlives_the_topic_it_came_in() {
        let mut message = Message {
            topic: Bytes::from_static(b"devices/d7/t"),
            key: Span { offset: 8, len: 2 },
            ..Message::default()
        };
        message.rename(Bytes::from_static(b"up"), Span::default());
        assert_eq!(message.key(), b"d7");
        message.rename(Bytes::from_static(b"d7/up"), Span { offset: 0, len: 2 });
        assert!(message.key() == b"d7" && message.device.is_none());
    }
}
