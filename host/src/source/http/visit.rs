//! One request, from its head to its answer.

use std::fmt::Display;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ORIGIN};
use hyper::{HeaderMap, Method, Request, Response};
use prometheus::IntCounter;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::answer::{Answer, STATUSES};
use super::desk::Ask;
use super::gate::Gate;
use super::split::Unfit;
use super::{Config, Split, Template};
use crate::message::{legal, push_header};

/// The header by which a repeat is known; with several messages in a body each has its own: a hyphen and its number behind.
const KEY: &str = "idempotency-key";

/// A body has so long to come, and the longer the more of it has come: a thin link is slow, and a slow one is no attack.
const BODY_WITHIN: Duration = Duration::from_secs(30);
/// Bytes a second that are slow enough.
const LEAST_PACE: u64 = 4 << 10;

/// A kind of answer that is not 202 is said again so often.
const SAY_AGAIN: Duration = Duration::from_secs(600);

/// What all requests of a source have in common.
pub(super) struct Room {
    name: Arc<str>,
    topic: Template,
    split: Split,
    headers: Vec<Arc<str>>,
    max_topic_bytes: usize,
    max_payload_bytes: usize,
    max_body_bytes: usize,
    gate: Mutex<Gate>,
    /// KiB of bodies that may be on their way in, together.
    bodies: Semaphore,
    is_full: AtomicBool,
    ask: mpsc::Sender<Ask>,
    /// For each of [`STATUSES`].
    counters: Vec<IntCounter>,
    said: Mutex<[Option<Instant>; STATUSES.len()]>,
}

impl Room {
    pub(super) fn new(
        config: &crate::source::Config,
        own: &Config,
        gate: Gate,
        metrics: &crate::source::Metrics,
        ask: mpsc::Sender<Ask>,
    ) -> Self {
        let counter = |status: &hyper::StatusCode| metrics.requests(&config.name, status.as_str());
        let body_bytes = (config.max_unsettled_bytes / 4).max(own.max_body_bytes);
        Self {
            name: Arc::clone(&config.name),
            topic: own.topic.clone(),
            split: own.split,
            headers: own.headers.clone(),
            max_topic_bytes: config.max_topic_bytes,
            max_payload_bytes: config.max_payload_bytes,
            max_body_bytes: own.max_body_bytes,
            gate: Mutex::new(gate),
            bodies: Semaphore::new(kib(body_bytes) as usize),
            is_full: AtomicBool::new(false),
            ask,
            counters: STATUSES.iter().map(counter).collect(),
            said: Mutex::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// From now on this token and these certificates hold.
    pub(super) fn open(&self, gate: Gate) {
        *self.gate.lock().unwrap_or_else(PoisonError::into_inner) = gate;
    }

    fn gate(&self) -> Gate {
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        gate.clone()
    }

    pub(super) fn tls(&self) -> Option<TlsAcceptor> {
        self.gate().tls
    }

    /// Whether requests are turned away before their body is read.
    pub(super) fn show_full(&self, is_full: bool) {
        self.is_full.store(is_full, Ordering::Relaxed);
    }

    /// Somebody did not get as far as a request.
    pub(super) fn handshake_failed(&self, why: &dyn Display) {
        let why = crate::words::line(&why.to_string(), 200);
        tracing::debug!(source = %self.name, why, "a TLS handshake failed");
    }

    /// Takes a request and waits until it is settled.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<String> {
        let answer = match self.visit(request).await {
            Ok(answer) | Err(answer) => answer,
        };
        let status = answer.status();
        if let Some(index) = STATUSES.iter().position(|known| *known == status) {
            self.counters[index].inc();
            if answer != Answer::Settled && self.is_news(index) {
                let status = status.as_u16();
                let why = crate::words::line(&answer.words(), 200);
                tracing::warn!(source = %self.name, status, why, "a request is turned away (the next ones like it are only counted)");
            }
        }
        answer.response()
    }

    fn is_news(&self, index: usize) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = said[index].is_none_or(|at| at.elapsed() >= SAY_AGAIN);
        if is_news {
            said[index] = Some(Instant::now());
        }
        is_news
    }

    async fn visit(&self, request: Request<Incoming>) -> Result<Answer, Answer> {
        let (head, body) = request.into_parts();
        self.admit(&head.headers)?;
        if !matches!(head.method, Method::POST | Method::PUT) {
            return Err(Answer::Method);
        }
        let topic = self.topic.topic(head.uri.path());
        let topic = topic.map_err(|why| Answer::Unfit(why.to_owned()))?;
        if topic.len() > self.max_topic_bytes {
            return Err(Answer::LongTopic);
        }
        let packed = |coding: &hyper::header::HeaderValue| coding != "identity";
        if head.headers.get_all(CONTENT_ENCODING).iter().any(packed) {
            return Err(Answer::Packed);
        }
        let (body, _room) = self.read(&head.headers, body).await?;
        let parts = self.split.parts(body, self.max_payload_bytes);
        let parts = parts.map_err(|unfit| match unfit {
            Unfit::Malformed(why) => Answer::Unfit(why),
            Unfit::TooLarge(why) => Answer::TooLarge(why),
        })?;
        let messages = self.with_headers(parts, &head.headers)?;
        let (answer, answered) = oneshot::channel();
        let ask = Ask {
            topic,
            messages,
            answer,
        };
        let asked = self.ask.send(ask).await;
        asked.map_err(|_| Answer::Leaving)?;
        answered.await.map_err(|_| Answer::Leaving)
    }

    /// Who may come in.
    fn admit(&self, headers: &HeaderMap) -> Result<(), Answer> {
        let gate = self.gate();
        let authorization = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
        if !gate.lets_in(authorization) {
            return Err(Answer::Stranger);
        }
        // A page may have its reader's browser post to a port of the reader's own network.
        if !gate.wants_token() && headers.contains_key(ORIGIN) {
            return Err(Answer::Page);
        }
        if self.is_full.load(Ordering::Relaxed) {
            return Err(Answer::Full);
        }
        Ok(())
    }

    /// Reads the body, and has room reserved for it until it is handed on.
    async fn read(
        &self,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Result<(Bytes, SemaphorePermit<'_>), Answer> {
        let most = self.max_body_bytes;
        let over = || Answer::TooLarge(format!("the body has more than {most} bytes"));
        let told = headers.get(CONTENT_LENGTH).map(|length| {
            let length = length.to_str().ok();
            length.and_then(|length| length.parse::<usize>().ok())
        });
        // One that does not say may bring as much as is allowed.
        let expected = told.map_or(most, |told| told.unwrap_or(usize::MAX));
        if expected > most {
            return Err(over());
        }
        let room = self.bodies.try_acquire_many(kib(expected));
        let room = room.map_err(|_| Answer::Full)?;
        let mut body = pin!(body);
        let mut read = BytesMut::with_capacity(told.map_or(0, |_| expected));
        let began = Instant::now();
        loop {
            let pace = Duration::from_secs(read.len() as u64 / LEAST_PACE);
            let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
            let frame = tokio::time::timeout_at(began + BODY_WITHIN + pace, frame)
                .await
                .map_err(|_| Answer::Slow)?;
            let Some(frame) = frame else {
                return Ok((read.freeze(), room));
            };
            let frame = frame.map_err(|_| Answer::Unfit("the body is cut off".to_owned()))?;
            if let Ok(data) = frame.into_data() {
                if read.len() + data.len() > most {
                    return Err(over());
                }
                read.extend_from_slice(&data);
            }
        }
    }

    /// Each message with the chosen headers as its properties.
    fn with_headers(
        &self,
        parts: Vec<Bytes>,
        headers: &HeaderMap,
    ) -> Result<Vec<(Bytes, Bytes)>, Answer> {
        let unfit = |name: &str, why: &dyn Display| Answer::Unfit(format!("header `{name}` {why}"));
        let mut common = Vec::new();
        let mut key = None;
        for name in &self.headers {
            let Some(value) = headers.get(&**name) else {
                continue;
            };
            legal::check_text(value.as_bytes()).map_err(|why| unfit(name, &why))?;
            if **name == *KEY && self.split != Split::None {
                key = Some(value.as_bytes());
                continue;
            }
            let property = if **name == *CONTENT_TYPE.as_str() {
                legal::CONTENT_TYPE
            } else {
                name
            };
            push_header(&mut common, property, value.as_bytes())
                .map_err(|why| unfit(name, &why))?;
        }
        let common = Bytes::from(common);
        let Some(key) = key else {
            let with = |part| (part, common.clone());
            return Ok(parts.into_iter().map(with).collect());
        };
        let numbered = |(number, part)| {
            let mut own = common.to_vec();
            let key = [key, format!("-{number}").as_bytes()].concat();
            push_header(&mut own, KEY, &key).map_err(|why| unfit(KEY, &why))?;
            Ok((part, own.into()))
        };
        parts.into_iter().enumerate().map(numbered).collect()
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX)
}
