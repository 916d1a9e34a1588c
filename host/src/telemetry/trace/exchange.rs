//! One connection to the collector: requests one after the other, each with its answer.

use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::otlp;
use super::settings::CollectorSettings;
use crate::link::{Deadlines, SharedSocket, Socket};
use crate::words;

/// Spans are not worth waiting for long: a collector that takes more time than this is away.
pub(super) const DEADLINES: Deadlines = Deadlines {
    dial: Duration::from_secs(5),
    handshake: Duration::from_secs(5),
    write: Duration::from_secs(5),
    answer: Duration::from_secs(10),
};

/// Largest answer that is read.
const ANSWER_BYTES: usize = 64 << 10;
/// How much comes for it at most, with its head, over a whole connection.
const RAW_BYTES: usize = 16 << 20;
/// Characters of a collector's words that are kept.
const WORDS: usize = 200;
/// Longest pause that a collector may ask for.
const LONGEST_PAUSE: u64 = 300;

/// What a collector made of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BatchVerdict {
    /// It has it, but for so many spans; its words for those.
    Taken(u64, String),
    /// It never will: in words.
    Refused(String),
    /// It may take it later: in words, and how long it asks to be left alone.
    Later(String, Option<Duration>),
}

/// What every request has, and what of it is a secret.
struct RequestHead {
    headers: HeaderMap,
    secrets: Vec<String>,
}

impl RequestHead {
    async fn of(collector: &CollectorSettings) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        let mut secrets = Vec::new();
        let host = HeaderValue::from_str(&collector.authority());
        headers.insert(
            HOST,
            host.map_err(|_| "its URL has what no request can have".to_owned())?,
        );
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for header in &collector.headers {
            let value = header.value.current().await;
            let value = value.map_err(|error| words::with_causes(&error))?;
            let text = value.reveal();
            let unfit = || format!("its header `{}` is not one line of text", header.name);
            let shown = if header.is_bearer {
                HeaderValue::from_str(&format!("Bearer {text}"))
            } else {
                HeaderValue::from_str(text)
            };
            let name: HeaderName = header.name.parse().map_err(|_| unfit())?;
            headers.insert(name, shown.map_err(|_| unfit())?);
            secrets.push(text.to_owned());
        }
        Ok(Self { headers, secrets })
    }

    /// The collector's words, fit to be shown.
    fn words(&self, said: &str) -> String {
        let secrets = self.secrets.iter().map(String::as_str);
        words::line(&words::without(said.trim(), secrets), WORDS)
    }

    fn request(&self, path: &str, body: Vec<u8>) -> Request<Body> {
        let mut request = Request::new(Body::from(body));
        *request.method_mut() = hyper::Method::POST;
        // It was checked when the config was read.
        *request.uri_mut() = format!("{path}/v1/traces").parse().unwrap_or_default();
        *request.headers_mut() = self.headers.clone();
        request
    }

    fn verdict(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> BatchVerdict {
        if status.is_success() {
            let (count, said) = otlp::rejected(body);
            return BatchVerdict::Taken(count, self.words(&said));
        }
        let name = status.canonical_reason().unwrap_or("(no name)");
        let said = self.words(&String::from_utf8_lossy(body));
        let words = format!("{} {name}: {said}", status.as_u16());
        let words = words.trim_end_matches(": ").to_owned();
        // As OTLP has it; a token that is wrong today may be right tomorrow, so it is no reason to give up for good.
        if matches!(status.as_u16(), 401 | 403 | 404 | 408 | 429 | 500..) {
            let asked = headers.get(RETRY_AFTER);
            let asked = asked.and_then(|asked| asked.to_str().ok()?.parse::<u64>().ok());
            let pause = asked.map(|seconds| Duration::from_secs(seconds.min(LONGEST_PAUSE)));
            return BatchVerdict::Later(words, pause);
        }
        BatchVerdict::Refused(words)
    }
}

/// Sends what `next` gives over one connection until that is nothing; `heard` is told what becomes of each, and says whether to
/// go on.
///
/// # Errors
/// In words that are fit to be shown, why there is no connection, or why it ended: what `next` gave last is then not answered.
pub(super) async fn send(
    collector: &CollectorSettings,
    mut next: impl FnMut() -> Option<Vec<u8>>,
    mut heard: impl FnMut(BatchVerdict) -> bool,
) -> Result<(), String> {
    let head = RequestHead::of(collector).await?;
    let socket = Socket::dial(collector.target()).await;
    let socket = socket.map_err(|error| head.words(&words::with_causes(&error)))?;
    let socket = SharedSocket::new(socket, RAW_BYTES);
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket))
        .await
        .map_err(|_| "the collector hung up".to_owned())?;
    let exchange = async {
        while let Some(body) = next() {
            let request = head.request(&collector.path, body);
            let answer = ask(&mut sender, request);
            let answer = timeout(DEADLINES.answer, answer).await.map_err(|_| {
                format!("the collector did not answer within {:?}", DEADLINES.answer)
            })?;
            let (status, headers, body) = answer?;
            if !heard(head.verdict(status, &headers, &body)) {
                break;
            }
        }
        Ok(())
    };
    tokio::pin!(exchange);
    let mut connection: Pin<Box<_>> = Box::pin(connection);
    tokio::select! {
        biased;
        done = &mut exchange => return done,
        _ = &mut connection => {}
    }
    // It has ended with its last bytes: they are there.
    exchange.await
}

/// Status, headers and body of an answer.
async fn ask(
    sender: &mut http1::SendRequest<Body>,
    request: Request<Body>,
) -> Result<(StatusCode, HeaderMap, Vec<u8>), String> {
    let hung_up = "the collector hung up instead of answering, or does not speak HTTP";
    let gone = |_| hung_up.to_owned();
    sender.ready().await.map_err(gone)?;
    let reply = sender.send_request(request).await.map_err(gone)?;
    let (head, body) = reply.into_parts();
    let body = to_bytes(Body::new(body), ANSWER_BYTES)
        .await
        .map_err(|_| "the collector's answer is cut off, or longer than any".to_owned())?;
    Ok((head.status, head.headers, body.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> RequestHead {
        RequestHead {
            headers: HeaderMap::new(),
            secrets: vec!["wonderland-42".to_owned()],
        }
    }

    #[test]
    fn what_may_pass_is_tried_again_and_what_never_will_is_not() {
        let none = HeaderMap::new();
        let verdict = |status: u16| {
            head().verdict(
                StatusCode::from_u16(status).unwrap(),
                &none,
                b"no\x1b[1m wonderland-42",
            )
        };
        for status in [401, 403, 404, 408, 429, 500, 502, 503, 504] {
            let BatchVerdict::Later(words, None) = verdict(status) else {
                panic!("{status}");
            };
            assert!(words.starts_with(&status.to_string()), "{words}");
            assert!(
                !words.contains("wonderland") && !words.contains('\x1b'),
                "{words}"
            );
        }
        for status in [301, 400, 413, 415] {
            assert!(
                matches!(verdict(status), BatchVerdict::Refused(_)),
                "{status}"
            );
        }
        assert!(matches!(verdict(200), BatchVerdict::Taken(0, _)));
    }

    #[test]
    fn a_collector_that_asks_for_a_pause_gets_one_that_ends() {
        let pause = |asked: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, asked.parse().unwrap());
            match head().verdict(StatusCode::SERVICE_UNAVAILABLE, &headers, b"") {
                BatchVerdict::Later(_, pause) => pause.map(|pause| pause.as_secs()),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(pause("7"), Some(7));
        assert_eq!(pause("86400"), Some(LONGEST_PAUSE));
        assert_eq!(pause("soon"), None);
    }
}
