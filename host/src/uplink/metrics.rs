//! What an uplink counts.

use std::collections::BTreeSet;
use std::time::Instant;

use prometheus::local::LocalHistogram;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry,
};

use super::condition::{ConditionKind, UplinkCondition, UplinkConditions};
use super::settings::Config;
use crate::link::{Contribution, Hurry, LinkAccount, LinkMetrics, Trouble};
use crate::telemetry::trace::Tracer;

const LABEL: &str = "uplink";

/// From a tenth of a millisecond, on a wire, to a week, through the spool.
const BUCKETS: [f64; 23] = [
    0.000_1, 0.000_2, 0.000_4, 0.000_8, 0.001_6, 0.003, 0.006, 0.012, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 600.0, 3_600.0, 86_400.0, 604_800.0,
];

/// The metrics of all uplinks.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(super) link: LinkMetrics,
    forwarded: IntCounterVec,
    refused: IntCounterVec,
    unanswered: IntCounterVec,
    unacknowledged: IntCounterVec,
    delivery: HistogramVec,
    inflight: IntGaugeVec,
    inflight_capacity: IntGaugeVec,
    condition: IntGaugeVec,
    condition_messages: IntGaugeVec,
    pub(super) conditions: UplinkConditions,
    tracer: Tracer,
}

impl Metrics {
    /// The same, whose uplinks trace messages with `tracer`.
    #[must_use]
    pub fn with_tracer(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    /// What uplinks trace messages with.
    pub(super) fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// What an uplink that was started tells of itself.
    pub fn account(&self, config: &Config, now: Instant) -> Account {
        let labels = [&*config.name];
        let forwarded = config.drains.iter().map(|drain| &*drain.class);
        let classes: BTreeSet<_> = forwarded.collect();
        let is_up = |fallback: &Config| self.link.account(&fallback.name, now).is_up;
        let inflight = self.inflight.with_label_values(&labels).get();
        Account {
            link: self.link.account(&config.name, now),
            is_on_fallback: config.fallback.as_deref().is_some_and(is_up),
            inflight: u64::try_from(inflight).unwrap_or_default(),
            forwarded: classes
                .into_iter()
                .map(|class| self.forwarded(&config.name, class).get())
                .sum(),
            refused: self.refused.with_label_values(&labels).get(),
            conditions: self.conditions.of(&config.name),
            fallback_trouble: config
                .fallback
                .as_ref()
                .and_then(|fallback| self.link.account(&fallback.name, now).trouble),
            of_fallback: config
                .fallback
                .as_ref()
                .map(|fallback| self.conditions.of(&fallback.name))
                .unwrap_or_default(),
        }
    }

    /// Registers them.
    ///
    /// # Errors
    /// The names are taken.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter =
            |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
                let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
                registry.register(Box::new(counter.clone()))?;
                Ok(counter)
            };
        let labelled = |name: &str, help: &str, labels: &[&str]| {
            let gauge = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let gauge = |name: &str, help: &str| labelled(name, help, &[LABEL]);
        let of_condition = |name: &str, help: &str| labelled(name, help, &[LABEL, "condition"]);
        Ok(Self {
            link: LinkMetrics::new(registry, LABEL)?,
            forwarded: counter(
                "tidegate_messages_forwarded_total",
                "Messages upstream has accepted.",
                &[LABEL, "class"],
            )?,
            refused: counter(
                "tidegate_messages_refused_total",
                "Messages upstream refused for good; parked.",
                &[LABEL],
            )?,
            unanswered: counter(
                "tidegate_uplink_unanswered_messages_total",
                "Messages in flight when a connection ended: each may arrive twice.",
                &[LABEL],
            )?,
            unacknowledged: counter(
                "tidegate_uplink_unacknowledged_messages_total",
                "Messages sent with QoS 0 although more is configured, since the broker takes no more (`allow_qos0`).",
                &[LABEL],
            )?,
            delivery: delivery(registry)?,
            inflight: gauge(
                "tidegate_uplink_inflight",
                "Messages sent and not yet accepted.",
            )?,
            inflight_capacity: gauge(
                "tidegate_uplink_inflight_capacity",
                "How many may be in flight.",
            )?,
            condition: of_condition(
                "tidegate_uplink_condition",
                "Connections for which upstream does not take what it should, by what it does.",
            )?,
            condition_messages: of_condition(
                "tidegate_uplink_condition_messages",
                "Messages that wait for it, as far as they are known.",
            )?,
            conditions: UplinkConditions::default(),
            tracer: Tracer::default(),
        })
    }

    /// Has uplinks try again that wait to.
    pub fn hurry(&self) -> &Hurry {
        self.link.hurry()
    }

    pub(super) fn of(&self, uplink: &str) -> UplinkMeters {
        let labels = [uplink];
        UplinkMeters {
            refused: self.refused.with_label_values(&labels),
            unanswered: self.unanswered.with_label_values(&labels),
            unacknowledged: self.unacknowledged.with_label_values(&labels),
            online: self.delivery.with_label_values(&[uplink, "online"]).local(),
            backlog: self
                .delivery
                .with_label_values(&[uplink, "backlog"])
                .local(),
            inflight: Contribution::to(self.inflight.with_label_values(&labels)),
            inflight_capacity: Contribution::to(self.inflight_capacity.with_label_values(&labels)),
            alarm: self.link.alarm(uplink),
        }
    }

    /// Connections in a condition, and messages that wait for it.
    pub(super) fn condition(
        &self,
        uplink: &str,
        kind: ConditionKind,
    ) -> (Contribution, Contribution) {
        let labels = [uplink, kind.name()];
        (
            Contribution::to(self.condition.with_label_values(&labels)),
            Contribution::to(self.condition_messages.with_label_values(&labels)),
        )
    }

    pub(super) fn forwarded(&self, uplink: &str, class: &str) -> IntCounter {
        self.forwarded.with_label_values(&[uplink, class])
    }
}

fn delivery(registry: &Registry) -> Result<HistogramVec, prometheus::Error> {
    let opts = HistogramOpts::new(
        "tidegate_message_delivery_seconds",
        "From arrival to acceptance upstream; path is online (never left RAM) or backlog (read from disk).",
    );
    let delivery = HistogramVec::new(opts.buckets(BUCKETS.to_vec()), &[LABEL, "path"])?;
    registry.register(Box::new(delivery.clone()))?;
    Ok(delivery)
}

/// What one uplink tells of itself.
#[derive(Clone, Debug, Default)]
pub struct Account {
    pub link: LinkAccount,
    /// Its fallback has its queues.
    pub is_on_fallback: bool,
    /// Messages sent and not yet accepted.
    pub inflight: u64,
    /// Messages upstream has accepted since the start.
    pub forwarded: u64,
    /// Messages upstream has refused for good since the start.
    pub refused: u64,
    /// What upstream does not take, and what stands still for it.
    pub conditions: Vec<UplinkCondition>,
    /// What keeps its fallback from being used while it is needed.
    pub fallback_trouble: Option<Trouble>,
    /// What that does not take.
    pub of_fallback: Vec<UplinkCondition>,
}

/// The metrics of one uplink.
#[derive(Debug)]
pub(super) struct UplinkMeters {
    pub(super) refused: IntCounter,
    pub(super) unanswered: IntCounter,
    pub(super) unacknowledged: IntCounter,
    /// Flushed once a turn: observing is then an addition.
    pub(super) online: LocalHistogram,
    pub(super) backlog: LocalHistogram,
    pub(super) inflight: Contribution,
    pub(super) inflight_capacity: Contribution,
    pub(super) alarm: Contribution,
}
