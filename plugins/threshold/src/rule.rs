//! The rule: when a device's alarm is raised and when it is cleared. Time is an argument.

use std::time::Duration;

use tidegate_sdk::prelude::*;

use crate::Settings;

record! {
    /// What is remembered of a device.
    #[derive(Default, PartialEq)]
    pub struct Device {
        /// The alarm that is raised.
        #[serde(default)]
        pub raised: Option<Side>,
        /// The change that has yet to last.
        #[serde(default)]
        pub pending: Option<Pending>,
    }
}

record! {
    /// A change that has yet to last.
    #[derive(PartialEq)]
    pub struct Pending {
        /// What will be raised.
        pub to: Option<Side>,
        /// The first reading that asked for it, microseconds since 1970.
        pub since_us: u64,
        /// The same by the running clock; 0 of a state that was saved before there was one.
        #[serde(default)]
        pub running_us: u64,
        /// The last reading.
        pub value: f64,
        /// Its topic, where the alarm's says more of it than the device.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        pub topic: String,
    }
}

record! {
    /// Which bound was left.
    #[derive(Copy, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Side {
        /// The upper one.
        Above,
        /// The lower one.
        Below,
    }
}

/// A moment by both clocks, microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// What durations are told by.
    pub running_us: u64,
    /// Since 1970, for people.
    pub wall_us: u64,
}

impl Pending {
    /// Its beginning, which is not ahead of `now`: the running clock of a state that was lost went further, and a state
    /// from before there was such a clock begins to wait anew.
    fn since(&self, now: Moment) -> u64 {
        if self.running_us == 0 {
            now.running_us
        } else {
            self.running_us.min(now.running_us)
        }
    }
}

impl Device {
    /// Bytes of it when it is saved, or a few more.
    pub fn weight(&self) -> usize {
        let pending = self
            .pending
            .as_ref()
            .map_or(1, |pending| 80 + pending.topic.len());
        24 + pending
    }
}

fn keep(devices: &mut State<Device>, key: &str, device: Device) {
    if device == Device::default() {
        devices.remove(key);
    } else {
        devices.set(key, device);
    }
}

/// A change of a device's alarm.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub from: Option<Side>,
    pub to: Option<Side>,
    pub value: f64,
    pub since_us: u64,
    pub at_us: u64,
    /// Of the reading, where that is to be known.
    pub topic: String,
}

/// Doubles are exact for every integer up to here.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// What cannot work.
fn check(settings: &Settings, above: f64, below: f64) -> Result<()> {
    if settings.above.is_none() && settings.below.is_none() {
        return Err("set `above`, `below` or both".into());
    }
    for (name, bound) in [("above", settings.above), ("below", settings.below)] {
        if bound.is_some_and(|bound| bound.abs() >= EXACT) {
            let text = format!(
                "`{name}` is beyond {EXACT}, where neighbouring numbers can no longer be told apart"
            );
            return Err(text.into());
        }
    }
    if below > above {
        return Err("`below` is above `above`: every reading would raise an alarm".into());
    }
    for (name, number) in [
        ("hysteresis", settings.hysteresis),
        ("hold_seconds", settings.hold_seconds),
    ] {
        if number < 0.0 {
            return Err(format!("`{name}` is negative").into());
        }
    }
    if settings.hysteresis > 0.0 && settings.hysteresis >= above - below {
        return Err(format!(
            "`hysteresis` is {}, and `below` and `above` are {} apart: no reading could clear the alarm; set it to less",
            settings.hysteresis,
            above - below
        )
        .into());
    }
    if settings.hold_seconds > LONGEST_HOLD {
        return Err(format!("`hold_seconds` is more than a year ({LONGEST_HOLD}): no change would ever last that long").into());
    }
    Ok(())
}

/// Seconds that a change may have to last.
const LONGEST_HOLD: f64 = 366.0 * 86_400.0;

/// The bounds; one that is not set is infinitely far.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    above: f64,
    below: f64,
    hysteresis: f64,
    hold_us: u64,
}

impl Rule {
    pub fn new(settings: &Settings) -> Result<Self> {
        let (above, below) = (
            settings.above.unwrap_or(f64::INFINITY),
            settings.below.unwrap_or(f64::NEG_INFINITY),
        );
        check(settings, above, below)?;
        Ok(Self {
            above,
            below,
            hysteresis: settings.hysteresis,
            hold_us: (settings.hold_seconds * 1e6) as u64,
        })
    }

    /// Often enough for a wait to end within a quarter of its length.
    pub fn tick_every(&self) -> Duration {
        match self.hold_us {
            0 => Duration::ZERO,
            hold_us => Duration::from_micros(hold_us / 4)
                .clamp(Duration::from_millis(250), Duration::from_secs(10)),
        }
    }

    pub fn limit(&self, side: Side) -> f64 {
        match side {
            Side::Above => self.above,
            Side::Below => self.below,
        }
    }

    /// A reading. Of a device that is within its bounds nothing is kept, so that quiet devices cost no saving.
    pub fn read(
        &self,
        devices: &mut State<Device>,
        (key, topic): (&str, &str),
        value: f64,
        at: Moment,
    ) -> Option<Change> {
        let known = devices
            .get_mut(key)
            .map(|device| device.clone())
            .unwrap_or_default();
        let to = self.wanted(value, known.raised);
        if to == known.raised {
            if known.pending.is_some() {
                keep(
                    devices,
                    key,
                    Device {
                        raised: to,
                        pending: None,
                    },
                );
            }
            return None;
        }
        let pending = known.pending.filter(|pending| pending.to == to);
        let (since_us, running_us) = pending.map_or((at.wall_us, at.running_us), |pending| {
            (pending.since_us, pending.since(at))
        });
        let topic = topic.to_owned();
        if at.running_us - running_us < self.hold_us {
            let pending = Some(Pending {
                to,
                since_us,
                running_us,
                value,
                topic,
            });
            keep(
                devices,
                key,
                Device {
                    raised: known.raised,
                    pending,
                },
            );
            return None;
        }
        keep(
            devices,
            key,
            Device {
                raised: to,
                pending: None,
            },
        );
        Some(Change {
            from: known.raised,
            to,
            value,
            since_us,
            at_us: at.wall_us,
            topic,
        })
    }

    /// No reading, but time went by.
    pub fn wait(
        &self,
        device: &mut impl std::ops::DerefMut<Target = Device>,
        now: Moment,
    ) -> Option<Change> {
        let pending = device.pending.as_ref()?;
        let running_us = pending.since(now);
        if running_us != pending.running_us {
            let pending = Pending {
                running_us,
                ..pending.clone()
            };
            device.pending = Some(pending);
            return None;
        }
        if now.running_us - running_us < self.hold_us {
            return None;
        }
        let Pending {
            to,
            since_us,
            value,
            ref topic,
            ..
        } = *pending;
        let change = Change {
            from: device.raised,
            to,
            value,
            since_us,
            at_us: now.wall_us,
            topic: topic.clone(),
        };
        **device = Device {
            raised: to,
            pending: None,
        };
        Some(change)
    }

    /// The alarm that this value wants, given the one that is raised.
    fn wanted(&self, value: f64, raised: Option<Side>) -> Option<Side> {
        match raised {
            Some(Side::Above) if value >= self.above - self.hysteresis => Some(Side::Above),
            Some(Side::Below) if value <= self.below + self.hysteresis => Some(Side::Below),
            _ if value > self.above => Some(Side::Above),
            _ if value < self.below => Some(Side::Below),
            _ => None,
        }
    }
}
