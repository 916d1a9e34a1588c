//! What stands between a lane and a plugin that fails: its breaker, and what `on_error` says becomes of a message it
//! fails on or is not asked about. Who can put another version in its place is told when it is given up on.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::breaker::{Breaker, BreakerState};
use super::fault::Fault;
use super::outbox::{Item, Outbox};
use super::settings::{OnError, PluginConfig};
use super::version::Version;
use crate::clock::Now;

/// A plugin whose breaker has opened: it keeps failing, and no bisection, fresh instance or pause has helped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Name of the flow.
    pub flow: Arc<str>,
    /// Place of the plugin in its flow, from 0 on.
    pub plugin: usize,
    /// SHA-256 of the component that failed.
    pub digest: Arc<str>,
    /// The fault that opened it, in words.
    pub why: String,
}

type Hook = Box<dyn Fn(Opened) + Send + Sync>;

/// Who wants to know.
#[derive(Default)]
pub(super) struct Alarm(OnceLock<Hook>);

impl Alarm {
    /// The first one stays.
    pub(super) fn set(&self, hook: Hook) {
        let _ = self.0.set(hook);
    }

    fn ring(&self, opened: Opened) {
        if let Some(hook) = self.0.get() {
            hook(opened);
        }
    }
}

/// See the module.
pub(super) struct Guard {
    breaker: Breaker,
    on_error: OnError,
    plugin: usize,
    lane: usize,
    alarm: Arc<Alarm>,
    /// The last fault, for those that are not asked about.
    why: String,
}

impl Guard {
    /// Of plugin number `plugin` in a lane.
    pub(super) fn new(config: &PluginConfig, plugin: usize, lane: usize, alarm: Arc<Alarm>) -> Self {
        Self { breaker: Breaker::new(config.breaker), on_error: config.on_error, plugin, lane, alarm, why: String::new() }
    }

    /// How many of the next `waiting` messages `version` is to get.
    pub(super) fn admit(&mut self, version: &Version, waiting: usize, now: Now) -> usize {
        let before = self.breaker.state();
        let admitted = self.breaker.admit(waiting, now.uptime_us);
        self.tell(before, version);
        admitted
    }

    /// It has processed so many.
    pub(super) fn succeed(&mut self, version: &Version, messages: usize, now: Now) {
        let before = self.breaker.state();
        self.breaker.succeed(messages, now.uptime_us);
        self.tell(before, version);
    }

    /// It failed on exactly this message.
    pub(super) fn fail(&mut self, version: &Version, (item, fault): (&mut Item, &Fault), now: Now, outbox: &mut Outbox) {
        if !self.holds() {
            return self.fail_for_good(version, (item, fault), now, outbox);
        }
        let before = self.breaker.state();
        self.breaker.trip(now.uptime_us);
        self.why = fault.to_string();
        self.tell(before, version);
        outbox.hold(item);
    }

    /// The same where those behind it are through already, so that it cannot be held: then it is parked instead.
    pub(super) fn fail_for_good(&mut self, version: &Version, (item, fault): (&mut Item, &Fault), now: Now, outbox: &mut Outbox) {
        let before = self.breaker.state();
        self.breaker.fail(now.uptime_us);
        self.why = fault.to_string();
        self.tell(before, version);
        outbox.accuse(item);
        match self.on_error {
            OnError::Park | OnError::Hold => outbox.poison(version, item, fault.detail()),
            OnError::Drop => outbox.give_up(std::mem::take(item)),
            OnError::Pass => outbox.next.push(std::mem::take(item)),
        }
    }

    /// `version` takes the place of the one it was about.
    pub(super) fn begin_anew(&mut self, version: &Version) {
        let before = self.breaker.state();
        self.breaker.reset();
        self.tell(before, version);
    }

    /// Whether what it fails on is held.
    pub(super) fn holds(&self) -> bool {
        self.on_error == OnError::Hold
    }

    /// When a message that is held may be tried again.
    pub(super) fn next_try(&self, now: Now) -> Instant {
        Instant::now() + Duration::from_micros(self.breaker.probe_us().saturating_sub(now.uptime_us))
    }

    /// It is not asked about these.
    pub(super) fn turn_away(&self, version: &Version, items: &mut [Item], outbox: &mut Outbox) {
        for item in items {
            match self.on_error {
                OnError::Park => {
                    let why =
                        format!("not tried: the plugin keeps failing, and its breaker is open; its last fault: {}", self.why);
                    outbox.poison(version, item, why);
                }
                OnError::Drop => outbox.give_up(std::mem::take(item)),
                OnError::Pass => outbox.next.push(std::mem::take(item)),
                OnError::Hold => outbox.hold(item),
            }
        }
    }

    /// Its lane ends: the gauges forget it.
    pub(super) fn retire(&self, version: &Version) {
        version.metrics.breaker_moved(self.breaker.state(), BreakerState::Closed);
    }

    /// One line for each change, and the gauges.
    fn tell(&self, before: BreakerState, version: &Version) {
        let state = self.breaker.state();
        if state == before {
            return;
        }
        version.metrics.breaker_moved(before, state);
        let (flow, plugin, lane) = (&*version.metrics.flow, version.label(), self.lane);
        match (before, state) {
            (_, BreakerState::Closed) => tracing::info!(flow, plugin, lane, "plugin works again: its breaker is closed"),
            (_, BreakerState::HalfOpen) => {
                tracing::info!(flow, plugin, lane, "breaker of a plugin is half-open: it gets one message")
            }
            (BreakerState::HalfOpen, BreakerState::Open) => {
                tracing::warn!(flow, plugin, lane, "plugin failed again: its breaker stays open: {}", self.why);
            }
            (_, BreakerState::Open) => {
                let on_error = self.on_error.name();
                tracing::error!(flow, plugin, lane, on_error, "plugin keeps failing: its breaker is open: {}", self.why);
                self.alarm.ring(Opened {
                    flow: Arc::clone(&version.metrics.flow),
                    plugin: self.plugin,
                    digest: Arc::clone(&version.reference.digest),
                    why: self.why.clone(),
                });
            }
        }
    }
}
