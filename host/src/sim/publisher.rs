//! One sending connection, for all devices or for its portion of them, and its memory of what is not acknowledged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;

use super::books::Books;
use super::crowd::portion::SimPortion;
use super::device::{Fleet, SimulatedMessage};
use super::memory::Unacknowledged;
use super::pace::SteadyRate;
use super::settings::{SimConfig, Until};
use crate::clock::Now;
use crate::message::Qos;
use crate::mqtt::{self, Connection, Error as MqttError, Event, Publish, UnsendablePublish};

/// Messages made between two looks at the socket: enough for one write, few enough to go on reading.
const BURST: usize = 512;
/// Bytes the socket has not taken at which no more are made; without acknowledgements this is the only brake.
const UNSENT_BYTES: usize = 256 * 1024;
/// Longest wait for room without a look whether there is some.
const IDLE: Duration = Duration::from_millis(50);
/// With nothing to do there is nothing to look for: what comes wakes the connection.
const LONG: Duration = Duration::from_secs(3600);
/// Between two attempts to reconnect: a test wants its sender back at once.
const RETRY: Duration = Duration::from_millis(200);
/// The same for each of many: a broker that comes back meets them one after the other.
const RETRY_OF_MANY: Duration = Duration::from_secs(2);

/// What all connections go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SimPhase {
    /// Connections are made and kept; nothing is sent.
    Gather,
    /// Since then they send.
    Send(Instant),
    /// No more messages are made.
    Stop,
}

/// How the sending went, beside what stands in the ledger.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SendingSummary {
    /// From the first message to the last.
    pub sending: Duration,
    /// Connections lost and made again.
    pub reconnects: u64,
    /// Neither acknowledged nor refused when patience ran out.
    pub unanswered: u64,
}

impl SendingSummary {
    /// Another connection's, beside this one's.
    pub(super) fn add(&mut self, other: Self) {
        self.sending = self.sending.max(other.sending);
        self.reconnects += other.reconnects;
        self.unanswered += other.unanswered;
    }
}

#[derive(Debug)]
pub(super) struct Publisher {
    config: Arc<SimConfig>,
    portion: SimPortion,
    broker: mqtt::Config,
    books: Arc<Books>,
    phase: watch::Receiver<SimPhase>,
    connection: Option<Connection>,
    fleet: Fleet,
    pace: SteadyRate,
    memory: Unacknowledged,
    made: u64,
    reconnects: u64,
    /// When all began to send, once they do.
    started: Option<Instant>,
    last_made: Option<Instant>,
    /// Set when no more are made: until then the last answers are waited for.
    deadline: Option<Instant>,
}

impl Publisher {
    /// Of `portion` of the devices; [`Publisher::open`] connects it.
    pub(super) fn new(
        config: &Arc<SimConfig>,
        portion: SimPortion,
        books: &Arc<Books>,
        phase: watch::Receiver<SimPhase>,
    ) -> Self {
        let fleet = Fleet::of(
            portion,
            config.devices,
            &config.topic,
            config.broken_every,
            config.seed,
        );
        Self {
            broker: broker(config, portion),
            pace: SteadyRate::of(portion, config.rate),
            config: Arc::clone(config),
            portion,
            books: Arc::clone(books),
            phase,
            connection: None,
            fleet,
            memory: Unacknowledged::default(),
            made: 0,
            reconnects: 0,
            started: None,
            last_made: None,
            deadline: None,
        }
    }

    /// Connects; nothing is sent yet. After an error [`Publisher::run`] tries again.
    pub(super) async fn open(&mut self) -> Result<(), MqttError> {
        let (connection, _) = Connection::open(&self.broker).await?;
        self.connection = Some(connection);
        Ok(())
    }

    /// Waits until all are told to send, sends until the config or the caller says stop, then waits for the last answers.
    pub(super) async fn run(mut self) -> SendingSummary {
        while let Some(mut connection) = self.connect().await {
            self.memory.rewind();
            match self.drive(&mut connection).await {
                Ok(()) => {
                    if !self.is_killed() {
                        connection.close().await;
                    }
                    break;
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection of the devices was lost");
                    self.reconnects += 1;
                }
            }
        }
        let span = self.started.zip(self.last_made);
        SendingSummary {
            sending: span.map(|(first, last)| last - first).unwrap_or_default(),
            reconnects: self.reconnects,
            unanswered: self.memory.open() as u64,
        }
    }

    /// Whether it ends without a goodbye, so that its will speaks.
    fn is_killed(&self) -> bool {
        let wills = self.config.connections.wills.as_ref();
        wills
            .is_some_and(|wills| self.portion.index >= self.portion.of.saturating_sub(wills.killed))
    }

    /// The connection from the start, or a new one; `None` when patience has run out.
    async fn connect(&mut self) -> Option<Connection> {
        if let Some(connection) = self.connection.take() {
            return Some(connection);
        }
        while !self.is_over() {
            match Connection::open(&self.broker).await {
                Ok((connection, _)) => return Some(connection),
                Err(error) => tracing::debug!(%error, "the devices cannot reconnect yet"),
            }
            let many = self.portion.of > 1;
            tokio::time::sleep(if many { RETRY_OF_MANY } else { RETRY }).await;
        }
        None
    }

    async fn drive(&mut self, connection: &mut Connection) -> Result<(), MqttError> {
        let mut events = Vec::new();
        loop {
            self.begin();
            self.fill(connection);
            if self.is_over() && connection.unsent() == 0 {
                return Ok(());
            }
            let wake = tokio::time::Instant::from_std(self.wake_at(connection));
            tokio::select! {
                turned = connection.turn(&mut events) => turned?,
                () = tokio::time::sleep_until(wake) => {}
                _ = self.phase.changed() => {}
            }
            self.book(&mut events);
        }
    }

    /// Notes when all began to send.
    fn begin(&mut self) {
        if let SimPhase::Send(since) = *self.phase.borrow_and_update() {
            self.started = Some(since);
        }
    }

    /// Nothing left to do: no more are made and none is open, or patience has run out.
    fn is_over(&mut self) -> bool {
        if self.deadline.is_none() && self.has_ended() {
            self.deadline = Some(Instant::now() + self.config.patience);
        }
        self.deadline
            .is_some_and(|deadline| self.memory.open() == 0 || Instant::now() >= deadline)
    }

    fn has_ended(&self) -> bool {
        let reached = match self.config.until {
            Until::Elapsed(time) => self
                .started
                .is_some_and(|started| started.elapsed() >= time),
            Until::Count(count) => self.made >= self.portion.of_count(count),
            Until::Told => false,
        };
        reached || *self.phase.borrow() == SimPhase::Stop
    }

    fn wake_at(&self, connection: &Connection) -> Instant {
        let now = Instant::now();
        if let Some(deadline) = self.deadline {
            return if self.memory.open() == 0 {
                now + IDLE
            } else {
                deadline
            };
        }
        let Some(started) = self.started else {
            return now + LONG;
        };
        if !self.has_room(connection) {
            return now + IDLE;
        }
        let due = match self.config.rate {
            0 => now + IDLE,
            _ => started + self.pace.next_at(),
        };
        match self.config.until {
            Until::Elapsed(time) => due.min(started + time),
            Until::Count(_) | Until::Told => due,
        }
    }

    fn has_room(&self, connection: &Connection) -> bool {
        connection.unsent() < UNSENT_BYTES
            && (self.config.qos == Qos::AtMostOnce || connection.room() > 0)
    }

    /// Hands over what is open from before and what is due.
    fn fill(&mut self, connection: &mut Connection) {
        let mut due = self.due();
        for _ in 0..BURST {
            if !self.has_room(connection) {
                break;
            }
            if self.memory.next().is_none() {
                if due == 0 {
                    break;
                }
                due -= 1;
                self.make();
            }
            if !self.hand_over(connection) {
                break;
            }
        }
    }

    /// How many messages are to be made now.
    fn due(&mut self) -> u64 {
        let Some(started) = self.started.filter(|_| !self.has_ended()) else {
            return 0;
        };
        let due = self.pace.due(started.elapsed());
        match self.config.until {
            Until::Count(count) => due.min(self.portion.of_count(count) - self.made),
            Until::Elapsed(_) | Until::Told => due,
        }
    }

    fn make(&mut self) {
        let Some(made) = self.fleet.next(Now::read().wall.0) else {
            return;
        };
        self.pace.made();
        self.made += 1;
        self.last_made = Some(Instant::now());
        self.books.ledger().send(made.name, made.kind);
        self.memory.keep(made);
    }

    /// Gives the next one to the connection; `false` when there is none or it has no room.
    fn hand_over(&mut self, connection: &mut Connection) -> bool {
        let Some(next) = self.memory.next() else {
            return false;
        };
        let token = next.token;
        let again = next.again;
        match connection.publish(&publish(next.made, self.config.qos), token) {
            Ok(()) if self.config.qos == Qos::AtMostOnce => self.accept(token),
            Ok(()) => {
                self.memory.handed();
                if again {
                    self.books.ledger().resend();
                }
            }
            Err(UnsendablePublish::WindowFull) => return false,
            Err(error) => {
                tracing::warn!(%error, "a reading could not be sent");
                self.refuse(token);
            }
        }
        true
    }

    fn book(&mut self, events: &mut Vec<Event>) {
        for event in events.drain(..) {
            match event {
                Event::Accepted { token } => self.accept(token),
                Event::Refused {
                    token,
                    code,
                    reason,
                    ..
                } => {
                    tracing::warn!(code, reason, "the broker refused a reading");
                    self.refuse(token);
                }
                Event::Publish { .. }
                | Event::Oversize { .. }
                | Event::Unfit { .. }
                | Event::Subscribed { .. }
                | Event::Unsubscribed => {}
            }
        }
    }

    fn accept(&mut self, token: u64) {
        if let Some(made) = self.memory.settle(token) {
            self.books.ledger().accept(made.name, made.kind);
        }
    }

    fn refuse(&mut self, token: u64) {
        if self.memory.settle(token).is_some() {
            self.books.ledger().refuse();
        }
    }
}

/// The broker as this connection is known to it, with its will.
fn broker(config: &SimConfig, portion: SimPortion) -> mqtt::Config {
    let mut broker = config.broker.clone();
    if portion.of > 1 {
        broker.client_id = format!("{}-{}", broker.client_id, portion.index);
    }
    let wills = config.connections.wills.as_ref();
    broker.will = wills.map(|wills| wills.of(portion.index));
    broker
}

/// Counts references, copies nothing.
fn publish(made: &SimulatedMessage, qos: Qos) -> Publish {
    Publish {
        topic: made.topic.clone(),
        payload: made.payload.clone(),
        headers: Bytes::new(),
        qos,
        retain: false,
        ..Publish::default()
    }
}
