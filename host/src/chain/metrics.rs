//! What is counted about chains. Labels are flow and plugin, never topic or device.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

use super::ration::{Ration, Rations};
use super::tally::{PluginTally, Tallies};
use crate::chain::lane::guard::breaker::BreakerState;
use crate::chain::lane::guard::held::HeldDevices;
use crate::chain::sandbox::fault::FaultKind;

/// Metrics of all chains of the process.
#[derive(Clone, Debug)]
pub struct Metrics {
    messages: IntCounterVec,
    bytes: IntCounterVec,
    waiting: IntGaugeVec,
    quarantined: IntGaugeVec,
    restarts: IntCounterVec,
    transitions: IntCounterVec,
    code: IntCounterVec,
    call_seconds: HistogramVec,
    own_counters: IntCounterVec,
    own_gauges: GaugeVec,
    rations: Rations,
    tallies: Tallies,
}

/// What became of an input message of a chain; of several outcomes the highest counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    /// No plugin named it, or all its outputs went to ports that drop.
    #[default]
    Filtered,
    /// It went into a plugin's state.
    Absorbed,
    /// It was given up because of a plugin.
    Dropped,
    /// It is a dead letter.
    Parked,
    /// It, or what was made of it, is owed to an uplink.
    Forwarded,
    /// A part of it at least waits for a plugin, and its fate is open.
    Held,
}

impl Fate {
    /// Those that are counted.
    pub(super) const ALL: [Self; 5] = [
        Self::Filtered,
        Self::Absorbed,
        Self::Dropped,
        Self::Parked,
        Self::Forwarded,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Filtered => "filtered",
            Self::Absorbed => "absorbed",
            Self::Dropped => "dropped",
            Self::Parked => "parked",
            Self::Forwarded => "forwarded",
            Self::Held => "held",
        }
    }
}

impl Metrics {
    /// Registers them.
    ///
    /// # Errors
    /// When a metric of the same name is registered already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            add(
                registry,
                IntCounterVec::new(Opts::new(format!("tidegate_{name}_total"), help), labels)?,
            )
        };
        let waiting = Opts::new(
            "tidegate_chain_waiting_messages",
            "Messages that wait for a lane.",
        );
        let quarantined = Opts::new(
            "tidegate_quarantined_devices",
            "Devices whose messages are not tried since they were bad.",
        );
        let gauges = Opts::new("tidegate_plugin_value", "Gauges that plugins set.");
        let gauges = GaugeVec::new(gauges, &["flow", "plugin", "lane", "name"])?;
        Ok(Self {
            messages: counter(
                "chain_messages",
                "Input messages of a chain by what became of them.",
                &["flow", "fate"],
            )?,
            bytes: counter(
                "flow_bytes",
                "Bytes of messages that came into a flow, and of those that left it, topics and headers included.",
                &["flow", "direction"],
            )?,
            waiting: add(registry, IntGaugeVec::new(waiting, &["flow"])?)?,
            quarantined: add(registry, IntGaugeVec::new(quarantined, &["flow"])?)?,
            restarts: counter(
                "lane_restarts",
                "Lanes started again after a panic of the host's own code.",
                &["flow"],
            )?,
            transitions: counter(
                "swap_transitions",
                "Changes of plugins by the state they came to.",
                &["flow", "plugin", "state"],
            )?,
            code: counter(
                "plugin_code",
                "Components made to code, by where that came from.",
                &["flow", "plugin", "origin"],
            )?,
            call_seconds: add(registry, call_seconds()?)?,
            own_counters: counter(
                "plugin_counted",
                "Counters that plugins add to.",
                &["flow", "plugin", "name"],
            )?,
            own_gauges: add(registry, gauges)?,
            rations: Rations::default(),
            tallies: add(registry, Tallies::new()?)?,
        })
    }

    pub(super) fn flow(&self, flow: &str) -> FlowMetrics {
        FlowMetrics {
            fates: Fate::ALL.map(|fate| self.messages.with_label_values(&[flow, fate.name()])),
            bytes_in: self.bytes.with_label_values(&[flow, "in"]),
            bytes_out: self.bytes.with_label_values(&[flow, "out"]),
            waiting: self.waiting.with_label_values(&[flow]),
            quarantined: HeldDevices::new(self.quarantined.with_label_values(&[flow])),
            restarts: self.restarts.with_label_values(&[flow]),
        }
    }

    /// Takes away what is shown of a flow's plugins other than `plugins`, and of its lanes from number `lanes` on.
    pub(super) fn prune(&self, flow: &str, plugins: &[Arc<str>], lanes: usize) {
        let is_gone = |labels: &Labels<'_>| {
            let is_other = |plugin: &&str| plugins.iter().all(|known| **known != **plugin);
            let is_beyond = |lane: &&str| lane.parse::<usize>().is_ok_and(|lane| lane >= lanes);
            labels.get("plugin").is_some_and(is_other) || labels.get("lane").is_some_and(is_beyond)
        };
        self.remove(|labels| labels.get("flow") == Some(&flow) && is_gone(labels));
        let is_there =
            |of: &str, plugin: &str| of != flow || plugins.iter().any(|known| **known == *plugin);
        self.rations.retain(is_there);
        self.tallies.retain(is_there);
    }

    /// Takes away everything that is shown of a flow.
    pub fn forget(&self, flow: &str) {
        self.remove(|labels| labels.get("flow") == Some(&flow));
        self.rations.retain(|of, _| of != flow);
        self.tallies.retain(|of, _| of != flow);
    }

    fn remove(&self, is_gone: impl Fn(&Labels<'_>) -> bool) {
        let counters = [
            &self.messages,
            &self.bytes,
            &self.restarts,
            &self.transitions,
            &self.code,
            &self.own_counters,
        ];
        counters
            .into_iter()
            .for_each(|counter| remove(counter, &is_gone));
        [&self.waiting, &self.quarantined]
            .into_iter()
            .for_each(|gauge| remove(gauge, &is_gone));
        remove(&self.call_seconds, &is_gone);
        remove(&self.own_gauges, &is_gone);
    }

    pub(super) fn plugin(&self, flow: &Arc<str>, plugin: &Arc<str>) -> PluginMetrics {
        PluginMetrics {
            call_seconds: self.call_seconds.with_label_values(&[flow, plugin]),
            tally: self.tallies.of(flow, plugin),
            ration: self.rations.of(flow, plugin),
            flow: Arc::clone(flow),
            plugin: Arc::clone(plugin),
            all: self.clone(),
        }
    }
}

/// Labels of one series.
type Labels<'a> = HashMap<&'a str, &'a str>;

fn remove<B: MetricVecBuilder>(series: &MetricVec<B>, is_gone: impl Fn(&Labels<'_>) -> bool) {
    for family in series.collect() {
        for one in family.get_metric() {
            let labels: Labels<'_> = one
                .get_label()
                .iter()
                .map(|label| (label.name(), label.value()))
                .collect();
            if is_gone(&labels) {
                // An error means that another thread was first.
                let _ = series.remove(&labels);
            }
        }
    }
}

fn add<C: Collector + Clone + 'static>(
    registry: &Registry,
    metric: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

/// Metrics of one flow.
#[derive(Clone, Debug)]
pub(super) struct FlowMetrics {
    fates: [IntCounter; 5],
    pub(super) bytes_in: IntCounter,
    pub(super) bytes_out: IntCounter,
    pub(super) waiting: IntGauge,
    pub(super) quarantined: HeldDevices,
    pub(super) restarts: IntCounter,
}

impl FlowMetrics {
    pub(super) fn account(&self) -> Account {
        let fate = |fate: Fate| self.fates[fate as usize].get();
        let level = |gauge: &IntGauge| u64::try_from(gauge.get()).unwrap_or_default();
        Account {
            forwarded: fate(Fate::Forwarded),
            filtered: fate(Fate::Filtered),
            absorbed: fate(Fate::Absorbed),
            parked: fate(Fate::Parked),
            dropped: fate(Fate::Dropped),
            quarantined: self.quarantined.count(),
            waiting: level(&self.waiting),
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
        }
    }

    /// Counts what became of a batch.
    pub(super) fn settle(&self, fates: &[Fate]) {
        // What is held is counted when its fate is known.
        let mut counts = [0_u64; Fate::ALL.len() + 1];
        for fate in fates {
            counts[*fate as usize] += 1;
        }
        for (counter, count) in self.fates.iter().zip(counts) {
            if count > 0 {
                counter.inc_by(count);
            }
        }
    }
}

/// What became of the messages of one flow since the start, and which wait.
#[derive(Clone, Copy, Debug, Default)]
pub struct Account {
    /// Messages that led to something owed upstream.
    pub forwarded: u64,
    /// Messages that were filtered on purpose.
    pub filtered: u64,
    /// Messages that went into a plugin's state.
    pub absorbed: u64,
    /// Messages that became dead letters.
    pub parked: u64,
    /// Messages given up because of a plugin with `on_error = "drop"`.
    pub dropped: u64,
    /// Devices whose messages are not tried.
    pub quarantined: u64,
    /// Messages that wait for a lane.
    pub waiting: u64,
    /// Bytes of messages that came in, topics and headers included.
    pub bytes_in: u64,
    /// Bytes of messages that left.
    pub bytes_out: u64,
}

impl Account {
    /// Messages that went through the plugins since the start.
    pub fn settled(&self) -> u64 {
        self.forwarded + self.filtered + self.absorbed + self.parked + self.dropped
    }
}

/// What a plugin costs, over all its lanes and versions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PluginCost {
    /// Processor time since the start.
    pub cpu: Duration,
    pub memory_bytes: u64,
    /// The limit that it came nearest to of late, and how near: 1 is the limit.
    pub limit: &'static str,
    pub used: f64,
}

/// Metrics of one plugin of a flow.
#[derive(Clone, Debug)]
pub(super) struct PluginMetrics {
    pub(super) flow: Arc<str>,
    pub(super) plugin: Arc<str>,
    pub(super) ration: Arc<Ration>,
    pub(super) call_seconds: Histogram,
    pub(super) tally: Arc<PluginTally>,
    all: Metrics,
}

impl PluginMetrics {
    pub(super) fn error(&self, kind: FaultKind) {
        self.tally.error(kind);
    }

    pub(super) fn cost(&self) -> PluginCost {
        let (limit, used) = self.tally.nearest();
        PluginCost {
            cpu: Duration::from_nanos(self.tally.cpu_ns.get()),
            memory_bytes: u64::try_from(self.tally.memory.load(Ordering::Relaxed))
                .unwrap_or_default(),
            limit,
            used,
        }
    }

    /// The worst of all lanes.
    pub(super) fn breaker(&self) -> BreakerState {
        let there = self.tally.breakers().find(|(_, lanes)| *lanes > 0);
        there.map_or(BreakerState::Closed, |(state, _)| state)
    }

    /// A change of the plugin has come to this state.
    pub(super) fn transition(&self, state: &str) {
        self.all
            .transitions
            .with_label_values(&[&*self.flow, &*self.plugin, state])
            .inc();
    }

    /// Counts a component by where its code came from.
    pub(super) fn code(&self, origin: &str) {
        self.all
            .code
            .with_label_values(&[&*self.flow, &*self.plugin, origin])
            .inc();
    }

    pub(super) fn own_counter(&self, name: &str) -> IntCounter {
        self.all
            .own_counters
            .with_label_values(&[&*self.flow, &*self.plugin, name])
    }

    pub(super) fn own_gauge(&self, name: &str, lane: usize) -> Gauge {
        self.all.own_gauges.with_label_values(&[
            &*self.flow,
            &*self.plugin,
            &lane.to_string(),
            name,
        ])
    }
}

fn call_seconds() -> Result<HistogramVec, prometheus::Error> {
    let opts = HistogramOpts::new(
        "tidegate_plugin_call_seconds",
        "Time of one call of a plugin with a batch.",
    );
    let buckets = prometheus::exponential_buckets(1e-6, 4.0, 10)?;
    HistogramVec::new(opts.buckets(buckets), &["flow", "plugin"])
}
