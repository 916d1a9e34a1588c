//! The other end: a subscriber with a kept session that counts what comes out.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde::Deserialize;

use crate::client::{Client, Introduction, Packet};
use crate::load::now_us;
use crate::tally::Tally;

/// A message as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Topic.
    pub topic: String,
    /// Body.
    pub payload: Vec<u8>,
    /// QoS level.
    pub level: u8,
    /// RETAIN flag.
    pub retain: bool,
}

impl Arrival {
    /// The body as JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.payload)
            .with_context(|| format!("no JSON: {}", String::from_utf8_lossy(&self.payload)))
    }
}

/// How many arrivals are kept whole, from the first on.
const KEPT: usize = 2_000;

#[derive(Debug, Default)]
struct Seen {
    tally: Tally,
    arrivals: Vec<Arrival>,
    total: u64,
    delays_us: Vec<u32>,
}

/// A running subscriber.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    thread: Option<JoinHandle<()>>,
}

/// What is read of a payload. Messages without these are kept and counted, not tallied.
#[derive(Deserialize)]
struct Numbered<'a> {
    #[serde(borrow)]
    device: &'a str,
    seq: u64,
    #[serde(default)]
    ts: u64,
    /// With a payload: this is an envelope.
    boot: Option<u64>,
    #[serde(borrow)]
    payload: Option<Box<Self>>,
}

/// What the guest `count` makes of a payload.
#[derive(Deserialize)]
struct Counted<'a> {
    #[serde(borrow)]
    of: Cow<'a, str>,
}

impl Watch {
    /// Subscribes to `filter` at QoS 1 and returns once the subscription stands. Over a restart of the broker the
    /// session is taken up again.
    pub fn start(broker: SocketAddr, filter: &str) -> Result<Self> {
        let introduction = Introduction {
            id: format!("watch-{:08x}", fastrand::u32(..)),
            clean: false,
        };
        let client = subscribed(broker, &introduction, filter)
            .with_context(|| format!("cannot subscribe to `{filter}` at {broker}"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let thread = {
            let (stop, seen, filter) = (Arc::clone(&stop), Arc::clone(&seen), filter.to_owned());
            let session = Session {
                broker,
                introduction,
                filter,
            };
            std::thread::spawn(move || session.follow(client, &stop, &seen))
        };
        Ok(Self {
            stop,
            seen,
            thread: Some(thread),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tally so far.
    pub fn tally(&self) -> Tally {
        self.lock().tally.clone()
    }

    /// Number of different numbered messages so far.
    pub fn count(&self) -> u64 {
        self.lock().tally.count()
    }

    /// How many arrived a second time so far, and how many of them under the id they had (see [`Tally::again`]).
    pub fn doubles(&self) -> (u64, u64) {
        let seen = self.lock();
        (seen.tally.doubled(), seen.tally.again())
    }

    /// Number of arrivals so far, numbered or not, each time counted.
    pub fn total(&self) -> u64 {
        self.lock().total
    }

    /// The first arrivals, whole.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.lock().arrivals.clone()
    }

    /// Delays from a message's `ts` to its arrival in microseconds, and forgets them.
    pub fn take_delays_us(&self) -> Vec<u32> {
        std::mem::take(&mut self.lock().delays_us)
    }

    /// Ends the subscriber.
    pub fn stop(mut self) -> Result<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| anyhow!("the watch panicked"))?;
        }
        Ok(self.tally())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn subscribed(
    broker: SocketAddr,
    introduction: &Introduction,
    filter: &str,
) -> std::io::Result<Client> {
    let mut client = Client::open(broker, introduction)?;
    if !client.session_present() {
        client.subscribe(filter, 1)?;
    }
    Ok(client)
}

/// What it takes to subscribe again.
struct Session {
    broker: SocketAddr,
    introduction: Introduction,
    filter: String,
}

impl Session {
    fn follow(self, mut client: Client, stop: &AtomicBool, seen: &Mutex<Seen>) {
        while !stop.load(Ordering::Relaxed) {
            if take(&mut client, seen).is_ok() {
                continue;
            }
            // The broker is away: that is part of the test. Dial until it is back.
            match subscribed(self.broker, &self.introduction, &self.filter) {
                Ok(again) => client = again,
                Err(_) => std::thread::park_timeout(Duration::from_millis(20)),
            }
        }
        // The session ends with the watch: the broker would go on queueing for it. One that is away has none to end.
        let _ = client.close();
        let _ = Client::open(
            self.broker,
            &Introduction {
                clean: true,
                ..self.introduction
            },
        )
        .and_then(Client::close);
    }
}

/// One burst: waits for a packet, takes all that is there, acknowledges it in one write.
fn take(client: &mut Client, seen: &Mutex<Seen>) -> std::io::Result<()> {
    let mut packet = client.receive(Some(Duration::from_millis(50)))?;
    if packet.is_none() {
        return Ok(());
    }
    let now = now_us();
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    while let Some(arrived) = packet {
        if let Packet::Publish {
            topic,
            payload,
            level,
            retain,
            id,
            ..
        } = arrived
        {
            seen.note(
                Arrival {
                    topic,
                    payload,
                    level,
                    retain,
                },
                now,
            );
            if level == 1 {
                client.acknowledge(id);
            }
        }
        packet = client.buffered()?;
    }
    drop(seen);
    client.flush()
}

impl Seen {
    fn note(&mut self, arrival: Arrival, now_us: u64) {
        self.total += 1;
        self.note_number(&arrival.payload, now_us);
        if self.arrivals.len() < KEPT {
            self.arrivals.push(arrival);
        }
    }

    fn note_number(&mut self, payload: &[u8], now_us: u64) {
        if let Ok(numbered) = serde_json::from_slice::<Numbered<'_>>(payload) {
            let sent_us = match (numbered.boot, &numbered.payload) {
                (Some(boot), Some(inner)) => {
                    self.tally
                        .note_as(inner.device, inner.seq, (boot, numbered.seq));
                    inner.ts
                }
                _ => {
                    self.tally.note(numbered.device, numbered.seq);
                    numbered.ts
                }
            };
            self.delays_us
                .push(u32::try_from(now_us.saturating_sub(sent_us)).unwrap_or(u32::MAX));
        } else if let Ok(counted) = serde_json::from_slice::<Counted<'_>>(payload) {
            self.note_number(counted.of.as_bytes(), now_us);
        }
    }
}
