//! Keeps dialling until a connection stands: the machine of `reconnect` with a socket, a log and gauges.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use tokio::sync::watch;

use super::interface::Interfaces;
use super::manners::Manners;
use super::reconnect::{Level, Reconnect, State, Stop};
use super::troubles::{Notice, Said, Trouble, Troubles};
use super::{Config, Connection, Error, Established, Failure, reason};

/// After so many connections in a row on which nothing was answered, an answer gets no longer time: 64 times as long.
const MOST_PATIENCE: u32 = 6;

/// The pause before an attempt that comes at once.
const AT_ONCE: Duration = Duration::from_millis(250);

/// The gauges of all connections of one kind, `tidegate_<kind>_…{<kind>="<name>"}`.
#[derive(Clone, Debug)]
pub struct LinkMetrics {
    up: IntGaugeVec,
    state: IntGaugeVec,
    alarm: IntGaugeVec,
    failures: IntCounterVec,
    reconnects: IntCounterVec,
    strays: IntCounterVec,
    troubles: Troubles,
}

impl LinkMetrics {
    /// Registers them; `kind` is `source` or `uplink`.
    ///
    /// # Errors
    /// The names are taken.
    pub fn new(registry: &Registry, kind: &str) -> Result<Self, prometheus::Error> {
        let opts = |thing: &str, help: &str| Opts::new(format!("tidegate_{kind}_{thing}"), help);
        let metrics = Self {
            up: IntGaugeVec::new(
                opts(
                    "up",
                    "Connections to the broker in use: 0 or 1, or up to `connections`.",
                ),
                &[kind],
            )?,
            state: IntGaugeVec::new(
                opts("state", "Connections in each state."),
                &[kind, "state"],
            )?,
            alarm: IntGaugeVec::new(
                opts(
                    "alarm",
                    "Above 0 after 5 failures in a row, when the broker refused us, or when it takes too little.",
                ),
                &[kind],
            )?,
            failures: IntCounterVec::new(
                opts("failures_total", "Failed attempts and lost connections."),
                &[kind],
            )?,
            reconnects: IntCounterVec::new(
                opts("reconnects_total", "Connections after the first one."),
                &[kind],
            )?,
            strays: IntCounterVec::new(
                opts(
                    "stray_answers_total",
                    "Answers of the broker to nothing; ignored.",
                ),
                &[kind],
            )?,
            troubles: Troubles::default(),
        };
        for gauge in [&metrics.up, &metrics.state, &metrics.alarm] {
            registry.register(Box::new(gauge.clone()))?;
        }
        for counter in [&metrics.failures, &metrics.reconnects, &metrics.strays] {
            registry.register(Box::new(counter.clone()))?;
        }
        Ok(metrics)
    }

    /// What the connections of `name` tell of themselves.
    pub fn account(&self, name: &str, now: Instant) -> LinkAccount {
        let in_state = |state: &&State| {
            let connections = self.state.with_label_values(&[name, state.name()]);
            connections.get() > 0
        };
        LinkAccount {
            state: State::ALL.iter().find(in_state).copied(),
            is_up: self.up.with_label_values(&[name]).get() > 0,
            failures: self.failures.with_label_values(&[name]).get(),
            trouble: self.troubles.of(name, now),
        }
    }

    /// A part in the alarm of one connection's owner.
    pub fn alarm(&self, name: &str) -> Contribution {
        Contribution::to(self.alarm.with_label_values(&[name]))
    }

    fn of(&self, name: &str) -> LinkGauges {
        LinkGauges {
            up: Contribution::to(self.up.with_label_values(&[name])),
            states: State::ALL
                .map(|state| Contribution::to(self.state.with_label_values(&[name, state.name()]))),
            alarm: self.alarm(name),
            failures: self.failures.with_label_values(&[name]),
            reconnects: self.reconnects.with_label_values(&[name]),
        }
    }
}

/// What the connections of one source or uplink tell of themselves.
#[derive(Clone, Debug, Default)]
pub struct LinkAccount {
    /// Where one of them stands, the earliest state first; none once the stage has ended.
    pub state: Option<State>,
    /// At least one is in use.
    pub is_up: bool,
    /// Failed attempts and lost connections since the start.
    pub failures: u64,
    /// The longest trouble among them.
    pub trouble: Option<Trouble>,
}

/// One contributor's part of a gauge that several add to: the connections of one uplink share theirs. It is taken back
/// at the end.
#[derive(Debug)]
pub struct Contribution {
    gauge: IntGauge,
    shown: i64,
}

impl Contribution {
    /// Nothing yet.
    pub fn to(gauge: IntGauge) -> Self {
        Self { gauge, shown: 0 }
    }

    /// Contributes `level`, in place of what it was.
    pub fn set(&mut self, level: i64) {
        if level != self.shown {
            self.gauge.add(level - self.shown);
            self.shown = level;
        }
    }
}

impl Drop for Contribution {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[derive(Debug)]
struct LinkGauges {
    up: Contribution,
    states: [Contribution; State::ALL.len()],
    alarm: Contribution,
    failures: IntCounter,
    reconnects: IntCounter,
}

impl LinkGauges {
    fn show(&mut self, machine: &Reconnect) {
        for (state, gauge) in State::ALL.iter().zip(&mut self.states) {
            gauge.set(i64::from(*state == machine.state()));
        }
        self.up.set(i64::from(machine.state() == State::Online));
        self.alarm.set(i64::from(
            machine.is_alarming() && machine.state() != State::Online,
        ));
    }
}

/// An error with its causes, on one line.
#[derive(Debug)]
pub struct Causes<'a>(pub &'a dyn StdError);

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            write!(f, ": {cause}")?;
            next = cause.source();
        }
        Ok(())
    }
}

/// One connection that is dialled again whenever it is lost. Callers report what they see: [`Self::online`] when
/// the broker has granted what they need, [`Self::lost`] when it is over.
#[derive(Debug)]
pub struct Redial {
    config: Config,
    stage: &'static str,
    name: Arc<str>,
    machine: Reconnect,
    gauges: LinkGauges,
    wait: Duration,
    stood_before: bool,
    interfaces: Interfaces,
    manners: Arc<Manners>,
    notice: Notice,
    said: Said,
    /// Connections in a row that ended in silence before anything was answered.
    unanswered: u32,
    /// The next attempt comes at once.
    is_hasty: bool,
}

impl Redial {
    /// Ready to dial. `stage` and `name` go into the log.
    pub fn new(config: Config, stage: &'static str, name: Arc<str>, metrics: &LinkMetrics) -> Self {
        let machine = Reconnect::new(config.backoff);
        let mut gauges = metrics.of(&name);
        gauges.show(&machine);
        Self {
            manners: Arc::new(Manners::new(
                stage,
                Arc::clone(&name),
                metrics.strays.with_label_values(&[&*name]),
            )),
            notice: Notice::on(
                &metrics.troubles,
                Arc::clone(&name),
                config.client_id.clone(),
            ),
            config,
            stage,
            name,
            machine,
            gauges,
            wait: Duration::ZERO,
            stood_before: false,
            interfaces: Interfaces::listen(),
            said: Said::default(),
            unanswered: 0,
            is_hasty: false,
        }
    }

    /// Whether so many attempts failed that somebody should look.
    pub fn is_alarming(&self) -> bool {
        self.machine.is_alarming()
    }

    /// Whether a connection has stood before in this process.
    pub fn stood_before(&self) -> bool {
        self.stood_before
    }

    /// Waits and dials until a connection stands; `None` when told to stop.
    pub async fn connect(
        &mut self,
        stop: &mut watch::Receiver<Stop>,
    ) -> Option<(Connection, Established)> {
        self.connect_or(stop, || ()).await
    }

    /// The same, and calls `failed` after every attempt that failed.
    pub async fn connect_or(
        &mut self,
        stop: &mut watch::Receiver<Stop>,
        failed: impl Fn(),
    ) -> Option<(Connection, Established)> {
        loop {
            tokio::select! {
                biased;
                () = told_to_stop(stop) => return None,
                () = self.pause() => {}
            }
            self.machine.dial();
            self.gauges.show(&self.machine);
            self.notice.trying();
            let opened = tokio::select! {
                biased;
                () = told_to_stop(stop) => return None,
                opened = Box::pin(Connection::open(&self.config)) => opened,
            };
            match opened {
                Ok((mut connection, established)) => {
                    self.machine.greeted();
                    self.gauges.show(&self.machine);
                    connection.mind(Arc::clone(&self.manners));
                    connection.be_patient(1 << self.unanswered);
                    return Some((connection, established));
                }
                Err(error) => {
                    self.lost(&Ended::Link(error));
                    failed();
                }
            }
        }
    }

    /// Waits for the next attempt. An interface that comes up cuts it short, to the first delay, since a route may take a
    /// moment longer; where the broker refused us no interface changes that.
    async fn pause(&mut self) {
        let refused = self.machine.state() == State::Refused;
        tokio::select! {
            () = tokio::time::sleep(self.wait) => {}
            () = self.interfaces.came_up(), if !refused && !self.wait.is_zero() => {
                tracing::info!(stage = self.stage, name = %self.name, "a network interface came up: trying again");
                tokio::time::sleep(self.wait.min(self.config.backoff.first)).await;
            }
        }
    }

    /// The broker granted what is needed.
    pub fn online(&mut self, established: &Established) {
        let now = Instant::now();
        self.machine.online(now);
        self.gauges.show(&self.machine);
        self.notice.online(now);
        if std::mem::replace(&mut self.stood_before, true) {
            self.gauges.reconnects.inc();
        }
        let Config { host, port, .. } = &self.config;
        tracing::info!(stage = self.stage, name = %self.name, broker = %format_args!("{host}:{port}"), protocol = ?established.protocol,
            receive_maximum = established.receive_maximum, failures_before = self.machine.failures(), "online");
    }

    /// The connection in use was good for something: should it end, the next attempt comes as after a first failure.
    pub fn worked(&mut self) {
        self.machine.worked();
    }

    /// It ended over a message that is known now: the next attempt comes at once.
    pub fn hasten(&mut self) {
        self.is_hasty = true;
    }

    /// The stage ends, and its connection with it.
    pub fn left(&mut self) {
        self.machine = Reconnect::new(self.config.backoff);
        self.gauges.show(&self.machine);
        self.notice.clear();
    }

    /// The attempt failed or the connection is over; the next [`Self::connect`] waits accordingly.
    pub fn lost(&mut self, ended: &Ended) {
        self.lost_as(ended.kind(), ended);
    }

    /// The same, where it is to be met otherwise than its kind says.
    pub fn lost_as(&mut self, failure: Failure, ended: &Ended) {
        let now = Instant::now();
        let retry = self.machine.failed(failure, now, fastrand::f64());
        self.wait = if std::mem::take(&mut self.is_hasty) {
            retry.after.min(AT_ONCE)
        } else {
            retry.after
        };
        self.unanswered = if ended.is_unanswered() {
            (self.unanswered + 1).min(MOST_PATIENCE)
        } else {
            0
        };
        self.gauges.failures.inc();
        self.gauges.show(&self.machine);
        let cause = Causes(ended).to_string();
        self.notice.post(Trouble::new(
            cause.clone(),
            self.machine.since().unwrap_or(now),
            now + self.wait,
        ));
        let level = if self.said.is_news(&cause, now) {
            retry.level.aloud(self.machine.is_alarming())
        } else {
            retry.level
        };
        if level != Level::Quiet {
            self.said.note(&cause, now);
        }
        self.say(level, &cause, ended.client_may_be_twice());
    }

    fn say(&self, level: Level, cause: &str, client_may_be_twice: bool) {
        let (stage, name, failures) = (self.stage, &self.name, self.machine.failures());
        let retry_in = format!("{:.1?}", self.wait);
        // Only where it may be what to look at.
        let client_id = client_may_be_twice.then_some(self.config.client_id.as_str());
        match level {
            Level::Warn => {
                tracing::warn!(stage, %name, failures, retry_in, cause, client_id, "no connection to the broker")
            }
            Level::Alarm => {
                tracing::error!(stage, %name, failures, retry_in, cause, client_id, "no connection to the broker")
            }
            Level::Quiet => {
                tracing::debug!(stage, %name, failures, retry_in, cause, client_id, "no connection to the broker")
            }
        }
    }
}

async fn told_to_stop(stop: &mut watch::Receiver<Stop>) {
    // An error means that the gateway is gone, which is the same.
    let _ = stop.wait_for(|stop| *stop != Stop::Run).await;
}

/// Why a stage itself ends a connection, in the words of the log.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The connection failed.
    #[error(transparent)]
    Link(#[from] Error),
    /// The broker granted none of the subscriptions.
    #[error("the broker refused every subscription: check this client's rights")]
    NotAuthorised,
    /// The broker takes no level above 0, so no message would ever be known to have arrived.
    #[error(
        "the broker takes QoS 0 only, where what is sent is lost without a word: nothing is sent; raise the broker's limit, or set `allow_qos0 = true` and count on losses"
    )]
    Level0Only,
    /// A stage lost receipts, so the broker must send again.
    #[error(
        "messages were lost inside before they were safe; the broker is asked to send them again"
    )]
    Fault,
    /// Messages were sent, and nothing came back.
    #[error(
        "the broker is there, and did not acknowledge {count} of its messages within {waited:.1?}"
    )]
    Silent {
        /// How many.
        count: usize,
        /// How long they waited.
        waited: Duration,
    },
}

impl Ended {
    /// How it is to be met.
    pub fn kind(&self) -> Failure {
        match self {
            Self::Link(error) => error.kind(),
            Self::NotAuthorised | Self::Level0Only => Failure::Refused,
            Self::Fault | Self::Silent { .. } => Failure::Passing,
        }
    }

    /// Whether messages were under way, and the broker had answered to none of them when the link stood still.
    fn is_unanswered(&self) -> bool {
        matches!(
            self,
            Self::Link(Error::Silent {
                unanswered: true,
                ..
            })
        )
    }

    /// Whether another client of the same id would look like this.
    fn client_may_be_twice(&self) -> bool {
        match self {
            Self::Link(Error::Closed { before_connack, .. }) => !before_connack,
            Self::Link(Error::Disconnected { code, .. }) => *code == reason::TAKEN_OVER,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::interface::tests::new_address;
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn redial(failure: Failure) -> (Redial, std::net::UdpSocket) {
        let backoff = super::super::Backoff {
            first: Duration::from_millis(1),
            cap: HOUR,
            jitter: 0.0,
        };
        let config = Config {
            backoff,
            ..super::super::settings::tests::config()
        };
        let metrics = LinkMetrics::new(&Registry::new(), "uplink").unwrap();
        let mut redial = Redial::new(config, "uplink", "cloud".into(), &metrics);
        let (interfaces, system) = Interfaces::hearing();
        redial.interfaces = interfaces;
        redial.lost_as(failure, &Ended::Fault);
        redial.wait = HOUR;
        (redial, system)
    }

    #[tokio::test]
    async fn an_interface_that_comes_up_cuts_a_back_off_short() {
        let (mut redial, system) = redial(Failure::Passing);
        system.send(&new_address()).unwrap();
        tokio::time::timeout(Duration::from_secs(60), redial.pause())
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn an_interface_that_comes_up_changes_nothing_where_the_broker_refused_us() {
        let (mut redial, system) = redial(Failure::Refused);
        system.send(&new_address()).unwrap();
        let paused = tokio::time::timeout(Duration::from_millis(300), redial.pause()).await;
        assert!(paused.is_err(), "it dialled again");
    }
}
