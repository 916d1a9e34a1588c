//! What takes spans to the collector: gathers them, sends them, and leaves it alone for a while when it takes none.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use super::exchange::{self, BatchVerdict};
use super::settings::CollectorSettings;
use super::span::TraceSpan;
use super::{Tracer, lock, otlp, queue};
use crate::clock::Now;
use crate::link::{Backoff, delay};
use crate::words;

/// Spans that come within it go together.
const GATHER: Duration = Duration::from_millis(500);
/// After a collector that took nothing. Spans are worth less than the way to them, and it may be away for good.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(1),
    cap: Duration::from_secs(60),
    jitter: 0.3,
};
/// Characters of why it takes nothing.
const WORDS: usize = 300;

/// How a round over one connection ended.
#[derive(Debug, Default)]
struct Round {
    /// Sent and not answered, or to be sent again.
    in_hand: Vec<TraceSpan>,
    /// Why the collector takes nothing now.
    trouble: Option<String>,
    /// How long it asks to be left alone.
    pause: Option<Duration>,
    /// It answered with a yes.
    has_taken: bool,
}

impl Tracer {
    /// Takes what is recorded to the collector, until [`Tracer::close`].
    pub async fn export(self) {
        let mut in_hand = Vec::new();
        let mut failures = 0;
        loop {
            let collector = self.to_send(&mut in_hand).await;
            let Some(collector) = collector else {
                return;
            };
            let round = self.round(&collector, std::mem::take(&mut in_hand)).await;
            in_hand = round.in_hand;
            let Some(trouble) = round.trouble else {
                self.went_well(failures, &collector);
                failures = 0;
                continue;
            };
            if round.has_taken {
                failures = 0;
            }
            self.failed(failures, &trouble, &collector);
            if self.is_closing() {
                return;
            }
            let pause =
                delay(&BACKOFF, failures, fastrand::f64()).max(round.pause.unwrap_or_default());
            failures += 1;
            self.rest(pause, &collector).await;
        }
    }

    /// Waits until there is something to send, and a little longer, so that others come with it. `None` when it is time to go.
    async fn to_send(&self, in_hand: &mut Vec<TraceSpan>) -> Option<Arc<CollectorSettings>> {
        loop {
            let waiting = lock(&self.0.queue).len() + in_hand.len();
            let collector = lock(&self.0.collector).clone();
            match collector {
                // Nobody wants them any more.
                None => self.give_up(in_hand),
                Some(_) if waiting == 0 => {}
                Some(collector) => {
                    if waiting < queue::BATCH && in_hand.is_empty() && !self.is_closing() {
                        tokio::select! {
                            () = sleep(GATHER) => {}
                            () = self.0.news.notified() => {}
                        }
                    }
                    return Some(collector);
                }
            }
            if self.is_closing() {
                return None;
            }
            self.0.news.notified().await;
        }
    }

    fn is_closing(&self) -> bool {
        self.0.is_closing.load(Ordering::Relaxed)
    }

    fn give_up(&self, in_hand: &mut Vec<TraceSpan>) {
        let count = std::mem::take(in_hand).len() as u64;
        self.0.counts.dropped.fetch_add(count, Ordering::Relaxed);
    }

    /// Sends what there is over one connection.
    async fn round(&self, collector: &CollectorSettings, in_hand: Vec<TraceSpan>) -> Round {
        let round = Mutex::new(Round {
            in_hand,
            ..Round::default()
        });
        let next = || {
            let mut round = lock(&round);
            if round.in_hand.is_empty() {
                round.in_hand = lock(&self.0.queue).take();
            }
            (!round.in_hand.is_empty()).then(|| otlp::body(collector, &round.in_hand, Now::read()))
        };
        let heard = |verdict| self.heard(verdict, &mut lock(&round));
        let sent = exchange::send(collector, next, heard).await;
        let mut round = round.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Err(why) = sent {
            round.trouble = Some(why);
        }
        round
    }

    /// Whether the next batch may follow.
    fn heard(&self, verdict: BatchVerdict, round: &mut Round) -> bool {
        let counts = &self.0.counts;
        match verdict {
            BatchVerdict::Taken(rejected, said) => {
                let all = std::mem::take(&mut round.in_hand).len() as u64;
                let rejected = rejected.min(all);
                counts.sent.fetch_add(all - rejected, Ordering::Relaxed);
                counts.refused.fetch_add(rejected, Ordering::Relaxed);
                if rejected > 0 {
                    tracing::warn!(rejected, said, "the collector of traces turned spans away");
                }
                round.has_taken = true;
                true
            }
            BatchVerdict::Refused(said) => {
                let all = std::mem::take(&mut round.in_hand).len() as u64;
                counts.refused.fetch_add(all, Ordering::Relaxed);
                round.trouble = Some(said);
                false
            }
            BatchVerdict::Later(said, pause) => {
                (round.trouble, round.pause) = (Some(said), pause);
                false
            }
        }
    }

    fn went_well(&self, failures: u32, collector: &CollectorSettings) {
        *lock(&self.0.trouble) = None;
        if failures > 0 {
            tracing::info!(
                collector = collector.place(),
                "the collector takes traces again"
            );
        }
    }

    /// Says so the first time; the metrics and the status go on saying it.
    fn failed(&self, failures: u32, why: &str, collector: &CollectorSettings) {
        let why = words::line(why, WORDS);
        if failures == 0 {
            tracing::warn!(
                collector = collector.place(),
                why,
                "the collector takes no traces: spans are given up when there is no room for more; messages go on"
            );
        }
        *lock(&self.0.trouble) = Some(why);
    }

    /// Leaves the collector alone, unless it is another one by then, or it is time to go.
    async fn rest(&self, pause: Duration, before: &Arc<CollectorSettings>) {
        let pause = sleep(pause);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => return,
                () = self.0.news.notified() => {}
            }
            let now = lock(&self.0.collector).clone();
            let is_same = now.is_some_and(|now| Arc::ptr_eq(&now, before));
            if !is_same || self.is_closing() {
                return;
            }
        }
    }
}
