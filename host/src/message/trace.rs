//! Where a message stands in a trace: W3C Trace Context, in the headers `traceparent` and `tracestate`, as HTTP and the user
//! properties of MQTT 5 have them.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::{Headers, Marks, Message, push_header};
use crate::clock::Uptime;

/// The header that says which trace it is, and after which span.
pub const TRACEPARENT: &str = "traceparent";
/// The header in which tracing systems keep what is theirs. It is handed on as it is.
pub const TRACESTATE: &str = "tracestate";

/// Bytes of `tracestate` that are kept: what the standard asks for. A longer one is left out.
const STATE_BYTES: usize = 512;
/// Characters of version 00: `00-<trace>-<span>-<flags>`.
const LENGTH: usize = 55;
/// The flag by which whoever comes before says that the trace is kept.
const SAMPLED: u8 = 1;

/// Which trace: never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(pub u128);

/// Which span of a trace: never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId(pub u64);

/// The place of a traced message: what is done with it next is a child of `span`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracePlace {
    /// The trace it is in, from its first message on.
    pub trace: TraceId,
    /// The span of what was done last.
    pub span: SpanId,
    /// When that was over: since then it waits.
    pub since: Uptime,
    /// `tracestate`, as it came; empty for none.
    pub state: Bytes,
}

/// What a message that came in says of its trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignTrace {
    /// The trace that its sender has it in.
    pub trace: TraceId,
    /// The span of whoever sent it.
    pub span: SpanId,
    /// Whether the trace is kept there.
    pub is_sampled: bool,
    /// `tracestate`, as it came; empty for none.
    pub state: Bytes,
}

impl ForeignTrace {
    /// What these headers say; `None` where they say nothing, something else, or two things.
    pub fn of(headers: &Bytes) -> Option<Self> {
        let mut parents = values(headers, TRACEPARENT);
        let parent = parents.next()?;
        if parents.next().is_some() {
            return None;
        }
        let (trace, span, flags) = parse(parent)?;
        let mut states = values(headers, TRACESTATE);
        let state = states.next().filter(|state| is_state(state));
        // Several would have to be put together; nobody needs that who sends a message.
        let state = state.filter(|_| states.next().is_none());
        Some(Self {
            trace,
            span,
            is_sampled: flags & SAMPLED != 0,
            state: state
                .map(|state| headers.slice_ref(state))
                .unwrap_or_default(),
        })
    }
}

impl TracePlace {
    /// The same trace behind `span`, which was over then.
    #[must_use]
    pub fn behind(&self, span: SpanId, since: Uptime) -> Arc<Self> {
        Arc::new(Self {
            span,
            since,
            ..self.clone()
        })
    }

    /// These headers with this place in the place of what they said of a trace.
    pub fn put_into(&self, headers: &[u8]) -> Bytes {
        let mut block = BytesMut::with_capacity(headers.len() + LENGTH + self.state.len() + 32);
        for (name, value) in Headers(headers).flatten() {
            if !is_of_trace(name) {
                // It comes out of a block, so it fits one; the same below.
                let _ = push_header(&mut block, name, value);
            }
        }
        let _ = push_header(&mut block, TRACEPARENT, self.parent().as_bytes());
        if !self.state.is_empty() {
            let _ = push_header(&mut block, TRACESTATE, &self.state);
        }
        block.freeze()
    }

    /// As `traceparent` has it.
    fn parent(&self) -> String {
        format!("00-{:032x}-{:016x}-01", self.trace.0, self.span.0)
    }
}

impl Message {
    /// Its place goes into its headers, since it leaves for where nothing else of it is kept; from `now` on it waits there.
    pub fn show_trace(&mut self, now: impl Fn() -> Uptime) {
        if let Some(before) = &self.trace {
            let place = before.behind(before.span, now());
            self.headers = place.put_into(&self.headers);
            self.marks = self.marks.with(Marks::TRACED, true);
            self.trace = Some(place);
        }
    }
}

/// Whether two header blocks say the same but for the trace.
pub fn differ_by_trace_only(one: &[u8], other: &[u8]) -> bool {
    let rest = |headers| {
        Headers(headers).filter(|entry| !entry.as_ref().is_ok_and(|(name, _)| is_of_trace(name)))
    };
    rest(one).eq(rest(other))
}

fn is_of_trace(name: &str) -> bool {
    name == TRACEPARENT || name == TRACESTATE
}

fn values<'h>(headers: &'h [u8], name: &str) -> impl Iterator<Item = &'h [u8]> {
    let entries = Headers(headers).flatten();
    entries.filter_map(move |(found, value)| (found == name).then_some(value))
}

fn is_state(state: &[u8]) -> bool {
    state.len() <= STATE_BYTES && state.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t'))
}

/// Reads `traceparent`: trace, span and flags. A later version may have more behind it.
fn parse(text: &[u8]) -> Option<(TraceId, SpanId, u8)> {
    let (known, rest) = text.split_at_checked(LENGTH)?;
    let version = number(known.get(..2)?)?;
    let is_whole = match version {
        0xff => false,
        0 => rest.is_empty(),
        _ => rest.is_empty() || rest.starts_with(b"-"),
    };
    if !is_whole || [2, 35, 52].iter().any(|at| known[*at] != b'-') {
        return None;
    }
    let trace = number(&known[3..35])?;
    let span = u64::try_from(number(&known[36..52])?).ok()?;
    let flags = u8::try_from(number(&known[53..])?).ok()?;
    (trace != 0 && span != 0).then_some((TraceId(trace), SpanId(span), flags))
}

/// A number of lower-case hexadecimal digits: others are against the standard.
fn number(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0_u128, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn block(entries: &[(&str, &str)]) -> Bytes {
        let mut block = Vec::new();
        for (name, value) in entries {
            push_header(&mut block, name, value.as_bytes()).unwrap();
        }
        block.into()
    }

    #[test]
    fn a_foreign_trace_is_read_as_the_standard_has_it() {
        let state = "congo=t61rcWkgMzE";
        let headers = block(&[("unit", "C"), (TRACEPARENT, GOOD), (TRACESTATE, state)]);
        let found = ForeignTrace::of(&headers).unwrap();
        assert_eq!(found.trace.0, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(found.span.0, 0x00f0_67aa_0ba9_02b7);
        assert!(found.is_sampled);
        assert_eq!(found.state, state);
        let not_kept = GOOD.replace("-01", "-02");
        let found = ForeignTrace::of(&block(&[(TRACEPARENT, &not_kept)])).unwrap();
        assert!(!found.is_sampled);
    }

    #[test]
    fn whatever_else_stands_there_is_no_trace() {
        let later = format!("{}-more", GOOD.replacen("00", "42", 1));
        assert!(
            parse(later.as_bytes()).is_some(),
            "a later version may say more"
        );
        let hostile = [
            String::new(),
            GOOD[..54].to_owned(),
            format!("{GOOD}-more"),
            format!(" {GOOD}"),
            GOOD.to_uppercase(),
            GOOD.replacen("00", "ff", 1),
            GOOD.replacen("00", "0g", 1),
            later.replace("-more", "more"),
            GOOD.replace('-', "_"),
            GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            GOOD.replace("-01", "-+1"),
            "é".repeat(40),
            "0".repeat(60_000),
        ];
        for text in hostile {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        let two = block(&[(TRACEPARENT, GOOD), (TRACEPARENT, GOOD)]);
        assert_eq!(ForeignTrace::of(&two), None);
    }

    #[test]
    fn a_state_that_is_none_is_left_out_and_the_trace_is_not() {
        for state in ["a=\n", "a=é", &"x".repeat(513)] {
            let headers = block(&[(TRACEPARENT, GOOD), (TRACESTATE, state)]);
            assert_eq!(ForeignTrace::of(&headers).unwrap().state, "");
        }
    }

    #[test]
    fn a_place_takes_the_place_of_what_the_headers_said() {
        let place = TracePlace {
            trace: TraceId(7),
            span: SpanId(9),
            since: Uptime(1),
            state: Bytes::from_static(b"a=b"),
        };
        let before = block(&[(TRACEPARENT, GOOD), ("unit", "C"), (TRACESTATE, "old=1")]);
        let after = place.put_into(&before);
        let found = ForeignTrace::of(&after).unwrap();
        assert_eq!((found.trace, found.span), (TraceId(7), SpanId(9)));
        assert_eq!(found.state, "a=b");
        assert_eq!(Headers(&after).get("unit"), Some(&b"C"[..]));
        assert!(differ_by_trace_only(&before, &after));
        assert!(!differ_by_trace_only(&after, &block(&[("unit", "F")])));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(text in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = parse(&text);
        }
    }
}
