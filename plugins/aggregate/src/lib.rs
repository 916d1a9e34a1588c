//! Minimum, maximum, mean, sum, count, first and last over windows of time, or of so many messages. The readings themselves end here.
//!
//! ```toml
//! settings = { window = "10m", fields = ["temperature"], functions = ["mean", "max"], by = "{room}" }
//! settings = { window = "1d", time = "arrival", utc_offset = "+01:00" }
//! settings = { window = "1h", every = "10m", fields = [{ field = "ENERGY.Power", as = "power" }] }
//! settings = { window = 20, fields = ["volts"], functions = ["min"] }
//! settings = { window = "1m", time = "event", time_field = "ts", time_format = "ms", lateness = "10s", fields = ["x"] }
//! ```
//!
//! - `window`: how long a window is: `"10m"`, `"1d"`; or a number of messages. Required.
//! - `every`: how often one ends, so that they overlap: a time or number that `window` is a multiple of, by 100 at most.
//!   Default: `window`.
//! - `fields`: the numbers, each a path or a table. Default: none; then messages are counted, whatever is in them.
//!   - `field`: path of the field. Required.
//!   - `as`: its name in the result. Default: the last name of the path.
//! - `functions`: `"min"`, `"max"`, `"mean"`, `"sum"`, `"count"`, `"first"`, `"last"`: for each field `temperature` the result has
//!   `temperature_mean` and so on. Default: `["mean"]`.
//! - `decimals`: digits behind the point that remain of them, 0 to 15. Default: all; a mean without an end has 15 digits.
//! - `by`: what is gathered together: `"{device}"`, or another name in the flow's topics, `"{room}"`. Other names than the flow's `key` make
//!   the flow run on one lane; `key = "{room}"` in the flow does without. Default: the messages' key, which is the device.
//! - `by_field`: the same by a field, whose text or number names the group. Runs on one lane. Default: none.
//! - `time`: what windows are counted in. `"running"`: the time the gateway runs; a wrong clock changes nothing, and windows begin at no
//!   particular hour. `"arrival"`: the time of day, so that they begin at full hours and days. `"event"`: a time in the
//!   payload. Default: `"running"`.
//! - `utc_offset`: what is added to UTC for the time on the wall, for days and weeks (which begin on Thursday): `"+01:00"`. There are no
//!   time zones: summer is an hour off. With `arrival` and `event` only. Default: `"+00:00"`.
//! - `time_field`, `time_format`: where a payload has its time, and how it is written: `"s"`, `"ms"`, `"us"` since 1970, or `"iso"`
//!   (`2026-11-29T12:30:00Z`). For `event`. Default: none, and `"s"`. A time more than a day ahead of the clock is rejected.
//! - `lateness`: so long a window waits for what comes late, by the times in the payloads. For `event`; up to 100 times `every`. Default: none.
//! - `late`: what becomes of a message that came later still. `"reject"`: it goes to the dead letters. `"drop"`: it is filtered,
//!   counted in `late`. Default: `"reject"`.
//! - `missing`: what becomes of a message that lacks a field (`null` is no value). `"reject"`: it goes to the dead letters. `"skip"`: it
//!   counts, and the other fields do. Default: `"reject"`.
//! - `topic`: the results' topic; what a flow's `topic` knows may stand in it, where `{key}` is the group. Default: `"aggregates/{key}"`.
//! - `max_groups`: groups in a lane that are open at a time. Beyond, the one that was quiet for longest is told early, counted in
//!   `windows_cut`, and so it is where they fill 1.9 MiB of state, whatever their names are. Default: 6,000, divided by fields and
//!   overlaps.
//!
//! A result:
//!
//! ```json
//! {"group":"kitchen","from":1700000000000000,"to":1700000600000000,"count":12,"temperature_mean":21.55,"temperature_max":22.5}
//! ```
//!
//! With `by` or `by_field` it has `group`, else `device`. `from` and `to`, microseconds since 1970, are the window's own where it goes by
//! `arrival` or `event`, else those of its first and last message. `"clock":"unset"` stands there where the clock had not been
//! set meanwhile: what arrives then counts in the window that is open. A clock that is set back ends windows early: two results for one
//! window are its parts. A result that is too large for any number is `null`.
//!
//! Windows are state: they go on over swaps and restarts; a crash costs what came after the last `checkpoint`. When `window`, `every`,
//! `time`, or `fields` change, what is open is told early. A window without a message is told by nobody.

mod clock;
mod gathered;
mod group;
mod settings;
mod tell;

use std::time::Duration;

use tidegate_sdk::json::Paths;
use tidegate_sdk::prelude::*;
use tidegate_sdk::window::Ended;

use clock::Clock;
use gathered::{Gathered, Open};
use group::GroupBy;
pub use settings::{Function, Late, Length, Missing, Named, Settings, Time, TimeFormat};
use tell::Telling;

/// The configured plugin.
#[derive(Debug)]
pub struct Aggregate {
    paths: Paths,
    rules: Rules,
    telling: Telling,
    groups: State<Open>,
    /// The clock had not been set when the last message arrived.
    clock_unset: bool,
}

/// What holds for every message.
#[derive(Debug)]
struct Rules {
    clock: Clock,
    by: GroupBy,
    /// Paths of the fields.
    fields: Vec<usize>,
    missing: Missing,
    late: Late,
    /// Tells windows of these settings from those of others.
    shape: u32,
}

/// Groups that one message makes room for itself at most. It brings a name and a topic, which are a few groups of short names; where there
/// are more, as after a change of `max_groups`, the next messages and ticks go on with it.
const MOST_CUT: usize = 32;

/// A window that makes room and cannot be told is not the fault of the message that needs it.
fn untold(name: &str, error: &Error) {
    let name: String = name.chars().take(40).collect();
    host::error(&format!("a window of `{name}` cannot be told: {error}"));
}

impl Transform for Aggregate {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        settings.check()?;
        let mut paths = Paths::default();
        let clock = Clock::new(&settings, &mut paths)?;
        let by = GroupBy::new(&settings, &mut paths)?;
        let telling = Telling::new(&settings, &mut paths)?;
        let fields = telling.paths();
        let most = settings.most_groups(clock.panes())?;
        let rules = Rules {
            shape: settings.shape(),
            clock,
            by,
            fields,
            missing: settings.missing,
            late: settings.late,
        };
        Ok(Self {
            paths,
            rules,
            telling,
            groups: State::at_most(most, Open::weight).by_hand(),
            clock_unset: false,
        })
    }

    fn one_lane(&self) -> bool {
        !self.rules.by.is_key()
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        if message.is_delete() {
            out.pass();
            return Ok(());
        }
        let Self {
            paths,
            rules,
            telling,
            groups,
            clock_unset,
        } = self;
        // Without fields whatever comes is counted.
        let found = match rules.needs_json() {
            true => Some(paths.find(message.payload())?),
            false => None,
        };
        let values = rules.values(found.as_ref())?;
        let event = rules.clock.event(message, found.as_ref())?;
        let name = rules.by.name(message, found.as_ref())?;
        *clock_unset = message.clock_unset();
        let mut open = groups.of(&name);
        let mut ended = rules.begin(&mut open, message, telling.topic_of(message));
        let at = rules.clock.position(&mut open, message, event, &mut ended);
        let gathered = Gathered::of(values, message);
        let is_taken = rules.clock.take(&mut open, at, &gathered, &mut ended);
        for window in &ended {
            telling.answer(out, &name, &open.topic, window)?;
        }
        let is_over = open.panes.is_empty();
        drop(open);
        if is_over {
            groups.remove(&name);
        }
        match (is_taken, rules.late) {
            (true, _) => out.absorb(),
            (false, Late::Drop) => counter("late", 1),
            // What is said of a message that is rejected does not count: nobody makes room with it.
            (false, Late::Reject) => {
                return Err("it comes too late: the window of its time has ended".into());
            }
        }
        for _ in 0..MOST_CUT {
            let Some((quietest, mut open)) = groups.overflow() else {
                break;
            };
            for window in rules.cut(&mut open) {
                let told = telling.answer(out, &quietest, &open.topic, &window);
                told.unwrap_or_else(|error| untold(&quietest, &error));
            }
        }
        Ok(())
    }

    fn tick_every(&self) -> Duration {
        self.rules.clock.tick_every()
    }
}

impl Rules {
    fn needs_json(&self) -> bool {
        !self.fields.is_empty() || self.by.needs_json() || self.clock.needs_json()
    }

    fn values(
        &self,
        found: Option<&tidegate_sdk::json::Found<'_, '_>>,
    ) -> Result<Vec<Option<tidegate_sdk::json::Decimal>>> {
        let Some(found) = found else {
            return Ok(Vec::new());
        };
        let value = |path: &usize| match (found.value(*path), self.missing) {
            (None, Missing::Skip) => Ok(None),
            _ => found.decimal(*path).map(Some),
        };
        self.fields.iter().map(value).collect()
    }

    /// Makes a group ready for one more message; gives what was gathered under other settings.
    fn begin(&self, open: &mut Open, message: &Message<'_>, topic: &str) -> Vec<Ended<Gathered>> {
        let ended = self.of_other_settings(open);
        open.shape = self.shape;
        open.seen_us = message.running_us();
        if open.topic != topic {
            topic.clone_into(&mut open.topic);
        }
        ended
    }

    /// All that is open of a group that makes room, before its time.
    fn cut(&self, open: &mut Open) -> Vec<Ended<Gathered>> {
        counter("windows_cut", 1);
        match open.shape == self.shape {
            true => self.clock.end_all(open),
            false => self.of_other_settings(open),
        }
    }

    /// What was gathered before the settings changed, as one window.
    fn of_other_settings(&self, open: &mut Open) -> Vec<Ended<Gathered>> {
        if open.shape == self.shape {
            return Vec::new();
        }
        let gathered = open.panes.gather();
        let topic = std::mem::take(&mut open.topic);
        *open = Open {
            shape: self.shape,
            topic,
            ..Open::default()
        };
        gathered
            .into_iter()
            .map(|value| clock::early(value, self.fields.len()))
            .collect()
    }
}

impl Timer for Aggregate {
    fn tick(&mut self, tick: &mut Tick<'_, '_>) -> Result<()> {
        let mut gone = Vec::new();
        let now = clock::Now {
            running_us: tick.running_us(),
            wall_us: (!self.clock_unset).then(|| tick.now_us()),
        };
        for (name, mut open) in self.groups.iter_mut() {
            if !tick.has_room() {
                break;
            }
            let mut ended = Vec::new();
            if open.shape != self.rules.shape {
                ended = self.rules.of_other_settings(&mut open);
            } else if self.rules.clock.is_due(&open, now) {
                ended = self.rules.clock.pass(&mut open, now);
            }
            for window in &ended {
                self.telling.tell(tick, name, &open.topic, window)?;
            }
            if open.panes.is_empty() {
                gone.push(name.to_owned());
            }
        }
        for name in gone {
            self.groups.remove(&name);
        }
        while tick.has_room()
            && let Some((name, mut open)) = self.groups.overflow()
        {
            for window in self.rules.cut(&mut open) {
                let told = self.telling.tell(tick, &name, &open.topic, &window);
                told.unwrap_or_else(|error| untold(&name, &error));
            }
        }
        Ok(())
    }
}

impl Stateful for Aggregate {
    type Value = Open;

    fn state(&mut self) -> &mut State<Open> {
        &mut self.groups
    }
}

tidegate_sdk::export!(Aggregate: state, timer);

#[cfg(test)]
mod tests;
