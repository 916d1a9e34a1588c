//! What is told of a field.

use tidegate_sdk::foreign;
use tidegate_sdk::json::{self, Object, Paths};
use tidegate_sdk::prelude::*;

settings! {
    /// A field that is told.
    pub struct FieldSettings {
        /// Its path.
        pub field: String,
        /// What it is called.
        pub name: Option<String>,
        /// Whether it is a number or a truth.
        pub kind: Option<Kind>,
        /// Its unit.
        pub unit: Option<String>,
        /// What it measures.
        pub device_class: Option<String>,
        /// How it is gathered over time.
        pub state_class: Option<String>,
    }
}

settings! {
    /// What Home Assistant makes of a field.
    #[derive(Copy, PartialEq, Eq)]
    #[serde(rename_all = "snake_case")]
    pub enum Kind {
        /// A number or a text.
        Sensor,
        /// True or false.
        BinarySensor,
    }
}

/// A field's name, its device class, unit and state class; without a unit and a state class it is true or false.
const KNOWN: [(&str, &str, &str, &str); 22] = [
    ("temperature", "temperature", "°C", "measurement"),
    ("humidity", "humidity", "%", "measurement"),
    ("battery", "battery", "%", "measurement"),
    ("pressure", "atmospheric_pressure", "hPa", "measurement"),
    ("power", "power", "W", "measurement"),
    ("energy", "energy", "kWh", "total_increasing"),
    ("voltage", "voltage", "V", "measurement"),
    ("current", "current", "A", "measurement"),
    ("frequency", "frequency", "Hz", "measurement"),
    ("illuminance", "illuminance", "lx", "measurement"),
    ("co2", "carbon_dioxide", "ppm", "measurement"),
    ("pm25", "pm25", "µg/m³", "measurement"),
    ("distance", "distance", "m", "measurement"),
    ("speed", "speed", "m/s", "measurement"),
    ("linkquality", "", "lqi", "measurement"),
    ("rssi", "signal_strength", "dBm", "measurement"),
    ("motion", "motion", "", ""),
    ("occupancy", "occupancy", "", ""),
    ("door", "door", "", ""),
    ("window", "window", "", ""),
    ("smoke", "smoke", "", ""),
    ("water_leak", "moisture", "", ""),
];

/// All fields that are known by their names.
pub fn all_known() -> Vec<FieldSettings> {
    let field = |(name, ..): &(&str, &str, &str, &str)| FieldSettings {
        field: (*name).to_owned(),
        name: None,
        kind: None,
        unit: None,
        device_class: None,
        state_class: None,
    };
    KNOWN.iter().map(field).collect()
}

/// A field, ready to be told.
#[derive(Debug)]
pub struct Entity {
    pub path: usize,
    pub id: String,
    kind: Kind,
    name: String,
    template: String,
    unit: Option<String>,
    device_class: Option<String>,
    state_class: Option<String>,
}

impl Entity {
    pub fn new(settings: FieldSettings, paths: &mut Paths) -> Result<Self> {
        let path = paths
            .add(&settings.field)
            .map_err(|error| format!("`field`: {error}"))?;
        let last = paths.last_name(path);
        let known = KNOWN.iter().find(|(name, ..)| *name == last);
        let said = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let kind = settings.kind.unwrap_or(match known {
            Some((_, _, "", "")) => Kind::BinarySensor,
            _ => Kind::Sensor,
        });
        let (mut unit, mut state_class) = (settings.unit, settings.state_class);
        if kind == Kind::Sensor {
            let is_known = known.filter(|(_, _, _, class)| !class.is_empty());
            unit = unit.or_else(|| said(is_known?.2));
            let by_unit = || unit.as_ref().map(|_| "measurement".to_owned());
            state_class = state_class.or_else(|| said(is_known?.3)).or_else(by_unit);
        } else if unit.is_some() || state_class.is_some() {
            return Err("what is true or false has neither `unit` nor `state_class`".into());
        }
        let levels = json::levels(&settings.field)?;
        let member = |level: &String| match level.parse::<usize>() {
            Ok(place) => format!("[{place}]"),
            Err(_) => format!("['{}']", level.replace('\\', "\\\\").replace('\'', "\\'")),
        };
        let member: String = levels.iter().map(member).collect();
        let value = format!("value_json{member}");
        Ok(Self {
            path,
            id: id(&levels.join("_")),
            kind,
            name: settings.name.unwrap_or_else(|| in_words(&levels)),
            template: match kind {
                Kind::Sensor => format!("{{{{ {value} }}}}"),
                Kind::BinarySensor => format!("{{{{ 'ON' if {value} else 'OFF' }}}}"),
            },
            unit,
            device_class: settings.device_class.or_else(|| said(known?.1)),
            state_class,
        })
    }
}

/// `Tank level`.
fn in_words(levels: &[String]) -> String {
    let words = levels.join(" ").replace('_', " ");
    let mut letters = words.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => words,
    }
}

/// Of the letters that ids may have; with a number behind, where some were others.
fn id(text: &str) -> String {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    if !text.is_empty() && text.chars().all(fits) {
        return text.to_owned();
    }
    let plain: String = text
        .chars()
        .map(|letter| if fits(letter) { letter } else { '_' })
        .collect();
    format!("{plain}_{:08x}", tidegate_sdk::hash(text.as_bytes()) as u32)
}

/// What is the same for all fields.
#[derive(Debug)]
pub struct About {
    pub state_topic: Template,
    pub device_name: Template,
    pub prefix: String,
    pub manufacturer: Option<String>,
    pub model: Option<String>,
}

/// A discovery message.
#[derive(Debug)]
pub struct Discovery {
    pub topic: String,
    pub payload: Vec<u8>,
}

impl About {
    /// What is told of a field of the device whose message this is.
    pub fn config(&self, entity: &Entity, message: &Message<'_>) -> Discovery {
        let (topic, key) = (message.topic(), message.key());
        let device = id(key);
        let component = match entity.kind {
            Kind::Sensor => "sensor",
            Kind::BinarySensor => "binary_sensor",
        };
        let quoted = |words: &str| {
            let mut json = Vec::new();
            foreign::text(words, &mut json);
            json
        };
        let mut payload = Vec::new();
        let mut config = Object::begin(&mut payload);
        // Neither has a dot in it, and both may have a `_`.
        let unique = format!("tidegate_{device}.{}", entity.id);
        for (name, text) in [
            ("name", Some(&entity.name)),
            ("unique_id", Some(&unique)),
            ("state_topic", Some(&self.state_topic.fill(topic, key))),
            ("value_template", Some(&entity.template)),
            ("unit_of_measurement", entity.unit.as_ref()),
            ("device_class", entity.device_class.as_ref()),
            ("state_class", entity.state_class.as_ref()),
        ] {
            if let Some(text) = text {
                config.raw(name, &quoted(text));
            }
        }
        let mut about = Vec::new();
        let mut object = Object::begin(&mut about);
        let identifiers = [b"[", quoted(&format!("tidegate_{device}")).as_slice(), b"]"].concat();
        object.raw("identifiers", &identifiers);
        object.raw("name", &quoted(&self.device_name.fill(topic, key)));
        for (name, text) in [("manufacturer", &self.manufacturer), ("model", &self.model)] {
            if let Some(text) = text {
                object.raw(name, &quoted(text));
            }
        }
        object.end();
        config.raw("device", &about);
        config.end();
        Discovery {
            topic: format!("{}/{component}/{device}/{}/config", self.prefix, entity.id),
            payload,
        }
    }
}
