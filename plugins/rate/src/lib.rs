//! How fast a number changes: readings get a field more, the change since the last reading of the device in a second, minute, hour or day.
//!
//! ```toml
//! settings = { fields = [{ field = "litres", as = "litres_per_minute", per = "m", counter = true }] }
//! settings = { fields = [{ field = "energy", per = "h", counter = true, wrap = 65536, decimals = 3 }, "temperature"], time = "event", time_field = "ts", time_format = "ms", max_gap = "1h" }
//! ```
//!
//! - `fields`: the numbers, each a path or a table. Required.
//!   - `field`: path of the field. Required.
//!   - `as`: the name of the rate. Default: the last name of the path with `_rate`.
//!   - `per`: `"s"`, `"m"`, `"h"` or `"d"`. Default: `"s"`.
//!   - `counter`: `true`: the number only counts up. Where it is lower than before it has begun anew, and all it shows has come since;
//!     counted in `resets`. Default: `false`, it may fall as well.
//!   - `wrap`: where the counter goes back to 0 by itself, such as 65536 or 4294967296: where it is lower than before and would have gone half
//!     of this or less, it has. Counted in `wraps`. For `counter`. Default: nowhere.
//!   - `decimals`: digits behind the point that remain, 0 to 15. Default: all; a rate without an end has 15 digits.
//! - `time`: `"arrival"`: when a reading came, by the time of day or, where that stood still or went back, by the time the gateway ran. `"event"`: what
//!   `time_field` says. Default: `"arrival"`.
//! - `time_field`, `time_format`: where a payload has its time, and how: `"s"`, `"ms"` or `"us"` since 1970, `"iso"`. For `"event"`. Default
//!   of the format: `"s"`.
//! - `at_least`: of readings closer to the last one than this no rate is told, and the last one stays. Default: none; of two at one time
//!   none is told in any case.
//! - `max_gap`: after a gap longer than this the next reading begins anew. Default: none.
//! - `missing`: what becomes of a reading that lacks one of `fields` (`null` is no value). `"reject"`: it goes to the dead letters. `"skip"`: the
//!   others are told, and the last value stays. Default: `"skip"`.
//! - `max_devices`: devices in a lane that are known. Beyond, the one that was quiet for longest is forgotten, counted in `keys_forgotten`, and so it
//!   is where they fill 1.9 MiB of state. Default: 10,000.
//!
//! A reading of which no rate can be told, such as the first of a device, goes on without. So does one that is older than the last
//! one, counted in `out_of_order`. Each topic of a device is for itself, of 32 at most. Numbers count with all their digits. Of a counter that
//! began anew only what it shows is known: what it had counted before and not told is in no rate.
//!
//! What is remembered survives swaps and restarts; other `fields` or another `time` begin anew. A field that is no number, a time that is none, a payload that is
//! not a JSON object or has a name twice rejects the message with the reason in words. What deletes a retained reading goes on.

mod pace;

use tidegate_sdk::Topics;
use tidegate_sdk::event::{EventTime, TimeFormat};
use tidegate_sdk::json::{self, Found, Object, Paths};
use tidegate_sdk::prelude::*;

use pace::Pace;
pub use pace::{Field, Last, Named, Per, Point};

settings! {
    /// The plugin's settings.
    pub struct Settings {
        /// The numbers.
        pub fields: Vec<Named>,
        /// What the time between two readings is told by.
        #[serde(default)]
        pub time: Time,
        /// Where a payload has its time.
        pub time_field: Option<String>,
        /// How it is written.
        pub time_format: Option<TimeFormat>,
        /// Readings closer than this tell no rate.
        #[serde(default)]
        pub at_least: Period,
        /// After a longer gap a reading begins anew.
        pub max_gap: Option<Period>,
        /// What becomes of a reading that lacks a field.
        #[serde(default)]
        pub missing: Missing,
        /// Devices in a lane that are known.
        #[serde(default = "default_devices")]
        pub max_devices: usize,
    }
}

settings! {
    /// What the time between two readings is told by.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Time {
        /// When they came.
        #[default]
        Arrival,
        /// What they say.
        Event,
    }
}

settings! {
    /// What becomes of a reading that lacks a field.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Missing {
        /// It is rejected.
        Reject,
        /// The others are told.
        #[default]
        Skip,
    }
}

fn default_devices() -> usize {
    10_000
}

/// Fields beyond which a result is more than a reading.
const MOST_FIELDS: usize = 32;

/// The configured plugin.
#[derive(Debug)]
pub struct Rate {
    paths: Paths,
    paces: Vec<Pace>,
    /// Tells these fields from those of other settings, whose values lie in an older state.
    of: u32,
    event: Option<EventTime>,
    at_least_us: u64,
    max_gap_us: u64,
    missing: Missing,
    devices: State<Topics<Last>>,
}

/// A reading's moment: by the clock that rates are told by, and by the one that never jumps.
#[derive(Clone, Copy, Debug)]
struct Moment {
    /// `None` while the clock is not set.
    at_us: Option<i64>,
    /// `None` where only the other counts.
    running_us: Option<u64>,
}

impl Transform for Rate {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        if settings.fields.is_empty() || settings.fields.len() > MOST_FIELDS {
            return Err(format!("`fields` has 1 to {MOST_FIELDS} of them").into());
        }
        let is_event = settings.time == Time::Event;
        if is_event != settings.time_field.is_some() {
            return Err("`time = \"event\"` and `time_field` go together".into());
        }
        if settings.time_format.is_some() && !is_event {
            return Err("`time_format` is for `time = \"event\"`".into());
        }
        if settings.max_gap.is_some_and(|gap| gap <= settings.at_least) {
            return Err(
                "`max_gap` is not longer than `at_least`: no rate would ever be told".into(),
            );
        }
        tidegate_sdk::check_most("max_devices", settings.max_devices, 0)?;
        let mut paths = Paths::default();
        let of = format!("{:?} {:?}", settings.fields, settings.time);
        let mut paces: Vec<Pace> = Vec::new();
        for (place, field) in settings.fields.into_iter().enumerate() {
            let pace = Pace::new(field, &mut paths)
                .map_err(|error| format!("`fields.{place}`: {error}"))?;
            if let Some(other) = paces.iter().find(|other| other.name == pace.name) {
                let name = &other.name;
                return Err(format!("`fields.{place}`: a rate is called `{name}` already").into());
            }
            paces.push(pace);
        }
        let event = settings.time_field.as_deref().map(|field| {
            EventTime::new(field, settings.time_format.unwrap_or_default(), &mut paths)
        });
        Ok(Self {
            event: event.transpose()?,
            paths,
            paces,
            of: tidegate_sdk::hash(of.as_bytes()) as u32,
            at_least_us: settings.at_least.micros().max(1),
            max_gap_us: settings.max_gap.map_or(u64::MAX, Period::micros),
            missing: settings.missing,
            devices: State::at_most(settings.max_devices, |topics| topics.weight(Last::weight)),
        })
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        let found = self.paths.find(message.payload())?;
        let now = moment(self.event, message, &found)?;
        let device = self.devices.get_mut(message.key());
        let known = device
            .as_ref()
            .and_then(|topics| topics.get(message.topic_bytes()))
            .filter(|last| last.of == self.of && last.points.len() == self.paces.len());
        let nothing = Last {
            of: self.of,
            points: vec![None; self.paces.len()],
        };
        let mut last = known.cloned().unwrap_or(nothing);
        drop(device);
        let (mut rates, mut counted, mut has_changed) = (Vec::new(), Vec::new(), false);
        for (pace, point) in self.paces.iter().zip(&mut last.points) {
            if self.missing == Missing::Skip && found.value(pace.path).is_none() {
                continue;
            }
            let value = found.decimal(pace.path)?;
            let fresh = Point {
                at_us: now.at_us,
                running_us: now.running_us,
                value,
            };
            match point.as_ref().map(|before| fresh.since(before)) {
                Some(None) => {
                    counted.push("out_of_order");
                    continue;
                }
                Some(Some(gap_us)) if gap_us < self.at_least_us => continue,
                Some(Some(gap_us)) if gap_us <= self.max_gap_us => {
                    let before = point.as_ref().map(|before| before.value);
                    let told = before.and_then(|before| pace.rate(before, value, gap_us));
                    counted.extend(told.as_ref().and_then(|told| told.counter));
                    rates.extend(told.map(|told| (pace.name.as_str(), told.rate)));
                }
                _ => {}
            }
            (*point, has_changed) = (Some(fresh), true);
        }
        tell(&rates, message, out)?;
        if has_changed {
            let mut topics = self.devices.of(message.key());
            topics.set(message.topic_bytes(), last);
        }
        for name in counted {
            counter(name, 1);
        }
        Ok(())
    }
}

/// When a reading was.
fn moment(
    event: Option<EventTime>,
    message: &Message<'_>,
    found: &Found<'_, '_>,
) -> Result<Moment> {
    Ok(match event {
        Some(event) => Moment {
            at_us: Some(event.read(message, found)?),
            running_us: None,
        },
        None => Moment {
            at_us: (!message.clock_unset()).then(|| message.received_us() as i64),
            running_us: Some(message.running_us()),
        },
    })
}

/// The reading goes on with what is told.
fn tell(rates: &[(&str, String)], message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
    if rates.is_empty() {
        out.pass();
        return Ok(());
    }
    let members = json::members(message.payload())?;
    out.emit_with(|payload| {
        let mut object = Object::begin(payload);
        for member in &members {
            if !rates.iter().any(|(name, _)| *name == member.name) {
                object.raw(&member.name, member.value.bytes());
            }
        }
        for (name, rate) in rates {
            object.raw(name, rate.as_bytes());
        }
        object.end();
        Ok(())
    })
}

impl Stateful for Rate {
    type Value = Topics<Last>;

    fn state(&mut self) -> &mut State<Topics<Last>> {
        &mut self.devices
    }
}

tidegate_sdk::export!(Rate: state);

#[cfg(test)]
mod tests;
