//! What goes out for messages, and how what comes back is shown.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method as Verb, Request, Uri};

use super::super::web::Whole;
use super::{BodyFormat, Config, Method};
use crate::message::{Headers, TRACEPARENT, TRACESTATE, key_hash, legal};
use crate::uplink::batch::BatchMessage;
use crate::uplink::carrier::OutgoingPacket;
use crate::uplink::form::json::{as_json, is_json, on_one_line};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What stands for a message in a request.
#[derive(Debug)]
pub(in crate::uplink) struct Element {
    pub(super) id: String,
    pub(super) path: Arc<str>,
    pub(super) bytes: Bytes,
    /// Of what is sent alone.
    pub(super) content_type: Option<String>,
    /// Where it stands in a trace that is kept: the headers `traceparent` and `tracestate`.
    pub(super) trace: Option<Box<[Bytes; 2]>>,
}

/// How a payload stands there.
pub(super) fn element(config: &Config, payload: Bytes) -> Bytes {
    if config.pack == BodyFormat::Raw {
        return payload;
    }
    let element = as_json(payload, config.has_envelope);
    if config.pack == BodyFormat::Ndjson {
        on_one_line(element)
    } else {
        element
    }
}

/// What a message that is sent alone says of itself.
pub(super) fn content_type(config: &Config, packet: &OutgoingPacket) -> Option<String> {
    if config.pack != BodyFormat::Raw {
        return None;
    }
    if let Some(own) = Headers(&packet.headers).get(legal::CONTENT_TYPE) {
        return Some(String::from_utf8_lossy(own).into_owned());
    }
    let is_text = is_json(&packet.payload);
    let plain = if is_text {
        "application/json"
    } else {
        "application/octet-stream"
    };
    Some(plain.to_owned())
}

/// With all that is made for it; `headers` are those of the config, which count more.
pub(super) fn request(
    config: &Config,
    headers: &HeaderMap,
    messages: &[BatchMessage<Element>],
) -> Request<Whole> {
    let plain = body(config.pack, messages);
    let (body, encoding) = match config.compress.of(&plain) {
        Some((packed, name)) => (packed, Some(name)),
        None => (plain, None),
    };
    let mut request = Request::new(Whole::new(body));
    *request.method_mut() = match config.method {
        Method::Post => Verb::POST,
        Method::Put => Verb::PUT,
        Method::Patch => Verb::PATCH,
    };
    let first = messages.first();
    *request.uri_mut() = first
        .and_then(|first| first.what.path.parse().ok())
        .unwrap_or_else(|| Uri::from_static("/"));
    let content_type = match config.pack {
        BodyFormat::JsonArray => "application/json",
        BodyFormat::Ndjson => "application/x-ndjson",
        BodyFormat::Influx => "text/plain; charset=utf-8",
        BodyFormat::Raw => first
            .and_then(|first| first.what.content_type.as_deref())
            .unwrap_or("application/octet-stream"),
    };
    let own = request.headers_mut();
    for (name, text) in [
        (CONTENT_TYPE, content_type),
        (IDEMPOTENCY_KEY, &*key(messages)),
    ] {
        if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
            own.insert(name, value);
        }
    }
    if let Some([parent, state]) = messages.iter().find_map(|held| held.what.trace.as_deref()) {
        for (name, text) in [(TRACEPARENT, parent), (TRACESTATE, state)] {
            if let Ok(value) = HeaderValue::from_bytes(text)
                && !text.is_empty()
            {
                own.insert(HeaderName::from_static(name), value);
            }
        }
    }
    // Its words are for people.
    own.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    own.extend(headers.clone());
    if let Some(encoding) = encoding {
        own.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    request
}

/// The body of a request.
fn body(pack: BodyFormat, messages: &[BatchMessage<Element>]) -> Bytes {
    if let (BodyFormat::Raw, [alone]) = (pack, messages) {
        return alone.what.bytes.clone();
    }
    let bytes: usize = messages.iter().map(|held| held.bytes + 1).sum();
    let mut body = BytesMut::with_capacity(bytes + 1);
    let (opens, between, closes): (&[u8], u8, &[u8]) = match pack {
        BodyFormat::JsonArray => (b"[", b',', b"]"),
        BodyFormat::Raw | BodyFormat::Ndjson | BodyFormat::Influx => (b"", b'\n', b"\n"),
    };
    body.put_slice(opens);
    for (index, held) in messages.iter().enumerate() {
        if index > 0 {
            body.put_u8(between);
        }
        body.put_slice(&held.what.bytes);
    }
    body.put_slice(closes);
    body.freeze()
}

/// The key by which a server knows a request again: the same for the same messages only. Of one alone it is its id.
fn key(messages: &[BatchMessage<Element>]) -> String {
    match messages {
        [] => String::new(),
        [alone] => alone.what.id.clone(),
        [first, ..] => {
            let sum = messages.iter().fold(0_u64, |sum, held| {
                sum.rotate_left(7) ^ key_hash(held.what.id.as_bytes())
            });
            format!("{}+{}-{sum:016x}", first.what.id, messages.len() - 1)
        }
    }
}

/// What of the headers is a secret: a token with its word in front, and without.
pub(super) fn secrets(shown: &HeaderMap) -> impl Iterator<Item = &str> {
    let sensitive = shown.values().filter(|value| value.is_sensitive());
    let texts = sensitive.filter_map(|value| value.to_str().ok());
    texts.map(|text| text.rsplit(' ').next().unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(token: u64) -> BatchMessage<Element> {
        let bytes = Bytes::from(format!("{{\"n\":{token}}}"));
        BatchMessage {
            token,
            topic: 0,
            is_alone: false,
            bytes: bytes.len(),
            what: Element {
                id: format!("g/s/u/c/1/{token}"),
                path: "/".into(),
                bytes,
                content_type: None,
                trace: None,
            },
        }
    }

    #[test]
    fn bodies_are_what_the_pack_says() {
        let messages = [held(1), held(2)];
        let body = |pack| super::body(pack, &messages);
        assert_eq!(body(BodyFormat::JsonArray), "[{\"n\":1},{\"n\":2}]");
        assert_eq!(body(BodyFormat::Ndjson), "{\"n\":1}\n{\"n\":2}\n");
        assert_eq!(super::body(BodyFormat::Raw, &messages[..1]), "{\"n\":1}");
    }

    #[test]
    fn the_key_of_a_request_is_that_of_its_messages() {
        let key = |tokens: &[u64]| {
            super::key(&tokens.iter().map(|token| held(*token)).collect::<Vec<_>>())
        };
        assert_eq!(key(&[7]), "g/s/u/c/1/7");
        let keys = [key(&[1, 2, 4]), key(&[1, 3, 4]), key(&[1, 2]), key(&[1])];
        for (index, one) in keys.iter().enumerate() {
            assert!(keys[index + 1..].iter().all(|other| one != other));
        }
        assert_eq!(keys[0], key(&[1, 2, 4]));
    }
}
