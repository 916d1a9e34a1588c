//! Tells when a device enters and leaves fences, circles and polygons; readings go on unchanged.
//!
//! ```toml
//! settings = { fences = [{ name = "yard", center = [47.3769, 8.5417], radius = 200 }, { name = "field", polygon = [[47.38, 8.54], [47.39, 8.54], [47.39, 8.56], [47.38, 8.56]] }], margin = 20 }
//! to       = { out = "cloud:telemetry", fences = "cloud:alarm" }
//! ```
//!
//! - `fences`: 64 at most; each has a `name` of its own, of letters, digits, `-` and `_`, and either `center` and `radius` in metres, or `polygon`, a
//!   list of 3 to 500 corners, whose sides do not cross. Places are `[latitude, longitude]` in degrees (WGS 84). Required.
//! - `margin`: metres that a device has to be beyond the border before it has left, so that one that stands there does not enter and leave without
//!   end. More than its positions err. Default: 0.
//! - `latitude`, `longitude`: paths of the fields. Default: `"latitude"` and `"longitude"`.
//! - `zero`: what a place of exactly 0, 0 is. `"nothing"`: no place, which is what receivers say that have none; counted in `no_place`. `"place"`: one
//!   in the Gulf of Guinea. Default: `"nothing"`.
//! - `missing`: what becomes of a reading that lacks one of the fields (`null` is no value). `"reject"`: it goes to the dead letters. `"pass"`: it goes on,
//!   and the device is where it was. Default: `"reject"`.
//! - `topic`: the messages' topic. `{fence}`, which is its name, and all that a flow's `topic` knows may stand in it. Default:
//!   `"fences/{device}/{fence}"`.
//! - `max_devices`: devices in a lane of which it is remembered where they are; of one in no fence nothing is. Beyond, the one that was quiet for
//!   longest is forgotten, counted in `keys_forgotten`, and so it is where they fill 1.9 MiB of state. Default: 20,000.
//!
//! Messages on the port `fences`; the first reading of a device that is in a fence says that it entered:
//!
//! ```json
//! {"fence":"yard","device":"d7","state":"entered","latitude":47.3771,"longitude":8.5419,"at":1700000000000000}
//! ```
//!
//! Distances are those on a sphere; of polygons the sides are straight on a plane laid through the first corner, which is right to one in a thousand
//! up to some 50 km; longer ones, and those beyond 85 degrees, are refused. Between two readings nobody knows where a device was. What is
//! remembered survives swaps and restarts; a fence with another name is another one, and of one that is gone nothing is told.
//! A latitude beyond 90 degrees or a longitude beyond 180, a field that is no number, or a payload that is not a JSON object rejects the message with
//! the reason in words. What deletes a retained reading goes on.

mod shape;

use tidegate_sdk::json::Paths;
use tidegate_sdk::prelude::*;

use shape::{Place, Shape};

settings! {
    /// The plugin's settings.
    pub struct Settings {
        /// The fences.
        pub fences: Vec<FenceSettings>,
        /// Metres beyond the border before a device has left.
        #[serde(default)]
        pub margin: f64,
        /// Path of the latitude.
        #[serde(default = "default_latitude")]
        pub latitude: String,
        /// Path of the longitude.
        #[serde(default = "default_longitude")]
        pub longitude: String,
        /// What a place of 0, 0 is.
        #[serde(default)]
        pub zero: Zero,
        /// What becomes of a reading without a place.
        #[serde(default)]
        pub missing: Missing,
        /// The messages' topic.
        #[serde(default = "default_topic")]
        pub topic: String,
        /// Devices of which it is remembered where they are.
        #[serde(default = "default_devices")]
        pub max_devices: usize,
    }
}

settings! {
    /// A fence.
    pub struct FenceSettings {
        /// Its name.
        pub name: String,
        /// The middle of a circle.
        pub center: Option<[f64; 2]>,
        /// Its radius in metres.
        pub radius: Option<f64>,
        /// The corners of a polygon.
        pub polygon: Option<Vec<[f64; 2]>>,
    }
}

settings! {
    /// What a place of 0, 0 is.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Zero {
        /// No place.
        #[default]
        Nothing,
        /// One like any other.
        Place,
    }
}

settings! {
    /// What becomes of a reading without a place.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Missing {
        /// It is rejected.
        #[default]
        Reject,
        /// It goes on, and the device is where it was.
        Pass,
    }
}

fn default_latitude() -> String {
    "latitude".to_owned()
}

fn default_longitude() -> String {
    "longitude".to_owned()
}

fn default_topic() -> String {
    "fences/{device}/{fence}".to_owned()
}

fn default_devices() -> usize {
    20_000
}

/// Fences at most: all of them are looked at with each reading.
const MOST_FENCES: usize = 64;

/// Metres of a margin at most.
const MOST_MARGIN: f64 = 10_000.0;

record! {
    /// What is remembered of a device.
    #[derive(Default, PartialEq)]
    pub struct Inside {
        /// Numbers for the names of the fences that it is in.
        pub of: Vec<u32>,
    }
}

impl Inside {
    /// Bytes of it when it is saved, or a few more.
    fn weight(&self) -> usize {
        8 + 5 * self.of.len()
    }
}

/// The configured plugin.
#[derive(Debug)]
pub struct Geofence {
    paths: Paths,
    place: [usize; 2],
    fences: Vec<Fence>,
    margin: f64,
    zero: Zero,
    missing: Missing,
    devices: State<Inside>,
}

#[derive(Debug)]
struct Fence {
    of: u32,
    name: String,
    shape: Shape,
    topic: Template,
}

#[derive(Serialize)]
#[serde(crate = "tidegate_sdk::serde")]
struct Crossing<'a> {
    fence: &'a str,
    device: &'a str,
    state: &'a str,
    latitude: f64,
    longitude: f64,
    at: u64,
}

impl Transform for Geofence {
    type Settings = Settings;

    const PORTS: &'static [&'static str] = &["fences"];

    fn new(settings: Settings) -> Result<Self> {
        if settings.fences.is_empty() || settings.fences.len() > MOST_FENCES {
            return Err(format!("`fences` has 1 to {MOST_FENCES} of them").into());
        }
        if !(0.0..=MOST_MARGIN).contains(&settings.margin) {
            return Err(format!("`margin` is 0 to {MOST_MARGIN} metres").into());
        }
        tidegate_sdk::check_most("max_devices", settings.max_devices, 0)?;
        let mut fences: Vec<Fence> = Vec::new();
        for (place, fence) in settings.fences.into_iter().enumerate() {
            let fence = Fence::new(fence, &settings.topic)
                .map_err(|error| format!("`fences.{place}`: {error}"))?;
            if fences.iter().any(|other| other.of == fence.of) {
                let name = &fence.name;
                return Err(format!("`fences.{place}.name`: `{name}` stands there twice").into());
            }
            fences.push(fence);
        }
        let mut paths = Paths::default();
        let latitude = paths.add(&settings.latitude);
        let latitude = latitude.map_err(|error| format!("`latitude`: {error}"))?;
        let longitude = paths.add(&settings.longitude);
        let longitude = longitude.map_err(|error| format!("`longitude`: {error}"))?;
        Ok(Self {
            paths,
            place: [latitude, longitude],
            fences,
            margin: settings.margin,
            zero: settings.zero,
            missing: settings.missing,
            devices: State::at_most(settings.max_devices, Inside::weight),
        })
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        let found = self.paths.find(message.payload())?;
        let [latitude, longitude] = self.place;
        let lacks_one = found.value(latitude).is_none() || found.value(longitude).is_none();
        if lacks_one && self.missing == Missing::Pass {
            out.pass();
            return Ok(());
        }
        let (latitude, longitude) = (found.number(latitude)?, found.number(longitude)?);
        let place = Place::new(latitude, longitude)?;
        out.pass();
        if latitude == 0.0 && longitude == 0.0 && self.zero == Zero::Nothing {
            counter("no_place", 1);
            return Ok(());
        }
        let key = message.key();
        let before = self.devices.get_mut(key).map(|inside| inside.clone());
        let before = before.unwrap_or_default();
        let mut inside = Inside::default();
        for fence in &self.fences {
            let was_in = before.of.contains(&fence.of);
            let margin = if was_in { self.margin } else { 0.0 };
            let is_in = fence.shape.holds(place, margin);
            if is_in {
                inside.of.push(fence.of);
            }
            if is_in == was_in {
                continue;
            }
            let topic = fence.topic.fill(message.topic(), key);
            out.message().port("fences").topic(&topic).json(&Crossing {
                fence: &fence.name,
                device: key,
                state: if is_in { "entered" } else { "left" },
                latitude,
                longitude,
                at: message.received_us(),
            })?;
        }
        if inside == before {
            return Ok(());
        }
        match inside.of.is_empty() {
            true => drop(self.devices.remove(key)),
            false => self.devices.set(key, inside),
        }
        Ok(())
    }
}

impl Fence {
    fn new(settings: FenceSettings, topic: &str) -> Result<Self> {
        let name = settings.name;
        let is_letter =
            |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
        if name.is_empty() || name.len() > 64 || !name.chars().all(is_letter) {
            return Err("`name` has 1 to 64 letters, digits, `-` or `_`".into());
        }
        let shape = match (settings.center, settings.radius, settings.polygon) {
            (Some(center), Some(radius), None) => Shape::circle(center, radius)?,
            (None, None, Some(corners)) => Shape::polygon(&corners)?,
            _ => return Err("it has `center` and `radius`, or `polygon`".into()),
        };
        let topic = Template::new(topic, &[("fence", &name)]);
        Ok(Self {
            of: tidegate_sdk::hash(name.as_bytes()) as u32,
            shape,
            topic: topic.map_err(|error| format!("`topic`: {error}"))?,
            name,
        })
    }
}

impl Stateful for Geofence {
    type Value = Inside;

    fn state(&mut self) -> &mut State<Inside> {
        &mut self.devices
    }
}

tidegate_sdk::export!(Geofence: state);

#[cfg(test)]
mod tests;
