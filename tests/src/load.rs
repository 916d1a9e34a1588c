//! Virtual devices: numbered readings at QoS 1 over one connection, at a rate, sent again until acknowledged.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow};

use crate::client::{Client, Introduction, Packet};
use crate::tally::{Sent, device_name};

/// What to send.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Number of devices; messages go round.
    pub devices: usize,
    /// Messages a second over all devices; `None`: as fast as the broker acknowledges.
    pub rate: Option<u32>,
    /// Ends after so many messages; `None`: when stopped.
    pub total: Option<usize>,
    /// Unacknowledged messages at most.
    pub window: usize,
    /// Start and end of the topic, the device's name goes between.
    pub topic: (&'static str, &'static str),
    /// Temperature of reading `number`.
    pub temperature: fn(u64) -> f64,
    /// Random characters at the end of each reading, which nothing makes smaller.
    pub padding: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            devices: 10,
            rate: Some(1_000),
            total: None,
            window: 1_000,
            topic: ("devices/", "/telemetry"),
            temperature,
            padding: 0,
        }
    }
}

/// Temperature of reading `number` of a device: two of three are over the 20 degrees that `examples/convert` keeps.
pub fn temperature(number: u64) -> f64 {
    [25.5, 21.25, 12.5][(number % 3) as usize]
}

/// Whether `examples/convert` lets reading `number` through.
pub fn is_warm(number: u64) -> bool {
    temperature(number) > 20.0
}

/// Microseconds since 1970.
pub fn now_us() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the test machine's clock is set");
    u64::try_from(since.as_micros()).expect("this century")
}

/// Writes the reading that `examples/convert` documents into `to`.
pub fn write_reading(to: &mut String, device: &str, number: u64, now_us: u64, temperature: f64) {
    to.clear();
    write!(
        to,
        r#"{{"device":"{device}","seq":{number},"ts":{now_us},"temperature":{temperature},"humidity":40.5,"battery":3.71,"status":"ok","fw":"1.4.2"}}"#
    )
    .expect("writing to a string cannot fail");
}

/// Running devices.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    state: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    sent: AtomicU64,
    acknowledged: AtomicU64,
    record: Mutex<Vec<bool>>,
    devices: usize,
}

impl Load {
    /// Starts the devices.
    pub fn start(broker: SocketAddr, plan: Plan) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let state = Arc::new(Shared {
            sent: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            record: Mutex::default(),
            devices: plan.devices,
        });
        let thread = {
            let (stop, state) = (Arc::clone(&stop), Arc::clone(&state));
            std::thread::spawn(move || Sender::new(plan, state, stop).run(broker))
        };
        Self {
            stop,
            state,
            thread: Some(thread),
        }
    }

    /// Messages the broker has acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.state.acknowledged.load(Ordering::Relaxed)
    }

    /// Ends the load once everything sent is acknowledged.
    pub fn stop(mut self) -> Result<Sent> {
        self.stop.store(true, Ordering::Relaxed);
        self.join()
    }

    /// Waits for the end of a load with a total.
    pub fn wait(mut self) -> Result<Sent> {
        self.join()
    }

    fn join(&mut self) -> Result<Sent> {
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| anyhow!("the load panicked"))?;
        }
        let acknowledged = self
            .state
            .record
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        Ok(Sent {
            devices: self.state.devices,
            acknowledged,
        })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// How long a stopped load tries to get its last acknowledgements.
const LAST_CALL: Duration = Duration::from_secs(30);
/// Pause before dialling again, and pace of a load with a rate.
const TICK: Duration = Duration::from_millis(1);

struct Sender {
    plan: Plan,
    state: Arc<Shared>,
    stop: Arc<AtomicBool>,
    names: Vec<String>,
    topics: Vec<String>,
    /// Index and packet id of what is sent and not acknowledged, in order.
    pending: VecDeque<(usize, u16)>,
    next: usize,
    next_id: u16,
    started: Instant,
    stopped: Option<Instant>,
    payload: String,
}

impl Sender {
    fn new(plan: Plan, state: Arc<Shared>, stop: Arc<AtomicBool>) -> Self {
        let names: Vec<_> = (0..plan.devices).map(device_name).collect();
        let topics = names
            .iter()
            .map(|name| format!("{}{name}{}", plan.topic.0, plan.topic.1))
            .collect();
        Self {
            plan,
            state,
            stop,
            names,
            topics,
            pending: VecDeque::new(),
            next: 0,
            next_id: 0,
            started: Instant::now(),
            stopped: None,
            payload: String::new(),
        }
    }

    fn run(mut self, broker: SocketAddr) {
        let introduction = Introduction {
            id: format!("devices-{:08x}", fastrand::u32(..)),
            clean: true,
        };
        while !self.is_done() {
            // A broker that is away is part of the test: what is not acknowledged is sent again when it is back.
            match Client::open(broker, &introduction) {
                Ok(mut client) => drop(self.serve(&mut client)),
                Err(_) => std::thread::park_timeout(20 * TICK),
            }
        }
    }

    fn is_done(&mut self) -> bool {
        let enough = self.plan.total.is_some_and(|total| self.next >= total);
        if !enough && !self.stop.load(Ordering::Relaxed) {
            return false;
        }
        let stopped = *self.stopped.get_or_insert_with(Instant::now);
        self.pending.is_empty() || stopped.elapsed() > LAST_CALL
    }

    fn serve(&mut self, client: &mut Client) -> std::io::Result<()> {
        for place in 0..self.pending.len() {
            let (index, id) = self.pending[place];
            self.put(client, index, id, true);
        }
        client.flush()?;
        while !self.is_done() {
            self.fill(client);
            client.flush()?;
            let full = self.pending.len() >= self.plan.window;
            self.drain(
                client,
                if full || self.stopped.is_some() {
                    Some(20 * TICK)
                } else {
                    None
                },
            )?;
            if self.plan.rate.is_some() {
                std::thread::park_timeout(TICK);
            }
        }
        client.flush()
    }

    fn fill(&mut self, client: &mut Client) {
        let due = match self.plan.rate {
            Some(rate) => (self.started.elapsed().as_secs_f64() * f64::from(rate)) as usize,
            None => usize::MAX,
        };
        let end = due.min(self.plan.total.unwrap_or(usize::MAX));
        while self.stopped.is_none() && self.next < end && self.pending.len() < self.plan.window {
            self.next_id = self.next_id.checked_add(1).unwrap_or(1);
            let (index, id) = (self.next, self.next_id);
            self.put(client, index, id, false);
            self.pending.push_back((index, id));
            self.next += 1;
        }
        self.state.sent.store(self.next as u64, Ordering::Relaxed);
    }

    fn put(&mut self, client: &mut Client, index: usize, id: u16, again: bool) {
        let device = index % self.plan.devices;
        let number = (index / self.plan.devices) as u64;
        write_reading(
            &mut self.payload,
            &self.names[device],
            number,
            now_us(),
            (self.plan.temperature)(number),
        );
        if self.plan.padding > 0 {
            self.payload.pop();
            self.payload.push_str(r#","pad":""#);
            self.payload
                .extend(std::iter::repeat_with(fastrand::alphanumeric).take(self.plan.padding));
            self.payload.push_str(r#""}"#);
        }
        client.publish(&self.topics[device], self.payload.as_bytes(), id, again);
    }

    fn drain(&mut self, client: &mut Client, patience: Option<Duration>) -> std::io::Result<()> {
        let mut record = self
            .state
            .record
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        record.resize(self.next, false);
        let mut packet = client.receive(patience.filter(|_| !self.pending.is_empty()))?;
        while let Some(arrived) = packet {
            if let Packet::Acknowledged(id) = arrived
                && let Some(place) = self.pending.iter().position(|(_, pending)| *pending == id)
            {
                let (index, _) = self
                    .pending
                    .remove(place)
                    .expect("the place was just found");
                record[index] = true;
                self.state.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            packet = client.buffered()?;
        }
        Ok(())
    }
}
