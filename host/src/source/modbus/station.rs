//! What is known of a device and its groups: when each is due, what was read last, what was told. Time is an argument.

use std::time::{Duration, Instant};

use super::breaker::StationBreaker;
use super::decode::Reading;
use super::map::{Device, Point, PointGroup};
use super::message::differ;
use super::plan::ReadPlan;
use crate::clock::Now;
use crate::link::Backoff;

/// First polls are spread over so long at most.
const SPREAD: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Station {
    pub(super) device: Device,
    pub(super) breaker: StationBreaker,
    /// The clocks when polls began to fail.
    pub(super) failing_since: Option<Now>,
    /// Whether the last one failed for want of a line.
    pub(super) is_cut_off: bool,
    pub(super) groups: Vec<GroupState>,
}

/// What is known of one group.
#[derive(Debug)]
pub(super) struct GroupState {
    pub(super) due: Instant,
    pub(super) plan: ReadPlan,
    /// What was read last, and when.
    pub(super) last: Option<(Vec<Option<Reading>>, Now)>,
    /// What was told last, and when; none where the next reading is to be told in any case.
    told: Option<(Vec<Option<Reading>>, Instant)>,
    /// Since when polls are left out, and how many were, as the line cannot keep the pace.
    pub(super) behind: Option<(Instant, u64)>,
}

impl Station {
    /// The one with number `place` of `all`, so that not all are asked at once.
    pub(super) fn new(
        device: &Device,
        probe: Backoff,
        (place, all): (u32, u32),
        now: Instant,
    ) -> Self {
        let state = |group: &PointGroup| GroupState {
            due: now + group.every.min(SPREAD) * place / all.max(1),
            plan: ReadPlan::new(device, &group.points),
            last: None,
            told: None,
            behind: None,
        };
        Self {
            breaker: StationBreaker::new(device.stale_after, probe),
            failing_since: None,
            is_cut_off: false,
            groups: device.groups.iter().map(state).collect(),
            device: device.clone(),
        }
    }

    /// The group that is to be asked next, and when: of a silent station any, in turns.
    pub(super) fn next(&self) -> Option<(usize, Instant)> {
        if let Some(at) = self.breaker.next_try() {
            let turn = self.breaker.probes() as usize % self.groups.len().max(1);
            return Some((turn, at));
        }
        let dues = self.groups.iter().map(|state| state.due).enumerate();
        dues.min_by_key(|(_, due)| *due)
    }

    /// A group is asked now: how many polls of it were left out before, as the line could not keep the pace.
    pub(super) fn begin(&mut self, group: usize, now: Instant) -> u64 {
        let every = self.device.groups[group].every;
        let is_open = self.breaker.is_open();
        let state = &mut self.groups[group];
        let behind = now.saturating_duration_since(state.due).as_nanos() / every.as_nanos().max(1);
        let missed = u32::try_from(behind).unwrap_or(u32::MAX);
        // A silent station is asked when its probe is due: nothing is late there.
        let late = if is_open { 0 } else { u64::from(missed) };
        state.due = match every.checked_mul(missed.saturating_add(1)) {
            Some(turns) => (state.due + turns).max(now),
            None => now + every,
        };
        state.behind = match (late, state.behind) {
            (0, _) => None,
            (late, Some((since, sum))) => Some((since, sum + late)),
            (late, None) => Some((now, late)),
        };
        late
    }

    /// The others of its groups are due, too: it has been silent, and answers again.
    pub(super) fn is_back(&mut self, now: Instant) {
        for state in &mut self.groups {
            state.due = state.due.min(now);
            state.told = None;
        }
    }
}

impl GroupState {
    /// These were read: whether they are to be told.
    pub(super) fn read(
        &mut self,
        group: &PointGroup,
        readings: Vec<Option<Reading>>,
        (now, at): (Instant, Now),
    ) -> bool {
        use super::map::ReportMode;
        let is_news = match (group.report, &self.told) {
            (ReportMode::Always, _) | (_, None) => true,
            (ReportMode::Change { at_least }, Some((told, when))) => {
                let is_due =
                    at_least.is_some_and(|most| now.saturating_duration_since(*when) >= most);
                is_due || differ(&group.points, told, &readings)
            }
        };
        if is_news {
            self.told = Some((readings.clone(), now));
        }
        self.last = Some((readings, at));
        is_news
    }

    /// The names of values that the device refuses, each with where it is and why.
    pub(super) fn refused(&self, points: &[Point]) -> Option<String> {
        let name = |refused: &super::plan::RefusedPoint| {
            let point = &points[refused.point];
            format!(
                "`{}` ({} {}: {})",
                point.name,
                point.area.name(),
                point.address,
                refused.why
            )
        };
        let names: Vec<_> = self.plan.refused.iter().map(name).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }
}
