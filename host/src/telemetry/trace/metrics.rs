//! What is counted of spans.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, IntGaugeVec, Opts};

use super::{Tracer, lock};

/// Spans since the start, by what became of them.
#[derive(Debug, Default)]
pub(super) struct SpanCounts {
    pub(super) sent: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) refused: AtomicU64,
}

/// The same for the metrics, read when somebody asks.
pub(super) struct SpanMetrics {
    tracer: Tracer,
    spans: prometheus::IntCounterVec,
    waiting: IntGauge,
    up: IntGaugeVec,
}

impl SpanMetrics {
    /// Of this tracer.
    ///
    /// # Errors
    /// Never: the names are good ones.
    pub(super) fn new(tracer: Tracer) -> Result<Self, prometheus::Error> {
        let spans = Opts::new(
            "tidegate_trace_spans_total",
            "Spans of traced messages, by what became of them: sent, dropped (no room while the collector was away or slow), refused (by the collector).",
        );
        let waiting = Opts::new(
            "tidegate_trace_spans_waiting",
            "Spans that wait for the collector.",
        );
        let up = Opts::new(
            "tidegate_trace_collector_up",
            "Whether the collector took what it was sent last; none without a collector.",
        );
        Ok(Self {
            tracer,
            spans: prometheus::IntCounterVec::new(spans, &["fate"])?,
            waiting: IntGauge::with_opts(waiting)?,
            up: IntGaugeVec::new(up, &[])?,
        })
    }
}

impl Collector for SpanMetrics {
    fn desc(&self) -> Vec<&Desc> {
        let mut all = self.spans.desc();
        all.extend(self.waiting.desc());
        all.extend(self.up.desc());
        all
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let SpanCounts {
            sent,
            dropped,
            refused,
        } = &self.tracer.0.counts;
        for (fate, count) in [("sent", sent), ("dropped", dropped), ("refused", refused)] {
            let counter = self.spans.with_label_values(&[fate]);
            let more = count.load(Ordering::Relaxed).saturating_sub(counter.get());
            counter.inc_by(more);
        }
        self.waiting
            .set(crate::link::level(lock(&self.tracer.0.queue).len()));
        self.up.reset();
        if let Some(account) = self.tracer.account() {
            let gauge = self.up.with_label_values::<&str>(&[]);
            gauge.set(i64::from(account.trouble.is_none()));
        }
        let mut all = self.spans.collect();
        all.extend(self.waiting.collect());
        all.extend(self.up.collect());
        all
    }
}
