//! The border between an uplink and the protocol it speaks. A carrier is one connection that stands: packets go in with a
//! token each, answers come out in batches, and what it cannot take yet stays where it is. Nothing else in this folder but
//! the implementer of a protocol knows which one that is.
//!
//! A carrier keeps no message beyond its answer, and answers none twice. When it is over, everything without an answer is
//! owed again: sending starts anew over the next one.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::form::column::LineInput;
use super::form::template::Filling;
use crate::clock::WallTime;
use crate::link::{ConnectionLoss, Dial, FailureKind, Redial, TokenLife, Twin};
use crate::message::{ForeignTrace, Headers, Qos, Stored, TRACEPARENT};

/// What goes upstream in one piece, and is answered in one.
#[derive(Clone, Debug)]
pub(super) struct OutgoingPacket {
    pub(super) topic: Bytes,
    pub(super) payload: Bytes,
    /// In the arena form of [`crate::message::Headers`].
    pub(super) headers: Bytes,
    pub(super) qos: Qos,
    pub(super) retain: bool,
}

impl OutgoingPacket {
    /// Where it stands in a trace that is kept, for a protocol that has no user properties: `traceparent` and `tracestate`.
    pub(super) fn kept_trace(&self) -> Option<[Bytes; 2]> {
        if self.headers.is_empty() {
            return None;
        }
        let trace = ForeignTrace::of(&self.headers).filter(|trace| trace.is_sampled)?;
        let parent = Headers(&self.headers).get(TRACEPARENT)?;
        Some([self.headers.slice_ref(parent), trace.state])
    }
}

/// The message that a packet is, or begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct PacketOrigin<'a> {
    pub(super) stored: &'a Stored,
    /// What its id begins with: `<gateway>/<store>/<uplink>/<class>/`.
    pub(super) prefix: &'a str,
    /// When it came; `None` where nobody knows: the clock was not set, and has not been since in that run.
    pub(super) arrived: Option<WallTime>,
    /// Upstream took it before, and is asked whether it would take it now: what it remembers of it is no answer.
    pub(super) is_asked_anew: bool,
    /// It is sent beside the account, and comes again in its turn.
    pub(super) is_beside: bool,
}

impl<'a> PacketOrigin<'a> {
    /// What names in braces stand for in it, which goes under `topic`.
    pub(super) fn filling(self, topic: &'a [u8]) -> Filling<'a> {
        Filling {
            prefix: self.prefix,
            topic,
            device: self.stored.message.key(),
        }
    }

    /// What a line or a row is made of, for its packet.
    pub(super) fn line_input(self, packet: &'a OutgoingPacket) -> LineInput<'a> {
        LineInput {
            stored: self.stored,
            filling: self.filling(&packet.topic),
            payload: &packet.payload,
            arrived: self.arrived,
        }
    }
}

/// What upstream said when the carrier came to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UpstreamLimits {
    /// How many packets may be without an answer.
    pub(super) window: u16,
    /// Whether upstream says so; if not, it may take fewer and hang up over one more.
    pub(super) says_window: bool,
    /// Largest packet it takes, bytes.
    pub(super) packet_bytes: u32,
    pub(super) retains: bool,
    pub(super) highest: Qos,
    /// Whether headers arrive there.
    pub(super) has_headers: bool,
}

impl UpstreamLimits {
    /// Of an upstream that takes batches and answers each message: the batch is the limit, and every level is as good as the highest.
    pub(super) fn of_batches(has_headers: bool) -> Self {
        Self {
            window: u16::MAX,
            says_window: true,
            packet_bytes: u32::MAX,
            retains: true,
            highest: Qos::ExactlyOnce,
            has_headers,
        }
    }
}

/// How a publish is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Final,
    Busy,
    /// For now: it was too much.
    Quota,
    /// It was not sent: upstream announced that it takes no such thing.
    Limit,
    /// It was not sent, whatever upstream is like.
    Unfit,
    /// It was not sent, since others before it were not taken: nothing is known of it.
    Untried,
}

impl Refusal {
    /// Whether upstream has not seen it.
    pub(super) fn is_ours(self) -> bool {
        matches!(self, Self::Limit | Self::Unfit | Self::Untried)
    }
}

/// What became of a packet.
#[derive(Debug)]
pub(super) enum Answer {
    Accepted {
        token: u64,
    },
    /// Upstream does not take it.
    Refused {
        token: u64,
        kind: Refusal,
        /// Upstream's words, fit to be shown.
        reason: String,
    },
}

/// Why a packet was not taken.
#[derive(Debug)]
pub(super) enum Unsendable {
    /// Answers have to come first.
    Full,
    /// It never can be, in words for the dead letter.
    Never(String),
    /// The same, since upstream announced that it takes no such thing.
    Over(String),
}

/// How a carrier ended, as far as it tells something about what was under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Upstream hung up without a word, or the network broke.
    HungUp,
    /// Upstream hung up, and said why.
    Told,
    /// The same: it was sent too much, or too fast.
    TooMuch,
    /// It stood still, and was given up.
    StoodStill,
    /// Upstream did what it should not.
    Astray,
    /// What was under way has nothing to do with it: a right, a pause that was asked for, TLS.
    Elsewhere,
}

/// Why a carrier did not come about, or ended.
pub(super) trait CarrierFault: ConnectionLoss + Send {
    fn manner(&self) -> Manner;
}

/// One connection that stands.
pub(super) trait Carrier: From<<Self::Dial as Dial>::Up> + Send {
    type Dial: Dial<Up: Send, Error: CarrierFault + 'static> + Send + Sync;

    /// It ends by itself when an answer is late, and so has no need of [`Self::end`] and what follows there.
    const KEEPS_TIME: bool = false;

    /// It is used from now on: what the log is told.
    fn online(&self, redial: &mut Redial<Self::Dial>);

    fn limits(&self) -> UpstreamLimits;

    /// How many more packets that are answered it takes now.
    fn room(&self) -> usize;

    /// Bytes that the socket has not taken yet.
    fn unsent(&self) -> usize;

    /// Takes a packet; nothing is written before the next turn.
    fn offer(
        &mut self,
        packet: OutgoingPacket,
        about: PacketOrigin<'_>,
        token: u64,
    ) -> Result<(), Unsendable>;

    /// Writes, waits, and appends what upstream answers. Cancel safe. What was appended counts when it ends in an error,
    /// too.
    fn turn(
        &mut self,
        answers: &mut Vec<Answer>,
    ) -> impl Future<Output = Result<(), FaultOf<Self>>> + Send;

    /// Nothing more is added before something is answered: what waits for more to come waits no longer.
    fn press(&mut self) {}

    /// Leaves in good order.
    fn close(self) -> impl Future<Output = ()> + Send;

    /// How long it is used, where it came to stand with a token that ends.
    fn life(&self) -> Option<TokenLife> {
        None
    }

    /// Leaves in good order, for one that stands in a moment.
    fn make_way(self) -> impl Future<Output = ()> + Send {
        self.close()
    }

    /// Upstream turned away what it was sent last, whatever it was: before this is used it has to answer a copy of a message.
    fn is_unproven(&self) -> bool {
        false
    }

    /// The place in the stream behind all that was taken.
    fn end(&self) -> u64 {
        0
    }

    /// Whether upstream's side has received all before `end`.
    fn has_taken(&mut self, _end: u64) -> bool {
        true
    }

    /// When it was seen to have; until then, when something was last seen to move, if ever.
    fn taken_at(&self, _end: u64) -> Option<Instant> {
        None
    }

    /// When something last came.
    fn last_heard(&self) -> Instant {
        Instant::now()
    }

    /// Asks upstream whether it has read all that it was sent.
    fn ask(&mut self) {}

    /// When it last said that it had.
    fn answered(&self) -> Option<Instant> {
        None
    }
}

/// Why a carrier of this kind ends.
pub(super) type FaultOf<C> = <<C as Carrier>::Dial as Dial>::Error;

/// Why a carrier is no longer used.
#[derive(Debug, thiserror::Error)]
pub(super) enum CarrierEnded<E: CarrierFault> {
    #[error(transparent)]
    Carrier(#[from] E),
    /// Upstream takes no level above 0, so no message would ever be known to have arrived.
    #[error(
        "the broker takes QoS 0 only, where what is sent is lost without a word: nothing is sent; raise the broker's limit, or set `allow_qos0 = true` and count on losses"
    )]
    Level0Only,
    /// The token it came to stand with ends soon, and nothing is under way.
    #[error("the token it was opened with ends soon: it is opened anew with another one")]
    Renewal,
    /// Messages were sent, and nothing came back.
    #[error(
        "the broker is there, and did not acknowledge {count} of its messages within {waited:.1?}"
    )]
    Silent {
        count: usize,
        /// How long they waited.
        waited: Duration,
    },
}

impl<E: CarrierFault> ConnectionLoss for CarrierEnded<E> {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Carrier(fault) => fault.kind(),
            Self::Level0Only => FailureKind::Refused,
            Self::Silent { .. } | Self::Renewal => FailureKind::Passing,
        }
    }

    fn is_unanswered(&self) -> bool {
        matches!(self, Self::Carrier(fault) if fault.is_unanswered())
    }

    fn twin(&self) -> Option<Twin> {
        match self {
            Self::Carrier(fault) => fault.twin(),
            _ => None,
        }
    }

    fn pause(&self) -> Option<Duration> {
        match self {
            Self::Carrier(fault) => fault.pause(),
            _ => None,
        }
    }
}
