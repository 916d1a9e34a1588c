//! Session and socket together.

mod leaving;
mod opening;
mod presence;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use std::{fmt, io};

use bytes::BytesMut;
use tokio::time::{Sleep, sleep, timeout};

use self::opening::{broken, closed_before_connack, life_of, with_todays_password};
use self::presence::Presence;
use super::error::CONNACK_PHASE;
use super::manners::Manners;
use super::session::{Session, Unreleased};
use super::wire::ProtocolVersion;
use super::{
    AckToken, Config, Error, Established, Event, Protocol, Publish, Subscription,
    UnsendablePublish, hint,
};
use crate::link::{self, Socket, TcpProgress, TokenLife, note};

/// Size of a read buffer: messages are slices of it, so it is allocated once per so many bytes, not per packet.
const CHUNK_BYTES: usize = 64 << 10;
/// Less room than this is not worth a read.
const LEAST_ROOM_BYTES: usize = 8 << 10;
/// What one turn reads at most, so that the caller gets to act.
const BURST_BYTES: usize = 256 << 10;
/// How often to look whether the peer still takes bytes, while an answer to a ping or room in the socket is waited for.
const LOOK: Duration = Duration::from_secs(1);

/// An established connection to a broker.
pub struct Connection {
    socket: Socket,
    session: Session,
    input: BytesMut,
    /// `input` may hold whole packets that nobody has looked at.
    unread: bool,
    /// Bytes read since nothing was there, or since other connections had their turn.
    row: usize,
    /// TLS may hold bytes that the socket has not taken.
    unflushed: bool,
    /// Since when the socket takes nothing.
    stalled: Option<Instant>,
    /// While something is overdue: when to look next whether the peer takes bytes all the same.
    look: Option<Instant>,
    /// Bytes that the peer had not taken at the first look, the ping among them: as long as there are some, its answer may be
    /// late.
    ahead: usize,
    /// How far the peer's TCP is with what was sent, and when that is looked at next.
    progress: TcpProgress,
    progress_at: Instant,
    paused: bool,
    manners: Option<Arc<Manners>>,
    presence: Option<Presence>,
    write_deadline: Duration,
    /// How long the token that was shown is used, where one was.
    life: Option<TokenLife>,
    /// Set to the next thing that is due, or earlier: it is moved only when that comes before it.
    timer: Pin<Box<Sleep>>,
}

impl Connection {
    /// Dials, shakes hands over TLS, sends CONNECT and waits for CONNACK, each within its deadline.
    ///
    /// `Protocol::Auto` tries MQTT 5, and 3.1.1 on a fresh dial where the broker refuses 5, does not answer it, or answers
    /// it with what is no MQTT 5. A broker that only closes may know no better, or be in the middle of a start: 3.1.1 is
    /// kept only if it closes on 5 once more while it takes 3.1.1.
    ///
    /// # Errors
    /// Whatever went wrong, in words for the operator; its kind says how to go on.
    pub async fn open(config: &Config) -> Result<(Self, Established), Error> {
        let config = &*with_todays_password(config).await?;
        Self::open_by_protocol(config)
            .await
            .map_err(|error| hint::explain(error, config))
    }

    async fn open_by_protocol(config: &Config) -> Result<(Self, Established), Error> {
        match config.protocol {
            Protocol::V5 => Self::open_as(config, ProtocolVersion::V5).await,
            Protocol::V311 => Self::open_as(config, ProtocolVersion::V311).await,
            Protocol::Auto => Self::open_as_either(config).await,
        }
    }

    async fn open_as_either(config: &Config) -> Result<(Self, Established), Error> {
        match Self::open_as(config, ProtocolVersion::V5).await {
            Err(Error::Closed { .. }) => {
                let (old, _) = Self::open_as(config, ProtocolVersion::V311).await?;
                old.close().await;
                match Self::open_as(config, ProtocolVersion::V5).await {
                    Ok(opened) => Ok(opened),
                    Err(_) => Self::open_as(config, ProtocolVersion::V311).await,
                }
            }
            Err(error) if error.may_be_the_version() => {
                Self::open_as(config, ProtocolVersion::V311).await
            }
            outcome => outcome,
        }
    }

    async fn open_as(
        config: &Config,
        version: ProtocolVersion,
    ) -> Result<(Self, Established), Error> {
        let session = Session::new(config, version, Instant::now())?;
        let mut connection = Self {
            socket: Socket::dial(config.target()).await?,
            session,
            input: BytesMut::new(),
            unread: true,
            row: 0,
            unflushed: false,
            stalled: None,
            look: None,
            ahead: 0,
            progress: TcpProgress::default(),
            progress_at: Instant::now(),
            paused: false,
            manners: None,
            presence: None,
            write_deadline: config.deadlines.write,
            life: life_of(config),
            timer: Box::pin(sleep(Duration::ZERO)),
        };
        let deadline = config.deadlines.handshake;
        match timeout(deadline, poll_fn(|cx| connection.poll_greet(cx))).await {
            Ok(Ok(established)) => Ok((connection, established)),
            Ok(Err(error)) => Err(closed_before_connack(error)),
            Err(_) => Err(link::Error::late(CONNACK_PHASE, deadline).into()),
        }
    }

    fn poll_greet(&mut self, cx: &mut Context<'_>) -> Poll<Result<Established, Error>> {
        let now = Instant::now();
        self.poll_write(cx, now)?;
        loop {
            if let Some(stranger) = hint::stranger(&self.input) {
                return Poll::Ready(Err(stranger));
            }
            if let Some(established) = self.session.greet(&mut self.input, now)? {
                return Poll::Ready(Ok(established));
            }
            ready!(self.poll_fill(cx))?;
        }
    }

    /// Queues a SUBSCRIBE; one [`Event::Subscribed`] answers it.
    pub fn subscribe(&mut self, subscriptions: &[Subscription]) {
        self.session.subscribe(subscriptions);
    }

    /// Queues an UNSUBSCRIBE; one [`Event::Unsubscribed`] answers it.
    pub fn unsubscribe(&mut self, filters: &[String]) {
        self.session.unsubscribe(filters);
    }

    /// How many more publishes of QoS 1 and 2 fit the window: the smaller of `inflight` and the broker's Receive
    /// Maximum, less those without an answer; none while as many bytes are in flight as the link carries in a second or two.
    pub fn room(&self) -> usize {
        self.session.room()
    }

    /// Queues a publish; nothing is written until [`Self::turn`] or [`Self::flush`]. `token` comes back in
    /// [`Event::Accepted`] or [`Event::Refused`]; for QoS 0 never.
    ///
    /// # Errors
    /// The message cannot be sent, and nothing was queued.
    pub fn publish(&mut self, publish: &Publish, token: u64) -> Result<(), UnsendablePublish> {
        self.session.publish(publish, token)?;
        if self.session.wants_to_measure() {
            self.session.measure(Instant::now());
        }
        Ok(())
    }

    /// The answer to a ping may take so many times as long as usual.
    pub fn be_patient(&mut self, times: u32) {
        self.session.be_patient(times);
    }

    /// When something last came in.
    pub fn last_heard(&self) -> Instant {
        self.session.last_heard()
    }

    /// Asks the broker to answer at once, behind all that was sent.
    pub fn ask(&mut self) {
        self.session.ask();
    }

    /// When it answered the last question: it had read by then all that was sent before.
    pub fn answered(&self) -> Option<Instant> {
        self.session.answered()
    }

    /// What the broker said that it should not have is told to `manners`.
    pub fn mind(&mut self, manners: Arc<Manners>) {
        self.manners = Some(manners);
    }

    /// Queues the PUBACK or PUBREC. MQTT wants them in arrival order.
    pub fn acknowledge(&mut self, token: AckToken) {
        self.session.acknowledge(token);
    }

    /// While paused nothing is read and the ping time-out is suspended; writes and pings go on.
    pub fn pause_reading(&mut self, paused: bool) {
        if paused != self.paused {
            self.paused = paused;
            self.session.pause(paused, Instant::now());
        }
    }

    /// What QoS 2 must remember over a loss of this connection; for [`Self::recall`] on the next one.
    pub fn unreleased(&self) -> Unreleased {
        self.session.unreleased()
    }

    /// Makes inbound QoS 2 exactly once over a reconnect. To be called right after [`Self::open`]; ignored when the
    /// broker has forgotten the session.
    ///
    /// Messages of the earlier connection are then not given out again: whoever calls this must acknowledge their
    /// tokens on this connection.
    pub fn recall(&mut self, unreleased: Unreleased) {
        self.session.recall(unreleased);
    }

    /// The place in the stream behind all that is queued, for [`Self::has_taken`] and [`Self::taken_at`].
    pub fn end(&self) -> u64 {
        self.socket.total() + self.unsent() as u64
    }

    /// Whether the peer's TCP has taken all before place `end`. That is looked at once a second, whoever asks how often.
    pub fn has_taken(&mut self, end: u64) -> bool {
        let now = Instant::now();
        if !self.progress.has(end) && self.progress_at <= now {
            self.progress_at = now + LOOK;
            self.progress.took(self.socket.taken(), now);
        }
        self.progress.has(end)
    }

    /// When it was seen to have; until then, when something was last seen to move, if ever.
    pub fn taken_at(&self, end: u64) -> Option<Instant> {
        self.progress.since(end)
    }

    /// Bytes queued and not yet taken by the socket.
    pub fn unsent(&self) -> usize {
        self.session.output().len()
    }

    /// Writes what is queued, waits for the socket or a timer, appends events. Cancel safe. Returns when there is
    /// at least one event or the socket made progress.
    ///
    /// # Errors
    /// The connection is over; events appended before that are valid, the tokens in them are void.
    pub async fn turn(&mut self, events: &mut Vec<Event>) -> Result<(), Error> {
        let before = events.len();
        let turned = poll_fn(|cx| self.poll_turn(cx, events)).await;
        self.hear(events, before);
        note(events.len() - before);
        if let Some(odd) = self.session.take_odd()
            && let Some(manners) = &self.manners
        {
            manners.note(odd);
        }
        turned
    }

    /// Writes everything that is queued and reads nothing. Cancel safe.
    ///
    /// # Errors
    /// The socket took nothing for as long as the write deadline, or broke.
    pub async fn flush(&mut self) -> Result<(), Error> {
        poll_fn(|cx| {
            loop {
                let now = Instant::now();
                self.poll_write(cx, now)?;
                if self.stalled.is_none() {
                    return Poll::Ready(Ok(()));
                }
                ready!(self.poll_timer(cx, now))?;
            }
        })
        .await
    }

    /// When the connection should be opened anew, and when it counts no more, where it was opened with a token that ends.
    pub fn life(&self) -> Option<TokenLife> {
        self.life
    }

    fn poll_turn(
        &mut self,
        cx: &mut Context<'_>,
        events: &mut Vec<Event>,
    ) -> Poll<Result<(), Error>> {
        let before = events.len();
        self.session.take_ready(events);
        loop {
            let now = Instant::now();
            self.session.tick(now)?;
            let wrote = match self.poll_write(cx, now) {
                Ok(wrote) => wrote,
                Err(error) => return Poll::Ready(Err(self.last_words(cx, now, events, error))),
            };
            let read = self.poll_read(cx, now, events)?;
            if wrote || read || events.len() > before {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_timer(cx, now))?;
        }
    }

    /// Ready when something may be due; an error when the write deadline has passed.
    fn poll_timer(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Result<(), Error>> {
        self.look_whether_it_moves(now);
        let stall_ends = self.stalled.map(|since| since + self.write_deadline);
        if stall_ends.is_some_and(|end| end <= now) {
            let late = link::Error::late("writing to the broker", self.write_deadline);
            return Poll::Ready(Err(late.into()));
        }
        let Some(due) = [stall_ends, self.session.due(), self.look]
            .into_iter()
            .flatten()
            .min()
        else {
            return Poll::Pending;
        };
        let due = tokio::time::Instant::from_std(due);
        if self.timer.is_elapsed() || due < self.timer.deadline() {
            self.timer.as_mut().reset(due);
        }
        self.timer.as_mut().poll(cx).map(Ok)
    }

    /// While an answer to a ping or room in the socket is waited for: what the peer's TCP acknowledges shows that the link
    /// lives, and both deadlines count from there.
    fn look_whether_it_moves(&mut self, now: Instant) {
        if self.stalled.is_none() && !self.session.is_asking() {
            self.look = None;
            return;
        }
        let is_first = self.look.is_none();
        if self.look.is_some_and(|at| now < at) {
            return;
        }
        self.look = Some(now + LOOK);
        let acknowledged = self.socket.acknowledged();
        let unsent = self.socket.queued() + self.session.output().len();
        if is_first {
            // What the next look compares with.
            self.ahead = unsent;
            return;
        }
        if acknowledged > 0 && self.ahead > 0 {
            self.session.moved(now);
        }
        // Later pings say nothing: the kernel of a broker that has frozen takes them as well.
        self.ahead = if unsent == 0 {
            0
        } else {
            self.ahead.saturating_sub(acknowledged)
        };
        if acknowledged > 0 {
            self.stalled = self.stalled.map(|_| now);
        }
    }

    /// Writes until all is written or the socket takes no more; says whether it took something.
    fn poll_write(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<bool, Error> {
        let mut wrote = false;
        while !self.session.output().is_empty() {
            match self.socket.poll_write(cx, self.session.output()) {
                Poll::Ready(Ok(0)) => return Err(broken(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => {
                    self.session.sent(count, now);
                    (wrote, self.unflushed, self.stalled) = (true, true, None);
                }
                Poll::Ready(Err(error)) => return Err(self.socket.explain(error).into()),
                Poll::Pending => {
                    self.stalled.get_or_insert(now);
                    return Ok(wrote);
                }
            }
        }
        if self.unflushed {
            match self.socket.poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => return Err(self.socket.explain(error).into()),
                Poll::Pending => {
                    self.stalled.get_or_insert(now);
                    return Ok(wrote);
                }
            }
        }
        self.stalled = None;
        Ok(wrote)
    }

    /// Reads until nothing is left or a burst is full; says whether something came. Behind a burst others have their turn: a broker
    /// that says much without a pause holds up nobody.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        events: &mut Vec<Event>,
    ) -> Result<bool, Error> {
        if self.paused {
            return Ok(false);
        }
        if self.row >= BURST_BYTES {
            self.row = 0;
            cx.waker().wake_by_ref();
            return Ok(false);
        }
        let mut read = 0;
        if self.unread {
            self.unread = false;
            self.session.receive(&mut self.input, now, events)?;
        }
        while read < BURST_BYTES {
            let Poll::Ready(count) = self.poll_fill(cx) else {
                if read == 0 {
                    self.row = 0;
                }
                break;
            };
            let count = count?;
            read += count;
            self.row += count;
            self.session.receive(&mut self.input, now, events)?;
        }
        Ok(read > 0)
    }

    /// One read; never 0 bytes.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Error>> {
        if self.input.capacity() - self.input.len() < LEAST_ROOM_BYTES {
            let missing = self.session.missing(&self.input);
            self.input.reserve(missing.clamp(CHUNK_BYTES, BURST_BYTES));
        }
        match ready!(self.socket.poll_read(cx, &mut self.input)) {
            Ok(0) => Poll::Ready(Err(Error::Closed {
                before_connack: false,
            })),
            Ok(count) => Poll::Ready(Ok(count)),
            Err(error) => Poll::Ready(Err(self.socket.explain(error).into())),
        }
    }

    /// A write failed; the broker may have said why before it closed.
    fn last_words(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        events: &mut Vec<Event>,
        error: Error,
    ) -> Error {
        self.row = 0;
        match self.poll_read(cx, now, events) {
            Err(told @ (Error::Disconnected { .. } | Error::Link(link::Error::Tls { .. }))) => told,
            _ => error,
        }
    }
}

impl fmt::Debug for Connection {
    /// Without the buffers: they hold payloads and, at the start, the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("unsent", &self.unsent())
            .field("paused", &self.paused)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
