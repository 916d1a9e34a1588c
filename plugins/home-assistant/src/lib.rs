//! Tells Home Assistant which readings there are, by its [MQTT discovery](https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery): a retained
//! message for each field of a device, when it is first seen and once a day. Readings go on unchanged.
//!
//! ```toml
//! settings = { state_topic = "up/{topic}" }
//! to       = { out = "home:telemetry", discovery = "home:telemetry" }
//! ```
//!
//! ```toml
//! settings = { fields = [{ field = "tank.level", name = "Tank", unit = "L", device_class = "volume_storage" }, { field = "door", kind = "binary_sensor", device_class = "door" }], model = "T1000" }
//! ```
//!
//! - `state_topic`: the topic under which Home Assistant finds the readings, which is the flow's `topic`. Default: `"{topic}"`, as they came.
//! - `fields`: fields that are told, 64 at most, each with
//!   - `field`: its path. Required.
//!   - `name`: what it is called. Default: its last name, with spaces and a capital: `Tank level`.
//!   - `kind`: `"sensor"`, or `"binary_sensor"` for what is true or false. Default: `"sensor"`, or as the list below says.
//!   - `unit`, `device_class`, `state_class`: as Home Assistant has them. Default: as the list below says for a field of that last name; where it says nothing,
//!     none, but for the `state_class` `measurement` of a sensor with a unit.
//!   - Default: of the top of a payload all of `temperature`, `humidity`, `battery`, `pressure`, `power`, `energy`, `voltage`, `current`, `frequency`,
//!     `illuminance`, `co2`, `pm25`, `distance`, `speed`, `linkquality`, `rssi`, and `motion`, `occupancy`, `door`, `window`, `smoke`, `water_leak`, which are true or false.
//! - `prefix`: what discovery topics begin with. Default: `"homeassistant"`.
//! - `device_name`: what a device is called. Default: `"{device}"`.
//! - `manufacturer`, `model`: what is said of devices. Default: nothing.
//! - `again`: after how long all is told once more, with the next reading. Default: `"1d"`.
//! - `max_devices`: devices of which it is remembered what was told. Beyond, the one that was quiet for longest is forgotten, counted in
//!   `keys_forgotten`, and told again when it is back. Default: 20,000.
//!
//! Such a message, under `homeassistant/sensor/d7/temperature/config`:
//!
//! ```json
//! {"name":"Temperature","unique_id":"tidegate_d7.temperature","state_topic":"up/devices/d7/telemetry","value_template":"{{ value_json['temperature'] }}","unit_of_measurement":"°C","device_class":"temperature","state_class":"measurement","device":{"identifiers":["tidegate_d7"],"name":"d7"}}
//! ```
//!
//! A device is the flow's key. In `state_topic` and `device_name` may stand what a flow's `topic` knows. Letters that ids may not have become `_`, with a
//! number behind that tells such devices apart. A field is told once it has come with a value. What is no JSON object has no fields, and goes on as everything does. The
//! name `discovery` has to stand in the flow's `to`.

mod entity;

use tidegate_sdk::json::Paths;
use tidegate_sdk::prelude::*;

use entity::Entity;
pub use entity::{FieldSettings, Kind};

settings! {
    /// The plugin's settings.
    pub struct Settings {
        /// The topic under which readings are found.
        #[serde(default = "default_state_topic")]
        pub state_topic: String,
        /// Fields that are told.
        pub fields: Option<Vec<FieldSettings>>,
        /// What discovery topics begin with.
        #[serde(default = "default_prefix")]
        pub prefix: String,
        /// What a device is called.
        #[serde(default = "default_device_name")]
        pub device_name: String,
        /// Who makes the devices.
        pub manufacturer: Option<String>,
        /// What they are.
        pub model: Option<String>,
        /// After how long all is told once more.
        #[serde(default = "default_again")]
        pub again: Period,
        /// Devices of which something is remembered.
        #[serde(default = "default_max_devices")]
        pub max_devices: usize,
    }
}

fn default_state_topic() -> String {
    "{topic}".to_owned()
}

fn default_prefix() -> String {
    "homeassistant".to_owned()
}

fn default_device_name() -> String {
    "{device}".to_owned()
}

fn default_again() -> Period {
    Period::seconds(86_400)
}

fn default_max_devices() -> usize {
    20_000
}

record! {
    /// What was told of a device.
    #[derive(Copy, Default, PartialEq, Eq)]
    pub struct Told {
        /// A bit for each field, by its place.
        pub fields: u64,
        /// Of which settings: with others, places are others.
        pub of: u64,
        /// When, by the running clock.
        pub at_us: u64,
    }
}

/// Bytes of it at most when it is saved.
const WEIGHT: usize = 48;

/// Fields at most: a bit each.
const MOST_FIELDS: usize = 64;

/// The configured plugin.
#[derive(Debug)]
pub struct HomeAssistant {
    paths: Paths,
    entities: Vec<Entity>,
    about: entity::About,
    /// Of what is told, as a number.
    of: u64,
    again_us: u64,
    devices: State<Told>,
}

impl Transform for HomeAssistant {
    type Settings = Settings;

    const PORTS: &'static [&'static str] = &["discovery"];

    fn new(settings: Settings) -> Result<Self> {
        tidegate_sdk::check_most("max_devices", settings.max_devices, 1)?;
        if settings.again.is_zero() {
            return Err("`again` must be longer than nothing".into());
        }
        let of = tidegate_sdk::hash(format!("{settings:?}").as_bytes());
        let mut paths = Paths::default();
        let fields = settings.fields.unwrap_or_else(entity::all_known);
        if fields.is_empty() || fields.len() > MOST_FIELDS {
            return Err(format!("`fields` has 1 to {MOST_FIELDS} of them").into());
        }
        let mut entities: Vec<Entity> = Vec::new();
        for (place, field) in fields.into_iter().enumerate() {
            let entity = Entity::new(field, &mut paths);
            let entity = entity.map_err(|error| format!("`fields.{place}`: {error}"))?;
            if entities.iter().any(|other| other.id == entity.id) {
                let id = entity.id;
                return Err(format!("`fields.{place}`: two have the id `{id}`").into());
            }
            entities.push(entity);
        }
        let is_level = |level: &str| !level.is_empty() && !level.contains(['+', '#', '\0']);
        if !settings.prefix.split('/').all(is_level) {
            return Err("`prefix` must be a topic".into());
        }
        let template = |name: &str, text: &str| {
            Template::new(text, &[]).map_err(|error| format!("`{name}`: {error}"))
        };
        Ok(Self {
            paths,
            entities,
            about: entity::About {
                state_topic: template("state_topic", &settings.state_topic)?,
                device_name: template("device_name", &settings.device_name)?,
                prefix: settings.prefix,
                manufacturer: settings.manufacturer,
                model: settings.model,
            },
            of,
            again_us: settings.again.micros(),
            devices: State::at_most(settings.max_devices, |_| WEIGHT),
        })
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        out.pass();
        let Ok(found) = self.paths.find(message.payload()) else {
            return Ok(());
        };
        let key = message.key();
        let now_us = message.running_us();
        let known = self.devices.get(key).copied().filter(|told| {
            let is_due = host::elapsed(told.at_us, now_us).as_micros() >= u128::from(self.again_us);
            told.of == self.of && !is_due
        });
        let mut told = known.unwrap_or(Told {
            fields: 0,
            of: self.of,
            at_us: now_us,
        });
        let before = told.fields;
        for (place, entity) in self.entities.iter().enumerate() {
            let bit = 1 << place;
            if told.fields & bit != 0 || found.value(entity.path).is_none() {
                continue;
            }
            told.fields |= bit;
            let config = self.about.config(entity, message);
            let draft = out.message().port("discovery").topic(&config.topic);
            draft.retain(true).payload(&config.payload)?;
        }
        if told.fields != before {
            self.devices.set(key, told);
        }
        Ok(())
    }
}

impl Stateful for HomeAssistant {
    type Value = Told;

    fn state(&mut self) -> &mut State<Told> {
        &mut self.devices
    }
}

tidegate_sdk::export!(HomeAssistant: state);

#[cfg(test)]
mod tests;
