//! Traces of single messages, for a collector that speaks OTLP over HTTP.
//!
//! **In**: spans, from whoever has done something with a message that is traced. **Out**: batches of them, in the JSON form of
//! OTLP, by POST to the collector's `/v1/traces`.
//!
//! **Promised**
//! - Which messages are traced is said where they come in, once: by the hash of their device, so that a device is seen whole, or
//!   since whoever sent them keeps their trace (so many a second at most). The share changes while the gateway runs.
//! - Nobody waits for the collector: spans that there is no room for are given up, and counted.
//! - Times are those of the monotonic clock until they leave: by a wall clock that is set meanwhile they are right. While it is
//!   not set, spans say so.
//! - While the share is 0, a message costs a look at one number where it comes in.
//!
//! - `sampling`: whom it takes. `span`: what was done, and its ids. `queue`: what waits. `otlp`: how it is written.
//!   `exchange`: one connection to the collector; `export`: when there is one, and what becomes of what is sent.
//! - `metrics`: what is counted.

mod exchange;
mod export;
mod metrics;
mod otlp;
mod queue;
mod sampling;
mod settings;
mod span;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::Registry;
use tokio::sync::Notify;

pub use self::settings::{CollectorHeader, CollectorSettings, TraceSettings};
pub use self::span::{Attribute, SpanKind, TraceSpan, new_span, new_trace, text};

use self::metrics::SpanCounts;
use self::queue::SpanQueue;
use self::sampling::{ForeignRate, Share};
use crate::clock::Uptime;
use crate::message::{MessageId, TraceId};

/// Takes spans, and says what is traced. Cheap to clone; one that nobody has given a collector takes nothing.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Arc<SharedTracer>);

#[derive(Debug, Default)]
struct SharedTracer {
    share: Share,
    foreign: Mutex<ForeignRate>,
    queue: Mutex<SpanQueue>,
    collector: Mutex<Option<Arc<CollectorSettings>>>,
    /// Rings when there is something to send, and when the settings are others.
    news: Notify,
    counts: SpanCounts,
    /// Why the collector takes nothing, in words that are fit to be shown.
    trouble: Mutex<Option<String>>,
    /// Makes the ids of traces unlike those of other gateways and other runs.
    salt: AtomicU64,
    is_closing: std::sync::atomic::AtomicBool,
}

/// What a tracer tells of itself.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct TraceAccount {
    /// Where spans go, without what is a secret.
    pub collector: String,
    /// Share of the devices that are traced, 0 to 1.
    pub share: f64,
    /// Spans that wait to be sent.
    pub waiting: u64,
    /// Spans that the collector has taken since the start.
    pub sent: u64,
    /// Spans that were given up since the start: there was no room for them.
    pub dropped: u64,
    /// Spans that the collector has refused since the start.
    pub refused: u64,
    /// Why the collector takes nothing; `None` while it does.
    pub trouble: Option<String>,
}

impl Tracer {
    /// One that counts into `registry`.
    ///
    /// # Errors
    /// The names are taken.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let tracer = Self::default();
        tracer.0.salt.store(fastrand::u64(..), Ordering::Relaxed);
        registry.register(Box::new(metrics::SpanMetrics::new(tracer.clone())?))?;
        Ok(tracer)
    }

    /// From now on it is so. Without a collector nothing is traced, and what waits is given up.
    pub fn put(&self, settings: Option<TraceSettings>) {
        let share = settings.as_ref().map_or(0.0, |settings| settings.share);
        let collector = settings.map(|settings| Arc::new(settings.collector));
        if collector.is_none() {
            let gone = lock(&self.0.queue).clear();
            self.0.counts.dropped.fetch_add(gone, Ordering::Relaxed);
            *lock(&self.0.trouble) = None;
        }
        *lock(&self.0.collector) = collector;
        self.0.share.put(share);
        self.0.news.notify_one();
    }

    /// Whether anything is traced.
    pub fn is_on(&self) -> bool {
        self.0.share.is_on()
    }

    /// Whether this device is traced.
    pub fn takes(&self, device: &[u8]) -> bool {
        self.0.share.takes(device)
    }

    /// Whether one more message is traced since its sender keeps its trace; asked at `now`.
    pub fn takes_foreign(&self, now: Uptime) -> bool {
        lock(&self.0.foreign).takes(now)
    }

    /// The trace of this message, where it has none of its own: the same in all flows.
    pub fn trace_of(&self, id: MessageId) -> TraceId {
        span::trace_of(id, self.0.salt.load(Ordering::Relaxed))
    }

    /// Takes down what was done. Never waits.
    pub fn record(&self, span: TraceSpan) {
        let taken = lock(&self.0.queue).push(span);
        match taken {
            queue::PushResult::Kept => {}
            queue::PushResult::ManyWait => self.0.news.notify_one(),
            queue::PushResult::NoRoom => {
                self.0.counts.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// What there is to tell; `None` without a collector.
    pub fn account(&self) -> Option<TraceAccount> {
        let collector = lock(&self.0.collector).clone()?;
        let counts = &self.0.counts;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Some(TraceAccount {
            collector: collector.place(),
            share: self.0.share.get(),
            waiting: lock(&self.0.queue).len() as u64,
            sent: count(&counts.sent),
            dropped: count(&counts.dropped),
            refused: count(&counts.refused),
            trouble: lock(&self.0.trouble).clone(),
        })
    }

    /// [`Tracer::export`] ends as soon as what waits is sent, or the collector does not take it.
    pub fn close(&self) {
        self.0.is_closing.store(true, Ordering::Relaxed);
        self.0.news.notify_one();
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}
