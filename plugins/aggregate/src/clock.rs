//! Where on which axis a message lies, and when its window ends. Time is an argument.

use std::time::Duration;

use tidegate_sdk::event::EventTime;
use tidegate_sdk::json::{Found, Paths};
use tidegate_sdk::prelude::*;
use tidegate_sdk::window::{Ended, Gather, Windows};

use crate::gathered::{Gathered, Open};
use crate::{Length, Settings, Time};

/// What windows are counted in, and how long they are.
#[derive(Debug)]
pub struct Clock {
    windows: Windows,
    axis: Axis,
    offset_us: i64,
    panes: usize,
    size: Length,
}

#[derive(Debug)]
enum Axis {
    Messages,
    Running,
    Arrival,
    Event { time: EventTime, lateness: i64 },
}

/// A moment by both clocks, microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub running_us: u64,
    /// `None` while the clock is not set.
    pub wall_us: Option<u64>,
}

/// What was gathered as one window of its first and last message. Where the fields are others by now, their numbers are nobody's.
pub fn early(mut value: Gathered, fields: usize) -> Ended<Gathered> {
    if value.numbers.len() != fields {
        value.numbers.clear();
    }
    Ended {
        from: value.first_us as i64,
        to: value.last_us as i64,
        value,
    }
}

impl Clock {
    pub fn new(settings: &Settings, paths: &mut Paths) -> Result<Self> {
        let (size, every) = match (settings.window, settings.every.unwrap_or(settings.window)) {
            (Length::Time(size), Length::Time(every)) => (size.micros(), every.micros()),
            (Length::Messages(size), Length::Messages(every)) => (size.into(), every.into()),
            _ => return Err("`window` and `every` must both be a time, or both a number".into()),
        };
        let windows = Windows::new(size as i64, every as i64)
            .map_err(|error| format!("`window` and `every`: {error}"))?;
        let lateness = settings.lateness.unwrap_or_default().micros();
        if lateness / every > 100 {
            return Err("`lateness` is more than 100 times `every`".into());
        }
        let axis = match (settings.window, settings.time, &settings.time_field) {
            (Length::Messages(_), ..) => Axis::Messages,
            (_, Time::Running, _) => Axis::Running,
            (_, Time::Arrival, _) => Axis::Arrival,
            (_, Time::Event, field) => Axis::Event {
                time: EventTime::new(
                    field.as_deref().unwrap_or_default(),
                    settings.time_format.unwrap_or_default(),
                    paths,
                )?,
                lateness: lateness as i64,
            },
        };
        Ok(Self {
            windows,
            axis,
            offset_us: settings.utc_offset.unwrap_or_default().micros(),
            panes: (size / every + lateness / every) as usize,
            size: settings.window,
        })
    }

    /// Panes of a group at most, or nearly.
    pub fn panes(&self) -> usize {
        self.panes
    }

    pub fn needs_json(&self) -> bool {
        matches!(self.axis, Axis::Event { .. })
    }

    pub fn tick_every(&self) -> Duration {
        let Length::Time(_) = self.size else {
            return Duration::ZERO;
        };
        let every = Duration::from_micros(self.windows.every().unsigned_abs());
        (every / 20).clamp(Duration::from_millis(250), Duration::from_secs(10))
    }

    /// The time in a payload, microseconds since 1970; 0 where none is wanted.
    pub fn event(&self, message: &Message<'_>, found: Option<&Found<'_, '_>>) -> Result<i64> {
        match (&self.axis, found) {
            (Axis::Event { time, .. }, Some(found)) => time.read(message, found),
            _ => Ok(0),
        }
    }

    /// Where a message lies. Windows that its arrival ends go into `ended`.
    pub fn position(
        &self,
        open: &mut Open,
        message: &Message<'_>,
        event: i64,
        ended: &mut Vec<Ended<Gathered>>,
    ) -> i64 {
        let at = match self.axis {
            Axis::Messages => return open.messages,
            Axis::Event { .. } => return event.saturating_add(self.offset_us),
            Axis::Running => message.running_us() as i64,
            Axis::Arrival => match open.panes.latest() {
                // Who knows what time it is: the window that is open takes it.
                Some(latest) if message.clock_unset() => return latest,
                latest => {
                    let at = (message.received_us() as i64).saturating_add(self.offset_us);
                    self.moor(open, at, latest.is_none() && message.clock_unset());
                    at
                }
            },
        };
        // The clock was set back, or a store was lost whose running clock went further: what is open is of another time.
        let is_back = open.panes.latest().is_some_and(|latest| at < latest);
        let now = if is_back { i64::MAX } else { at };
        ended.extend(self.end(open, now));
        at
    }

    /// What arrived before the clock was set belongs to the time that it is found to be.
    fn moor(&self, open: &mut Open, at: i64, is_adrift: bool) {
        if open.is_adrift
            && let Some(gathered) = open.panes.gather()
            && let Some(pane) = open.panes.at(self.windows, at, 0)
        {
            *pane = gathered;
        }
        open.is_adrift = is_adrift;
    }

    /// Puts a message where it belongs; false when its window has ended. Windows that it ends go into `ended`.
    pub fn take(
        &self,
        open: &mut Open,
        at: i64,
        gathered: &Gathered,
        ended: &mut Vec<Ended<Gathered>>,
    ) -> bool {
        let lateness = match self.axis {
            Axis::Event { lateness, .. } => lateness,
            _ => 0,
        };
        let is_first = open.panes.is_empty();
        let Some(pane) = open.panes.at(self.windows, at, lateness) else {
            return false;
        };
        pane.follow(gathered);
        match self.axis {
            Axis::Messages => {
                open.messages += 1;
                let now = open.messages;
                ended.extend(self.end(open, now));
            }
            Axis::Event { .. } => {
                open.newest = if is_first { at } else { open.newest.max(at) };
                let now = open.newest.saturating_sub(lateness);
                ended.extend(self.end(open, now));
            }
            Axis::Running | Axis::Arrival => {}
        }
        true
    }

    /// Whether time alone ends a window of the group, asked before it is touched: what is touched is saved.
    pub fn is_due(&self, open: &Open, now: Now) -> bool {
        let latest = open.panes.latest().unwrap_or(i64::MIN);
        match self.axis {
            Axis::Messages => false,
            Axis::Running => {
                open.panes.next_end() <= now.running_us as i64 || latest > now.running_us as i64
            }
            Axis::Arrival => now.wall_us.is_some_and(|wall_us| {
                open.panes.next_end() <= (wall_us as i64).saturating_add(self.offset_us)
            }),
            Axis::Event { lateness, .. } => {
                let Length::Time(size) = self.size else {
                    return false;
                };
                let quiet_us = now.running_us.saturating_sub(open.seen_us);
                open.seen_us > now.running_us || quiet_us >= size.micros() + lateness.unsigned_abs()
            }
        }
    }

    /// The windows of a group that is due.
    pub fn pass(&self, open: &mut Open, now: Now) -> Vec<Ended<Gathered>> {
        let running = now.running_us as i64;
        let now = match (&self.axis, now.wall_us) {
            (Axis::Running, _) if open.panes.latest().is_none_or(|latest| latest <= running) => {
                running
            }
            (Axis::Arrival, Some(wall_us)) => (wall_us as i64).saturating_add(self.offset_us),
            _ => i64::MAX,
        };
        self.end(open, now)
    }

    /// All that is open, before its time.
    pub fn end_all(&self, open: &mut Open) -> Vec<Ended<Gathered>> {
        self.end(open, i64::MAX)
    }

    /// Windows as they are told: in UTC, or by their first and last message.
    fn end(&self, open: &mut Open, now: i64) -> Vec<Ended<Gathered>> {
        let mut ended = open.panes.end(self.windows, now);
        for window in &mut ended {
            match self.axis {
                Axis::Messages | Axis::Running => {
                    window.from = window.value.first_us as i64;
                    window.to = window.value.last_us as i64;
                }
                Axis::Arrival | Axis::Event { .. } => {
                    window.from = window.from.saturating_sub(self.offset_us);
                    window.to = window.to.saturating_sub(self.offset_us);
                }
            }
        }
        ended
    }
}
