//! The wills of connections that end without a goodbye: another connection to the devices' broker counts them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::message::Qos;
use crate::mqtt::{self, Connection, Event, Subscription, Will};
use crate::sim::bits::Bits;
use crate::sim::device::PLACEHOLDER;
use crate::sim::error::{Error, place};
use crate::sim::settings::Wills;
use crate::sim::task::OwnedTask;

impl Wills {
    /// What a connection leaves with the broker.
    pub(in crate::sim) fn of(&self, connection: u32) -> Will {
        Will {
            topic: self.topic.replace(PLACEHOLDER, &format!("d{connection}")),
            payload: Bytes::from_static(b"gone"),
            qos: Qos::AtLeastOnce,
            retain: false,
            online: None,
        }
    }

    /// Whose will this is.
    fn whose(&self, topic: &[u8]) -> Option<u32> {
        let (before, after) = self.topic.split_once(PLACEHOLDER)?;
        let name = std::str::from_utf8(topic).ok()?;
        let name = name.strip_prefix(before)?.strip_suffix(after)?;
        name.strip_prefix('d')?.parse().ok()
    }
}

/// How often the end is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a report says of them.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct WillReport {
    /// Connections that ended without a DISCONNECT.
    pub killed: u32,
    /// Of those, whose will arrived.
    pub arrived: u64,
    /// Wills of connections that were not killed: the broker took them for lost.
    pub unexpected: u64,
}

#[derive(Debug, Default)]
struct WillLog {
    arrived: Bits,
    last: Option<Instant>,
}

#[derive(Debug)]
pub(in crate::sim) struct WillWatch {
    wills: Wills,
    connections: u32,
    log: Arc<Mutex<WillLog>>,
    task: OwnedTask<mqtt::Error>,
    broker: String,
}

impl WillWatch {
    /// Connects and waits until the broker has taken the subscription.
    pub(in crate::sim) async fn open(
        broker: &mqtt::Config,
        wills: Wills,
        connections: u32,
    ) -> Result<Self, Error> {
        let address = place(broker);
        let failed = |source| Error::Wills {
            broker: address.clone(),
            source,
        };
        let config = mqtt::Config {
            client_id: format!("{}-wills", broker.client_id),
            ..broker.clone()
        };
        let (mut connection, _) = Connection::open(&config).await.map_err(failed)?;
        connection.subscribe(&[Subscription {
            filter: wills.topic.replace(PLACEHOLDER, "+"),
            qos: Qos::AtLeastOnce,
            id: None,
        }]);
        let mut events = Vec::new();
        loop {
            connection.turn(&mut events).await.map_err(failed)?;
            let answer = events.drain(..).find_map(|event| match event {
                Event::Subscribed { refused, .. } => Some(refused),
                _ => None,
            });
            match answer.map(|refused| refused.into_iter().next()) {
                Some(None) => break,
                Some(Some((filter, why))) => {
                    return Err(Error::Subscription {
                        broker: address,
                        filter,
                        why,
                    });
                }
                None => {}
            }
        }
        let log = Arc::new(Mutex::new(WillLog::default()));
        let task = count(connection, wills.clone(), connections, Arc::clone(&log));
        Ok(Self {
            wills,
            connections,
            log,
            task: OwnedTask(tokio::spawn(task)),
            broker: address,
        })
    }

    /// Waits until all that must come are there, or none has come for the settle time. An error when the connection that
    /// counts was lost: nobody knows then.
    pub(in crate::sim) async fn settle(self) -> Result<WillReport, Error> {
        let killed = self.wills.killed.min(self.connections);
        let began = Instant::now();
        loop {
            let report = report(&open(&self.log).arrived, self.connections, killed);
            let last = open(&self.log).last.unwrap_or(began).max(began);
            if report.arrived == u64::from(killed) || last.elapsed() >= self.wills.settle {
                return Ok(report);
            }
            if self.task.0.is_finished() {
                let source = self.task.join().await?;
                let broker = self.broker;
                return Err(Error::Wills { broker, source });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

fn report(arrived: &Bits, connections: u32, killed: u32) -> WillReport {
    let mut expected = Bits::default();
    for number in connections - killed..connections {
        expected.insert(u64::from(number));
    }
    WillReport {
        killed,
        arrived: arrived.and(&expected).count(),
        unexpected: arrived.missing_from(&expected),
    }
}

/// A panic while it is open leaves it readable: each entry is complete in itself.
fn open(log: &Mutex<WillLog>) -> MutexGuard<'_, WillLog> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn count(
    mut connection: Connection,
    wills: Wills,
    connections: u32,
    log: Arc<Mutex<WillLog>>,
) -> mqtt::Error {
    let mut events = Vec::new();
    loop {
        if let Err(error) = connection.turn(&mut events).await {
            return error;
        }
        for event in events.drain(..) {
            let Event::Publish { publish, token } = event else {
                continue;
            };
            // Anybody may publish there: a number that is nobody's must not make the set large.
            let whose = wills.whose(&publish.topic);
            if let Some(number) = whose.filter(|number| *number < connections) {
                let mut log = open(&log);
                log.arrived.insert(u64::from(number));
                log.last = Some(Instant::now());
            }
            token
                .into_iter()
                .for_each(|token| connection.acknowledge(token));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_will_is_known_by_its_topic_and_counts_for_who_was_killed() {
        let wills = Wills {
            topic: "devices/{device}/status".to_owned(),
            killed: 2,
            settle: Duration::from_secs(1),
        };
        let topic = wills.of(12).topic;
        assert_eq!(topic, "devices/d12/status");
        assert_eq!(wills.whose(topic.as_bytes()), Some(12));
        assert_eq!(wills.whose(b"devices/pump/status"), None);
        let mut arrived = Bits::default();
        for number in [3, 9] {
            arrived.insert(number);
        }
        let found = report(&arrived, 10, 2);
        assert_eq!((found.killed, found.arrived, found.unexpected), (2, 1, 1));
    }
}
