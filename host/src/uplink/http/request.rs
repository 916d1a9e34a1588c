//! What goes out for messages, and how what comes back is shown.

use bytes::Bytes;
use hyper::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION,
};
use hyper::{HeaderMap, Method as Verb, Request, Uri};

use super::batch::{Batch, Held, Pack};
use super::wire::{Reply, Whole};
use super::{Config, Method};
use crate::message::{Headers, legal};
use crate::uplink::carrier::Packet;
use crate::uplink::form::json::{as_json, is_json, on_one_line};
use crate::words;

/// Characters of a server's answer that are kept.
const WORDS: usize = 200;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What stands for a message in a request.
pub(super) fn element(config: &Config, payload: Bytes) -> Bytes {
    if config.pack == Pack::Raw {
        return payload;
    }
    let element = as_json(payload, config.has_envelope);
    if config.pack == Pack::Ndjson {
        on_one_line(element)
    } else {
        element
    }
}

/// What a message that is sent alone says of itself.
pub(super) fn content_type(config: &Config, packet: &Packet) -> Option<String> {
    if config.pack != Pack::Raw {
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
pub(super) fn request(config: &Config, headers: &HeaderMap, messages: &[Held]) -> Request<Whole> {
    let plain = Batch::body(config.pack, messages);
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
        .and_then(|first| first.path.parse().ok())
        .unwrap_or_else(|| Uri::from_static("/"));
    let content_type = match config.pack {
        Pack::JsonArray => "application/json",
        Pack::Ndjson => "application/x-ndjson",
        Pack::Influx => "text/plain; charset=utf-8",
        Pack::Raw => first
            .and_then(|first| first.content_type.as_deref())
            .unwrap_or("application/octet-stream"),
    };
    let own = request.headers_mut();
    for (name, text) in [
        (CONTENT_TYPE, content_type),
        (IDEMPOTENCY_KEY, &*Batch::key(messages)),
    ] {
        if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
            own.insert(name, value);
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

/// Status and first words of an answer, fit to be shown.
pub(super) fn in_words(reply: &Reply) -> String {
    let status = reply.status;
    let name = status.canonical_reason().unwrap_or("(no name)");
    let mut answer = format!("{} {name}", status.as_u16());
    let location = reply
        .headers
        .get(LOCATION)
        .filter(|_| status.is_redirection());
    let coding = reply.headers.get(CONTENT_ENCODING);
    let coding = coding.filter(|coding| *coding != "identity" && !reply.words.is_empty());
    let words = match (location, coding) {
        (None, Some(coding)) => format!(
            "(its words are packed: {})",
            words::line_of_bytes(coding.as_bytes(), 20)
        ),
        (location, _) => {
            let words = location.map_or(&reply.words[..], HeaderValue::as_bytes);
            words::line_of_bytes(words.trim_ascii(), WORDS)
        }
    };
    if !words.is_empty() {
        answer.push_str(": ");
        answer.push_str(&words);
    }
    answer
}
