//! An alarm when a device falls silent, and its end when it is back.

use std::time::Duration;

use tidegate_sdk::prelude::*;

settings! {
    pub struct Settings { after: Period }
}

record! {
    #[derive(Default)]
    struct Device { heard_us: u64, is_silent: bool }
}

record! {
    struct Alarm<'a> { device: &'a str, state: &'a str }
}

struct Silence {
    after_us: u64,
    devices: State<Device>,
}

impl Transform for Silence {
    type Settings = Settings;

    const PORTS: &'static [&'static str] = &["alarms"];

    fn new(settings: Settings) -> Result<Self> {
        Ok(Self {
            after_us: settings.after.micros(),
            devices: State::at_most(20_000, tidegate_sdk::weight),
        })
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        let key = message.key();
        let mut device = self.devices.of(key);
        device.heard_us = message.running_us();
        out.pass();
        if std::mem::take(&mut device.is_silent) {
            let alarm = Alarm {
                device: key,
                state: "back",
            };
            return out
                .message()
                .port("alarms")
                .topic(&format!("alarms/{key}/silence"))
                .json(&alarm);
        }
        Ok(())
    }

    fn tick_every(&self) -> Duration {
        Duration::from_micros(self.after_us / 6)
    }
}

impl Timer for Silence {
    fn tick(&mut self, tick: &mut Tick<'_, '_>) -> Result<()> {
        let now_us = tick.running_us();
        for (key, mut device) in self.devices.iter_mut() {
            if !device.is_silent && now_us.saturating_sub(device.heard_us) >= self.after_us {
                device.is_silent = true;
                let alarm = Alarm {
                    device: key,
                    state: "silent",
                };
                tick.message(&format!("alarms/{key}/silence"), key)
                    .port("alarms")
                    .json(&alarm)?;
            }
        }
        Ok(())
    }
}

impl Stateful for Silence {
    type Value = Device;

    fn state(&mut self) -> &mut State<Device> {
        &mut self.devices
    }
}

export!(Silence: state, timer);
