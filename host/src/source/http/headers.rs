//! What the headers of a request say of its messages: those that were chosen, and where the client stands in a trace.

use std::fmt::Display;
use std::sync::Arc;

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::CONTENT_TYPE;

use super::answer::RequestOutcome;
use crate::message::{TRACEPARENT, TRACESTATE, legal, push_header};

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
    let mut common = common.to_vec();
    for name in [TRACEPARENT, TRACESTATE] {
        let is_chosen = chosen.iter().any(|own| **own == *name);
        // Several of one name go on as several.
        for value in headers.get_all(name).iter().filter(|_| !is_chosen) {
            if legal::check_text(value.as_bytes()).is_ok() {
                // A line of a head fits.
                let _ = push_header(&mut common, name, value.as_bytes());
            }
        }
    }
    common.into()
}
