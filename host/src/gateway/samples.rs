//! One look at all metrics: what they say, by name and label.

use prometheus::Registry;
use prometheus::proto::MetricFamily;

/// One look at all metrics.
#[derive(Default)]
pub(super) struct Samples(Vec<MetricFamily>);

impl Samples {
    /// As they are now.
    pub(super) fn of(registry: &Registry) -> Self {
        Self(registry.gather())
    }

    /// The sum over the series that have all of `labels`; counts and levels, so never negative.
    pub(super) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let family = self.0.iter().filter(|family| family.name() == name);
        let series = family.flat_map(MetricFamily::get_metric);
        let fits = series.filter(|metric| {
            let has = |(name, value): &(&str, &str)| {
                metric
                    .get_label()
                    .iter()
                    .any(|label| label.name() == *name && label.value() == *value)
            };
            labels.iter().all(has)
        });
        // One of the two is not there and reads as 0.
        let sum: f64 = fits
            .map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value())
            .sum();
        sum.max(0.0) as u64
    }

    /// The value of the label `state` of the series that is 1.
    pub(super) fn state(&self, name: &str, of: (&str, &str)) -> String {
        let family = self.0.iter().filter(|family| family.name() == name);
        let current = family.flat_map(MetricFamily::get_metric).find(|metric| {
            metric.get_gauge().get_value() > 0.0
                && metric
                    .get_label()
                    .iter()
                    .any(|label| (label.name(), label.value()) == of)
        });
        let label = current.and_then(|metric| {
            metric
                .get_label()
                .iter()
                .find(|label| label.name() == "state")
        });
        label
            .map(|label| label.value().to_owned())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::{IntCounterVec, IntGaugeVec, Opts};

    #[test]
    fn counters_and_gauges_are_summed_by_label_and_the_state_is_the_series_that_is_1() {
        let registry = Registry::new();
        let count = IntCounterVec::new(Opts::new("a_total", "x"), &["flow", "fate"]).unwrap();
        let state = IntGaugeVec::new(Opts::new("s", "x"), &["uplink", "state"]).unwrap();
        registry.register(Box::new(count.clone())).unwrap();
        registry.register(Box::new(state.clone())).unwrap();
        count.with_label_values(&["x", "f"]).inc_by(3);
        count.with_label_values(&["x", "g"]).inc_by(4);
        count.with_label_values(&["y", "f"]).inc_by(9);
        state.with_label_values(&["cloud", "online"]).set(0);
        state.with_label_values(&["cloud", "waiting"]).set(1);
        let samples = Samples::of(&registry);
        assert_eq!(samples.sum("a_total", &[("flow", "x")]), 7);
        assert_eq!(samples.sum("a_total", &[("flow", "x"), ("fate", "f")]), 3);
        assert_eq!(samples.state("s", ("uplink", "cloud")), "waiting");
        assert_eq!(samples.state("s", ("uplink", "none")), "");
    }
}
