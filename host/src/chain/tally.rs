//! What is counted about every plugin of every flow. A thousand flows have three thousand plugins with some twenty series each:
//! the numbers alone are kept, and names and labels are put to them when somebody asks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::cost::{CostLimit, CostPeaks};
use super::lane::guard::breaker::BreakerState;
use super::sandbox::fault::FaultKind;
use crate::clock::Uptime;

/// A number that only rises.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn inc(&self) {
        self.inc_by(1);
    }

    pub(super) fn inc_by(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Of one plugin of a flow, over all its lanes and versions.
#[derive(Debug, Default)]
pub(super) struct PluginTally {
    errors: [Count; FaultKind::ALL.len()],
    /// Lanes with an open breaker, and with a half-open one.
    breakers: [AtomicI64; BreakerState::SHOWN.len()],
    pub(super) log_lines_dropped: Count,
    pub(super) names_refused: Count,
    pub(super) state_lost: Count,
    pub(super) recycled: Count,
    /// Processor time of its batches and ticks, a candidate's beside it included, nanoseconds.
    pub(super) cpu_ns: Count,
    /// Linear memory of all its instances, bytes.
    pub(super) memory: AtomicI64,
    peaks: Mutex<CostPeaks>,
}

impl PluginTally {
    /// It has come so near to these limits, at this uptime of the machine.
    pub(super) fn came_near(&self, uptime: Uptime, seen: &[(CostLimit, f64)]) {
        self.lock_peaks().note(uptime, seen);
    }

    /// The limit that it came nearest to, and how near.
    pub(super) fn nearest(&self) -> (&'static str, f64) {
        let peaks = self.lock_peaks();
        let parts = CostLimit::ALL.map(|limit| (limit.name(), peaks.of(limit)));
        let nearest = parts
            .into_iter()
            .max_by(|one, other| one.1.total_cmp(&other.1));
        nearest.unwrap_or_default()
    }

    fn lock_peaks(&self) -> MutexGuard<'_, CostPeaks> {
        self.peaks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn error(&self, kind: FaultKind) {
        if let Some(place) = FaultKind::ALL.iter().position(|known| *known == kind) {
            self.errors[place].inc();
        }
    }

    /// Faults so far, by kind.
    pub(super) fn errors(&self) -> impl Iterator<Item = (FaultKind, u64)> {
        FaultKind::ALL
            .into_iter()
            .zip(self.errors.iter().map(Count::get))
    }

    /// A lane's breaker has changed its state.
    pub(super) fn breaker_moved(&self, from: BreakerState, to: BreakerState) {
        for (state, lanes) in BreakerState::SHOWN.into_iter().zip(&self.breakers) {
            lanes.fetch_add(
                i64::from(state == to) - i64::from(state == from),
                Ordering::Relaxed,
            );
        }
    }

    /// The lanes in each state that is shown.
    pub(super) fn breakers(&self) -> impl Iterator<Item = (BreakerState, i64)> {
        BreakerState::SHOWN.into_iter().zip(
            self.breakers
                .iter()
                .map(|lanes| lanes.load(Ordering::Relaxed)),
        )
    }

    /// What it has of a series: the value of the series' own label, where it has one, and the number.
    fn of(&self, series: PluginSeries) -> Vec<(Option<&'static str>, f64)> {
        let one = |count: &Count| vec![(None, count.get() as f64)];
        match series {
            PluginSeries::Errors => self
                .errors()
                .map(|(kind, count)| (Some(kind.name()), count as f64))
                .collect(),
            PluginSeries::Breakers => self
                .breakers()
                .map(|(state, lanes)| (Some(state.name()), lanes as f64))
                .collect(),
            PluginSeries::LogLinesDropped => one(&self.log_lines_dropped),
            PluginSeries::NamesRefused => one(&self.names_refused),
            PluginSeries::StateLost => one(&self.state_lost),
            PluginSeries::Recycled => one(&self.recycled),
            PluginSeries::Cpu => vec![(None, self.cpu_ns.get() as f64 / 1e9)],
            PluginSeries::Memory => vec![(None, self.memory.load(Ordering::Relaxed) as f64)],
            PluginSeries::LimitUsed => {
                let peaks = self.lock_peaks();
                let part = |limit: CostLimit| (Some(limit.name()), peaks.of(limit));
                CostLimit::ALL.into_iter().map(part).collect()
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PluginSeries {
    Errors,
    Breakers,
    LogLinesDropped,
    NamesRefused,
    StateLost,
    Recycled,
    Cpu,
    Memory,
    LimitUsed,
}

impl PluginSeries {
    const ALL: [Self; 9] = [
        Self::Errors,
        Self::Breakers,
        Self::LogLinesDropped,
        Self::NamesRefused,
        Self::StateLost,
        Self::Recycled,
        Self::Cpu,
        Self::Memory,
        Self::LimitUsed,
    ];

    /// Its name, what it is, and its label beside flow and plugin.
    fn words(self) -> (&'static str, &'static str, Option<&'static str>) {
        match self {
            Self::Errors => (
                "tidegate_plugin_errors_total",
                "Faults of plugins by kind.",
                Some("kind"),
            ),
            Self::Breakers => (
                "tidegate_plugin_breaker_lanes",
                "Lanes in which a plugin's breaker is in this state.",
                Some("state"),
            ),
            Self::LogLinesDropped => (
                "tidegate_plugin_log_lines_dropped_total",
                "Log lines of plugins over their limit.",
                None,
            ),
            Self::NamesRefused => (
                "tidegate_plugin_metric_updates_refused_total",
                "Metric updates of plugins with bad or too many names.",
                None,
            ),
            Self::StateLost => (
                "tidegate_plugin_state_lost_total",
                "Input messages whose effect on a plugin's state was lost.",
                None,
            ),
            Self::Recycled => (
                "tidegate_plugin_recycled_total",
                "Instances replaced since they had grown past their soft limit.",
                None,
            ),
            Self::Cpu => (
                "tidegate_plugin_cpu_seconds_total",
                "Processor time of a plugin's batches and ticks.",
                None,
            ),
            Self::Memory => (
                "tidegate_plugin_memory_bytes",
                "Linear memory of all instances of a plugin.",
                None,
            ),
            Self::LimitUsed => (
                "tidegate_plugin_limit_used_ratio",
                "How near a plugin has come to each of its limits in the last minutes in which it was called; 1 is the limit.",
                Some("limit"),
            ),
        }
    }

    fn is_gauge(self) -> bool {
        matches!(self, Self::Breakers | Self::Memory | Self::LimitUsed)
    }

    fn desc(self) -> Result<Desc, prometheus::Error> {
        let (name, help, own) = self.words();
        let labels = ["flow", "plugin"]
            .into_iter()
            .chain(own)
            .map(str::to_owned)
            .collect();
        Desc::new(
            name.to_owned(),
            help.to_owned(),
            labels,
            std::collections::HashMap::new(),
        )
    }

    /// One line of it. Labels stand in the order of their names.
    fn metric(self, [flow, plugin]: &FlowAndPlugin, own: Option<&str>, value: f64) -> Metric {
        let (.., name) = self.words();
        let mut labels = vec![label("flow", flow), label("plugin", plugin)];
        labels.extend(name.zip(own).map(|(name, value)| label(name, value)));
        labels.sort();
        let mut metric = Metric::from_label(labels);
        if self.is_gauge() {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        } else {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        }
        metric
    }
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut label = LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value.to_owned());
    label
}

type FlowAndPlugin = [Arc<str>; 2];

/// Of all plugins. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Tallies(Arc<PluginTallies>);

#[derive(Debug)]
struct PluginTallies {
    descs: Vec<Desc>,
    by_plugin: Mutex<BTreeMap<FlowAndPlugin, Arc<PluginTally>>>,
}

impl Tallies {
    /// Those of no plugin yet.
    ///
    /// # Errors
    /// Never, as long as the names above are good ones.
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let descs = PluginSeries::ALL
            .into_iter()
            .map(PluginSeries::desc)
            .collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(PluginTallies {
            descs,
            by_plugin: Mutex::default(),
        })))
    }

    pub(super) fn of(&self, flow: &Arc<str>, plugin: &Arc<str>) -> Arc<PluginTally> {
        Arc::clone(
            self.lock()
                .entry([Arc::clone(flow), Arc::clone(plugin)])
                .or_default(),
        )
    }

    /// Forgets those of plugins that are gone.
    pub(super) fn retain(&self, is_there: impl Fn(&str, &str) -> bool) {
        self.lock()
            .retain(|[flow, plugin], _| is_there(flow, plugin));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<FlowAndPlugin, Arc<PluginTally>>> {
        self.0
            .by_plugin
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Tallies {
    fn desc(&self) -> Vec<&Desc> {
        self.0.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let all: Vec<_> = self
            .lock()
            .iter()
            .map(|(names, tally)| (names.clone(), Arc::clone(tally)))
            .collect();
        let family = |series: PluginSeries| {
            let (name, help, _) = series.words();
            let of = |(names, tally): &(FlowAndPlugin, Arc<PluginTally>)| {
                let lines = tally.of(series).into_iter();
                lines
                    .map(|(own, value)| series.metric(names, own, value))
                    .collect::<Vec<_>>()
            };
            let mut family = MetricFamily::default();
            family.set_name(name.to_owned());
            family.set_help(help.to_owned());
            family.set_field_type(if series.is_gauge() {
                MetricType::GAUGE
            } else {
                MetricType::COUNTER
            });
            family.set_metric(all.iter().flat_map(of).collect());
            family
        };
        PluginSeries::ALL.into_iter().map(family).collect()
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Registry, TextEncoder};

    use super::*;

    #[test]
    fn every_kind_of_every_plugin_is_shown_from_the_start_and_none_that_is_gone() {
        let (registry, tallies) = (Registry::new(), Tallies::new().unwrap());
        registry.register(Box::new(tallies.clone())).unwrap();
        let shown = || {
            TextEncoder::new()
                .encode_to_string(&registry.gather())
                .unwrap()
        };
        assert_eq!(shown(), "");
        let of = |flow: &str, plugin: &str| tallies.of(&flow.into(), &plugin.into());
        of("f", "p").error(FaultKind::Trap);
        of("f", "p").breaker_moved(BreakerState::Closed, BreakerState::Open);
        of("f", "q").recycled.inc_by(3);
        let text = shown();
        for line in [
            "tidegate_plugin_errors_total{flow=\"f\",kind=\"trap\",plugin=\"p\"} 1",
            "tidegate_plugin_errors_total{flow=\"f\",kind=\"timeout\",plugin=\"q\"} 0",
            "tidegate_plugin_breaker_lanes{flow=\"f\",plugin=\"p\",state=\"open\"} 1",
            "tidegate_plugin_recycled_total{flow=\"f\",plugin=\"q\"} 3",
            "# TYPE tidegate_plugin_breaker_lanes gauge",
            "# TYPE tidegate_plugin_state_lost_total counter",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} in\n{text}");
        }
        tallies.retain(|_, plugin| plugin == "q");
        assert!(!shown().contains("plugin=\"p\"") && shown().contains("plugin=\"q\""));
    }
}
