//! Session and socket together.

mod leaving;
mod opening;
mod presence;

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::time::Sleep;

use self::presence::Presence;
use super::manners::Manners;
use super::session::{Session, Unreleased};
use super::{AckToken, Error, Event, Publish, Subscription, UnsendablePublish};
use crate::link::{self, DrivenSocket, TokenLife, note};

/// How often to look whether the peer still takes bytes, while an answer to a ping or room in the socket is waited for.
const LOOK: Duration = Duration::from_secs(1);

/// An established connection to a broker.
pub struct Connection {
    socket: DrivenSocket,
    session: Session,
    input: BytesMut,
    /// `input` may hold whole packets that nobody has looked at.
    unread: bool,
    /// While something is overdue: when to look next whether the peer takes bytes all the same.
    look: Option<Instant>,
    /// Bytes that the peer had not taken at the first look, the ping among them: as long as there are some, its answer may be
    /// late.
    ahead: usize,
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
        self.socket.has_taken(end)
    }

    /// When it was seen to have; until then, when something was last seen to move, if ever.
    pub fn taken_at(&self, end: u64) -> Option<Instant> {
        self.socket.taken_at(end)
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
                if self.socket.stalled().is_none() {
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
        let stalled = self.socket.stalled();
        let stall_ends = stalled.map(|since| since + self.write_deadline);
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
        if self.socket.stalled().is_none() && !self.session.is_asking() {
            self.look = None;
            return;
        }
        let is_first = self.look.is_none();
        if self.look.is_some_and(|at| now < at) {
            return;
        }
        self.look = Some(now + LOOK);
        let acknowledged = self.socket.socket().acknowledged();
        let unsent = self.socket.socket().queued() + self.session.output().len();
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
            self.socket.moved(now);
        }
    }

    /// Writes until all is written or the socket takes no more; says whether it took something.
    fn poll_write(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<bool, Error> {
        let taken = self.socket.poll_write(cx, self.session.output(), now)?;
        if taken > 0 {
            self.session.sent(taken, now);
        }
        Ok(taken > 0)
    }

    /// Reads until nothing is left or its turn is over; says whether something came.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        events: &mut Vec<Event>,
    ) -> Result<bool, Error> {
        if self.paused {
            return Ok(false);
        }
        if std::mem::take(&mut self.unread) {
            self.session.receive(&mut self.input, now, events)?;
        }
        let mut has_read = false;
        while !(has_read && self.socket.has_had_its_turn())
            && let Poll::Ready(read) = self.poll_fill(cx)
        {
            read?;
            has_read = true;
            self.session.receive(&mut self.input, now, events)?;
        }
        Ok(has_read)
    }

    /// One read; never 0 bytes.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let missing = self.session.missing(&self.input);
        let read = ready!(self.socket.poll_fill(cx, &mut self.input, missing))?;
        Poll::Ready(match read {
            0 => Err(Error::Closed {
                before_connack: false,
            }),
            _ => Ok(()),
        })
    }

    /// A write failed; the broker may have said why before it closed.
    fn last_words(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        events: &mut Vec<Event>,
        error: Error,
    ) -> Error {
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
