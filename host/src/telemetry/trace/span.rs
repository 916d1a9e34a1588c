//! What was done with a message: one span each, and how ids are made.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Uptime;
use crate::message::{MessageId, SpanId, TraceId};
use crate::words;

/// Characters of a text that came from outside.
const TEXT: usize = 200;

/// Which end of an exchange it is, by the numbers of OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// It goes on within the gateway.
    Internal = 1,
    /// It hands over to somebody else.
    Producer = 4,
    /// It takes from somebody else.
    Consumer = 5,
}

/// What is said of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// Fit to be shown.
    Text(Cow<'static, str>),
    /// The same, of what has a name in the config.
    Name(Arc<str>),
    Number(i64),
}

/// Something that was done with a message.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceSpan {
    pub trace: TraceId,
    pub id: SpanId,
    /// What was done before; `None` for what begins a trace.
    pub parent: Option<SpanId>,
    /// What it goes on from, in another trace.
    pub link: Option<(TraceId, SpanId)>,
    pub name: Cow<'static, str>,
    pub kind: SpanKind,
    pub start: Uptime,
    pub end: Uptime,
    pub attributes: Vec<(&'static str, Attribute)>,
    /// It came to no good end.
    pub is_error: bool,
    /// `tracestate`, which was checked to be text.
    pub state: Bytes,
}

impl TraceSpan {
    /// Bytes that it holds, about.
    pub(super) fn weight(&self) -> usize {
        const BOOKKEEPING: usize = 192;
        const ATTRIBUTE: usize = 48;
        let texts = self
            .attributes
            .iter()
            .map(|(_, attribute)| match attribute {
                Attribute::Text(text) => text.len() + ATTRIBUTE,
                Attribute::Name(_) | Attribute::Number(_) => ATTRIBUTE,
            });
        BOOKKEEPING + self.name.len() + self.state.len() + texts.sum::<usize>()
    }
}

/// What came from outside, cut and made fit to be shown.
pub fn text(bytes: &[u8]) -> Attribute {
    Attribute::Text(words::line_of_bytes(bytes, TEXT).into())
}

/// The id of a span that begins now.
pub fn new_span() -> SpanId {
    SpanId(fastrand::u64(1..))
}

/// The id of a trace that begins now.
pub fn new_trace() -> TraceId {
    TraceId(fastrand::u128(1..))
}

/// The trace of a message that has none: the same wherever it is asked for, and nobody else's.
pub(super) fn trace_of(id: MessageId, salt: u64) -> TraceId {
    let own = mixed(salt ^ u64::from(id.boot)).wrapping_add(id.seq);
    let high = u128::from(mixed(own ^ salt)) << 64;
    TraceId((high | u128::from(mixed(own))).max(1))
}

/// Spreads a number over all 64 bits; no two become one.
pub(super) fn mixed(number: u64) -> u64 {
    let mut mixed = number ^ number >> 33;
    mixed = mixed.wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^= mixed >> 33;
    mixed = mixed.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ mixed >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_one_trace_and_no_two_have_the_same() {
        let id = |boot, seq| MessageId { boot, seq };
        assert_eq!(trace_of(id(1, 5), 7), trace_of(id(1, 5), 7));
        let ids = (0..4).flat_map(|boot| (0..1_000).map(move |seq| id(boot, seq)));
        let all: std::collections::HashSet<_> = ids.map(|id| trace_of(id, 7)).collect();
        assert_eq!(all.len(), 4_000);
        assert!(!all.contains(&trace_of(id(1, 5), 8)));
    }

    #[test]
    fn what_comes_from_outside_is_cut_and_cleaned() {
        let Attribute::Text(shown) = text(b"a\x1b[2Jb\nc\xff") else {
            panic!("no text");
        };
        assert!(!shown.contains(['\x1b', '\n']), "{shown}");
        let Attribute::Text(long) = text(&[b'x'; 9_000]) else {
            panic!("no text");
        };
        assert!(long.chars().count() <= TEXT + 1);
    }
}
