//! Where a client stands in a trace, as the headers of its request say.

use std::sync::Arc;

use bytes::Bytes;
use hyper::HeaderMap;

use crate::message::{TRACEPARENT, TRACESTATE, legal, push_header};

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
