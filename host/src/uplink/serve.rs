//! One connection's life: pull, send, accept.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use prometheus::IntCounter;
use tokio::sync::{Notify, watch};
use tokio::task::JoinError;

use super::apart::COMPARISON;
use super::dress::{Dress, IdForm, Pack};
use super::fallback::Post;
use super::judge::Judge;
use super::metrics::{Meters, level};
use super::part::{Part, Way};
use super::pull::{Path, Pull, split};
use super::rate::Throttle;
use super::send::Stand;
use super::turns::Turns;
use super::window::{Limit, Window};
use super::{Config, Drain, Error, Form, Shared};
use crate::clock::Now;
use crate::link::{Failure, Loss, Stop};
use crate::message::{Backlog, Qos, Stored};
use crate::mqtt::{Connection, Ended, Error as LinkError, Established, Event, Protocol};

/// Round trip of the window warning.
const ROUND_TRIP_SECONDS: f64 = 0.05;

/// Pause before the disk is asked again for what it did not have.
const DISK_RETRY: Duration = Duration::from_secs(1);

/// How often a message that upstream has accepted is kept to be compared with.
const SAMPLE_EVERY: Duration = Duration::from_secs(5);

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
    pub(super) ready: Arc<Notify>,
    pub(super) pulls: Vec<Pull>,
    pub(super) turns: Turns,
    pub(super) throttle: Option<Arc<Mutex<Throttle>>>,
    pub(super) dress: Dress,
    pub(super) judge: Judge,
    pub(super) window: Window,
    /// Publishes of level 1 and 2 without an answer.
    pub(super) under_way: usize,
    /// Number of the last publish.
    pub(super) sent: u64,
    /// One that upstream has accepted, and when that was.
    pub(super) sample: Option<(usize, Stored, Instant)>,
    /// The largest message that upstream has accepted, bytes.
    largest: usize,
    /// What an answer takes, about, and when the last one came.
    pub(super) usual: Duration,
    pub(super) answered_at: Instant,
    /// When the window was widened without an answer.
    pub(super) widened_at: Instant,
    /// When upstream was asked whether it reads what it does not acknowledge.
    pub(super) asked_at: Option<Instant>,
    /// What it may take, as configured.
    pub(super) answer: Duration,
    forwarded: Vec<IntCounter>,
    pub(super) meters: Meters,
    /// The level of each way, as configured.
    pub(super) wanted: Vec<Qos>,
    /// A broker that takes nothing above level 0 gets that.
    pub(super) allows_level_0: bool,
    pub(super) post: Post,
    form: Form,
    pub(super) is_packing: bool,
    pub(super) max_packet_bytes: usize,
    inflight: u16,
    connections: u16,
    /// The same, as the connection in use allows.
    pub(super) levels: Vec<Qos>,
    pub(super) retain_available: bool,
    pub(super) said: Said,
}

/// What was said in the log and need not be said again: the window once, a refusal once a connection.
#[derive(Default)]
pub(super) struct Said {
    window: bool,
    limits: bool,
    pub(super) refusal: bool,
    pub(super) hold: bool,
    pub(super) crowd: bool,
    /// Upstream announces a limit below what it took before.
    pub(super) is_narrow: bool,
}

impl Uplink {
    pub(super) fn new(
        config: &Config,
        part: Part,
        backlog: Arc<dyn Backlog>,
        shared: &Shared,
    ) -> Self {
        let metrics = &shared.metrics;
        let (origin, owner) = (backlog.origin(), &config.owner);
        let ways = || config.drains.iter().flat_map(Drain::ways);
        let wanted: Vec<Qos> = ways()
            .map(|(drain, ..)| drain.qos.unwrap_or(config.qos))
            .collect();
        Self {
            name: Arc::clone(&config.name),
            ready: backlog.ready(),
            pulls: ways()
                .map(|(drain, way, _)| Pull::new(drain.queue, Arc::clone(&backlog), part, way))
                .collect(),
            turns: Turns::new(ways().map(|(.., weight)| weight)),
            throttle: shared.throttle.clone(),
            dress: Dress::new(
                config.form,
                ways()
                    .map(|(drain, way, _)| {
                        (
                            format!("{origin}/{owner}/{}/", drain.class),
                            way == Way::Replay,
                        )
                    })
                    .collect(),
            ),
            judge: Judge::new(Instant::now()),
            window: Window::new(),
            under_way: 0,
            sent: 0,
            sample: None,
            largest: 0,
            usual: Duration::ZERO,
            answered_at: Instant::now(),
            widened_at: Instant::now(),
            asked_at: None,
            answer: config.mqtt.deadlines.answer,
            forwarded: ways()
                .map(|(drain, ..)| metrics.forwarded(&config.name, &drain.class))
                .collect(),
            backlog,
            meters: metrics.of(&config.name),
            levels: wanted.clone(),
            wanted,
            allows_level_0: config.allows_level_0,
            post: Post::new(shared.duty.clone()),
            form: config.form,
            is_packing: config.form.pack != Pack::Raw,
            max_packet_bytes: usize::try_from(config.max_packet_bytes).unwrap_or(usize::MAX),
            inflight: config.mqtt.inflight,
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
            self.window.shut();
        }
        let ended = self.exchange(&mut connection, stop).await;
        self.backlog.link(false);
        if let Err(Parting::Lost(ended)) = &ended {
            self.ended(ended);
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
        let Established {
            receive_maximum,
            retain_available,
            maximum_qos,
            maximum_packet_bytes,
            ..
        } = *established;
        self.keep_to(established);
        self.said.refusal = false;
        let window = self.inflight.min(receive_maximum);
        self.meters.inflight_capacity.set(i64::from(window));
        let is_old = established.protocol == Protocol::V311;
        let limit = match (is_old, self.levels.contains(&Qos::ExactlyOnce)) {
            (false, _) => Limit::Announced,
            (true, false) => Limit::Sought,
            (true, true) => Limit::SoughtFromBelow,
        };
        self.window.begin(usize::from(window), limit);
        self.said.is_narrow = (maximum_packet_bytes as usize) < self.largest;
        if self.said.is_narrow {
            tracing::error!(uplink = %self.name, limit = maximum_packet_bytes, went_through = self.largest,
                "upstream announces that it takes no packet over its limit, and took larger ones before: those it takes no more are refused; raise its limit again");
        }
        if receive_maximum < self.inflight && !std::mem::replace(&mut self.said.window, true) {
            let rate = (f64::from(receive_maximum) * f64::from(self.connections)
                / ROUND_TRIP_SECONDS)
                .round();
            // A broker with its defaults is nothing to worry about.
            tracing::info!(uplink = %self.name, receive_maximum, configured = self.inflight, connections = self.connections,
                "the broker takes fewer messages in flight than configured: at 50 ms round trip that is {rate} msg/s at most; raise its limit, or `connections`");
        }
        let lost_ids = is_old && self.form.id == IdForm::Property;
        let lost_marks = is_old && self.dress.marks_by_property();
        let does_less = self.levels != self.wanted || !retain_available || lost_ids || lost_marks;
        if does_less && !std::mem::replace(&mut self.said.limits, true) {
            tracing::warn!(uplink = %self.name, maximum_qos = maximum_qos as u8, retain_available, without_ids = lost_ids, without_replay_marks = lost_marks,
                "the broker does less than configured: messages go out with what it can do");
        }
        self.start_over();
        self.show();
        self.backlog.link(true);
    }

    /// Messages go out as this connection allows.
    pub(super) fn keep_to(&mut self, established: &Established) {
        self.retain_available = established.retain_available;
        self.levels = self
            .wanted
            .iter()
            .map(|level| established.maximum_qos.min(*level))
            .collect();
    }

    /// Sending begins at the first message owed.
    pub(super) fn start_over(&mut self) {
        self.pulls.iter_mut().for_each(Pull::rewind);
        (self.under_way, self.answered_at, self.asked_at) = (0, Instant::now(), None);
        let pulls = &self.pulls;
        self.judge.begin(Instant::now(), |(index, seq)| {
            pulls.get(index).is_none_or(|pull| seq < pull.low())
        });
    }

    /// How the loss of a connection is to be met: what a broker says when it ends one over a message is no refusal of ours.
    pub(super) fn failure(&self, ended: &Ended) -> Failure {
        match ended {
            Ended::Link(LinkError::Disconnected { .. }) if self.judge.has_sent() => {
                Failure::Passing
            }
            ended => ended.kind(),
        }
    }

    /// Turns until something ends it; [`Stop::Drain`] when all that lay in RAM is accepted.
    #[expect(
        clippy::too_many_lines,
        reason = "one turn of the loop: every reason to end or to wait, in their order"
    )]
    async fn exchange(
        &mut self,
        connection: &mut Connection,
        stop: &mut watch::Receiver<Stop>,
    ) -> Result<Stop, Parting> {
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
            self.park();
            let stand = self.fill(connection, mode);
            self.forward();
            if mode == Stop::Drain && self.pulls.iter().all(Pull::is_drained) {
                return Ok(mode);
            }
            let overdue = self.overdue_at(connection);
            if overdue.is_some_and(|at| at <= Instant::now()) {
                let due = Instant::now().checked_sub(self.patience());
                return Err(Parting::Lost(
                    self.unanswered(connection, due.unwrap_or(self.answered_at)),
                ));
            }
            let stalled_at = self
                .stalled_at(connection, stand == Stand::Full)
                .filter(|_| mode == Stop::Run);
            if stalled_at.is_some_and(|at| at <= Instant::now()) {
                return Err(Parting::Lost(self.unanswered(connection, Instant::now())));
            }
            let silent_at = self.silent_at(connection).filter(|_| mode == Stop::Run);
            if silent_at.is_some_and(|at| at <= Instant::now()) {
                self.stand_by(connection, stop).await?;
                continue;
            }
            let (open, due) = match stand {
                Stand::Dry(at) => (self.has_room(connection), at),
                Stand::Full => (false, None),
                Stand::Until(at) => (false, Some(at)),
            };
            let wake_at = [retry_at, due, overdue, stalled_at, silent_at]
                .into_iter()
                .flatten()
                .min();
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
    #[expect(clippy::too_many_lines, reason = "what upstream can say, in its order")]
    fn settle(&mut self, events: &mut Vec<Event>, taken: bool) -> Result<(), Ended> {
        if events.is_empty() && !self.has_sent_level_0() {
            return Ok(());
        }
        let (now, instant) = (Now::read(), Instant::now());
        self.note_answer(&events[..], instant);
        if !events.is_empty() {
            self.answered_at = instant;
        }
        for event in events.drain(..) {
            match event {
                Event::Accepted { token: COMPARISON } => self.judge.compared(true, instant),
                Event::Refused {
                    token: COMPARISON, ..
                } => self.judge.compared(false, instant),
                Event::Accepted { token } => self.accept(token, now, instant),
                Event::Refused {
                    token,
                    reason,
                    permanent,
                    ..
                } => self.lay_aside(token, permanent, reason, instant),
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
                    self.arrived(index, number, now);
                }
            }
        }
        if let Some(due) = instant.checked_sub(self.late()) {
            self.pulls.iter_mut().for_each(|pull| pull.look(due));
        }
        self.park();
        self.forward();
        self.show();
        Ok(())
    }

    fn accept(&mut self, token: u64, now: Now, instant: Instant) {
        let (index, number) = split(token);
        let Some(stored) = self.pulls.get(index).and_then(|pull| pull.message(number)) else {
            return;
        };
        let place = (index, stored.seq);
        if self
            .sample
            .as_ref()
            .is_none_or(|(.., at)| *at + SAMPLE_EVERY <= instant)
            && !stored.message.expires()
        {
            self.sample = Some((index, stored.clone(), instant));
        }
        self.window.accepted(self.under_way);
        self.under_way = self.under_way.saturating_sub(1);
        self.arrived(index, number, now);
        self.judge.accepted(place);
    }

    fn arrived(&mut self, index: usize, number: u64, now: Now) {
        let Some(pull) = self.pulls.get_mut(index) else {
            return;
        };
        let (meters, largest) = (&self.meters, &mut self.largest);
        pull.accepted(number, |arrived_us, path, bytes| {
            *largest = bytes.max(*largest);
            // After a start of the machine the monotonic clock began anew: such a message says nothing.
            let Some(time) = now.uptime_us.checked_sub(arrived_us) else {
                return;
            };
            let histogram = if path == Path::Online {
                &meters.online
            } else {
                &meters.backlog
            };
            histogram.observe(Duration::from_micros(time).as_secs_f64());
        });
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

pub(super) async fn any_read(pulls: &mut [Pull]) -> Result<(), JoinError> {
    poll_fn(|cx| {
        match pulls
            .iter_mut()
            .find_map(|pull| Some(pull.poll_read(cx)).filter(Poll::is_ready))
        {
            Some(read) => read,
            None => Poll::Pending,
        }
    })
    .await
}

pub(super) async fn sleep_until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at.into()).await;
    }
}
