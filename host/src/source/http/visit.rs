//! One request, from its head to its answer.

use std::fmt::Display;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, ORIGIN, TRANSFER_ENCODING};
use hyper::{HeaderMap, Method, Request, Response};
use prometheus::IntCounter;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::answer::{RequestOutcome, STATUSES};
use super::asked::WantedTopics;
use super::bodies::{Bodies, BodyShare};
use super::desk::PostRequest;
use super::gate::{Gate, READ_AGAIN, READ_SOON};
use super::headers::{KEY, properties, unfit, with_trace};
use super::split::Unfit;
use super::websocket::{self, OpenedSlot, OpenedSocket, SocketRules};
use super::{BodySplit, Config, PathTopic};
use crate::link::{Causes, Secret};
use crate::message::push_header;
use crate::source::conditions::{ConditionBoard, SourceCondition};
use crate::telemetry::trace::Tracer;

/// Of a key that each of several messages gets, with its number.
const KEY_BYTES: usize = 255;

/// A body has so long to come, and the longer the more of it has come: a thin link is slow, and a slow one is no attack.
const BODY_WITHIN: Duration = Duration::from_secs(30);
/// Bytes a second that are slow enough.
const LEAST_PACE: u64 = 4 << 10;

/// A kind of answer that is not 202 is said again so often.
const SAY_AGAIN: Duration = Duration::from_secs(600);

/// What all requests of a source have in common.
pub(super) struct Room {
    name: Arc<str>,
    topic: PathTopic,
    asked: WantedTopics,
    split: BodySplit,
    headers: Vec<Arc<str>>,
    tracer: Tracer,
    max_topic_bytes: usize,
    max_payload_bytes: usize,
    max_body_bytes: usize,
    gate: Mutex<Gate>,
    /// Where it is told that they cannot be read again, and since when that is so.
    board: ConditionBoard,
    stale_since: Mutex<Option<std::time::Instant>>,
    bodies: Bodies,
    is_full: AtomicBool,
    ask: mpsc::Sender<PostRequest>,
    /// Pages that may open WebSockets, as `Origin` has them.
    origins: Vec<Arc<str>>,
    sockets: SocketRules,
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
        (ask, hand_on): (mpsc::Sender<PostRequest>, mpsc::Sender<PostRequest>),
    ) -> Self {
        let counter = |status: &hyper::StatusCode| metrics.requests(&config.name, status.as_str());
        let body_bytes = (config.max_unsettled_bytes / 4).max(own.max_body_bytes);
        Self {
            name: Arc::clone(&config.name),
            topic: own.topic.clone(),
            asked: WantedTopics::new(&config.routes),
            split: own.split,
            headers: own.headers.clone(),
            tracer: metrics.tracer().clone(),
            max_topic_bytes: config.max_topic_bytes,
            max_payload_bytes: config.max_payload_bytes,
            max_body_bytes: own.max_body_bytes,
            gate: Mutex::new(gate),
            board: metrics.board(&config.name),
            stale_since: Mutex::default(),
            bodies: Bodies::new(body_bytes),
            is_full: AtomicBool::new(false),
            ask,
            origins: own.origins.clone(),
            sockets: SocketRules {
                split: own.split,
                max_payload_bytes: config.max_payload_bytes,
                max_frame_bytes: own.max_frame_bytes,
                keep_alive: own.keep_alive,
                hand_on,
            },
            counters: STATUSES.iter().map(counter).collect(),
            said: Mutex::default(),
        }
    }

    /// Reads token and certificates again in the background. Where that fails, what was read before holds.
    pub(super) fn read_gate_again(self: &Arc<Self>, config: &Config) {
        if config.tls.is_none() && config.token.as_ref().and_then(Secret::file).is_none() {
            return;
        }
        let room = Arc::clone(self);
        let config = config.clone();
        tokio::spawn(async move {
            let mut said = String::new();
            for pause in READ_SOON {
                match Gate::read(&config).await {
                    Ok(gate) => {
                        // Another one may be half written.
                        if !room.open(gate) {
                            return;
                        }
                    }
                    Err(error) => {
                        let cause = Causes(&error).to_string();
                        room.is_stale(&cause);
                        if said != cause {
                            tracing::warn!(
                                source = &*room.name,
                                cause,
                                "token or certificate cannot be read again: the earlier ones hold, and they are tried again soon"
                            );
                        }
                        said = cause;
                    }
                }
                tokio::time::sleep(pause).await;
            }
        });
    }

    /// From now on this token and these certificates hold. Whether the token is another one.
    fn open(&self, gate: Gate) -> bool {
        let before = {
            let mut held = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *held, gate.clone())
        };
        let mut since = self
            .stale_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if since.take().is_some() {
            self.board.show(Vec::new());
        }
        !gate.has_token_of(&before)
    }

    /// They cannot be read again: those of before hold, until they end.
    fn is_stale(&self, cause: &str) {
        let mut since = self
            .stale_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let now = std::time::Instant::now();
        let cause = crate::words::line(cause, crate::words::REASON);
        self.board.show(vec![SourceCondition {
            kind: "not-renewed",
            words: format!(
                "token or certificate cannot be read again, those of before hold: {cause}"
            ),
            own: "token or certificate cannot be read again, those of before hold",
            messages: 0,
            since: *since.get_or_insert(now),
            next_try: Some(now + READ_AGAIN),
        }]);
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

    /// Takes a request and waits until it is settled; one that opens a WebSocket leaves it in `opened`.
    pub(super) async fn answer(
        &self,
        mut request: Request<Incoming>,
        opened: &OpenedSlot,
    ) -> Response<String> {
        let visited = if websocket::is_asked_for(request.method(), request.headers()) {
            self.open_socket(&mut request, opened)
        } else {
            self.visit(request).await
        };
        let answer = match visited {
            Ok(answer) | Err(answer) => answer,
        };
        let status = answer.status();
        if let Some(index) = STATUSES.iter().position(|known| *known == status) {
            self.counters[index].inc();
            if !answer.is_good() && self.is_news(index) {
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

    async fn visit(&self, request: Request<Incoming>) -> Result<RequestOutcome, RequestOutcome> {
        let (head, body) = request.into_parts();
        let authorization = head.headers.get(AUTHORIZATION);
        // A page may have its reader's browser post to a port of the reader's own network.
        let is_page = head.headers.contains_key(ORIGIN) && !self.gate().wants_token();
        self.admit(authorization.map(|value| value.as_bytes()), is_page)?;
        if !matches!(head.method, Method::POST | Method::PUT) {
            return Err(RequestOutcome::Method);
        }
        let topic = self.topic_of(head.uri.path())?;
        let coded = |coding: &hyper::header::HeaderValue| {
            !coding.as_bytes().eq_ignore_ascii_case(b"chunked")
        };
        if head.headers.get_all(TRANSFER_ENCODING).iter().any(coded) {
            return Err(RequestOutcome::Coded);
        }
        let packed = |coding: &hyper::header::HeaderValue| coding != "identity";
        if head.headers.get_all(CONTENT_ENCODING).iter().any(packed) {
            return Err(RequestOutcome::Packed);
        }
        let (body, share) = self.read(&head.headers, body).await?;
        let parts = self.split.parts(body, self.max_payload_bytes);
        let parts = parts.map_err(|unfit| match unfit {
            Unfit::Malformed(why) => RequestOutcome::Unfit(why),
            Unfit::TooLarge(why) => RequestOutcome::TooLarge(why),
        })?;
        let messages = self.with_headers(parts, &head.headers)?;
        let (answer, answered) = oneshot::channel();
        let ask = PostRequest {
            topic,
            messages,
            answer,
        };
        let asked = self.ask.send(ask).await;
        asked.map_err(|_| RequestOutcome::Leaving)?;
        // From here on it counts as under way.
        drop(share);
        answered.await.map_err(|_| RequestOutcome::Leaving)
    }

    /// Lets a WebSocket in: what a request would have to show, its handshake shows once.
    fn open_socket(
        &self,
        request: &mut Request<Incoming>,
        opened: &OpenedSlot,
    ) -> Result<RequestOutcome, RequestOutcome> {
        let headers = request.headers();
        let authorization = headers.get(AUTHORIZATION);
        let authorization = authorization.map(|value| value.as_bytes().to_vec());
        let shown = authorization.or_else(|| websocket::shown_token(headers));
        let is_listed = |origin: &hyper::header::HeaderValue| {
            let mut listed = self.origins.iter();
            listed.any(|own| origin.as_bytes().eq_ignore_ascii_case(own.as_bytes()))
        };
        let is_page = headers.get(ORIGIN).is_some_and(|origin| {
            // Whoever has the token was given it; a list says who may use it.
            let is_known = self.origins.is_empty() && self.gate().wants_token();
            !is_known && !is_listed(origin)
        });
        self.admit(shown.as_deref(), is_page)?;
        let topic = self.topic_of(request.uri().path())?;
        let (properties, _) = properties(headers, &self.headers, true)?;
        let switched = websocket::switch(request)?;
        opened.put(OpenedSocket {
            upgrade: hyper::upgrade::on(request),
            topic,
            properties,
        });
        Ok(switched)
    }

    /// Takes what comes over one until it ends.
    pub(super) async fn serve_socket(&self, opened: OpenedSocket, leaving: watch::Receiver<bool>) {
        let why = websocket::serve(opened, &self.sockets, &self.bodies, leaving).await;
        let why = crate::words::line(&why, 200);
        tracing::debug!(source = %self.name, why, "a WebSocket ended");
    }

    fn topic_of(&self, path: &str) -> Result<Bytes, RequestOutcome> {
        let topic = self.topic.topic(path);
        let topic = topic.map_err(|why| RequestOutcome::Unfit(why.to_owned()))?;
        if topic.len() > self.max_topic_bytes {
            return Err(RequestOutcome::LongTopic);
        }
        self.asked.check(&topic).map_err(RequestOutcome::Unrouted)?;
        Ok(topic)
    }

    /// Who may come in, by what was shown and where a page says that it is from.
    fn admit(&self, authorization: Option<&[u8]>, is_page: bool) -> Result<(), RequestOutcome> {
        if !self.gate().lets_in(authorization) {
            return Err(RequestOutcome::Stranger);
        }
        if is_page {
            return Err(RequestOutcome::Page);
        }
        if self.is_full.load(Ordering::Relaxed) {
            return Err(RequestOutcome::Full);
        }
        Ok(())
    }

    /// Reads the body, and has room for it until it is handed on.
    async fn read(
        &self,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Result<(Bytes, BodyShare<'_>), RequestOutcome> {
        let most = self.max_body_bytes;
        let over = || RequestOutcome::TooLarge(format!("the body has more than {most} bytes"));
        let told = headers.get(CONTENT_LENGTH).map(|length| {
            let length = length.to_str().ok();
            length
                .and_then(|length| length.parse::<usize>().ok())
                .unwrap_or(usize::MAX)
        });
        if told.is_some_and(|told| told > most) {
            return Err(over());
        }
        let began = Instant::now();
        let share = self.bodies.enter(began.into_std());
        let mut body = pin!(body);
        let mut read = BytesMut::new();
        loop {
            let pace = Duration::from_secs(read.len() as u64 / LEAST_PACE);
            let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
            let frame = tokio::select! {
                biased;
                frame = frame => frame,
                () = share.gives_way() => return Err(RequestOutcome::Slow),
                () = tokio::time::sleep_until(began + BODY_WITHIN + pace) => {
                    return Err(RequestOutcome::Slow);
                }
            };
            let Some(frame) = frame else {
                return Ok((read.freeze(), share));
            };
            let frame =
                frame.map_err(|_| RequestOutcome::Unfit("the body is cut off".to_owned()))?;
            if let Ok(data) = frame.into_data() {
                let needed = read.len() + data.len();
                if needed > most {
                    return Err(over());
                }
                if needed > read.capacity() {
                    // What is announced is taken only as far as it comes.
                    let room = needed.max((read.capacity() * 2).min(told.unwrap_or(most)));
                    if !share.grow(room, Instant::now().into_std()) {
                        return Err(RequestOutcome::Full);
                    }
                    read.reserve(room - read.len());
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
    ) -> Result<Vec<(Bytes, Bytes)>, RequestOutcome> {
        let (chosen, key) = properties(headers, &self.headers, self.split != BodySplit::None)?;
        // Whoever posts need not know that we trace: that costs no request its place.
        let chosen_bytes = chosen.len();
        let common = if self.tracer.is_on() {
            with_trace(headers, &self.headers, chosen)
        } else {
            chosen
        };
        let Some(key) = key else {
            let with = |part| (part, common.clone());
            return Ok(parts.into_iter().map(with).collect());
        };
        if key.len() > KEY_BYTES {
            return Err(unfit(KEY, &format!("is longer than {KEY_BYTES} bytes")));
        }
        // Each message has them for itself.
        let copies = parts.len() * (chosen_bytes + key.len());
        if copies > self.max_body_bytes {
            let why = format!(
                "the chosen headers, once for each of the {} messages, are more than the {} bytes of a body",
                parts.len(),
                self.max_body_bytes
            );
            return Err(RequestOutcome::TooLarge(why));
        }
        let numbered = |(number, part)| {
            let mut own = common.to_vec();
            let key = [key, format!("-{number}").as_bytes()].concat();
            push_header(&mut own, KEY, &key).map_err(|why| unfit(KEY, &why))?;
            Ok((part, own.into()))
        };
        parts.into_iter().enumerate().map(numbered).collect()
    }
}
