//! One connection's life: subscribe, take, acknowledge, leave.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::grants::{needed, to_ask};
use super::metrics::{Meters, level as gauge_level};
use super::pressure::Pressure;
use super::sorter::{Borders, Sorter};
use super::unsettled::Unsettled;
use super::{Config, Metrics, Pattern, SessionMark};
use crate::link::{self, Stop};
use crate::message::{Mint, Outlet, Qos, Settled, Wait};
use crate::mqtt::{
    self, Connection, Ended, Established, Event, Protocol, Redial, Subscription, Unreleased,
};

/// How many unacknowledged messages a broker is assumed to send over 3.1.1, which has no word for it: mosquitto's
/// default.
const ASSUMED_WINDOW: u16 = 20;

/// MQTT 5's word for a session that does not end.
const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64);

/// Acknowledgements that leave at once; of a bulk the next ones leave after [`BREATH`]. A commit settles thousands, and a
/// broker that is told so at once sends as many at once: it then works for tens of milliseconds, and so do we, while an alarm
/// waits for the processor.
const SLICE: usize = 64;

/// Shorter than the runtime's timers, which come once a millisecond: what the broker sends for the last slice wakes us first.
const BREATH: Duration = Duration::from_micros(250);

/// A source, over all its connections.
pub(super) struct Source {
    name: Arc<str>,
    sorter: Sorter,
    unsettled: Unsettled,
    settled: Arc<Settled>,
    meters: Arc<Meters>,
    mark: SessionMark,
    subscriptions: Vec<Subscription>,
    obsolete: Vec<String>,
    /// What the broker has granted, and with which level.
    granted: BTreeMap<String, Qos>,
    protocol: Protocol,
    /// The subscriptions of this connection are answered.
    is_granted: bool,
    /// What it refuses, or serves with a lower level; asked for again at the cap of the back-off.
    refused: Vec<Subscription>,
    asks_again: Option<Instant>,
    ask_every: Duration,
    max_bytes: usize,
    receive_maximum: u16,
    grant_deadline: Duration,
    faults: u64,
    /// Of QoS 2, for the next connection.
    unreleased: Option<Unreleased>,
    /// Messages the broker may have unacknowledged on this connection.
    window: usize,
    reading: bool,
    /// Whether the broker waits for us.
    pressure: Pressure,
    waits: Option<Wait>,
    outlet: Arc<dyn Outlet>,
    /// When the next slice of a bulk of acknowledgements may leave.
    breathes_until: Option<Instant>,
}

impl Source {
    pub(super) fn new(
        config: Config,
        outlet: Arc<dyn Outlet>,
        mint: Arc<Mint>,
        metrics: &Metrics,
    ) -> Self {
        let (settled, meters) = (
            Arc::new(Settled::default()),
            Arc::new(metrics.of(&config.name)),
        );
        let borders = Borders {
            outlet: Arc::clone(&outlet),
            mint,
            settled: Arc::clone(&settled),
            meters: Arc::clone(&meters),
        };
        meters
            .bytes_capacity
            .set(gauge_level(config.max_unsettled_bytes));
        let sorter = Sorter::new(&config, borders);
        let cap = config.mqtt.backoff.cap;
        Self {
            subscriptions: subscriptions(&config, &sorter),
            sorter,
            granted: BTreeMap::new(),
            protocol: Protocol::V5,
            is_granted: false,
            refused: Vec::new(),
            asks_again: None,
            ask_every: cap,
            obsolete: obsolete(&config),
            name: config.name,
            mark: config.mark,
            unsettled: Unsettled::default(),
            settled,
            meters,
            max_bytes: config.max_unsettled_bytes,
            receive_maximum: config.mqtt.receive_maximum,
            grant_deadline: config.mqtt.deadlines.handshake,
            faults: 0,
            unreleased: None,
            window: 0,
            reading: true,
            pressure: Pressure::new(Instant::now()),
            waits: None,
            outlet,
            breathes_until: None,
        }
    }

    /// Uses a connection until it is lost (the error) or the source may leave. What was taken and not acknowledged
    /// is then disowned: the broker sends it again.
    pub(super) async fn serve(
        &mut self,
        mut connection: Connection,
        established: &Established,
        redial: &mut Redial,
        stop: &mut watch::Receiver<Stop>,
    ) -> Result<(), Ended> {
        self.begin(&mut connection, established, redial.stood_before());
        let session = established.session_present.then_some(established.protocol);
        let asked = to_ask(&self.subscriptions, &self.granted, session);
        self.is_granted = asked.is_empty();
        if self.is_granted {
            redial.online(established);
        } else {
            connection.subscribe(&asked);
        }
        if !self.obsolete.is_empty() {
            // Behind what is wanted, which may cover it: nothing is missed in between.
            connection.unsubscribe(&self.obsolete);
        }
        let ended = self
            .exchange(&mut connection, established, redial, stop)
            .await;
        self.part(&connection, matches!(ended, Err(Ended::Fault)));
        match ended {
            Ok(Stop::Now) => Ok(()),
            Ok(Stop::Run | Stop::Drain) => {
                connection.close().await;
                Ok(())
            }
            Err(Ended::Link(error)) => Err(Ended::Link(error)),
            Err(ended) => {
                connection.close().await;
                Err(ended)
            }
        }
    }

    fn begin(
        &mut self,
        connection: &mut Connection,
        established: &Established,
        stood_before: bool,
    ) {
        match self.unreleased.take() {
            Some(unreleased) if established.session_present => connection.recall(unreleased),
            _ => self.unsettled.disown(false),
        }
        self.sorter.reconnected();
        self.window = usize::from(if established.protocol == Protocol::V311 {
            ASSUMED_WINDOW
        } else {
            self.receive_maximum
        });
        self.meters.messages_capacity.set(gauge_level(self.window));
        (self.reading, self.breathes_until) = (true, None);
        self.pressure = Pressure::new(Instant::now());
        (self.asks_again, self.protocol) = (None, established.protocol);
        if (stood_before || self.mark.is_set()) && !established.session_present {
            self.meters.sessions_lost.inc();
            self.sorter.session_lost();
            tracing::warn!(source = %self.name, "the broker has lost our session: what it held for us is gone, what we hold is safe");
        }
        self.granted = self.mark.granted();
        if !established.session_present {
            self.obsolete.clear();
            self.granted.clear();
        }
        self.told_of_session(established);
        self.set_mark();
    }

    fn set_mark(&self) {
        let wanted = self
            .subscriptions
            .iter()
            .map(|subscription| &subscription.filter);
        let level = |filter: &String| (filter.clone(), self.granted.get(filter).copied());
        self.mark
            .set(wanted.chain(&self.obsolete).map(level).collect());
    }

    /// A session that ends while we are away takes what the broker held for us with it.
    fn told_of_session(&self, established: &Established) {
        let kept = established.session_expiry.filter(|kept| *kept < FOR_EVER);
        let seconds = kept.map_or(0, |kept| {
            i64::try_from(kept.as_secs()).unwrap_or(i64::MAX).max(1)
        });
        if seconds != self.meters.session_cut.get() && seconds > 0 {
            tracing::warn!(
                source = %self.name, seconds,
                "the broker forgets us after so long without a connection, and what it holds for us; raise its limit for sessions",
            );
        }
        self.meters.session_cut.set(seconds);
    }

    /// What was taken and not acknowledged comes again. QoS 2 is recognised then and not given out twice, unless it
    /// was lost inside.
    fn part(&mut self, connection: &Connection, fault: bool) {
        self.unreleased = (!fault).then(|| connection.unreleased());
        self.unsettled.disown(!fault);
        self.show();
    }

    /// Turns until something ends it; [`Stop::Drain`] when all that was taken is acknowledged.
    async fn exchange(
        &mut self,
        connection: &mut Connection,
        established: &Established,
        redial: &mut Redial,
        stop: &mut watch::Receiver<Stop>,
    ) -> Result<Stop, Ended> {
        let settled = Arc::clone(&self.settled);
        let mut events = Vec::new();
        let mut grant_deadline = std::pin::pin!(tokio::time::sleep(self.grant_deadline));
        loop {
            let mode = *stop.borrow_and_update();
            if mode == Stop::Now {
                return Ok(mode);
            }
            self.settle(connection, mode)?;
            if mode == Stop::Drain && self.unsettled.is_empty() {
                return Ok(mode);
            }
            tokio::select! {
                biased;
                turned = connection.turn(&mut events) => {
                    if self.take(turned, &mut events, mode)? && !std::mem::replace(&mut self.is_granted, true) {
                        redial.online(established);
                    }
                }
                () = settled.changed(), if self.breathes_until.is_none() => {}
                () = sleep_until(self.breathes_until) => {}
                () = sleep_until(self.pressure.due(self.unsettled.messages())), if self.waits.is_none() => {}
                () = sleep_until(self.asks_again) => {
                    self.asks_again = None;
                    connection.subscribe(&self.refused);
                }
                changed = stop.changed() => if changed.is_err() {
                    return Ok(Stop::Now);
                },
                // While nothing is read the answer cannot come; once reading goes on, it is read before this is looked at.
                () = &mut grant_deadline, if !self.is_granted && self.reading => {
                    let deadline = self.grant_deadline;
                    return Err(mqtt::Error::from(link::Error::late("the answer to SUBSCRIBE", deadline)).into());
                }
            }
        }
    }

    /// Hands on what a turn brought; tells whether the subscriptions were granted.
    fn take(
        &mut self,
        turned: Result<(), mqtt::Error>,
        events: &mut Vec<Event>,
        mode: Stop,
    ) -> Result<bool, Ended> {
        if turned.is_err() {
            // QoS 1 comes again; QoS 0 does not, and QoS 2 is not given out again.
            events.retain(|event| match event {
                Event::Publish { token, .. }
                | Event::Oversize { token, .. }
                | Event::Unfit { token, .. } => {
                    token.is_none_or(|token| token.qos() == Qos::ExactlyOnce)
                }
                Event::Accepted { .. }
                | Event::Refused { .. }
                | Event::Subscribed { .. }
                | Event::Unsubscribed => false,
            });
        }
        // While draining nothing is read; should something be left of an earlier read, it comes again.
        if mode == Stop::Run {
            let before = self.unsettled.messages();
            self.sorter.sort(events, &mut self.unsettled);
            let in_flight = self.unsettled.messages();
            if in_flight > before {
                self.pressure.took(in_flight, Instant::now());
                // The next look raises it anew, with what has come.
                self.waits = None;
            }
        }
        turned?;
        let mut granted = false;
        for event in events.drain(..) {
            match event {
                Event::Subscribed { refused, lowered } => {
                    self.subscribed(&refused, &lowered)?;
                    granted = true;
                }
                Event::Unsubscribed => {
                    self.obsolete.clear();
                    self.set_mark();
                }
                Event::Publish { .. }
                | Event::Oversize { .. }
                | Event::Unfit { .. }
                | Event::Accepted { .. }
                | Event::Refused { .. } => {}
            }
        }
        Ok(granted)
    }

    /// What was asked for is answered. What was refused is asked for again at the cap of the back-off: somebody may put it
    /// right.
    fn subscribed(
        &mut self,
        refused: &[(String, String)],
        lowered: &[(String, Qos)],
    ) -> Result<(), Ended> {
        let was_refused = |filter: &str| self.refused.iter().any(|before| before.filter == filter);
        for (filter, why) in refused.iter().filter(|(filter, _)| !was_refused(filter)) {
            tracing::error!(source = %self.name, filter, why, "the broker refuses a subscription: its messages do not come");
        }
        for (filter, level) in lowered.iter().filter(|(filter, _)| !was_refused(filter)) {
            let level = *level as u8;
            tracing::warn!(
                source = %self.name, filter, level,
                "the broker serves a subscription with a lower level than was asked for: what is lost on its way is not sent again",
            );
        }
        let is_refused = |filter: &str| refused.iter().any(|(found, _)| found == filter);
        let level = |wanted: &Subscription| {
            lowered
                .iter()
                .find(|(found, _)| *found == wanted.filter)
                .map_or(wanted.qos, |low| low.1)
        };
        for wanted in &self.subscriptions {
            if is_refused(&wanted.filter) {
                self.granted.remove(&wanted.filter);
            } else {
                self.granted.insert(wanted.filter.clone(), level(wanted));
            }
        }
        // Over 3.1.1 a level that is low comes with all retained messages again, each time.
        let is_served = |wanted: &&Subscription| {
            self.granted
                .get(&wanted.filter)
                .is_some_and(|level| *level >= wanted.qos || self.protocol == Protocol::V311)
        };
        self.refused = self
            .subscriptions
            .iter()
            .filter(|wanted| !is_served(wanted))
            .cloned()
            .collect();
        self.asks_again = (!self.refused.is_empty()).then(|| Instant::now() + self.ask_every);
        self.meters.refused.set(gauge_level(refused.len()));
        self.meters.lowered.set(gauge_level(lowered.len()));
        self.set_mark();
        if !self.subscriptions.is_empty() && refused.len() >= self.subscriptions.len() {
            return Err(Ended::NotAuthorised);
        }
        Ok(())
    }

    /// Acknowledges what has settled and tells the inside how pressed we are.
    fn settle(&mut self, connection: &mut Connection, mode: Stop) -> Result<(), Ended> {
        self.sorter.settle_repeats();
        let draining = mode != Stop::Run;
        self.acknowledge(connection, draining);
        let bytes = self.unsettled.bytes();
        self.press(draining);
        let reading = !draining && bytes < self.max_bytes;
        if std::mem::replace(&mut self.reading, reading) != reading {
            connection.pause_reading(!reading);
        }
        self.show();
        let faults = self.settled.faults();
        let fell = faults - std::mem::replace(&mut self.faults, faults);
        if fell > 0 {
            self.sorter.forget_ids();
            self.meters.faults.inc_by(fell);
            tracing::warn!(source = %self.name, bursts = fell, "a stage lost messages before they were safe");
            if self.unsettled.has_fallen() {
                return Err(Ended::Fault);
            }
        }
        Ok(())
    }

    /// Tells the inside whether it shall write instead of waiting for upstream; what is written already by then is hurried.
    fn press(&mut self, draining: bool) {
        let (messages, bytes) = (self.unsettled.messages(), self.unsettled.bytes());
        let is_full = messages * 5 >= self.window * 4
            || bytes.saturating_mul(5) >= self.max_bytes.saturating_mul(4);
        let waits = self.pressure.waits(messages, Instant::now());
        self.settled
            .press(draining || is_full || waits == Some(Wait::Sure));
        let before = std::mem::replace(&mut self.waits, waits);
        if let Some(wait) = waits.filter(|_| waits > before) {
            self.outlet.hurry(wait);
        }
    }

    /// Acknowledges what has settled, a bulk in slices unless there is a hurry.
    fn acknowledge(&mut self, connection: &mut Connection, hurry: bool) {
        let is_breathing = !hurry
            && self
                .breathes_until
                .is_some_and(|until| Instant::now() < until);
        if is_breathing {
            return;
        }
        let most = if hurry { usize::MAX } else { SLICE };
        let before = self.unsettled.messages();
        let found = self
            .unsettled
            .settle(most, |token| connection.acknowledge(token));
        if self.unsettled.messages() < before {
            self.pressure.acknowledged(before, Instant::now());
        }
        self.breathes_until = (!found.is_all).then(|| Instant::now() + BREATH);
        if found.has_fallen {
            self.sorter.forget_ids();
        }
    }

    fn show(&self) {
        self.meters
            .messages
            .set(gauge_level(self.unsettled.messages()));
        self.meters.bytes.set(gauge_level(self.unsettled.bytes()));
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// The filters of all routes, as far as they are needed.
fn subscriptions(config: &Config, sorter: &Sorter) -> Vec<Subscription> {
    let subscription = |pattern: &Pattern| {
        let filter = pattern.filter();
        let id = sorter.subscription_id(&filter);
        Subscription {
            filter,
            qos: config.qos,
            id,
        }
    };
    needed(config).into_iter().map(subscription).collect()
}

/// What the session may be subscribed to, by this process or earlier ones, and nobody wants any more.
fn obsolete(config: &Config) -> Vec<String> {
    let wanted: Vec<_> = needed(config).into_iter().map(Pattern::filter).collect();
    config
        .mark
        .filters()
        .into_iter()
        .filter(|filter| !wanted.contains(filter))
        .collect()
}
