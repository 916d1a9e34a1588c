//! Devices whose payloads are bad one after the other: for a while their messages go straight to the dead letters, then
//! one is tried. The others go on, and no plugin wastes its time and its breaker on them.
//!
//! A key lives in one lane, so each lane has a table of its own and needs no lock. Only keys with a bad payload are in
//! it: while it is empty nothing is looked up. What a key has sent among good messages is not known when its first bad
//! one is met, so that batch counts as one, however many of it were bad.

use std::collections::HashMap;

use super::held::HeldDevices;
use crate::chain::lane::item::Item;
use crate::chain::lane::outbox::Outbox;
use crate::chain::settings::QuarantineConfig;
use crate::clock::{Now, Uptime};

/// Keys of a lane's table. Beyond, the one that was quiet for longest makes room.
const MOST: usize = 1_024;

/// Shortest time between two log lines of one lane about devices that go in, or come out.
const LOG_EVERY_US: u64 = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SuspectState {
    /// Its last payloads were bad, not enough of them yet.
    Watched,
    /// Nothing of it is tried before then.
    Held { until: Uptime },
    /// One message of it is being tried.
    Probing,
}

#[derive(Debug)]
struct SuspectDevice {
    state: SuspectState,
    /// Bad payloads in a row.
    streak: u64,
    /// Messages of it in this batch, and how many of them were bad.
    seen: u64,
    bad: u64,
    last: Uptime,
}

pub(crate) struct Quarantine {
    config: QuarantineConfig,
    devices: HashMap<Box<[u8]>, SuspectDevice>,
    /// Devices in quarantine, over all lanes of the flow.
    held: HeldDevices,
    entries: LogLimit,
    releases: LogLimit,
}

/// A kind of log line that is not to flood the log.
#[derive(Debug, Default)]
struct LogLimit {
    logged: Option<Uptime>,
    unlogged: u64,
}

impl Quarantine {
    pub(crate) fn new(config: QuarantineConfig, held: HeldDevices) -> Self {
        Self {
            config,
            devices: HashMap::new(),
            held,
            entries: LogLimit::default(),
            releases: LogLimit::default(),
        }
    }

    /// Takes out of `items` what is not to be tried and parks it.
    pub(crate) fn sort_out(&mut self, items: &mut Vec<Item>, now: Now, outbox: &mut Outbox) {
        if self.devices.is_empty() {
            return;
        }
        let QuarantineConfig { after, retry } = self.config;
        for item in items.extract_if(.., |item| !self.admits(item.device(), now.uptime)) {
            let device = shown(item.device());
            outbox.quarantine(
                item,
                format!("device `{device}` is quarantined after {after} bad payloads in a row: one is tried every {retry:?}"),
            );
        }
    }

    fn admits(&mut self, key: &[u8], now: Uptime) -> bool {
        let Some(device) = self.devices.get_mut(key) else {
            return true;
        };
        device.last = now;
        match device.state {
            SuspectState::Held { until } if now >= until => device.state = SuspectState::Probing,
            SuspectState::Held { .. } | SuspectState::Probing => return false,
            SuspectState::Watched => {}
        }
        device.seen += 1;
        true
    }

    /// The batch is through: `bad` has the device of each payload that a plugin rejected or failed on.
    pub(crate) fn judge(&mut self, bad: &mut Vec<Box<[u8]>>, flow: &str, now: Now) {
        if self.devices.is_empty() && bad.is_empty() {
            return;
        }
        for key in bad.drain(..).filter(|key| !key.is_empty()) {
            match self.devices.get_mut(&key) {
                // A new one.
                Some(device) if device.streak == 0 => {}
                Some(device) => device.bad += 1,
                None => self.watch(key, now.uptime),
            }
        }
        let mut devices = std::mem::take(&mut self.devices);
        devices.retain(|key, device| self.keeps(key, device, flow, now));
        self.devices = devices;
    }

    /// Draws the conclusion about one device; `false` when it is a good one.
    fn keeps(&mut self, key: &[u8], device: &mut SuspectDevice, flow: &str, now: Now) -> bool {
        let seen = std::mem::take(&mut device.seen);
        let bad = std::mem::take(&mut device.bad);
        if seen == 0 && bad == 0 {
            return true;
        }
        let is_new = device.streak == 0;
        // A key that a plugin made up, and no device's.
        let is_made_up = seen == 0 && !is_new && device.state == SuspectState::Watched;
        if bad < seen || is_made_up {
            if device.state == SuspectState::Probing {
                self.held.leave(key);
                self.releases.write(now, |unlogged| {
                    tracing::info!(
                        flow,
                        device = shown(key),
                        unlogged,
                        "device sends good payloads again: out of quarantine"
                    );
                });
            }
            return false;
        }
        device.streak += bad;
        let until = now
            .uptime
            .plus_us(u64::try_from(self.config.retry.as_micros()).unwrap_or(u64::MAX));
        match device.state {
            SuspectState::Watched if device.streak >= u64::from(self.config.after) => {
                device.state = SuspectState::Held { until };
                self.held.enter(key);
                self.tell_held(key, device.streak, flow, now);
            }
            SuspectState::Probing => device.state = SuspectState::Held { until },
            SuspectState::Watched | SuspectState::Held { .. } => {}
        }
        true
    }

    fn tell_held(&mut self, key: &[u8], bad: u64, flow: &str, now: Now) {
        let retry = self.config.retry;
        self.entries.write(now, |unlogged| {
            tracing::warn!(
                flow,
                device = shown(key),
                bad,
                unlogged,
                "device is quarantined: its messages go to the dead letters, one is tried every {retry:?}"
            );
        });
    }

    /// The first bad payload of a key.
    fn watch(&mut self, key: Box<[u8]>, now: Uptime) {
        if self.devices.len() >= MOST && !self.make_room(now) {
            return;
        }
        self.devices.insert(
            key,
            SuspectDevice {
                state: SuspectState::Watched,
                streak: 0,
                seen: 0,
                bad: 1,
                last: now,
            },
        );
    }

    fn make_room(&mut self, now: Uptime) -> bool {
        let may_go = |device: &SuspectDevice| !matches!(device.state, SuspectState::Held { until } if until > now);
        let quiet = self
            .devices
            .iter()
            .filter(|(_, device)| may_go(device))
            .min_by_key(|(_, device)| device.last);
        let Some(key) = quiet.map(|(key, _)| key.clone()) else {
            return false;
        };
        if self
            .devices
            .remove(&key)
            .is_some_and(|device| device.state != SuspectState::Watched)
        {
            self.held.leave(&key);
        }
        true
    }

    /// Everyone starts anew: a plugin may be another one now, and what was bad to the old one good.
    pub(crate) fn forget(&mut self) {
        for (key, device) in self.devices.drain() {
            if device.state != SuspectState::Watched {
                self.held.leave(&key);
            }
        }
    }
}

impl LogLimit {
    fn write(&mut self, now: Now, write: impl FnOnce(u64)) {
        if self
            .logged
            .is_some_and(|logged| now.uptime.us_since(logged) < LOG_EVERY_US)
        {
            self.unlogged += 1;
            return;
        }
        self.logged = Some(now.uptime);
        write(std::mem::take(&mut self.unlogged));
    }
}

impl Drop for Quarantine {
    fn drop(&mut self) {
        self.forget();
    }
}

/// A key as text, without what would look like lines of ours.
fn shown(key: &[u8]) -> String {
    crate::words::line_of_bytes(key, 200)
}

#[cfg(test)]
mod tests;
