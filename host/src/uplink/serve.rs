//! One connection's life: pull, send, accept.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use prometheus::IntCounter;
use tokio::sync::{Notify, watch};
use tokio::task::JoinError;

use super::metrics::{Meters, level};
use super::pull::{Path, Pull, join, split};
use super::{Config, Error, Metrics};
use crate::clock::Now;
use crate::message::{Backlog, Marks, Qos};
use crate::mqtt::{Causes, Connection, Ended, Established, Event, Publish, Stop, Unsendable};

/// Messages one queue sends before the next one may: small, so that an alarm waits for few others.
const QUANTUM: usize = 32;

/// Bytes that wait for the socket at which no more are added: some of its buffers, so that it never runs dry.
const UNSENT_BYTES: usize = 256 << 10;

/// Round trip of the window warning.
const ROUND_TRIP_SECONDS: f64 = 0.05;

/// Pause before the disk is asked again for what it did not have.
const DISK_RETRY: Duration = Duration::from_secs(1);

/// What a packet has beside topic, headers and payload, at most: header, length, packet id.
const PACKET_OVERHEAD: usize = 16;

/// Why a connection is no longer used.
pub(super) enum Parting {
    /// It is over; dial again.
    Lost(Ended),
    /// The uplink itself cannot go on.
    Broken(Error),
}

impl From<Ended> for Parting {
    fn from(ended: Ended) -> Self {
        Self::Lost(ended)
    }
}

/// An uplink, over all its connections.
pub(super) struct Uplink {
    name: Arc<str>,
    backlog: Arc<dyn Backlog>,
    ready: Arc<Notify>,
    pulls: Vec<Pull>,
    forwarded: Vec<IntCounter>,
    meters: Meters,
    qos: Qos,
    max_packet_bytes: usize,
    window: u16,
    /// Of the connection in use.
    level: Qos,
    retain_available: bool,
    /// The queue that sends first in the next round.
    turn: usize,
    said: Said,
}

/// What was said in the log and need not be said again: the window once, a refusal once a connection.
#[derive(Default)]
struct Said {
    window: bool,
    limits: bool,
    refusal: bool,
}

impl Uplink {
    pub(super) fn new(config: &Config, backlog: Arc<dyn Backlog>, metrics: &Metrics) -> Self {
        Self {
            name: Arc::clone(&config.name),
            ready: backlog.ready(),
            pulls: config.drains.iter().map(|drain| Pull::new(drain.queue, Arc::clone(&backlog))).collect(),
            forwarded: config.drains.iter().map(|drain| metrics.forwarded(&config.name, &drain.class)).collect(),
            backlog,
            meters: metrics.of(&config.name),
            qos: config.qos,
            max_packet_bytes: usize::try_from(config.max_packet_bytes).unwrap_or(usize::MAX),
            window: config.mqtt.inflight,
            level: config.qos,
            retain_available: true,
            turn: 0,
            said: Said::default(),
        }
    }

    /// Uses a connection until it is lost (the error) or the uplink may leave.
    pub(super) async fn serve(
        &mut self,
        mut connection: Connection,
        established: &Established,
        stop: &mut watch::Receiver<Stop>,
    ) -> Result<(), Parting> {
        self.begin(established);
        let ended = self.exchange(&mut connection, stop).await;
        self.backlog.link(false);
        for pull in &mut self.pulls {
            pull.rewind();
        }
        self.meters.inflight.set(0);
        if !matches!(ended, Ok(Stop::Now) | Err(Parting::Lost(Ended::Link(_)))) {
            connection.close().await;
        }
        ended.map(|_| ())
    }

    fn begin(&mut self, established: &Established) {
        let Established { receive_maximum, retain_available, maximum_qos, .. } = *established;
        self.retain_available = retain_available;
        self.level = self.qos.min(maximum_qos);
        self.said.refusal = false;
        let window = self.window.min(receive_maximum);
        self.meters.inflight_capacity.set(i64::from(window));
        if receive_maximum < self.window && !std::mem::replace(&mut self.said.window, true) {
            let rate = (f64::from(receive_maximum) / ROUND_TRIP_SECONDS).round();
            tracing::warn!(uplink = %self.name, receive_maximum, configured = self.window,
                "the broker takes fewer messages in flight than configured: at 50 ms round trip that is {rate} msg/s at most");
        }
        if (self.level < self.qos || !retain_available) && !std::mem::replace(&mut self.said.limits, true) {
            tracing::warn!(uplink = %self.name, maximum_qos = self.level as u8, retain_available,
                "the broker does less than configured: messages go out with what it can do");
        }
        for pull in &mut self.pulls {
            pull.rewind();
        }
        self.backlog.link(true);
    }

    /// Turns until something ends it; [`Stop::Drain`] when all that lay in RAM is accepted.
    async fn exchange(&mut self, connection: &mut Connection, stop: &mut watch::Receiver<Stop>) -> Result<Stop, Parting> {
        let ready = Arc::clone(&self.ready);
        let mut events = Vec::new();
        let mut retry_at = None;
        loop {
            let mode = *stop.borrow_and_update();
            if mode == Stop::Now {
                return Ok(mode);
            }
            self.retry_disk(&mut retry_at);
            // Before the fetch: what is appended after it rings.
            let rung = ready.notified();
            self.fill(connection, mode);
            self.forward();
            if mode == Stop::Drain && self.pulls.iter().all(Pull::is_idle) {
                return Ok(mode);
            }
            let open = self.has_room(connection);
            tokio::select! {
                biased;
                read = any_read(&mut self.pulls) => {
                    read.map_err(|cause| Parting::Broken(Error::Read { uplink: Arc::clone(&self.name), cause }))?;
                }
                turned = connection.turn(&mut events) => {
                    let settled = self.settle(&mut events, connection.unsent() == 0);
                    turned.map_err(Ended::from)?;
                    settled?;
                }
                () = rung, if open => {}
                changed = stop.changed() => if changed.is_err() {
                    return Ok(Stop::Now);
                },
                () = sleep_until(retry_at), if retry_at.is_some() => {}
            }
        }
    }

    /// Asks the disk again, some time after it did not have what it should have had.
    fn retry_disk(&mut self, at: &mut Option<Instant>) {
        if !self.pulls.iter().any(Pull::is_stuck) {
            *at = None;
            return;
        }
        let now = Instant::now();
        if *at.get_or_insert(now + DISK_RETRY) <= now {
            self.pulls.iter_mut().for_each(Pull::retry);
            *at = None;
        }
    }

    fn has_room(&self, connection: &Connection) -> bool {
        connection.unsent() < UNSENT_BYTES && (self.level == Qos::AtMostOnce || connection.room() > 0)
    }

    /// Sends what fits, the queues in turn.
    fn fill(&mut self, connection: &mut Connection, mode: Stop) {
        // QoS 0 has no acknowledgement: it counts as accepted when the socket has taken all of it.
        if self.level == Qos::AtMostOnce && connection.unsent() > 0 {
            return;
        }
        let mut idle_rounds = 0;
        while idle_rounds < self.pulls.len() {
            let index = self.turn;
            self.turn = (index + 1) % self.pulls.len();
            self.pulls[index].refill(mode == Stop::Run);
            idle_rounds += 1;
            for _ in 0..QUANTUM {
                if !self.has_room(connection) {
                    return;
                }
                if !self.send(index, connection) {
                    break;
                }
                idle_rounds = 0;
            }
        }
    }

    /// Sends the next message of a queue; false when there is none.
    fn send(&mut self, index: usize, connection: &mut Connection) -> bool {
        let pull = &mut self.pulls[index];
        let Some(message) = pull.next() else { return false };
        let token = pull.token(index);
        let bytes = message.topic.len() + message.headers.len() + message.payload.len() + PACKET_OVERHEAD;
        let publish = Publish {
            topic: message.topic.clone(),
            payload: message.payload.clone(),
            headers: message.headers.clone(),
            qos: self.level,
            retain: self.retain_available && message.marks.has(Marks::RETAIN),
            duplicate: false,
        };
        let sent = if bytes > self.max_packet_bytes {
            let limit = self.max_packet_bytes;
            Err(format!("packet of about {bytes} bytes is over the limit of {limit} (`max_packet_bytes`)"))
        } else {
            match connection.publish(&publish, token) {
                Err(Unsendable::WindowFull) => return false,
                sent => sent.map_err(|problem| Causes(&problem).to_string()),
            }
        };
        pull.launch();
        if let Err(detail) = sent {
            self.refuse(token, detail);
        }
        true
    }

    /// Takes what upstream said; `taken` says that the socket has taken everything.
    fn settle(&mut self, events: &mut Vec<Event>, taken: bool) -> Result<(), Ended> {
        if events.is_empty() && self.level != Qos::AtMostOnce {
            return Ok(());
        }
        let now = Now::read();
        let mut busy = None;
        for event in events.drain(..) {
            match event {
                Event::Accepted { token } => self.accept(token, now),
                Event::Refused { token, reason, permanent: true, .. } => self.refuse(token, reason),
                Event::Refused { reason, permanent: false, .. } => busy = Some(reason),
                Event::Publish { .. } | Event::Oversize { .. } | Event::Subscribed { .. } => {}
            }
        }
        if taken && self.level == Qos::AtMostOnce {
            for index in 0..self.pulls.len() {
                for number in self.pulls[index].waiting() {
                    self.accept(join(index, number), now);
                }
            }
        }
        self.forward();
        busy.map_or(Ok(()), |reason| Err(Ended::Busy(reason)))
    }

    fn accept(&mut self, token: u64, now: Now) {
        let (index, number) = split(token);
        let Some((arrived_us, path)) = self.pulls.get_mut(index).and_then(|pull| pull.accepted(number)) else { return };
        // After a start of the machine the monotonic clock began anew: such a message says nothing.
        let Some(time) = now.uptime_us.checked_sub(arrived_us) else { return };
        let histogram = if path == Path::Online { &self.meters.online } else { &self.meters.backlog };
        histogram.observe(Duration::from_micros(time).as_secs_f64());
    }

    fn refuse(&mut self, token: u64, detail: String) {
        let (index, number) = split(token);
        if !self.said.refusal {
            self.said.refusal = true;
            tracing::warn!(uplink = %self.name, detail, "upstream refused a message: parked (the next ones are only counted)");
        }
        if self.pulls.get_mut(index).is_some_and(|pull| pull.refused(number, detail)) {
            self.meters.refused.inc();
        }
    }

    /// Tells the spool and the metrics what is done.
    fn forward(&mut self) {
        let mut in_flight = 0;
        for (pull, forwarded) in self.pulls.iter_mut().zip(&self.forwarded) {
            forwarded.inc_by(pull.advance());
            in_flight += pull.in_flight();
        }
        self.meters.online.flush();
        self.meters.backlog.flush();
        self.meters.inflight.set(level(in_flight));
    }
}

async fn any_read(pulls: &mut [Pull]) -> Result<(), JoinError> {
    poll_fn(|cx| match pulls.iter_mut().find_map(|pull| Some(pull.poll_read(cx)).filter(Poll::is_ready)) {
        Some(read) => read,
        None => Poll::Pending,
    })
    .await
}

async fn sleep_until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at.into()).await;
    }
}
