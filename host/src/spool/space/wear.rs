//! What the card bears: bytes written, for how many bytes of payload, and how long an outage it has room for.
//!
//! A day is the last 24 hours by the running clock: it neither jumps with the wall clock nor ends at midnight.

use crate::clock::RunningTime;

use std::collections::VecDeque;
use std::time::Duration;

const HOUR_US: u64 = 3_600_000_000;
const DAY_US: u64 = 24 * HOUR_US;

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WearTotals {
    /// Bytes of payload that came into the queues.
    pub payload: u64,
    /// Bytes that this process has had written to storage: index, state, blocks and all. Where the kernel does not tell,
    /// those of chunks, dead letters and state.
    pub written: u64,
}

/// What fills a queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueInflow {
    /// Bytes that its class has left for it.
    pub room: u64,
    /// Bytes of payload that came into it since the start.
    pub payload: u64,
    /// Its class has no more room, so that what comes takes the place of what was there: it does not grow.
    pub is_full: bool,
}

impl QueueInflow {
    /// How long the room lasts at the rate of the time that the process `ran`, if nothing leaves.
    pub(crate) fn full_in(self, ran: Duration) -> Option<Duration> {
        let seconds = ran.as_secs_f64() * self.room as f64 / self.payload as f64;
        let lasts = Duration::try_from_secs_f64(seconds).ok();
        lasts.filter(|_| self.payload > 0 && !ran.is_zero())
    }
}

/// The card, as an operator asks about it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WearAccount {
    /// Bytes written to storage in the last 24 hours, or since the start, by the kernel's count where it tells: everything
    /// the store does, logs included.
    pub day_bytes: u64,
    /// Bytes of payload that came into the queues in that time.
    pub day_payload_bytes: u64,
    pub day: Duration,
    /// How long ago the store was last given something; `None`: not since the start.
    pub last_write_age: Option<Duration>,
    /// Bytes that this process has had written to storage since its start, by the kernel's count: everything the store
    /// does, logs included. `None` where the kernel does not tell.
    pub process_bytes: Option<u64>,
    /// Those bytes for each byte of payload.
    pub bytes_per_payload_byte: Option<f64>,
    /// How long an outage there is room for, a byte on disk for each byte of payload: in the free space at the day's rate, and
    /// in each class at the rate since the start. What comes into a class that is full is no growth. `None` while nothing
    /// grows.
    pub lasts: Option<Duration>,
}

/// Hourly marks of the totals.
#[derive(Debug, Default)]
pub(crate) struct Wear {
    started: RunningTime,
    marks: VecDeque<(RunningTime, WearTotals)>,
    last_write: Option<RunningTime>,
}

impl Wear {
    pub(crate) fn new(now: RunningTime) -> Self {
        Self {
            started: now,
            ..Self::default()
        }
    }

    pub(crate) fn wrote(&mut self, now: RunningTime) {
        self.last_write = Some(now);
    }

    /// So it stands; called every minute or so.
    pub(crate) fn sample(&mut self, now: RunningTime, totals: WearTotals) {
        let last = self.marks.back().map_or(self.started, |(at, _)| *at);
        if now.us_since(last) >= HOUR_US {
            self.marks.push_back((now, totals));
        }
        // The newest mark that is a day old is what the day is counted from.
        while self
            .marks
            .get(1)
            .is_some_and(|(at, _)| now.us_since(*at) >= DAY_US)
        {
            self.marks.pop_front();
        }
    }

    /// The numbers, with `room` bytes to fill, what fills each queue, and the kernel's count.
    pub(crate) fn account(
        &self,
        now: RunningTime,
        totals: WearTotals,
        (room, queues): (u64, &[QueueInflow]),
        process_bytes: Option<u64>,
    ) -> WearAccount {
        let is_old = |mark: &&(RunningTime, WearTotals)| now.us_since(mark.0) >= DAY_US;
        let (begun, from) = self
            .marks
            .front()
            .filter(is_old)
            .copied()
            .unwrap_or((self.started, WearTotals::default()));
        let day = now.since(begun);
        let payload = totals.payload.saturating_sub(from.payload);
        let lasts = |seconds: f64, room: u64, payload: u64| {
            (payload > 0 && seconds > 0.0).then(|| seconds * room as f64 / payload as f64)
        };
        let run = now.since(self.started).as_secs_f64();
        let (full, growing): (Vec<&QueueInflow>, Vec<&QueueInflow>) =
            queues.iter().partition(|queue| queue.is_full);
        // What queues were filled with is known since the start: of the day it is the same share.
        let replaced: u64 = full.iter().map(|queue| queue.payload).sum();
        let share = replaced as f64 / totals.payload.max(replaced).max(1) as f64;
        let growth = (payload as f64 * (1.0 - share)) as u64;
        let classes = growing
            .iter()
            .filter_map(|queue| lasts(run, queue.room, queue.payload));
        let lasts = lasts(day.as_secs_f64(), room, growth).map(|all| classes.fold(all, f64::min));
        let ratio = |bytes: u64| (totals.payload > 0).then(|| bytes as f64 / totals.payload as f64);
        WearAccount {
            day_bytes: totals.written.saturating_sub(from.written),
            day_payload_bytes: payload,
            day,
            last_write_age: self.last_write.map(|at| now.since(at)),
            process_bytes,
            bytes_per_payload_byte: process_bytes.and_then(ratio),
            lasts: lasts.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        }
    }
}

/// Bytes this process has had written to storage, by the kernel's count.
pub(crate) fn process_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/io").ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("write_bytes: "))?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fills_a_full_class_is_left_out_on_every_day() {
        let mut wear = Wear::new(RunningTime::START);
        let totals = |hours: u64| WearTotals {
            payload: hours * 1_000,
            written: hours * 100,
        };
        for hour in 1..100 {
            wear.sample(RunningTime(hour * HOUR_US), totals(hour));
            let queue = |is_full, payload| QueueInflow {
                is_full,
                payload,
                room: u64::MAX,
            };
            let queues = [queue(true, hour * 900), queue(false, hour * 100)];
            let found = wear.account(
                RunningTime(hour * HOUR_US),
                totals(hour),
                (1_000, &queues),
                None,
            );
            let lasts = found.lasts.map(|lasts| lasts.as_secs() / 3_600);
            assert!(matches!(lasts, Some(9 | 10)), "hour {hour}: {lasts:?}");
        }
    }

    #[test]
    fn a_day_is_the_last_24_hours() {
        let mut wear = Wear::new(RunningTime(5));
        let totals = |hours: u64| WearTotals {
            payload: hours * 1_000,
            written: hours * 100,
        };
        for hour in 0..60 {
            wear.sample(RunningTime(5 + hour * HOUR_US), totals(hour));
            let found = wear.account(
                RunningTime(5 + hour * HOUR_US),
                totals(hour),
                (0, &[]),
                None,
            );
            assert_eq!(found.day_bytes, hour.min(24) * 100, "hour {hour}");
            assert_eq!(
                (found.day_payload_bytes, found.day),
                (
                    hour.min(24) * 1_000,
                    Duration::from_secs(hour.min(24) * 3_600)
                )
            );
        }
        assert!(wear.marks.len() <= 26);
    }

    #[test]
    fn the_forecast_is_the_room_at_the_rate_of_the_day() {
        let mut wear = Wear::new(RunningTime::START);
        let totals = WearTotals {
            payload: 1_000,
            written: 0,
        };
        let found = wear.account(RunningTime(10_000_000), totals, (6_000, &[]), Some(500));
        assert_eq!(
            (found.lasts, found.last_write_age),
            (Some(Duration::from_secs(60)), None)
        );
        assert_eq!(
            (found.bytes_per_payload_byte, found.day_bytes),
            (Some(0.5), 0)
        );
        wear.wrote(RunningTime(9_000_000));
        assert_eq!(
            wear.account(RunningTime(10_000_000), totals, (0, &[]), None)
                .last_write_age,
            Some(Duration::from_secs(1))
        );
        assert_eq!(
            wear.account(
                RunningTime(10_000_000),
                WearTotals::default(),
                (6_000, &[]),
                None
            )
            .lasts,
            None
        );
        // A class that is full sooner.
        let queues = [
            QueueInflow {
                room: u64::MAX,
                payload: 900,
                is_full: false,
            },
            QueueInflow {
                room: 200,
                payload: 100,
                is_full: false,
            },
        ];
        assert_eq!(
            wear.account(RunningTime(10_000_000), totals, (6_000, &queues), None)
                .lasts,
            Some(Duration::from_secs(20))
        );
        // One that is full does not grow: the other has the disk, and nothing is left to say where all are.
        let mut queues = queues;
        queues[1].is_full = true;
        assert_eq!(
            wear.account(RunningTime(10_000_000), totals, (6_300, &queues), None)
                .lasts,
            Some(Duration::from_secs(70))
        );
        queues[0].is_full = true;
        assert_eq!(
            wear.account(RunningTime(10_000_000), totals, (6_300, &queues), None)
                .lasts,
            None
        );
    }

    #[test]
    fn the_kernel_counts_what_is_written() {
        assert!(process_bytes().is_some());
    }
}
