//! The sending end: one connection for all devices, and a memory of what is not acknowledged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;

use super::device::{Fleet, SimulatedMessage};
use super::memory::Unacknowledged;
use super::pace::SteadyRate;
use super::{Books, Error, SimConfig, Until, place};
use crate::clock::Now;
use crate::message::Qos;
use crate::mqtt::{Connection, Error as MqttError, Event, Publish, UnsendablePublish};

/// Messages made between two looks at the socket: enough for one write, few enough to go on reading.
const BURST: usize = 512;
/// Bytes the socket has not taken at which no more are made; without acknowledgements this is the only brake.
const UNSENT_BYTES: usize = 256 * 1024;
/// Longest wait without a look at the wish to stop.
const IDLE: Duration = Duration::from_millis(50);
/// Between two attempts to reconnect: a test wants its sender back at once.
const RETRY: Duration = Duration::from_millis(200);

/// How the sending went, beside what stands in the ledger.
#[derive(Clone, Copy, Debug)]
pub(super) struct SendingSummary {
    /// From the first message to the last.
    pub sending: Duration,
    /// Connections lost and made again.
    pub reconnects: u64,
    /// Neither acknowledged nor refused when patience ran out.
    pub unanswered: u64,
}

#[derive(Debug)]
pub(super) struct Publisher {
    config: SimConfig,
    books: Arc<Books>,
    stop: watch::Receiver<bool>,
    connection: Option<Connection>,
    fleet: Fleet,
    pace: SteadyRate,
    memory: Unacknowledged,
    made: u64,
    reconnects: u64,
    started: Instant,
    last_made: Instant,
    /// Set when no more are made: until then the last answers are waited for.
    deadline: Option<Instant>,
}

impl Publisher {
    /// Connects; nothing is sent yet.
    pub(super) async fn open(
        config: SimConfig,
        books: Arc<Books>,
        stop: watch::Receiver<bool>,
    ) -> Result<Self, Error> {
        let opened = Connection::open(&config.broker).await;
        let (connection, _) = opened.map_err(|source| Error::Devices {
            broker: place(&config.broker),
            source,
        })?;
        let fleet = Fleet::new(
            config.devices,
            &config.topic,
            config.broken_every,
            config.seed,
        );
        let now = Instant::now();
        Ok(Self {
            pace: SteadyRate::new(config.rate),
            config,
            books,
            stop,
            connection: Some(connection),
            fleet,
            memory: Unacknowledged::default(),
            made: 0,
            reconnects: 0,
            started: now,
            last_made: now,
            deadline: None,
        })
    }

    /// Sends until the config or the caller says stop, then waits for the last answers.
    pub(super) async fn run(mut self) -> SendingSummary {
        self.started = Instant::now();
        self.last_made = self.started;
        while let Some(mut connection) = self.connect().await {
            self.memory.rewind();
            match self.drive(&mut connection).await {
                Ok(()) => {
                    connection.close().await;
                    break;
                }
                Err(error) => {
                    tracing::debug!(%error, "the devices' connection was lost");
                    self.reconnects += 1;
                }
            }
        }
        SendingSummary {
            sending: self.last_made - self.started,
            reconnects: self.reconnects,
            unanswered: self.memory.open() as u64,
        }
    }

    /// The connection from the start, or a new one; `None` when patience has run out.
    async fn connect(&mut self) -> Option<Connection> {
        if let Some(connection) = self.connection.take() {
            return Some(connection);
        }
        while !self.is_over() {
            match Connection::open(&self.config.broker).await {
                Ok((connection, _)) => return Some(connection),
                Err(error) => tracing::debug!(%error, "the devices cannot reconnect yet"),
            }
            tokio::time::sleep(RETRY).await;
        }
        None
    }

    async fn drive(&mut self, connection: &mut Connection) -> Result<(), MqttError> {
        let mut events = Vec::new();
        loop {
            self.fill(connection);
            if self.is_over() && connection.unsent() == 0 {
                return Ok(());
            }
            let wake = tokio::time::Instant::from_std(self.wake_at(connection));
            tokio::select! {
                turned = connection.turn(&mut events) => turned?,
                () = tokio::time::sleep_until(wake) => {}
            }
            self.book(&mut events);
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
            Until::Elapsed(time) => self.started.elapsed() >= time,
            Until::Count(count) => self.made >= count,
            Until::Told => false,
        };
        reached || *self.stop.borrow()
    }

    fn wake_at(&self, connection: &Connection) -> Instant {
        let idle = Instant::now() + IDLE;
        if self.deadline.is_some() || self.config.rate == 0 || !self.has_room(connection) {
            return idle;
        }
        idle.min(self.started + self.pace.next_at())
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

    fn due(&mut self) -> u64 {
        if self.has_ended() {
            return 0;
        }
        let due = self.pace.due(self.started.elapsed());
        match self.config.until {
            Until::Count(count) => due.min(count - self.made),
            Until::Elapsed(_) | Until::Told => due,
        }
    }

    fn make(&mut self) {
        let Some(made) = self.fleet.next(Now::read().wall.0) else {
            return;
        };
        self.pace.made();
        self.made += 1;
        self.last_made = Instant::now();
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
