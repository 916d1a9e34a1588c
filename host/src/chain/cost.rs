//! What a plugin costs, and how near it comes to its limits.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::settings::Limits;
use super::tally::PluginTally;
use crate::clock::Uptime;

/// How near a plugin has come to its limits of late: parts of them, 1 is the limit.
#[derive(Debug, Default)]
pub(super) struct CostPeaks {
    /// When the present window began.
    begun: Uptime,
    now: [f64; CostLimit::ALL.len()],
    before: [f64; CostLimit::ALL.len()],
}

/// A window; what is shown is of the last one or two in which the plugin was called.
const WINDOW_US: u64 = 60_000_000;

/// A limit that a plugin can come near to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CostLimit {
    Memory = 0,
    Time = 1,
    Output = 2,
    OutputMessages = 3,
}

impl CostLimit {
    pub(super) const ALL: [Self; 4] =
        [Self::Memory, Self::Time, Self::Output, Self::OutputMessages];

    /// Its key in the config.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Time => "time",
            Self::Output => "output",
            Self::OutputMessages => "output_messages",
        }
    }
}

impl CostPeaks {
    pub(super) fn note(&mut self, uptime: Uptime, seen: &[(CostLimit, f64)]) {
        if uptime.us_since(self.begun) >= WINDOW_US {
            self.begun = uptime;
            self.before = std::mem::take(&mut self.now);
        }
        for (limit, part) in seen {
            let peak = &mut self.now[*limit as usize];
            *peak = peak.max(*part);
        }
    }

    pub(super) fn of(&self, limit: CostLimit) -> f64 {
        self.now[limit as usize].max(self.before[limit as usize])
    }
}

/// What one lane has of a plugin's costs; what it holds is taken back at its end.
#[derive(Debug, Default)]
pub(super) struct Cost {
    tally: Option<Arc<PluginTally>>,
    memory: i64,
}

impl Cost {
    /// A batch or a tick took so much processor time, and its instances hold `[all, largest]` bytes since.
    pub(super) fn add(
        &mut self,
        tally: &Arc<PluginTally>,
        limits: &Limits,
        (uptime, cpu): (Uptime, Duration),
        [all, largest]: [usize; 2],
    ) {
        tally
            .cpu_ns
            .inc_by(u64::try_from(cpu.as_nanos()).unwrap_or(u64::MAX));
        let part = |held: f64, limit: f64| if limit > 0.0 { held / limit } else { 0.0 };
        let near = [
            (
                CostLimit::Memory,
                part(largest as f64, limits.memory_bytes as f64),
            ),
            (
                CostLimit::Time,
                part(cpu.as_secs_f64(), limits.call_time.as_secs_f64()),
            ),
        ];
        tally.came_near(uptime, &near);
        if self.tally.is_none() {
            self.tally = Some(Arc::clone(tally));
        }
        self.hold(i64::try_from(all).unwrap_or(i64::MAX));
    }

    fn hold(&mut self, memory: i64) {
        if let Some(tally) = &self.tally
            && memory != self.memory
        {
            tally
                .memory
                .fetch_add(memory - self.memory, Ordering::Relaxed);
            self.memory = memory;
        }
    }
}

impl Drop for Cost {
    fn drop(&mut self) {
        self.hold(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_is_shown_for_two_windows_and_memory_goes_with_its_lane() {
        let tally = Arc::<PluginTally>::default();
        let limits = Limits::default();
        let at = |minute: u64| minute * WINDOW_US + 1;
        let mut cost = Cost::default();
        let tenth = limits.call_time / 10;
        let half = limits.memory_bytes / 2;
        cost.add(&tally, &limits, (Uptime(at(1)), tenth), [half, half]);
        assert_eq!(tally.nearest(), ("memory", 0.5));
        cost.add(&tally, &limits, (Uptime(at(2)), tenth), [0, 0]);
        assert_eq!(tally.nearest(), ("memory", 0.5));
        cost.add(&tally, &limits, (Uptime(at(3)), tenth), [1_000, 1_000]);
        assert_eq!(tally.nearest().0, "time");
        assert_eq!(tally.cpu_ns.get(), 3 * tenth.as_nanos() as u64);
        assert_eq!(tally.memory.load(Ordering::Relaxed), 1_000);
        drop(cost);
        assert_eq!(tally.memory.load(Ordering::Relaxed), 0);
    }
}
