//! A connection that stands: writes what is queued, reads what comes, and notices when nothing does.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::time::{Sleep, sleep, timeout};

use super::wire::{self, ServerInfo, ServerMessage, ServerWord, ServerWords};
use super::{Config, Error, login};
use crate::link::{self, DrivenSocket, Socket, note};
use crate::words;

/// How often to look whether the peer takes bytes, while that is waited for.
const LOOK: Duration = Duration::from_secs(1);
/// After so long a silence the server is asked whether it is there, and how long it may take to say so.
const QUIET: Duration = Duration::from_secs(30);
const PONG_WITHIN: Duration = Duration::from_secs(30);
/// How long a connection that is left is waited for: what is written late stands behind what is sent again.
const LINGER: Duration = Duration::from_secs(1);
/// Characters of a server's words that are kept.
const WORDS: usize = 300;

/// What comes of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NatsEvent {
    Message(ServerMessage),
    /// We may not publish to this subject; the server does not say about which message that is.
    MayNotPublish(String),
}

/// A connection that stands.
pub struct NatsConnection {
    socket: DrivenSocket,
    info: ServerInfo,
    words: ServerWords,
    /// Number of the last subscription.
    sid: u64,
    input: BytesMut,
    output: BytesMut,
    /// Where in the stream our last answer to a ping ends: one that has not left yet answers all that came before it leaves.
    pong_end: u64,
    last_heard: Instant,
    /// Questions that have no answer yet, when the first of them was asked, and when the last answer came.
    asked: (u32, Instant),
    answered: Option<Instant>,
    write_deadline: Duration,
    timer: Pin<Box<Sleep>>,
}

impl NatsConnection {
    /// Dials, hears who the server is, says who we are, and waits until that is taken; each phase has a deadline.
    ///
    /// # Errors
    /// Whatever went wrong, in words for the operator; its kind says how to go on.
    pub async fn open(config: &Config) -> Result<Self, Error> {
        let secret = match config.login.secret() {
            None => None,
            Some(secret) => Some(secret.todays().await?),
        };
        let mut socket = Box::pin(Socket::dial(config.target())).await?;
        let now = Instant::now();
        let mut connection = Self {
            input: BytesMut::from(&*socket.take_greeting()),
            socket: DrivenSocket::new(socket),
            info: ServerInfo::default(),
            words: ServerWords::new(config.max_message_bytes),
            sid: 0,
            output: BytesMut::new(),
            pong_end: 0,
            last_heard: now,
            asked: (0, now),
            answered: None,
            write_deadline: config.deadlines.write,
            timer: Box::pin(sleep(Duration::ZERO)),
        };
        let deadline = config.deadlines.handshake;
        let greeted = timeout(deadline, poll_fn(|cx| connection.poll_word(cx))).await;
        let greeted =
            greeted.map_err(|_| link::Error::late("what a NATS server says first", deadline))?;
        let ServerWord::Info(info) = greeted? else {
            return Err(Error::Stranger("it does not say who it is".to_owned()));
        };
        connection.info = *info;
        if connection.info.tls_required && config.tls.is_none() {
            return Err(Error::WantsTls);
        }
        if !connection.info.headers {
            let version = words::line(&connection.info.version, 32);
            return Err(Error::TooOld(version));
        }
        let who = login::connect(config, secret.as_ref(), &connection.info)?;
        let line = format!("CONNECT {who}\r\nPING\r\n");
        connection.output.extend_from_slice(line.as_bytes());
        let known = timeout(deadline, poll_fn(|cx| connection.poll_known(cx))).await;
        known.map_err(|_| link::Error::late("the answer to the login", deadline))??;
        Ok(connection)
    }

    /// What the server says of itself.
    pub fn info(&self) -> &ServerInfo {
        &self.info
    }

    /// Asks for what is published to a subject; the number that what comes has.
    pub fn subscribe(&mut self, subject: &str) -> u64 {
        self.sid += 1;
        wire::subscribe(subject, self.sid, &mut self.output);
        self.sid
    }

    /// What is published to the subject of that number comes no more. What is on its way still does, before the answer to what is
    /// asked next.
    pub fn unsubscribe(&mut self, sid: u64) {
        wire::unsubscribe(sid, &mut self.output);
    }

    /// Queues a message; nothing is written before the next turn. `headers` are lines of `put_header`; an empty `reply` wants no
    /// answer. `false`, and nothing is queued, where it is larger than the server takes.
    pub fn publish(&mut self, subject: &str, reply: &str, headers: &[u8], payload: &[u8]) -> bool {
        let fits = wire::counted(headers, payload) <= self.info.max_payload;
        if fits {
            wire::publish(subject, reply, headers, payload, &mut self.output);
        }
        fits
    }

    /// Bytes queued and not yet taken by the socket.
    pub fn unsent(&self) -> usize {
        self.output.len()
    }

    /// The place in the stream behind all that is queued.
    pub fn end(&self) -> u64 {
        self.socket.total() + self.output.len() as u64
    }

    /// Whether the peer's TCP has taken all before place `end`. That is looked at once a second, whoever asks how often.
    pub fn has_taken(&mut self, end: u64) -> bool {
        self.socket.has_taken(end)
    }

    /// When it was seen to have; until then, when something was last seen to move, if ever.
    pub fn taken_at(&self, end: u64) -> Option<Instant> {
        self.socket.taken_at(end)
    }

    /// When something last came.
    pub fn last_heard(&self) -> Instant {
        self.last_heard
    }

    /// Asks the server to answer at once, behind all that was sent.
    pub fn ask(&mut self) {
        if self.asked.0 == 0 {
            self.asked.1 = Instant::now();
        }
        self.asked.0 += 1;
        self.output.extend_from_slice(b"PING\r\n");
    }

    /// When it last answered all that it was asked: it had read by then what was sent before.
    pub fn answered(&self) -> Option<Instant> {
        self.answered
    }

    /// Writes what is queued, waits for the socket or a timer, appends what came. Cancel safe. Returns when something came or the
    /// socket made progress.
    ///
    /// # Errors
    /// The connection is over; what was appended before that came all the same.
    pub async fn turn(&mut self, events: &mut Vec<NatsEvent>) -> Result<(), Error> {
        let before = events.len();
        let turned = poll_fn(|cx| self.poll_turn(cx, events)).await;
        note(events.len() - before);
        turned
    }

    /// Writes what is queued, and closes once the server has, or takes too long. Whether it has: then it has read all that was said.
    pub async fn close(mut self) -> bool {
        let at_most = self.write_deadline.min(LINGER);
        self.socket.leave(&self.output, at_most).await
    }

    /// The next word of a login.
    fn poll_word(&mut self, cx: &mut Context<'_>) -> Poll<Result<ServerWord, Error>> {
        self.poll_write(cx, Instant::now())?;
        loop {
            if let Some(word) = self.words.take(&mut self.input).map_err(stranger)? {
                return Poll::Ready(Ok(word));
            }
            ready!(self.poll_fill(cx))?;
        }
    }

    /// Until the server has taken the login.
    fn poll_known(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            match ready!(self.poll_word(cx))? {
                ServerWord::Pong => return Poll::Ready(Ok(())),
                ServerWord::Ping => self.pong(),
                ServerWord::Error(said) => return Poll::Ready(Err(ended(&said))),
                ServerWord::Info(info) => self.info = *info,
                ServerWord::Ok | ServerWord::Message(_) => {}
            }
        }
    }

    fn poll_turn(
        &mut self,
        cx: &mut Context<'_>,
        events: &mut Vec<NatsEvent>,
    ) -> Poll<Result<(), Error>> {
        let before = events.len();
        loop {
            let now = Instant::now();
            let wrote = match self.poll_write(cx, now) {
                Ok(wrote) => wrote,
                // It may have said why before it closed.
                Err(error) => {
                    let said = self.poll_read(cx, now, events).err();
                    return Poll::Ready(Err(said
                        .filter(|said| !matches!(said, Error::Closed | Error::Link(_)))
                        .unwrap_or(error)));
                }
            };
            let read = self.poll_read(cx, now, events)?;
            if wrote || read || events.len() > before {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_timer(cx, now))?;
        }
    }

    /// Ready when something may be due; an error when a deadline has passed.
    fn poll_timer(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Result<(), Error>> {
        let stalled = self.socket.stalled();
        if stalled.is_some() || self.asked.0 > 0 {
            self.look(now);
        }
        let over = self
            .socket
            .stalled()
            .map(|since| since + self.write_deadline);
        if over.is_some_and(|over| over <= now) {
            let late = link::Error::late("writing to the NATS server", self.write_deadline);
            return Poll::Ready(Err(late.into()));
        }
        let silent = (self.asked.0 > 0).then(|| self.asked.1.max(self.last_heard) + PONG_WITHIN);
        if silent.is_some_and(|silent| silent <= now) {
            let silence = now.saturating_duration_since(self.last_heard);
            return Poll::Ready(Err(Error::Silent(silence)));
        }
        let asks = (self.asked.0 == 0).then(|| self.last_heard + QUIET);
        if asks.is_some_and(|asks| asks <= now) {
            self.ask();
            return Poll::Ready(Ok(()));
        }
        let looks = (stalled.is_some() || self.asked.0 > 0).then(|| now + LOOK);
        let Some(due) = [over, silent, asks, looks].into_iter().flatten().min() else {
            return Poll::Pending;
        };
        let due = tokio::time::Instant::from_std(due);
        if self.timer.is_elapsed() || due < self.timer.deadline() {
            self.timer.as_mut().reset(due);
        }
        self.timer.as_mut().poll(cx).map(Ok)
    }

    /// What the peer's TCP takes shows that the link lives: both deadlines count from there.
    fn look(&mut self, now: Instant) {
        if self.socket.socket().acknowledged() > 0 {
            self.socket.moved(now);
            if self.socket.socket().queued() > 0 {
                self.asked.1 = now;
            }
        }
    }

    /// Writes until all is written or the socket takes no more; says whether it took something.
    fn poll_write(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<bool, Error> {
        let taken = self.socket.poll_write(cx, &self.output, now)?;
        self.output.advance(taken);
        Ok(taken > 0)
    }

    /// Reads until nothing is left or its turn is over; says whether something came.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        events: &mut Vec<NatsEvent>,
    ) -> Result<bool, Error> {
        let mut has_read = false;
        self.hear(now, events)?;
        while !(has_read && self.socket.has_had_its_turn())
            && let Poll::Ready(read) = self.poll_fill(cx)
        {
            read?;
            (has_read, self.last_heard) = (true, now);
            self.hear(now, events)?;
        }
        Ok(has_read)
    }

    /// Answers a ping, unless an answer is still to leave.
    fn pong(&mut self) {
        if self.pong_end <= self.socket.total() {
            self.output.extend_from_slice(b"PONG\r\n");
            self.pong_end = self.end();
        }
    }

    /// Takes each whole word of what came.
    fn hear(&mut self, now: Instant, events: &mut Vec<NatsEvent>) -> Result<(), Error> {
        while let Some(word) = self.words.take(&mut self.input).map_err(stranger)? {
            match word {
                ServerWord::Message(message) => events.push(NatsEvent::Message(message)),
                ServerWord::Ping => self.pong(),
                ServerWord::Pong => {
                    self.asked.0 = self.asked.0.saturating_sub(1);
                    if self.asked.0 == 0 {
                        self.answered = Some(now);
                    }
                }
                ServerWord::Ok => {}
                ServerWord::Info(info) if info.ldm => {
                    return Err(Error::Told("it is about to leave (lame duck)".to_owned()));
                }
                ServerWord::Info(info) => self.info = *info,
                ServerWord::Error(said) => match forbidden(&said) {
                    Some(subject) => events.push(NatsEvent::MayNotPublish(subject.to_owned())),
                    None => return Err(ended(&said)),
                },
            }
        }
        Ok(())
    }

    /// One read; never 0 bytes.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let read = ready!(self.socket.poll_fill(cx, &mut self.input, 0))?;
        Poll::Ready(match read {
            0 => Err(Error::Closed),
            _ => Ok(()),
        })
    }
}

/// The subject that we may not publish to, if that is what is said.
fn forbidden(said: &str) -> Option<&str> {
    let rest = said.strip_prefix("Permissions Violation for Publish to ")?;
    Some(rest.trim_matches('"'))
}

/// What an error of the server comes to that ends a connection, or makes it useless.
fn ended(said: &str) -> Error {
    let own = words::line(said, WORDS);
    let lower = said.to_ascii_lowercase();
    let has = |word: &str| lower.contains(word);
    if let Some(what) = said.strip_prefix("Permissions Violation for Subscription to ") {
        let what = words::line(what.trim_matches('"'), WORDS);
        return Error::Forbidden(format!(
            "subscribe to `{what}`, where its answers come: allow that there, or set `nats.inbox` to what is allowed"
        ));
    }
    if has("authorization") || has("authentication") || has("account") || has("revoked") {
        return Error::Login(own);
    }
    if has("payload") || has("protocol") || has("parser") || has("control line") || has("subject") {
        return Error::Offended(own);
    }
    Error::Told(own)
}

fn stranger(what: &'static str) -> Error {
    Error::Stranger(what.to_owned())
}

impl fmt::Debug for NatsConnection {
    /// Without the buffers: they hold payloads and, at the start, the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsConnection")
            .field("unsent", &self.unsent())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
