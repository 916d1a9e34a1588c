//! What the headers of a request say of its messages: those that were chosen, and where the client stands in a trace.

use std::fmt::Display;
use std::sync::Arc;

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{CONTENT_TYPE, HeaderValue};

use super::answer::RequestOutcome;
use crate::message::{ForeignTrace, TRACEPARENT, TRACESTATE, legal, push_header};

/// The header by which a repeat is known; with several messages in a body each has its own: a hyphen and its number behind.
pub(super) const KEY: &str = "idempotency-key";

pub(super) fn unfit(name: &str, why: &dyn Display) -> RequestOutcome {
    RequestOutcome::Unfit(format!("header `{name}` {why}"))
}

/// The chosen headers as properties; where there are several messages, without the key, which is beside them.
pub(super) fn properties<'a>(
    headers: &'a HeaderMap,
    chosen: &[Arc<str>],
    are_several: bool,
) -> Result<(Bytes, Option<&'a [u8]>), RequestOutcome> {
    let mut common = Vec::new();
    let mut key = None;
    for name in chosen {
        let Some(value) = headers.get(&**name) else {
            continue;
        };
        legal::check_text(value.as_bytes()).map_err(|why| unfit(name, &why))?;
        if **name == *KEY && are_several {
            key = Some(value.as_bytes());
            continue;
        }
        let property = if **name == *CONTENT_TYPE.as_str() {
            legal::CONTENT_TYPE
        } else {
            name
        };
        push_header(&mut common, property, value.as_bytes()).map_err(|why| unfit(name, &why))?;
    }
    Ok((common.into(), key))
}

/// These properties, and where the client stands in a trace, unless that is among the `chosen` headers already. What is no such
/// thing is left out: nobody who posts a message has to know of it.
pub(super) fn with_trace(headers: &HeaderMap, chosen: &[Arc<str>], common: Bytes) -> Bytes {
    if !headers.contains_key(TRACEPARENT) {
        return common;
    }
    let mut said = Vec::new();
    for name in [TRACEPARENT, TRACESTATE] {
        for value in headers.get_all(name) {
            // A line of a head fits.
            let _ = push_header(&mut said, name, value.as_bytes());
        }
    }
    let Some(found) = ForeignTrace::of(&said.into()) else {
        return common;
    };
    let is_chosen = |name: &str| chosen.iter().any(|own| **own == *name);
    let mut common = common.to_vec();
    let parent = headers.get(TRACEPARENT).map(HeaderValue::as_bytes);
    if let Some(parent) = parent.filter(|_| !is_chosen(TRACEPARENT)) {
        // The same.
        let _ = push_header(&mut common, TRACEPARENT, parent);
    }
    if !found.state.is_empty() && !is_chosen(TRACESTATE) {
        let _ = push_header(&mut common, TRACESTATE, &found.state);
    }
    common.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn traced(lines: &[(&'static str, &str)]) -> Bytes {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        with_trace(&headers, &[], Bytes::new())
    }

    #[test]
    fn what_says_nothing_of_a_trace_costs_a_message_nothing() {
        let good = traced(&[(TRACEPARENT, PARENT), (TRACESTATE, "a=b")]);
        assert_eq!(ForeignTrace::of(&good).unwrap().state, "a=b");
        let long = "x".repeat(8_000);
        for lines in [
            &[(TRACEPARENT, &*long)][..],
            &[(TRACEPARENT, PARENT), (TRACEPARENT, PARENT)],
            &[(TRACESTATE, &long)],
        ] {
            assert!(traced(lines).is_empty(), "{lines:?}");
        }
        let bare = traced(&[(TRACEPARENT, PARENT)]);
        for states in [&[(TRACESTATE, &*long)][..], &[(TRACESTATE, "a=b"); 2]] {
            let lines = [&[(TRACEPARENT, PARENT)], states].concat();
            assert_eq!(traced(&lines), bare, "{lines:?}");
        }
    }
}
