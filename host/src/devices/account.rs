//! The list of devices as it is shown; the JSON form is a promise to scripts.

use serde::{Deserialize, Serialize};

use super::device::{DeviceState, KnownDevice, Moment};
use super::events::shown_source;
use super::metrics::DeviceCounts;
use super::register::Register;
use crate::clock::{Now, utc};

/// Which devices are asked for; what is left out asks for all.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceQuery {
    /// Only those in this state.
    pub state: Option<DeviceState>,
    /// Only those that have gone mad, by their rate or in quarantine.
    pub mad: bool,
    /// Only those that this source heard last.
    pub source: Option<String>,
    /// Only those whose name has this in it.
    pub name: Option<String>,
    /// At most so many; `None`: all.
    pub most: Option<usize>,
}

/// The register at one moment.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DeviceList {
    /// Whether the config has a register.
    pub is_on: bool,
    pub counts: DeviceCounts,
    /// Devices that made room for others since the start.
    pub forgotten: u64,
    /// Those that were asked for: who has gone mad first, then who is silent, offline, unknown, online.
    pub devices: Vec<ListedDevice>,
    /// Those that were asked for and are not in the list.
    pub more: u64,
}

/// One of the register.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ListedDevice {
    pub device: String,
    pub state: DeviceState,
    /// Why: `heard`, `told` or `heartbeat`; `None` where the state is not known.
    pub why: Option<String>,
    /// Since when that is so (UTC).
    pub since: Option<String>,
    /// Version of the last event about it; 0: there was none in this run.
    pub version: u64,
    pub source: String,
    /// When it was seen first and heard last (UTC); `None` where the clock had not been set.
    pub first: Option<String>,
    pub last: Option<String>,
    /// How long it was not heard in this run, seconds; `None` where it was not heard in it.
    pub silent_s: Option<u64>,
    /// Messages, and their bytes, since it is known.
    pub messages: u64,
    pub bytes: u64,
    /// Messages a second, over the last minute.
    pub rate: f64,
    /// It sends more than `devices.mad_above`.
    pub is_mad: bool,
    /// Its messages go to the dead letters untried.
    pub is_quarantined: bool,
}

/// The devices that are asked for, in their order.
pub(super) fn list(
    register: &Register,
    query: &DeviceQuery,
    is_quarantined: &dyn Fn(&[u8]) -> bool,
    now: Now,
) -> DeviceList {
    let flags = |name: &[u8], device: &KnownDevice| {
        let is_source = |source: &String| shown_source(&device.source) == *source;
        let is_named = |part: &String| {
            let part = part.as_bytes();
            part.is_empty() || name.windows(part.len()).any(|window| window == part)
        };
        let is_wanted = query.state.is_none_or(|state| state == device.state)
            && query.source.as_ref().is_none_or(is_source)
            && query.name.as_ref().is_none_or(is_named);
        if !is_wanted {
            return None;
        }
        let is_mad = register.is_mad(device, now.uptime);
        let is_quarantined = is_quarantined(name);
        let is_wanted = !query.mad || is_mad || is_quarantined;
        is_wanted.then_some((is_mad, is_quarantined))
    };
    let all = register.devices.iter();
    let found = all.filter_map(|(name, device)| Some((&**name, device, flags(name, device)?)));
    let mut found: Vec<_> = found.collect();
    found.sort_unstable_by_key(|(name, device, (is_mad, is_quarantined))| {
        let place = match device.state {
            _ if *is_mad || *is_quarantined => 0,
            DeviceState::Silent => 1,
            DeviceState::Offline => 2,
            DeviceState::Unknown => 3,
            DeviceState::Online => 4,
        };
        (place, device.rank(), *name)
    });
    let most = query.most.unwrap_or(usize::MAX);
    let more = found.len().saturating_sub(most) as u64;
    found.truncate(most);
    let devices = found
        .into_iter()
        .map(|(name, device, flags)| ListedDevice::of((name, device), flags, now));
    DeviceList {
        is_on: false,
        counts: register.counts(now),
        forgotten: register.forgotten,
        devices: devices.collect(),
        more,
    }
}

impl ListedDevice {
    fn of(
        (name, device): (&[u8], &KnownDevice),
        (is_mad, is_quarantined): (bool, bool),
        now: Now,
    ) -> Self {
        let moment = |moment: Moment| {
            let seen = moment.seen_from(now);
            seen.is_set.then(|| utc(seen.wall.0))
        };
        let is_known = device.state != DeviceState::Unknown;
        Self {
            device: String::from_utf8_lossy(name).into_owned(),
            state: device.state,
            why: is_known.then(|| device.cause.name().to_owned()),
            since: device.since.and_then(moment),
            version: device.version,
            source: shown_source(&device.source).to_owned(),
            first: moment(device.first),
            last: device.last.and_then(moment),
            silent_s: device.silence(now.uptime).map(|silence| silence.as_secs()),
            messages: device.count,
            bytes: device.bytes,
            rate: (device.rate(now.uptime) * 100.0).round() / 100.0,
            is_mad,
            is_quarantined,
        }
    }
}
