//! All devices that are known: what the books bring is taken in, silence is judged, and what is too much makes room.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::book::SourcePage;
use super::device::{DeviceState, KnownDevice, StatusOutcome};
use super::kept;
use super::metrics::{DeviceCounts, Metrics};
use super::settings::Config;
use crate::clock::{Now, Uptime};
use crate::message::Remembered;

/// What a device takes beside its name, bytes: its entry, and its place in the table.
const ENTRY_BYTES: usize = 320;

/// How often it is said that devices make room.
const SAY_AGAIN: Duration = Duration::from_secs(3_600);

/// A look that comes so late saw nothing of what the sources did meanwhile: the machine slept, or had no time.
const LATE_LOOK: Duration = Duration::from_secs(10);

pub(super) struct Register {
    pub(super) config: Option<Config>,
    pub(super) devices: HashMap<Box<[u8]>, KnownDevice>,
    /// What they take, bytes.
    bytes: usize,
    /// Since when each source hears.
    listening: HashMap<Arc<str>, Uptime>,
    looked: Option<Uptime>,
    /// Version of the last event.
    pub(super) version: u64,
    /// Devices that the store has and that are gone.
    gone: Vec<Box<[u8]>>,
    pub(super) forgotten: u64,
    said: Option<Uptime>,
    unsaid: u64,
    metrics: Metrics,
}

impl Register {
    /// One of a gateway that has started so often.
    pub(super) fn new(metrics: Metrics, boot: u32) -> Self {
        Self {
            config: None,
            devices: HashMap::new(),
            bytes: 0,
            listening: HashMap::new(),
            looked: None,
            // Numbers of one run lie above all of those before, whatever of these was written.
            version: u64::from(boot) << 32,
            gone: Vec::new(),
            forgotten: 0,
            said: None,
            unsaid: 0,
            metrics,
        }
    }

    pub(super) fn put(&mut self, config: Config) {
        self.config = Some(config);
    }

    /// Forgets all that is in memory.
    pub(super) fn clear(&mut self) {
        self.devices.clear();
        self.gone.clear();
        self.listening.clear();
        (self.config, self.looked, self.bytes) = (None, None, 0);
    }

    /// Takes up what the store has.
    pub(super) fn recall(&mut self, kept: Vec<(Box<[u8]>, KnownDevice)>) {
        for (name, device) in kept {
            self.bytes += ENTRY_BYTES + name.len();
            self.devices.insert(name, device);
        }
        self.make_room(Now::read());
    }

    /// Takes in what the sources have heard until `now`; `is_listening` says whether one hears at all.
    pub(super) fn look(
        &mut self,
        heard: Vec<SourcePage>,
        now: Now,
        is_listening: &dyn Fn(&str) -> bool,
    ) {
        let was_away = self
            .looked
            .is_none_or(|looked| now.uptime.since(looked) > LATE_LOOK);
        self.looked = Some(now.uptime);
        if was_away {
            self.listening.clear();
        }
        for SourcePage {
            source,
            is_there,
            jots,
        } in heard
        {
            if is_there && is_listening(&source) {
                let source = Arc::clone(&source);
                self.listening.entry(source).or_insert(now.uptime);
            } else {
                self.listening.remove(&source);
            }
            jots.into_iter().for_each(|(name, jot)| {
                let device = self.devices.entry(name);
                if let std::collections::hash_map::Entry::Vacant(entry) = &device {
                    self.bytes += ENTRY_BYTES + entry.key().len();
                }
                let device =
                    device.or_insert_with(|| KnownDevice::new(Arc::clone(&source), jot.first));
                match device.take(&source, &jot, now) {
                    Some(StatusOutcome::Taken) => self.metrics.taken.inc(),
                    Some(StatusOutcome::Repeated) => self.metrics.repeated.inc(),
                    Some(StatusOutcome::Late) => self.metrics.late.inc(),
                    None => {}
                }
            });
        }
        self.make_room(now);
        self.judge(now);
    }

    /// What follows from silence, for all of them; and how many are what.
    fn judge(&mut self, now: Now) {
        let Some(config) = &self.config else {
            return;
        };
        let mut counts = DeviceCounts::default();
        for device in self.devices.values_mut() {
            if let Some(heartbeat) = config.heartbeat {
                let listening = self.listening.get(&device.source).copied();
                device.judge(now, listening, heartbeat);
            }
            counts.add(device.state, is_mad(config, device, now.uptime));
        }
        self.metrics.show(counts);
    }

    /// Those that were silent for longest make room for the others.
    fn make_room(&mut self, now: Now) {
        let Some(Config {
            most, most_bytes, ..
        }) = self.config
        else {
            return;
        };
        if self.devices.len() <= most && self.bytes <= most_bytes {
            return;
        }
        let all = self.devices.iter();
        let mut ranked: Vec<_> = all.map(|(name, device)| (&**name, device)).collect();
        ranked.sort_unstable_by_key(|(_, device)| device.rank());
        let (mut left, mut bytes) = (ranked.len(), self.bytes);
        let is_over = |(name, _): &(&[u8], &KnownDevice)| {
            let is_over = left > most || bytes > most_bytes;
            left -= 1;
            bytes -= ENTRY_BYTES + name.len();
            is_over
        };
        let going = ranked.into_iter().take_while(is_over);
        let going: Vec<Box<[u8]>> = going.map(|(name, _)| name.into()).collect();
        let count = going.len() as u64;
        for name in going {
            self.bytes -= ENTRY_BYTES + name.len();
            let device = self.devices.remove(&name);
            if device.is_some_and(|device| device.is_kept) {
                self.gone.push(name);
            }
        }
        self.forgotten += count;
        self.metrics.forgotten.inc_by(count);
        self.tell_forgotten(count, now);
    }

    fn tell_forgotten(&mut self, count: u64, now: Now) {
        self.unsaid += count;
        if self
            .said
            .is_some_and(|said| now.uptime.since(said) < SAY_AGAIN)
        {
            return;
        }
        self.said = Some(now.uptime);
        let forgotten = std::mem::take(&mut self.unsaid);
        tracing::warn!(
            forgotten,
            known = self.devices.len(),
            "there are more devices than the register may keep: those that were silent for longest are forgotten (`devices.max`, `devices.max_bytes`)"
        );
    }

    /// What is to be written: what has changed since the last time.
    pub(super) fn changes(&mut self, now: Now) -> Vec<Remembered> {
        // One that is there again is written below.
        let gone = std::mem::take(&mut self.gone).into_iter();
        let gone = gone.filter(|name| !self.devices.contains_key(name));
        let mut changes: Vec<_> = gone.map(kept::forget).collect();
        for (name, device) in &mut self.devices {
            if std::mem::take(&mut device.is_dirty) {
                device.is_kept = true;
                changes.push(kept::remember(name, device, now));
            }
        }
        changes
    }

    /// How many are what now.
    pub(super) fn counts(&self, now: Now) -> DeviceCounts {
        let mut counts = DeviceCounts::default();
        for device in self.devices.values() {
            counts.add(device.state, self.is_mad(device, now.uptime));
        }
        counts
    }

    /// Whether a device sends more than is bearable.
    pub(super) fn is_mad(&self, device: &KnownDevice, now: Uptime) -> bool {
        self.config
            .as_ref()
            .is_some_and(|config| is_mad(config, device, now))
    }

    /// Devices of which something is to be told, at most so many.
    pub(super) fn untold(&self, most: usize) -> Vec<Box<[u8]>> {
        let untold = self.devices.iter().filter(|(_, device)| device.is_untold());
        untold.map(|(name, _)| name.clone()).take(most).collect()
    }

    /// What is so of this device is told from now on, as the version that is answered, with what was told before.
    pub(super) fn tell(&mut self, name: &[u8]) -> Option<(u64, DeviceState, &KnownDevice)> {
        let device = self.devices.get_mut(name)?;
        self.version += 1;
        device.version = self.version;
        let before = std::mem::replace(&mut device.said, device.state);
        Some((self.version, before, device))
    }
}

fn is_mad(config: &Config, device: &KnownDevice, now: Uptime) -> bool {
    config
        .mad_above
        .is_some_and(|above| device.is_faster_than(above as f64, now))
}
