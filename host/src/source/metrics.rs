//! What a source counts.

use std::sync::Arc;
use std::time::Instant;

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::conditions::{ConditionBoard, SourceCondition, SourceConditions};
use crate::link::{Hurry, LinkAccount, LinkMetrics};
use crate::telemetry::trace::Tracer;

const LABEL: &str = "source";

/// The metrics of all sources.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(super) link: LinkMetrics,
    received: IntCounterVec,
    unrouted: IntCounterVec,
    repeated: IntCounterVec,
    dropped: IntCounterVec,
    too_long: IntCounterVec,
    requests: IntCounterVec,
    polls: IntCounterVec,
    conditions: SourceConditions,
    malformed: IntCounterVec,
    circled: IntCounterVec,
    unframed: IntCounterVec,
    left_out: IntCounterVec,
    faults: IntCounterVec,
    session: SessionMetrics,
    unsettled: UnsettledMetrics,
    tracer: Tracer,
}

impl Metrics {
    /// The same, whose sources trace messages with `tracer`.
    #[must_use]
    pub fn with_tracer(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    /// What sources trace messages with.
    pub(super) fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// Registers them.
    ///
    /// # Errors
    /// The names are taken.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| counter_by(registry, name, help, &[LABEL]);
        let (requests, polls) = asked(registry)?;
        Ok(Self {
            requests,
            polls,
            conditions: SourceConditions::new(registry)?,
            link: LinkMetrics::new(registry, LABEL)?,
            received: counter(
                "tidegate_messages_received_total",
                "Messages that came in, redeliveries included.",
            )?,
            unrouted: counter(
                "tidegate_source_unrouted_messages_total",
                "Messages that no flow asked for; acknowledged.",
            )?,
            repeated: counter(
                "tidegate_source_repeated_messages_total",
                "Messages a flow dropped as repeats of earlier ones.",
            )?,
            dropped: counter(
                "tidegate_source_dropped_messages_total",
                "QoS 0 messages dropped for want of room.",
            )?,
            too_long: counter(
                "tidegate_source_too_long_messages_total",
                "Messages over a limit; their head is parked.",
            )?,
            circled: counter(
                "tidegate_source_circled_messages_total",
                "Messages that a flow sent and that came back again and again; they are parked.",
            )?,
            unframed: counter(
                "tidegate_source_unframed_total",
                "Stretches of bytes in which there was no whole message; their head is parked.",
            )?,
            left_out: counter(
                "tidegate_source_left_out_messages_total",
                "Messages left out since nobody could be told to wait, or since they were none; in the ledger.",
            )?,
            malformed: counter(
                "tidegate_source_malformed_messages_total",
                "Messages with a field that MQTT forbids; they are parked.",
            )?,
            faults: counter(
                "tidegate_source_faults_total",
                "Read bursts whose receipts were lost inside.",
            )?,
            session: SessionMetrics::new(registry)?,
            unsettled: UnsettledMetrics::new(registry)?,
            tracer: Tracer::default(),
        })
    }

    /// Has sources try again that wait to.
    pub fn hurry(&self) -> &Hurry {
        self.link.hurry()
    }

    /// What a source that was started tells of itself.
    pub fn account(&self, source: &str, now: Instant) -> Account {
        let SourceMeters {
            received,
            dropped,
            refused,
            lowered,
            session_cut,
            messages,
            ..
        } = self.of(source);
        let level = |gauge: IntGauge| u64::try_from(gauge.get()).unwrap_or_default();
        Account {
            link: self.link.account(source, now),
            received: received.get(),
            dropped: dropped.get(),
            unsettled: level(messages),
            refused_filters: level(refused),
            lowered_filters: level(lowered),
            session_s: level(session_cut),
            conditions: self.conditions.of(source),
        }
    }

    /// Whether what devices send to a source comes in: its connection stands, and it is not full.
    pub fn is_listening(&self, source: &str) -> bool {
        let SourceMeters {
            bytes,
            bytes_capacity,
            ..
        } = self.of(source);
        let is_full = bytes_capacity.get() > 0 && bytes.get() >= bytes_capacity.get();
        !is_full && self.link.account(source, Instant::now()).is_up
    }

    /// Counts polls that came to `outcome`.
    pub(super) fn polls(&self, source: &str, outcome: &str) -> IntCounter {
        self.polls.with_label_values(&[source, outcome])
    }

    /// Names of sources that tell of something that does not go as it should.
    pub fn telling(&self) -> Vec<Arc<str>> {
        self.conditions.names()
    }

    /// Where a source tells what does not go as it should.
    pub fn board(&self, source: &str) -> ConditionBoard {
        self.conditions.board(source)
    }

    /// Counts requests that were answered with `status`.
    pub(super) fn requests(&self, source: &str, status: &str) -> IntCounter {
        self.requests.with_label_values(&[source, status])
    }

    pub(super) fn of(&self, source: &str) -> SourceMeters {
        let labels = [source];
        SourceMeters {
            received: self.received.with_label_values(&labels),
            unrouted: self.unrouted.with_label_values(&labels),
            repeated: self.repeated.with_label_values(&labels),
            dropped: self.dropped.with_label_values(&labels),
            too_long: self.too_long.with_label_values(&labels),
            malformed: self.malformed.with_label_values(&labels),
            circled: self.circled.with_label_values(&labels),
            unframed: self.unframed.with_label_values(&labels),
            left_out: self.left_out.with_label_values(&labels),
            refused: self.session.refused.with_label_values(&labels),
            lowered: self.session.lowered.with_label_values(&labels),
            session_cut: self.session.session_cut.with_label_values(&labels),
            faults: self.faults.with_label_values(&labels),
            sessions_lost: self.session.sessions_lost.with_label_values(&labels),
            messages: self.unsettled.messages.with_label_values(&labels),
            messages_capacity: self.unsettled.messages_capacity.with_label_values(&labels),
            bytes: self.unsettled.bytes.with_label_values(&labels),
            bytes_capacity: self.unsettled.bytes_capacity.with_label_values(&labels),
        }
    }
}

/// What the broker grants, and for how long it keeps our session.
#[derive(Clone, Debug)]
struct SessionMetrics {
    refused: IntGaugeVec,
    lowered: IntGaugeVec,
    session_cut: IntGaugeVec,
    sessions_lost: IntCounterVec,
}

impl SessionMetrics {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            refused: gauge(
                registry,
                "tidegate_source_refused_filters",
                "Topic filters the broker refuses: their messages do not come.",
            )?,
            lowered: gauge(
                registry,
                "tidegate_source_lowered_filters",
                "Topic filters it serves with a lower level than was asked for.",
            )?,
            session_cut: gauge(
                registry,
                "tidegate_source_session_seconds",
                "How long the broker keeps our session, where that is less than for ever; 0: for ever, or it does not say.",
            )?,
            sessions_lost: counter_by(
                registry,
                "tidegate_source_sessions_lost_total",
                "Reconnects that found the broker without our session.",
                &[LABEL],
            )?,
        })
    }
}

/// What was taken and is not settled, and how much of it there may be.
#[derive(Clone, Debug)]
struct UnsettledMetrics {
    messages: IntGaugeVec,
    messages_capacity: IntGaugeVec,
    bytes: IntGaugeVec,
    bytes_capacity: IntGaugeVec,
}

impl UnsettledMetrics {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            messages: gauge(
                registry,
                "tidegate_source_unsettled_messages",
                "Messages taken and not yet acknowledged.",
            )?,
            messages_capacity: gauge(
                registry,
                "tidegate_source_unsettled_messages_capacity",
                "How many the broker may send unacknowledged.",
            )?,
            bytes: gauge(
                registry,
                "tidegate_source_unsettled_bytes",
                "Bytes taken and not yet settled.",
            )?,
            bytes_capacity: gauge(
                registry,
                "tidegate_source_unsettled_bytes_capacity",
                "Bytes at which the source stops reading.",
            )?,
        })
    }
}

/// Requests, and what was asked for at a time, by how they ended.
fn asked(registry: &Registry) -> Result<(IntCounterVec, IntCounterVec), prometheus::Error> {
    let by = |what, name: &str, help: &str| counter_by(registry, name, help, &[LABEL, what]);
    Ok((
        by(
            "status",
            "tidegate_source_requests_total",
            "Requests: those that came in by the status they were answered with, those to devices by what came back.",
        )?,
        by(
            "outcome",
            "tidegate_source_polls_total",
            "Polls of a group of values, and ticks of a clock, by what became of them.",
        )?,
    ))
}

fn counter_by(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGaugeVec, prometheus::Error> {
    let gauge = IntGaugeVec::new(Opts::new(name, help), &[LABEL])?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

/// What one source tells of itself.
#[derive(Clone, Debug, Default)]
pub struct Account {
    pub link: LinkAccount,
    /// Messages that came in since the start, redeliveries included.
    pub received: u64,
    /// Messages of QoS 0 dropped for want of room since the start.
    pub dropped: u64,
    /// Messages taken and not yet acknowledged.
    pub unsettled: u64,
    /// Topic filters the broker refuses.
    pub refused_filters: u64,
    /// Topic filters it serves with a lower level than was asked for.
    pub lowered_filters: u64,
    /// How long the broker keeps our session, seconds; 0: for ever, or it does not say.
    pub session_s: u64,
    /// What else does not go as it should.
    pub conditions: Vec<SourceCondition>,
}

/// The metrics of one source.
#[derive(Debug)]
pub(super) struct SourceMeters {
    pub(super) received: IntCounter,
    pub(super) unrouted: IntCounter,
    pub(super) repeated: IntCounter,
    pub(super) dropped: IntCounter,
    pub(super) too_long: IntCounter,
    pub(super) malformed: IntCounter,
    pub(super) circled: IntCounter,
    pub(super) unframed: IntCounter,
    pub(super) left_out: IntCounter,
    pub(super) refused: IntGauge,
    pub(super) lowered: IntGauge,
    pub(super) session_cut: IntGauge,
    pub(super) faults: IntCounter,
    pub(super) sessions_lost: IntCounter,
    pub(super) messages: IntGauge,
    pub(super) messages_capacity: IntGauge,
    pub(super) bytes: IntGauge,
    pub(super) bytes_capacity: IntGauge,
}
