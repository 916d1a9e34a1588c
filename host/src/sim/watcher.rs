//! The receiving end: subscribes, acknowledges at once, and books what arrives.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::books::Books;
use super::device::read_stamp;
use super::error::{Error, place};
use super::latency::Latencies;
use super::settings::Watch;
use super::tally::{ArrivalKind, Tally};
use crate::clock::Now;
use crate::message::Qos;
use crate::mqtt::{self, Connection, Event, Subscription};

/// Between two attempts to reconnect.
const RETRY: Duration = Duration::from_millis(200);

/// What the watcher has written down.
#[derive(Debug)]
pub(super) struct WatchLog {
    pub(super) tally: Tally,
    /// Sent to first arrival.
    pub(super) latencies: Latencies,
    span: Option<(Instant, Instant)>,
}

impl WatchLog {
    pub(super) fn new(devices: u32) -> Self {
        Self {
            tally: Tally::new(devices),
            latencies: Latencies::default(),
            span: None,
        }
    }

    /// When the last message came.
    pub(super) fn last_at(&self) -> Option<Instant> {
        self.span.map(|(_, last)| last)
    }

    /// From the first arrival to the last.
    pub(super) fn receiving(&self) -> Duration {
        self.span
            .map(|(first, last)| last - first)
            .unwrap_or_default()
    }

    fn book(&mut self, payload: &[u8], now_us: u64) {
        let Some(stamp) = read_stamp(payload) else {
            self.tally.receive_foreign();
            return;
        };
        if matches!(
            self.tally.receive(stamp.name),
            ArrivalKind::InOrder | ArrivalKind::Overtaken
        ) {
            self.latencies.record(now_us.saturating_sub(stamp.sent_us));
        }
    }

    fn came(&mut self, now: Instant) {
        let first = self.span.map_or(now, |(first, _)| first);
        self.span = Some((first, now));
    }
}

/// The watcher's connection. Its session is kept while it runs, so that a restart of the far broker hides nothing
/// from it, and removed at the end, so that no broker collects messages for it for ever.
#[derive(Debug)]
pub(super) struct Watcher {
    broker: mqtt::Config,
    filter: String,
    books: Arc<Books>,
    connection: Option<Connection>,
    subscribed: bool,
}

impl Watcher {
    /// Connects and waits until the broker has taken the subscription.
    pub(super) async fn open(watch: &Watch, books: Arc<Books>) -> Result<Self, Error> {
        let broker = mqtt::Config {
            clean_start: false,
            ..watch.broker.clone()
        };
        let mut watcher = Self {
            broker,
            filter: watch.filter.clone(),
            books,
            connection: None,
            subscribed: false,
        };
        let mut events = Vec::new();
        let failed = |source| Error::Watcher {
            broker: place(&watch.broker),
            source,
        };
        let mut connection = watcher.connect().await.map_err(failed)?;
        while !watcher.subscribed {
            connection.turn(&mut events).await.map_err(failed)?;
            watcher.book(&mut connection, &mut events)?;
        }
        watcher.connection = Some(connection);
        Ok(watcher)
    }

    /// Books until told to stop.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), Error> {
        loop {
            let driven = tokio::select! {
                driven = self.drive() => driven,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            driven?;
        }
        self.leave().await;
        Ok(())
    }

    async fn connect(&self) -> Result<Connection, mqtt::Error> {
        let (mut connection, _) = Connection::open(&self.broker).await?;
        connection.subscribe(&[Subscription {
            filter: self.filter.clone(),
            qos: Qos::AtLeastOnce,
            id: None,
        }]);
        Ok(connection)
    }

    /// One connection's life; an error only where going on makes no sense.
    async fn drive(&mut self) -> Result<(), Error> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => match self.connect().await {
                Ok(connection) => connection,
                Err(error) => {
                    tracing::debug!(%error, "the watcher cannot reconnect yet");
                    tokio::time::sleep(RETRY).await;
                    return Ok(());
                }
            },
        };
        let mut events = Vec::new();
        loop {
            if let Err(error) = connection.turn(&mut events).await {
                tracing::debug!(%error, "the watcher's connection was lost");
                return self.book(&mut connection, &mut events);
            }
            self.book(&mut connection, &mut events)?;
        }
    }

    fn book(&mut self, connection: &mut Connection, events: &mut Vec<Event>) -> Result<(), Error> {
        let now = Instant::now();
        let now_us = Now::read().wall.0;
        let mut seen = self.books.seen();
        for event in events.drain(..) {
            match event {
                Event::Publish { publish, token } => {
                    seen.book(&publish.payload, now_us);
                    seen.came(now);
                    token
                        .into_iter()
                        .for_each(|token| connection.acknowledge(token));
                }
                Event::Oversize { token, .. } | Event::Unfit { token, .. } => {
                    seen.tally.receive_foreign();
                    token
                        .into_iter()
                        .for_each(|token| connection.acknowledge(token));
                }
                Event::Subscribed { refused, .. } => {
                    if let Some((filter, why)) = refused.into_iter().next() {
                        return Err(Error::Subscription {
                            broker: place(&self.broker),
                            filter,
                            why,
                        });
                    }
                    self.subscribed = true;
                }
                Event::Accepted { .. } | Event::Refused { .. } | Event::Unsubscribed => {}
            }
        }
        Ok(())
    }

    /// Removes the session: a clean start under the same client id. If the broker is away it stays; no harm is
    /// done to the figures.
    async fn leave(self) {
        let clean = mqtt::Config {
            clean_start: true,
            ..self.broker
        };
        match Connection::open(&clean).await {
            Ok((connection, _)) => _ = connection.close().await,
            Err(error) => tracing::debug!(%error, "the watcher's session could not be removed"),
        }
    }
}
