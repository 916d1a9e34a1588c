//! How many devices there are, and what was left out; none of it says which.

use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::device::DeviceState;

/// What the register counts. Cheap to clone; all clones count the same.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    devices: IntGaugeVec,
    /// Devices that made room for others.
    pub(super) forgotten: IntCounter,
    /// Messages that there was no room for between two looks.
    pub(super) missed: IntCounter,
    pub(super) events: IntCounter,
    pub(super) taken: IntCounter,
    pub(super) repeated: IntCounter,
    pub(super) late: IntCounter,
    pub(super) unread: IntCounter,
}

/// How many devices are what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DeviceCounts {
    pub known: u64,
    pub online: u64,
    pub silent: u64,
    pub offline: u64,
    pub unknown: u64,
    /// Those that send more than is bearable.
    pub mad: u64,
}

impl DeviceCounts {
    pub(super) fn add(&mut self, state: DeviceState, is_mad: bool) {
        self.known += 1;
        self.mad += u64::from(is_mad);
        *match state {
            DeviceState::Unknown => &mut self.unknown,
            DeviceState::Online => &mut self.online,
            DeviceState::Silent => &mut self.silent,
            DeviceState::Offline => &mut self.offline,
        } += 1;
    }

    fn each(self) -> [(&'static str, u64); 6] {
        let name = DeviceState::name;
        [
            ("known", self.known),
            (name(DeviceState::Online), self.online),
            (name(DeviceState::Silent), self.silent),
            (name(DeviceState::Offline), self.offline),
            (name(DeviceState::Unknown), self.unknown),
            ("mad", self.mad),
        ]
    }
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| -> Result<IntCounter, prometheus::Error> {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let devices = Opts::new(
            "tidegate_devices",
            "Devices in the register: all that are known, and those in each state.",
        );
        let devices = IntGaugeVec::new(devices, &["state"])?;
        registry.register(Box::new(devices.clone()))?;
        let statuses = Opts::new(
            "tidegate_device_statuses_total",
            "What was told of devices, by what became of it.",
        );
        let statuses = IntCounterVec::new(statuses, &["outcome"])?;
        registry.register(Box::new(statuses.clone()))?;
        let status = |outcome: &str| statuses.with_label_values(&[outcome]);
        Ok(Self {
            devices,
            forgotten: counter(
                "tidegate_devices_forgotten_total",
                "Devices that made room for others in the register.",
            )?,
            missed: counter(
                "tidegate_device_messages_missed_total",
                "Messages of devices that the register had no room to note.",
            )?,
            events: counter(
                "tidegate_device_events_total",
                "Changes of devices that were told.",
            )?,
            taken: status("taken"),
            repeated: status("repeated"),
            late: status("late"),
            unread: status("unread"),
        })
    }

    pub(super) fn show(&self, counts: DeviceCounts) {
        for (state, count) in counts.each() {
            let gauge = self.devices.with_label_values(&[state]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// The register is off: nothing is counted.
    pub(super) fn clear(&self) {
        self.devices.reset();
    }
}
