//! One connection's life: pull, send, accept.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use prometheus::IntCounter;
use tokio::sync::{Notify, watch};
use tokio::task::JoinError;

use super::breaker::Breaker;
use super::caution::Caution;
use super::dress::{Dress, IdForm};
use super::fallback::Post;
use super::metrics::{Meters, level};
use super::pull::{Part, Path, Pull, Way, join, split};
use super::rate::Throttle;
use super::send::{COMPARISON, Stand};
use super::turns::Turns;
use super::{Config, Drain, Error, Form, Shared};
use crate::clock::Now;
use crate::message::{Backlog, Qos};
use crate::mqtt::{Causes, Connection, Ended, Established, Event, Protocol, Stop};

/// Round trip of the window warning.
const ROUND_TRIP_SECONDS: f64 = 0.05;

/// Pause before the disk is asked again for what it did not have.
const DISK_RETRY: Duration = Duration::from_secs(1);

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
    pub(super) name: Arc<str>,
    pub(super) backlog: Arc<dyn Backlog>,
    ready: Arc<Notify>,
    pub(super) pulls: Vec<Pull>,
    pub(super) turns: Turns,
    pub(super) throttle: Option<Arc<Mutex<Throttle>>>,
    pub(super) dress: Dress,
    pub(super) caution: Caution,
    pub(super) breaker: Breaker,
    forwarded: Vec<IntCounter>,
    meters: Meters,
    /// The level of each way, as configured.
    pub(super) wanted: Vec<Qos>,
    /// A broker that takes nothing above level 0 gets that.
    pub(super) allows_level_0: bool,
    pub(super) post: Post,
    form: Form,
    pub(super) max_packet_bytes: usize,
    window: u16,
    connections: u16,
    /// The same, as the connection in use allows.
    pub(super) levels: Vec<Qos>,
    pub(super) retain_available: bool,
    said: Said,
}

/// What was said in the log and need not be said again: the window once, a refusal once a connection.
#[derive(Default)]
struct Said {
    window: bool,
    limits: bool,
    refusal: bool,
    breaker: bool,
}

impl Uplink {
    pub(super) fn new(config: &Config, part: Part, backlog: Arc<dyn Backlog>, shared: &Shared) -> Self {
        let metrics = &shared.metrics;
        let ways = || config.drains.iter().flat_map(Drain::ways);
        let wanted: Vec<Qos> = ways().map(|(drain, ..)| drain.qos.unwrap_or(config.qos)).collect();
        Self {
            name: Arc::clone(&config.name),
            ready: backlog.ready(),
            pulls: ways().map(|(drain, way, _)| Pull::new(drain.queue, Arc::clone(&backlog), part, way)).collect(),
            turns: Turns::new(ways().map(|(.., weight)| weight)),
            throttle: shared.throttle.clone(),
            dress: Dress::new(
                config.form,
                ways().map(|(drain, way, _)| (format!("{}/{}/", config.owner, drain.class), way == Way::Replay)).collect(),
            ),
            caution: Caution::new(ways().count()),
            breaker: Breaker::default(),
            forwarded: ways().map(|(drain, ..)| metrics.forwarded(&config.name, &drain.class)).collect(),
            backlog,
            meters: metrics.of(&config.name),
            levels: wanted.clone(),
            wanted,
            allows_level_0: config.allows_level_0,
            post: Post::new(shared.duty.clone()),
            form: config.form,
            max_packet_bytes: usize::try_from(config.max_packet_bytes).unwrap_or(usize::MAX),
            window: config.mqtt.inflight,
            connections: config.connections,
            retain_available: true,
            said: Said::default(),
        }
    }

    /// Uses a connection until it is lost (the error) or the uplink may leave.
    pub(super) async fn serve(
        &mut self,
        mut connection: Connection,
        established: &Established,
        shaky: bool,
        stop: &mut watch::Receiver<Stop>,
    ) -> Result<(), Parting> {
        self.begin(established);
        if shaky {
            self.breaker.trip();
            self.show_breaker();
        }
        let ended = self.exchange(&mut connection, stop).await;
        self.backlog.link(false);
        if let Err(Parting::Lost(ended)) = &ended {
            self.suspect(ended);
        }
        self.release();
        if !matches!(ended, Ok(Stop::Now) | Err(Parting::Lost(Ended::Link(_)))) {
            connection.close().await;
        }
        ended.map(|_| ())
    }

    /// What is under way is owed again.
    pub(super) fn release(&mut self) {
        self.meters.unanswered.inc_by(self.in_flight() as u64);
        self.pulls.iter_mut().for_each(Pull::rewind);
        self.meters.inflight.set(0);
    }

    fn begin(&mut self, established: &Established) {
        let Established { receive_maximum, retain_available, maximum_qos, .. } = *established;
        self.retain_available = retain_available;
        self.levels = self.wanted.iter().map(|level| maximum_qos.min(*level)).collect();
        self.said.refusal = false;
        let window = self.window.min(receive_maximum);
        self.meters.inflight_capacity.set(i64::from(window));
        if receive_maximum < self.window && !std::mem::replace(&mut self.said.window, true) {
            let rate = (f64::from(receive_maximum) * f64::from(self.connections) / ROUND_TRIP_SECONDS).round();
            tracing::warn!(uplink = %self.name, receive_maximum, configured = self.window, connections = self.connections,
                "the broker takes fewer messages in flight than configured: at 50 ms round trip that is {rate} msg/s at most; raise its limit, or `connections`");
        }
        let is_old = established.protocol == Protocol::V311;
        let lost_ids = is_old && self.form.id == IdForm::Property;
        let lost_marks = is_old && self.dress.marks_by_property();
        let does_less = self.levels != self.wanted || !retain_available || lost_ids || lost_marks;
        if does_less && !std::mem::replace(&mut self.said.limits, true) {
            tracing::warn!(uplink = %self.name, maximum_qos = maximum_qos as u8, retain_available, without_ids = lost_ids, without_replay_marks = lost_marks,
                "the broker does less than configured: messages go out with what it can do");
        }
        for pull in &mut self.pulls {
            pull.rewind();
        }
        self.caution.begin();
        self.backlog.link(true);
    }

    /// A message may be what upstream hung up on: one that was convicted goes to the dead letters.
    fn suspect(&mut self, ended: &Ended) {
        if matches!(ended, Ended::Busy { .. }) {
            self.breaker.failed();
            self.show_breaker();
        }
        if !ended.may_be_a_message() {
            return;
        }
        let Some(guilty) = self.caution.hung_up(self.pulls.iter().map(Pull::head)) else { return };
        let number = self.pulls[guilty].waiting().start;
        self.refuse(join(guilty, number), &format!("upstream hangs up on it, and takes others: {}", Causes(ended)));
        self.pulls[guilty].advance();
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
            let stand = self.fill(connection, mode);
            self.forward();
            if mode == Stop::Drain && self.pulls.iter().all(Pull::is_drained) {
                return Ok(mode);
            }
            let silent_at = self.silent_at(connection);
            if mode == Stop::Run && silent_at.is_some_and(|at| at <= Instant::now()) {
                self.stand_by(connection, stop).await?;
                continue;
            }
            let (open, until) = match stand {
                Stand::Dry => (self.has_room(connection), None),
                Stand::Full => (false, None),
                Stand::Until(at) => (false, Some(at)),
            };
            let wake_at = [until, retry_at, silent_at.filter(|_| mode == Stop::Run)].into_iter().flatten().min();
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
                () = sleep_until(wake_at), if wake_at.is_some() => {}
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

    /// Takes what upstream said; `taken` says that the socket has taken everything.
    fn settle(&mut self, events: &mut Vec<Event>, taken: bool) -> Result<(), Ended> {
        if events.is_empty() && !self.has_sent_level_0() {
            return Ok(());
        }
        let now = Now::read();
        let mut busy = None;
        for event in events.drain(..) {
            match event {
                Event::Accepted { token: COMPARISON } | Event::Refused { token: COMPARISON, permanent: true, .. } => {
                    self.caution.passed();
                }
                Event::Accepted { token } => self.accept(token, now),
                Event::Refused { token, reason, permanent: true, .. } => {
                    self.refuse(token, &reason);
                    self.breaker.refused(Instant::now());
                }
                Event::Refused { code, reason, permanent: false, .. } => busy = Some(Ended::Busy { code, reason }),
                Event::Publish { .. }
                | Event::Oversize { .. }
                | Event::Unfit { .. }
                | Event::Subscribed { .. }
                | Event::Unsubscribed => {}
            }
        }
        if taken {
            for index in 0..self.pulls.len() {
                if self.levels[index] != Qos::AtMostOnce {
                    continue;
                }
                let sent = self.pulls[index].waiting();
                if self.wanted[index] > Qos::AtMostOnce {
                    self.meters.unacknowledged.inc_by(sent.end - sent.start);
                }
                for number in sent {
                    self.accept(join(index, number), now);
                }
            }
        }
        self.forward();
        self.show_breaker();
        busy.map_or(Ok(()), Err)
    }

    fn accept(&mut self, token: u64, now: Now) {
        let (index, number) = split(token);
        let Some(pull) = self.pulls.get_mut(index) else { return };
        let meters = &self.meters;
        pull.accepted(number, |arrived_us, path| {
            // After a start of the machine the monotonic clock began anew: such a message says nothing.
            let Some(time) = now.uptime_us.checked_sub(arrived_us) else { return };
            let histogram = if path == Path::Online { &meters.online } else { &meters.backlog };
            histogram.observe(Duration::from_micros(time).as_secs_f64());
        });
        self.breaker.accepted();
        self.caution.answered(index);
    }

    pub(super) fn refuse(&mut self, token: u64, detail: &str) {
        let (index, number) = split(token);
        if !self.said.refusal {
            self.said.refusal = true;
            tracing::warn!(uplink = %self.name, detail, "upstream refused a message: parked (the next ones are only counted)");
        }
        let Some(pull) = self.pulls.get_mut(index) else { return };
        self.meters.refused.inc_by(pull.refused(number, detail));
        self.caution.answered(index);
    }

    /// Says once that the breaker opened, and that it closed again.
    fn show_breaker(&mut self) {
        self.meters.alarm.set(i64::from(self.breaker.is_alarming()));
        let open = self.breaker.is_open();
        match (std::mem::replace(&mut self.said.breaker, open), open) {
            (false, true) => tracing::error!(uplink = %self.name,
                "upstream fails too often or takes too little of what it is sent: messages go out one at a time until three are accepted"),
            (true, false) => tracing::info!(uplink = %self.name, "upstream takes messages again"),
            _ => {}
        }
    }

    /// Tells the spool and the metrics what is done.
    pub(super) fn forward(&mut self) {
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
