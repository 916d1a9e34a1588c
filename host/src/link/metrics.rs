//! The gauges of all connections of one kind.

use std::time::Instant;

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::hurry::Hurry;
use super::reconnect::{LinkState, Reconnect};
use super::takeovers::{Takeover, Takeovers};
use super::troubles::{Trouble, Troubles};

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
    takeovers: Takeovers,
    hurry: Hurry,
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
            takeovers: Takeovers::default(),
            hurry: Hurry::default(),
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
        let in_state = |state: &&LinkState| {
            let connections = self.state.with_label_values(&[name, state.name()]);
            connections.get() > 0
        };
        LinkAccount {
            state: LinkState::ALL.iter().find(in_state).copied(),
            is_up: self.up.with_label_values(&[name]).get() > 0,
            failures: self.failures.with_label_values(&[name]).get(),
            trouble: self.troubles.of(name, now),
            takeover: self.takeovers.of(name, now),
        }
    }

    /// Tells those that wait for their next attempt to make it.
    pub fn hurry(&self) -> &Hurry {
        &self.hurry
    }

    /// What keeps connections from being in use.
    pub(super) fn troubles(&self) -> &Troubles {
        &self.troubles
    }

    /// What throws them out again and again.
    pub(super) fn takeovers(&self) -> &Takeovers {
        &self.takeovers
    }

    /// A part in the alarm of one connection's owner.
    pub fn alarm(&self, name: &str) -> Contribution {
        Contribution::to(self.alarm.with_label_values(&[name]))
    }

    /// Counts what the other end answers to nothing.
    pub fn strays(&self, name: &str) -> IntCounter {
        self.strays.with_label_values(&[name])
    }

    pub(super) fn of(&self, name: &str) -> LinkGauges {
        LinkGauges {
            up: Contribution::to(self.up.with_label_values(&[name])),
            states: LinkState::ALL
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
    pub state: Option<LinkState>,
    /// At least one is in use.
    pub is_up: bool,
    /// Failed attempts and lost connections since the start.
    pub failures: u64,
    /// The longest trouble among them.
    pub trouble: Option<Trouble>,
    /// Another one of the same id throws one of them out again and again.
    pub takeover: Option<Takeover>,
}

/// One contributor's part of a gauge that several add to: the connections of one uplink share theirs. It is taken back
/// at the end.
#[derive(Debug)]
pub struct Contribution {
    gauge: IntGauge,
    shown: i64,
}

impl Contribution {
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

/// Those of one connection.
#[derive(Debug)]
pub(super) struct LinkGauges {
    up: Contribution,
    states: [Contribution; LinkState::ALL.len()],
    alarm: Contribution,
    pub(super) failures: IntCounter,
    pub(super) reconnects: IntCounter,
}

impl LinkGauges {
    pub(super) fn show(&mut self, machine: &Reconnect) {
        for (state, gauge) in LinkState::ALL.iter().zip(&mut self.states) {
            gauge.set(i64::from(*state == machine.state()));
        }
        self.up.set(i64::from(machine.state() == LinkState::Online));
        self.alarm.set(i64::from(
            machine.is_alarming() && machine.state() != LinkState::Online,
        ));
    }
}

/// A count as a gauge takes it.
pub fn level(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
