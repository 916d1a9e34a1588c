//! A connection to a server: one request at a time, each answer read to its end.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_ENCODING, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWrite;
use tokio::time::{Sleep, sleep_until};

use super::Error;
use crate::link::{Deadlines, Overdue, Question, SharedSocket, Socket, Target};
use crate::words;

/// How often to look how far a request has got.
const LOOK: Duration = Duration::from_secs(1);
/// Largest head of an answer.
const HEAD_BYTES: usize = 64 << 10;
/// How much of an answer is read; what is longer ends its connection.
const ANSWER_BYTES: usize = 1 << 20;
/// How much comes for it at most, with what chunks and interim answers have beside it.
const RAW_BYTES: usize = 16 << 20;
/// How much of it is kept.
const WORDS_BYTES: usize = 512;
/// How many characters of that are shown.
const WORDS: usize = 200;

/// A body that is there as a whole.
pub(in crate::uplink) struct Whole(Option<Bytes>);

impl Whole {
    pub(in crate::uplink) fn new(bytes: Bytes) -> Self {
        Self(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }
}

impl Body for Whole {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

/// What a server answered.
#[derive(Debug)]
pub(in crate::uplink) struct Reply {
    pub(in crate::uplink) status: StatusCode,
    pub(in crate::uplink) headers: HeaderMap,
    /// The first bytes of its body.
    pub(in crate::uplink) words: Vec<u8>,
    /// How long the request was on its way; nothing below a second.
    pub(in crate::uplink) sending: Duration,
    /// How long it took in all.
    pub(in crate::uplink) took: Duration,
}

impl Reply {
    /// Whether the server asks to be left alone for some time.
    pub(in crate::uplink) fn asks_for_a_pause(&self) -> bool {
        self.headers.contains_key(RETRY_AFTER)
    }

    /// Status and first words, fit to be shown, without what is among the `secrets` that the server was shown.
    pub(in crate::uplink) fn in_words<'a>(
        &self,
        secrets: impl IntoIterator<Item = &'a str>,
    ) -> String {
        let status = self.status;
        let name = status.canonical_reason().unwrap_or("(no name)");
        let mut answer = format!("{} {name}", status.as_u16());
        let location = self
            .headers
            .get(LOCATION)
            .filter(|_| status.is_redirection());
        let coding = self.headers.get(CONTENT_ENCODING);
        let coding = coding.filter(|coding| *coding != "identity" && !self.words.is_empty());
        let words = match (location, coding) {
            (None, Some(coding)) => format!(
                "(its words are packed: {})",
                words::line_of_bytes(coding.as_bytes(), 20)
            ),
            (location, _) => {
                let words = location.map_or(&self.words[..], HeaderValue::as_bytes);
                let words = String::from_utf8_lossy(words.trim_ascii());
                words::line(&words::without(&words, secrets), WORDS)
            }
        };
        if !words.is_empty() {
            answer.push_str(": ");
            answer.push_str(&words);
        }
        answer
    }
}

/// A connection on its way.
pub(in crate::uplink) type Dialling =
    Pin<Box<dyn Future<Output = Result<HttpConnection, Error>> + Send>>;

type ResponseFuture = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

/// How far a request is.
enum RequestStage {
    Asked(ResponseFuture),
    Answered {
        reply: Reply,
        body: Incoming,
        read: usize,
    },
}

impl From<Overdue> for Error {
    fn from(overdue: Overdue) -> Self {
        match overdue {
            Overdue::Stalled(waited) => Self::Stalled(waited),
            Overdue::Answer(waited) => Self::Late(waited),
            Overdue::Unusual(waited) => Self::Unusual(waited),
        }
    }
}

/// A request under way.
struct Exchange {
    stage: RequestStage,
    question: Question,
}

/// A connection to a server.
pub(in crate::uplink) struct HttpConnection {
    socket: SharedSocket,
    sender: http1::SendRequest<Whole>,
    connection: Pin<Box<http1::Connection<TokioIo<SharedSocket>, Whole>>>,
    /// The server has closed it, or it is not to be used again.
    is_over: bool,
    /// It is not ready for the next request yet.
    is_waiting: bool,
    /// It has carried a request before: the server may close it at any moment.
    pub(in crate::uplink) is_used: bool,
    exchange: Option<Exchange>,
    deadlines: Deadlines,
    timer: Pin<Box<Sleep>>,
}

impl HttpConnection {
    /// Dials; each phase has a deadline.
    pub(in crate::uplink) async fn open(target: Target<'_>) -> Result<Self, Error> {
        let socket = SharedSocket::new(Socket::dial(target).await?, RAW_BYTES);
        let mut builder = http1::Builder::new();
        builder.max_buf_size(HEAD_BYTES);
        let (sender, connection) = builder
            .handshake(TokioIo::new(socket.clone()))
            .await
            .map_err(|error| Error::Stranger(error.to_string()))?;
        Ok(Self {
            socket,
            sender,
            connection: Box::pin(connection),
            is_over: false,
            is_waiting: false,
            is_used: false,
            exchange: None,
            deadlines: target.deadlines,
            timer: Box::pin(sleep_until(Instant::now().into())),
        })
    }

    /// Whether a request is under way.
    pub(in crate::uplink) fn is_busy(&self) -> bool {
        self.exchange.is_some()
    }

    /// Ready when it can carry one more request, if it ever can.
    pub(in crate::uplink) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_idle(cx);
        if let Poll::Ready(is_ready) = self.sender.poll_ready(cx) {
            (self.is_over, self.is_waiting) = (self.is_over || is_ready.is_err(), false);
            return Poll::Ready(());
        }
        // A server that answers before it has read a request may never read the rest of it.
        if !std::mem::replace(&mut self.is_waiting, true) {
            self.timer.as_mut().reset((Instant::now() + LOOK).into());
        }
        ready!(self.timer.as_mut().poll(cx));
        self.is_over = true;
        Poll::Ready(())
    }

    /// Whether it can carry none more.
    pub(in crate::uplink) fn is_over(&self) -> bool {
        self.is_over || self.sender.is_closed()
    }

    /// Sends it; the answer is waited for as long as any, and no longer than `patience`.
    pub(in crate::uplink) fn ask(&mut self, request: Request<Whole>, patience: Duration) {
        self.socket.asked();
        let asked = Box::pin(self.sender.send_request(request));
        self.exchange = Some(Exchange {
            stage: RequestStage::Asked(asked),
            question: Question::new(Some(patience), Instant::now()),
        });
        self.timer.as_mut().reset((Instant::now() + LOOK).into());
    }

    /// Lets the connection work; while nothing is asked it is only seen when the server closes it.
    pub(in crate::uplink) fn poll_idle(&mut self, cx: &mut Context<'_>) {
        if !self.is_over && self.connection.as_mut().poll(cx).is_ready() {
            self.is_over = true;
        }
    }

    /// The answer to what was asked.
    pub(in crate::uplink) fn poll_reply(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Reply, Error>> {
        loop {
            self.poll_idle(cx);
            let Some(exchange) = &mut self.exchange else {
                return Poll::Pending;
            };
            let moved = match &mut exchange.stage {
                RequestStage::Asked(asked) => match asked.as_mut().poll(cx) {
                    Poll::Pending => false,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(self.explain(&error))),
                    Poll::Ready(Ok(response)) => {
                        let (head, body) = response.into_parts();
                        let reply = Reply {
                            status: head.status,
                            headers: head.headers,
                            words: Vec::new(),
                            sending: exchange.question.sending(),
                            took: Duration::ZERO,
                        };
                        exchange.question.moved(Instant::now());
                        exchange.stage = RequestStage::Answered {
                            reply,
                            body,
                            read: 0,
                        };
                        true
                    }
                },
                RequestStage::Answered { reply, body, read } => {
                    match Pin::new(body).poll_frame(cx) {
                        Poll::Pending => false,
                        Poll::Ready(Some(Err(error))) => {
                            return Poll::Ready(Err(self.explain(&error)));
                        }
                        Poll::Ready(Some(Ok(frame))) if *read < ANSWER_BYTES => {
                            note(frame, reply, read);
                            true
                        }
                        // To its end, or further than anybody reads.
                        Poll::Ready(rest) => {
                            self.is_over |= rest.is_some();
                            return Poll::Ready(self.end());
                        }
                    }
                }
            };
            // However much comes: an answer that does not end is none.
            if self.poll_deadlines(cx)?.is_pending() && !moved {
                return Poll::Pending;
            }
        }
    }

    fn end(&mut self) -> Result<Reply, Error> {
        self.is_used = true;
        match self.exchange.take() {
            Some(Exchange {
                stage: RequestStage::Answered { reply, .. },
                question,
            }) => Ok(Reply {
                took: question.took(Instant::now()),
                ..reply
            }),
            _ => Err(Error::Closed),
        }
    }

    /// Ready when it is time to look again; an error when nothing moves for too long.
    fn poll_deadlines(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        ready!(self.timer.as_mut().poll(cx));
        let now = Instant::now();
        let Some(exchange) = &mut self.exchange else {
            return Poll::Ready(Ok(()));
        };
        let place = self.socket.taken_of();
        let overdue = exchange.question.overdue(place, &self.deadlines, now);
        let look_at = exchange.question.look_at(LOOK, now);
        self.timer.as_mut().reset(look_at.into());
        match overdue {
            Some(overdue) => Poll::Ready(Err(overdue.into())),
            None => Poll::Ready(Ok(())),
        }
    }

    /// What a failure means.
    fn explain(&mut self, error: &hyper::Error) -> Error {
        self.is_over = true;
        if let Some(fault) = self.socket.take_fault() {
            return fault.into();
        }
        if error.is_parse() {
            return Error::Stranger(error.to_string());
        }
        Error::Closed
    }

    /// Waits a moment for the other side to learn that no more comes.
    pub(in crate::uplink) async fn close(mut self) {
        let ended = poll_fn(|cx| Pin::new(&mut self.socket).poll_shutdown(cx));
        // Whether it learns that or not: nothing is under way.
        let _ = tokio::time::timeout(LOOK, ended).await;
    }
}

/// Keeps the first words of an answer.
fn note(frame: Frame<Bytes>, reply: &mut Reply, read: &mut usize) {
    let Ok(data) = frame.into_data() else { return };
    *read += data.len();
    let room = WORDS_BYTES.saturating_sub(reply.words.len());
    reply.words.extend_from_slice(&data[..data.len().min(room)]);
}
