//! Brings readings of Zigbee2MQTT, Tasmota and Shelly into one shape: the same names and units, whatever sent them.
//!
//! ```toml
//! settings = {}
//! settings = { from = "tasmota", other = "keep" }
//! ```
//!
//! - `from`: who sends: `"zigbee2mqtt"`, `"tasmota"` or `"shelly"` (both generations); `"auto"` tells by the topic: a level `tele` or `stat` is
//!   Tasmota's; `shellies/…`, `…/status/switch:0` and `…/events/rpc` are Shelly's; all others Zigbee2MQTT's. Default: `"auto"`.
//! - `other`: what becomes of other fields of a payload. `"drop"`: they go. `"keep"`: they stay, under their own names. Default: `"drop"`.
//!
//! Of what a message has, these fields are made, numbers with all their digits:
//!
//! | field | unit | | field | unit |
//! |---|---|---|---|---|
//! | `temperature` | °C | | `voltage` | V |
//! | `humidity` | % | | `current` | A |
//! | `pressure` | hPa | | `power` | W |
//! | `illuminance` | lx | | `energy` | kWh |
//! | `co2`, `voc` | ppm, as it comes | | `frequency` | Hz |
//! | `pm25` | µg/m³ | | `on` | true or false |
//! | `soil_moisture` | % | | `contact` | true: closed |
//! | `battery` | % | | `occupancy` | true or false |
//! | `battery_voltage` | V | | `leak`, `smoke` | true or false |
//! | `device_temperature` | °C | | `position`, `brightness` | %, as it comes |
//! | `rssi` | dBm | | `link_quality` | 0 to 255 |
//!
//! The second of a kind in one device is `power_2`: Shelly's and Tasmota's channels and sensors by their number. Devices are told apart by
//! the topic, as everywhere: `topics = ["zigbee2mqtt/{device}"]`, `["tele/{device}/SENSOR", "tele/{device}/STATE"]`,
//! `["shellies/{device}/#"]` (first generation), `["{device}/status/#", "{device}/events/rpc"]`.
//!
//! A message with none of these fields is filtered, counted in `nothing_known`. One that is no JSON object where one is expected, or
//! has text in place of a number, is rejected with the reason in words. What deletes a retained reading (an empty payload) goes on.

mod readings;
mod shelly;
mod tasmota;
mod zigbee2mqtt;

use tidegate_sdk::json::Object;
use tidegate_sdk::prelude::*;

use readings::Readings;

settings! {
    /// The plugin's settings.
    pub struct Settings {
        /// Who sends.
        #[serde(default)]
        pub from: Sender,
        /// What becomes of other fields.
        #[serde(default)]
        pub other: Other,
    }
}

settings! {
    /// Who sends.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Sender {
        /// Whose topic it is.
        #[default]
        Auto,
        /// Zigbee2MQTT.
        Zigbee2mqtt,
        /// Tasmota.
        Tasmota,
        /// Shelly.
        Shelly,
    }
}

settings! {
    /// What becomes of other fields.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Other {
        /// They go.
        #[default]
        Drop,
        /// They stay under their own names.
        Keep,
    }
}

/// The configured plugin.
#[derive(Debug)]
pub struct Unify {
    settings: Settings,
}

impl Transform for Unify {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        Ok(Self { settings })
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        if message.is_delete() {
            out.pass();
            return Ok(());
        }
        let topic: Vec<&str> = message.topic().split('/').collect();
        let mut readings = Readings::new(self.settings.other == Other::Keep);
        match self.settings.from {
            Sender::Auto if shelly::is_its(&topic) => shelly::read(message, &topic, &mut readings),
            Sender::Auto if tasmota::is_its(&topic) => {
                tasmota::read(message, &topic, &mut readings)
            }
            Sender::Auto | Sender::Zigbee2mqtt => zigbee2mqtt::read(message, &mut readings),
            Sender::Tasmota => tasmota::read(message, &topic, &mut readings),
            Sender::Shelly => shelly::read(message, &topic, &mut readings),
        }?;
        if readings.is_empty() {
            counter("nothing_known", 1);
            return Ok(());
        }
        out.emit_with(|payload| {
            let mut object = Object::begin(payload);
            for (name, json) in readings.all() {
                object.raw(name, json.as_bytes());
            }
            object.end();
            Ok(())
        })
    }
}

tidegate_sdk::export!(Unify);

#[cfg(test)]
mod tests;
