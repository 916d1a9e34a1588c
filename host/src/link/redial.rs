//! Keeps dialling until a connection stands: the machine of `reconnect` with a socket, a log and gauges.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::machine::interface::Interfaces;
use super::metrics::LinkGauges;
use super::reconnect::{LinkState, Loudness, Reconnect, Stop};
use super::takeovers::TakeoverCounter;
use super::troubles::{LoggedCauses, Trouble, TroubleNotice};
use super::{Backoff, Causes, ConnectionLoss, FailureKind, LinkMetrics, SecretFiles, Twin};

/// After so many connections in a row on which nothing was answered, the next one is not more patient still.
const MOST_PATIENCE: u32 = 6;

/// What a protocol says of its connection: how one is made, and what it is known by.
pub trait Dial {
    /// A connection that stands, with what the other end said of it.
    type Up;
    /// Why none came about.
    type Error: ConnectionLoss;

    /// Dials once; each phase has a deadline. `unanswered` connections in a row ended in silence before anything was
    /// answered.
    fn dial(&self, unanswered: u32) -> impl Future<Output = Result<Self::Up, Self::Error>> + Send;

    /// What the other end knows this connection by; it tells connections of one name apart.
    fn id(&self) -> &str;

    fn backoff(&self) -> Backoff;

    /// The files of its secrets and certificates: where one of them changes, a refusal is not waited out.
    fn files(&self) -> SecretFiles {
        SecretFiles::default()
    }

    /// What a failed attempt comes to, for the log.
    fn complaint(&self) -> &'static str;
}

/// One connection that is dialled again whenever it is lost. Callers report what they see: [`Self::stands`] when
/// the other end has granted what they need, [`Self::lost`] when it is over.
#[derive(Debug)]
pub struct Redial<D> {
    dial: D,
    stage: &'static str,
    name: Arc<str>,
    machine: Reconnect,
    gauges: LinkGauges,
    wait: Duration,
    stood_before: bool,
    interfaces: Interfaces,
    hurry: watch::Receiver<()>,
    /// The other end has asked for the pause there is.
    is_asked: bool,
    notice: TroubleNotice,
    takeovers: TakeoverCounter,
    said: LoggedCauses,
    /// Connections in a row that ended in silence before anything was answered.
    unanswered: u32,
    /// The next attempt comes after this pause at the latest.
    hasty: Option<Duration>,
    files: SecretFiles,
}

impl<D: Dial> Redial<D> {
    /// Ready to dial. `stage` and `name` go into the log.
    pub fn new(dial: D, stage: &'static str, name: Arc<str>, metrics: &LinkMetrics) -> Self {
        let machine = Reconnect::new(dial.backoff());
        let mut gauges = metrics.of(&name);
        gauges.show(&machine);
        Self {
            notice: TroubleNotice::on(metrics.troubles(), Arc::clone(&name), dial.id().to_owned()),
            takeovers: TakeoverCounter::on(
                metrics.takeovers(),
                Arc::clone(&name),
                dial.id().to_owned(),
            ),
            files: dial.files(),
            dial,
            stage,
            name,
            machine,
            gauges,
            wait: Duration::ZERO,
            stood_before: false,
            interfaces: Interfaces::listen(),
            hurry: metrics.hurry().hear(),
            is_asked: false,
            said: LoggedCauses::default(),
            unanswered: 0,
            hasty: None,
        }
    }

    pub fn dialled(&self) -> &D {
        &self.dial
    }

    /// The stage that dials, and the name it does that for.
    pub fn owner(&self) -> (&'static str, &str) {
        (self.stage, &self.name)
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
    pub async fn connect(&mut self, stop: &mut watch::Receiver<Stop>) -> Option<D::Up> {
        self.connect_or(stop, || ()).await
    }

    /// The same, and calls `failed` after every attempt that failed.
    pub async fn connect_or(
        &mut self,
        stop: &mut watch::Receiver<Stop>,
        failed: impl Fn(),
    ) -> Option<D::Up> {
        loop {
            tokio::select! {
                biased;
                () = told_to_stop(stop) => return None,
                () = self.pause() => {}
            }
            // What is said from now on may come too late for this attempt.
            self.hurry.mark_unchanged();
            self.machine.dial();
            self.gauges.show(&self.machine);
            self.notice.trying();
            self.files.note().await;
            let opened = tokio::select! {
                biased;
                () = told_to_stop(stop) => return None,
                opened = Box::pin(self.dial.dial(self.unanswered)) => opened,
            };
            match opened {
                Ok(up) => {
                    self.machine.greeted();
                    self.gauges.show(&self.machine);
                    return Some(up);
                }
                Err(error) => {
                    self.lost(&error);
                    failed();
                }
            }
        }
    }

    /// Waits for the next attempt. Whoever may have mended what was wrong ends that. An interface that comes up cuts it short, to the first delay, since a route may take a
    /// moment longer; where the broker refused us no interface changes that.
    async fn pause(&mut self) {
        let refused = self.machine.state() == LinkState::Refused;
        tokio::select! {
            () = tokio::time::sleep(self.wait) => {}
            () = self.files.changed(), if refused && !self.is_asked => {
                tracing::info!(stage = self.stage, name = %self.name, "a file of its secrets or certificates has changed: trying again");
            }
            () = hurried(&mut self.hurry), if !self.is_asked && !self.wait.is_zero() => {
                tracing::info!(stage = self.stage, name = %self.name, "the config was read again: trying again");
            }
            () = self.interfaces.came_up(), if !refused && !self.wait.is_zero() => {
                tracing::info!(stage = self.stage, name = %self.name, "a network interface came up: trying again");
                tokio::time::sleep(self.wait.min(self.dial.backoff().first)).await;
            }
        }
    }

    /// The other end has granted what is needed: how many attempts failed before.
    pub fn stands(&mut self) -> u32 {
        let now = Instant::now();
        self.machine.online(now);
        self.gauges.show(&self.machine);
        self.notice.online(now);
        if std::mem::replace(&mut self.stood_before, true) {
            self.gauges.reconnects.inc();
        }
        self.machine.failures()
    }

    /// The connection in use was good for something: should it end, the next attempt comes as after a first failure.
    pub fn worked(&mut self) {
        self.machine.worked();
    }

    /// It ended over a message that is known now: the next attempt comes after this pause at the latest.
    pub fn hasten(&mut self, pause: Duration) {
        self.hasty = Some(pause);
    }

    /// The connection was left to be opened anew at once: nothing failed.
    pub fn renew(&mut self) {
        let (stage, name) = self.owner();
        tracing::debug!(stage, %name, "the token ends soon: the connection is opened anew");
        self.machine = Reconnect::new(self.dial.backoff());
        self.gauges.show(&self.machine);
        self.wait = Duration::ZERO;
        self.is_asked = false;
    }

    /// The stage ends, and its connection with it.
    pub fn left(&mut self) {
        self.machine = Reconnect::new(self.dial.backoff());
        self.gauges.show(&self.machine);
        self.notice.clear();
    }

    /// The attempt failed or the connection is over; the next [`Self::connect`] waits accordingly.
    pub fn lost(&mut self, ended: &impl ConnectionLoss) {
        self.lost_as(ended.kind(), ended);
    }

    /// The same, where it is to be met otherwise than its kind says.
    pub fn lost_as(&mut self, failure: FailureKind, ended: &impl ConnectionLoss) {
        let now = Instant::now();
        if self.machine.state() == LinkState::Online {
            self.hurry.mark_unchanged();
        }
        self.look_for_another(ended.twin(), now);
        let retry = self.machine.failed(failure, now, fastrand::f64());
        let pause = self.hasty.take();
        self.wait = pause
            .map_or(retry.after, |pause| retry.after.min(pause))
            .max(ended.pause().unwrap_or_default());
        self.is_asked = ended.pause().is_some();
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
        if level != Loudness::Quiet {
            self.said.note(&cause, now);
        }
        self.say(level, &cause, ended.twin().is_some());
    }

    /// Says once that another one of our id throws us out again and again. A hang-up of which it is known what for is none.
    fn look_for_another(&mut self, twin: Option<Twin>, now: Instant) {
        let is_open = self.machine.state() == LinkState::Online && self.hasty.is_none();
        let Some(twin) = twin.filter(|twin| *twin == Twin::Told || is_open) else {
            return;
        };
        if let Some(takeover) = self.takeovers.taken_over(twin, now) {
            let stage = self.stage;
            let name = &self.name;
            tracing::warn!(stage, %name, "{}", takeover.words());
        }
    }

    fn say(&self, level: Loudness, cause: &str, may_be_a_twin: bool) {
        let stage = self.stage;
        let name = &self.name;
        let failures = self.machine.failures();
        let retry_in = format!("{:.1?}", self.wait);
        // Only where it may be what to look at.
        let client_id = may_be_a_twin.then_some(self.dial.id());
        match level {
            Loudness::Warn => {
                tracing::warn!(stage, %name, failures, retry_in, cause, client_id, "{}", self.dial.complaint())
            }
            Loudness::Alarm => {
                tracing::error!(stage, %name, failures, retry_in, cause, client_id, "{}", self.dial.complaint())
            }
            Loudness::Quiet => {
                tracing::debug!(stage, %name, failures, retry_in, cause, client_id, "{}", self.dial.complaint())
            }
        }
    }
}

/// Waits until somebody says so.
async fn hurried(hurry: &mut watch::Receiver<()>) {
    if hurry.changed().await.is_err() {
        std::future::pending().await
    }
}

async fn told_to_stop(stop: &mut watch::Receiver<Stop>) {
    // An error means that the gateway is gone, which is the same.
    let _ = stop.wait_for(|stop| *stop != Stop::Run).await;
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::super::machine::interface::tests::new_address;
    use super::*;
    use crate::link::{Error, Hurry};

    const HOUR: Duration = Duration::from_secs(3_600);

    struct Nobody;

    impl Dial for Nobody {
        type Up = ();
        type Error = Error;

        async fn dial(&self, _: u32) -> Result<(), Error> {
            Err(Error::late("an answer", Duration::ZERO))
        }

        fn id(&self) -> &str {
            "gateway"
        }

        fn backoff(&self) -> Backoff {
            Backoff {
                first: Duration::from_millis(1),
                cap: HOUR,
                jitter: 0.0,
            }
        }

        fn complaint(&self) -> &'static str {
            "nobody answers"
        }
    }

    fn redial(failure: FailureKind) -> (Redial<Nobody>, std::net::UdpSocket) {
        let metrics = LinkMetrics::new(&Registry::new(), "uplink").unwrap();
        let mut redial = Redial::new(Nobody, "uplink", "cloud".into(), &metrics);
        let (interfaces, system) = Interfaces::hearing();
        redial.interfaces = interfaces;
        redial.lost_as(failure, &Error::late("an answer", HOUR));
        redial.wait = HOUR;
        (redial, system)
    }

    #[tokio::test]
    async fn an_interface_that_comes_up_cuts_a_back_off_short() {
        let (mut redial, system) = redial(FailureKind::Passing);
        system.send(&new_address()).unwrap();
        tokio::time::timeout(Duration::from_secs(60), redial.pause())
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn whoever_was_refused_tries_again_at_once_when_it_may_be_mended() {
        let (mut redial, _system) = redial(FailureKind::Refused);
        let hurry = Hurry::default();
        redial.hurry = hurry.hear();
        hurry.all();
        tokio::time::timeout(Duration::from_secs(60), redial.pause())
            .await
            .unwrap();
        // Once, and not where the other end has asked for the pause.
        let again = tokio::time::timeout(Duration::from_millis(300), redial.pause()).await;
        assert!(again.is_err(), "it dialled again");
        redial.is_asked = true;
        hurry.all();
        let asked = tokio::time::timeout(Duration::from_millis(300), redial.pause()).await;
        assert!(asked.is_err(), "it dialled although it was to wait");
    }

    #[tokio::test]
    async fn an_interface_that_comes_up_changes_nothing_where_we_were_refused() {
        let (mut redial, system) = redial(FailureKind::Refused);
        system.send(&new_address()).unwrap();
        let paused = tokio::time::timeout(Duration::from_millis(300), redial.pause()).await;
        assert!(paused.is_err(), "it dialled again");
    }
}
