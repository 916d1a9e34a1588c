//! One carrier's life, from the first message owed to its end.

mod answers;
mod apart;
mod exchange;
mod notice;
pub(super) mod pull;
mod scheduler;
mod send;
mod stall;
mod tell;
mod trace;
mod window;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use prometheus::IntCounter;
use tokio::sync::{Notify, watch};

use self::notice::ConditionNotice;
use self::pull::Pull;
use self::scheduler::Scheduler;
use self::trace::SendTrace;
use self::window::{Limit, Window};
use super::carrier::{Carrier, CarrierEnded, CarrierFault, FaultOf, Manner, UpstreamLimits};
use super::duty::Post;
use super::error::Error;
use super::form::encode::{Encoder, IdForm, Pack, PublishFormat};
use super::judge::{Haste, Judge, PublishId};
use super::metrics::UplinkMeters;
use super::part::{PullMode, Shard};
use super::rate::Throttle;
use super::settings::{Config, Drain};
use super::shared::UplinkContext;
use crate::link::{ConnectionLoss, FailureKind, Stop};
use crate::message::{Backlog, BacklogLink, LinkTurn, OwedQueues, Qos, Stored};

/// Round trip of the window warning.
const ROUND_TRIP_SECONDS: f64 = 0.05;

/// Why a connection is no longer used.
pub(super) enum Parting<E: CarrierFault> {
    /// It is over; dial again.
    Lost(CarrierEnded<E>),
    /// The uplink itself cannot go on.
    Broken(Error),
}

impl<E: CarrierFault> From<CarrierEnded<E>> for Parting<E> {
    fn from(ended: CarrierEnded<E>) -> Self {
        Self::Lost(ended)
    }
}

/// An uplink, over all its connections.
pub(super) struct Uplink {
    name: Arc<str>,
    backlog: Arc<dyn Backlog>,
    link: Arc<dyn BacklogLink>,
    ready: Arc<Notify>,
    pulls: Vec<Pull>,
    scheduler: Scheduler,
    throttle: Option<Arc<Mutex<Throttle>>>,
    encoder: Encoder,
    judge: Judge,
    window: Window,
    /// Publishes of level 1 and 2 without an answer.
    under_way: usize,
    /// Number of the last publish.
    sent: u64,
    /// One that upstream has accepted, and when that was.
    sample: Option<(usize, Stored, Instant)>,
    /// The largest message that upstream has accepted, bytes.
    largest: usize,
    /// What an answer takes, about, and when the last one came.
    usual: Duration,
    answered_at: Instant,
    /// When the window was widened without an answer.
    widened_at: Instant,
    /// When upstream was asked whether it reads what it does not acknowledge.
    asked_at: Option<Instant>,
    /// What it may take, as configured.
    answer: Duration,
    forwarded: Vec<IntCounter>,
    meters: UplinkMeters,
    /// The level of each way, as configured.
    wanted: Vec<Qos>,
    /// A broker that takes nothing above level 0 gets that.
    allows_level_0: bool,
    pub(super) post: Post,
    trace: Box<SendTrace>,
    format: PublishFormat,
    is_packing: bool,
    max_packet_bytes: usize,
    inflight: u16,
    connections: u16,
    /// The same, as the connection in use allows.
    levels: Vec<Qos>,
    retain_available: bool,
    said: LoggedOnce,
    notice: ConditionNotice,
    /// Topics of our own that are not tried any more.
    barred: Vec<String>,
    /// How the last connection ended that a message may have ended, in words.
    ended_with: String,
    /// One that could not be parked, and the letters and bytes it takes.
    unparked: Option<(PublishId, (u64, u64))>,
}

/// What was said in the log and need not be said again: the window once, a refusal once a connection.
#[derive(Default)]
pub(super) struct LoggedOnce {
    window: bool,
    limits: bool,
    refusal: bool,
    hold: bool,
    crowd: bool,
    pace: bool,
    quota: bool,
    /// Upstream announces a limit below what it took before.
    is_narrow: bool,
}

impl Uplink {
    pub(super) fn new(
        config: &Config,
        part: Shard,
        OwedQueues { backlog, link }: OwedQueues,
        shared: &UplinkContext,
    ) -> Self {
        let metrics = &shared.metrics;
        let (origin, boot) = (backlog.origin(), backlog.boot());
        let ways = || config.drains.iter().flat_map(Drain::ways);
        let prefix = |(drain, way, _): (&Drain, PullMode, _)| {
            let prefix = format!("{origin}/{}/{}/", config.owner, drain.class);
            (prefix, way == PullMode::Replay)
        };
        let wanted: Vec<Qos> = ways()
            .map(|(drain, ..)| drain.qos.unwrap_or(config.qos))
            .collect();
        Self {
            name: Arc::clone(&config.name),
            ready: link.ready(),
            pulls: ways()
                .map(|(drain, way, _)| Pull::new(drain.queue, Arc::clone(&backlog), part, way))
                .collect(),
            scheduler: Scheduler::new(ways().map(|(.., weight)| weight)),
            throttle: shared.throttle.clone(),
            encoder: Encoder::new(config.format, ways().map(prefix).collect()),
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
            answer: config.kind.facts().answer,
            forwarded: ways()
                .map(|(drain, ..)| metrics.forwarded(&config.name, &drain.class))
                .collect(),
            backlog,
            link,
            meters: metrics.of(&config.name),
            levels: wanted.clone(),
            wanted,
            allows_level_0: config.allows_level_0,
            post: Post::new(shared.duty.clone()),
            trace: SendTrace::of(config, metrics.tracer(), boot),
            format: config.format,
            is_packing: config.format.pack != Pack::Raw,
            max_packet_bytes: usize::try_from(config.max_packet_bytes).unwrap_or(usize::MAX),
            inflight: config.kind.facts().window,
            connections: config.connections,
            retain_available: true,
            said: LoggedOnce::default(),
            notice: ConditionNotice::on(metrics, &config.name, part.index),
            barred: Vec::new(),
            ended_with: String::new(),
            unparked: None,
        }
    }

    /// Uses a connection until it is lost (the error) or the uplink may leave.
    pub(super) async fn serve<C: Carrier>(
        &mut self,
        mut carrier: C,
        shaky: bool,
        stop: &mut watch::Receiver<Stop>,
    ) -> Result<(), Parting<FaultOf<C>>> {
        self.begin(&carrier.limits());
        if shaky {
            self.window.shut();
        }
        let ended = self.exchange(&mut carrier, stop).await;
        self.link.turn(LinkTurn::Down);
        if let Err(Parting::Lost(ended)) = &ended {
            self.ended(ended);
        }
        self.release();
        match &ended {
            Ok(Stop::Now) | Err(Parting::Lost(CarrierEnded::Carrier(_))) => {}
            Err(Parting::Lost(CarrierEnded::Renewal)) => Box::pin(carrier.make_way()).await,
            _ => carrier.close().await,
        }
        ended.map(|_| ())
    }

    /// What is under way is owed again.
    pub(super) fn release(&mut self) {
        self.meters.unanswered.inc_by(self.in_flight() as u64);
        self.trace.released();
        self.pulls.iter_mut().for_each(Pull::rewind);
        self.meters.inflight.set(0);
    }

    fn begin(&mut self, limits: &UpstreamLimits) {
        self.keep_to(limits);
        self.said.refusal = false;
        let window = self.inflight.min(limits.window);
        self.meters.inflight_capacity.set(i64::from(window));
        let limit = match (limits.says_window, self.levels.contains(&Qos::ExactlyOnce)) {
            (true, _) => Limit::Announced,
            (false, false) => Limit::Sought,
            (false, true) => Limit::SoughtFromBelow,
        };
        self.window.begin(usize::from(window), limit);
        self.said.is_narrow = (limits.packet_bytes as usize) < self.largest;
        if self.said.is_narrow {
            tracing::error!(uplink = %self.name, limit = limits.packet_bytes, went_through = self.largest,
                "upstream announces that it takes no packet over its limit, and took larger ones before: those it takes no more are refused; raise its limit again");
        }
        self.say_what_is_less(limits);
        self.start_over();
        self.show();
        self.link.turn(LinkTurn::Up);
    }

    /// Says once what upstream does less than configured.
    fn say_what_is_less(&mut self, limits: &UpstreamLimits) {
        let receive_maximum = limits.window;
        if receive_maximum < self.inflight && !std::mem::replace(&mut self.said.window, true) {
            let rate = (f64::from(receive_maximum) * f64::from(self.connections)
                / ROUND_TRIP_SECONDS)
                .round();
            // A broker with its defaults is nothing to worry about.
            tracing::info!(uplink = %self.name, receive_maximum, configured = self.inflight, connections = self.connections,
                "the broker takes fewer messages in flight than configured: at 50 ms round trip that is {rate} msg/s at most; raise its limit, or `connections`");
        }
        let lost_ids = !limits.has_headers && self.format.id == IdForm::Property;
        let lost_marks = !limits.has_headers && self.encoder.marks_by_property();
        let does_less = self.levels != self.wanted || !limits.retains || lost_ids || lost_marks;
        if does_less && !std::mem::replace(&mut self.said.limits, true) {
            tracing::warn!(uplink = %self.name, maximum_qos = limits.highest as u8, retain_available = limits.retains, without_ids = lost_ids, without_replay_marks = lost_marks,
                "the broker does less than configured: messages go out with what it can do");
        }
    }

    /// Messages go out as this connection allows.
    pub(super) fn keep_to(&mut self, limits: &UpstreamLimits) {
        self.retain_available = limits.retains;
        self.levels = self
            .wanted
            .iter()
            .map(|level| limits.highest.min(*level))
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

    /// When the next dial may come. Where a message had nothing to do with the end, none is passed by.
    pub(super) fn haste<E: CarrierFault>(&mut self, ended: &CarrierEnded<E>) -> Haste {
        let haste = self.judge.haste(Instant::now());
        match ended {
            CarrierEnded::Carrier(fault) if fault.manner() == Manner::Elsewhere => {
                if self.judge.has_delivered() {
                    Haste::Soon
                } else {
                    Haste::Later
                }
            }
            _ => haste,
        }
    }

    /// How the loss of a connection is to be met: what a broker says when it ends one over a message is no refusal of ours.
    pub(super) fn failure<E: CarrierFault>(&self, ended: &CarrierEnded<E>) -> FailureKind {
        match ended {
            CarrierEnded::Carrier(fault)
                if matches!(fault.manner(), Manner::Told | Manner::TooMuch)
                    && self.judge.has_sent() =>
            {
                FailureKind::Passing
            }
            ended => ended.kind(),
        }
    }
}
