//! The text of `/metrics`: made by one thread at a time beside the network's, for all who ask meanwhile.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus::proto::{Metric, MetricFamily};
use prometheus::{Registry, TEXT_FORMAT, TextEncoder};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::Config;
use crate::gateway::current::Current;
use crate::uplink;

pub(super) async fn text(State(rendering): State<Arc<Rendering>>) -> Response {
    match rendering.text().await {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error).into_response(),
    }
}

/// Takes away what is not to be shown.
type LeaveOut = dyn Fn(&mut Vec<MetricFamily>) + Send + Sync;

/// A text, or why there is none.
type RenderedMetrics = Result<Bytes, String>;

/// Makes the text whenever somebody asks.
pub(super) struct Rendering {
    registry: Registry,
    leave_out: Arc<LeaveOut>,
    now: Arc<Mutex<RenderState>>,
}

/// What is going on.
struct RenderState {
    /// Who asks waits for this, if it is there.
    under_way: Option<watch::Receiver<Option<RenderedMetrics>>>,
    /// The next one begins no sooner: at most half of a processor goes into it, however many ask.
    next: Instant,
}

impl Rendering {
    /// Of what is registered, but for sources and uplinks that are gone.
    pub(super) fn of_gateway(registry: Registry, current: Current) -> Self {
        Self::of(registry, move |families| {
            leave_out_the_gone(families, &current.now());
        })
    }

    /// Of what is registered and not left out.
    fn of(
        registry: Registry,
        leave_out: impl Fn(&mut Vec<MetricFamily>) + Send + Sync + 'static,
    ) -> Self {
        Self {
            registry,
            leave_out: Arc::new(leave_out),
            now: Arc::new(Mutex::new(RenderState {
                under_way: None,
                next: Instant::now(),
            })),
        }
    }

    /// The text, not older than this call or made for others who called just before.
    pub(super) async fn text(&self) -> RenderedMetrics {
        let mut rendered = self.under_way();
        let text = rendered
            .wait_for(Option::is_some)
            .await
            .map_err(|error| error.to_string())?;
        text.clone()
            .unwrap_or_else(|| Err("there are no metrics".to_owned()))
    }

    /// Joins the rendering under way, or begins one.
    fn under_way(&self) -> watch::Receiver<Option<RenderedMetrics>> {
        let mut now = locked(&self.now);
        if let Some(under_way) = &now.under_way {
            return under_way.clone();
        }
        let (done, under_way) = watch::channel(None);
        now.under_way = Some(under_way.clone());
        let registry = self.registry.clone();
        let leave_out = Arc::clone(&self.leave_out);
        let state = Arc::clone(&self.now);
        let next = now.next;
        tokio::spawn(async move {
            tokio::time::sleep_until(next).await;
            let begun = Instant::now();
            let text = tokio::task::spawn_blocking(move || render(&registry, &*leave_out)).await;
            let took = begun.elapsed().min(Duration::from_secs(5));
            *locked(&state) = RenderState {
                under_way: None,
                next: Instant::now() + took,
            };
            done.send_replace(Some(text.unwrap_or_else(|error| Err(error.to_string()))));
        });
        under_way
    }
}

fn render(registry: &Registry, leave_out: &LeaveOut) -> RenderedMetrics {
    let mut families = registry.gather();
    leave_out(&mut families);
    let text = TextEncoder::new()
        .encode_to_string(&families)
        .map_err(|error| error.to_string())?;
    Ok(text.into())
}

fn leave_out_the_gone(families: &mut Vec<MetricFamily>, config: &Config) {
    let sources = config.sources.iter().map(|source| Arc::clone(&source.name));
    let with_fallback = |uplink: &uplink::Config| {
        let fallback = uplink.fallback.as_deref();
        let fallback = fallback.map(|other| Arc::clone(&other.name));
        [Some(Arc::clone(&uplink.name)), fallback]
    };
    let uplinks = config.uplinks.iter().flat_map(with_fallback).flatten();
    keep_only(families, &sources.collect(), &uplinks.collect());
}

/// What sources and uplinks tell of themselves goes with them. What the spool owes to an uplink, what was given up for a reason
/// and what a broker may still hold for a source that is gone, stays.
fn keep_only(
    families: &mut Vec<MetricFamily>,
    sources: &BTreeSet<Arc<str>>,
    uplinks: &BTreeSet<Arc<str>>,
) {
    let is_there = |metric: &Metric| {
        let labels = metric.get_label();
        labels.iter().any(|label| label.name() == "reason")
            || labels.iter().all(|label| match label.name() {
                "source" => sources.contains(label.value()),
                "uplink" => uplinks.contains(label.value()),
                _ => true,
            })
    };
    // Conditions are taken back by whoever told them.
    let stays = |family: &MetricFamily| {
        family.name().starts_with("tidegate_spool_") || family.name() == "tidegate_source_condition"
    };
    for family in families.iter_mut().filter(|family| !stays(family)) {
        let metrics = family.take_metric();
        family.set_metric(metrics.into_iter().filter(is_there).collect());
    }
    families.retain(|family| !family.get_metric().is_empty());
}

/// Held for memory work only.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use prometheus::core::{Collector, Desc};

    use super::*;

    /// Counts how often it is gathered.
    struct Counting(Arc<AtomicUsize>, Desc);

    impl Collector for Counting {
        fn desc(&self) -> Vec<&Desc> {
            vec![&self.1]
        }

        fn collect(&self) -> Vec<MetricFamily> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Vec::new()
        }
    }

    #[test]
    fn what_ends_that_are_gone_told_of_themselves_is_not_shown_and_what_was_lost_is() {
        let registry = Registry::new();
        let series = [
            ("tidegate_source_up", "source", "field"),
            ("tidegate_source_up", "source", "gone"),
            ("tidegate_messages_forwarded_total", "uplink", "cloud"),
            ("tidegate_messages_forwarded_total", "uplink", "gone"),
            ("tidegate_spool_messages", "uplink", "gone"),
            ("tidegate_source_condition", "source", "gone"),
        ];
        for pair in series.chunk_by(|one, other| one.0 == other.0) {
            let opts = prometheus::Opts::new(pair[0].0, "a");
            let counters = prometheus::IntCounterVec::new(opts, &[pair[0].1]).unwrap();
            for (_, _, name) in pair {
                counters.with_label_values(&[*name]).inc();
            }
            registry.register(Box::new(counters)).unwrap();
        }
        let opts = prometheus::Opts::new("tidegate_messages_dropped_total", "a");
        let dropped = prometheus::IntCounterVec::new(opts, &["reason", "uplink"]).unwrap();
        dropped.with_label_values(&["qos0-pressed", ""]).inc();
        registry.register(Box::new(dropped)).unwrap();
        let mut families = registry.gather();
        let names = |name: &str| BTreeSet::from([Arc::from(name)]);
        keep_only(&mut families, &names("field"), &names("cloud"));
        let text = TextEncoder::new().encode_to_string(&families).unwrap();
        let shown = |line: &str| text.lines().any(|own| own.starts_with(line));
        for line in [
            "tidegate_source_up{source=\"field\"}",
            "tidegate_messages_forwarded_total{uplink=\"cloud\"}",
            "tidegate_spool_messages{uplink=\"gone\"}",
            "tidegate_source_condition{source=\"gone\"}",
            "tidegate_messages_dropped_total{reason=\"qos0-pressed\",uplink=\"\"}",
        ] {
            assert!(shown(line), "{line}: {text}");
        }
        assert_eq!(text.matches("gone").count(), 2, "{text}");
    }

    #[tokio::test]
    async fn whoever_asks_meanwhile_shares_one_rendering() {
        let (registry, gathered) = (Registry::new(), Arc::<AtomicUsize>::default());
        let desc = Desc::new(
            "a".to_owned(),
            "b".to_owned(),
            Vec::new(),
            std::collections::HashMap::new(),
        )
        .unwrap();
        registry
            .register(Box::new(Counting(Arc::clone(&gathered), desc)))
            .unwrap();
        let rendering = Arc::new(Rendering::of(registry, |_| ()));
        let texts: Vec<_> = (0..50).map(|_| rendering.under_way()).collect();
        for mut text in texts {
            text.wait_for(Option::is_some).await.unwrap();
        }
        assert_eq!(gathered.load(Ordering::SeqCst), 1);
        rendering.text().await.unwrap();
        assert_eq!(gathered.load(Ordering::SeqCst), 2);
    }
}
