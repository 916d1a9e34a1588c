//! What a simulation found.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::crowd::gathering::GatheringReport;
use super::crowd::wills::WillReport;
use super::latency::Quantiles;
use super::limit::SimLimit;
use super::publisher::SendingSummary;
use super::tally::SentLedger;
use super::watcher::WatchLog;

/// The sender's side and, where it was watched, the far end.
#[derive(Clone, Debug, Serialize)]
pub struct SimReport {
    /// Messages sent, each counted once.
    pub sent: u64,
    /// Of those, acknowledged by the broker (QoS 0: written).
    pub accepted: u64,
    /// Of those, broken on purpose.
    pub broken: u64,
    /// Refused by the broker.
    pub refused: u64,
    /// Neither acknowledged nor refused in the end: they may have arrived or not.
    pub unanswered: u64,
    /// Sent once more after a reconnect; each may arrive twice through no fault of what is between.
    pub resent: u64,
    /// Connections lost and made again by the sender.
    pub reconnects: u64,
    /// From the first message to the last, seconds.
    pub seconds: f64,
    /// Messages sent a second.
    pub rate: f64,
    pub connections: GatheringReport,
    pub wills: Option<WillReport>,
    pub watched: Option<WatchReport>,
    /// Figures that are beyond a limit that was set, each in words.
    pub exceeded: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct WatchReport {
    pub received: u64,
    /// Different messages that arrived.
    pub delivered: u64,
    /// From the first arrival to the last, seconds.
    pub seconds: f64,
    /// Different messages a second.
    pub rate: f64,
    /// Messages that had to arrive: expected by content and acknowledged.
    pub expected: u64,
    /// Of those, never seen.
    pub lost: u64,
    /// Seen and not expected.
    pub unexpected: u64,
    pub doubled: u64,
    /// First seen after a later one of the same device.
    pub out_of_order: u64,
    /// Of no device of this run.
    pub foreign: u64,
    /// Sent to first arrival, microseconds.
    pub latency_us: Quantiles,
}

impl SimReport {
    pub(super) fn new(
        ledger: &SentLedger,
        outcome: &SendingSummary,
        connections: GatheringReport,
        seen: Option<&WatchLog>,
    ) -> Self {
        Self {
            sent: ledger.sent(),
            accepted: ledger.accepted(),
            broken: ledger.broken_accepted(),
            refused: ledger.refused(),
            unanswered: outcome.unanswered,
            resent: ledger.resent(),
            reconnects: outcome.reconnects,
            seconds: outcome.sending.as_secs_f64(),
            rate: per_second(ledger.sent(), outcome.sending),
            connections,
            wills: None,
            watched: seen.map(|seen| WatchReport::new(ledger, seen)),
            exceeded: Vec::new(),
        }
    }

    /// With what is beyond these limits.
    #[must_use]
    pub fn held_to(mut self, limits: &[SimLimit]) -> Self {
        self.exceeded = limits
            .iter()
            .filter_map(|limit| limit.exceeded(&self))
            .collect();
        self
    }

    /// Nothing lost, nothing out of order, every will spoken, and no limit exceeded; doubles are allowed, since the promise is
    /// at least once.
    pub fn is_good(&self) -> bool {
        let broken = self
            .watched
            .as_ref()
            .is_some_and(|watched| watched.lost > 0 || watched.out_of_order > 0);
        let silent = self
            .wills
            .is_some_and(|wills| wills.arrived < u64::from(wills.killed));
        !broken && !silent && self.refused == 0 && self.unanswered == 0 && self.exceeded.is_empty()
    }
}

impl WatchReport {
    fn new(ledger: &SentLedger, seen: &WatchLog) -> Self {
        let tally = &seen.tally;
        Self {
            received: tally.received(),
            delivered: tally.delivered(),
            seconds: seen.receiving().as_secs_f64(),
            rate: per_second(tally.delivered(), seen.receiving()),
            expected: ledger.expected(),
            lost: ledger.lost(tally),
            unexpected: ledger.unexpected(tally),
            doubled: tally.doubled(),
            out_of_order: tally.out_of_order(),
            foreign: tally.foreign(),
            latency_us: seen.latencies.quantiles(),
        }
    }
}

fn per_second(count: u64, time: Duration) -> f64 {
    if time.is_zero() {
        0.0
    } else {
        count as f64 / time.as_secs_f64()
    }
}

impl fmt::Display for SimReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.connections.wanted > 1 {
            writeln!(f, "{}", self.connections)?;
        }
        writeln!(
            f,
            "sent          {:>10}   {:.0}/s over {:.1} s",
            self.sent, self.rate, self.seconds
        )?;
        write!(f, "acknowledged  {:>10}", self.accepted)?;
        let notes = [
            ("broken on purpose", self.broken),
            ("refused", self.refused),
            ("unanswered", self.unanswered),
            ("sent again", self.resent),
            ("reconnects", self.reconnects),
        ];
        for (what, count) in notes.iter().filter(|(_, count)| *count > 0) {
            write!(f, "   {what} {count}")?;
        }
        if let Some(wills) = &self.wills {
            write!(f, "\n{wills}")?;
        }
        if let Some(watched) = &self.watched {
            write!(f, "\n{watched}")?;
        }
        for figure in &self.exceeded {
            write!(f, "\nbeyond its limit: {figure}")?;
        }
        Ok(())
    }
}

impl fmt::Display for GatheringReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "connected     {:>10}   of {} at the first attempt, within {:.1} s",
            self.connected, self.wanted, self.seconds
        )?;
        if let Some(failure) = &self.failure {
            write!(
                f,
                "\nnot at once   {:>10}   the first: {failure}",
                self.failed
            )?;
        }
        write!(f, "\nconnecting    {}", Milliseconds(self.connect_us))
    }
}

impl fmt::Display for WillReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "wills         {:>10}   of {} that ended without a goodbye",
            self.arrived, self.killed
        )?;
        if self.unexpected > 0 {
            write!(f, "   of others {}", self.unexpected)?;
        }
        Ok(())
    }
}

struct Milliseconds(Quantiles);

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |micros: u64| micros as f64 / 1_000.0;
        let Quantiles {
            p50,
            p95,
            p99,
            p999,
            max,
        } = self.0;
        write!(
            f,
            "{:>10.2}   ms P50, {:.2} P95, {:.2} P99, {:.2} P99.9, {:.2} max",
            millis(p50),
            millis(p95),
            millis(p99),
            millis(p999),
            millis(max)
        )
    }
}

impl fmt::Display for WatchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "received      {:>10}   {:.0}/s over {:.1} s",
            self.received, self.rate, self.seconds
        )?;
        writeln!(
            f,
            "lost          {:>10}   of {} expected",
            self.lost, self.expected
        )?;
        writeln!(f, "unexpected    {:>10}", self.unexpected)?;
        writeln!(f, "doubled       {:>10}", self.doubled)?;
        writeln!(f, "out of order  {:>10}", self.out_of_order)?;
        if self.foreign > 0 {
            writeln!(
                f,
                "foreign       {:>10}   of no device of this run",
                self.foreign
            )?;
        }
        write!(f, "latency       {}", Milliseconds(self.latency_us))
    }
}
